"""What jobs ask for: threads, memory, minutes, GPUs."""

from ldae.files import digest
from ldae.orchestration.job_usage import remember

SOURCES = ("source", "encoding")  # params that are fingerprints


def growing(amount, a_thread=0, most=3):
    """Memory or minutes of a job's first attempt, as much again for each one after it."""

    def wanted(wildcards, threads, attempt):
        return (amount + a_thread * threads) * min(attempt, most)

    return wanted


def asked(*more):
    """By rule, what its jobs ask for at their first attempt, and how many jobs it has.

    Threads, mem_mb, runtime and gpu, and what is asked for beside; jobs: of rules that have one a
    shard or batch.
    """
    keys = ("mem_mb", "runtime", "gpu", *more)
    return {each.name: first_attempt(each, keys) for each in workflow.rules}


def first_attempt(each, keys, attempt=1):
    """What a rule's jobs ask for; not what a profile has as an expression of a job's inputs."""
    threads = each.resources["_cores"].value
    known = dict(threads=threads)
    job = dict(threads=threads, attempt=attempt, input=[], rulename=each.name)
    for key in keys:
        wanted = each.resources.get(key)
        if wanted is None or re.search(r"\binput\b", str(wanted.raw or "")):
            continue
        known[key] = wanted.evaluate({}, **job, async_run=workflow.async_run).value
    several = {
        "shard": config["latents" if each.name == "latent_shard" else "preprocess"],
        "batch": {"shards": COHORT["batches"]},
    }
    for name, about in several.items():
        if name in each.wildcard_names:
            known["jobs"] = about["shards"]
    return known


def asked_of_slurm():
    """As `asked`, with memory and minutes of the last attempt beside: `last_mem_mb`, ..."""
    wants = asked("nodes", "gres", "cpus_per_task", "slurm_partition", "slurm_account")
    for each in workflow.rules:
        last = first_attempt(each, ("mem_mb", "runtime"), attempt=99)
        del last["threads"]
        last.pop("jobs", None)
        wants[each.name] |= {f"last_{key}": value for key, value in last.items()}
    return wants


def costly():
    """By rule, what decides what its jobs take: its settings and source."""
    return {
        each.name: digest(
            {key: value for key, value in each.params.items() if not callable(value)}
            | {
                key: each.params[key](None)
                for key in SOURCES
                if key in each.params.keys()
            }
            | (told_of(each.name) if each.name in TRAININGS else {})
        )
        for each in workflow.rules
    }


def facts(wildcards):
    """What Snakemake knows of the run that `check` looks at; a function, for it is known late."""
    settings, groups = (
        workflow.resource_settings,
        workflow.group_settings.overwrite_groups,
    )
    slurm = workflow.executor_plugin.name == "slurm"
    means = {str(each) for each in workflow.deployment_settings.deployment_method}
    arguments = [word for word in sys.argv[1:] if word != "check"]
    return {
        "config": config,
        "slurm": slurm,
        "slots": settings.nodes if slurm else settings.cores,
        "conda": "conda" in means,
        "container": config["software"]["container"] if "apptainer" in means else None,
        "asks": asked_of_slurm(),
        "local": frozenset(r.name for r in workflow.rules if workflow.is_local(r)),
        "groups": dict(groups),
        "watched_by": workflow.executor_settings.status_command if slurm else None,
        "command": [sys.executable, "-m", "snakemake", *arguments]
        + ["--dry-run", "--quiet", "rules", "--nolock", "--rerun-incomplete"],
    }


def remember_timings():
    """Keep the most that each job has taken, before a run overwrites what was measured."""
    remember(results("benchmarks"), costly())
