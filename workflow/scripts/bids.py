"""Merged BIDS data set of all batches and imported data sets, and the table of all their images."""

from _adapter import job

with job(snakemake):
    from pathlib import Path

    from ldae.conversion.merge import merge_parts, remove_stale
    from ldae.files import write_json, write_table

    conversion = merge_parts(
        {name: Path(snakemake.params.folder, name) for name in snakemake.params.names},
        dict(zip(snakemake.params.names, snakemake.input.parts, strict=True)),
        snakemake.input.get("images") or None,
        snakemake.params.cohort,
        snakemake.output.bids,
    )
    write_table(conversion, snakemake.output.conversion)
    remove_stale(snakemake.params.folder, snakemake.params.cohort, snakemake.params.names)
    write_json(snakemake.params.sources, snakemake.output.download)
