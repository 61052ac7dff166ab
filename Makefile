# sweepmake: `make help` lists what there is.
#
# CONFIG=config/examples/training.yaml and CORES=4 choose another sweep and number of cores,
# PROFILE=slurm a cluster; STATUS="failed unsupported" what `make retry` measures again.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
VENV ?= .venv
CORES ?= all
CONFIG ?= config/config.yaml
PROFILE ?=
STATUS ?= failed
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c envs/constraints.txt
WHERE = $(if $(PROFILE),--profile '$(PROFILE)',--cores $(CORES))
SNAKEMAKE = $(BIN)/snakemake $(WHERE) --configfile '$(CONFIG)'

.PHONY: run test check retry status test-slurm slurm-packages format lock clean help

run: $(VENV)/installed ## the default sweep and its report, from nothing but Python >= 3.11, git and make
	@$(BIN)/python -m scripts.validate_config '$(CONFIG)'
	@$(SNAKEMAKE)
	@$(MAKE) --no-print-directory results/report.html

results/report.html: results/summary.csv $(wildcard report/* results/tables/* results/figures/*) $(wildcard $(CONFIG))
	@$(SNAKEMAKE) --report $@ --quiet all
	@echo "The summary is results/summary.csv, the report is $@"

retry: $(VENV)/installed ## measure failed runs again
	@$(BIN)/python -m scripts.retry_failed --results-dir results --status $(STATUS)
	@$(MAKE) --no-print-directory run

status: $(VENV)/installed ## what is done, running, failed and missing, and why
	@$(BIN)/python -m scripts.show_status --config '$(CONFIG)' > /dev/null

test: $(VENV)/installed-dev ## all tests
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-slurm: $(VENV)/installed-dev slurm-packages ## the Slurm tests, with Debian's Slurm where it can be installed
	$(BIN)/python -m pytest tests/slurm

# Debian's Slurm where apt-get and root are at hand; elsewhere its tests skip and say so.
slurm-packages:
	@command -v slurmctld || test "$$(id -u)" != 0 || ! command -v apt-get > /dev/null \
	  || { apt-get update -qq && apt-get install -qq --no-install-recommends slurm-wlm munge; } \
	  || echo "Slurm could not be installed; its tests will be skipped"

check: $(VENV)/installed-dev ## formatters, linters, types, generated files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint
	$(BIN)/python -m scripts.document_config --check

format: $(VENV)/installed-dev ## format, and regenerate config/README.md, schema.json and identity.json
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile rules
	$(BIN)/python -m scripts.document_config

lock: $(VENV)/installed-dev ## pin what the requirements brought along in this environment
	$(BIN)/python envs/pin_versions.py

$(VENV)/installed: envs/requirements.txt envs/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "sweepmake needs Python 3.11 or later")'
	@echo "Creating the environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) -r envs/requirements.txt
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed envs/requirements-dev.txt
	@$(PIP) -r envs/requirements-dev.txt
	@touch $@

clean: ## remove results, logs and Snakemake's records
	rm -rf results logs .snakemake

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20
