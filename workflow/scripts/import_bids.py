"""Import of a BIDS data set: links to its images, and its tables with the workflow's columns."""

from _adapter import job

with job(snakemake):
    from ldae.conversion.import_bids import import_bids

    import_bids(
        snakemake.input.bids_dir,
        snakemake.wildcards.cohort,
        part_dir=snakemake.params.part,
        conversion=snakemake.output.conversion,
        jobs=snakemake.threads,
        **snakemake.params.settings,
    )
