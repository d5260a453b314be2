"""Report, methods text with references, and time and memory of each rule."""

from _adapter import job

with job(snakemake):
    from ldae.report.build import build

    build(
        snakemake.params.results,
        snakemake.params.config,
        dict(snakemake.output.items()),
        snakemake.params.tables,
        snakemake.params.figures,
        snakemake.params.asked,
        snakemake.params.pages,
    )
