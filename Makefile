# Two commands: `make demo` runs the whole workflow on a synthetic ADNI download,
# `make test` runs all tests. Both set up the environments first, once, below .venv/.
PYTHON ?= python3
ENV    := .venv/ldae
# `make env TORCH=cpu` or TORCH=cuda: that build of torch and no other; it stays until the other is
# asked for. Without it: the build that pip prefers here (docs/install.md).
TORCH  ?= $(patsubst $(ENV)/.done-%,%,$(wildcard $(ENV)/.done-*))
BUILD  := $(TORCH:%=-%)
$(if $(filter-out cpu cuda,$(TORCH)),$(error TORCH is cpu or cuda, not $(TORCH)))
BIN    := $(abspath $(ENV))/bin
# One BLAS/OpenMP thread a process unless a rule asks for more: processes run side by side.
export OMP_NUM_THREADS ?= 1
export PATH := $(BIN):$(PATH)

NEW_ENOUGH := 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'

.PHONY: demo proof sample test test-unit test-cluster lint format env caller clean-env
.DEFAULT_GOAL := demo

env: $(ENV)/.done$(BUILD) .venv/clinica/.done

demo: env
	snakemake --profile demo
	@echo "Done. Open $(abspath results/report/report.html) in a browser."

# Three seeds on one cohort, side by side, then the page docs/proof.md. What is done is kept: run it
# again to go on. What the seeds share is made before them, the cohort by two processes.
# On a GPU: make proof DEVICE=cuda
DEVICE ?= cpu
PROOF := snakemake --profile demo --configfile config/demo.yaml config/proof.yaml --config device=$(DEVICE)
SEEDS := proof-1 proof-2 proof-3
.PHONY: $(SEEDS)

proof: env
	$(PROOF) threads=2 -- synthetic
	$(PROOF) -- preprocess resources
	$(MAKE) --jobs 3 $(SEEDS)
	$(PROOF) -- proof
	@echo "Done: $(abspath docs/proof.md)"

$(SEEDS): proof-%:
	$(PROOF) seed=$* paths="{results: results/proof/seed-$*}" --cores 1

# The sample in the package: trained on the demo's cohort, with networks small enough to be shipped.
sample: env
	snakemake --profile demo --configfile config/demo.yaml config/sample.yaml -- sample

# Two files of tests at a time, each in one process, so that what a file shares is made once.
SIDE_BY_SIDE := --numprocesses 2

# Those on a finished run take longest; in the order of names they begin first.
test: lint test-unit
	pytest tests/workflow $(SIDE_BY_SIDE) --no-loadscope-reorder

test-unit: env
	pytest tests/unit $(SIDE_BY_SIDE) --dist loadfile

# On a real one-node Slurm, which tests/cluster/one_node_slurm.sh installs and starts (root, Debian;
# elsewhere they are skipped). WHICH="-m 'not slow'" leaves out those that take more than a minute.
test-cluster: env
	pytest tests/cluster $(WHICH)

lint: env
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow
	snakemake --profile demo --lint

format: env
	ruff check --fix .
	ruff format .
	snakefmt Snakefile workflow

$(ENV)/.done$(BUILD): envs/torch$(BUILD).txt envs/ldae.lock.txt
	$(PYTHON) -c $(NEW_ENOUGH)
	$(PYTHON) -m venv --clear $(ENV)
	$(BIN)/python -m pip install -q -r envs/torch$(BUILD).txt -c envs/ldae.lock.txt
	$(BIN)/python -m pip install -q --no-deps -r envs/ldae.lock.txt
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	$(BIN)/python envs/check_torch.py $(TORCH)
	touch $@

.venv/clinica/.done: envs/clinica.lock.txt
	$(PYTHON) -m venv --clear .venv/clinica
	.venv/clinica/bin/python -m pip install -q --no-deps -r envs/clinica.lock.txt
	touch $@

# Snakemake alone, on a machine whose jobs run in a container or in conda environments.
caller: .venv/caller/.done

.venv/caller/.done: envs/caller.txt envs/ldae.lock.txt
	$(PYTHON) -c $(NEW_ENOUGH)
	$(PYTHON) -m venv --clear .venv/caller
	.venv/caller/bin/python -m pip install -q --no-deps -r envs/caller.txt -c envs/ldae.lock.txt
	touch $@

clean-env:
	rm -rf .venv
