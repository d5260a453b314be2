"""Tables of planted truths in which all is found as it must be."""

import pandas as pd

from ldae.ground_truth.planted import COLUMNS
from ldae.ground_truth.planted_relations import NOISE, RELATED, SIZES
from ldae.ground_truth.planted_targets import target_rows


def planted_summary():
    """A table of targets in which both readers find what is expected of them."""
    rows = []
    for name, (kind, _, _) in {**RELATED, **NOISE}.items():
        metric = {"multiclass": "macro_auroc", "continuous": "correlation", "binary": "auroc"}
        chance = 0.0 if kind == "continuous" else 0.5
        for system in ("ldae", "oracle", "volumes"):
            value = chance + 0.3 * (name in RELATED)
            rows.append(
                {"target": name, "kind": kind, "split": "frozen", "system": system}
                | {"metric": metric.get(kind, "concordance"), "value": value, "chance": chance}
                | {"ci_low": value - 0.1, "ci_high": value + 0.1, "n_scans": 9, "n_subjects": 5}
                | {"note": None}
                | {"p": 0.002, "p_holm": 0.02 if name in RELATED else 1.0}
            )
    return pd.DataFrame(rows)


def planted_table():
    """A whole table of planted truths that meets every threshold."""
    targets = planted_summary()
    expected = targets.drop_duplicates("target").set_index("target")["value"].to_dict()
    rows = list(target_rows(targets, {"oracle": expected, "ldae": expected}))
    about = {"system": "ldae", "ci_low": -9.0, "ci_high": 9.0}
    for name in NOISE:
        rows.append(about | {"part": "null", "planted": name, "value": 0.05, "p": 0.5})
    even = {"planted": "even", "expected": 0.5, "value": 0.5, "p": 0.5}
    for size in SIZES:
        rows.append(about | even | {"part": "site", "size": size})
        rows.append(about | even | {"part": "harmonised", "size": size})
        gap = {"part": "diagnosis", "size": size, "value": 0.0, "ci_low": -0.01, "ci_high": 0.01}
        rows.append(about | even | gap)
    for column, value, flag in (("even", 0.0, "no"), ("skewed", 0.4, "yes")):
        known = {"part": "confounding", "planted": column, "value": value, "expected": value}
        rows.append(known | {"p": 0.5, "flag": flag})
    return pd.DataFrame(rows, columns=COLUMNS)
