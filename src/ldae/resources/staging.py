"""Staging of external files: download, check, record of the source, and list of missing files."""

import gzip
import importlib.util
import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from ldae.errors import UserError, require
from ldae.files import MISSING, read_json, sha256, write_json
from ldae.resources.download import ConnectionBroken, Unavailable, checksum, fetch, find_damage
from ldae.resources.hub import HubFile, fetch_hub
from ldae.resources.table import UNKNOWN, hub_files

RECORDS = "records"  # folder below the resources: one JSON file for each staged file
BY_HAND = "brought by hand"
log = logging.getLogger(__name__)


def record_path(name: str, folder: str | Path) -> Path:
    """The JSON file that records the source of the resource ``name``."""
    return Path(folder) / RECORDS / f"{name}.json"


def write_record(name: str, path: Path, folder: str | Path, source: str | None) -> None:
    """Record a staged file: name, path, SHA-256, bytes, source and date (UTC, of the file).

    Args:
        name: Of the resource.
        path: The file.
        folder: The resources folder.
        source: Where it was just fetched from; None: it was already there. An existing record of
            the same SHA-256 is then kept; otherwise the source is ``BY_HAND``.
    """
    target, found = record_path(name, folder), sha256(path)
    if source is None and target.is_file() and read_json(target)["sha256"] == found:
        return
    date = datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    entry = {"name": name, "path": str(path.relative_to(folder)), "sha256": found}
    entry |= {"bytes": path.stat().st_size, "source": source or BY_HAND, "date": date}
    write_json(entry, target)


def staged_table(resources: pd.DataFrame, folder: str | Path) -> pd.DataFrame:
    """The staged files, for reports to cite: a row for each record whose file exists.

    Returns:
        Columns name, path, sha256, bytes, source, date (UTC, of the file), expected (the checksum
        in the table of resources), licence.
    """
    columns = ["name", "path", "sha256", "bytes", "source", "date", "expected", "licence"]
    rows = []
    for name, row in resources.iterrows():
        if record_path(name, folder).is_file() and (Path(folder) / row["path"]).is_file():
            entry = read_json(record_path(name, folder))
            rows.append(entry | {"expected": row["checksum"], "licence": row["licence"]})
    return pd.DataFrame(rows, columns=columns)


def missing_table(
    names: Iterable[str], resources: pd.DataFrame, folder: str | Path
) -> pd.DataFrame:
    """Missing files that must be downloaded; those made from installed packages are left out.

    Returns:
        Columns name, url (alternatives separated by spaces), to (absolute path), bytes, checksum,
        licence, used_by, note.
    """
    rows = []
    for name in names:
        row, path = resources.loc[name], Path(folder) / resources.loc[name]["path"]
        if row["kind"] != "package" and not path.is_file():
            kept = {key: row[key] for key in ("checksum", "licence", "used_by", "note")}
            size = None if row["bytes"] == "" else int(row["bytes"])
            urls = row["source"]
            if row["kind"] == "hub":
                urls = " ".join(file.url for file in hub_files(row))
            at = {"name": name, "url": urls, "to": str(path.absolute()), "bytes": size}
            rows.append(at | kept)
    columns = ["name", "url", "to", "bytes", "checksum", "licence", "used_by", "note"]
    return pd.DataFrame(rows, columns=columns).astype({"bytes": "Int64"})


def missing_text(missing: pd.DataFrame) -> str:
    """The table of :func:`missing_table` as text to read."""
    if missing.empty:
        return "Nothing is missing that must be downloaded.\n"
    known = missing["bytes"]
    lines = [
        f"{len(missing)} file(s) to get, {known.sum() / 1e6:.0f} MB"
        + (" and those of unknown size" if known.isna().any() else "")
        + ". Where there is internet, download each and put it at the path given (or at the same "
        "path below a mirror); the target `resources` then checks it.",
    ]
    for row in missing.to_dict("records"):
        lines += ["", f"{row['name']}  ({row['used_by']})"]
        lines += [f"  from      {url}" for url in _urls(row["url"])]
        row["bytes"] = "unknown" if row["bytes"] is pd.NA else row["bytes"]
        lines += [f"  {key:9} {row[key]}" for key in ("to", "bytes", "checksum", "licence", "note")]
    return "\n".join(lines) + "\n"


def _urls(source: str) -> list[str]:
    return source.split() if source and source != MISSING else ["made by hand, see note"]


def stage(
    name: str, resources: pd.DataFrame, resources_dir: str | Path, mirrors: Sequence[str] = ()
) -> Path:
    """Put one resource in its place, or check the file that is there, and record its source.

    A download continues an interrupted one. It gets its final name only after it was checked.

    Args:
        name: Name in the table.
        resources: From :func:`load_resources`.
        resources_dir: The resources folder, which the paths of the table are relative to.
        mirrors: Folders or base URLs that hold the files, under the same paths or all at the top;
            tried first, in this order. A base URL may also be a hub that has the repositories.

    Returns:
        The staged file.

    Raises:
        UserError: the name is unknown, the file must be brought by hand, the download failed, the
            disk is full, the file is not the right one, a package is missing, or the folder of a
            mirror does not exist.
    """
    require(
        name in resources.index,
        f"There is no resource named {name!r}; known: {', '.join(resources.index)}.",
    )
    row = resources.loc[name]
    path = Path(resources_dir) / row["path"]
    source = None
    if row["kind"] != "package" and not path.is_file():
        source = _bring(row, path, mirrors)
    state = check(name, resources, resources_dir)
    if row["kind"] == "package" and state != "ok":
        _make(row, path)
        source, state = row["source"], "ok"
    require(
        state in ("ok", "present, checksum unknown"),
        f"{path} ({name}) {state}, expected {row['checksum']}: remove it and run the "
        "target `resources` again, or bring the right file.",
    )
    write_record(name, path, resources_dir, source)
    log.info("%s is staged: %s (%s)", name, path, state)
    return path


