"""Shard runner: one preprocessing step over a shard's scans.

Scans that are done are skipped, and a scan that fails does not stop the others. A stamp per scan
and a manifest per shard record both.
"""

import errno
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ldae.derivatives import FAILED, MANIFEST_COLUMNS, OK, QC, SKIPPED, ScanFiles, read_manifest
from ldae.errors import require
from ldae.files import flush, read_json, sha256, write_json, write_table
from ldae.locks import locked
from ldae.progress import Progress

FULL = (errno.ENOSPC, errno.EDQUOT)
MOST_DEATHS = 3  # of the process at one scan, by a crash of ITK or lack of memory
LEAST_FREE = 100e6  # bytes: with less, the disk may be the cause of a failure, not the scan
log = logging.getLogger(__name__)


class ScanRejected(Exception):
    """The scan cannot be used, and the software is not the cause; the message is the reason."""


@dataclass(frozen=True)
class Step:
    """One step of preprocessing.

    Attributes:
        name: ``n4``, ``brain`` or ``registration``.
        fingerprint: Hash of the step's parameters, source and other files it depends on.
        inputs, outputs: Files of a scan that the step reads and writes.
        run: Processes a scan; may raise :class:`ScanRejected`.
        qc_reason: Checks the quality of the outputs, also of scans done earlier. It returns the
            reason to exclude the scan, or None.
    """

    name: str
    fingerprint: str
    inputs: Callable[[ScanFiles], Sequence[Path]]
    outputs: Callable[[ScanFiles], Sequence[Path]]
    run: Callable[[ScanFiles], None]
    qc_reason: Callable[[ScanFiles], str | None] = lambda files: None


def run_step(
    step: Step, scans: Sequence[ScanFiles], manifest: str | Path, earlier: str | Path | None = None
) -> pd.DataFrame:
    """Run ``step`` over ``scans`` and write the shard's manifest.

    A scan is skipped if its stamp has the same fingerprint and the same input hashes, and its
    outputs have the recorded sizes.

    An exception at one scan is logged with its traceback and recorded in the stamp as the reason;
    the other scans go on. A failed scan is tried again only when its input, the settings or the
    source change, or after :func:`~ldae.orchestration.rerun.reset_failed_scans`.

    Lack of memory or disk space concerns all scans and is raised. But a scan at which the process
    has died ``MOST_DEATHS`` times fails as well.

    Args:
        step: The step.
        scans: Scans of the shard.
        manifest: Table to write: scan_id, status, reason, seconds. Status: ok; failed; qc (done,
            but excluded by ``step.qc_reason``); skipped (not ok in an earlier step, whose reason is
            copied).
        earlier: Manifest of the step before; None for the first.

    Returns:
        The manifest.

    Raises:
        UserError: ``earlier`` does not exist or lacks a scan, or another process writes the
            manifest.
        MemoryError: out of memory.
        OSError: the disk is full (ENOSPC) or the quota is used up (EDQUOT).
    """
    with locked(Path(manifest).with_suffix(".lock"), str(manifest)):
        return _run_step(step, scans, manifest, earlier)


def _run_step(
    step: Step, scans: Sequence[ScanFiles], manifest: str | Path, earlier: str | Path | None
) -> pd.DataFrame:
    carried = _carried(earlier, [files.scan_id for files in scans]) if earlier else {}
    progress = Progress(step.name, len(scans))
    rows = []
    for number, files in enumerate(scans, start=1):
        if files.scan_id in carried:
            rows.append((files.scan_id, SKIPPED, carried[files.scan_id], 0.0))
        else:
            rows.append((files.scan_id, *_run_scan(step, files)))
        progress.step(number, not_ok=sum(row[1] != OK for row in rows))
    table = pd.DataFrame(rows, columns=list(MANIFEST_COLUMNS))
    write_table(table, manifest)
    flush(manifest)
    return table


def _carried(earlier: str | Path, scan_ids: list[str]) -> dict[str, str]:
    """Reasons, by scan_id, of the scans that did not pass an earlier step."""
    table = read_manifest(earlier).set_index("scan_id")
    missing = [scan_id for scan_id in scan_ids if scan_id not in table.index]
    require(
        not missing,
        f"The manifest {earlier} lacks {len(missing)} scan(s) of this shard, first {missing[:1]}; "
        "delete it to run its step again.",
    )
    step = Path(earlier).parent.name
    return {
        scan_id: row.reason if row.status == SKIPPED else f"failed in {step}: {row.reason}"
        for scan_id, row in table.iterrows()
        if row.status != OK
    }


def _run_scan(step: Step, files: ScanFiles) -> tuple[str, str, float]:
    """Status, reason ("" if ok) and the wall-clock seconds that the scan took, now or earlier."""
    stamp = _read(files.stamp(step.name))
    known = stamp.get("inputs", []) if stamp.get("fingerprint") == step.fingerprint else []
    inputs = [_identity(path, known) for path in step.inputs(files)]
    if not (_same(known, inputs) and _complete(step, files, stamp)):
        stamp = _work(step, files, inputs)
    if stamp["failed"]:
        return FAILED, stamp["failed"], stamp["seconds"]
    against = step.qc_reason(files)
    return (QC if against else OK), against or "", stamp["seconds"]


