"""Scores of the targets of Table 7 in one table, and their differences in another."""

from _adapter import job

with job(snakemake):
    from ldae.evaluation.probes.all_targets import join_tables

    join_tables(snakemake.input.scores, snakemake.output.table)
    join_tables(snakemake.input.differences, snakemake.output.differences)
