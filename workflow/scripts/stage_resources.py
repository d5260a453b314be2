"""Staging of weights and templates, validated by checksum, and the table of their sources."""

import os

from _adapter import job

os.environ.pop("HF_HUB_OFFLINE", None)  # set for all other jobs (rules/common.smk)
with job(snakemake):
    from ldae.files import write_table
    from ldae.resources.staging import stage, staged_table
    from ldae.resources.table import load_resources

    params = snakemake.params
    table = load_resources(params.table)
    for name in params.names:
        stage(name, table, params.folder, snakemake.config["paths"]["mirrors"])
    if snakemake.output.get("table"):
        write_table(staged_table(table, params.folder), snakemake.output.table)
