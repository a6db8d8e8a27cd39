# TabTune. `make` alone lists what can be made; everything can be made twice.
SHELL := /bin/bash
PYTHON ?= python3
WORKERS ?= 2
FUZZ ?= 500
PEERS ?= TabICL TabPFN TabDPT Orion
LAB_ARGS ?=
APP_ARGS ?=
BIN := .venv/bin
MAKEFLAGS += --no-print-directory

.DEFAULT_GOAL := help
.PHONY: help setup peers demo app test bench-quick browser fuzz notebooks docs lab export readme clean

help: ## list these targets
	@grep -hE '^[a-z-]+:.*##' Makefile | awk -F ':.*## ' '{ printf "make %-12s %s\n", $$1, $$2 }'

setup: .venv/.stamp ## make .venv with TabTune (editable) and all that development needs
	@echo "setup: .venv is ready ($$($(BIN)/python --version))"

peers: ## an environment of its own for each peer, in .venv-peers/ (PEERS='TabDPT Orion', or a folder with a requirements.txt)
	@for p in $(PEERS); do \
	  n=$$(basename $$p); r=$$p/requirements.txt; [ -f $$r ] || r=peers/$$n/requirements.txt; \
	  [ -f $$r ] || { echo "peers: $$p is no folder with a requirements.txt, and there is no peers/$$n" >&2; exit 1; }; \
	  echo "peers: .venv-peers/$$n from $$r"; \
	  $(PYTHON) -m venv .venv-peers/$$n && .venv-peers/$$n/bin/pip install -q -r $$r || exit 1; \
	done

demo: setup ## fit, predict and draw: writes build/demo.png
	@echo "demo: a prediction from the bundled weights"
	@mkdir -p build
	@$(BIN)/tabtune demo

app: setup ## the page from a file to predictions, in a browser (APP_ARGS='data.csv --target y')
	@$(BIN)/tabtune app $(APP_ARGS)

test: setup ## house rules, every notebook, then pytest (of the walks in a browser two short ones)
	@echo "test: modules, README and notebooks in step?"
	@$(BIN)/python tools/check.py
	@echo "test: the notebooks (without the cells marked slow or cuda)"
	@OMP_NUM_THREADS=1 $(BIN)/nbdev_test --n_workers $(WORKERS) --timing
	@echo "test: pytest, $(WORKERS) files at a time and one more, as tests that click or start processes wait a lot"
	@$(BIN)/python -m pytest tests -n $$(($(WORKERS) + 1)) --dist loadfile --no-loadscope-reorder

fuzz: setup ## random tables, 500 of them (FUZZ=2000 for more): a prediction or a clear error
	@echo "fuzz: $(FUZZ) random tables"
	@TABTUNE_FUZZ=$(FUZZ) $(BIN)/python -m pytest tests/test_fuzz.py

bench-quick: setup ## compare some timings with the committed ones: what got slower? (not part of make test)
	@echo "bench-quick: half a minute of timings, compared with benchmarks/quick.json"
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/quick.py

gpu-check: setup ## on a machine with a GPU: ten minutes of checks and timings, into benchmarks/results.json
	@echo "gpu-check: parity with the CPU, tuning, memory, out of memory, timings"
	@$(BIN)/python benchmarks/gpu_check.py

browser: setup ## install Chromium if it is missing, and click through app and dashboards: build/screenshots/
	@echo "browser: JupyterLab, Voila and Chromium"
	@$(BIN)/python -m pytest tests/browser

notebooks: setup ## run every notebook from top to bottom, slow cells too, each in a fresh kernel
	@echo "notebooks: each from top to bottom"
	@$(BIN)/python tools/run.py

docs: setup .venv-docs/.stamp ## build the documentation (after `make notebooks` with outputs): docs/_build/html/index.html
	@echo "docs: notebooks and modules to HTML, warnings are errors"
	@$(BIN)/python docs/build.py
	@.venv-docs/bin/sphinx-build -W --keep-going -q -c docs docs/_build/src docs/_build/html
	@$(BIN)/python docs/links.py
	@echo "docs: open docs/_build/html/index.html"

lab: setup ## open the notebooks in JupyterLab (LAB_ARGS='--port 8890 ...')
	@echo "lab: JupyterLab on nbs/"
	@$(BIN)/jupyter lab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/nbs/index.ipynb $(LAB_ARGS)

export: setup ## notebooks to modules; clean the notebooks; tables of chapters; README.md
	@echo "export: nbs/ to tabtune/, clean notebooks, tables of chapters, README.md"
	@$(BIN)/nbdev_export
	@$(BIN)/python tools/clean.py
	@$(BIN)/python tools/chapters.py
	@$(BIN)/python tools/readme.py

readme: setup ## write README.md from nbs/index.ipynb
	@$(BIN)/python tools/readme.py

clean: ## remove what was built; the environments stay (rm -r .venv .venv-docs starts anew)
	@echo "clean: build/ dist/ docs/_build/ and caches"
	@rm -rf build dist docs/_build _docs _proc .pytest_cache *.egg-info
	@find nbs tabtune tests tools docs -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf

# $(call make_venv,FOLDER): an environment with pip, or a message that says what to do
define make_venv
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "TabTune needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true). Try: make setup PYTHON=python3.12"; exit 1; }
	@test -x $(1)/bin/pip || $(PYTHON) -m venv $(1) || { rm -rf $(1); \
	  echo "'$(PYTHON) -m venv' failed. On Debian or Ubuntu: apt-get install python3-venv, then make again."; exit 1; }
endef

.venv/.stamp: settings.ini setup.py constraints.txt $(wildcard tabtune/model/csrc/*)
	@echo "setup: an environment in .venv (some minutes at first)"
	$(call make_venv,.venv)
	@$(BIN)/pip install -q --no-compile -c constraints.txt -e '.[dev]'  # modules are compiled when they are first imported: most never are
	@ls tabtune/model/_kernel*.so >/dev/null 2>&1 || echo "setup: without the kernel for training in bfloat16 (it needs Linux, x86-64 and a C compiler)"
	@touch $@

.venv-docs/.stamp: docs/requirements.txt
	@echo "docs: Sphinx, in .venv-docs"
	$(call make_venv,.venv-docs)
	@.venv-docs/bin/pip install -q -r docs/requirements.txt
	@touch $@
