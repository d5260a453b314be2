"""Inversion of scans, by shards, for the store of stochastic codes.

It is read by :mod:`ldae.inference.code_store`.

Every scan is inverted together with the same others, whatever has been made before: a batch is made
as a whole or not at all. Its results then do not depend on where a job was killed.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from ldae.data.sampling import batches
from ldae.files import atomic, digest, sha256, write_json
from ldae.inference.code_store import Inversion
from ldae.inference.ldae_system import LdaeSystem
from ldae.inference.shared_estimate import SharedEstimate
from ldae.locks import locked
from ldae.progress import Progress

Wanted = Mapping[Inversion, Sequence[str]]  # scans of each kind of inversion
log = logging.getLogger(__name__)


def invert_shard(
    system: LdaeSystem,
    volumes: str | Path,
    embeddings: str | Path,
    wanted: Wanted,
    card: str | Path,
    shard: tuple[int, int],
    batch_size: int,
    fingerprint: str = "",
) -> int:
    """Invert those scans of a shard that have no code yet.

    Args:
        system: The trained models.
        volumes: Folder of the volume store.
        embeddings: y_sem of all scans by the LDAE's encoder.
        wanted: The plan of all shards.
        card: JSON file in ``shards/`` of the store, written when the shard is complete.
        shard: Its number from 0, and the number of shards; their jobs can run at the same time.
        batch_size: Scans inverted at a time.
        fingerprint: Fingerprint of the inverting code.

    Returns:
        Number of inversions that were computed.
    """
    number, shards = shard
    card, store = Path(card), system.volume_store(volumes)
    models = system.models_hash
    made_by = [models, system.guidance, system.compute.precision, batch_size, shards, fingerprint]
    rows_dir = card.parents[1] / "rows" / digest(made_by)
    by_scan = store.index.reset_index(names="place").set_index("scan_id")
    scans = sorted({scan for chosen in wanted.values() for scan in chosen})[number::shards]
    found: dict[str, dict[str, tuple[str, str]]] = {inversion.key: {} for inversion in wanted}
    computed = 0
    progress = Progress("codes", len(scans))
    with locked(card.with_name(f".{card.name}.lock"), str(card)):
        for part in batches(len(scans), batch_size):
            batch = by_scan.loc[[scans[i] for i in part]]
            files = {
                inversion: {
                    scan: rows_dir / inversion.key / f"{batch.at[scan, 'sha256']}.npy"
                    for scan in batch.index
                    if scan in set(chosen)
                }
                for inversion, chosen in wanted.items()
            }
            missing = [
                inversion
                for inversion, of_scan in files.items()
                if not all(map(_is_sound, of_scan.values()))
            ]
            if missing:
                z_0 = system.encode_z(store.volumes(batch["place"].to_numpy()))
                stored = system.stored_codes(embeddings, batch.index.to_series())
                y = system.compute.move(torch.from_numpy(stored).float())
                shared = SharedEstimate()
                for inversion in missing:
                    solved, of_scan = system.with_solver(inversion.solver), files[inversion]
                    places = [i for i, scan in enumerate(batch.index) if scan in of_scan]
                    code = y[places] if inversion.guided else None
                    z_T = solved.encode_zT(z_0[places], code, inversion.steps, shared)
                    for file, each in zip(of_scan.values(), z_T.cpu().numpy(), strict=True):
                        _write(file, each)
                    computed += len(of_scan)
            for inversion, of_scan in files.items():
                for scan, file in of_scan.items():
                    found[inversion.key][scan] = (file.name, _checksum(file).read_text())
            progress.step(int(part[-1]) + 1)
        content = {"models": models, "guidance": system.guidance, "volumes": store.content_hash}
        rows = str(rows_dir.relative_to(card.parents[1]))
        write_json({"share": number, "of": shards, **content, "rows": rows, "codes": found}, card)
    log.info("%d inversions computed of %d", computed, sum(map(len, found.values())))
    return computed


def _write(file: Path, code: np.ndarray) -> None:
    """Write a code, and beside it its SHA-256."""
    with atomic(file) as temporary:
        with temporary.open("wb") as stream:
            np.save(stream, code)
        with atomic(_checksum(file)) as mark:
            mark.write_text(sha256(temporary))


def _checksum(file: Path) -> Path:
    return file.with_suffix(".sha256")


def _is_sound(file: Path) -> bool:
    """Whether a code is there as it was written."""
    mark = _checksum(file)
    return file.is_file() and mark.is_file() and mark.read_text() == sha256(file)