def _identity(path: Path, known: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Identity of an input: name, size, time of modification and SHA-256 (None if missing).

    A file is not read again if ``known``, the identities in the stamp, has its size and time.
    """
    if not path.is_file():
        return {"name": path.name, "sha256": None}
    state = path.stat()
    made = {"name": path.name, "size": state.st_size, "mtime_ns": state.st_mtime_ns}
    for entry in known:
        if made.items() <= entry.items():
            return dict(entry)
    return {**made, "sha256": sha256(path)}


def _same(known: Sequence[Mapping[str, Any]], inputs: Sequence[Mapping[str, Any]]) -> bool:
    return [entry["sha256"] for entry in known] == [entry["sha256"] for entry in inputs]


def _complete(step: Step, files: ScanFiles, stamp: Mapping[str, Any]) -> bool:
    """Whether a matching stamp is valid: it records a failure, or the outputs are complete."""
    if not stamp or stamp["failed"]:
        return bool(stamp)
    sizes = _sizes(step, files)
    return sizes == stamp["outputs"] and None not in sizes.values()


def _sizes(step: Step, files: ScanFiles) -> dict[str, int | None]:
    """Sizes of the outputs in bytes, by name; None for a missing one."""
    paths = step.outputs(files)
    return {path.name: path.stat().st_size if path.is_file() else None for path in paths}


def _read(path: Path) -> dict[str, Any]:
    """A stamp or a mark; empty if absent, or if a crash of the node left it half-written."""
    try:
        return read_json(path)
    except FileNotFoundError:
        return {}
    except ValueError:
        log.warning("%s is damaged; its scan is processed again", path)
        return {}


def _work(step: Step, files: ScanFiles, inputs: list[dict[str, Any]]) -> dict[str, Any]:
    """Run the step on one scan. Outputs of an earlier run are deleted first; the stamp is last."""
    began = time.monotonic()
    for path in (files.stamp(step.name), *step.outputs(files)):
        path.unlink(missing_ok=True)
    files.folder.mkdir(parents=True, exist_ok=True)
    failed, mark = "", files.stamp(step.name).with_suffix(".begun")
    try:
        with _begun(mark, step.fingerprint, inputs):
            step.run(files)
    except ScanRejected as rejection:
        failed = str(rejection)
        log.warning("%s: %s", files.scan_id, failed)
    except Exception as error:
        if isinstance(error, MemoryError) or getattr(error, "errno", None) in FULL:
            raise
        _require_space(files.folder, error)
        log.exception("%s: %s failed", files.scan_id, step.name)
        failed = one_line(error)
    sizes = _sizes(step, files)
    for path in step.outputs(files):
        if sizes[path.name] is not None:
            flush(path)  # after a crash there must be no stamp without its outputs
    stamp = {
        "fingerprint": step.fingerprint,
        "inputs": inputs,
        "outputs": sizes,
        "seconds": round(time.monotonic() - began, 2),
        "failed": failed,
    }
    write_json(stamp, files.stamp(step.name))
    mark.unlink(missing_ok=True)
    return stamp


@contextmanager
def _begun(mark: Path, fingerprint: str, inputs: list[dict[str, Any]]) -> Iterator[None]:
    """Keep the file ``mark`` while a scan is processed; it counts deaths of the process.

    The file stays if the process dies or runs out of memory. A death is not counted if Slurm has
    requeued the job under the same number: then Slurm stopped it, and the scan is not the cause.

    Raises:
        ScanRejected: the process has died at this scan ``MOST_DEATHS`` times.
    """
    job, last = os.environ.get("SLURM_JOB_ID"), _read(mark)
    same = last.get("fingerprint") == fingerprint and _same(last["inputs"], inputs)
    deaths = last["deaths"] if same else 0
    if same and (job is None or job != last["job"]):
        deaths += 1
    if deaths >= MOST_DEATHS:
        raise ScanRejected(f"the process died at it {deaths} times")
    key = {"fingerprint": fingerprint, "inputs": inputs}
    write_json({**key, "deaths": deaths, "job": job}, mark)
    try:
        yield
    except MemoryError:
        raise
    except BaseException:
        mark.unlink()
        raise


def _require_space(folder: Path, error: Exception) -> None:
    """Raise OSError (ENOSPC) if a disk is almost full, since ANTs' writers do not report it."""
    for place in (folder, Path(tempfile.gettempdir())):
        free = shutil.disk_usage(place).free
        if free < LEAST_FREE:
            raise OSError(
                errno.ENOSPC, f"No space left on device ({free / 1e6:.0f} MB free)", str(place)
            ) from error


def brain_first(cfg: Mapping[str, Any]) -> bool:
    """Whether brain extraction precedes N4, which then works inside the mask.

    Args:
        cfg: config["preprocess"].
    """
    return cfg["n4"]["mask"] == "brain"


def one_line(error: BaseException, limit: int = 200) -> str:
    """``Type: message`` of an exception, on one line of at most ``limit`` characters."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
