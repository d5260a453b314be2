"""The workflow as a module of another one, in a local copy of the project."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OUTER = """
configfile: "config/config.yaml"


module ldae:
    snakefile:
        "project/workflow/Snakefile"
    config:
        config


use rule * from ldae


use rule figure5_lda from ldae with:
    message:
        "Another message"
"""

pytestmark = pytest.mark.workflow


def test_another_workflow_imports_this_one_and_changes_a_rule(tmp_path):
    (tmp_path / "project").symlink_to(ROOT)
    (tmp_path / "Snakefile").write_text(OUTER)
    shutil.copytree(ROOT / "config", tmp_path / "config")
    configs = [f"config/{name}.yaml" for name in ("demo", "golden")]
    snakemake = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", *configs]

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [*snakemake, *arguments], cwd=tmp_path, text=True, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout + done.stderr

    plan = run("-n", "--", "all")
    assert "Another message" in plan and "figure5_lda" in plan
    run("--", "resources_list")  # a script, with the module's own library
    assert list(tmp_path.rglob("missing.tsv"))
