"""The ledger of every image, Table 1 and the flow from download to models."""

from _adapter import job

with job(snakemake):
    from ldae.cohort.ledger import STEPS, build_ledger, read_exclude, read_manifests
    from ldae.cohort.table1 import cohort_table, flow_table
    from ldae.files import read_table, write_table

    source = snakemake.input
    conversion, scans, splits, volumes = (
        read_table(path)
        for path in (source.conversion, source.scans, source.splits, source.volumes)
    )
    excluded = read_exclude(snakemake.params.exclude, set(scans["scan_id"]))
    manifests = read_manifests({step: snakemake.input[step] for step in STEPS})
    ledger = build_ledger(conversion, scans, splits, manifests, volumes, excluded)
    used = scans[scans["scan_id"].isin(volumes["scan_id"])]
    write_table(ledger, snakemake.output.ledger)
    write_table(flow_table(ledger, conversion), snakemake.output.flow)
    write_table(cohort_table(used, splits), snakemake.output.table1)
