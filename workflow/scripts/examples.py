"""Example volumes of a few subjects, for the figures."""

from _adapter import folder, job, load_system_and_settings

with job(snakemake):
    from ldae.evaluation.examples import reconstruction_examples
    from ldae.evaluation.manipulation import manipulation_examples

    system, settings = load_system_and_settings(snakemake)
    volumes, embeddings = folder(snakemake.input.volumes), snakemake.input.embeddings
    subjects = snakemake.params.subjects
    reconstruction_examples(
        system,
        volumes,
        embeddings,
        snakemake.output.reconstruction,
        settings,
        subjects,
        snakemake.params.samples,
    )
    manipulation_examples(
        system,
        volumes,
        embeddings,
        snakemake.input.classifier,
        snakemake.output.manipulation,
        snakemake.output.progression,
        snakemake.output.progression_reverse,
        settings,
        subjects,
    )