def check(name: str, resources: pd.DataFrame, resources_dir: str | Path) -> str:
    """State of one resource: ``ok``, ``missing``, ``present, checksum unknown`` or what is wrong.

    A file made from a package is compared with one made anew in a temporary folder. A file of
    unknown checksum is checked by its format.
    """
    row = resources.loc[name]
    path = Path(resources_dir) / row["path"]
    if not path.is_file():
        return "missing"
    if row["kind"] == "package":
        with tempfile.TemporaryDirectory() as folder:
            again = Path(folder) / path.name
            _make(row, again)
            return "ok" if _content(again) == _content(path) else "differs from its package's"
    if row["checksum"] == UNKNOWN:
        return find_damage(path, path.name) or "present, checksum unknown"
    found = checksum(path, row["checksum"])
    return "ok" if found == row["checksum"] else f"has the wrong checksum {found}"


def package_file(source: str, expected: str) -> Path:
    """Path of ``package:file`` inside an installed package, without importing the package.

    Raises:
        UserError: the package or its file is missing, or the file has not the ``expected``
            checksum.
    """
    package, _, inside = source.partition(":")
    spec = importlib.util.find_spec(package)
    require(
        spec is not None,
        f"The Python package {package}, which holds {inside}, is not installed; install the "
        "environment again (envs/).",
    )
    path = Path(spec.origin).parent / inside
    require(path.is_file(), f"{path} is missing; install the environment again (envs/).")
    found = checksum(path, expected)
    require(
        found == expected,
        f"{path} has {found}, expected {expected}: another version of {package} is installed.",
    )
    return path


def _make(row: Mapping[str, Any], path: Path) -> None:
    # Imported here: it imports PyTorch, which listing and downloading do not need.
    from ldae.resources.from_packages import MAKERS

    MAKERS[row["name"]](package_file(row["source"], row["checksum"]), path)


def _sources(row: Mapping[str, Any], mirrors: Sequence[str]) -> Iterator[str | HubFile]:
    """The sources of a file, in the order to try: mirrors, then those of the table.

    Raises:
        UserError: the folder of a mirror does not exist.
    """
    path = Path(row["path"])
    for mirror in mirrors:
        require(
            "://" in mirror or Path(mirror).is_dir(),
            f"paths.mirrors: the folder {mirror} does not exist; correct or remove the entry.",
        )
        yield from (f"{mirror.rstrip('/')}/{name}" for name in (path, path.name))
    if row["kind"] == "url":
        yield from row["source"].split()
    if row["kind"] == "hub":
        files = hub_files(row)
        yield from (file.at(mirror) for mirror in mirrors if "://" in mirror for file in files)
        yield from files


def _bring(row: Mapping[str, Any], path: Path, mirrors: Sequence[str]) -> str:
    """Fetch the file from the first source that has the right one; return that source.

    Raises:
        UserError: no source has it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    faults = []
    for source in _sources(row, mirrors):
        try:
            part = _right_part(source, path, row["checksum"])
        except Unavailable as error:
            log.warning("%s: %s: %s", row["name"], source, error)
            faults.append(f"{source}: {error}")
            continue
        part.replace(path)
        return str(source)
    tried = f" Tried: {'; '.join(faults)}." if faults else ""
    if row["kind"] == "manual":
        raise UserError(f"{row['name']} is not at {path} and has no address.{tried} {row['note']}")
    raise UserError(
        f"{row['name']} could not be downloaded to {path}.{tried} Run the same command again on a "
        "machine with internet, such as a login node (it continues; behind a proxy set "
        "https_proxy), or bring the files that `snakemake resources_list` lists "
        "(docs/offline.md)."
    )


def _right_part(source: str | HubFile, path: Path, expected: str) -> Path:
    """Fetch and check the file from one source; return the checked partial file.

    A file continued from an earlier attempt that fails its check is fetched once more from the
    first byte. A broken connection is continued as long as each attempt gains bytes.

    Raises:
        Unavailable: the source does not provide the right file.
    """
    while True:
        try:
            if isinstance(source, HubFile):
                part, continued = fetch_hub(source, path, expected)
            else:
                part, continued = fetch(source, path, None if expected == UNKNOWN else expected)
        except ConnectionBroken as error:
            if not error.gained:
                raise
            log.warning("%s: %s; continuing", path.name, error)
            continue
        if expected == UNKNOWN:
            fault = find_damage(part, path.name)
            if not fault:
                log.warning(
                    "%s: no published checksum; this file has %s",
                    path.name,
                    checksum(part, "sha256"),
                )
        else:
            found = checksum(part, expected)
            fault = None if found == expected else f"gave a file with {found}, expected {expected}"
        if not fault:
            return part
        part.unlink()
        if not continued:
            raise Unavailable(fault)
        log.warning("%s: the download of an earlier attempt is damaged; starting again", path.name)


def _content(path: Path) -> bytes:
    """Bytes of a file, decompressed if .gz, since compressed bytes differ between zlib versions."""
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data
