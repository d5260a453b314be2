"""Many raw heads by one command: a folder of findings each, and one table with a row each."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ldae.application.batch import WARNINGS, Batch
from ldae.application.inputs import InputScan
from ldae.application.normative import percentile_columns
from ldae.application.raw_head import FINDINGS, PAGE, VOLUMES

TABLE = "scans.tsv"
NOT_IN_TABLE = ("notice", "head", "page")  # the same in each row, or a path


def apply_to_many(
    scans: Sequence[InputScan],
    out: Path,
    settings: Mapping[str, Any],
    work: Callable[[InputScan, Path], Mapping[str, Any]],
    written: Sequence[str] = (FINDINGS,),
    fits: Callable[[InputScan, Path], bool] = lambda scan, folder: True,
) -> Batch:
    """Work on each head that is not done, in a folder of its name below ``out``.

    Args:
        scans: The heads.
        out: Folder to write; its table is ``scans.tsv``.
        settings: All that the results depend on beside the heads.
        work: Takes a head and its folder, writes into that, and returns findings as
            :func:`ldae.application.raw_head.apply` does. What else it returns are columns.
        written: Names of the files without which a head is worked on again.
        fits: Whether the findings in a head's folder are those that are asked for now.

    Raises:
        UserError: the table is another one, or another process writes it.
    """

    def discard(scan: InputScan) -> None:
        for name in {FINDINGS, PAGE, *VOLUMES, *written}:
            (out / scan.scan_id / name).unlink(missing_ok=True)

    out.mkdir(parents=True, exist_ok=True)
    batch = Batch(
        scans,
        out / TABLE,
        settings,
        is_kept=lambda scan: (
            all((out / scan.scan_id / name).is_file() for name in written)
            and fits(scan, out / scan.scan_id)
        ),
        discard=discard,
    )
    batch.run(lambda scan: as_row(work(scan, out / scan.scan_id)), "apply")
    return batch


def as_row(findings: Mapping[str, Any]) -> dict[str, Any]:
    """The findings that a table has: single values, logits of the counterfactual, warnings."""
    single = {
        key: value
        for key, value in findings.items()
        if not isinstance(value, dict | list) and key not in NOT_IN_TABLE
    }
    moved, quality = findings["counterfactual"], findings["quality"]
    logits = {key: moved[key] for key in ("logit_before", "logit_asked", "logit_measured")}
    sides = {key: quality[key] for key in ("asymmetry",) if key in quality}
    said = [of.get(WARNINGS, []) for of in (findings, moved, quality)]
    warnings = [text for texts in said for text in texts]
    places = percentile_columns(findings)
    return {
        **single,
        **logits,
        **places,
        "quality": quality["verdict"],
        **sides,
        WARNINGS: warnings,
    }
