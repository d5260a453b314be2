"""QC page, table of failed scans (quarantine.tsv), and description of the BIDS derivatives."""

from pathlib import Path

from _adapter import job

with job(snakemake):
    from ldae.cohort.ratings import split_ratings
    from ldae.derivatives import lost_scans, read_manifests
    from ldae.files import read_table, write_table
    from ldae.preprocess.bids_derivatives import describe_dataset, remove_withdrawn
    from ldae.preprocess.qc_page import write_page

    source, params = snakemake.input, snakemake.params
    cfg = params.settings
    folder = Path(snakemake.output.description).parent
    mriqc = source.get("mriqc")
    manifests = read_manifests(dict(source.items()))
    scans = read_table(source.scans)
    remove_withdrawn(folder, {name for table in manifests.values() for name in table["scan_id"]})
    describe_dataset(folder, params.bids, cfg, params.raw)
    write_table(lost_scans(manifests), snakemake.output.quarantine)
    write_page(
        scans,
        manifests,
        folder,
        split_ratings(source.ratings, params.files),
        params.files,
        params.rule,
        read_table(source.duplicates),
        snakemake.output.page,
        snakemake.output.measures,
        cfg,
        params.cohorts,
        read_table(mriqc) if mriqc else None,
    )
