"""Write the report: one HTML file that opens offline."""

from _adapter import job

with job(snakemake):
    from ldae.report import build

    build(snakemake.params.results, snakemake.params.config, snakemake.output.html)
