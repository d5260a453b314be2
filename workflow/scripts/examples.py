"""Example volumes of a few subjects, for the figures."""

from _adapter import folder, job, load_system

with job(snakemake):
    from ldae.evaluation.examples import reconstruction_examples
    from ldae.evaluation.manipulation import manipulation_examples

    system = load_system(snakemake)
    volumes, embeddings = folder(snakemake.input.volumes), snakemake.input.embeddings
    settings, subjects = snakemake.params.settings, snakemake.params.subjects
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
