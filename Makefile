# `make` alone prints what there is to make.

PYTHON ?= python3
VENV ?= .venv
TESTS ?= tests
ARGS ?=

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SOURCES := runner operator cloudflare tests $(wildcard examples benchmarks tools)
PEERS_VENV := $(VENV)-peers
PEERS_INSTALLED := $(PEERS_VENV)/.installed
DOCS_VENV := $(VENV)-docs
DOCS_INSTALLED := $(DOCS_VENV)/.installed

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## Print this list
	@echo 'server-jobs: background jobs on the SQL database that you already have'
	@echo
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo 'Settings, with their defaults:'
	@echo '  PYTHON=$(PYTHON)   the Python (3.11 or newer) that the virtual environment is made with'
	@echo '  VENV=$(VENV)       where the virtual environment is'
	@echo '  TESTS=$(TESTS)      what `make test` runs, for instance TESTS=tests/unit'
	@echo '  ARGS=            more arguments for tests, `make demo`, `make bench` and, of `kind create cluster`, `make kind-up`: ARGS="-k claim"'

.PHONY: demo
demo: $(INSTALLED) ## Set up everything and watch real jobs run on SQLite
	@$(BIN)/server-jobs demo $(ARGS)

.PHONY: test
test: $(INSTALLED) ## Set up everything and run the tests, on SQLite and PostgreSQL
	@$(BIN)/python -m pytest -n auto --dist worksteal --ignore tests/faults --ignore tests/e2e --ignore tests/cloudflare $(TESTS) $(ARGS)

.PHONY: test-faults
test-faults: $(INSTALLED) ## Run the drills: thousands of jobs while processes, servers and disks fail
	@$(BIN)/python -m pytest -n auto --dist worksteal tests/faults $(ARGS)

.PHONY: test-edge
test-edge: $(INSTALLED) ## Run the Worker's files in WebAssembly, on a real D1
	@$(BIN)/python -m pytest -n 2 --dist worksteal tests/cloudflare $(ARGS)

.PHONY: smoke-wrangler
smoke-wrangler: ## With the network and uv: run the Worker in the vendor's own runtime
	@sh cloudflare/smoke.sh

.PHONY: e2e
e2e: $(INSTALLED) ## Run the operator on a real cluster: KUBECONFIG's, or one that is made for it
	@$(BIN)/python -m tests.e2e $(ARGS)

.PHONY: kind-up
kind-up: $(INSTALLED) ## Make a kind cluster with the images, for `make e2e`; needs Docker, kind, kubectl and helm
	@$(BIN)/python -m tests.e2e.kind $(ARGS)

.PHONY: bench
bench: $(INSTALLED) ## Measure speed, memory and import time beside the raw limits
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: bench-peers
bench-peers: $(PEERS_INSTALLED) ## Measure speed beside other job queues, in an environment of their own
	@$(PEERS_VENV)/bin/python -m benchmarks.peers $(ARGS)

.PHONY: check
check: lint types arrows ## Run lint, types and arrows

.PHONY: lint
lint: $(INSTALLED) ## Check style and formatting (ruff)
	@$(BIN)/python -m ruff check $(SOURCES)
	@$(BIN)/python -m ruff format --check $(SOURCES)

.PHONY: types
types: $(INSTALLED) ## Check types (mypy, strict)
	@$(BIN)/python -m mypy

.PHONY: arrows
arrows: $(INSTALLED) ## Check which module may import which (import-linter)
	@$(BIN)/lint-imports --no-logo

.PHONY: format
format: $(INSTALLED) ## Format the code and mend what ruff can mend
	@$(BIN)/python -m ruff check --fix $(SOURCES)
	@$(BIN)/python -m ruff format $(SOURCES)

.PHONY: docs
docs: $(INSTALLED) $(DOCS_INSTALLED) ## Build the documentation's site into site/ and check its links and the API reference
	@$(BIN)/python -m tools.site $(abspath $(DOCS_VENV))/bin/zensical

.PHONY: build
build: $(INSTALLED) ## Build the wheel and the source distribution into dist/
	@rm -rf dist
	@$(BIN)/python -m build --no-isolation --outdir dist

.PHONY: venv
venv: $(INSTALLED) ## Make the virtual environment, or bring it up to date

.PHONY: clean
clean: ## Remove the virtual environment, caches and build results
	@rm -rf $(VENV) $(PEERS_VENV) $(DOCS_VENV) build dist site .cache .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find $(SOURCES) -type d -name __pycache__ -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { \
		echo 'server-jobs needs Python 3.11 or newer, and there is no `$(PYTHON)` here.' \
			'Install it, or name another: make PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("server-jobs needs Python 3.11 or newer, and `$(PYTHON)` is " + sys.version.split()[0] + ". Name a newer one: make PYTHON=python3.12")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo '`$(PYTHON)` cannot make virtual environments.' \
			'On Debian and Ubuntu, install the package python3-venv.' >&2; exit 1; }
	@echo 'Installing server-jobs and its development tools into $(VENV) (the first time, this takes a minute)'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# Not among the development tools: nobody needs five other job queues to work on this one.
$(PEERS_INSTALLED): pyproject.toml benchmarks/peers/requirements.txt
	@echo 'Installing server-jobs and other job queues into $(PEERS_VENV) (the first time, this takes a minute)'
	@$(PYTHON) -m venv $(PEERS_VENV)
	@$(PEERS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
		--editable '.[all]' --requirement benchmarks/peers/requirements.txt
	@touch $@

# Not among the development tools either: they bring libraries that ours could come to rely on unseen.
$(DOCS_INSTALLED): tools/site/requirements.txt
	@echo 'Installing what builds the documentation into $(DOCS_VENV)'
	@$(PYTHON) -m venv $(DOCS_VENV)
	@$(DOCS_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@
