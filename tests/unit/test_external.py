"""External test sets: nothing of the cohort's own results changes, and their own rows are right."""

import numpy as np
import pandas as pd
import pytest

from helpers.models import CFG, run_probes
from ldae.evaluation.metrics.bootstrap import (
    ClusterBootstrap,
    unpaired_difference,
    weighted_mean,
)
from ldae.evaluation.probes.external import evaluate_external_probes
from ldae.files import read_table

KEYS = ["target", "probe", "system", "metric"]


@pytest.fixture(scope="module")
def probes(external_project, tmp_path_factory):
    """Folder of the probes' outputs, the project's own and those of two external test sets."""
    out = run_probes(external_project, tmp_path_factory.mktemp("probes"))
    evaluate_external_probes(
        {name: external_project / f"{name}.npz" for name in ("ldae", "untrained")},
        external_project / "latents",
        {
            name: out / f"predictions_{name}.tsv"
            for name in ("diagnosis", "age", "groups", "conversion")
        },
        ["OTHER", "LOST"],
        "ADNI",
        out / "probes_external.tsv",
        out / "probes_external_differences.tsv",
        CFG,
        0,
        volumes=external_project / "tissue_volumes.tsv",
        visits=external_project / "visits.tsv",
    )
    return out


def test_external_test_set_changes_no_byte_of_the_own_probes(probe_outputs, probes):
    for path in sorted(probe_outputs.iterdir()):
        assert path.read_bytes() == (probes / path.name).read_bytes(), path.name


def test_external_scores_of_copied_subjects_are_those_of_the_originals(probes):
    own = read_table(probes / "probes.tsv").set_index(KEYS)
    table = read_table(probes / "probes_external.tsv")
    found = table[table["cohort"] == "OTHER"].set_index(KEYS)
    assert list(found.index) == list(own.index)
    pd.testing.assert_series_equal(found["value"], own["value"])
    assert (found["n_subjects"] == own["n_subjects"]).all() and "paper" not in found
    differences = read_table(probes / "probes_external_differences.tsv").set_index(KEYS)
    assert set(differences["cohort"]) == {"OTHER"} and set(differences["reference"]) == {"ADNI"}
    assert (differences["difference"].dropna().abs() < 1e-9).all()
    age = differences.loc[("age", "regularised", "ldae", "mae")]
    assert age["ci_low"] < 0 < age["ci_high"] and age["n_subjects_reference"] == 6


def test_external_test_set_without_scans_has_rows_that_say_so(probes):
    table = read_table(probes / "probes_external.tsv")
    lost = table[table["cohort"] == "LOST"]
    assert set(lost["target"]) == {"diagnosis", "age", "groups", "conversion"}
    assert lost["value"].isna().all() and lost["note"].str.contains("ledger.tsv").all()


def test_difference_of_two_groups_resamples_both():
    rng = np.random.default_rng(0)
    values = [rng.normal(mean, 1, 400) for mean in (1.0, 0.0)]
    groups = [ClusterBootstrap(range(400), 2000, seed) for seed in (1, 2)]
    first, second = map(weighted_mean, values)
    gap = unpaired_difference(groups[0], first, groups[1], second)
    assert gap.estimate == pytest.approx(values[0].mean() - values[1].mean())
    expected = 2 * 1.96 * np.sqrt(sum(one.var() / 400 for one in values))
    assert gap.high - gap.low == pytest.approx(expected, rel=0.1)
    alone = ClusterBootstrap(["one"] * 400, 2000, 1)
    assert np.isnan(unpaired_difference(alone, first, groups[1], second).low)
    with pytest.raises(ValueError, match="same number of resamples"):
        unpaired_difference(ClusterBootstrap(range(400), 9, 1), first, groups[1], second)
