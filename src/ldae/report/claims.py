"""The claims a reader looks for first: each with its number, its criterion and a plain verdict.

A claim is shown when the 95 % interval (subjects resampled) lies wholly on the side that the claim
says, the opposite is seen when it lies wholly on the other, and anything between is not shown at
this size.
"""

import math
from dataclasses import dataclass

import pandas as pd

from ldae.figures.manipulation_dose import course
from ldae.figures.names import inside, metric
from ldae.figures.text import interval, listing, number

SHOWN, OPEN, OPPOSITE = "shown", "not shown at this size", "the opposite is seen"


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
        size: Scans and subjects behind the number.
    """

    text: str
    measure: str
    found: str
    paper: str
    criterion: str
    verdict: str
    size: str


def verdict(low: float, high: float, bound: float, above: bool) -> str:
    """Where the interval lies with respect to the bound; without an interval nothing is shown."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return OPEN
    if not above:
        low, high, bound = -high, -low, -bound
    if low > bound:
        return SHOWN
    return OPPOSITE if high < bound else OPEN


def _one(table: pd.DataFrame, **where) -> pd.Series | None:
    keep = pd.Series(True, index=table.index)
    for column, value in where.items():
        keep &= table[column].isna() if value is None else table[column].astype(str) == str(value)
    return table[keep].iloc[0] if keep.any() else None


def _claim(
    text: str,
    measure: str,
    row: pd.Series | None,
    bound: float,
    above: bool,
    column: str = "difference",
    digits: int = 3,
    paper: float = math.nan,
) -> list[Claim]:
    if row is None:
        return []
    low, high = float(row["ci_low"]), float(row["ci_high"])
    limit = "0" if bound == 0 else number(bound, 2)
    size = ", ".join(
        f"{int(row[name]):,} {name[2:]}"
        for name in ("n_scans", "n_triplets", "n_subjects")
        if name in row.index and pd.notna(row[name])
    )
    return [
        Claim(
            text,
            measure,
            interval(float(row[column]), low, high, digits),
            number(paper),
            f"{'>' if above else '<'} {limit}",
            verdict(low, high, bound, above),
            size,
        )
    ]


def claims(tables: dict[str, pd.DataFrame], alpha: float) -> list[Claim]:
    """All claims that the tables speak of, in the order of the report.

    Args:
        tables: ``reconstruction``, ``reconstruction_controls``, ``guidance_differences``,
            ``probes``, ``probes_differences``, ``manipulation``, ``interpolation_differences`` and,
            for synthetic cohorts, ``truth``.
        alpha: Strength at which manipulation is judged; the nearest one of the table if absent.
    """
    found = _reconstruction(tables["reconstruction"], tables["reconstruction_controls"])
    found += _guidance(tables["guidance_differences"])
    found += _probes(tables["probes"], tables["probes_differences"])
    found += _manipulation(tables["manipulation"], alpha)
    found += _interpolation(tables["interpolation_differences"])
    if "truth" in tables:
        found += _truth(tables["truth"])
    return found


def tally(found: list[Claim]) -> str:
    """How many claims have each verdict, as a sentence."""
    verdicts = [one.verdict for one in found]
    parts = [f"{verdicts.count(SHOWN)} of {len(found)} claims are shown"]
    parts.append(f"{verdicts.count(OPEN)} are not shown at this size")
    if OPPOSITE in verdicts:
        parts.append(f"for {verdicts.count(OPPOSITE)} the opposite is seen")
    return f"{listing(parts)}."


