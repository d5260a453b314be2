# Two commands: `make demo` runs the whole workflow on a synthetic ADNI download,
# `make test` runs all tests. Both set up the environments first, once, below .venv/.
# `make` alone prints the lines that begin with #: here.
PYTHON ?= python3
ENV    := .venv/ldae
# The build of torch that is installed, or asked for, and no other. Where nothing is installed and
# nothing asked for, envs/choose_torch.py chooses (docs/install.md).
TORCH  ?= $(patsubst $(ENV)/.done-%,%,$(wildcard $(ENV)/.done-*))
BUILD  := $(TORCH:%=-%)
$(if $(filter-out cpu cuda,$(TORCH)),$(error TORCH is cpu or cuda, not $(TORCH)))
BIN    := $(abspath $(ENV))/bin
# One BLAS/OpenMP thread a process unless a rule asks for more: processes run side by side.
export OMP_NUM_THREADS ?= 1
export PATH := $(BIN):$(PATH)

SUITABLE := 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) and "Python 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.11")'

.PHONY: help demo proof sample real docs test test-unit test-browser test-cluster lint format env caller clean-env
.DEFAULT_GOAL := help

help:
	@sed -n 's/^#: \{0,1\}//p' Makefile

#: make TARGET [VARIABLE=VALUE ...]     (what needs the environments makes them first)
#:
#: demo          the whole workflow on a synthetic ADNI download; 10 to 20 minutes on two cores
#: test          style, unit tests, and those that run parts of the workflow
#: env           the environments below .venv/, once; 2-3 minutes
#:
#: proof         the demo's question in earnest, on three seeds: docs/proof.md; hours
#: sample        the models and the head of `ldae apply --sample`, from the demo's run
#: real          what the models do on real heads that you have, docs/real.md: make real REAL=FOLDER
#: docs          the pages as a site, site/index.html
#: test-unit     unit tests alone; minutes
#: test-browser  the HTML pages in Chromium, if there is one
#: test-cluster  tests on a one-node Slurm, installed here (root, Debian) if there is none
#: lint          style of Python and rules
#: format        put right what can be of it
#: caller        Snakemake alone, for jobs in a container or in conda environments
#: clean-env     delete .venv/
#:
#: PYTHON=python3.11       Python that makes the environments, 3.11, 3.12 or 3.13 (python3)
#: TORCH=cpu|cuda          build of torch (the installed one; at first cuda if a GPU is seen, else cpu)
#: TRACKER=wandb|mlflow    also install what this training.tracker needs (none)
#: DEVICE=cpu|cuda         where the proof is trained (cpu)
#: REAL=FOLDER             make real: the heads (none)
#: MODELS=results/models   make real: models of a run (the sample in the package)
#: V=1                     make demo: Snakemake's own log instead of a line a stage
#: WHICH="-m 'not slow'"   options of pytest for test-cluster (none)

env: $(ENV)/.done$(BUILD) .venv/clinica/.done $(TRACKER:%=$(ENV)/.tracker-%)

# What runs, how long it took, when all will be done; `make demo V=1`: all that Snakemake logs.
SHOWN := $(if $(V),,--logger stages --logger-stages-times profiles/demo/times.tsv)

demo: env
	snakemake --profile demo $(SHOWN)
	@echo; cat results/report/summary.md
	@echo "Done. Open $(abspath results/report/report.html) in a browser."

# Three seeds on one cohort, side by side, then the page docs/proof.md. What is done is kept: run it
# again to go on. What the seeds share is made before them, the cohort by two processes.
# On a GPU: make proof DEVICE=cuda
DEVICE ?= cpu
PROOF := snakemake --profile demo --configfile config/proof.yaml --config device=$(DEVICE)
SEEDS := proof-1 proof-2 proof-3
.PHONY: $(SEEDS)

proof: env
	$(PROOF) -- synthetic planted_labels
	$(PROOF) -- preprocess resources
	$(MAKE) --jobs 3 $(SEEDS)
	$(PROOF) -- proof
	@echo "Done: $(abspath docs/proof.md)"

$(SEEDS): proof-%:
	$(PROOF) seed=$* paths="{results: results/proof/seed-$*}" --cores 1

# The sample in the package: the models of the demo's run, which fit into 5 MB.
sample: env
	snakemake --profile demo --configfile config/demo.yaml config/sample.yaml -- sample

# A page of the heads in a folder (docs/own-scans.md). Their images stay in results/real. Status 3:
# some heads failed, which the page names.
REAL ?=
MODELS ?=
real: $(if $(REAL),env)
	@test -n "$(REAL)" || { echo "error: which heads? make real REAL=FOLDER, a folder of T1-weighted" \
		"heads (docs/own-scans.md)" >&2; exit 2; }
	ldae real "$(REAL)" $(if $(MODELS),--models "$(MODELS)",--sample) --page docs/real.md || [ $$? -eq 3 ]
	@echo "Done: $(abspath docs/real.md)"

# The pages of docs/ and those beside it as a site that needs no server and no other machine.
docs: env
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict --quiet
	@echo "Done. Open $(abspath site/index.html) in a browser."

# Two files of tests at a time, each in one process, so that what a file shares is made once.
SIDE_BY_SIDE := --numprocesses 2

# In the order of tests/workflow/conftest.py, in which the long ones come first.
test: lint test-unit test-browser
	pytest tests/workflow $(SIDE_BY_SIDE) --no-loadscope-reorder

test-unit: env
	pytest tests/unit $(SIDE_BY_SIDE) --dist loadfile

# The pages in a real Chromium: the system's, or CHROMIUM=/path/to/it; without one they are skipped.
test-browser: env
	pytest tests/browser -rs -m "not slow"

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

# The stamp is .done-cpu or .done-cuda, by the build that is installed; this keeps the choice.
REQUIRED = $(or $(TORCH:%=envs/torch-%.txt),$$($(BIN)/python envs/choose_torch.py))

$(ENV)/.done$(BUILD): envs/torch$(BUILD).txt envs/ldae.lock.txt
	$(PYTHON) -c $(SUITABLE)
	$(PYTHON) -m venv --clear $(ENV)
	$(BIN)/python -m pip install -q -c envs/ldae.lock.txt -r $(REQUIRED)
	$(BIN)/python -m pip install -q --no-deps -r envs/ldae.lock.txt
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	$(BIN)/python envs/check_torch.py $(TORCH) --stamp $(ENV)/.done

.venv/clinica/.done: envs/clinica.lock.txt
	$(PYTHON) -m venv --clear .venv/clinica
	.venv/clinica/bin/python -m pip install -q --no-deps -r envs/clinica.lock.txt
	touch $@

# Packages of training.tracker, beside those of the lock file. `make env TRACKER="wandb mlflow"`: both.
TRACKER ?=
$(ENV)/.tracker-%: envs/tracker-%.txt $(ENV)/.done$(BUILD)
	$(BIN)/python -m pip install -q -c envs/ldae.lock.txt -r $<
	touch $@

# Snakemake alone, on a machine whose jobs run in a container or in conda environments.
caller: .venv/caller/.done

.venv/caller/.done: envs/caller.txt envs/ldae.lock.txt
	$(PYTHON) -c $(SUITABLE)
	$(PYTHON) -m venv --clear .venv/caller
	.venv/caller/bin/python -m pip install -q --no-deps -r envs/caller.txt -c envs/ldae.lock.txt
	touch $@

clean-env:
	rm -rf .venv
