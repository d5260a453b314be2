"""Affine registration of a shard's scans to the template, with quality measures and pictures."""

from _adapter import job

with job(snakemake):
    from ldae.files import read_table
    from ldae.preprocess.registration import run_registration

    mriqc = snakemake.input.get("mriqc")
    run_registration(
        read_table(snakemake.input.scans),
        snakemake.params.preproc,
        snakemake.output.manifest,
        snakemake.params.settings,
        snakemake.params.volumes,
        snakemake.input.earlier,
        read_table(mriqc) if mriqc else None,
    )
