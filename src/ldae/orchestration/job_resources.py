"""What Snakemake's jobs ask for (threads, memory, minutes, GPUs), by rule.

``workflow`` is Snakemake's object of that name, as rules see it.
"""

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ldae.files import digest

LAST_ATTEMPT = 99  # beyond every limit on growth
FINGERPRINTS = ("source", "encoding")  # params of rules
OF_SLURM = ("nodes", "gres", "cpus_per_task", "slurm_partition", "slurm_account")


def growing(amount: float, a_thread: float = 0, most: int = 3) -> Callable[..., float]:
    """Memory or minutes of a job's first attempt, as much again for each one after it.

    Args:
        amount: Of the first attempt: MiB or minutes.
        a_thread: More for each thread.
        most: Times the first attempt's, at most.
    """

    def wanted(wildcards: Any, threads: int, attempt: int) -> float:
        return (amount + a_thread * threads) * min(attempt, most)

    return wanted


def first_attempts(
    workflow: Any, config: Mapping[str, Any], more: Iterable[str] = ()
) -> dict[str, dict[str, Any]]:
    """By rule, what its jobs ask for at their first attempt, and how many jobs it has.

    Threads, mem_mb, runtime, gpu and ``more``; jobs: of rules that have one a shard or batch.
    """
    keys = ("mem_mb", "runtime", "gpu", *more)
    return {
        rule.name: requests_of(rule, keys, workflow) | _jobs(rule, config)
        for rule in workflow.rules
    }


def all_attempts(workflow: Any, config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """As :func:`first_attempts`, with Slurm's own requests, and last_mem_mb and last_runtime."""
    wants = first_attempts(workflow, config, OF_SLURM)
    for rule in workflow.rules:
        last = requests_of(rule, ("mem_mb", "runtime"), workflow, attempt=LAST_ATTEMPT)
        wants[rule.name] |= {f"last_{key}": last[key] for key in last if key != "threads"}
    return wants


def requests_of(rule: Any, keys: Iterable[str], workflow: Any, attempt: int = 1) -> dict[str, Any]:
    """What a rule's jobs ask for; not what a profile has as an expression of a job's inputs."""
    threads = rule.resources["_cores"].value
    job = {"threads": threads, "attempt": attempt, "input": [], "rulename": rule.name}
    found = {"threads": threads}
    for key in keys:
        wanted = rule.resources.get(key)
        if wanted is None or re.search(r"\binput\b", str(wanted.raw or "")):
            continue
        found[key] = wanted.evaluate({}, **job, async_run=workflow.async_run).value
    return found


def _jobs(rule: Any, config: Mapping[str, Any]) -> dict[str, int]:
    """How many jobs a rule has, if it has one a shard or batch."""
    section = "latents" if rule.name == "latent_shard" else "preprocess"
    jobs = {"shard": config[section]["shards"], "batch": config["cohort"]["batches"]}
    return next(({"jobs": jobs[name]} for name in jobs if name in rule.wildcard_names), {})


def job_keys(workflow: Any, inputs_of: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """By rule, a hash of what decides what its jobs take: its settings and source.

    Args:
        workflow: Snakemake's.
        inputs_of: By training, what it depends on besides its params.
    """
    keys = {}
    for rule in workflow.rules:
        params = dict(rule.params.items())
        decides = {name: value for name, value in params.items() if not callable(value)}
        decides |= {name: params[name](None) for name in FINGERPRINTS if name in params}
        keys[rule.name] = digest(decides | dict(inputs_of.get(rule.name, {})))
    return keys


def run_facts(workflow: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """What Snakemake knows of a run that is about to start
    (:class:`ldae.preflight.run_facts.Facts`)."""
    settings, groups = workflow.resource_settings, workflow.group_settings.overwrite_groups
    slurm = workflow.executor_plugin.name == "slurm"
    means = {str(each) for each in workflow.deployment_settings.deployment_method}
    command = [sys.executable, "-m", "snakemake"]
    command += [word for word in sys.argv[1:] if word != "check"]
    command += ["--dry-run", "--quiet", "rules", "--nolock", "--rerun-incomplete"]
    return {
        "config": config,
        "slurm": slurm,
        "slots": settings.nodes if slurm else settings.cores,
        "conda": "conda" in means,
        "container": config["software"]["container"] if "apptainer" in means else None,
        "asks": all_attempts(workflow, config),
        "local": frozenset(rule.name for rule in workflow.rules if workflow.is_local(rule)),
        "groups": dict(groups),
        "watched_by": workflow.executor_settings.status_command if slurm else None,
        "command": command,
    }
