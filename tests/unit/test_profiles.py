"""What the Slurm profile makes of the rules: the line that sbatch gets, what is grouped."""

import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from snakemake.resources import Resource
from snakemake_executor_plugin_slurm.submit_string import get_submit_command
from snakemake_executor_plugin_slurm.utils import set_gres_string

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


def test_a_training_over_two_nodes_asks_for_what_one_of_them_has():
    command = sbatch("ldae", 64, gpu=0, gres="gpu:a100:4", nodes=2, cpus_per_task=32, mem_mb=80000)
    assert {"--nodes=2", "--gres=gpu:a100:4", "--cpus-per-task=32"} <= set(command)
    assert command[command.index("--mem") + 1] == "80000"
    assert not [word for word in command if word.startswith(("--gpus", "--ntasks"))]


def test_a_controller_that_is_away_for_days_does_not_end_a_run():
    """The executor forgets its jobs after so many failures of squeue in a row."""
    days = PROFILE["slurm-status-attempts"] / PROFILE["max-status-checks-per-second"] / 86400
    assert days > 3


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


def test_what_a_profile_asks_for_is_known_also_where_it_grows_with_the_attempt():
    text = RULES["requests.smk"]
    names = dict(
        re=re,
        workflow=SimpleNamespace(async_run=None),
        config={"preprocess": {"shards": 3}, "latents": {"shards": 2}},
        COHORT={"batches": 4},
    )
    exec(text[text.index("def first_attempt(") : text.index("def costly(")], names)
    words = {"mem_mb": "1024 * attempt", "runtime": "input.size_mb"}
    wanted = {key: Resource.from_cli_expression(key, word) for key, word in words.items()}
    wanted["_cores"] = Resource("_cores", 2)
    each = SimpleNamespace(name="n4", wildcard_names={"shard"}, resources=wanted)
    known = names["first_attempt"](each, tuple(words))
    assert known == {"threads": 2, "mem_mb": 1024, "jobs": 3}  # of its inputs nothing is known


def test_memory_grows_with_the_attempt_but_that_of_trainings():
    """A training's attempts end at its time limit, which more memory would not help."""
    text = RULES["requests.smk"]
    names: dict = {}
    exec(text[text.index("def growing(") : text.index("def asked(")], names)
    wanted = names["growing"](4000)
    assert [wanted({}, threads=1, attempt=n) for n in (1, 2, 3, 9)] == [4000, 8000, 12000, 12000]
    assert names["growing"](1000, a_thread=500)({}, threads=8, attempt=1) == 5000
    fixed = re.findall(r" mem_mb=(?!growing)(.*)", "".join(RULES.values()))
    assert len(fixed) == len(TRAININGS) - 1  # the supervised ones share a rule's text
    assert all('["processes"]' in amount for amount in fixed)


def test_no_rule_but_trainings_asks_for_more_than_a_day():
    hours = {"growing": lambda amount, most=3: amount * most}
    for block in re.split(r"\n(?= *rule[ :])", "".join(RULES.values()))[1:]:
        for asked in re.findall(r" runtime=(.*),\n", block):
            assert "run_dir=" in block or eval(asked, hours) <= 24 * 60, block
