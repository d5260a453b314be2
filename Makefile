# Two commands: `make demo` runs the whole workflow on a synthetic ADNI download,
# `make test` runs all tests. Both set up the environments first, once, below .venv/.
PYTHON ?= python3
ENV    := .venv/ldae
BIN    := $(abspath $(ENV))/bin
# One BLAS/OpenMP thread a process unless a rule asks for more: processes run side by side.
export OMP_NUM_THREADS ?= 1
export PATH := $(BIN):$(PATH)

.PHONY: demo proof test test-unit lint format env clean-env
.DEFAULT_GOAL := demo

env: $(ENV)/.done .venv/clinica/.done

demo: env
	snakemake --profile demo
	@echo "Done. Open $(abspath results/report/report.html) in a browser."

# Three seeds on one cohort, then the page docs/proof.md. What is done is kept: run it again to go on.
PROOF := snakemake --profile demo --configfile config/demo.yaml config/proof.yaml

proof: env
	for seed in 1 2 3; do \
	  $(PROOF) --config seed=$$seed paths="{results: results/proof/seed-$$seed}" || exit 1; \
	done
	$(PROOF) proof --config seed=1
	@echo "Done: $(abspath docs/proof.md)"

test: lint test-unit
	pytest tests/workflow

test-unit: env
	pytest tests/unit

lint: env
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow
	snakemake --profile demo --lint

format: env
	ruff check --fix .
	ruff format .
	snakefmt Snakefile workflow

$(ENV)/.done: envs/torch.txt envs/ldae.lock.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv --clear $(ENV)
	$(BIN)/python -m pip install -q -r envs/torch.txt -c envs/ldae.lock.txt
	$(BIN)/python -m pip install -q --no-deps -r envs/ldae.lock.txt
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	touch $@

.venv/clinica/.done: envs/clinica.lock.txt
	$(PYTHON) -m venv --clear .venv/clinica
	.venv/clinica/bin/python -m pip install -q --no-deps -r envs/clinica.lock.txt
	touch $@

clean-env:
	rm -rf .venv
