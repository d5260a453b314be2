"""Claims of the report's summary: each with its number, interval, criterion and verdict.

The verdict depends on the 95 % interval over resampled subjects. A claim is shown when the whole
interval lies on the claimed side of the bound. The opposite is seen when it lies wholly on the
other side. Anything between is not shown at this size.
"""

import math
from dataclasses import dataclass

import pandas as pd

from ldae.evaluation.manipulation_tables import monotonicity_sentence
from ldae.labels import interval, number
from ldae.report.tables.table import row_of
from ldae.systems import metric, phrase, system

SHOWN, OPEN, OPPOSITE = "shown", "not shown at this size", "the opposite is seen"
# Metric; what was measured; the claim, with its words for a move towards AD and away from it (no
# claim text: a common one); sign of the change towards AD.
CHANGES = (
    (
        "change_ventricle_ml",
        "fluid in the ventricles' region, ml",
        "makes the ventricles {}",
        ("larger", "smaller"),
        1,
    ),
    (
        "change_hippocampus_ml",
        "grey matter in the hippocampi's region, ml",
        "makes the hippocampi {}",
        ("smaller", "larger"),
        -1,
    ),
    ("change_logit_decoded", "AD logit of the decoded image", "", ("", ""), 1),
)


@dataclass(frozen=True)
class Claim:
    """One line of the summary.

    Attributes:
        text: What is claimed.
        measure: What was measured.
        found: Estimate and interval.
        paper: The paper's value, or a dash.
        criterion: When the claim counts as shown.
        verdict: ``shown``, ``not shown at this size`` or ``the opposite is seen``.
        size: Numbers of scans or triplets, and of subjects.
        brief: Estimate and interval in few words, of the claims that make up the summary in plain
            sentences; else empty.
    """

    text: str
    measure: str
    found: str
    paper: str
    criterion: str
    verdict: str
    size: str
    brief: str = ""


