"""Check Clinica's output scan by scan, finish the BIDS folder, account for every image."""

from _adapter import job

with job(snakemake):
    from ldae.cohort.convert import finish_bids
    from ldae.cohort.ledger import check_conversion
    from ldae.files import write_json

    conversion = finish_bids(
        snakemake.input.bids,
        snakemake.input.images,
        snakemake.input.tables,
        snakemake.output.bids,
        snakemake.output.conversion,
        jobs=snakemake.threads,
    )
    check_conversion(conversion, snakemake.params.max_failed_fraction)
    download = {kind: snakemake.input[kind] for kind in ("images", "tables")}
    write_json(download, snakemake.output.download)
