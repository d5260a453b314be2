"""Thresholds of the proof: their bounds, and whether the tables of a run meet each of them.

The files that the proof reads from each run are listed here too. The rules import that list, so
this module must need neither PyTorch nor matplotlib.
"""

import math
from dataclasses import dataclass

import pandas as pd

from ldae.report.tables.table import row_of
from ldae.systems import phrase

TABLES = (
    "probes",
    "probes_differences",
    "truth",
    "reconstruction_controls",
    "reconstruction_volumes",
    "decoded_volumes",
    "manipulation_trends",
    "counterfactual_differences",
    "interpolation",
    "interpolation_differences",
    "extrapolation_differences",
    "solvers",
    "solvers_differences",
    "planted",
    "resources",
)
INDEX, CARD = "cache/volumes/index.tsv", "models/ldae/model.json"
HISTORY = "models/ldae/history.tsv"
# Scans reconstructed by the LDAE and by the one with the encoder of slices.
RECONSTRUCTIONS = {
    "ldae": "evaluation/reconstruction_scans.tsv",
    "ldae_slices": "evaluation/reconstruction_scans_ldae_slices.tsv",
}
# Figures of the first seed that the page shows: name and heading.
SHOWN_FIGURES = {
    "probes": "Linear probes",
    "truth": "Against the known truth",
    "training_curves": "Training",
    "guidance": "What guidance by y_sem does, by timestep",
    "figure3_reconstruction": "Reconstruction",
    "manipulation_dose": "Manipulation by strength",
    "counterfactual": "Against the true counterfactual",
    "counterfactual_example": "A true counterfactual beside the manipulated scan",
    "figure8_interpolation": "Interpolated visits",
}
ORACLE_FRACTION = 0.9  # least ratio of the AUROC of the LDAE's probe to the oracle's
VOLUME_CORRELATION = 0.8  # least r of the decoded image's ventricle volume with the scan's
RANK_CORRELATION = 0.8  # least mean rank correlation of a measured volume with alpha
RIVALS = ("untrained", "latents_pca", "age_sex")
AGE_RIVALS = ("untrained", "latents_pca", "sex")  # not age_sex: it has the age as a feature
DIRECTIONS = ("AD to CN", "CN to AD")
MISSING = "Missing visits, by the corrected average"
NEXT = "The next visit, by the corrected average"
# Groups of thresholds that were set after the first proof had been run.
CALLS = "Fewer network calls: a second-order solver less DDIM at T = 100"
TRUE = "Decoding from y_sem alone, against the true volumes"
LATER = (MISSING, NEXT, CALLS, TRUE)
# Steps T -> the solver, and how far below the reference the interval of its SSIM may reach.
FEWER_STEPS = {10: ("multistep", 0.0005), 5: ("angle", 0.003)}
VENTRICLES_ML = 1.0  # most that manipulated ventricles may differ by, at 10 steps
ROUND_TRIP_SSIM = 0.9999  # least SSIM of the invertible solver's round trip


@dataclass(frozen=True)
class Threshold:
    """One threshold and the result of a run.

    Attributes:
        group: Heading on the page.
        text: The quantity and what it is compared with.
        criterion: The condition, with its bound.
        value, low, high: Estimate and 95 % interval over subjects (nan: none).
        met: Whether the run meets the criterion.
    """

    group: str
    text: str
    criterion: str
    value: float
    low: float
    high: float
    met: bool


def thresholds(tables: dict[str, pd.DataFrame], alpha: float) -> list[Threshold]:
    """Every threshold for one run, in the order of the page.

    Args:
        tables: By name: ``probes``, ``probes_differences``, ``truth``, ``reconstruction_controls``,
            ``reconstruction_volumes``, ``decoded_volumes``, ``manipulation_trends``,
            ``counterfactual_differences``, ``interpolation_differences``,
            ``extrapolation_differences``, ``solvers``, ``solvers_differences``.
        alpha: Strength at which manipulation is compared with the counterfactual.
    """
    return [
        *_probing(tables["probes"], tables["probes_differences"]),
        *_atrophy(tables["truth"]),
        *_decoding(tables["reconstruction_controls"], tables["reconstruction_volumes"]),
        *_manipulation(tables["manipulation_trends"]),
        *_counterfactual(tables["counterfactual_differences"], alpha),
        *_interpolation(tables["interpolation_differences"]),
        *_corrected(tables["interpolation_differences"], tables["extrapolation_differences"]),
        *_solvers(tables["solvers"], tables["solvers_differences"]),
        *_true_volumes(tables["decoded_volumes"]),
    ]


