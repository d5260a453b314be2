"""Ledger of every image, flow from download to models, and Table 1."""

from _adapter import job

with job(snakemake):
    from ldae.cohort.flow import flow_table
    from ldae.cohort.ledger import build_ledger, check_images
    from ldae.cohort.ratings import load_decisions
    from ldae.cohort.table1 import cohort_table
    from ldae.conversion.downloaded_scans import instead_of
    from ldae.derivatives import read_manifests
    from ldae.files import read_table, write_table

    source, outputs = snakemake.input, snakemake.output
    conversion, duplicates, scans, splits, volumes = (
        read_table(source[name])
        for name in ("conversion", "duplicates", "scans", "splits", "volumes")
    )
    manifests = read_manifests(dict(source.items()))
    decisions = load_decisions(source.decisions)
    passed_over = source.passed_over
    instead = instead_of(read_table(passed_over)) if passed_over else {}
    ledger = build_ledger(
        conversion,
        duplicates,
        scans,
        splits,
        manifests,
        volumes,
        decisions,
        snakemake.params.preprocessed,
        instead,
    )
    if source.images:
        check_images(
            ledger, read_table(source.images, ["image_id", "path"]), snakemake.params.cohort
        )
    used = scans[scans["scan_id"].isin(volumes["scan_id"])]
    write_table(ledger, outputs.ledger)
    write_table(flow_table(ledger, conversion), outputs.flow)
    write_table(cohort_table(used, splits), outputs.table1)
