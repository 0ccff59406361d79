# What a person runs and what CI runs. PYTHON names the interpreter that makes the virtual environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
export DVC_NO_ANALYTICS := true
export BENTOML_DO_NOT_TRACK := true
export DO_NOT_TRACK := 1
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo serve test test-slow check fix compile install clean help

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/demo ## set up and run the whole chain on the bundled data
	dvc repro
	@polydistill show

serve: $(VENV)/demo ## serve the demo's bento: POST /classify
	polydistill serve

test: $(VENV)/dev ## set up and run the tests
	pytest -m "not browser and not paper_data"

test-slow: $(VENV)/dev ## the slower tests: browser, paper data
	pytest -m "browser or paper_data"

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

clean: ## delete the results and the environment, not the cache of DVC
	rm -rf work $(VENV)