def interval_beyond_zero(
    group: str, text: str, row: pd.Series | None, column: str = "difference", better: int = 1
) -> Threshold:
    """Threshold: the whole interval of a difference lies above 0, or below for ``better`` = -1."""
    value, low, high = numbers_of(row, column)
    nearest = low if better > 0 else -high
    criterion = f"interval {'above' if better > 0 else 'below'} 0"
    return Threshold(group, text, criterion, value, low, high, nearest > 0)


def at_least(group: str, text: str, bound: float, row: pd.Series | None, column: str) -> Threshold:
    """Threshold: the estimate is at least ``bound``."""
    value, low, high = numbers_of(row, column)
    return Threshold(group, text, f"at least {bound:g}", value, low, high, value >= bound)


def numbers_of(row: pd.Series | None, column: str) -> tuple[float, float, float]:
    """Estimate and interval of a row. Without a row they are nan, which meets no threshold."""
    if row is None:
        return math.nan, math.nan, math.nan
    value, low, high = (float(row[name]) for name in (column, "ci_low", "ci_high"))
    return value, low, high


def _probing(table: pd.DataFrame, gaps: pd.DataFrame) -> list[Threshold]:
    table, gaps = (one[one["probe"] == "regularised"] for one in (table, gaps))
    group = "Linear probes of y_sem"
    found = [
        interval_beyond_zero(
            group,
            f"AD/CN: AUROC above {phrase(rival)}",
            row_of(gaps, target="diagnosis", reference=rival, metric="auroc"),
        )
        for rival in RIVALS
    ]
    own, oracle = (
        row_of(table, target="diagnosis", system=name, metric="auroc")
        for name in ("ldae", "oracle")
    )
    fraction = math.nan
    if own is not None and oracle is not None:
        fraction = float(own["value"]) / float(oracle["value"])
    text = "AD/CN: AUROC as a share of that of the true volumes (oracle)"
    criterion, met = f"at least {ORACLE_FRACTION:g}", fraction >= ORACLE_FRACTION
    found.append(Threshold(group, text, criterion, fraction, math.nan, math.nan, met))
    for rival in AGE_RIVALS:
        row = row_of(gaps, target="age", reference=rival, metric="mae")
        found.append(interval_beyond_zero(group, f"age: MAE below {phrase(rival)}", row, better=-1))
    return found


def _atrophy(table: pd.DataFrame) -> list[Threshold]:
    return [
        interval_beyond_zero(
            "Linear probes of y_sem",
            f"true atrophy: r above {phrase(rival)}",
            row_of(table, prediction="atrophy_probe", truth="atrophy", reference=rival),
            "r",
        )
        for rival in RIVALS
    ]


def _decoding(controls: pd.DataFrame, volumes: pd.DataFrame) -> list[Threshold]:
    group = "Decoding from y_sem alone"
    controls = controls[controls["T"] == controls["T"].max()]
    return [
        interval_beyond_zero(
            group,
            "SSIM with the right y_sem above that with a wrong one",
            row_of(controls, comparison="y_sem - wrong_y_sem", metric="ssim"),
        ),
        at_least(
            group,
            "r of the decoded image's ventricle volume with the scan's",
            VOLUME_CORRELATION,
            _ventricles(volumes),
            "r",
        ),
    ]


def _ventricles(table: pd.DataFrame) -> pd.Series | None:
    """Row of the ventricles decoded from y_sem in a table of correlations, at the largest T."""
    decoded = table[(table["system"] == "ldae") & (table["variant"] == "y_sem")]
    return row_of(decoded[decoded["T"] == decoded["T"].max()], measure="ventricle_ml")


def _manipulation(trends: pd.DataFrame) -> list[Threshold]:
    group = "Manipulation along the AD direction"
    names = {"ventricle_ml": "ventricle", "hippocampus_ml": "hippocampus"}
    plain = trends[(trends["way"] == "plain") & (trends["statistic"] == "spearman")]
    return [
        at_least(
            group,
            f"{direction.replace(' to ', ' → ')}: {name} volume monotone in α (rank correlation)",
            RANK_CORRELATION,
            row_of(plain, direction=direction, measure=measure),
            "value",
        )
        for direction in DIRECTIONS
        for measure, name in names.items()
    ]


