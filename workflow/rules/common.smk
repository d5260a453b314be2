"""Helpers of all rules: checked configuration, paths, fingerprints."""

import os
import re
import sys
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError

# The library is importable in every job, whatever environment its rule runs in.
LIBRARY = Path(workflow.basedir) / "src"
sys.path.insert(0, str(LIBRARY))
inherited = os.environ.get("PYTHONPATH")
os.environ.update(PYTHONPATH=os.pathsep.join(filter(None, [str(LIBRARY), inherited])))
# Compute nodes have no internet: no library may ask it for newer versions, or for weights.
os.environ.update(NO_ET="1", NIPYPE_NO_ET="1", HF_HUB_OFFLINE="1")

from ldae.config import check_config
from ldae.config import check_container
from ldae.data.sampling import check_batch
from ldae.errors import UserError
from ldae.files import sha256
from ldae.fingerprint import source_fingerprint
from ldae.orchestration.previous_run import delete_finished_checkpoints
from ldae.orchestration.previous_run import end_previous_run
from ldae.orchestration.training_record import ENCODING
from ldae.orchestration.training_record import PUBLISHED as PUBLISHED_MODEL
from ldae.orchestration.training_record import STAGES
from ldae.orchestration.training_record import TRAININGS
from ldae.orchestration.training_record import is_forced
from ldae.orchestration.training_record import restore_training_records
from ldae.orchestration.training_record import training_inputs
from ldae.orchestration.training_record import trainings
from ldae.models.published.authors_model import ARCHITECTURE
from ldae.models.published.authors_model import published_files
from ldae.nets.shapes import check_dae_shape
from ldae.nets.shapes import check_sizes
from ldae.training.settings import training_section

try:
    check_config(config, Path(workflow.basedir) / "workflow/schemas/config.schema.yaml")
    deployed = map(str, workflow.deployment_settings.deployment_method)
    check_container(config["software"]["container"], "apptainer" in deployed)
    # Files of the authors' model, by part; empty: the three models are trained.
    PUBLISHED = published_files(config["published"])
    architecture = ARCHITECTURE if PUBLISHED else config
    check_sizes(
        config["volumes"]["shape"], architecture["autoencoder"], architecture["ldm"]
    )
    if "dae" in config["baselines"]:
        check_dae_shape(config["dae"])
    for stage in ("autoencoder", "ldm", "ldae", *config["baselines"]):
        sizes = [
            config[stage][key] for key in ("batch_size", "micro_batch", "processes")
        ]
        check_batch(stage, *sizes)
except UserError as error:
    raise WorkflowError(str(error)) from None


# Of all rules, with --sdm apptainer.
container: config["software"]["container"]


RESULTS = config["paths"]["results"]
RESOURCES = config["paths"]["resources"]
SHARDS = range(config["preprocess"]["shards"])
GPUS = 1 if config["device"] == "cuda" else 0


HELD = []  # the lock of this run, until this process ends


def beside_a_run():
    """Whether this only looks, or lets scans be tried again: another Snakemake may go on."""
    targets = set(workflow.dag_settings.targets)
    return bool(targets) and targets <= {"check", "retry", "redo", "resources_list"}


def take_over_results():
    """Keep other Snakemakes away, and end Slurm jobs of one that was killed.

    They would write what is begun anew now.
    """
    slurm = workflow.executor_plugin.name == "slurm"
    run = workflow.scheduler._executor.run_uuid if slurm else None
    try:
        HELD.append(end_previous_run(RESULTS, ".snakemake/ldae", run))
    except UserError as error:
        raise WorkflowError(str(error)) from None


def forget_finished_trainings():
    """Delete checkpoints that nobody needs any more, unless the configuration keeps them."""
    if not config["keep_checkpoints"]:
        delete_finished_checkpoints(results("runs"), ".snakemake/incomplete")


def results(path):
    """A path below the results folder; wildcards stay as they are."""
    return f"{RESULTS}/{path}"


