# Every target sets itself up from plain python3 (3.11 or newer) first; the second time that is at once.
#   make demo    simulate galaxies, train, report, classify real sky: everything, offline
#   make test    the tests
# Another Python: make PYTHON=python3.12 demo

PYTHON ?= python3
BIN := .venv/bin
SET_UP = $(PYTHON) scripts/set_up.py $(if $(filter file,$(origin PYTHON)),,--this-python)
DEMO_OUT ?= demo
# One torch thread per test process: the processes, not the threads, share the cores.
TEST_ENVIRONMENT := OMP_NUM_THREADS=1 MPLBACKEND=agg
# A file of tests stays in one process, so that what its tests share is made once.
PYTEST_OPTIONS ?= -n 2 --dist loadfile
MINUTES ?= 30

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all test-slow fuzz lint format docs site bench constraints clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

setup: ## make .venv with the pinned packages (the other targets do it themselves)
	@$(SET_UP)

demo: ## everything once, into demo/: real sky first, then what needs the packages for training
	@$(SET_UP) --base
	@$(BIN)/morphoscope demo --out $(DEMO_OUT) --classify-only
	@echo "Next the demo simulates galaxies and teaches the network a new question, with PyTorch (Ctrl-C ends here)."
	@$(SET_UP)
	@$(BIN)/morphoscope demo --out $(DEMO_OUT)

test: setup ## the tests that every change has to pass
	@$(TEST_ENVIRONMENT) $(BIN)/pytest $(PYTEST_OPTIONS)

test-all: setup ## all tests, the sweeps over networks, studies and formats too
	@$(TEST_ENVIRONMENT) $(BIN)/pytest $(PYTEST_OPTIONS) -m ""

test-slow: setup ## only what make test leaves out
	@$(TEST_ENVIRONMENT) $(BIN)/pytest $(PYTEST_OPTIONS) -m slow

fuzz: setup ## damaged files for every reader, other ones each time (MINUTES=30)
	@$(TEST_ENVIRONMENT) $(BIN)/python tests/fuzz/campaign.py --minutes $(MINUTES) --jobs 2 --seed $$(date +%s)

lint: setup ## style, formatting, types, import layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright
	@$(BIN)/lint-imports --no-logo

format: setup ## let ruff format and mend what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: setup ## write the tables in docs/ from the program itself
	@$(BIN)/python scripts/write_docs.py

site: setup ## the documentation as a site, in build/site; a warning is an error, and the tutorials run
	@$(TEST_ENVIRONMENT) $(BIN)/python -m sphinx -W --keep-going -n -q -d build/doctrees docs build/site
	@echo "build/site/index.html"

# What is compared with another build or program needs its place: python benchmarks/zoobot.py --help.
COMPARED := builds commands zoobot
bench: setup ## measure: start-up, inputs, memory, predict
	@set -e; for script in $(filter-out $(COMPARED:%=benchmarks/%.py),$(sort $(wildcard benchmarks/*.py))); do echo "== $$script"; $(BIN)/python $$script; done

constraints: setup ## pin what pyproject.toml asks for in constraints.txt (UPGRADE=1: the newest)
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --group dev \
	  --no-header --no-annotate $(if $(UPGRADE),--upgrade) --output-file constraints.txt pyproject.toml >/dev/null
	@{ echo '# The versions that are known to work together, for Python 3.11 and newer; make installs these.'; \
	  echo '# Written by "make constraints"; "make constraints UPGRADE=1" takes the newest of everything.'; \
	  cat constraints.txt; } > constraints.new && mv constraints.new constraints.txt

clean: ## remove what make has made: .venv, caches, builds, the demo
	@rm -rf .venv build dist demo .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find src tests benchmarks examples scripts -name __pycache__ -type d -prune -exec rm -rf {} +