def verdict(low: float, high: float, bound: float, above: bool) -> str:
    """Verdict on an interval; without a finite interval nothing is shown.

    Args:
        low, high: The interval.
        bound, above: The claim: the quantity lies above, or else below, ``bound``.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return OPEN
    if not above:
        low, high, bound = -high, -low, -bound
    if low > bound:
        return SHOWN
    return OPPOSITE if high < bound else OPEN


def claim_of(
    text: str,
    measure: str,
    row: pd.Series | None,
    bound: float,
    above: bool,
    column: str = "difference",
    digits: int = 3,
    paper: float = math.nan,
    brief: str = "",
) -> list[Claim]:
    """The claim that a row of a table decides, as a list of one; empty without a row.

    Args:
        text, measure: What is claimed, what was measured.
        row: ci_low, ci_high, the estimate in ``column``, and any of n_scans, n_triplets,
            n_subjects.
        bound, above: The criterion: the whole interval lies above, or else below, ``bound``.
        column: Of the estimate.
        digits: Decimals.
        paper: The paper's value; nan: none.
        brief: Few words with ``{found}`` in place of estimate and interval, if the claim belongs to
            the summary in plain sentences.
    """
    if row is None:
        return []
    low, high = float(row["ci_low"]), float(row["ci_high"])
    limit = "0" if bound == 0 else number(bound, 2)
    size = ", ".join(
        f"{int(row[name]):,} {name[2:]}"
        for name in ("n_scans", "n_triplets", "n_subjects")
        if name in row.index and pd.notna(row[name])
    )
    found = interval(float(row[column]), low, high, digits)
    return [
        Claim(
            text,
            measure,
            found,
            number(paper),
            f"{'>' if above else '<'} {limit}",
            verdict(low, high, bound, above),
            size,
            brief.format(found=found),
        )
    ]


def claims(tables: dict[str, pd.DataFrame], alpha: float) -> list[Claim]:
    """All claims that the tables decide, in the order of the report.

    Args:
        tables: ``reconstruction``, ``reconstruction_controls``, ``guidance_differences``,
            ``probes``, ``probes_differences``, ``manipulation``, ``interpolation_differences``.
            Optional: ``extrapolation_differences``; for external test sets
            ``reconstruction_external`` and ``probes_external``; for synthetic cohorts ``truth`` and
            ``counterfactual_differences``.
        alpha: Strength at which manipulation is judged; if the table lacks it, the nearest one.
    """
    found = _reconstruction(tables["reconstruction"], tables["reconstruction_controls"])
    found += _guidance(tables["guidance_differences"])
    found += _probes(tables["probes"], tables["probes_differences"])
    found += manipulation_claims(tables["manipulation"], alpha)
    if "counterfactual_differences" in tables:
        found += counterfactual_claims(tables["counterfactual_differences"], alpha)
    found += _interpolation(tables["interpolation_differences"])
    if "extrapolation_differences" in tables:
        found += _extrapolation(tables["extrapolation_differences"])
    if "reconstruction_external" in tables and "probes_external" in tables:
        found += external_claims(tables["reconstruction_external"], tables["probes_external"])
    if "truth" in tables:
        found += _truth(tables["truth"])
    return found


def _reconstruction(table: pd.DataFrame, controls: pd.DataFrame) -> list[Claim]:
    steps = int(table["T"].max())
    autoencoder = row_of(table, system="autoencoder", metric="ssim")
    paper = float(autoencoder["paper"]) if autoencoder is not None else math.nan
    gap = controls[(controls["T"] == steps) & (controls["metric"] == "ssim")]
    encoded = row_of(
        table[table["T"] == steps], system="ldae", variant="encoded", metric="ssim_to_ae"
    )
    own = row_of(table[table["T"] == steps], system="ldae", variant="y_sem", metric="ssim")
    return (
        claim_of(
            "The autoencoder reproduces unseen scans",
            "SSIM to the original",
            autoencoder,
            0.85,
            True,
            "value",
            paper=paper,
            brief="SSIM {found}",
        )
        + claim_of(
            "Inverting and decoding by DDIM loses next to nothing",
            f"SSIM of LDAE with encoded z_T to the autoencoder's reconstruction, T = {steps}",
            encoded,
            0.99,
            True,
            "value",
        )
        + claim_of(
            "Decoding from the scan's own y_sem is closer to it than from another subject's",
            f"SSIM decoded from own less another subject's y_sem, same noise, T = {steps}",
            row_of(gap, comparison="y_sem - wrong_y_sem"),
            0,
            True,
            brief="difference of SSIM {found}",
        )
        + claim_of(
            "y_sem gives a better image than an average code",
            f"SSIM decoded from own less the mean y_sem, same noise, T = {steps}",
            row_of(gap, comparison="y_sem - mean_y_sem"),
            0,
            True,
        )
        + claim_of(
            "y_sem and noise alone give back most of the scan",
            f"SSIM to the original, T = {steps}",
            own,
            0.8,
            True,
            "value",
            paper=float(own["paper"]) if own is not None else math.nan,
        )
    )


def _guidance(table: pd.DataFrame) -> list[Claim]:
    overall = table[(table["quartile"].astype(str) == "all") & (table["metric"] == "weighted_loss")]
    return claim_of(
        "Guidance by y_sem improves the noise estimate on unseen subjects",
        "weighted loss, own y_sem less no guidance",
        row_of(overall, system="right_y_sem", reference="ldm"),
        0,
        False,
        digits=4,
    ) + claim_of(
        "It has to be the right y_sem",
        "weighted loss, own less another subject's y_sem",
        row_of(overall, system="right_y_sem", reference="wrong_y_sem"),
        0,
        False,
        digits=4,
    )


def _probes(table: pd.DataFrame, differences: pd.DataFrame) -> list[Claim]:
    table, differences = (one[one["probe"] != "paper"] for one in (table, differences))
    auroc = row_of(table, target="diagnosis", system="ldae", metric="auroc")
    paper = float(auroc["paper"]) if auroc is not None else math.nan
    control = row_of(table, target="diagnosis", system="untrained", metric="auroc")
    beside = f", {phrase('untrained')} {number(control['value'])}" if control is not None else ""
    found = claim_of(
        "y_sem tells AD from CN, linearly",
        "AUROC",
        auroc,
        0.5,
        True,
        "value",
        paper=paper,
        brief=f"AUROC {{found}}{beside}",
    )
    for target, name, above, words in (
        ("diagnosis", "auroc", True, "diagnosis"),
        ("age", "mae", False, "age"),
    ):
        mine = differences[(differences["target"] == target) & (differences["metric"] == name)]
        if target == "age":
            mae = row_of(table, target="age", system="ldae", metric="mae")
            if mae is not None:
                reference = row_of(mine, reference="mean_age")
                found += claim_of(
                    "y_sem predicts age better than guessing the mean age",
                    f"MAE in years, LDAE less mean age (LDAE alone: "
                    f"{interval(mae['value'], mae['ci_low'], mae['ci_high'], 2)}, "
                    f"paper {number(mae['paper'], 2)})",
                    reference,
                    0,
                    False,
                    digits=2,
                )
        for row in mine[mine["reference"] != "mean_age"].to_dict("records"):
            if not system(row["reference"]).rival:
                continue
            found += claim_of(
                f"For the {words}, y_sem beats {phrase(row['reference'])}",
                f"{metric(name).label}, LDAE less {phrase(row['reference'])}",
                pd.Series(row),
                0,
                above,
                digits=2 if target == "age" else 3,
            )
    return found


def _interpolation(table: pd.DataFrame) -> list[Claim]:
    found = []
    for row in table[table["metric"] == "ssim_to_ae"].to_dict("records"):
        other = phrase(row["reference"])
        found += claim_of(
            f"A missing visit is predicted better than by {other}",
            f"SSIM to the AE reconstruction of the visit, LDAE less {other}",
            pd.Series(row),
            0,
            True,
            brief="difference of SSIM {found}" if row["reference"] == "voxel_average" else "",
        )
    return found


def _extrapolation(table: pd.DataFrame) -> list[Claim]:
    mine = table[table["metric"] == "ssim_to_ae"]
    return claim_of(
        "The next visit is predicted better than by the last one",
        "SSIM to the AE reconstruction of the visit, LDAE less the last visit",
        row_of(mine, reference="last_visit"),
        0,
        True,
    )


def external_claims(reconstruction: pd.DataFrame, probes: pd.DataFrame) -> list[Claim]:
    """Claims on each external test set; a test set that was left out of a table has none."""
    found = []
    for cohort in reconstruction["cohort"].drop_duplicates():
        images = row_of(reconstruction, cohort=cohort, system="autoencoder", metric="ssim")
        about = {"target": "diagnosis", "probe": "regularised", "system": "ldae", "note": None}
        auroc = row_of(probes, cohort=cohort, metric="auroc", **about)
        found += claim_of(
            f"The autoencoder reproduces scans of the external test set {cohort}",
            "SSIM to the original",
            images,
            0.85,
            True,
            "value",
        ) + claim_of(
            f"In the external test set {cohort}, y_sem tells AD from CN, linearly",
            "AUROC of the probe fitted on the training subjects",
            auroc,
            0.5,
            True,
            "value",
        )
    return found


def _truth(table: pd.DataFrame) -> list[Claim]:
    mine = table[(table["prediction"] == "atrophy_probe") & (table["truth"] == "atrophy")]
    return claim_of(
        "y_sem knows the atrophy put into the synthetic brains",
        "correlation of the atrophy probe with the truth",
        row_of(mine, system="ldae", reference=None),
        0,
        True,
        "r",
        2,
    ) + claim_of(
        "It knows more of it than an untrained encoder",
        "difference of these correlations",
        row_of(mine, system="ldae", reference="untrained"),
        0,
        True,
        "r",
        2,
    )


def nearest_strength(table: pd.DataFrame, wanted: float) -> float:
    """The alpha of the table that is nearest to ``wanted``, never 0."""
    alphas = table.loc[table["alpha"] != 0, "alpha"].dropna().unique()
    return min(alphas, key=lambda one: (abs(one - wanted), one))


def manipulation_claims(table: pd.DataFrame, wanted: float) -> list[Claim]:
    """Claims about decoded images after y_sem was moved along the plain AD direction.

    Args:
        table: ``manipulation.tsv``.
        wanted: Strength at which they are judged; the nearest one of the table is taken.
    """
    table = table[(table["way"] == "plain") & (table["alpha"] != 0)]
    alpha, last = nearest_strength(table, wanted), table["alpha"].max()
    found = []
    for direction, part in table.groupby("direction", sort=False):
        towards = direction.endswith("AD")
        arrow = direction.replace(" to ", " → ")
        for name, what, says, words, sign in CHANGES:
            text = (
                f"Manipulation {arrow} {says.format(words[not towards])}"
                if says
                else f"Decoded images show the change asked for, {arrow}"
            )
            mine = part[part["metric"] == name]
            end = row_of(mine, alpha=last)
            measure = f"{what}, α = {alpha:g} less α = 0"
            if alpha != last and end is not None:
                ends = interval(end["value"], end["ci_low"], end["ci_high"], 2)
                measure += f" (at the largest, {last:g}: {ends})"
            measure += f". {monotonicity_sentence(mine)}" if len(mine) else ""
            row = row_of(mine, alpha=alpha)
            brief = "by {found} ml" if (towards, name) == (True, "change_ventricle_ml") else ""
            found += claim_of(text, measure, row, 0, towards == (sign > 0), "value", 2, brief=brief)
    return found


def counterfactual_claims(table: pd.DataFrame, wanted: float) -> list[Claim]:
    """Claims that manipulated scans are nearer to their true counterfactual than two baselines.

    The baselines are the unchanged scan and a move of the same length in a random direction.

    Args:
        table: ``counterfactual_differences.tsv``.
        wanted: Strength at which they are judged; the nearest one of the table is taken.
    """
    table = table[(table["method"] == "plain") & (table["region"] == "brain")]
    table = table[table["metric"] == "mse_to_ae"]
    if table.empty:
        return []
    alpha = nearest_strength(table, wanted)
    found = []
    for direction, part in table.groupby("direction", sort=False):
        arrow = direction.replace(" to ", " → ")
        for reference, words in (("none", "leaving it"), ("random", "moving it as far at random")):
            found += claim_of(
                f"A scan moved {arrow} is nearer to its true counterfactual than by {words}",
                "MSE in the brain to the AE reconstruction of the true counterfactual, moved less "
                f"{words}, α = {alpha:g}",
                row_of(part[part["alpha"] == alpha], reference=reference),
                0,
                False,
                digits=4,
            )
    return found
