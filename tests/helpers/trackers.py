"""Records that trackers have written: those of a W&B run, curves in MLflow's own files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILE_HEADER, RECORD_HEADER, BLOCK = 7, 7, 32768  # bytes
FULL, LAST = 1, 4  # types of a record's parts


def wandb_records(folder: Path) -> list[Any]:
    """Records of a run's ``.wandb`` file, in the order written."""
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = folder.glob("*.wandb")
    return [Record.FromString(content) for content in _parts(file.read_bytes())]


def _parts(data: bytes) -> Iterator[bytes]:
    """Contents of a log in LevelDB's format: records split where a block of the file ends."""
    at, content = FILE_HEADER, b""
    while at + RECORD_HEADER < len(data):
        left = BLOCK - at % BLOCK
        if left < RECORD_HEADER:
            at += left
            continue
        length = int.from_bytes(data[at + 4 : at + 6], "little")
        kind = data[at + 6]
        at += RECORD_HEADER
        content += data[at : at + length]
        at += length
        if kind in (FULL, LAST):
            yield content
            content = b""


def wandb_points(folder: Path) -> list[tuple[int, str]]:
    """(step, curve) of every point of a run."""
    found = []
    for record in wandb_records(folder):
        if record.WhichOneof("record_type") == "history":
            names = [item.key or ".".join(item.nested_key) for item in record.history.item]
            found += [(record.history.step.num, name) for name in names if name[0] != "_"]
    return found


def mlflow_points(run: Path) -> list[tuple[int, str]]:
    """(step, curve) of every point of a run in MLflow's own files."""
    files = [file for file in sorted((run / "metrics").rglob("*")) if file.is_file()]
    return [
        (int(line.split()[2]), file.relative_to(run / "metrics").as_posix())
        for file in files
        for line in file.read_text().splitlines()
    ]
