"""Commit of the source: which state of the code a result was made with."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path


def source_commit(but: Sequence[str] = ()) -> str | None:
    """Full hash of the checkout's commit, with ``-dirty`` if its files differ from it.

    Args:
        but: Files or folders, from the top of the checkout, whose differences do not count.

    Returns:
        None if this package does not lie in a checkout of its source, or git is not installed.
    """
    if shutil.which("git") is None:
        return None
    git = ["git", "-C", str(Path(__file__).parent)]
    # A copy of the package in an environment inside a checkout is no file of that checkout.
    known = subprocess.run(
        [*git, "ls-files", "--error-unmatch", Path(__file__).name], capture_output=True, check=False
    )
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if known.returncode or head.returncode:
        return None
    left_out = [f":(exclude,top){path}" for path in but]
    changed = subprocess.run([*git, "diff", "--quiet", "HEAD", "--", ":/", *left_out], check=False)
    return head.stdout.strip() + ("-dirty" if changed.returncode else "")