# The trained models and codes that evaluation reads.
MODELS = dict(
    autoencoder=results("models/autoencoder/model.json"),
    ldm=results("models/ldm/model.json"),
    ldae=results("models/ldae/model.json"),
    embeddings=results("embeddings/ldae.npz"),
)


def logfile(path="{rule}.log"):
    """A path below the folder of logs."""
    return f"{RESULTS}/logs/{path}"


def timing(path="{rule}.tsv"):
    """A path below the folder of Snakemake's benchmarks: seconds and memory of each job."""
    return f"{RESULTS}/benchmarks/{path}"


# What scripts load the models of a system with, beside the definition that they call.
SYSTEM = {
    "ldae": "inference.ldae_system:LdaeSystem",
    "dae": "inference.dae_system:DaeSystem",
}


def source(*entries):
    """A param that changes when these definitions of src/ldae, or what they use, change.

    A function, so that a job reads the source of its own rule alone.
    """
    return lambda wildcards: source_fingerprint(*entries)


@cache
def inputs_of(training):
    """The record of a training; see ldae.orchestration.training_record."""
    return training_inputs(training, config)


def ready(store, training, models=None):
    """A training's input that its store is there: more scans do not train anew, unless asked to.

    Snakemake overlooks a rule it was told to force where it lies behind an old file (`ancient`) of
    a job that runs; so the file is an ordinary one then.
    """
    path = results(f"models/training/{store}.ready")
    folders = [results(f"models/{model}") for model in models or [training]]

    def as_input(wildcards):
        dag = workflow.dag_settings
        asked = set(dag.forcerun) | (set(dag.targets) if dag.forcetargets else set())
        return path if is_forced(training, folders, asked) else ancient(path)

    return as_input


def of_system(name, system, suffix):
    """A rule's or file's name for a system: the LDAE's has none in it."""
    return f"{name}{suffix}" if system == "ldae" else f"{name}_{system}{suffix}"


def staged(path):
    """A pretrained part as an input where the configuration names one, nothing where it is off."""
    return [path] if path else []


def content(path):
    """A param that changes with a file's content, for an input whose time says nothing: `ancient`.

    A fresh clone gives new times to what git tracks.
    """
    return sha256(path) if path and Path(path).is_file() else None


def autoencoder_weights(wildcards):
    """Pretrained files of stage 1: the autoencoder's start and the perceptual loss's network."""
    section = config["autoencoder"]
    perceptual = section["perceptual"]
    return staged(section["pretrained"]) + staged(
        perceptual["net"] and perceptual["weights"]
    )


def encoder_weights(wildcards):
    """Pretrained file of the semantic encoder's backbone."""
    return staged(config["ldae"]["encoder"]["pretrained"])


def brain_extraction_weights(wildcards):
    """Files of ANTsPyNet's cache; deepbet brings its own in its package."""
    section = config["preprocess"]["brain_extraction"]
    if section["method"] != "antspynet":
        return []
    names = ("brainExtractionRobustT1.h5", "S_template3.nii.gz")
    return [f"{section['weights']}/{name}" for name in names]


def step_settings(*sections):
    """What a preprocessing step reads of the configuration: its own sections and the template."""
    return {key: config["preprocess"][key] for key in ("template", *sections)}


def evaluation(*keys):
    """What an evaluation rule reads of the configuration's section `evaluation`."""
    return {key: config["evaluation"][key] for key in keys}


def figure_settings():
    """What every drawing reads of the configuration."""
    return dict(
        dpi=config["figures"]["dpi"],
        spacing=config["volumes"]["spacing"],
        qc=config["preprocess"]["qc"],
    )


def made(inputs, folder, suffix):
    """Names of the files below a folder of the results that are among a rule's inputs."""
    found = [str(path) for path in inputs if str(path).endswith(suffix)]
    inside = [path for path in found if path.startswith(results(f"{folder}/"))]
    return sorted({Path(path).name.removesuffix(suffix) for path in inside})


def above(path, levels):
    """The folder so many levels above a file."""
    return str(Path(path).parents[levels - 1])
