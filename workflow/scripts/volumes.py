"""Pack all usable registered scans into one store, unless too many have failed."""

from _adapter import job

with job(snakemake):
    from pathlib import Path

    from ldae.cohort.ledger import STEPS, check_failures, read_exclude, read_manifests
    from ldae.data.volume_store import build_volume_store
    from ldae.files import read_table

    manifests = read_manifests({step: snakemake.input[step] for step in STEPS})
    check_failures(manifests, snakemake.params.max_failed_fraction)
    scans = read_table(snakemake.input.scans, ["scan_id"])
    excluded = read_exclude(snakemake.params.exclude, set(scans["scan_id"]))
    build_volume_store(
        snakemake.input.scans,
        snakemake.input.splits,
        snakemake.input.registration,
        snakemake.params.preproc,
        Path(snakemake.output.card).parent,
        snakemake.params.settings,
        snakemake.params.template,
        excluded=set(excluded["scan_id"]),
        jobs=snakemake.threads,
        fingerprint=snakemake.params.source,
    )
