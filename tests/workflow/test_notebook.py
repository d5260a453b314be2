"""The tutorial notebook on a finished run: every cell works, and shows what its text says."""

import time

import pytest
from run_notebook import execute

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


@pytest.fixture(scope="module")
def tutorial(finished):
    """What the notebook has computed, and in how many seconds."""
    start = time.monotonic()
    names = execute(finished.path / "docs")
    return names | {"seconds": time.monotonic() - start}


def test_it_is_quick(tutorial):
    assert tutorial["seconds"] < 60


def test_its_subject_is_a_test_subject_with_visits(tutorial):
    index = tutorial["store"].index
    assert set(index.loc[index["participant_id"] == tutorial["subject"], "split"]) == {"test"}
    assert len(tutorial["months"]) >= 2 and tutorial["months"] == sorted(tutorial["months"])


def test_compression_compresses_and_inversion_returns(tutorial):
    assert tutorial["x"].numel() / tutorial["z"].numel() > 4
    likeness = tutorial["likeness"]
    assert likeness(tutorial["x"], tutorial["compressed"]) > 0.1
    kept = likeness(tutorial["compressed"], tutorial["reconstructed"])
    assert kept > likeness(tutorial["compressed"], tutorial["variations"][:1])


def test_variations_differ_from_each_other(tutorial):
    assert tutorial["variations"].std(0).mean() > 1e-4


def test_manipulation_moves_the_logit_as_asked(tutorial):
    asked = tutorial["asked"].tolist()
    assert asked == sorted(asked) and asked[0] < asked[-1]
    assert tutorial["reach"] > 0


def test_nothing_is_written(finished, tutorial):
    assert "Nothing to be done" in finished.snakemake().stdout
