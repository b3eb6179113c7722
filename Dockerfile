# sfpo on NVIDIA GPUs, with vLLM:
#   docker build -t sfpo .
#   docker run --gpus all --ipc host -v "$PWD/runs:/work/runs" sfpo train --model Qwen/Qwen2.5-0.5B-Instruct --task gym:countdown
FROM nvidia/cuda:12.8.1-devel-ubuntu24.04

# vLLM and Triton compile kernels when they start, which takes a compiler and Python's headers.
RUN apt-get update \
  && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
    build-essential git python3 python3-dev python3-venv \
  && rm -rf /var/lib/apt/lists/*

ENV VIRTUAL_ENV=/opt/sfpo PATH=/opt/sfpo/bin:$PATH
RUN python3 -m venv "$VIRTUAL_ENV"

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip install --no-cache-dir '.[vllm,deepspeed]'

WORKDIR /work
COPY recipes ./recipes
ENTRYPOINT ["sfpo"]
CMD ["--help"]
