"""Claims on predicted visits: missing ones between two, next ones after two."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ldae.labels import interval, number
from ldae.report.tables.table import row_of
from ldae.report.verdicts import OPPOSITE, SHOWN, Claim, Criterion, claim_of
from ldae.systems import phrase

ABOVE_ZERO = Criterion()
VISIT_DIGITS = 4  # of SSIM: methods differ in the fourth decimal
# Clauses of the summary on corrected averages, judged by the scan itself, by reference.
ASIDES = {
    "latent_lerp": "by an average that the code corrects less latent LERP, SSIM to the scan: "
    "{found}",
    "mean_visits": "the next visit by an average that the code corrects less the mean of the "
    "visits so far, SSIM to the scan: {found}",
}
# Of corrected averages: metric, what is predicted, words at the end, measure, criterion, decimals.
MEASURES = (
    ("ssim_to_ae", "visit is", "", "SSIM to the AE reconstruction of the visit", ABOVE_ZERO, 3),
    ("ssim", "visit is", ", judged by the scan itself", "SSIM to the scan", ABOVE_ZERO, 3),
    (
        "ventricle_error",
        "visit's ventricles are",
        "",
        "absolute error of the ventricles measured in the decoded image (ml)",
        Criterion(above=False),
        2,
    ),
)


def visit_claims(
    interpolation: pd.DataFrame,
    between: pd.DataFrame,
    after: pd.DataFrame | None,
    correction: pd.DataFrame | None,
) -> list[Claim]:
    """Claims on missing visits and, where the table is there, on next ones.

    There is no claim on corrected averages where the choice was to correct nothing.

    Args:
        interpolation: ``interpolation.tsv``.
        between, after: ``interpolation_differences.tsv`` and ``extrapolation_differences.tsv``.
        correction: ``visit_correction.tsv``.
    """
    found = _interpolation(interpolation, between)
    if _corrects(correction, "interpolation"):
        found += _corrected(between, "A missing", ("latent_lerp",), "interpolation_differences")
    if after is not None:
        found += _extrapolation(after)
        if _corrects(correction, "extrapolation"):
            references = ("last_visit", "mean_visits", "population_change")
            found += _corrected(after, "The next", references, "extrapolation_differences")
    return found


def _corrects(table: pd.DataFrame | None, study: str) -> bool:
    """Whether the correction that was chosen for a study changes the average."""
    chosen = None if table is None else row_of(table, study=study, chosen=True)
    return chosen is not None and float(chosen["strength"]) > 0


def _interpolation(table: pd.DataFrame, differences: pd.DataFrame) -> list[Claim]:
    """Claims by SSIM to the visit's AE reconstruction, and by SSIM to the scan, as in the proof."""
    overall = table[(table["grouping"] == "overall") & (table["metric"] == "ssim_to_ae")]
    own = row_of(overall, method="ldae")
    found = []
    differences = differences[differences["method"] == "ldae"]
    for row in differences[differences["metric"] == "ssim_to_ae"].to_dict("records"):
        reference, other = row["reference"], phrase(row["reference"])
        theirs = row_of(overall, method=reference)
        to_scan = row_of(differences, reference=reference, metric="ssim")
        leads = reference == "voxel_average"
        estimate = f" {number(theirs['value'], VISIT_DIGITS)}" if theirs is not None else ""
        found += claim_of(
            "visits",
            "interpolation_differences",
            f"A missing visit is predicted better than by {other}",
            f"SSIM to the AE reconstruction of the visit, LDAE less {other}",
            pd.Series(row),
            ABOVE_ZERO,
            brief=_visit_brief(own, to_scan) if leads else "",
            disputed=_disagree(row, to_scan),
            opposite=f"A missing visit is predicted worse than by {other}",
            rival="" if leads else f"{other}{estimate}",
        ) + claim_of(
            "visits",
            "interpolation_differences",
            f"A missing visit is predicted better than by {other}, judged by the scan itself",
            f"SSIM to the scan of the visit, LDAE less {other}",
            to_scan,
            ABOVE_ZERO,
        )
    return found


def _disagree(*rows: pd.Series | Mapping[str, Any] | None) -> bool:
    """Whether one of the differences is above 0 and another below, each with its interval."""
    there = [row for row in rows if row is not None]
    verdicts = {ABOVE_ZERO.verdict(row["ci_low"], row["ci_high"]) for row in there}
    return {SHOWN, OPPOSITE} <= verdicts


def _visit_brief(own: pd.Series | None, to_scan: pd.Series | None) -> str:
    """SSIM of the LDAE and its two differences, in few words; without what is missing."""
    level = f"SSIM {number(own['value'], VISIT_DIGITS)}, " if own is not None else ""
    brief = f"{level}difference {{found}} to the AE reconstruction"
    if to_scan is not None:
        numbers = (to_scan[key] for key in ("difference", "ci_low", "ci_high"))
        brief += f" and {interval(*numbers)} to the scan itself"
    return brief


def _extrapolation(table: pd.DataFrame) -> list[Claim]:
    mine = table[(table["metric"] == "ssim_to_ae") & (table["method"] == "ldae")]
    return claim_of(
        "visits",
        "extrapolation_differences",
        "The next visit is predicted better than by the last one",
        "SSIM to the AE reconstruction of the visit, LDAE less the last visit",
        row_of(mine, reference="last_visit"),
        ABOVE_ZERO,
    )


def _corrected(
    differences: pd.DataFrame, which: str, references: tuple[str, ...], evidence: str
) -> list[Claim]:
    """Claims on averages that the LDAE corrects, by each of :data:`MEASURES`."""
    found = []
    mine = differences[differences["method"] == "ldae_corrected"]
    for reference in references:
        other = phrase(reference)
        for name, what, end, measure, criterion, digits in MEASURES:
            found += claim_of(
                "visits",
                evidence,
                f"{which} {what} predicted by an average that the code corrects better than by "
                f"{other}{end}",
                f"{measure}, {phrase('ldae_corrected')} less {other}",
                row_of(mine, reference=reference, metric=name),
                criterion,
                digits=digits,
                aside=ASIDES.get(reference, "") if name == "ssim" else "",
            )
    return found