def _counterfactual(table: pd.DataFrame, alpha: float) -> list[Threshold]:
    group = "Manipulation along the AD direction"
    table = table[(table["method"] == "plain") & (table["region"] == "brain")]
    table = table[(table["alpha"] - alpha).abs() < 1e-9]
    versus = {"none": "no change", "random": "a random direction"}
    return [
        interval_beyond_zero(
            group,
            f"{direction.replace(' to ', ' → ')}: nearer to the true counterfactual than {name} "
            f"(MSE in the brain, α = {alpha:g})",
            row_of(table, direction=direction, reference=reference, metric="mse_to_ae"),
            better=-1,
        )
        for direction in DIRECTIONS
        for reference, name in versus.items()
    ]


def _interpolation(table: pd.DataFrame) -> list[Threshold]:
    group = "Interpolation of missing visits"
    mine = table[(table["method"] == "ldae") & (table["metric"] == "ssim")]
    return [
        interval_beyond_zero(group, f"SSIM above {phrase(name)}", row_of(mine, reference=name))
        for name in ("nearest_visit", "voxel_average", "latent_lerp")
    ]


def _corrected(between: pd.DataFrame, after: pd.DataFrame) -> list[Threshold]:
    """Averages of visits that the LDAE corrects (:mod:`ldae.evaluation.correction`)."""
    between, after = (table[table["method"] == "ldae_corrected"] for table in (between, after))
    found = [
        interval_beyond_zero(
            MISSING,
            f"SSIM of the corrected average above {phrase(name)}",
            row_of(between, reference=name, metric="ssim"),
        )
        for name in ("voxel_average", "latent_lerp")
    ]
    for name in ("last_visit", "mean_visits", "population_change"):
        found.append(
            interval_beyond_zero(
                NEXT, f"SSIM above {phrase(name)}", row_of(after, reference=name, metric="ssim")
            )
        )
        for measure in ("ventricle", "hippocampus"):
            row = row_of(after, reference=name, metric=f"{measure}_error")
            text = f"error of the {measure} volume (ml) below {phrase(name)}"
            found.append(interval_beyond_zero(NEXT, text, row, better=-1))
    return found


def _solvers(table: pd.DataFrame, gaps: pd.DataFrame) -> list[Threshold]:
    """Quality at few steps, and the round trip of the exactly invertible solver."""
    found = []
    for steps, (solver, bound) in FEWER_STEPS.items():
        setting = {"T": steps, "solver": solver}
        for experiment in ("reconstruction", "interpolation"):
            row = row_of(gaps, **setting, experiment=experiment, metric="ssim")
            value, low, high = numbers_of(row, "difference")
            text = f"{experiment}, {solver}, T = {steps}: SSIM"
            criterion = f"interval above −{bound:g}"
            found.append(Threshold(CALLS, text, criterion, value, low, high, low > -bound))
    steps, (solver, _) = next(iter(FEWER_STEPS.items()))
    row = row_of(gaps, T=steps, solver=solver, experiment="manipulation", metric="ventricle_ml")
    value, low, high = numbers_of(row, "difference")
    met = low > -VENTRICLES_ML and high < VENTRICLES_ML
    text = f"manipulation, {solver}, T = {steps}: ventricles (ml)"
    criterion = f"interval within ±{VENTRICLES_ML:g}"
    found.append(Threshold(CALLS, text, criterion, value, low, high, met))
    trips = table[(table["solver"] == "midpoint") & (table["metric"] == "ssim_to_ae")]
    trips = trips[trips["experiment"] == "reconstruction"]
    least = trips.loc[trips["value"].idxmin()] if len(trips) else None
    text = "the invertible solver's round trip: least SSIM to the AE reconstruction over all T"
    return [*found, at_least(CALLS, text, ROUND_TRIP_SSIM, least, "value")]


def _true_volumes(table: pd.DataFrame) -> list[Threshold]:
    text = "r of the decoded image's ventricle volume with the true one"
    return [at_least(TRUE, text, VOLUME_CORRELATION, _ventricles(table), "r")]
