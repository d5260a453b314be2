"""QC page, table of failed scans (quarantine.tsv), and description of the BIDS derivatives."""

from pathlib import Path

from _adapter import job

with job(snakemake):
    from ldae.cohort.inclusion import known_scans, read_decisions
    from ldae.derivatives import lost_scans, read_manifests
    from ldae.files import read_table, write_table
    from ldae.preprocess.bids_derivatives import describe_dataset, remove_withdrawn
    from ldae.preprocess.qc_page import write_page

    source, cfg = snakemake.input, snakemake.params.settings
    folder = Path(snakemake.output.description).parent
    mriqc = source.get("mriqc")
    manifests = read_manifests(dict(source.items()))
    scans = read_table(source.scans)
    known = known_scans(scans, read_table(source.conversion, ["scan_id"]))
    remove_withdrawn(folder, {name for table in manifests.values() for name in table["scan_id"]})
    describe_dataset(folder, snakemake.params.bids, cfg, snakemake.params.raw)
    write_table(lost_scans(manifests), snakemake.output.quarantine)
    write_page(
        scans,
        manifests,
        folder,
        read_decisions(snakemake.params.exclude, known),
        read_table(source.duplicates),
        snakemake.output.page,
        snakemake.output.measures,
        cfg,
        read_table(mriqc) if mriqc else None,
    )
