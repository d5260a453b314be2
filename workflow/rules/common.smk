"""Helpers of all rules: validated configuration, paths, fingerprints."""

import os
import re
import sys
from functools import cache
from pathlib import Path

from snakemake.exceptions import WorkflowError

# The project's folder, also where another workflow imports this one as a module.
WHERE = str(workflow.current_basedir.get_path_or_uri(secret_free=True))
if "://" in WHERE:
    raise WorkflowError(
        "This workflow needs its library and environments beside it: clone the project, and name "
        "its local workflow/Snakefile in the module statement."
    )
PROJECT = Path(WHERE).parents[1]


def of_project(path):
    """A file of the project, relative to the working directory."""
    return os.path.relpath(PROJECT / path)


# The library is importable in every job, whatever environment its rule runs in.
LIBRARY = PROJECT / "src"
sys.path.insert(0, str(LIBRARY))
# A logger of Snakemake may have imported the library of another copy of the project.
loaded = sys.modules.get("ldae")
if loaded and Path(loaded.__file__).parents[1] != LIBRARY:
    for name in [name for name in sys.modules if name.split(".")[0] == "ldae"]:
        del sys.modules[name]
inherited = os.environ.get("PYTHONPATH")
os.environ.update(PYTHONPATH=os.pathsep.join(filter(None, [str(LIBRARY), inherited])))
# Compute nodes have no internet: no library may look there for newer versions or weights.
os.environ.update(NO_ET="1", NIPYPE_NO_ET="1", HF_HUB_OFFLINE="1")

from snakemake_logger_plugin_stages import LogHandler as StagesHandler

from ldae.config import check_config, check_container, mriqc_bounds
from ldae.config import only_synthetic_brains, restore_types
from ldae.data.sampling import check_batch
from ldae.derivatives import Shards
from ldae.errors import UserError
from ldae.evaluation.probes.target_table import AGE as AGE_TARGET
from ldae.evaluation.probes.target_table import DIAGNOSIS as DIAGNOSIS_TARGET
from ldae.evaluation.probes.target_table import STANDARD, target_table
from ldae.evaluation.published_values import comparable_systems
from ldae.files import sha256
from ldae.fingerprint import source_fingerprint
from ldae.ground_truth.planted_relations import require_planted
from ldae.orchestration.command_line import given_arguments, require_targets
from ldae.orchestration.command_line import require_profile_configuration
from ldae.orchestration.previous_run import delete_finished_checkpoints
from ldae.orchestration.previous_run import end_previous_run
from ldae.orchestration.training_record import ENCODING
from ldae.orchestration.training_record import PUBLISHED as PUBLISHED_MODEL
from ldae.orchestration.training_record import STAGES, TRAININGS
from ldae.orchestration.training_record import is_forced, restore_training_records
from ldae.orchestration.training_record import training_inputs, trainings
from ldae.models.published.authors_model import ARCHITECTURE, published_files
from ldae.nets.shapes import check_dae_shape, check_shapes
from ldae.training.settings import stage_of, training_section

ASKED = given_arguments()  # None in jobs
TARGETS = set(ASKED.targets or []) if ASKED else set()
# Whether another workflow imports this one as a module.
IMPORTED = not Path(workflow.main_snakefile).resolve().is_relative_to(PROJECT.resolve())

try:
    schema = PROJECT / "workflow/schemas/config.schema.yaml"
    restore_types(config, workflow.config_settings.config, schema)
    check_config(config, schema)
    if ASKED and not IMPORTED:
        require_profile_configuration(
            ASKED.profile or [], workflow.config_settings.configfiles, config
        )
    PROBE_TARGETS = target_table(config["evaluation"]["targets"])
    if config["evaluation"]["planted"]:
        require_planted(PROBE_TARGETS, config["evaluation"]["planted"]["labels"])
    deployed = map(str, workflow.deployment_settings.deployment_method)
    check_container(config["software"]["container"], "apptainer" in deployed)
    # Files of the authors' published weights, by part; empty: the three models are trained.
    PUBLISHED = published_files(config["published"])
    architecture = ARCHITECTURE if PUBLISHED else config
    check_shapes(
        config["volumes"]["shape"], architecture["autoencoder"], architecture["ldm"]
    )
    if "dae" in config["baselines"]:
        check_dae_shape(config["dae"])
    for section in dict.fromkeys(map(stage_of, (*STAGES, *config["baselines"]))):
        sizes = [
            config[section][key] for key in ("batch_size", "micro_batch", "processes")
        ]
        check_batch(section, *sizes)
except UserError as error:
    raise WorkflowError(str(error)) from None


# Of all rules, with --sdm apptainer.
container: config["software"]["container"]


