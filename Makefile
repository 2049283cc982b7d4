# Everything runs in .venv, which each target sets up from the exact versions in requirements/dev.txt.
# Needs Python (3.11 to 3.13) and make, nothing else. `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# The first of these that the lock covers makes .venv; `make PYTHON=/path/to/python3.12 test` names another.
PYTHONS := python3 python3.13 python3.12 python3.11 python
PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
LOCK := requirements/dev.txt
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --retries 10 --timeout 120

.PHONY: help setup demo test test-all test-sample conformance vectors lint format docs bench lock clean

help: ## list the targets
	@echo "usage: make TARGET"
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1	/p' $(MAKEFILE_LIST) | awk -F'\t' '{printf "  %-12s %s\n", $$1, $$2}'

setup: $(STAMP) ## make .venv and install Genba in it

$(STAMP): $(LOCK) pyproject.toml
	@echo "Setting up $(VENV) (once; a few minutes on a slow network) ..."
	@found=; for each in $(if $(PYTHON),"$(PYTHON)",$(PYTHONS)); do \
	    if "$$each" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then found=$$each; break; fi; done; \
	if [ -z "$$found" ]; then \
	    echo "make: needs Python 3.11 to 3.13 with venv (Debian: apt install python3-venv); tried: $(if $(PYTHON),$(PYTHON),$(PYTHONS))" >&2; exit 1; fi; \
	[ -x $(BIN)/python ] && $(BIN)/python -m pip --version >/dev/null 2>&1 || "$$found" -m venv --clear $(VENV)
	@$(PIP) install -qq --prefer-binary -r $(LOCK)
	@$(PIP) install -qq --no-deps --no-build-isolation -e .
	@touch $(STAMP)

demo: $(STAMP) ## run the whole loop on this machine and explain each step (ARGS="--report demo.json")
	@$(BIN)/genba demo $(ARGS)

# A file's tests stay together, for what they share. The slow ones measure, so they have the machine for themselves.
test: $(STAMP) ## run the tests, less the slow ones (ARGS="tests/devices -x"; one process: ARGS=-n0)
	@$(BIN)/pytest -m 'not slow' -n auto --maxprocesses 4 --dist loadfile $(ARGS)

test-all: $(STAMP) ## run every test
	@$(BIN)/pytest $(ARGS)

test-sample: $(STAMP) ## run the slow tests that CI runs
	@$(BIN)/pytest -m sample $(ARGS)

conformance: $(STAMP) ## run the public TUF conformance suite on the agent (TUF_CONFORMANCE=DIR for a local copy)
	@PYTHON=$(abspath $(BIN))/python tests/conformance/run $(ARGS)

vectors: $(STAMP) ## run the public Uptane vectors on the device's verifier (TUF_VECTORS=DIR for a local copy)
	@PYTHONPATH=$(CURDIR) $(BIN)/python tests/conformance/vectors.py $(ARGS)

lint: $(STAMP) ## check style, types and import contracts
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(STAMP) ## format the code and mend what can be mended
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

docs: $(STAMP) ## write the generated documents
	@$(BIN)/python -m protocols.asyncapi --out docs/protocol

bench: $(STAMP) ## measure each figure that the README quotes
	@shopt -s nullglob; for each in benchmarks/[a-z]*.py; do echo "== $$each"; $(BIN)/python "$$each"; done

# The condition that tool.uv.environments puts on every line.
EVERYWHERE := python_full_version < '3.14' and implementation_name == 'cpython' and sys_platform == 'linux'

lock: ## resolve requirements/dev.txt anew (needs uv)
	@uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --upgrade --quiet \
	    --fork-strategy fewest --exclude-newer '7 days' --no-emit-index-url --no-emit-find-links --no-annotate \
	    --custom-compile-command 'make lock' -o $(LOCK)
	@sed -i "s/ ; $(EVERYWHERE)\$$//" $(LOCK)

clean: ## remove .venv and what tools left behind
	@rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .conformance
