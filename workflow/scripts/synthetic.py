"""Make a synthetic ADNI download with known truth."""

from _adapter import job

with job(snakemake):
    from ldae.synthetic import make_download

    make_download(
        snakemake.params.out,
        subjects=snakemake.params.subjects,
        visits=snakemake.params.visits,
        spacing=snakemake.params.spacing,
        seed=snakemake.params.seed,
        tables=snakemake.params.tables,
        jobs=snakemake.threads,
    )
