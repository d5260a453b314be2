"""Chaos run: ten seeded disturbances change no weights and no tables."""

import dataclasses
import os
import random
import re
import signal
import subprocess

import pytest

from helpers import chaos
from helpers.project import TIMED
from helpers.slurm import resumed, submitted, train_outside, training, until
from ldae.training.settings import Settings

# All tables, from the raw download on, with a checkpoint each second.
ARGUMENTS = ("evaluate", "cohort", "--config", "checkpoint_seconds=1")
COMPARED = (
    *("results/cohort/*.tsv", "results/cache/*/index.tsv", "results/cache/latents/*.npy"),
    *("results/models/*/model.safetensors", "results/embeddings/*.npz"),
    *("results/evaluation/*.tsv", "results/tables/*.tsv"),
)
NOT_COMPARED = (*TIMED, "images.tsv")  # with seconds, or dates of the raw files
# By default one, which takes a quarter of an hour: LDAE_SEEDS="1 2 3" make test-cluster
SEEDS = [int(seed) for seed in os.environ.get("LDAE_SEEDS", "1").split()]

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.mark.parametrize("seed", SEEDS)
def test_disturbed_run_gives_the_same_weights_and_tables(seed, project, local):
    with chaos.disk(project.path / "results"):
        run = chaos.disturb(project, ARGUMENTS, seed)
        diary = "\n".join(run.diary)
        assert len(run.applied) == 10, diary
        found = (path for pattern in COMPARED for path in project.path.glob(pattern))
        names = {
            str(path.relative_to(project.path)) for path in found if path.name not in NOT_COMPARED
        }
        assert len(names) > 40
        assert [name for name in names if local.read(name) != project.read(name)] == [], diary
        assert "Nothing to be done" in project.snakemake(*ARGUMENTS).stdout


def test_training_resumes_after_kill_9_of_one_of_two_processes(slurm, chain, tmp_path):
    toy = training(tmp_path, chain, 200, 2, gpu=2)
    job_settings = dataclasses.replace(Settings.read(tmp_path / "cut.json"), checkpoint_seconds=0.5)
    job_settings.write(tmp_path / "cut.json")
    with subprocess.Popen(
        toy.command(), cwd=toy.path, env=toy.environment(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as snakemake:  # fmt: skip
        until(lambda: list(toy.path.glob("run_cut/*/checkpoint-*.pt")))
        (number,) = toy.jobs("RUNNING")
        job = chaos.Job(number, "ldm", 0.0)
        lines = {pid: chaos.command_line(pid) for pid in job.working()}
        trains = [pid for pid, line in lines.items() if re.search(r"^\S+python -m ldae\.", line)]
        assert len(trains) == 2
        os.kill(random.choice(trains), signal.SIGKILL)
        output = snakemake.communicate()[0]
    assert snakemake.returncode == 0, output
    assert len(submitted(output)) == 2
    assert len(resumed(toy)) == 1
    assert toy.read("cut/model.safetensors") == train_outside(toy)
