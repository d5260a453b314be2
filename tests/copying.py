"""A clean copy of the project to run things in, without what runs here have left."""

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def copy_files(target: Path, root: Path = ROOT) -> Path:
    """Copy what git tracks (and would track) to ``target``; environments are linked, not copied."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=root, text=True, check=True, stdout=subprocess.PIPE,
    ).stdout.splitlines()  # fmt: skip
    for name in listed:
        source = root / name
        if source.exists() or source.is_symlink():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target / name, follow_symlinks=False)
    (target / ".venv").symlink_to(root / ".venv")
    return target
