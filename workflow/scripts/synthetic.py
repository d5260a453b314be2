"""Synthetic cohort with known truth: an ADNI download, or preprocessed scans."""

from _adapter import job

with job(snakemake):
    from ldae.synthetic import make_download, make_preprocessed

    make = make_preprocessed if snakemake.params.preprocessed else make_download
    make(snakemake.params.out, jobs=snakemake.threads, **snakemake.params.settings)
