"""Dry runs in forks say what a Snakemake says that is started anew."""

import os
import re
import subprocess
import sys

import pytest

from helpers.dry_runs import dry_run

pytestmark = pytest.mark.workflow
SNAKEFILE = """
import os, sys
from pathlib import Path
print(Path.cwd(), os.environ["ASKED"], "OTHER" in os.environ, Path(sys.argv[0]).parent.name)
rule one:
    output: "one.txt"
    shell: "touch {output}"
if config["fails"]:
    raise ValueError("as asked")
"""


@pytest.mark.parametrize("fails", ["", "1"])
def test_fork_says_and_returns_what_a_new_process_does(fails, tmp_path, monkeypatch):
    monkeypatch.setenv("OTHER", "of the tests alone")
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    arguments = ["-n", "--cores", "1", "--config", f"fails={fails}"]
    variables = {**os.environ, "ASKED": "of this call"}
    del variables["OTHER"]
    forked = dry_run(arguments, tmp_path, variables)
    anew = subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments], cwd=tmp_path, env=variables, text=True,
        check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert forked.returncode == anew.returncode == int(bool(fails))
    assert f"{tmp_path} of this call False snakemake" in forked.stdout
    said, expected = (
        # Of each call its own; and the folder in which Snakemake was imported.
        re.sub(r"(?m)^ *(Date|Workflow ID|Run directory): .*|\d\d:\d\d:\d\d", "", done.stdout)
        for done in (forked, anew)
    )
    assert said == expected


def test_killed_fork_is_an_error(tmp_path):
    (tmp_path / "Snakefile").write_text("import os\nos.kill(os.getpid(), 9)\n")
    with pytest.raises(RuntimeError, match="was killed"):
        dry_run(["-n", "--cores", "1"], tmp_path, os.environ)
