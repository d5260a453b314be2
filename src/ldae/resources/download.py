"""Download of one external file, resumed after an interruption, and checks of its integrity.

The bytes received so far are in ``<name>.<identity>.part`` beside the file. The identity is a hash
of the file's checksum or, where none is known, of the URL and the server's validator (ETag or
date). So the part of another file, or of an older version, is never continued.
"""

import gzip
import hashlib
import http.client
import json
import shutil
import urllib.error
import urllib.request
import zlib
from pathlib import Path
from typing import Protocol

from ldae.errors import UserError, require
from ldae.files import digest
from ldae.progress import Progress

TIMEOUT = 60  # seconds without a byte
CHUNK = 1 << 20  # bytes
MEGA = 1e6  # bytes
SPARE = 50_000_000  # bytes to leave free on the disk


def checksum(path: Path, like: str) -> str:
    """``md5:...`` or ``sha256:...`` of a file, of the same kind as ``like``.

    Raises:
        UserError: ``like`` is of neither kind.
    """
    kind = like.split(":")[0]
    require(kind in ("md5", "sha256"), f"A checksum is md5:... or sha256:..., not {like!r}.")
    with path.open("rb") as stream:
        return f"{kind}:{hashlib.file_digest(stream, kind).hexdigest()}"


def find_damage(path: Path, name: str) -> str | None:
    """What is wrong with a file of unknown checksum, judged by its format; None: nothing.

    Args:
        path: The file.
        name: Its final name. Its suffix says the format: .gz is decompressed, .h5 opened,
            .safetensors compared with its header. Of any other file only the size is checked.
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
            import h5py  # only for this format

            h5py.File(path, "r").close()
        elif kind == ".safetensors":
            _whole_safetensors(path)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        return f"is not a complete {kind} file ({error})"
    return None


def _whole_safetensors(path: Path) -> None:
    """Raise ValueError unless the file has the length that its header gives."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        size = path.stat().st_size
        if length > size - 8:
            raise ValueError("the header is cut off")
        header = json.loads(stream.read(length))
    ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
    if 8 + length + max(ends, default=0) != size:
        raise ValueError(f"{size} bytes instead of {8 + length + max(ends, default=0)}")


class Unavailable(Exception):
    """The source did not provide the file; the next source is tried."""


class ConnectionBroken(Unavailable):
    """The connection ended before the file was complete; it had delivered ``gained`` bytes."""

    def __init__(self, message: str, gained: int):
        super().__init__(message)
        self.gained = gained


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def partial_file(path: Path, identity: str) -> Path:
    """The partial file of ``path``, which holds its bytes until it is complete and checked."""
    return path.with_name(f"{path.name}.{digest(identity)[:8]}.part")


def fetch(source: str, path: Path, identity: str | None) -> tuple[Path, bool]:
    """Download or copy ``source`` to a partial file beside ``path``.

    Args:
        source: ``https://...`` (or http), or the path of a local file.
        path: Final place of the file; its folder exists.
        identity: The file's checksum; None: unknown.

    Returns:
        The complete partial file, not yet checked, and whether an earlier attempt began it.

    Raises:
        ConnectionBroken: the connection ended early; a further call may continue.
        Unavailable: the source does not answer, or does not send this file.
        UserError: the partial file cannot be written: no space, no permission.
    """
    return (_download if "://" in source else copy_file)(source, path, identity)


def copy_file(source: str, path: Path, identity: str | None) -> tuple[Path, bool]:
    """Copy a local file to a partial file beside ``path``; arguments and errors as :func:`fetch`."""
    part = partial_file(path, identity or source)
    try:
        with Path(source).open("rb") as stream:
            _save(stream, part, 0, Path(source).stat().st_size)
    except OSError as error:
        raise Unavailable(error.strerror or str(error)) from None
    return part, False


def _download(url: str, path: Path, identity: str | None) -> tuple[Path, bool]:
    answer = _open(url)
    validator = _validator(answer)
    part = partial_file(path, identity or f"{url} {validator}")
    if not (identity or validator):
        part.unlink(missing_ok=True)  # it may be of another file
    have, total = (part.stat().st_size if part.is_file() else 0), answer.length
    if have and have == total:
        answer.close()
        return part, True
    if have > 0 and (total is None or have < total):
        answer.close()
        answer = _open(url, have, validator)
        if not _continues(answer, have):  # the server ignored the range
            have = 0
        total = None if answer.length is None else have + answer.length
    else:
        have = 0
    with answer:
        _save(answer, part, have, total)
    return part, have > 0


def _open(url: str, start: int = 0, validator: str | None = None) -> http.client.HTTPResponse:
    """The response of ``url``, from byte ``start`` if the server supports ranges, else from 0.

    Raises:
        Unavailable: the server does not answer, or answers with an error or a web page.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "ldae-workflow"})
    if start:
        request.add_header("Range", f"bytes={start}-")
        if validator:
            request.add_header("If-Range", validator)  # if changed: the whole file
    try:
        # Not urlopen: it reads the proxy from the environment only once in a process.
        answer = urllib.request.build_opener().open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if start and error.code in (416, 501):  # range refused: from the first byte
            return _open(url)
        raise Unavailable(str(error)) from None
    except urllib.error.URLError as error:
        raise Unavailable(str(error.reason)) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unavailable(f"{type(error).__name__}: {error}") from None
    if answer.headers.get_content_type() == "text/html":
        answer.close()
        raise Unavailable("it answered with a web page (a login or a notice), not with the file")
    return answer


def _validator(answer: http.client.HTTPResponse) -> str | None:
    """Strong ETag of the response, else its date of modification; None: neither is sent."""
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
    """Append ``source`` to ``part``, which has ``have`` bytes.

    Args:
        source: The remaining bytes.
        part: The partial file; overwritten if ``have`` is 0.
        have: Its size so far, bytes.
        total: Size of the complete file, bytes; None: unknown.

    Raises:
        ConnectionBroken: the connection ended early.
        Unavailable: the source is empty.
        UserError: the disk is full, or the file cannot be written.
    """
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
            f"{part} cannot be written ({error.strerror or error}). Correct this, then run the "
            "same command again; it continues where it stopped."
        ) from None
    if total is not None and have < total:
        raise ConnectionBroken(f"the connection ended {total - have} bytes early", have - start)
    if not have:
        part.unlink()
        raise Unavailable("it sent an empty file")


def _read(source: _Readable, gained: int) -> bytes:
    try:
        return source.read(CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionBroken(f"the connection broke ({type(error).__name__})", gained) from None
