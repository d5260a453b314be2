"""Volumes of one shard: only scans that have changed since the last time are packed again."""

from _adapter import job

with job(snakemake):
    from pathlib import Path

    from ldae.data.volume_packing import pack_shard, write_manifest
    from ldae.files import read_table

    scans = read_table(snakemake.input.scans, ["scan_id", "participant_id", "session_id"])
    card = pack_shard(
        scans,
        read_table(snakemake.input.registration, ["scan_id", "status"]),
        Path(snakemake.params.preproc),
        Path(snakemake.output.card),
        snakemake.params.settings,
        snakemake.params.template,
        source=snakemake.params.source,
    )
    write_manifest(scans, card, snakemake.output.manifest)
