"""Slurm profile: sbatch command of a rule, job groups, and requests by attempt."""

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
    """The demo's workflow with all baselines, configured for GPUs and an external test set."""
    return load_workflow("config/demo.yaml", "tests/data/gpus.yaml", "tests/data/external.yaml")


def sbatch(rule: str, threads: int, **requested) -> list[str]:
    """Command of the Slurm plugin for a rule that requests these threads and resources."""
    merged = PROFILE["default-resources"] | requested | PROFILE["set-resources"].get(rule, {})
    given = {key: value for key, value in merged.items() if value is not None}

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
def test_training_requests_one_node_for_at_most_a_day(rule):
    command = sbatch(rule, 64, gpu=8)
    assert {"--nodes=1", "--gpus=8", "--cpus-per-task=64", "--requeue"} <= set(command)
    assert int(command[command.index("-t") + 1]) <= 24 * 60


def test_training_on_two_nodes_requests_resources_per_node():
    command = sbatch("ldae", 64, gpu=0, gres="gpu:a100:4", nodes=2, cpus_per_task=32, mem_mb=80000)
    assert {"--nodes=2", "--gres=gpu:a100:4", "--cpus-per-task=32"} <= set(command)
    assert command[command.index("--mem") + 1] == "80000"
    assert not [word for word in command if word.startswith(("--gpus", "--ntasks"))]


def test_slurm_profile_tolerates_days_without_the_controller():
    """The executor forgets its jobs after that many failures of squeue in a row."""
    days = PROFILE["slurm-status-attempts"] / PROFILE["max-status-checks-per-second"] / 86400
    assert days > 3


def test_site_specific_requests_reach_sbatch():
    command = sbatch(
        "ldae", 8, gpu=4, gpu_model="a100", qos="long", constraint="80gb", slurm_extra="--exclusive"
    )
    assert {"--gpus=a100:4", "--qos=long", "80gb", "--exclusive"} <= set(command)


def test_every_gpu_rule_has_a_partition_in_the_slurm_profile(workflow):
    requests = first_attempts(workflow, workflow.globals["config"])
    gpu = {rule for rule, requested in requests.items() if requested.get("gpu")}
    assert set(TRAININGS) < gpu
    assert gpu == {
        name
        for name, requested in PROFILE["set-resources"].items()
        if "slurm_partition" in requested
    }
    assert set(PROFILE["preemptible-rules"]) == set(TRAININGS)


def test_steps_of_a_shard_are_one_job_group(workflow):
    steps = ("n4", "brain_extraction", "registration", "preprocessed_input", "volume_shard")
    assert PROFILE["groups"] == [f"{step}=scans" for step in steps]
    rules = {rule.name for rule in workflow.rules}
    assert rules >= set(steps) - {"preprocessed_input"}  # only for scans that come preprocessed


def test_first_attempts_evaluates_requests_that_grow_with_attempts():
    texts = {"mem_mb": "1024 * attempt", "runtime": "input.size_mb"}
    requests = {key: Resource.from_cli_expression(key, text) for key, text in texts.items()}
    requests["_cores"] = Resource("_cores", 2)
    n4 = SimpleNamespace(name="n4", wildcard_names={"shard"}, resources=requests)
    snakemake = SimpleNamespace(async_run=None, rules=[n4])
    cohort = {"name": "ADNI", "batches": 4, "preprocessed_dir": None, "beside": {}}
    config = {"preprocess": {"shards": 3}, "latents": {"shards": 2}, "cohort": cohort}
    config |= {"evaluation": {"code_shards": 4}}
    known = first_attempts(snakemake, config)["n4"]
    assert known == {"threads": 2, "mem_mb": 1024, "jobs": 3}  # its inputs are unknown


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("lab", {"slurm_account": "lab"}),
        ("2024-1", {"slurm_account": "2024-1", "slurm_account_becomes": "2023"}),
        ("all", {"slurm_account": "all", "slurm_account_becomes": "Python's function all"}),
        ("'2024-1'", {"slurm_account": "2024-1"}),
        ("'a' if attempt > 1 else 'b'", {"slurm_account": "b"}),
    ],
)
def test_names_of_slurm_are_those_that_were_written(written, found):
    account = Resource.from_cli_expression("slurm_account", written)
    requests = {"slurm_account": account, "_cores": Resource("_cores", 1)}
    rule = SimpleNamespace(name="n4", resources=requests)
    asked = requests_of(rule, ["slurm_account"], SimpleNamespace(async_run=None))
    assert asked == {"threads": 1} | found


def test_growing_memory_has_a_limit():
    memory = growing(4000)
    assert [memory({}, threads=1, attempt=n) for n in (1, 2, 3, 9)] == [4000, 8000, 12000, 12000]
    assert growing(1000, a_thread=500)({}, threads=8, attempt=1) == 5000


def test_memory_grows_with_the_attempt_except_for_trainings(workflow):
    """Attempts of a training end at its time limit, so more memory would not help."""
    constant = set()
    for rule in workflow.rules:
        first, last = (
            requests_of(rule, ["mem_mb"], workflow, attempt).get("mem_mb")
            for attempt in (1, LAST_ATTEMPT)
        )
        if first is not None and first == last:
            constant.add(rule.name)
    assert constant == set(TRAININGS)


def test_only_trainings_request_more_than_a_day(workflow):
    for rule in workflow.rules:
        minutes = requests_of(rule, ["runtime"], workflow, LAST_ATTEMPT).get("runtime") or 0
        assert rule.name in TRAININGS or minutes <= 24 * 60, rule.name
