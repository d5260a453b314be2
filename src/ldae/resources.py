"""Files from outside: one table of them all, and staging each into the resources folder.

``config/resources.tsv`` has one row per file:

- ``name``: what to call it here; ``path``: where it goes, below the resources folder.
- ``kind``: ``url`` is downloaded; ``package`` is made from a file of an installed Python package;
  ``manual`` is brought by the user, ``note`` says how.
- ``source``: the URLs in the order to try them, or ``package:file``.
- ``checksum``: ``md5:...`` or ``sha256:...`` of what is downloaded or of the package's file;
  ``unknown`` where nobody has published one and it could not be computed here.
- ``bytes``, ``licence``, ``used_by``, ``note``.

Command line: ``python -m ldae.resources list | stage NAME... | check``.
"""

import argparse
import copy
import gzip
import hashlib
import importlib.util
import logging
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from http.client import IncompleteRead
from pathlib import Path
from typing import Any

import pandas as pd

from ldae.errors import UserError, require
from ldae.files import read_table
from ldae.packaged import MAKERS

COLUMNS = ("name", "path", "kind", "source", "checksum", "bytes", "licence", "used_by", "note")
UNKNOWN = "unknown"
TIMEOUT = 60  # seconds without a byte
CHUNK = 1 << 20  # bytes
log = logging.getLogger("ldae.resources")


def load_resources(table: str | Path) -> pd.DataFrame:
    """The table of resources, indexed by name; empty fields are "".

    Raises:
        UserError: the table does not exist or lacks a column.
    """
    return read_table(table, COLUMNS).set_index("name", drop=False).astype(object).fillna("")


def needed(config: Mapping[str, Any], resources: pd.DataFrame) -> list[str]:
    """Names of the resources that ``config`` refers to by a path, in the table's order.

    A path set to null, or to a file of the user's own outside the table, needs no staging; nor do
    the weights of a brain extraction or a perceptual loss that is not used, nor those of trainings
    that published weights replace.
    """
    root = Path(config["paths"]["resources"])
    sections = copy.deepcopy(dict(config))
    del sections["paths"]
    if sections["preprocess"]["brain_extraction"]["method"] != "antspynet":
        del sections["preprocess"]["brain_extraction"]["weights"]
    if sections["autoencoder"]["perceptual"]["net"] is None:
        del sections["autoencoder"]["perceptual"]["weights"]
    if any(sections["published"].values()):
        del sections["autoencoder"], sections["ldae"]
    paths = {Path(value) for value in _texts(sections)}
    return [
        name
        for name, row in resources.iterrows()
        if any(path in paths for path in (root / row["path"], *(root / row["path"]).parents))
    ]


def stage(name: str, resources: pd.DataFrame, resources_dir: str | Path) -> Path:
    """Put one resource in its place, unless it is there already.

    A download continues where an earlier one broke off, is checked, and only then gets its name.

    Args:
        name: Name in the table.
        resources: From :func:`load_resources`.
        resources_dir: The folder that the paths of the table are in.

    Returns:
        The staged file.

    Raises:
        UserError: the name is unknown, the file must be brought by hand, the download failed, or a
            checksum differs.
    """
    require(
        name in resources.index,
        f"There is no resource named {name!r}; known: {', '.join(resources.index)}.",
    )
    row = resources.loc[name]
    path = Path(resources_dir) / row["path"]
    if path.is_file():
        log.info("%s is there: %s", name, path)
    elif row["kind"] == "url":
        _download(row["source"].split(), path, row["checksum"])
    elif row["kind"] == "package":
        MAKERS[name](package_file(row["source"], row["checksum"]), path)
        log.info("%s made from %s: %s", name, row["source"], path)
    else:
        raise UserError(f"{name} is not at {path} and cannot be downloaded here. {row['note']}")
    return path


def check(name: str, resources: pd.DataFrame, resources_dir: str | Path) -> str:
    """State of one resource: ``ok``, ``missing``, ``present, checksum unknown`` or what is wrong.

    A file made from a package is made again in a temporary folder and compared.
    """
    row = resources.loc[name]
    path = Path(resources_dir) / row["path"]
    if not path.is_file():
        return "missing"
    if row["kind"] == "package":
        with tempfile.TemporaryDirectory() as folder:
            again = Path(folder) / path.name
            MAKERS[name](package_file(row["source"], row["checksum"]), again)
            return "ok" if _content(again) == _content(path) else "differs from its package's"
    if row["checksum"] == UNKNOWN:
        return "present, checksum unknown"
    found = checksum(path, row["checksum"])
    return "ok" if found == row["checksum"] else f"wrong checksum {found}"


def checksum(path: Path, like: str) -> str:
    """``md5:...`` or ``sha256:...`` of a file, the kind that ``like`` has."""
    kind = like.split(":")[0]
    require(kind in ("md5", "sha256"), f"A checksum is md5:... or sha256:..., not {like!r}.")
    with path.open("rb") as stream:
        return f"{kind}:{hashlib.file_digest(stream, kind).hexdigest()}"


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


def _download(urls: list[str], path: Path, expected: str) -> None:
    """Download the first of ``urls`` that answers, checked, to ``path``."""
    part = path.with_name(path.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    faults = []
    for url in urls:
        try:
            _fetch(url, part)
        except (OSError, IncompleteRead) as error:
            faults.append(f"{url}: {error}")
            continue
        if part.stat().st_size:
            break
        faults.append(f"{url}: empty answer")
    else:
        raise UserError(
            f"{path.name} could not be downloaded ({'; '.join(faults)}). Run the same command "
            f"again on a machine with internet (it continues), or place the file at {path} by hand."
        )
    if expected == UNKNOWN:
        log.warning("%s: no published checksum; got %s", path.name, checksum(part, "sha256:"))
    else:
        found = checksum(part, expected)
        if found != expected:
            part.unlink()
            raise UserError(
                f"{url} gave a file with {found}, expected {expected}; it was removed. Try again, "
                f"or place the right file at {path} by hand."
            )
    part.replace(path)
    log.info("downloaded %s", path)


def _fetch(url: str, part: Path) -> None:
    """Append to ``part`` what it still lacks of ``url``."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "ldae-workflow"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is left to send: the part is whole
            return
        raise
    with answer, part.open("ab" if answer.status == 206 else "wb") as stream:
        while chunk := answer.read(CHUNK):
            stream.write(chunk)
        if answer.length:
            raise OSError(f"the connection ended {answer.length} bytes early")


def _content(path: Path) -> bytes:
    """Bytes of a file, decompressed: compressed ones differ between versions of zlib."""
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data


def _texts(value: Any) -> Iterator[str]:
    """All strings in a nested configuration."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m ldae.resources", description="Stage files from outside."
    )
    parser.add_argument("--table", default="config/resources.tsv")
    parser.add_argument("--resources", default="resources", help="folder to stage into")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="all resources and whether they are there")
    commands.add_parser("check", help="verify what is there; exit 1 if something is wrong")
    commands.add_parser("stage", help="fetch or make").add_argument("names", nargs="+")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        resources = load_resources(options.table)
        if options.command == "stage":
            for name in options.names:
                stage(name, resources, options.resources)
            return 0
        wrong = False
        for name, row in resources.iterrows():
            if options.command == "list":
                there = (Path(options.resources) / row["path"]).is_file()
                state = "staged" if there else "-"
                print(name, row["kind"], state, row["path"], row["licence"], sep="\t")
            else:
                state = check(name, resources, options.resources)
                wrong |= state.startswith(("wrong", "differs"))
                print(name, state, sep="\t")
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
