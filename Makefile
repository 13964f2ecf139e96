# The same commands for people and for CI. `make demo` and `make test` set everything up by themselves.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

# Minutes each; `make bench` runs them all. The long ones (an hour or so): make bench BENCHMARKS="fuzz bulk".
BENCHMARKS ?= accuracy speed metrics_speed metrics_traps

# Benchmarks load torch before the package, which sets this where it comes first.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: help setup check test test-slow demo bench docs release-check clean

help:
	@echo "make setup      a virtual environment with everything, at the tested versions"
	@echo "make demo       train on photographs, evaluate, write the report"
	@echo "make check      formatting, lint, types, layers"
	@echo "make test       the tests (some minutes); make test-slow adds the long ones"
	@echo "make docs       the documentation as a site, in build/site"
	@echo "make release-check  build, install into an empty environment, run the demo"
	@echo "make bench      benchmarks behind the figures in README and docs, some minutes each"

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "vtadl needs Python 3.11 or newer; try: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: setup
	$(BIN)/pytest -m "not slow" -n 2 --dist loadfile --durations=10

test-slow: setup
	$(BIN)/pytest -n 2 --dist loadfile --durations=10

demo: setup
	$(BIN)/vtadl demo --out runs/demo --force
	@echo && echo "vtadl is in $(BIN); this puts it on the path:  . $(BIN)/activate"

bench: setup
	@for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python benchmarks/$$name.py || exit 1; done

docs: setup
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# What CONTRIBUTING.md asks for before a release: what is built installs into an empty environment, and its demo runs.
release-check: setup
	rm -rf build/release
	$(PYTHON) -m venv build/release/venv
	$(BIN)/python -m build --outdir build/release .
	build/release/venv/bin/pip install --quiet --disable-pip-version-check -c constraints.txt build/release/vtadl-*.whl
	cd build/release && venv/bin/vtadl demo --out demo

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis runs
