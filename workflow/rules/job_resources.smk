"""What jobs ask for, and what they took: functions of the rules on this run."""

from ldae.orchestration.job_resources import first_attempts
from ldae.orchestration.job_resources import growing
from ldae.orchestration.job_resources import job_keys
from ldae.orchestration.job_resources import run_facts
from ldae.orchestration.job_usage import keep_longest


def asked(wildcards):
    """By rule, what its jobs ask for; a function, for profiles change it until jobs run."""
    return first_attempts(workflow, config)


def facts(wildcards):
    """What `check` looks at; a function, for Snakemake knows it late."""
    return run_facts(workflow, config)


def keep_timings():
    """Keep the most that each job has taken, before a run overwrites what was measured."""
    trained = {name: inputs_of(name) for name in (*TRAININGS, PUBLISHED_MODEL)}
    keep_longest(results("benchmarks"), job_keys(workflow, trained))
