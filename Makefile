# Every target does all the set-up that it needs; a second call starts at once.
PYTHON ?= python3
PORT ?= 8501
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: demo test lint samples real bench cluster soak families clean
.DEFAULT_GOAL := demo

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Python 3.11 or newer is needed; '$(PYTHON)' is not. Try: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "This Python has no venv or ensurepip. On Debian or Ubuntu: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# torch first and pinned: a newer one would be drawn in by the packages that need any torch.
$(VENV)/.app: $(VENV)/.made pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.test: $(VENV)/.app
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@

demo: $(VENV)/.app
	$(BIN)/coupling demo --port $(PORT)

# Three processes on two cores: the browser tests wait half of the time. Torch takes one thread in each.
test: $(VENV)/.test
	$(BIN)/python -m tests.browser.chromium
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(if $(ARGS),$(ARGS),-n 3 --dist loadfile --no-loadscope-reorder)

lint: $(VENV)/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/mypy

# What is too long for `make test`: 20 readers, SOAK_MINUTES, 10 if not said; runs are started and cancelled meanwhile.
soak: $(VENV)/.test
	$(BIN)/python -m tests.browser.chromium
	$(BIN)/python -m tests.soak $(ARGS)

# Each causal family of transformers, tiny: its numbers, words and adapters against plain single rows. Some minutes.
families: $(VENV)/.test
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.families $(ARGS)

samples: $(VENV)/.app
	$(BIN)/coupling samples $(ARGS)

# A real chat model of 135 million parameters on public data: fetched, imported, run, shown. ARGS=refusal: one of the tasks.
real: $(VENV)/.app
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[gguf,peft]'
	$(BIN)/coupling real $(ARGS) --dashboard --port $(PORT)

# The peers pull in packages that the app does not want: they live apart.
.venv-bench/.made: $(VENV)/.made pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@touch $@

# Without a browser two benchmarks are failed rows; the others are measured.
bench: .venv-bench/.made
	-.venv-bench/bin/python -m tests.browser.chromium
	.venv-bench/bin/python -m tests.benchmarks $(ARGS)

# Ray is not among what the tests need, and takes minutes to start on a busy machine: it lives apart, too.
.venv-ray/.made: $(VENV)/.made pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-ray
	.venv-ray/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	.venv-ray/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[ray]'
	@touch $@

# A run on a Ray cluster of two nodes on this machine, of which workers and nodes are killed, beside one process.
cluster: .venv-ray/.made
	.venv-ray/bin/python -m tests.cluster $(ARGS)

clean:
	rm -rf $(VENV) .venv-bench .venv-ray .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
