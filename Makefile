# make demo · make test · make test-fast · make bench · make lint: each makes its own virtual environment first, once.

VENV ?= .venv
# The first Python that the package supports; 3.11 is the one that it was tried with.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
INSTALLED := $(VENV)/installed-from-$(shell cat setup.py pyproject.toml | cksum | cut -d' ' -f1)
DEMO_DIR ?= demo
PYTEST_ARGS ?=
# Such as --only=training_step; --peers=DIR --peers_environment=VENV runs PyTorch and others too, --t2t_baseline=DIR
# --t2t_environment=VENV the original.
BENCH_ARGS ?=

.PHONY: demo test test-fast bench lint environment clean

demo: environment
	$(VENV)/bin/python -m t2t_multimodel.cli.demo --output_dir=$(DEMO_DIR)

test: environment
	$(VENV)/bin/python -m pytest $(PYTEST_ARGS)

# All but the tests marked slow: for while one works; a change is done when `make test` passes.
test-fast: environment
	$(VENV)/bin/python -m pytest -m "not slow" $(PYTEST_ARGS)

bench: environment
	$(VENV)/bin/python benchmarks/run_all.py $(BENCH_ARGS)

lint: environment
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

environment: $(INSTALLED)

# The stamp carries a checksum of what decides the installation, so a changed dependency installs again.
$(INSTALLED):
	@test -n "$(PYTHON)" || { echo "no Python between 3.11 and 3.13 found; name one: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[test]"
	rm -f $(VENV)/installed-from-*
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
