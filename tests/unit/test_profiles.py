"""What the Slurm profile makes of the rules: the line that sbatch gets."""

import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from snakemake_executor_plugin_slurm.submit_string import get_submit_command
from snakemake_executor_plugin_slurm.utils import set_gres_string

ROOT = Path(__file__).parents[2]
PROFILE = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text())
TRAININGS = ("autoencoder", "ldm", "ldae", "dae", "supervised_diagnosis", "supervised_age")


def sbatch(rule: str, gpus: int, threads: int) -> list[str]:
    """The command, of a rule that asks for GPUs and threads, by the installed plugin."""
    wanted = PROFILE["default-resources"] | {"gpu": gpus} | PROFILE["set-resources"][rule]
    given = {key: value for key, value in wanted.items() if value is not None}

    class Resources(dict):
        __getattr__ = dict.__getitem__

    job = SimpleNamespace(resources=Resources(given), threads=threads)
    names = ("run_uuid", "slurm_logfile", "comment_str", "account", "partition", "workdir")
    settings = SimpleNamespace(
        requeue=PROFILE["slurm-requeue"], no_requeue=False, qos=None, reservation=None
    )
    command = get_submit_command(job, dict.fromkeys(names, ""), settings)
    return shlex.split(command + set_gres_string(job))


@pytest.mark.parametrize("rule", TRAININGS)
def test_a_training_fits_a_day_and_one_node(rule):
    command = sbatch(rule, gpus=8, threads=64)
    assert {"--nodes=1", "--gpus=8", "--cpus-per-task=64", "--requeue"} <= set(command)
    assert "--signal=TERM@180" in command  # time to write a checkpoint before the limit
    assert int(command[command.index("-t") + 1]) <= 24 * 60


def test_every_rule_that_uses_a_gpu_has_a_partition_to_set():
    gpu = set()
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        for block in re.split(r"\n(?= *rule[ :])", path.read_text())[1:]:
            if "gpu=GPUS" in block:
                name = re.match(r" *rule (\w+)", block) or re.search(r'f"(\w+)_{target}"', block)
                per_target = "{target}" in block
                ends = ("_diagnosis", "_age") if per_target else ("",)
                gpu |= {name[1] + end for end in ends}
    assert set(TRAININGS) < gpu
    assert {
        name for name, wanted in PROFILE["set-resources"].items() if "slurm_partition" in wanted
    } == gpu
    assert set(PROFILE["preemptible-rules"]) == set(TRAININGS)
