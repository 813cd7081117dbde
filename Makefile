# `make demo` sets up and runs the main job; `make test` sets up and runs the tests.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
export TOKENIZERS_PARALLELISM := false

.PHONY: demo test lint

demo: $(VENV)/demo
	$(RUN) -m modeling_iser.command_line recipes/demo/leaflet.txt --drug 华法林钠片 --format text \
		--html runs/demo/leaflet.html
	@echo "The picture is in runs/demo/leaflet.html. Now the model learns another schema, in one to four minutes."
	$(RUN) train.py recipes/demo/recipe.yaml --resume

# Two tests at a time are faster than one on two cores: the models of the tests are too small to share out.
test: $(VENV)/test
	OMP_NUM_THREADS=1 $(RUN) -m pytest --numprocesses 2 --dist loadfile

.PHONY: test-cluster
test-cluster: $(VENV)/test $(VENV)/ray
	OMP_NUM_THREADS=1 $(RUN) -m pytest -m cluster

lint: $(VENV)/test
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

.PHONY: docs
docs: $(VENV)/docs
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict

.PHONY: notebooks
notebooks: $(VENV)/test
	$(RUN) docs/notebooks/execute.py

$(VENV)/%: setup.py constraints.txt
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --constraint constraints.txt --editable ".[$*]"
	touch $@
