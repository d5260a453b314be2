"""What was staged and from where, and what is still to be brought."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from ldae.files import MISSING
from ldae.files import read_json
from ldae.files import sha256
from ldae.files import write_json

RECORDS = "records"  # folder below the resources: one JSON file for each staged file
BY_HAND = "brought by hand"


def record_of(name: str, folder: str | Path) -> Path:
    """The file that says where the resource ``name`` came from."""
    return Path(folder) / RECORDS / f"{name}.json"


def record(name: str, path: Path, folder: str | Path, source: str | None) -> None:
    """Write down what was staged.

    Args:
        name: Of the resource.
        path: The file.
        folder: The resources folder.
        source: Where it was just fetched from; None: it was there. It was brought by hand then,
            unless the record is of this very file.
    """
    target, found = record_of(name, folder), sha256(path)
    if source is None and target.is_file() and read_json(target)["sha256"] == found:
        return
    date = datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    entry = {"name": name, "path": str(path.relative_to(folder)), "sha256": found}
    entry |= {"bytes": path.stat().st_size, "source": source or BY_HAND, "date": date}
    write_json(entry, target)


def staged_table(resources: pd.DataFrame, folder: str | Path) -> pd.DataFrame:
    """What was staged, for a report to cite: a row for each record whose file is there.

    Returns:
        Columns name, path, sha256, bytes, source, date (UTC, of the file), expected (the checksum
        in the table of resources), licence.
    """
    columns = ["name", "path", "sha256", "bytes", "source", "date", "expected", "licence"]
    rows = []
    for name, row in resources.iterrows():
        if record_of(name, folder).is_file() and (Path(folder) / row["path"]).is_file():
            entry = read_json(record_of(name, folder))
            rows.append(entry | {"expected": row["checksum"], "licence": row["licence"]})
    return pd.DataFrame(rows, columns=columns)


def missing_table(
    names: Iterable[str], resources: pd.DataFrame, folder: str | Path
) -> pd.DataFrame:
    """Files to download elsewhere; what is made from installed packages needs no download.

    Returns:
        Columns name, url (alternatives apart by spaces), to, bytes, checksum, licence, used_by,
        note.
    """
    rows = []
    for name in names:
        row, path = resources.loc[name], Path(folder) / resources.loc[name]["path"]
        if row["kind"] != "package" and not path.is_file():
            kept = {key: row[key] for key in ("checksum", "licence", "used_by", "note")}
            size = None if row["bytes"] == "" else int(row["bytes"])
            at = {"name": name, "url": row["source"], "to": str(path.absolute()), "bytes": size}
            rows.append(at | kept)
    columns = ["name", "url", "to", "bytes", "checksum", "licence", "used_by", "note"]
    return pd.DataFrame(rows, columns=columns).astype({"bytes": "Int64"})


def missing_text(missing: pd.DataFrame) -> str:
    """That table for a human to read."""
    if missing.empty:
        return "Nothing is missing that must be downloaded.\n"
    known = missing["bytes"]
    lines = [
        f"{len(missing)} file(s) to get, {known.sum() / 1e6:.0f} MB"
        + (" and those of unknown size" if known.isna().any() else "")
        + ". Where there is internet, download each and put it at the path given (or at the same "
        "path below a mirror); `snakemake resources` then checks it.",
    ]
    for row in missing.to_dict("records"):
        lines += ["", f"{row['name']}  ({row['used_by']})"]
        lines += [f"  from      {url}" for url in _urls(row["url"])]
        row["bytes"] = "unknown" if row["bytes"] is pd.NA else row["bytes"]
        lines += [f"  {key:9} {row[key]}" for key in ("to", "bytes", "checksum", "licence", "note")]
    return "\n".join(lines) + "\n"


def _urls(source: str) -> list[str]:
    return source.split() if source and source != MISSING else ["made by hand, see note"]
