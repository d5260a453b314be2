"""ADNI's size with the paper's configuration: what Snakemake itself takes, and how many jobs.

Fake files, real rules, real Snakemake and the profile for Slurm; see helpers/cohorts.py.
"""

import pytest

from helpers.cohorts import SCANS, Cost, FakeCohort, copy_files

pytestmark = [pytest.mark.workflow, pytest.mark.scale]
SECONDS, MEMORY, JOBS = 60, 2e9, 1500
OF_A_SHARD = ("n4", "brain_extraction", "registration", "volume_shard")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> FakeCohort:
    """A copy of the project with a download of ADNI's size, of which nothing has run."""
    fake = FakeCohort(copy_files(tmp_path_factory.mktemp("scale")))
    fake.lay_down()
    return fake


@pytest.fixture(scope="module")
def plan(cohort) -> Cost:
    """The dry run from nothing."""
    return cohort.run("-n", "-q", "rules")


@pytest.fixture(scope="module")
def submissions(cohort, plan) -> list[int]:
    """All jobs run: how many are in each submission."""
    return cohort.finish()


def within_limits(cost: Cost) -> bool:
    print(f"{cost.seconds:.1f} s, CPU {cost.cpu:.1f} s, {cost.memory / 1e6:.0f} MB")
    return cost.seconds <= SECONDS and cost.memory <= MEMORY


def test_a_dry_run_from_nothing_is_within_limits(cohort, plan):
    assert len(list((cohort.path / "raw/images").glob("*/*/*/I*"))) == SCANS == 10_340
    assert within_limits(plan)
    jobs = plan.jobs()
    assert jobs["n4"] == jobs["registration"] > 1 and jobs["total"] <= JOBS


def test_a_whole_run_is_few_submissions(plan, submissions):
    # A group is one submission; what Snakemake does itself, such as targets, is none.
    assert len(submissions) < sum(submissions) <= plan.jobs()["total"] <= JOBS
    assert submissions.count(len(OF_A_SHARD)) == plan.jobs()["n4"]


def test_a_finished_run_has_nothing_to_do(cohort, submissions):
    again = cohort.run("-n", "-q", "rules")
    assert within_limits(again)
    assert "Nothing to be done" in again.output and not again.jobs()


def test_a_new_subject_is_its_own_shard_alone(cohort, submissions):
    cohort.add_image("941_S_90001", SCANS)
    plan = cohort.run("-n", "-q", "rules")
    assert within_limits(plan) and plan.jobs()["check_download"] == 1
    # What a job changes is known when it has run: stage by stage only what differs is planned.
    cohort.finish("check_download")
    batches = cohort.run("bids", "-n", "-q", "rules").jobs()
    assert batches["clinica_batch"] == 1
    cohort.finish("scans")
    plan = cohort.run("-n", "-q", "rules")
    assert within_limits(plan)
    assert [plan.jobs()[rule] for rule in OF_A_SHARD] == [1] * len(OF_A_SHARD)
