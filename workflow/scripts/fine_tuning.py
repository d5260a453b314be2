"""Table of the fine-tuning experiment."""

from _adapter import folder, job

with job(snakemake):
    from ldae.evaluation.fine_tuning_table import write_fine_tuning_table

    names = snakemake.params.cases
    write_fine_tuning_table(
        dict(zip(names, snakemake.input.predictions, strict=True)),
        {name: folder(path) for name, path in zip(names, snakemake.input.cards, strict=True)},
        snakemake.params.classes,
        snakemake.output.table,
        snakemake.params.settings["bootstrap"],
        snakemake.params.seed,
    )
