"""What the Slurm profile makes of the rules: the line that sbatch gets, what is grouped."""

import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from snakemake_executor_plugin_slurm.submit_string import get_submit_command
from snakemake_executor_plugin_slurm.utils import set_gres_string

from ldae.leftover import PREFIX

ROOT = Path(__file__).parents[2]
PROFILE = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text())
RULES = {path.name: path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk")}
TRAININGS = ("autoencoder", "ldm", "ldae", "dae", "supervised_diagnosis", "supervised_age")


def sbatch(rule: str, threads: int, **asked) -> list[str]:
    """The command, of a rule that asks for so many threads and resources, by the plugin."""
    wanted = PROFILE["default-resources"] | asked | PROFILE["set-resources"].get(rule, {})
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
    command = sbatch(rule, 64, gpu=8)
    assert {"--nodes=1", "--gpus=8", "--cpus-per-task=64", "--requeue"} <= set(command)
    assert int(command[command.index("-t") + 1]) <= 24 * 60


def test_what_a_site_may_add_reaches_sbatch():
    command = sbatch(
        "ldae", 8, gpu=4, gpu_model="a100", qos="long", constraint="80gb", slurm_extra="--exclusive"
    )
    assert {"--gpus=a100:4", "--qos=long", "80gb", "--exclusive"} <= set(command)


def test_every_rule_that_uses_a_gpu_has_a_partition_to_set():
    gpu = set()
    for text in RULES.values():
        for block in re.split(r"\n(?= *rule[ :])", text)[1:]:
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


def test_the_steps_of_a_shard_are_one_job():
    steps = ("n4", "brain_extraction", "registration", "placing", "volume_shard")
    assert PROFILE["groups"] == [f"{step}=scans" for step in steps]
    assert all(f"rule {step}:" in "".join(RULES.values()) for step in steps)


def test_a_later_run_finds_the_jobs_of_this_profile():
    assert f"{PROFILE['slurm-jobname-prefix']}_" == PREFIX


def test_memory_grows_with_the_attempt_and_not_without_end():
    text = RULES["requests.smk"]
    names: dict = {}
    exec(text[text.index("def growing(") : text.index("def asked(")], names)
    wanted = names["growing"](4000)
    assert [wanted({}, threads=1, attempt=n) for n in (1, 2, 3, 9)] == [4000, 8000, 12000, 12000]
    assert names["growing"](1000, a_thread=500)({}, threads=8, attempt=1) == 5000
    fixed = re.findall(
        r"mem_mb=(?!growing).*", "".join(RULES.values()).replace('mem_mb="mem_mb"', "")
    )
    assert fixed == []
