"""`snakemake check`: lists every fault of a configuration at once and runs nothing."""

import os
import subprocess
import sys

import pandas as pd
import pytest
import yaml

pytestmark = pytest.mark.workflow

BROKEN = {
    "paths": {"images": "adni", "tables": "tables"},
    "software": {"clinica_bin": "nowhere/bin"},
    "cohort": {"exclude": "nowhere.tsv"},
}
NOTHING = "#!/bin/sh\nexit 1\n"
SINFO = """#!/bin/sh
echo 'cpu*|1-00:00:00|64000|16|(null)'
echo 'gpu|12:00:00|64000|16|gpu:a100:2'
"""


def check(project, *arguments, path=None):
    """Run `snakemake check`; returns the finished process and the table of findings."""
    command = [sys.executable, "-m", "snakemake", "check", *arguments]
    environment = os.environ | {"PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    environment |= {"PATH": path} if path else {}
    done = subprocess.run(
        command, cwd=project.path, env=environment, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    table = project.path / "results/check/check.tsv"
    assert table.is_file(), done.stdout
    return done, pd.read_csv(table, sep="\t", keep_default_na=False)


def test_check_finds_no_error_in_demo_before_any_run(project):
    done, found = check(project, "--profile", "demo")
    assert done.returncode == 0, done.stdout
    assert set(found["level"]) <= {"OK", "WARNING"}
    assert found["what"].str.contains(r"raw/demo/images .* will be made").any()
    (jobs,) = found.loc[found["topic"] == "plan", "what"]
    planned = project.planned(config="config/demo.yaml")
    assert {"synthetic", "ldae", "report"} < planned
    assert all(f"{rule}" in jobs for rule in planned)
    assert not (project.path / "raw").exists()
    assert not (project.path / "results/cohort").exists()
    assert done.stdout.count("0 errors") == 1


def test_check_lists_every_fault_with_its_remedy(project):
    image = project.path / "adni/unpacked/by/me/today/002_S_0413"
    image.mkdir(parents=True)
    (project.path / "tables").mkdir()
    (project.path / "broken.yaml").write_text(yaml.safe_dump(BROKEN))
    done, found = check(project, "--cores", "1", "--configfile", "broken.yaml")
    assert done.returncode == 1
    faults = found[found["level"] == "ERROR"]
    for topic, what, remedy in (
        ("paths", "paths.images", "Set paths.images to adni/unpacked/by/me/today"),
        ("tables", "ADNIMERGE.csv", ""),
        ("tables", "APOERES.csv", ""),
        ("resources", "mni2009c-t1w", "snakemake --cores 1 resources"),
        ("resources", "ukb-autoencoderkl", "monai.bundle download"),
        ("resources", "cohort.exclude", "null"),
        ("environment", "clinica is not found", "software.clinica_bin"),
        ("environment", "dcm2niix is not found", "software.clinica_bin"),
    ):
        rows = faults[(faults["topic"] == topic) & faults["what"].str.contains(what, regex=False)]
        assert len(rows) == 1, f"{what}: {done.stdout}"
        assert remedy in rows["remedy"].item()
    assert all(faults["remedy"].str.len() + faults["what"].str.contains("in the IDA"))
    # Printed once; the job's error is the number of errors.
    assert f"check: {len(faults)} errors" in done.stdout
    assert done.stdout.count("ukb-autoencoderkl:") == 1
    text = (project.path / "results/check/check.txt").read_text()
    assert text in done.stdout


def test_check_compares_slurm_partitions_with_the_profile(project, tmp_path_factory):
    commands = tmp_path_factory.mktemp("commands")
    for name, script in {"sinfo": SINFO, "squeue": NOTHING, "sbatch": NOTHING}.items():
        (commands / name).write_text(script)
        (commands / name).chmod(0o755)
    path = f"{commands}:{os.environ['PATH']}"
    demo = ("--configfile", "config/demo.yaml", "--config", "device=cuda", "--set-resources")
    done, found = check(
        project, "--profile", "slurm", *demo, "n4:slurm_partition=cpus", "ldm:slurm_partition=gpu",
        "ldm:runtime=600", path=path,
    )  # fmt: skip
    assert done.returncode == 1
    findings = found[found["topic"] == "slurm"]
    faults = findings[findings["level"] == "ERROR"]
    assert faults["what"].str.contains("no partition cpus: ").any()
    # All other rules that ask for a GPU would be sent to the default partition.
    (gpus,) = faults.loc[faults["what"].str.contains("no GPUs a node"), "what"]
    assert "autoencoder" in gpus
    assert "ldm" not in gpus
    assert findings["what"].str.contains("cluster default").any()
