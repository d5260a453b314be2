"""Letting images that failed in the conversion be tried again."""

from pathlib import Path

from ldae.files import read_table

# Made of the conversion tables: without these a run looks for what is missing.
_AFTER = (
    "cohort/conversion.tsv", "cohort/scans.tsv", "cohort/ledger.tsv", "preproc/quarantine.tsv",
)  # fmt: skip


def forget_failed(results: str | Path) -> list[str]:
    """Forget the conversion of every batch or data set of which an image failed.

    Deletes its conversion table and the stamp by which an unchanged batch is kept, and the tables
    that are made of it, so that the next run converts these batches again, and only them.

    Args:
        results: The results folder.

    Returns:
        Names of the parts (``ADNI-7``, ``OASIS3``) that will be converted again, sorted.
    """
    results, forgotten = Path(results), []
    for path in sorted((results / "cohort/parts").glob("*.tsv")):
        if (read_table(path, ["status"])["status"] == "failed").any():
            (results / "bids_parts" / path.stem / "stamp.json").unlink(missing_ok=True)
            path.unlink()
            forgotten.append(path.stem)
    for name in _AFTER if forgotten else ():
        (results / name).unlink(missing_ok=True)
    return forgotten
