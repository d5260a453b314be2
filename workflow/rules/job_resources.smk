"""Job resources: requests of the jobs of this run, and time and memory of earlier ones."""

from ldae.orchestration.job_resources import first_attempts
from ldae.orchestration.job_resources import growing
from ldae.orchestration.job_resources import cost_keys
from ldae.orchestration.job_resources import run_facts
from ldae.orchestration.job_usage import store_largest_usage


def job_requests(wildcards):
    """Requests of jobs by rule; a function, because profiles change them until jobs run."""
    return first_attempts(workflow, config)


def facts(wildcards):
    """Facts about the run, for `check`; a function, because they are incomplete until jobs run."""
    return run_facts(workflow, config)


def keep_timings():
    """Store the largest time and memory of each job, before this run overwrites its benchmark."""
    trained = {
        name: cached_training_inputs(name) for name in (*TRAININGS, PUBLISHED_MODEL)
    }
    store_largest_usage(results("benchmarks"), cost_keys(workflow, trained))
