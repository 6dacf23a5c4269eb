# Everything runs inside .venv, which the first target sets up.
# TORCH says which torch to install: TORCH=torch==2.13.0, or TORCH="torch --index-url URL-OF-ANOTHER-BUILD".
PYTHON ?= python3
TORCH ?= torch

BIN := .venv/bin
INSTALLED := .venv/.installed
# one thread for each test process: two pools of threads on two cores wait for each other
TEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

.DEFAULT_GOAL := help
.PHONY: help demo test lint check clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-7s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(INSTALLED) ## meta-train an attention agent, measure it on unseen tasks, write runs/demo/report.html
	$(BIN)/python experiments/demo.py

test: $(INSTALLED) ## the tests
	$(TEST)

lint: $(INSTALLED) ## format, lint and strict types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint test ## everything that must pass before a commit

clean: ## remove the environment, caches and build results; runs/ stays
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# torch first, alone: so that TORCH decides which build the other packages find
$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install $(TORCH)
	$(BIN)/python -m pip install --editable '.[dev]'
	touch $@
