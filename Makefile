# Two commands matter: `make demo` and `make test`. Both make what they need in .venv.
VENV := .venv
BIN := $(VENV)/bin
# the first Python on the PATH that is new enough
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
PORT ?= 8000
TESTS ?= tests

.PHONY: help demo test check format test-all chaos benchmark clean

help:
	@echo "make demo       start the example shop (PORT=$(PORT)); Ctrl-C ends it"
	@echo "make test       checks and all tests (TESTS=path for some of them)"
	@echo "make check      format, lint, layers, types"
	@echo "make test-all   all tests on every server engine found"
	@echo "make chaos      long race and crash trials"
	@echo "make benchmark  the kit against its peers, in one run"

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "flask_redis_kit needs Python 3.11 or newer on the PATH"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml
	@echo "Installing what the demo needs into $(VENV) …"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml
	@echo "Installing what the checks and tests need into $(VENV) …"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.demo

$(VENV)/.benchmarks: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,benchmarks]'
	@touch $@ $(VENV)/.dev $(VENV)/.demo

demo: $(VENV)/.demo
	@exec $(BIN)/python -m examples.shop --port $(PORT)

test: check
	$(BIN)/python -m pytest -n 2 --dist worksteal $(TESTS)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test-all: check
	$(BIN)/python -m pytest -n 2 --dist worksteal --engine all $(TESTS)

chaos: $(VENV)/.dev
	FRK_CHAOS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m chaos tests

benchmark: $(VENV)/.benchmarks
	$(BIN)/python -m benchmarks.request
	$(BIN)/python -m benchmarks.connection

clean:
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