def _reconstruction(table: pd.DataFrame, controls: pd.DataFrame) -> list[Claim]:
    steps = int(table["T"].max())
    autoencoder = _one(table, system="autoencoder", metric="ssim")
    paper = float(autoencoder["paper"]) if autoencoder is not None else math.nan
    gap = controls[(controls["T"] == steps) & (controls["metric"] == "ssim")]
    encoded = _one(
        table[table["T"] == steps], system="ldae", variant="encoded", metric="ssim_to_ae"
    )
    own = _one(table[table["T"] == steps], system="ldae", variant="y_sem", metric="ssim")
    return (
        _claim(
            "The autoencoder reproduces unseen scans",
            "SSIM to the original",
            autoencoder,
            0.85,
            True,
            "value",
            paper=paper,
        )
        + _claim(
            "Inverting and decoding by DDIM loses next to nothing",
            f"SSIM of LDAE with encoded z_T to the autoencoder's reconstruction, T = {steps}",
            encoded,
            0.99,
            True,
            "value",
        )
        + _claim(
            "Decoding from the scan's own y_sem is closer to it than from another subject's",
            f"SSIM decoded from own less another subject's y_sem, same noise, T = {steps}",
            _one(gap, comparison="y_sem - wrong_y_sem"),
            0,
            True,
        )
        + _claim(
            "y_sem gives a better image than an average code",
            f"SSIM decoded from own less the mean y_sem, same noise, T = {steps}",
            _one(gap, comparison="y_sem - mean_y_sem"),
            0,
            True,
        )
        + _claim(
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
    return _claim(
        "Guidance by y_sem improves the noise estimate on unseen subjects",
        "weighted loss, own y_sem less no guidance",
        _one(overall, system="right_y_sem", reference="ldm"),
        0,
        False,
        digits=4,
    ) + _claim(
        "It has to be the right y_sem",
        "weighted loss, own less another subject's y_sem",
        _one(overall, system="right_y_sem", reference="wrong_y_sem"),
        0,
        False,
        digits=4,
    )


def _probes(table: pd.DataFrame, differences: pd.DataFrame) -> list[Claim]:
    auroc = _one(table, target="diagnosis", system="ldae", metric="auroc")
    paper = float(auroc["paper"]) if auroc is not None else math.nan
    found = _claim(
        "y_sem tells AD from CN, linearly", "AUROC", auroc, 0.5, True, "value", paper=paper
    )
    for target, name, above, words in (
        ("diagnosis", "auroc", True, "diagnosis"),
        ("age", "mae", False, "age"),
    ):
        mine = differences[(differences["target"] == target) & (differences["metric"] == name)]
        if target == "age":
            mae = _one(table, target="age", system="ldae", metric="mae")
            if mae is not None:
                reference = _one(mine, reference="mean_age")
                found += _claim(
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
            if row["reference"] == "sex":
                continue
            found += _claim(
                f"For the {words}, y_sem beats {inside(row['reference'])}",
                f"{metric(name)}, LDAE less {inside(row['reference'])}",
                pd.Series(row),
                0,
                above,
                digits=2 if target == "age" else 3,
            )
    return found


def _manipulation(table: pd.DataFrame, wanted: float) -> list[Claim]:
    table = table[table["alpha"] != 0]
    alpha = min(table["alpha"].unique(), key=lambda one: (abs(one - wanted), one))
    last = table["alpha"].max()
    found = []
    for direction, part in table.groupby("direction", sort=False):
        rise = direction.endswith("AD")
        arrow = direction.replace(" to ", " → ")
        for text, measure, name in (
            (
                f"Manipulation {arrow} makes the ventricles {'larger' if rise else 'smaller'}",
                "dark volume in the ventricles' region, ml",
                "change_ventricle_dark_ml",
            ),
            (
                f"Decoded images show the change asked for, {arrow}",
                "AD logit of the decoded image",
                "change_logit_decoded",
            ),
        ):
            mine = part[part["metric"] == name]
            end = _one(mine, alpha=last)
            measure += f", α = {alpha:g} less α = 0"
            if alpha != last and end is not None:
                ends = interval(end["value"], end["ci_low"], end["ci_high"], 2)
                measure += f" (at the largest, {last:g}: {ends})"
            measure += f". {course(mine)}" if len(mine) else ""
            row = _one(mine, alpha=alpha)
            found += _claim(text, measure, row, 0, rise, "value", 2)
    return found


def _interpolation(table: pd.DataFrame) -> list[Claim]:
    found = []
    for row in table[table["metric"] == "ssim_to_ae"].to_dict("records"):
        other = inside(row["reference"])
        found += _claim(
            f"A missing visit is predicted better than by {other}",
            f"SSIM to the AE reconstruction of the visit, LDAE less {other}",
            pd.Series(row),
            0,
            True,
        )
    return found


def _truth(table: pd.DataFrame) -> list[Claim]:
    mine = table[(table["prediction"] == "atrophy_probe") & (table["truth"] == "atrophy")]
    return _claim(
        "y_sem knows the atrophy put into the synthetic brains",
        "correlation of the atrophy probe with the truth",
        _one(mine, system="ldae", reference=None),
        0,
        True,
        "r",
        2,
    ) + _claim(
        "It knows more of it than an untrained encoder",
        "difference of these correlations",
        _one(mine, system="ldae", reference="untrained"),
        0,
        True,
        "r",
        2,
    )
