# make improve   set up, then improve at one task and write a report
# make help      the other targets
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
TORCH ?= torch==2.13.0
# Where to take torch from, when the package index you use is not the place: `make TORCH_INDEX=… improve`.
TORCH_INDEX ?=
TASK ?= drawer-close
ARGS ?=

help: ## say what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

$(VENV)/.python:
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON): install Python 3.11 or newer, or name one with 'make PYTHON=…'." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "SAIL stack needs Python 3.11 or newer and $(PYTHON) is $$($(PYTHON) --version 2>&1): name a newer one with 'make PYTHON=python3.11 …'." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments: install its venv module (on Debian or Ubuntu: apt-get install python3-venv)." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# torch comes first and by itself: it is nearly all of the download, and a failure further on does not repeat it.
$(VENV)/.torch: $(VENV)/.python
	@echo "Installing $(TORCH), most of what is to be downloaded …"
	$(BIN)/pip install --quiet --disable-pip-version-check '$(TORCH)' $(if $(TORCH_INDEX),--index-url '$(TORCH_INDEX)')
	@touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml
	@echo "Installing SAIL stack …"
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[all,dev]'
	@touch $@

# Checked once; `sail doctor` repeats it whenever you like.
$(VENV)/.rendering: $(VENV)/.installed
	$(BIN)/sail doctor
	@touch $@

setup: $(VENV)/.rendering ## install everything into .venv and check that this machine can render

# A machine at an arm needs neither torch nor a simulator.
$(VENV)/.installed-arm: $(VENV)/.python pyproject.toml
	@echo "Installing what a machine at an arm needs …"
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[arm]'
	@touch $@

setup-arm: $(VENV)/.installed-arm ## install into .venv what serving an arm, recording and replaying need, without torch

improve: $(VENV)/.rendering ## improve at TASK (drawer-close) and write a report; more keys in ARGS="iterations=5 seed=1"
	$(BIN)/sail improve task=$(TASK) $(ARGS)

# Two at a time, of one thread each; in CI one after another, since slow tests of the arm count milliseconds.
TEST_JOBS ?= $(if $(filter true,$(CI)),0,2)

test: $(VENV)/.installed ## run the tests, TEST_JOBS (2) at a time; the slow ones too with SLOW=1 or in CI
	$(if $(filter 0,$(TEST_JOBS)),,OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} )$(BIN)/python -m pytest -n $(TEST_JOBS) $(if $(or $(SLOW),$(filter true,$(CI))),-m "not gpu and not network and not hardware",) $(ARGS)

check: $(VENV)/.installed ## check style, types, layers and the generated documents
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/sail report results --check

bench: $(VENV)/.rendering ## measure rendering, planning, rollouts and the store on this machine
	$(BIN)/sail bench render
	$(BIN)/sail bench planner
	$(BIN)/sail bench rollouts
	$(BIN)/sail bench store

bench-arm: $(VENV)/.installed ## measure how soon an arm moves and stops, and how steady its servo is
	$(BIN)/sail bench arm $(ARGS)

# LeRobot pins older versions of much that this project uses, torch among them: each gets an environment of its own.
LEROBOT ?= lerobot==0.4.4
LEROBOT_PYTHON ?= python3.11
LEROBOT_VENV ?= .venv-lerobot
LEROBOT_NEW ?= lerobot[dataset]==0.6.1
LEROBOT_NEW_PYTHON ?= python3.12
LEROBOT_NEW_VENV ?= .venv-lerobot-0.6

# $(call install-lerobot,package,Python,environment,name of the variable for the Python)
define install-lerobot
	@command -v $(2) >/dev/null || { echo "There is no $(2) for $(1): install it, or name another with 'make $(4)=…'." >&2; exit 1; }
	$(2) -m venv $(3)
	$(3)/bin/pip install --quiet --disable-pip-version-check $(if $(TORCH_INDEX),--extra-index-url '$(TORCH_INDEX)') '$(1)'
	@touch $@
endef

# $(call check-lerobot,environment): out, to LeRobot, and in, from it, and what it merged of ours as well
define check-lerobot
	rm -rf build/lerobot/rest build/lerobot/merged build/lerobot/theirs build/lerobot/store
	$(1)/bin/python tests/lerobot/check.py build/lerobot
	$(1)/bin/python tests/lerobot/record.py build/lerobot/theirs
	PYTHONPATH=. $(BIN)/python tests/lerobot/check_import.py build/lerobot
endef

$(LEROBOT_VENV)/.installed:
	$(call install-lerobot,$(LEROBOT),$(LEROBOT_PYTHON),$(LEROBOT_VENV),LEROBOT_PYTHON)

$(LEROBOT_NEW_VENV)/.installed:
	$(call install-lerobot,$(LEROBOT_NEW),$(LEROBOT_NEW_PYTHON),$(LEROBOT_NEW_VENV),LEROBOT_NEW_PYTHON)

check-lerobot: $(VENV)/.rendering $(LEROBOT_VENV)/.installed $(LEROBOT_NEW_VENV)/.installed ## compare both ways with two real LeRobots (downloads some 7 GiB)
	rm -rf build/lerobot
	PYTHONPATH=. $(BIN)/python tests/lerobot/make_reference.py build/lerobot
	$(call check-lerobot,$(LEROBOT_VENV))
	$(call check-lerobot,$(LEROBOT_NEW_VENV))

starter: $(VENV)/.rendering ## train the starter weights; those in starter/ are kept, so move them away to begin anew (hours)
	$(BIN)/sail train starter $(ARGS)

starter-general: $(VENV)/.rendering ## train the general planner; move general/ away to begin anew (hours)
	$(BIN)/sail train general $(ARGS)

clean: ## remove caches and build products; runs/, data/ and .venv stay
	rm -rf build dist ./*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

.PHONY: help setup setup-arm improve test check check-lerobot bench bench-arm starter starter-general clean
