"""Fingerprints that make Snakemake rerun a stage when, and only when, its source changes."""

import hashlib
from pathlib import Path

PACKAGE = Path(__file__).parent


def source_fingerprint(*modules: str) -> str:
    """Hash the sources of ``modules``, given as paths inside the package.

    A name is a file (``"diffusion/ddim.py"``) or a folder (``"nets"``: all Python files below it).
    Only contents count, so a fresh clone or a touch changes nothing.

    Raises:
        FileNotFoundError: a module does not exist, so a renamed file cannot go unnoticed.
    """
    total = hashlib.sha256()
    for name in sorted(modules):
        path = PACKAGE / name
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        for file in files:
            total.update(str(file.relative_to(PACKAGE)).encode())
            total.update(file.read_bytes())
    return total.hexdigest()[:16]
