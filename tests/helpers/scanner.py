"""Simulated codes of people scanned at three sites, and the tables of scanner and fairness."""

from pathlib import Path

import numpy as np
import pandas as pd

from ldae.evaluation.probes.features import ProbeData
from ldae.evaluation.probes.target_table import make_target
from ldae.evaluation.scanner import confounding, fairness
from ldae.evaluation.scanner.evaluate import COST, TOLD, scanner_rows
from ldae.evaluation.scanner.groups import large_groups
from ldae.files import write_table

SETTINGS = {
    "columns": ["site"], "systems": ["ldae"], "harmonise": "combat", "covariates": ["age", "sex"],
    "min_subjects": 5, "permutations": 200,
}  # fmt: skip


def cohort(
    people: int, seed: int, shift: float, confounded: float = 0.0
) -> tuple[pd.DataFrame, np.ndarray]:
    """Two scans a person at one of three sites, and codes.

    Args:
        people: Half of them are of the training.
        seed: Of the draws.
        shift: Offset of the sites, in SDs of a code's number.
        confounded: Share of the people with AD who are all at site s0.
    """
    draw = np.random.default_rng(seed)
    ill = draw.random(people) < 0.5
    site = draw.integers(0, 3, people)
    site = np.where(ill & (draw.random(people) < confounded), 0, site)
    age = draw.normal(73, 6, people)
    person = np.repeat(np.arange(people), 2)
    scans = pd.DataFrame(
        {
            "scan_id": [f"sub-{p:04d}_ses-M{k % 2}" for k, p in enumerate(person)],
            "participant_id": [f"sub-{p:04d}" for p in person],
            "session_id": [f"ses-M{k % 2}" for k in range(2 * people)],
            "months": np.arange(2 * people) % 2 * 12,
            "diagnosis": np.where(ill, "AD", "CN")[person],
            "age": age[person],
            "sex": np.where(draw.random(people) < 0.5, "F", "M")[person],
            "split": np.where(person < people // 2, "train", "test"),
            "site": [f"s{one}" for one in site[person]],
        }
    )
    codes = draw.normal(size=(people, 12))[person] + 0.3 * draw.normal(size=(2 * people, 12))
    codes[:, 0] += 1.5 * ill[person]
    codes[:, 1] += 0.2 * (age[person] - 73)
    codes[:, 2:] += shift * draw.normal(size=(3, 10))[site[person]]
    return scans, codes


def make_scanner_tables(tables: Path, resamples: int = 50) -> None:
    """Tables of a cohort whose codes tell the site, where more people of one site are ill.

    The vendor is known of one scan alone; predictions of the diagnosis are worse for women.
    """
    scans, codes = cohort(240, 1, 1.0, confounded=0.9)
    scans["vendor"] = ["GE"] + [None] * (len(scans) - 1)
    cfg = {"scanner": SETTINGS, "bootstrap": resamples}
    cfg["probes"] = {"cv_folds": 3, "min_subjects": 3}
    data = ProbeData(scans, {"ldae": codes, "volumes": codes[:, :4]})
    visits = scans[["participant_id", "months", "diagnosis"]]
    told, cost, rows, counts = [], [], [], []
    about = {"target": "diagnosis", "label": "AD against CN"}
    for column in ("site", "vendor"):
        values = scans[column]
        for one, other in scanner_rows(column, values, data, visits, cfg, ("CN", "AD"), 0):
            told += one
            cost += other
        named = np.array([None if pd.isna(value) else value for value in values], object)
        row, more = confounding.confounding_rows(
            scans, scans["diagnosis"].to_numpy(object), named, 200, 0
        )
        rows.append(about | {"column": column} | row)
        counts += [about | {"column": column} | one for one in more]
    write_table(pd.DataFrame(told, columns=TOLD), tables / "scanner.tsv")
    write_table(pd.DataFrame(cost, columns=COST), tables / "scanner_cost.tsv")
    table = confounding.flagged(pd.DataFrame(rows, columns=confounding.TABLE))
    write_table(table, tables / "confounding.tsv")
    write_table(pd.DataFrame(counts, columns=confounding.COUNTS), tables / "confounding_counts.tsv")
    entry = {"kind": "binary", "classes": ["CN", "AD"], "label": "AD against CN"}
    target = make_target("diagnosis", entry)
    logit = 4 * (scans["diagnosis"] == "AD") - 2
    logit = np.where(scans["sex"] == "F", -logit, logit) + codes[:, 5]
    frame = scans.assign(
        predicted=np.where(logit > 0, "AD", "CN"), probability=1 / (1 + np.exp(-logit))
    )
    found = []
    for column in ("sex", "site", "vendor"):
        groups = large_groups(column, scans[column], scans, 1, [["test"]])
        member = pd.Series(groups.value, scans["scan_id"])
        found += fairness.fairness_rows(target, "ldae", frame, groups, member, resamples, 0, 3)
    made = pd.DataFrame(found, columns=fairness.TABLE)
    write_table(made.assign(p_holm=made["p"]), tables / "fairness.tsv")
