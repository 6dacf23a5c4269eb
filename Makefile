# Everything runs inside .venv, which the first target sets up; `make lowest` has .venv-lowest.
# TORCH says which torch to install: TORCH=torch==2.13.0, or TORCH="torch --index-url URL-OF-ANOTHER-BUILD".
PYTHON ?= python3
TORCH ?= torch
# the oldest Python of those that metarl supports and that start here
OLDEST ?= $(shell for minor in 10 11 12 13; do python3.$$minor -c '' 2>/dev/null && echo python3.$$minor && break; done)

BIN := .venv/bin
INSTALLED := .venv/.installed
LOWEST := .venv-lowest
# box2d has to be compiled at its lowest, metaworld pins MuJoCo
LOWEST_EXTRAS := tensorboard benchmark mujoco minigrid
# one thread for each test process: two pools of threads on two cores wait for each other
TEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

.DEFAULT_GOAL := help
.PHONY: help demo test lint check format quick long faults lowest gpu wheels clean

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

format: $(INSTALLED) ## put the code into its format and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

quick: $(INSTALLED) ## format, lint and the light tests, in about a minute
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(TEST) -m "not slow" --durations=5

long: $(INSTALLED) ## the tests that make test leaves out: learning for minutes, every family and benchmark
	$(TEST) --long -m long

faults: $(INSTALLED) ## break metarl on purpose, in the long form: kills, signals, damages, hostile environments
	METARL_FAULTS=long $(TEST) -m faults tests/faults

# old releases meet new ones of packages that we do not name, and warn of it: that is no fault of metarl
lowest: TORCH = torch==2.4
lowest: $(LOWEST)/.installed ## the light tests on the oldest Python here, with the lowest version that each bound allows
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -n 2 -m "not slow" -o filterwarnings=default

gpu: $(INSTALLED) ## what only a machine with a GPU can tell: tests, agreement with the CPU, speed
	$(BIN)/python experiments/gpu.py

# for another Python: make wheels PYTHON_THERE=3.13
PYTHON_THERE ?= 3.12

wheels: ## packages for a machine with a GPU and no network, as wheels in wheels/
	rm -rf wheels
	$(PYTHON) -m pip download --only-binary=:all: --no-deps --python-version $(PYTHON_THERE) --dest wheels \
		--requirement experiments/gpu_wheels.txt

clean: ## remove the environment, caches and build results; runs/ stays
	rm -rf .venv $(LOWEST) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# torch first, alone: so that TORCH decides which build the other packages find
$(INSTALLED): pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install $(TORCH)
	$(BIN)/python -m pip install --editable '.[dev]'
	touch $@

# from nothing, so that no package of another set of bounds stays; metarl first, because its metadata has the bounds
$(LOWEST)/.installed: pyproject.toml tests/lowest_versions.py
	rm -rf $(LOWEST)
	$(OLDEST) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install $(TORCH)
	$(LOWEST)/bin/python -m pip install --no-deps --editable .
	$(LOWEST)/bin/python tests/lowest_versions.py test $(LOWEST_EXTRAS) > $(LOWEST)/versions.txt
	$(LOWEST)/bin/python -m pip install --requirement $(LOWEST)/versions.txt
	$(LOWEST)/bin/python -m pip check
	touch $@
