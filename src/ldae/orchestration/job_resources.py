"""Resource requests of Snakemake's jobs (threads, memory, minutes, GPUs), by rule.

``workflow`` is Snakemake's object of that name, as rules have it.
"""

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ldae.derivatives import Shards
from ldae.files import digest

LAST_ATTEMPT = 99  # beyond every limit on growth
FINGERPRINTS = ("source", "encoding")  # params of rules that hold a source fingerprint
NAMES = ("slurm_partition", "slurm_account")
OF_SLURM = ("nodes", "gres", "cpus_per_task", *NAMES)


def growing(amount: float, a_thread: float = 0, most: int = 3) -> Callable[..., float]:
    """Memory or minutes of a job's first attempt, and as much again for each further attempt.

    Args:
        amount: Request of the first attempt: MiB or minutes.
        a_thread: Added to it for each thread.
        most: Largest multiple of the first request.

    Returns:
        The function of wildcards, threads and attempt that Snakemake calls for a resource.
    """

    def request(wildcards: Any, threads: int, attempt: int) -> float:
        return (amount + a_thread * threads) * min(attempt, most)

    return request


def first_attempts(
    workflow: Any, config: Mapping[str, Any], more: Iterable[str] = ()
) -> dict[str, dict[str, Any]]:
    """Requests of each rule's jobs at their first attempt, and the number of its jobs.

    Args:
        workflow: Snakemake's.
        config: The whole configuration.
        more: Names of further resources.

    Returns:
        Rule -> threads, mem_mb, runtime (minutes), gpu and ``more``; and jobs, their number, for
        rules that have one job a shard or batch.
    """
    keys = ("mem_mb", "runtime", "gpu", *more)
    return {
        rule.name: requests_of(rule, keys, workflow) | _jobs(rule, config)
        for rule in workflow.rules
    }


def all_attempts(workflow: Any, config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Requests as by :func:`first_attempts`, Slurm's own, and last_mem_mb and last_runtime."""
    requests = first_attempts(workflow, config, OF_SLURM)
    for rule in workflow.rules:
        last = requests_of(rule, ("mem_mb", "runtime"), workflow, attempt=LAST_ATTEMPT)
        requests[rule.name] |= {f"last_{key}": last[key] for key in last if key != "threads"}
    return requests


def requests_of(rule: Any, keys: Iterable[str], workflow: Any, attempt: int = 1) -> dict[str, Any]:
    """Requests of a rule's jobs at one attempt: threads and the resources ``keys``.

    Left out are resources that a profile gives as an expression of a job's inputs. Snakemake
    computes text that is valid Python: an account 2024-1 becomes 2023. Names of Slurm (``NAMES``)
    that this changes stay as they were written; ``<key>_becomes`` is what jobs would ask for.
    """
    threads = rule.resources["_cores"].value
    job = {"threads": threads, "attempt": attempt, "input": [], "rulename": rule.name}
    found = {"threads": threads}
    for key in keys:
        request = rule.resources.get(key)
        if request is None or re.search(r"\binput\b", str(request.raw or "")):
            continue
        evaluated = request.evaluate({}, **job, async_run=workflow.async_run)
        if key not in NAMES:
            found[key] = evaluated.value
            continue
        try:
            found[key] = evaluated.value
        except ValueError:
            found |= {key: str(request.raw), f"{key}_becomes": f"Python's function {request.raw}"}
        if not isinstance(found[key], str | None):
            found |= {f"{key}_becomes": str(found[key]), key: str(request.raw)}
    return found


def _jobs(rule: Any, config: Mapping[str, Any]) -> dict[str, int]:
    """The number of a rule's jobs, if it has one a shard or batch; else an empty dict."""
    raw, preprocessed = map(len, Shards.of(config["cohort"], config["preprocess"]["shards"]))
    shards = {
        "code_shard": config["evaluation"]["code_shards"],
        "latent_shard": config["latents"]["shards"],
        "preprocessed_input": preprocessed,
        "volume_shard": raw + preprocessed,
    }
    jobs = {"shard": shards.get(rule.name, raw), "batch": config["cohort"]["batches"]}
    return next(({"jobs": jobs[name]} for name in jobs if name in rule.wildcard_names), {})


def cost_keys(workflow: Any, inputs_of: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Hash, by rule, of what determines the time and memory of its jobs: settings and source.

    Args:
        workflow: Snakemake's.
        inputs_of: By training, what it depends on besides the params of its rule
            (:func:`ldae.orchestration.training_record.training_inputs`).
    """
    keys = {}
    for rule in workflow.rules:
        params = dict(rule.params.items())
        decides = {name: value for name, value in params.items() if not callable(value)}
        decides |= {name: params[name](None) for name in FINGERPRINTS if name in params}
        keys[rule.name] = digest(decides | dict(inputs_of.get(rule.name, {})))
    return keys


def run_facts(workflow: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """Facts about a run that is about to start, for :class:`ldae.preflight.run_facts.Facts`."""
    settings, groups = workflow.resource_settings, workflow.group_settings.overwrite_groups
    slurm = workflow.executor_plugin.name == "slurm"
    deployment = {str(each) for each in workflow.deployment_settings.deployment_method}
    command = [sys.executable, "-m", "snakemake"]
    command += [word for word in sys.argv[1:] if word != "check"]
    command += ["--dry-run", "--quiet", "rules", "--nolock", "--rerun-incomplete"]
    return {
        "config": config,
        "slurm": slurm,
        "slots": settings.nodes if slurm else settings.cores,
        "conda": "conda" in deployment,
        "container": config["software"]["container"] if "apptainer" in deployment else None,
        "requests": all_attempts(workflow, config),
        "local": frozenset(rule.name for rule in workflow.rules if workflow.is_local(rule)),
        "groups": dict(groups),
        "status_command": workflow.executor_settings.status_command if slurm else None,
        "command": command,
    }
