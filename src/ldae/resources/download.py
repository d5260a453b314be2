"""Whether a file from outside is the right one, or at least a whole one.

Bringing one file from an address or a folder, continued where an earlier attempt broke off.

What has come so far lies beside the file in ``<name>.<identity>.part``. The identity is that of the
file's checksum, or, where none is known, of the address and the server's validator (ETag or date):
the part of another file, or of an older version, is never continued.
"""

import hashlib
from pathlib import Path
from ldae.errors import require
import gzip
import zlib
import json
from typing import Protocol
from ldae.files import digest
import http.client
import urllib.error
import urllib.request
import shutil
from ldae.errors import UserError
from ldae.progress import Progress

def checksum(path: Path, like: str) -> str:
    """``md5:...`` or ``sha256:...`` of a file, the kind that ``like`` has."""
    kind = like.split(":")[0]
    require(kind in ("md5", "sha256"), f"A checksum is md5:... or sha256:..., not {like!r}.")
    with path.open("rb") as stream:
        return f"{kind}:{hashlib.file_digest(stream, kind).hexdigest()}"


def damage(path: Path, name: str) -> str | None:
    """What is wrong with a file whose checksum nobody knows, judged by its format; None: nothing.

    Args:
        path: The file.
        name: Its name when it is in place; the ending says the format (.gz, .h5, .safetensors).
    """
    kind = Path(name).suffix
    try:
        if not path.stat().st_size:
            raise ValueError("it is empty")
        if kind == ".gz":
            with gzip.open(path) as stream:
                while stream.read(1 << 20):
                    pass
        elif kind == ".h5":
            import h5py  # for this kind alone

            h5py.File(path, "r").close()
        elif kind == ".safetensors":
            _whole_safetensors(path)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        return f"is no whole {kind} file ({error})"
    return None


def _whole_safetensors(path: Path) -> None:
    """Raise ValueError unless the file is as long as its header says."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        size = path.stat().st_size
        if length > size - 8:
            raise ValueError("the header is cut off")
        header = json.loads(stream.read(length))
    ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
    if 8 + length + max(ends, default=0) != size:
        raise ValueError(f"{size} bytes instead of {8 + length + max(ends, default=0)}")


TIMEOUT = 60  # seconds without a byte
CHUNK = 1 << 20  # bytes
MEGA = 1e6  # bytes
SPARE = 50_000_000  # bytes that stay free on the disk


class Unavailable(Exception):
    """The source did not give the file; the next one is tried."""


class Broken(Unavailable):
    """The connection ended before the file did; ``gained`` bytes came of it."""

    def __init__(self, message: str, gained: int):
        super().__init__(message)
        self.gained = gained


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def part_of(path: Path, identity: str) -> Path:
    """Where what has come of ``path`` lies until it is whole and checked."""
    return path.with_name(f"{path.name}.{digest(identity)[:8]}.part")


def fetch(source: str, path: Path, identity: str | None) -> tuple[Path, bool]:
    """Bring ``source`` to a part beside ``path``.

    Args:
        source: ``https://...`` (or http), or a file that lies here.
        path: Where the file will go; its folder exists.
        identity: The file's checksum; None: unknown.

    Returns:
        The whole part, not yet checked, and whether it was begun by an earlier attempt.

    Raises:
        Unavailable: the source does not answer, or not with this file.
        UserError: the part cannot be written: no space, no permission.
    """
    return (_download if "://" in source else _copy)(source, path, identity)


def _copy(source: str, path: Path, identity: str | None) -> tuple[Path, bool]:
    part = part_of(path, identity or source)
    try:
        with Path(source).open("rb") as stream:
            _save(stream, part, 0, Path(source).stat().st_size)
    except OSError as error:
        raise Unavailable(error.strerror or str(error)) from None
    return part, False


def _download(url: str, path: Path, identity: str | None) -> tuple[Path, bool]:
    answer = _open(url)
    validator = _validator(answer)
    part = part_of(path, identity or f"{url} {validator}")
    if not (identity or validator):
        part.unlink(missing_ok=True)  # nothing shows that it is of the same file
    have, total = (part.stat().st_size if part.is_file() else 0), answer.length
    if have and have == total:
        answer.close()
        return part, True
    if have > 0 and (total is None or have < total):
        answer.close()
        answer = _open(url, have, validator)
        if not _continues(answer, have):  # the whole again: the server knows no ranges
            have = 0
        total = None if answer.length is None else have + answer.length
    else:
        have = 0
    with answer:
        _save(answer, part, have, total)
    return part, have > 0


def _open(url: str, start: int = 0, validator: str | None = None) -> http.client.HTTPResponse:
    """The answer of ``url``, from byte ``start`` on if the server can, else from the first."""
    request = urllib.request.Request(url, headers={"User-Agent": "ldae-workflow"})
    if start:
        request.add_header("Range", f"bytes={start}-")
        if validator:
            request.add_header("If-Range", validator)  # changed since: the whole
    try:
        # Not urlopen: it asks the environment for a proxy only once in a process.
        answer = urllib.request.build_opener().open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if start and error.code in (416, 501):  # no such range there: from the first byte
            return _open(url)
        raise Unavailable(str(error)) from None
    except urllib.error.URLError as error:
        raise Unavailable(str(error.reason)) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unavailable(f"{type(error).__name__}: {error}") from None
    if answer.headers.get_content_type() == "text/html":
        answer.close()
        raise Unavailable("it answered with a web page: a login or a notice, not the file")
    return answer


def _validator(answer: http.client.HTTPResponse) -> str | None:
    """What tells this version of the file from a later one."""
    etag = answer.headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified")


def _continues(answer: http.client.HTTPResponse, start: int) -> bool:
    if answer.status != 206:
        return False
    given = answer.headers.get("Content-Range", "")
    if not given.startswith(f"bytes {start}-"):
        answer.close()
        raise Unavailable(f"asked for the bytes from {start} on, it sent {given or 'others'}")
    return True


def _save(source: _Readable, part: Path, have: int, total: int | None) -> None:
    """Append ``source`` to the first ``have`` bytes of ``part``; ``total`` is the file's size."""
    if total is not None:
        free = shutil.disk_usage(part.parent).free
        require(
            free > total - have + SPARE,
            f"{part.parent} has {free / MEGA:.0f} MB free, {part.name} needs "
            f"{(total - have + SPARE) / MEGA:.0f} MB: free some, or set paths.resources to a "
            "folder on another disk.",
        )
    name = part.name.rsplit(".", 2)[0]
    start = have
    progress = Progress(f"{name}, MB", round((total or 0) / MEGA), round(have / MEGA))
    try:
        with part.open("ab" if have else "wb") as stream:
            while chunk := _read(source, have - start):
                stream.write(chunk)
                have += len(chunk)
                if total is not None and have < total:
                    progress.step(int(have / MEGA))
    except OSError as error:
        raise UserError(
            f"{part} cannot be written ({error.strerror or error}): mend that, then run the same "
            "command again; it continues where it stopped."
        ) from None
    if total is not None and have < total:
        raise Broken(f"the connection ended {total - have} bytes early", have - start)
    if not have:
        part.unlink()
        raise Unavailable("empty answer")


def _read(source: _Readable, gained: int) -> bytes:
    try:
        return source.read(CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise Broken(f"the connection broke ({type(error).__name__})", gained) from None
