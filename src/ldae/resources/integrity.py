"""Whether a file from outside is the right one, or at least a whole one."""

import gzip
import hashlib
import json
import zlib
from pathlib import Path

from ldae.errors import require


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
