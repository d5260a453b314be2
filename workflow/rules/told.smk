"""What each training is told, and how it waits for its store."""

from ldae.training.told import recall

STAGES = ("autoencoder", "ldm", "ldae")

# What makes the scans a model sees what they are, whoever they are of. The sources of preprocessing
# are not in it: whether scans look otherwise is seen in the scans (ldae.data.seen).
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
    source=source("data/volume_transform.py", "data/intensities.py"),
)
DIFFUSION = dict(diffusion=config["diffusion"])
LATENTS = dict(
    latents={key: config["latents"][key] for key in ("source", "variance")},
    encoding=source("training/latent_rows.py", "nets/autoencoder.py"),
)


def told(stage, **more):
    """What a training is told, and of which source it is; another word of it is another model."""
    names = (stage.split("_")[0], "loop", "product")
    return dict(
        settings=learnt(section(config, stage)),
        seed=config["seed"],
        source=source(*[f"training/{name}.py" for name in names]),
        **more,
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


# By rule, all that a training depends on besides its input files.
TRAININGS = {
    "autoencoder": told("autoencoder", data=DATA),
    "ldm": told("ldm", data=DATA, **LATENTS, **DIFFUSION),
    "ldae": told("ldae", data=DATA, **LATENTS, **DIFFUSION),
    "dae": told("dae", data=DATA, **DIFFUSION),
    "supervised_diagnosis": told("supervised_diagnosis", data=DATA),
    "supervised_age": told("supervised_age", data=DATA),
    # The form of the volumes that the cards of published weights say they are for.
    "published": dict(
        volumes={key: config["volumes"][key] for key in ("spacing", "shape", "dtype")},
        template=config["preprocess"]["template"]["name"],
    ),
}


def recall_told():
    """Write lost notes of what trainings were told again: without them they would train anew."""
    found = ["published"] if PUBLISHED else [*STAGES]
    found += [name for name in TRAININGS if name.startswith(tuple(config["baselines"]))]
    for name in found:
        model = STAGES[-1] if name == "published" else name
        lost = results(f"models/training/{name}.json")
        try:
            stores = ["volumes", *(["latents"] if "latents" in TRAININGS[name] else [])]
            recall(TRAININGS[name], lost, results(f"models/{model}"), stores)
        except UserError as error:
            raise WorkflowError(str(error)) from None


# Jobs read this as well: not where the note is just being written.
if workflow.is_main_process:
    recall_told()
