# `make test` and `make demo` set everything up by themselves; a second call installs nothing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ONLY ?=
QUICK ?=

.PHONY: setup test test-slow test-all check bench demo clean

setup: $(READY)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "regraft needs Python 3.11 or newer: make PYTHON=python3.12 test" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $(READY)

test: $(READY)
	$(BIN)/python -m pytest -m "not slow" --numprocesses auto --dist loadfile --no-loadscope-reorder

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow --numprocesses auto --maxprocesses 4 --dist loadfile

test-all: test test-slow

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# All of it takes about 40 minutes on two cores, the first time longer: other tools are installed (7 GB).
#   make bench ONLY="features job"   some of it; `python -m benchmarks --help` lists the names
#   make bench ROUNDS=2              fewer turns than three
#   make bench QUICK=1               a trial: few photos, no results kept
bench: $(READY)
	$(BIN)/python -m benchmarks $(ONLY) $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(QUICK),--quick)

# Two minutes, without a connection: compare, fit and predict on handwritten digits, into the folder demo/.
demo: $(READY)
	$(BIN)/regraft demo --out demo

clean:
	rm -rf $(VENV) demo dist .pytest_cache .mypy_cache .ruff_cache benchmarks/.venvs benchmarks/.data
