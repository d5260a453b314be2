"""What each training is told, and how it waits for its store."""

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


def ready(store, stage):
    """A training's input that its store is there: more scans do not train anew, unless asked to.

    Snakemake overlooks a rule it was told to force where it lies behind an old file (`ancient`) of
    a job that runs; so the file is an ordinary one then.
    """
    path = results(f"models/training/{store}.ready")

    def given(wildcards):
        dag = workflow.dag_settings
        forced = dag.forcerun | (dag.targets if dag.forcetargets else set())
        return path if stage in forced else ancient(path)

    return given


# By stage, all that a training depends on besides its input files.
TRAININGS = {
    "autoencoder": told("autoencoder", data=DATA),
    "ldm": told("ldm", data=DATA, **LATENTS, **DIFFUSION),
    "ldae": told("ldae", data=DATA, **LATENTS, **DIFFUSION),
    "dae": told("dae", data=DATA, **DIFFUSION),
    "supervised_diagnosis": told("supervised_diagnosis", data=DATA),
    "supervised_age": told("supervised_age", data=DATA),
}
