# Everything runs from a clean clone on a machine with Python >= 3.11 and make; .venv is built on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
COMPARE := .venv-compare
PYTEST := $(BIN)/python -m pytest $(PYTEST_ARGS)

# Compiled bytecode makes every process start seconds sooner, workers of a cluster above all.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help venv demo test coverage test-long test-all check format bench compare study eval-triage clean lock

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or later is needed; set PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || { echo "Making $(VENV) ..."; $(PYTHON) -m venv $(VENV); }
	@echo "Installing the locked dependencies (a few minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

venv: $(STAMP) ## Make .venv with the locked dependencies

demo: $(STAMP) ## Govern 14,000 real decisions: a skewed model goes live and is caught
	@$(BIN)/govern demo

test: $(STAMP) ## Run the tests (under 15 minutes)
	$(PYTEST) -n 2 --dist loadfile tests/unit
	$(PYTEST) -n 2 --dist loadfile -m "not long" --durations=15 tests/integration tests/chaos
	$(PYTEST) -m "not long" --durations=5 tests/e2e

coverage: $(STAMP) ## Run the tests without a broker and say what of agents/ they ran
	$(PYTEST) -n 2 --dist loadfile tests/unit --cov --cov-report=term:skip-covered

test-long: $(STAMP) ## Run only the long tests
	$(PYTEST) -m long

test-all: $(STAMP) ## Run the long tests too: three brokers, long crash runs
	$(PYTEST)

check: $(STAMP) ## Format, lint, types, architecture
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST) -q -p no:cacheprovider tests/unit/test_architecture.py

format: $(STAMP) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP) ## Measure lanes, monitors, rules and Merkle logs; ratios to a plain pass-through
	$(BIN)/python -m tests.benchmarks

$(COMPARE)/.installed: requirements.lock pyproject.toml
	@test -x $(COMPARE)/bin/python || { echo "Making $(COMPARE) ..."; $(PYTHON) -m venv $(COMPARE); }
	@echo "Installing what is compared, beside the locked versions but pandas (a few minutes) ..."
	@sed -n -e 's/ \\$$//' -e 's/\[[a-z,-]*\]//' -e '/^[a-z0-9]/p' requirements.lock | grep -v '^pandas==' > $(COMPARE)/constraints.txt
	@$(COMPARE)/bin/python -m pip install --quiet --disable-pip-version-check --constraint $(COMPARE)/constraints.txt --editable '.[compare]'
	@$(COMPARE)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps nannyml==0.13.1
	@touch $@

compare: $(COMPARE)/.installed ## Measure against Evidently and NannyML, installed in an environment of their own
	$(COMPARE)/bin/python -m tests.studies.estimates
	$(COMPARE)/bin/python -m tests.benchmarks.bench_windows

study: $(STAMP) ## Repeat the studies of the monitors' statistics and write docs/statistics.md
	$(BIN)/python -m tests.studies

eval-triage: $(STAMP) ## Score triage over 30 incidents; GOVERN_TRIAGE_MODEL names a model to score as well
	$(BIN)/python -m tests.eval

lock: ## Resolve requirements.lock anew (needs uv; the file holds hashes, no addresses)
	uv pip compile pyproject.toml --extra dev --extra llm --universal --python-version 3.11 --generate-hashes \
	  --no-strip-extras --no-emit-index-url --no-emit-find-links --no-header --no-annotate -o requirements.lock

clean: ## Remove what was built; var/ (data, evidence) stays
	rm -rf $(VENV) $(COMPARE) .mypy_cache .ruff_cache .pytest_cache .coverage build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
