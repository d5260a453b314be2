"""Table of fine-tuning: AUROC of the diagnosis by start, trained part and number of people."""

import pandas as pd

from ldae.evaluation.fine_tuning_cases import STARTS, WAYS
from ldae.labels import ABSENT, interval, number
from ldae.report.tables.table import Table


def few_labels(table: pd.DataFrame) -> Table:
    """Every case, from ``fine_tuning.tsv``."""
    rows = []
    for _, one in table.iterrows():
        score = interval(one["value"], one["ci_low"], one["ci_high"], 3)
        gain = p = ABSENT
        if pd.notna(one["gain"]):
            gain = interval(one["gain"], one["gain_low"], one["gain_high"], 3)
            p = number(float(one["p_holm"]))
        learnt = f"{int(one['train_subjects']):,} ({int(one['train_scans']):,} scans)"
        way = [STARTS[one["start"]], WAYS[one["trainable"]]]
        rows.append([str(one["people"]), learnt, *way, score, gain, p])
    size = table.iloc[0]
    return Table(
        "Diagnosis from few labels",
        [
            "People a class",
            "Learnt from",
            "Encoder",
            "Learns on",
            "AUROC",
            "Less from scratch",
            "p",
        ],
        rows,
        f"{int(size['n_scans']):,} scans of {int(size['n_subjects']):,} test subjects. The people "
        "of a smaller number are among those of a larger one; all their scans are learnt from. "
        "Differences are paired, p by Holm's method over all rows. No validation label is used.",
    )
