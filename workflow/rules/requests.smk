"""What jobs ask for: threads, memory, minutes, GPUs."""


def growing(amount, a_thread=0, most=3):
    """Memory or minutes of a job's first attempt, as much again for each one after it."""

    def wanted(wildcards, threads, attempt):
        return (amount + a_thread * threads) * min(attempt, most)

    return wanted


def asked():
    """By rule, what its jobs' first attempt asks for: threads, memory, minutes, GPUs.

    Expressions of a profile are left out: they may need a job's inputs.
    """
    wants = dict(threads="_cores", mem_mb="mem_mb", runtime="runtime", gpu="gpu")
    return {
        each.name: {
            name: each.resources[key]
            .evaluate({}, threads=each.resources["_cores"].value, attempt=1)
            .value
            for name, key in wants.items()
            if key in each.resources
            and not (each.resources[key].is_evaluable() and each.resources[key].raw)
        }
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
        "asks": {each.name: first_attempt(each) for each in workflow.rules},
        "local": frozenset(r.name for r in workflow.rules if workflow.is_local(r)),
        "groups": dict(groups),
        "command": [sys.executable, "-m", "snakemake", *arguments]
        + ["--dry-run", "--quiet", "rules", "--nolock", "--rerun-incomplete"],
    }


def first_attempt(each):
    """What a rule's jobs ask for at their first attempt, as far as it is known without inputs."""
    threads = each.resources["_cores"].value
    known = dict(threads=threads)
    for key in (
        "mem_mb",
        "runtime",
        "gpu",
        "nodes",
        "slurm_partition",
        "slurm_account",
    ):
        if key in each.resources:
            known[key] = (
                each.resources[key]
                .evaluate(
                    {},
                    input=[],
                    threads=threads,
                    attempt=1,
                    rulename=each.name,
                    async_run=workflow.async_run,
                )
                .value
            )
    return known
