"""Scale of ADNI with the paper's configuration: Snakemake's own time and memory, and its jobs.

Fake files, real rules, real Snakemake and the profile for Slurm; see helpers/cohorts.py.
"""

import pytest

from helpers.cohorts import SCANS, Cost, FakeCohort, copy_files

pytestmark = [pytest.mark.workflow, pytest.mark.scale]
SECONDS, MEMORY, JOBS = 60, 2e9, 1500
SHARD_RULES = ("n4", "brain_extraction", "registration", "volume_shard")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> FakeCohort:
    """A copy of the project with a download of ADNI's size, in which nothing has run."""
    fake = FakeCohort(copy_files(tmp_path_factory.mktemp("scale")))
    fake.create_inputs()
    return fake


@pytest.fixture(scope="module")
def plan(cohort) -> Cost:
    """The dry run from nothing."""
    return cohort.run("-n", "-q", "rules")


@pytest.fixture(scope="module")
def submissions(cohort, plan) -> list[int]:
    """Number of jobs in each submission of a full run."""
    return cohort.finish()


def within_limits(cost: Cost) -> bool:
    print(f"{cost.seconds:.1f} s, CPU {cost.cpu:.1f} s, {cost.memory / 1e6:.0f} MB")
    return cost.seconds <= SECONDS and cost.memory <= MEMORY


def test_dry_run_from_nothing_is_within_limits(cohort, plan):
    assert len(list((cohort.path / "raw/images").glob("*/*/*/I*"))) == SCANS == 10_340
    assert within_limits(plan)
    jobs = plan.jobs()
    assert jobs["n4"] == jobs["registration"] > 1 and jobs["total"] <= JOBS


def test_groups_reduce_the_submissions_of_a_full_run(plan, submissions):
    # A group is one submission; jobs that Snakemake runs itself, such as targets, are none.
    assert len(submissions) < sum(submissions) <= plan.jobs()["total"] <= JOBS
    assert submissions.count(len(SHARD_RULES)) == plan.jobs()["n4"]


def test_dry_run_of_finished_run_plans_nothing(cohort, submissions):
    again = cohort.run("-n", "-q", "rules")
    assert within_limits(again)
    assert "Nothing to be done" in again.output and not again.jobs()


def test_new_subject_reruns_only_its_shard(cohort, submissions):
    cohort.add_image("941_S_90001", SCANS)
    plan = cohort.run("-n", "-q", "rules")
    assert within_limits(plan) and plan.jobs()["check_download"] == 1
    # Changes are known only after a job has run, so the plan is compared stage by stage.
    cohort.finish("downloaded_scans")
    batches = cohort.run("bids", "-n", "-q", "rules").jobs()
    assert batches["clinica_batch"] == 1
    cohort.finish("scans")
    plan = cohort.run("-n", "-q", "rules")
    assert within_limits(plan)
    assert [plan.jobs()[rule] for rule in SHARD_RULES] == [1] * len(SHARD_RULES)
