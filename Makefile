# `make test` and `make demo` set everything up by themselves; a second call installs nothing.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DATA ?=
MODEL ?=
ONLY ?=
QUICK ?=

.PHONY: setup test check bench demo clean

setup: $(READY)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "regraft needs Python 3.11 or newer: make PYTHON=python3.12 test" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $(READY)

test: $(READY)
	$(BIN)/python -m pytest

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

# Until a network and photos come with the package, name your own:
#   make demo DATA=folder/of/photos MODEL=resnet50
demo: $(READY)
	@test -n "$(DATA)" -a -n "$(MODEL)" || { echo "usage: make demo DATA=folder MODEL=network\n\
	  DATA   a folder with one sub-folder of photos per class\n\
	  MODEL  resnet50 (downloaded), or local-dir:folder (config.json + model.safetensors)" >&2; exit 2; }
	mkdir -p demo
	$(BIN)/regraft fit "$(DATA)" --model "$(MODEL)" --out demo/classifier.safetensors
	$(BIN)/regraft predict demo/classifier.safetensors "$(DATA)" --format csv --out demo/predictions.csv
	@echo "classifier: demo/classifier.safetensors   predictions: demo/predictions.csv"

clean:
	rm -rf $(VENV) demo dist .pytest_cache .mypy_cache .ruff_cache benchmarks/.venvs benchmarks/.data
