"""Volume store of all included scans, over the packed shards; an error if too many failed."""

from _adapter import folder, job

with job(snakemake):
    from pathlib import Path

    from ldae.cohort.inclusion import check_failures, included_scans
    from ldae.cohort.ratings import load_decisions
    from ldae.data.volume_index import build_volume_store
    from ldae.derivatives import read_manifests
    from ldae.files import read_table

    source = snakemake.input
    manifests = read_manifests(dict(source.items()))
    scans = read_table(source.scans, ["scan_id", "cohort"])
    decisions = load_decisions(source.decisions)
    outside = scans.loc[scans["cohort"].isin(snakemake.params.external), "scan_id"]
    check_failures(manifests, decisions, snakemake.params.max_failed_fraction, set(outside))
    included = included_scans(scans, read_table(source.splits), manifests, decisions)
    build_volume_store(included, [Path(card) for card in source.shards], folder(snakemake.output))
