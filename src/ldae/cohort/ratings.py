"""Ratings of scans by people: one file a rater, a rule for disagreement, Cohen's kappa.

The files are those of ``cohort.exclude``. They are written by hand, by the page of quality or by
``ldae qc``, and read here into the decisions that overrule our quality control.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import pandas as pd

from ldae.delimited import read_tsv
from ldae.errors import require
from ldae.files import MISSING, write_table

COLUMNS = ["scan_id", "verdict", "reason"]  # of a decision
RATING_COLUMNS = [*COLUMNS, "rater", "date", "picture"]
EXCLUDE, KEEP, UNSURE = "exclude", "keep", "unsure"
VERDICTS = (EXCLUDE, KEEP, UNSURE)
ANY, MAJORITY, ALL = "any", "majority", "all"
RULES = (ANY, MAJORITY, ALL)  # of config["cohort"]["disagreement"]


def read_ratings(path: str | Path, scan_ids: Collection[str] | None = None) -> pd.DataFrame:
    """Read one rater's file.

    Args:
        path: TSV with columns scan_id, reason and optionally verdict, rater, date (ISO 8601) and
            picture (first digits of the SHA-256 of the picture that was rated). The verdict is
            ``exclude`` (also where it is empty or the column is absent), ``keep``, which includes
            a scan that our quality control rejected, or ``unsure``, which decides nothing.
        scan_ids: Scans that may be rated, from :func:`known_scans`; None: any.

    Returns:
        Columns ``RATING_COLUMNS`` and others that the file has, of text ("" where there is none),
        one row a scan.

    Raises:
        UserError: a scan is listed twice, has no reason or another verdict, or is not one of
            ``scan_ids``: a typing error would leave a bad scan in.
    """
    table = read_tsv(path, ["scan_id", "reason"])
    more = [name for name in table if name not in RATING_COLUMNS]
    table = table.reindex(columns=[*RATING_COLUMNS, *more], fill_value="")
    table = table.replace(MISSING, "").astype(object)
    table["verdict"] = table["verdict"].replace("", EXCLUDE)
    wrong = table.loc[~table["verdict"].isin(VERDICTS), "scan_id"]
    require(
        wrong.empty,
        f"{path} has a verdict other than {', '.join(VERDICTS)} for {', '.join(wrong)}. "
        "Correct it.",
    )
    named = set(table["scan_id"])
    unknown = [] if scan_ids is None else sorted(named - set(scan_ids))
    require(
        not unknown,
        f"{path} names scan(s) that are neither in the scan table nor in conversion.tsv: "
        f"{', '.join(unknown)}. Correct them or remove the rows.",
    )
    twice = table.loc[table["scan_id"].duplicated(), "scan_id"]
    require(twice.empty, f"{path} names {', '.join(twice)} twice. Remove one of the rows.")
    without_reason = table.loc[table["reason"] == "", "scan_id"]
    require(
        without_reason.empty, f"{path} gives no reason for {', '.join(without_reason)}. Add one."
    )
    return table


def write_ratings(ratings: pd.DataFrame, path: str | Path) -> None:
    """Write one rater's file, whole or not at all, in the order of the scans' names.

    Args:
        ratings: Columns ``RATING_COLUMNS``, and others, which are kept.
        path: The TSV.
    """
    more = [name for name in ratings if name not in RATING_COLUMNS]
    table = ratings[[*RATING_COLUMNS, *more]].sort_values("scan_id", ignore_index=True)
    write_table(table.replace("", None), path)


def read_all_ratings(
    paths: str | Path | Sequence[str | Path] | None, scan_ids: Collection[str]
) -> dict[str, pd.DataFrame]:
    """Ratings by rater, from the files of ``cohort.exclude``.

    Args:
        paths: One file, several, or None.
        scan_ids: Scans that may be rated, from :func:`known_scans`.

    Returns:
        :func:`read_ratings` of each file, in their order. The rater is the one whom the file's
        column names, if it is one person, or else the file's name without its ending.

    Raises:
        UserError: a file cannot be read (:func:`read_ratings`), or two are of one rater.
    """
    found: dict[str, pd.DataFrame] = {}
    for path in [] if paths is None else [paths] if isinstance(paths, str | Path) else paths:
        table = read_ratings(path, scan_ids)
        rater = rater_of(table, path)
        require(
            rater not in found,
            f"{path} is a second file of the rater {rater} (cohort.exclude): join the two, or "
            "correct the column rater.",
        )
        found[rater] = table
    return found


def rater_of(ratings: pd.DataFrame, path: str | Path) -> str:
    """Name of a file's rater: of its column, if it names one person, or of the file."""
    named = sorted(set(ratings["rater"]) - {""})
    return named[0] if len(named) == 1 else Path(path).stem


