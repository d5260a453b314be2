"""Run one step over the scans of a shard: skip what is done, survive what fails, record both."""

import errno
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ldae.errors import require
from ldae.files import read_json, read_table, sha256, write_json, write_table
from ldae.preprocess.scan_files import ScanFiles
from ldae.progress import Progress

MANIFEST = ("scan_id", "status", "reason", "seconds")
OK, FAILED, SKIPPED = "ok", "failed", "skipped"
log = logging.getLogger("ldae.preprocess")


class ScanRejected(Exception):
    """A verdict on a scan, not a defect: the scan fails with this sentence as its reason.

    It is remembered in the scan's stamp, so that the scan is not tried again until its input or
    the step's parameters change.
    """


@dataclass(frozen=True)
class Step:
    """One step of preprocessing.

    Attributes:
        name: ``n4``, ``brain`` or ``registration``.
        fingerprint: Hash of the step's parameters, source and other files it depends on.
        inputs, outputs: Files of a scan that the step reads and writes.
        run: Does the work; may raise :class:`ScanRejected`.
        verdict: Judges the outputs, also of scans done earlier: a reason to fail, or None.
    """

    name: str
    fingerprint: str
    inputs: Callable[[ScanFiles], Sequence[Path]]
    outputs: Callable[[ScanFiles], Sequence[Path]]
    run: Callable[[ScanFiles], None]
    verdict: Callable[[ScanFiles], str | None] = lambda files: None


def run_step(
    step: Step, scans: Sequence[ScanFiles], manifest: str | Path, earlier: str | Path | None = None
) -> pd.DataFrame:
    """Run ``step`` over ``scans`` and write the shard's manifest.

    A scan whose stamp names the same fingerprint and the same input bytes, and whose outputs
    exist, is not run again. An exception of one scan is logged with its traceback and becomes
    its reason; the others go on. Running out of memory or disk concerns all scans and is raised.

    Args:
        step: What to do.
        scans: Scans of the shard.
        manifest: Table to write: scan_id, status (ok, failed, skipped), reason, seconds. Skipped:
            failed in an earlier step, whose reason is carried on.
        earlier: Manifest of the step before; None for the first.

    Returns:
        The manifest.

    Raises:
        UserError: ``earlier`` does not exist or lacks a scan.
    """
    carried = _carried(earlier, [files.scan_id for files in scans]) if earlier else {}
    progress = Progress(step.name, len(scans))
    rows = []
    for number, files in enumerate(scans, start=1):
        if files.scan_id in carried:
            rows.append((files.scan_id, SKIPPED, carried[files.scan_id], 0.0))
        else:
            reason, seconds = _run_scan(step, files)
            rows.append((files.scan_id, FAILED if reason else OK, reason, round(seconds, 2)))
        progress.step(number, not_ok=sum(row[1] != OK for row in rows))
    table = pd.DataFrame(rows, columns=list(MANIFEST))
    write_table(table, manifest)
    return table


def read_manifests(paths: Sequence[str | Path]) -> pd.DataFrame:
    """The manifests of a step's shards as one table, sorted by scan_id; ``reason`` is text."""
    tables = [read_table(path, MANIFEST) for path in paths]
    table = pd.concat(tables, ignore_index=True).sort_values("scan_id", ignore_index=True)
    return table.assign(reason=table["reason"].astype(object).fillna(""))


def _carried(earlier: str | Path, scan_ids: list[str]) -> dict[str, str]:
    """Scan and reason of those that did not pass an earlier step."""
    table = read_manifests([earlier]).set_index("scan_id")
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


def _run_scan(step: Step, files: ScanFiles) -> tuple[str, float]:
    """Reason of failure ("" if none) and wall seconds the work took, now or earlier."""
    began = time.monotonic()
    try:
        key = {
            "fingerprint": step.fingerprint,
            "inputs": [sha256(path) for path in step.inputs(files)],
        }
        done = _finished(step, files, key)
        if done is None:
            done = _work(step, files, key, began)
        return done["rejected"] or step.verdict(files) or "", done["seconds"]
    except Exception as error:
        if isinstance(error, MemoryError) or getattr(error, "errno", None) in (
            errno.ENOSPC,
            errno.EDQUOT,
        ):
            raise
        log.exception("%s: %s failed", files.scan_id, step.name)
        return one_line(error), time.monotonic() - began


def _finished(step: Step, files: ScanFiles, key: dict[str, Any]) -> dict[str, Any] | None:
    """The stamp of a finished scan if it is still valid."""
    path = files.stamp(step.name)
    if not path.is_file():
        return None
    stamp = read_json(path)
    if any(stamp[name] != value for name, value in key.items()):
        return None
    complete = stamp["rejected"] or all(path.is_file() for path in step.outputs(files))
    return stamp if complete else None


def _work(step: Step, files: ScanFiles, key: dict[str, Any], began: float) -> dict[str, Any]:
    """Run the step on one scan; what an earlier run left goes first, the stamp comes last."""
    for path in (files.stamp(step.name), *step.outputs(files)):
        path.unlink(missing_ok=True)
    files.folder.mkdir(parents=True, exist_ok=True)
    rejected = ""
    try:
        step.run(files)
    except ScanRejected as verdict:
        rejected = str(verdict)
        log.warning("%s: %s", files.scan_id, rejected)
    stamp = {**key, "seconds": round(time.monotonic() - began, 2), "rejected": rejected}
    write_json(stamp, files.stamp(step.name))
    return stamp


def one_line(error: BaseException, limit: int = 200) -> str:
    """``Type: message`` of an exception on one line of at most ``limit`` characters."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
