"""Write the report, its methods text with references, and what each rule took."""

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
    )
