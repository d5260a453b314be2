"""What the Slurm profile makes of the rules: the line that sbatch gets, what is grouped."""

import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from snakemake.resources import Resource
from snakemake_executor_plugin_slurm.submit_string import get_submit_command
from snakemake_executor_plugin_slurm.utils import set_gres_string

from helpers.project import load_workflow
from ldae.orchestration.job_resources import LAST_ATTEMPT, first_attempts, growing, requests_of
from ldae.orchestration.training_record import TRAININGS

ROOT = Path(__file__).parents[2]
PROFILE = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text())


@pytest.fixture(scope="module")
def workflow():
    """The demo's workflow, asked for on GPUs."""
    return load_workflow("config/demo.yaml", "tests/data/gpus.yaml")


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


def test_every_rule_that_uses_a_gpu_has_a_partition_to_set(workflow):
    asked = first_attempts(workflow, workflow.globals["config"])
    gpu = {rule for rule, wanted in asked.items() if wanted.get("gpu")}
    assert set(TRAININGS) < gpu
    assert gpu == {
        name for name, wanted in PROFILE["set-resources"].items() if "slurm_partition" in wanted
    }
    assert set(PROFILE["preemptible-rules"]) == set(TRAININGS)


def test_the_steps_of_a_shard_are_one_job(workflow):
    steps = ("n4", "brain_extraction", "registration", "preprocessed_input", "volume_shard")
    assert PROFILE["groups"] == [f"{step}=scans" for step in steps]
    rules = {rule.name for rule in workflow.rules}
    assert rules >= set(steps) - {"preprocessed_input"}  # of scans that come preprocessed


def test_requests_are_known_also_where_they_grow_with_the_attempt():
    words = {"mem_mb": "1024 * attempt", "runtime": "input.size_mb"}
    wanted = {key: Resource.from_cli_expression(key, word) for key, word in words.items()}
    wanted["_cores"] = Resource("_cores", 2)
    n4 = SimpleNamespace(name="n4", wildcard_names={"shard"}, resources=wanted)
    snakemake = SimpleNamespace(async_run=None, rules=[n4])
    config = {"preprocess": {"shards": 3}, "latents": {"shards": 2}, "cohort": {"batches": 4}}
    known = first_attempts(snakemake, config)["n4"]
    assert known == {"threads": 2, "mem_mb": 1024, "jobs": 3}  # of its inputs nothing is known


def test_growing_memory_has_a_limit():
    wanted = growing(4000)
    assert [wanted({}, threads=1, attempt=n) for n in (1, 2, 3, 9)] == [4000, 8000, 12000, 12000]
    assert growing(1000, a_thread=500)({}, threads=8, attempt=1) == 5000


def test_memory_grows_with_the_attempt_but_that_of_trainings(workflow):
    """A training's attempts end at its time limit, which more memory would not help."""
    steady = set()
    for rule in workflow.rules:
        first, last = (
            requests_of(rule, ["mem_mb"], workflow, attempt).get("mem_mb")
            for attempt in (1, LAST_ATTEMPT)
        )
        if first is not None and first == last:
            steady.add(rule.name)
    assert steady == set(TRAININGS)


def test_no_rule_but_trainings_asks_for_more_than_a_day(workflow):
    for rule in workflow.rules:
        minutes = requests_of(rule, ["runtime"], workflow, LAST_ATTEMPT).get("runtime") or 0
        assert rule.name in TRAININGS or minutes <= 24 * 60, rule.name
