"""Table of fine-tuning: AUROC of the diagnosis by case, and what it gains on scratch."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ldae.errors import require
from ldae.evaluation.fine_tuning_cases import SCRATCH, WHOLE, Case
from ldae.evaluation.metrics.bootstrap import ClusterBootstrap, Draws, holm
from ldae.evaluation.metrics.classification import auroc
from ldae.files import read_table, write_table
from ldae.models.storage import load_card
from ldae.seeds import derive_seed

PREDICTED = ("scan_id", "participant_id", "diagnosis", "probability")
METRIC = "auroc"


def write_fine_tuning_table(
    predictions: Mapping[str, str | Path],
    models: Mapping[str, str | Path],
    classes: Sequence[str],
    out: str | Path,
    resamples: int,
    seed: int,
) -> None:
    """Write AUROC by case with 95 % intervals over test subjects, and gains on scratch.

    Columns: start, trainable, people (of each class, as asked), train_subjects, train_scans,
    metric, value, ci_low, ci_high, gain, gain_low, gain_high (paired difference from ``scratch``
    with the same people), p (two-sided), p_holm (over all cases), n_scans, n_subjects (of the
    test). Without a case from scratch the gains are n/a.

    Args:
        predictions: Tables of :func:`ldae.evaluation.fine_tuning.fine_tune` by the name of the
            case, in the table's order.
        models: Model folders by the same names.
        classes: Negative and positive class.
        out: The table.
        resamples: Of the bootstrap over subjects.
        seed: Of the resamples.

    Raises:
        UserError: the cases predict different scans.
    """
    frames = {name: read_table(path, PREDICTED) for name, path in predictions.items()}
    first = next(iter(frames.values()))
    boot = ClusterBootstrap(
        first["participant_id"], resamples, derive_seed(seed, "fine_tuning", "resamples")
    )
    drawn: dict[Case, Draws] = {}
    for name, frame in frames.items():
        require(
            frame["scan_id"].tolist() == first["scan_id"].tolist(),
            f"{predictions[name]} predicts other scans than the first case; run it again: "
            "`snakemake --forcerun fine_tune`.",
        )
        truth = (frame["diagnosis"] == classes[1]).to_numpy()
        drawn[Case.of(name)] = boot.draws(auroc(truth, frame["probability"].to_numpy(float)))
    rows = []
    for case, draws in drawn.items():
        learnt = load_card(models[case.name])["learnt_from"]
        rows.append(
            {
                **case._asdict(),
                "train_subjects": learnt["people"],
                "train_scans": learnt["scans"],
                "metric": METRIC,
                **draws.interval().row("value"),
                **_gain(draws, None if case.start == SCRATCH else drawn.get(_scratch(case))),
                **boot.counts,
            }
        )
    table = pd.DataFrame(rows)
    table.insert(table.columns.get_loc("p") + 1, "p_holm", holm(table["p"]))
    write_table(table, out)


def _scratch(case: Case) -> Case:
    return Case(SCRATCH, WHOLE, case.people)


def _gain(draws: Draws, scratch: Draws | None) -> dict[str, float]:
    """Columns of the paired difference from scratch; nan where there is none."""
    if scratch is None:
        return dict.fromkeys(("gain", "gain_low", "gain_high", "p"), np.nan)
    gain = draws - scratch
    found = gain.interval()
    limits = {"gain": found.estimate, "gain_low": found.low, "gain_high": found.high}
    return limits | {"p": gain.two_sided_p()}
