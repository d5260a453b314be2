"""Page of the proof, from the finished runs of all seeds."""

from _adapter import job

with job(snakemake):
    from ldae.report.proof_page import build_proof

    build_proof(
        snakemake.params.runs,
        snakemake.output.page,
        snakemake.output.images,
        snakemake.input.configuration,
        snakemake.params.command,
        snakemake.params.alpha,
    )
