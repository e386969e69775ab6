# Two commands matter: `make demo` and `make test`. Both make what they need in .venv.
VENV := .venv
BIN := $(VENV)/bin
# the first Python on the PATH that is new enough
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
PORT ?= 8000
TESTS ?= tests
# they run on every topology
FEATURES := $(addprefix tests/,cache events queue ratelimit sessions)
# the trials of races, crashes and failovers, and how often `make chaos` runs them
ROUNDS ?= 20
# how much longer than in `make test` each race of the cache is there
RACE ?= 10
TRIALS := tests/chaos tests/cache/test_race.py tests/cache/test_model.py \
	tests/cache/test_api_model.py tests/cache/test_killed.py \
	tests/ratelimit/test_exactness.py tests/ratelimit/test_model.py \
	tests/sessions/test_races.py tests/sessions/test_race_table.py tests/sessions/test_devices.py \
	tests/sessions/test_exclusive.py tests/events/test_races.py tests/events/test_splice.py \
	tests/queue/test_model.py tests/queue/test_processes.py tests/queue/test_faults.py \
	tests/core/test_wire.py tests/core/test_embedded.py tests/core/test_embedded_failures.py \
	tests/topologies/test_failover.py tests/topologies/test_cluster_failures.py \
	tests/topologies/test_cluster_migration.py

.PHONY: help demo test check format test-all chaos benchmark clean

help:
	@echo "make demo       start the example shop (PORT=$(PORT)); Ctrl-C ends it"
	@echo "make test       checks and all tests (TESTS=path for some of them)"
	@echo "make check      format, lint, layers, types"
	@echo "make test-all   all tests on every server engine found, the features' on every topology"
	@echo "make chaos      race, crash and failover trials, $(ROUNDS) rounds (ROUNDS=n)"
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
	$(BIN)/python -m pytest -n 2 --dist worksteal --engine all --topology sentinel $(FEATURES)
	$(BIN)/python -m pytest -n 2 --dist worksteal --engine all --topology cluster $(FEATURES)

chaos: $(VENV)/.dev
	for round in $$(seq $(ROUNDS)); do \
		echo "round $$round of $(ROUNDS)"; \
		RACE=$(RACE) $(BIN)/python -m pytest -q -n 2 --dist worksteal \
			-o faulthandler_timeout=3600 $(TRIALS) || exit 1; done

benchmark: $(VENV)/.benchmarks
	$(BIN)/python -m benchmarks.request
	$(BIN)/python -m benchmarks.connection
	$(BIN)/python -m benchmarks.cache
	$(BIN)/python -m benchmarks.sessions
	$(BIN)/python -m benchmarks.ratelimit

clean:
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
