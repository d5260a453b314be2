"""Tutorial notebook on a finished run: every cell runs, with the results that its text states."""

import time

import pytest

from helpers.run_notebook import execute

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


@pytest.fixture(scope="module")
def tutorial(finished):
    """The notebook's namespace, and its seconds.

    They are those of the clock or of the processor, whichever are fewer: others' load counts in the
    first, each thread in the second.
    """
    clocks = time.monotonic, time.process_time
    start = [clock() for clock in clocks]
    names = execute(finished.path / "docs")
    took = [clock() - begun for clock, begun in zip(clocks, start, strict=True)]
    return names | {"seconds": min(took)}


def test_notebook_takes_less_than_a_minute(tutorial):
    assert tutorial["seconds"] < 60


def test_notebook_subject_is_of_the_test_split_with_visits(tutorial):
    index = tutorial["store"].index
    assert set(index.loc[index["participant_id"] == tutorial["subject"], "split"]) == {"test"}
    assert len(tutorial["months"]) >= 2 and tutorial["months"] == sorted(tutorial["months"])


def test_notebook_latents_are_smaller_and_ddim_inversion_returns(tutorial):
    assert tutorial["x"].numel() / tutorial["z"].numel() > 4
    likeness = tutorial["likeness"]
    assert likeness(tutorial["x"], tutorial["compressed"]) > 0.1
    kept = likeness(tutorial["compressed"], tutorial["reconstructed"])
    assert kept > likeness(tutorial["compressed"], tutorial["variations"][:1])


def test_notebook_variations_differ(tutorial):
    assert tutorial["variations"].std(0).mean() > 1e-4


def test_notebook_manipulation_moves_the_logit(tutorial):
    asked = tutorial["asked"].tolist()
    assert asked == sorted(asked) and asked[0] < asked[-1]
    assert tutorial["reach"] > 0


def test_notebook_changes_no_result(finished, tutorial):
    assert "Nothing to be done" in finished.snakemake().stdout