RESULTS = config["paths"]["results"]
RESOURCES = config["paths"]["resources"]
TRUTHS = config["evaluation"]["truth"] or []  # truth.tsv of each synthetic cohort
if isinstance(TRUTHS, str):
    TRUTHS = [TRUTHS]
PLANTED = config["evaluation"]["planted"]  # labels to make of the truth; null: none
# Numbers of the shards of raw heads, of scans that came preprocessed, and of both.
RAW_SHARDS, PREPROCESSED_SHARDS = Shards.of(
    config["cohort"], config["preprocess"]["shards"]
)
SHARDS = [*RAW_SHARDS, *PREPROCESSED_SHARDS]
GPUS = 1 if config["device"] == "cuda" else 0
RUN_LOCK = []  # the lock, held until this process ends


def runs_without_lock():
    """Whether all targets only check, list or reset: then another Snakemake may run meanwhile."""
    targets = set(workflow.dag_settings.targets)
    return bool(targets) and targets <= {"check", "retry", "redo", "resources_list"}


def check_targets():
    """Refuse a target that does not exist, unless another workflow imports this one."""
    if IMPORTED:
        return
    try:
        require_targets(TARGETS, [rule.name for rule in workflow.rules])
    except UserError as error:
        raise WorkflowError(str(error)) from None


def tell_display():
    """Tell the logger ``stages``, where it is used, which rules have no benchmark."""
    untimed = [rule.name for rule in workflow.rules if not rule.benchmark]
    for handler in workflow.logger_manager.plugin_handlers:
        if isinstance(handler, StagesHandler):
            handler.leave_out(untimed)


def lock_results():
    """Lock the results folder, and cancel Slurm jobs left by a Snakemake that was killed.

    Those jobs would write the files that this run makes again.
    """
    slurm = workflow.executor_plugin.name == "slurm"
    run = workflow.scheduler._executor.run_uuid if slurm else None
    try:
        RUN_LOCK.append(end_previous_run(RESULTS, ".snakemake/ldae", run))
    except UserError as error:
        raise WorkflowError(str(error)) from None


def remove_finished_checkpoints():
    """Delete the checkpoints of finished trainings, unless the configuration keeps them."""
    if not config["keep_checkpoints"]:
        delete_finished_checkpoints(results("runs"), ".snakemake/incomplete")


def one_of(values):
    """A constraint of a wildcard: one of these values; without any, none matches."""
    return "|".join(map(str, values)) or "(?!)"


def results(path):
    """A path below the results folder; wildcards stay as they are."""
    return f"{RESULTS}/{path}"


# The trained LDAE, and its embeddings (y_sem of every scan), that the evaluation reads.
LDAE = "inference.ldae_system:LdaeSystem"
MODELS = dict(
    autoencoder=results("models/autoencoder/model.json"),
    ldm=results("models/ldm/model.json"),
    ldae=results("models/ldae/model.json"),
    embeddings=results("embeddings/ldae.npz"),
)
# Trained system -> the class that loads it, the files that it is loaded from, the one of them with
# the semantic encoder, what loads that encoder for each of its embeddings, and the largest number
# of test scans to reconstruct. Tables 5 to 7, the probes and the ground truth follow from this.
TRAINED_SYSTEMS = {
    "ldae": dict(
        loaded_by=LDAE,
        models=MODELS,
        encoder="ldae",
        embeddings={
            "ldae": "inference.embeddings:ldae_encoder",
            "untrained": "inference.embeddings:untrained_encoder",
        },
        max_scans=None,
    )
}
if "ldae_slices" in config["baselines"]:
    TRAINED_SYSTEMS["ldae_slices"] = dict(
        loaded_by="inference.ldae_slices_system:LdaeSlicesSystem",
        models=dict(
            autoencoder=MODELS["autoencoder"],
            ldm=MODELS["ldm"],
            ldae_slices=results("models/ldae_slices/model.json"),
        ),
        encoder="ldae_slices",
        embeddings={"ldae_slices": "inference.embeddings:ldae_encoder"},
        max_scans=None,
    )
if "dae" in config["baselines"]:
    TRAINED_SYSTEMS["dae"] = dict(
        loaded_by="inference.dae_system:DaeSystem",
        models=dict(dae=results("models/dae/model.json")),
        encoder="dae",
        embeddings={"dae": "inference.dae_system:dae_encoder"},
        max_scans=config["dae"]["test_scans"],
    )


def logfile(path="{rule}.log"):
    """A path below the folder of logs."""
    return f"{RESULTS}/logs/{path}"


def timing(path="{rule}.tsv"):
    """A path below the folder of Snakemake's benchmarks: seconds and memory of each job."""
    return f"{RESULTS}/benchmarks/{path}"


