"""`snakemake --profile slurm` on a real Slurm: same results as without it, and failures of jobs."""

import os
import re
import shutil
import signal
import subprocess

import pytest

from helpers.project import TIMED
from helpers.slurm import Toy, resumed, squeue, submitted, train_outside, training, until

pytestmark = pytest.mark.cluster


@pytest.mark.slow
def test_slurm_run_gives_the_same_tables_as_a_local_run(project, local):
    project.snakemake()
    here = f"{project.path.resolve()}|"
    jobs = [row for row in squeue("--states=all", "--format=%Z|%k") if row.startswith(here)]
    assert len([row for row in jobs if "_registration_" in row]) == 2  # one job a shard
    tables = [*local.path.glob("results/tables/*.tsv"), local.path / "results/cohort/ledger.tsv"]
    tables += local.path.glob("results/evaluation/*.tsv")
    names = [str(path.relative_to(local.path)) for path in tables if path.name not in TIMED]
    assert len(names) > 20
    assert [name for name in names if local.read(name) != project.read(name)] == []
    assert "Nothing to be done" in project.snakemake().stdout


def test_restart_cancels_jobs_of_a_killed_snakemake(project):
    with subprocess.Popen(
        project.command("synthetic"), cwd=project.path, env=project.environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as killed:  # fmt: skip
        (left,) = until(lambda: project.jobs("RUNNING"))
        killed.kill()
    project.snakemake("--unlock")
    output = project.snakemake("synthetic").stdout
    assert f"which are cancelled: {left}" in output
    states = project.jobs()
    assert states.pop(left) == "CANCELLED"
    assert list(states.values()) == ["COMPLETED"]


def test_job_out_of_memory_is_retried_with_more(slurm, tmp_path):
    """The first attempt gets 600 MB, of which two Snakemakes need half, and takes 500 MB."""
    toy = Toy(
        tmp_path,
        "rule big:\n    output: 'done'\n"
        "    resources: mem_mb=lambda wildcards, attempt: 600 * attempt\n    shell:\n"
        '        "python -c \\"import time; x = b\'1\' * 500_000_000; time.sleep(8)\\"'
        ' && touch {output}"\n',
    )
    toy.snakemake()
    here = f"{tmp_path.resolve()}|"
    jobs = [row for row in squeue("--states=all", "--format=%Z|%m|%T") if row.startswith(here)]
    killed, done = sorted((row.removeprefix(here) for row in jobs), reverse=True)
    assert killed in ("600M|FAILED", "600M|OUT_OF_MEMORY")  # depends on Slurm's configuration
    assert done == "1200M|COMPLETED"
    logs = "".join(log.read_text() for log in tmp_path.rglob("slurm_logs/rule_big/*.log"))
    assert "exceeded memory limit" in logs


def test_run_survives_repeated_failures_of_squeue(slurm, tmp_path, monkeypatch):
    """More consecutive failures of squeue than the executor accepts by default."""
    toy = Toy(tmp_path, "rule short:\n    output: 'done'\n    shell: 'touch {output}'\n")
    (tmp_path / "bin").mkdir()
    failing = tmp_path / "bin/squeue"
    failing.write_text(
        "#!/bin/sh\necho >>asked\n[ $(wc -l <asked) -gt 8 ] || { echo away >&2; exit 1; }\n"
        f'exec {shutil.which("squeue")} "$@"\n'
    )
    failing.chmod(0o755)
    monkeypatch.setenv("PATH", f"{failing.parent}:{os.environ['PATH']}")
    toy.snakemake("--max-status-checks-per-second", "10")
    assert toy.read("asked").count(b"\n") > 8


def test_ctrl_c_cancels_slurm_jobs(slurm, tmp_path):
    toy = Toy(tmp_path, "rule long:\n    output: 'done'\n    shell: 'sleep 300; touch {output}'\n")
    heard = ["env", "--default-signal=INT"]  # background processes of a shell ignore it
    with subprocess.Popen(
        [*heard, *toy.command()], cwd=toy.path, env=toy.environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as snakemake:  # fmt: skip
        until(lambda: toy.jobs("RUNNING"))
        snakemake.send_signal(signal.SIGINT)
        assert snakemake.wait(120) != 0
    until(lambda: list(toy.jobs().values()) == ["CANCELLED"], 30)


def test_gpu_jobs_do_not_share_a_gpu(slurm, tmp_path):
    toy = Toy(
        tmp_path,
        "rule all:\n    input: 'both'\n"
        "rule embeddings:\n    output: '{name,[ab]}'\n    resources: gpu=1\n"
        "    shell: 'echo $CUDA_VISIBLE_DEVICES > {output}.gpu; "
        # each keeps its GPU until the other has one too
        "for second in $(seq 240); do test -e a.gpu -a -e b.gpu && break; sleep 1; done; "
        "cp {output}.gpu {output}'\n"
        # after them: in the queue between the two it would hold back the second
        "rule ldae:\n    input: 'a', 'b'\n    output: 'both'\n"
        "    resources: gpu=2, gpu_model='fake'\n"
        "    shell: 'echo $CUDA_VISIBLE_DEVICES > {output}'\n",
    )
    toy.snakemake()
    alone = {toy.read(name).decode().strip() for name in "ab"}
    assert alone == {"0", "1"}
    assert toy.read("both").decode().strip() == "0,1"


def test_group_is_one_slurm_job_and_is_retried_with_more_memory(slurm, tmp_path):
    """The steps skip finished scans in a retry, which tests/unit/test_preprocess.py tests."""
    toy = Toy(
        tmp_path,
        "rule all:\n    input: 'packed-0', 'packed-1'\n"
        "rule n4:\n    output: 'n4-{shard}'\n    resources: mem_mb=500, runtime=3\n"
        "    shell: 'touch {output}'\n"
        "rule registration:\n    input: 'n4-{shard}'\n    output: 'registered-{shard}'\n"
        "    resources: mem_mb=lambda wildcards, attempt: 700 * attempt, runtime=4\n"
        "    shell: 'touch {output}'\n"
        "rule volume_shard:\n    input: 'registered-{shard}'\n    output: 'packed-{shard}'\n"
        "    resources: mem_mb=500, runtime=5\n"
        "    shell: 'test {wildcards.shard} = 0 || ls again || {{ touch again; kill -9 $$; }}; "
        "touch {output}'\n",
    )
    toy.snakemake()
    jobs = squeue("--states=all", "--format=%Z|%m|%l|%T")
    here = f"{tmp_path.resolve()}|"
    assert sorted(row.removeprefix(here) for row in jobs if row.startswith(here)) == [
        "1400M|12:00|COMPLETED",  # largest memory of a step, sum of minutes
        "700M|12:00|COMPLETED",
        "700M|12:00|FAILED",
    ]


@pytest.mark.slow
def test_training_beyond_its_time_limit_gives_the_same_weights(slurm, chain, tmp_path):
    toy = training(tmp_path, chain, 400, 1, late=30, runtime=1)
    output = toy.snakemake().stdout
    assert len(submitted(output)) > 1
    assert "FAILED" in toy.jobs().values()  # at least once it exited by itself, before a TIMEOUT
    assert resumed(toy)
    assert toy.read("cut/model.safetensors") == train_outside(toy)


# Preemption: a job of the partition gpu takes both GPUs from one of scavenge.
URGENT = ["sbatch", "--partition=gpu", "--gpus=2", "--mem=100", "--output=/dev/null"]


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["requeue", "scancel", "preemption"])
def test_slurm_signals_reach_every_process_of_a_training(harm, slurm, chain, tmp_path):
    """The only checkpoint is the one that a signal makes the processes save."""
    partition = "scavenge" if harm == "preemption" else "cpu"
    toy = training(tmp_path, chain, 200, 2, gpu=2, slurm_partition=partition)
    log = toy.path / "ldm.log"
    with subprocess.Popen(
        toy.command(), cwd=toy.path, env=toy.environment(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as snakemake:  # fmt: skip
        until(lambda: log.is_file() and re.search(r"ldm \d+/\d+", log.read_text()))
        (number,) = toy.jobs("RUNNING")
        harms = {"requeue": ["scontrol", "requeue", number], "scancel": ["scancel", number]}
        subprocess.run(harms.get(harm, [*URGENT, "--wrap=sleep 1"]), check=True)
        until(lambda: "interrupted at step" in log.read_text(), 30)
        output = snakemake.communicate()[0]
    assert snakemake.returncode == 0, output
    assert len(submitted(output)) == (2 if harm == "scancel" else 1)
    assert len(resumed(toy)) == 1
    assert toy.read("cut/model.safetensors") == train_outside(toy)