def joined_ratings(ratings: Mapping[str, pd.DataFrame], paths: Sequence[str]) -> pd.DataFrame:
    """Ratings of all raters in one table, with the column file, for :func:`split_ratings`.

    Args:
        ratings: From :func:`read_all_ratings`.
        paths: The files, in the same order.
    """
    tables = [
        table[RATING_COLUMNS].assign(file=path)
        for path, table in zip(paths, ratings.values(), strict=True)
    ]
    columns = [*RATING_COLUMNS, "file"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def split_ratings(path: str | Path, paths: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Ratings by rater, as of :func:`read_all_ratings`, from a table of :func:`joined_ratings`."""
    table = read_tsv(path, [*RATING_COLUMNS, "file"]).replace(MISSING, "")
    parts = [(file, table[table["file"] == file].reset_index(drop=True)) for file in paths]
    return {rater_of(part, file): part for file, part in parts}


def decisions_of(ratings: Mapping[str, pd.DataFrame], rule: str = ANY) -> pd.DataFrame:
    """Decisions that follow from the ratings of all raters.

    A scan that nobody excludes and nobody keeps (``unsure``, or not rated) is not decided: our
    quality control judges it. So it is where raters disagree and the rule finds no winner.

    Args:
        ratings: From :func:`read_all_ratings`.
        rule: ``any``: one rater who excludes a scan excludes it, or else one who keeps it keeps it.
            ``majority``: more than half of those who decided. ``all``: all who decided.

    Returns:
        Columns ``COLUMNS``, one row a decided scan. With several raters, the reason names those
        who decided so.
    """
    if len(ratings) == 1:
        (table,) = ratings.values()
        return table.loc[table["verdict"] != UNSURE, COLUMNS].reset_index(drop=True)
    votes: dict[str, dict[str, tuple[str, str]]] = {}
    for rater, table in ratings.items():
        for row in table.itertuples(index=False):
            votes.setdefault(row.scan_id, {})[rater] = (row.verdict, row.reason)
    rows = []
    for scan_id, cast in votes.items():
        verdict = _winner(Counter(verdict for verdict, _ in cast.values()), rule)
        if verdict is not None:
            reasons = [f"{rater}: {why}" for rater, (said, why) in cast.items() if said == verdict]
            rows.append((scan_id, verdict, "; ".join(reasons)))
    return pd.DataFrame(rows, columns=COLUMNS, dtype=object)


def load_decisions(path: str | Path) -> pd.DataFrame:
    """Decisions as :func:`decisions_of` made them, from the table of the rule ``decisions``."""
    return read_tsv(path, COLUMNS)


def _winner(votes: Mapping[str, int], rule: str) -> str | None:
    decided = votes[EXCLUDE] + votes[KEEP]
    least = {ANY: 1, MAJORITY: decided // 2 + 1, ALL: decided}[rule]
    return next((one for one in (EXCLUDE, KEEP) if decided and votes[one] >= least), None)


def read_decisions(
    paths: str | Path | Sequence[str | Path] | None, scan_ids: Collection[str], rule: str = ANY
) -> pd.DataFrame:
    """Decisions from the files of ``cohort.exclude``: :func:`decisions_of` their ratings.

    Raises:
        UserError: see :func:`read_all_ratings`.
    """
    return decisions_of(read_all_ratings(paths, scan_ids), rule)


def agreement(ratings: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Agreement of each two raters over the scans that both have rated.

    Args:
        ratings: From :func:`read_all_ratings`.

    Returns:
        Columns rater, other, scans (rated by both), agreed (of them), kappa (Cohen 1960, over the
        three verdicts; NaN if both gave one and the same verdict to all, or share no scan).
    """
    from sklearn.metrics import cohen_kappa_score  # half a second, which few runs need

    rows = []
    for one, other in combinations(ratings, 2):
        both = ratings[one].merge(ratings[other], on="scan_id", suffixes=("", "_other"))
        pair = both["verdict"], both["verdict_other"]
        varied = len(set(pair[0]) | set(pair[1])) > 1
        kappa = cohen_kappa_score(*pair) if varied else float("nan")
        rows.append((one, other, len(both), int((pair[0] == pair[1]).sum()), kappa))
    return pd.DataFrame(rows, columns=["rater", "other", "scans", "agreed", "kappa"])


def known_scans(scans: pd.DataFrame, conversion: pd.DataFrame) -> set[str]:
    """Scan_ids on which a person's decision may stand: in the scan table, or left out of it.

    Args:
        scans: Scan table (scan_id).
        conversion: conversion.tsv (scan_id; n/a for images that are no scan). It adds scans that
            were not converted or whose image is corrupt, and duplicates left out of ``scans``.
    """
    return {*scans["scan_id"], *conversion["scan_id"].dropna()}
