# `make demo` sets up and runs the main job; `make test` sets up and runs the tests.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
export TOKENIZERS_PARALLELISM := false

.PHONY: demo test lint

demo: $(VENV)/demo
	$(RUN) train.py recipes/quickstart.yaml --resume

test: $(VENV)/test
	$(RUN) -m pytest

lint: $(VENV)/test
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

$(VENV)/%: setup.py constraints.txt
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable ".[$*]"
	touch $@
