# `make` alone lists the targets. Everything runs in .venv, made at first use from requirements.lock.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test up lint types bench chaos wheel docs clean

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# 3.11 and 3.12 first: the wheels that carry Redis and PostgreSQL are built for them.
PYTHON ?= $(shell for p in python3.12 python3.11 python3; do \
	if $$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo $$p; break; fi; done)

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 12

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with venv is missing. On Debian and Ubuntu: apt-get install python3 python3-venv" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (once)" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $@

demo: $(READY) ## four characters from brief to picture, on the emulator
	@$(BIN)/imagegen demo

# Hundreds of processes import the same files: compiled once, they are kept whatever the shell says.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(READY) ## every test but the chaos tier
	$(BIN)/python -m pytest -n 3 --dist loadfile -m "not chaos" $(ARGS)

up: $(READY) ## the whole system on this machine, until Ctrl-C
	@$(BIN)/imagegen up

lint: $(READY) ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY) ## mypy, strict
	$(BIN)/mypy

bench: $(READY) ## our jobs beside a bare Celery chain, the CPU of one picture, the HTTP door under load
	$(BIN)/python -m tests.performance.bench $(ARGS)
	$(BIN)/python -m tests.performance.door

chaos: $(READY) ## the slow fault and soak tier
	$(BIN)/python -m pytest -m chaos $(ARGS)

wheel: $(READY) ## build the wheel and test it in a clean environment
	$(BIN)/python -m build --wheel --no-isolation --outdir dist .
	$(BIN)/python -m pytest tests/acceptance/test_wheel.py $(ARGS)

docs: $(READY) ## check that every link between the documents leads somewhere
	$(BIN)/python -m pytest tests/unit/test_docs.py $(ARGS)

clean: ## remove what was built and what ran here
	rm -rf $(VENV) dist build var .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
