"""The folder of a synthetic cohort: made beside its place and renamed when it is whole."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ldae.errors import require

MARK = "synthetic.json"
MADE_BY = "ldae.synthetic: no image or person here is real"


@contextmanager
def made_folder(out: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``out`` that becomes ``out`` unless an error is raised.

    Raises:
        UserError: ``out`` holds something that no such command has made.
    """
    occupied = out.exists() and not (out.is_dir() and not any(out.iterdir()))
    require(
        not occupied or (out / MARK).is_file(),
        f"{out} is not empty and was not made by this command; name a new folder.",
    )
    work = out.with_name(f".tmp{os.getpid()}-{out.name}")
    try:
        work.mkdir(parents=True)
        yield work
        if out.exists():
            shutil.rmtree(out)
        work.rename(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
