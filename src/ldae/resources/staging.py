"""Putting a file from outside in its place, checked; and checking what is in place."""

import gzip
import importlib.util
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ldae.errors import UserError
from ldae.errors import require
from ldae.resources.download import Broken
from ldae.resources.download import Unavailable
from ldae.resources.download import fetch
from ldae.resources.integrity import checksum
from ldae.resources.integrity import damage
from ldae.resources.records import record
from ldae.resources.table import UNKNOWN

log = logging.getLogger("ldae.resources")


def stage(
    name: str, resources: pd.DataFrame, resources_dir: str | Path, mirrors: Sequence[str] = ()
) -> Path:
    """Put one resource in its place, or check the one that is there, and record where it is from.

    A download continues where an earlier one broke off, is checked, and only then gets its name.

    Args:
        name: Name in the table.
        resources: From :func:`load_resources`.
        resources_dir: The folder that the paths of the table are in.
        mirrors: Folders or base URLs that have the files under the same paths, or all in one
            folder; tried first, in this order.

    Returns:
        The staged file.

    Raises:
        UserError: the name is unknown, the file must be brought by hand, the download failed, the
            disk is full, or the file is not the right one.
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
        f"{path} ({name}) {state}, expected {row['checksum']}: remove it and run `snakemake "
        "resources` again, or bring the right file.",
    )
    record(name, path, resources_dir, source)
    log.info("%s is there: %s (%s)", name, path, state)
    return path


def check(name: str, resources: pd.DataFrame, resources_dir: str | Path) -> str:
    """State of one resource: ``ok``, ``missing``, ``present, checksum unknown`` or what is wrong.

    A file made from a package is made again in a temporary folder and compared; one whose checksum
    is unknown is read as what its name says it is.
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
        return damage(path, path.name) or "present, checksum unknown"
    found = checksum(path, row["checksum"])
    return "ok" if found == row["checksum"] else f"has the wrong checksum {found}"


def package_file(source: str, expected: str) -> Path:
    """Path of ``package:file`` inside an installed package, without importing the package.

    Raises:
        UserError: the package or its file is missing, or the file is another version's.
    """
    package, _, inside = source.partition(":")
    spec = importlib.util.find_spec(package)
    require(
        spec is not None,
        f"The Python package {package} is not installed, {inside} is taken from it; install the "
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
    from ldae.packaged import MAKERS  # imports torch, which readers of the table need not wait for

    MAKERS[row["name"]](package_file(row["source"], row["checksum"]), path)


def _sources(row: Mapping[str, Any], mirrors: Sequence[str]) -> Iterator[str]:
    """Where the file may be, in the order to try."""
    path = Path(row["path"])
    for mirror in mirrors:
        require(
            "://" in mirror or Path(mirror).is_dir(),
            f"paths.mirrors: the folder {mirror} does not exist; mend or remove the entry.",
        )
        yield from (f"{mirror.rstrip('/')}/{name}" for name in (path, path.name))
    if row["kind"] == "url":
        yield from row["source"].split()


def _bring(row: Mapping[str, Any], path: Path, mirrors: Sequence[str]) -> str:
    """Fetch the file from the first source that has the right one; returns that source."""
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
        return source
    tried = f" Tried: {'; '.join(faults)}." if faults else ""
    if row["kind"] == "manual":
        raise UserError(f"{row['name']} is not at {path} and has no address.{tried} {row['note']}")
    raise UserError(
        f"{row['name']} could not be downloaded to {path}.{tried} Run the same command again on a "
        "machine with internet, such as a login node (it continues; behind a proxy set "
        "https_proxy), or bring the files that `snakemake resources_list` lists "
        "(docs/offline.md)."
    )


def _right_part(source: str, path: Path, expected: str) -> Path:
    """Fetch from one source, anew if what an earlier attempt left turns out to be of no use."""
    while True:
        try:
            part, continued = fetch(source, path, None if expected == UNKNOWN else expected)
        except Broken as error:
            if not error.gained:
                raise
            log.warning("%s: %s, going on", path.name, error)
            continue
        if expected == UNKNOWN:
            fault = damage(part, path.name)
            if not fault:
                log.warning(
                    "%s: no published checksum; got %s", path.name, checksum(part, "sha256")
                )
        else:
            found = checksum(part, expected)
            fault = None if found == expected else f"gave a file with {found}, expected {expected}"
        if not fault:
            return part
        part.unlink()
        if not continued:
            raise Unavailable(fault)
        log.warning("%s: what an earlier attempt left was of no use, from the start", path.name)


def _content(path: Path) -> bytes:
    """Bytes of a file, decompressed: compressed ones differ between versions of zlib."""
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data