def source(*entries):
    """A param that changes when these definitions of src/ldae, or definitions they use, change.

    It is a function, so that a job reads only the source that its own rule depends on.
    """
    return lambda wildcards: source_fingerprint(*entries)


@cache
def cached_training_inputs(training):
    """All that a training depends on besides its input files: the content of its record."""
    return training_inputs(training, config)


def ready_mark(store, training, models=None):
    """A training's input that marks a store as ready, without depending on the scans in it.

    The mark is `ancient`: a store with more scans does not train a model again. It is an ordinary
    input if the user forces the training or a file of its models. Otherwise Snakemake would ignore
    a forced rule that is reached through an `ancient` file of a job that runs.

    Args:
        store: volumes or latents.
        training: Name of the training.
        models: Names of the models that it makes; None: one, with the training's name.
    """
    path = results(f"models/training/{store}.ready")
    folders = [results(f"models/{model}") for model in models or [training]]

    def as_input(wildcards):
        dag = workflow.dag_settings
        asked = set(dag.forcerun) | (set(dag.targets) if dag.forcetargets else set())
        return path if is_forced(training, folders, asked) else ancient(path)

    return as_input


def with_system(name, system, suffix):
    """Name of a rule or file for a system, such as `name_dae.tsv`; the LDAE has no suffix."""
    return f"{name}{suffix}" if system == "ldae" else f"{name}_{system}{suffix}"


def optional_input(path):
    """A list with the path that the configuration names; empty if it is null."""
    return [path] if path else []


def rating_files():
    """Files of people's ratings (cohort.exclude), one a rater."""
    files = config["cohort"]["exclude"]
    return optional_input(files) if isinstance(files, str) else files or []


def content_hash(path):
    """SHA-256 of a file, a param for an `ancient` input; None without a file.

    Files that git tracks get new times in a fresh clone, so their times must not count.
    """
    return sha256(path) if path and Path(path).is_file() else None


def autoencoder_weights(wildcards):
    """Pretrained files of stage 1: the autoencoder's start and the perceptual loss's network."""
    section = config["autoencoder"]
    perceptual = section["perceptual"]
    return optional_input(section["pretrained"]) + optional_input(
        perceptual["net"] and perceptual["weights"]
    )


def encoder_weights(wildcards):
    """Pretrained file of the semantic encoder's backbone."""
    return optional_input(config["ldae"]["encoder"]["pretrained"])


def ldae_weights(wildcards):
    """Pretrained file of stage 3; an encoder of components alone has no backbone."""
    components = config["ldae"]["encoder"]["kind"] == "components"
    return [] if components else encoder_weights(wildcards)


def brain_extraction_weights(wildcards):
    """Files of ANTsPyNet's cache; deepbet brings its own in its package."""
    section = config["preprocess"]["brain_extraction"]
    if section["method"] != "antspynet":
        return []
    names = ("brainExtractionRobustT1.h5", "S_template3.nii.gz")
    return [f"{section['weights']}/{name}" for name in names]


def step_settings(*sections):
    """The configuration of a preprocessing step: its own sections and the template."""
    return {key: config["preprocess"][key] for key in ("template", *sections)}


def evaluation(*keys):
    """The keys of the configuration's section `evaluation` that a rule depends on."""
    return {key: config["evaluation"][key] for key in keys}


def part_of(name, *keys):
    """The keys of the section `name` within `evaluation` that a rule depends on."""
    return {name: {key: config["evaluation"][name][key] for key in keys}}


# Of the diagnosis' entry in the table of targets: its classes are those of other experiments too.
CLASSES = config["evaluation"]["targets"][DIAGNOSIS_TARGET]["classes"]
DIAGNOSIS = {"targets": {DIAGNOSIS_TARGET: {"classes": CLASSES}}}


def figure_settings():
    """The configuration of every figure."""
    return dict(
        dpi=config["figures"]["dpi"],
        spacing=config["volumes"]["spacing"],
        qc=config["preprocess"]["qc"],
        template=config["preprocess"]["template"]["name"],
        paper=comparable_systems(config),
    )


# Pages that the report links to. A file of rules with one more adds it here, and its title to PAGES
# of ldae.report.build.
REPORT_PAGES = [results("qc/index.html")]


def report_pages(wildcards):
    """The pages that the report links to, when all rules have been read."""
    return REPORT_PAGES


def input_names(inputs, folder, suffix):
    """Sorted names, without `suffix`, of the inputs that lie below a folder of the results."""
    found = [str(path) for path in inputs if str(path).endswith(suffix)]
    inside = [path for path in found if path.startswith(results(f"{folder}/"))]
    return sorted({Path(path).name.removesuffix(suffix) for path in inside})


def parent_folder(path, levels):
    """The folder `levels` levels above a file; 1: the one that holds it."""
    return str(Path(path).parents[levels - 1])
