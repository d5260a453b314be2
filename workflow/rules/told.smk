"""What each training is told, and how it waits for its store."""

from functools import cache

from ldae.orchestration.training_record import recall

STAGES = ("autoencoder", "ldm", "ldae")

# What makes the scans a model sees what they are, whoever they are of. The sources of preprocessing
# are not in it: whether scans look otherwise is seen in the scans (ldae.models.training_scans).
DATA = dict(
    volumes=config["volumes"],
    template=config["preprocess"]["template"]["name"],
    **{
        step: {
            key: value
            for key, value in config["preprocess"][step].items()
            if key not in ("weights", "retry_below")
        }
        for step in ("n4", "brain_extraction", "registration")
    },
    splits={
        key: config["cohort"]["splits"][key]
        for key in ("test_fraction", "val_fraction", "seed")
    },
)
DIFFUSION = dict(diffusion=config["diffusion"])
LATENTS = dict(
    latents={key: config["latents"][key] for key in ("source", "variance")},
)


# What each training calls: how it is built, the loop, and what is saved.
BUILT_BY = {
    **{stage: f"training.stages:{stage}" for stage in (*STAGES, "dae")},
    "supervised_diagnosis": "training.stages:supervised",
    "supervised_age": "training.stages:supervised",
}


def told(stage, latents=False, diffusion=False):
    """What a training is told, and of which source it is; another word of it is another model."""
    entries = (BUILT_BY[stage], "training.loop:fit", "training.stages:save_trained")
    form = source_fingerprint("data.volume_transform")
    return dict(
        settings=learnt(section(config, stage)),
        seed=config["seed"],
        source=source_fingerprint(*entries),
        data=DATA | {"source": form},
        **(LATENTS | {"encoding": source_fingerprint(*ENCODING)} if latents else {}),
        **(DIFFUSION if diffusion else {}),
    )


def forced(name, *stages):
    """Whether the user asked for a training anew: by its rule, or by a file of one of its models."""
    dag = workflow.dag_settings
    asked = set(dag.forcerun) | (set(dag.targets) if dag.forcetargets else set())
    folders = tuple(results(f"models/{stage}/") for stage in stages or [name])
    return any(item == name or item.startswith(folders) for item in map(str, asked))


def ready(store, name, *stages):
    """A training's input that its store is there: more scans do not train anew, unless asked to.

    Snakemake overlooks a rule it was told to force where it lies behind an old file (`ancient`) of
    a job that runs; so the file is an ordinary one then.
    """
    path = results(f"models/training/{store}.ready")
    return lambda wildcards: path if forced(name, *stages) else ancient(path)


# Whether a training reads latents, and whether it diffuses.
TRAININGS = {
    "autoencoder": {},
    "ldm": dict(latents=True, diffusion=True),
    "ldae": dict(latents=True, diffusion=True),
    "dae": dict(diffusion=True),
    "supervised_diagnosis": {},
    "supervised_age": {},
    "published": {},
}


@cache
def told_of(name):
    """By rule, all that a training depends on besides its input files."""
    if name == "published":
        # The form of the volumes that the cards of published weights say they are for.
        keys = ("spacing", "shape", "dtype")
        return dict(
            volumes={key: config["volumes"][key] for key in keys},
            template=config["preprocess"]["template"]["name"],
        )
    return told(name, **TRAININGS[name])


def recall_told():
    """Write lost notes of what trainings were told again: without them they would train anew."""
    found = ["published"] if PUBLISHED else [*STAGES]
    found += [name for name in TRAININGS if name.startswith(tuple(config["baselines"]))]
    for name in found:
        model = STAGES[-1] if name == "published" else name
        lost = results(f"models/training/{name}.json")
        try:
            stores = ["volumes", *(["latents"] if "latents" in TRAININGS[name] else [])]
            recall(told_of(name), lost, results(f"models/{model}"), stores)
        except UserError as error:
            raise WorkflowError(str(error)) from None


# Jobs read this as well: not where the note is just being written.
if workflow.is_main_process:
    recall_told()
