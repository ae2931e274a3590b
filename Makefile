# demo: see it work · install: everything for development · check: lint and types · test: all that needs no root
# lab: what needs root (network namespaces, systemd) · bench: figures beside OpenSSH and nginx

VENV := .venv
PYTHON ?= python3
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
# Tests that measure, or play with the time of whole programs: one after the other, when nothing else runs.
APART := tests/bench tests/demo tests/transparency/test_slow_clients.py \
	$(addprefix tests/system/test_,$(addsuffix .py,care crowd memory storms))

.PHONY: demo install check test lab bench clean

demo: $(INSTALLED)
	@$(RUN) -m tests.demo $(if $(ONCE),--once)

install: $(INSTALLED)

check: $(INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

test: $(INSTALLED)
	@$(RUN) -m pytest -m "not lab" -n logical --dist loadfile $(APART:%=--ignore=%); together=$$?; \
	$(RUN) -m pytest $(APART) && exit $$together

lab: $(INSTALLED)
	@PYTHON=$(RUN) tests/lab/prepare.sh
	$(RUN) -m pytest -m lab tests/lab

bench: $(INSTALLED)
	$(RUN) -m tests.bench $(BENCH)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "Postern needs Python 3.11 or newer as $(PYTHON) (apt-get install python3), or PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "Python's venv is missing: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
