# Two commands do everything: `make demo` and `make test`. The virtual environment is made by whichever runs first.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed

.PHONY: demo test test-slow lint format types benchmarks flink peers clean
.DEFAULT_GOAL := demo

$(STAMP): setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "ssd300 needs Python 3.11, 3.12 or 3.13 (TensorFlow has no other); choose one with PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test,lint]'
	@touch $@

demo: $(STAMP)
	$(BIN)/ssd300 demo --output runs/demo

test: $(STAMP)
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

# What takes too long for every day: more kills of a job, the benchmarks at their quick sizes.
test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP)
	$(BIN)/mypy

# What the test of the Beam job on Flink needs; without it that test skips.
flink: $(STAMP)
	$(BIN)/python tests/flink/fetch.py .flink

# What the test against torchvision's own SSD300 needs (torch, a large download); without it that test skips.
peers: $(STAMP)
	$(BIN)/python -m pip install --quiet --editable '.[peers]'

benchmarks: $(STAMP)
	$(BIN)/python -m pip install --quiet --editable '.[benchmarks]'
	for file in tests/benchmarks/[a-z]*.py; do $(BIN)/python $$file || exit 1; done

clean:
	rm -rf $(VENV) .flink build *.egg-info
