"""Tables and example arrays of manipulation, counterfactuals and extrapolation."""

from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from ldae.evaluation import extrapolation, interpolation_tables, manipulation_tables
from ldae.evaluation.correction import NONE, Correction
from ldae.evaluation.probes.all_targets import FAMILIES, corrected
from ldae.evaluation.probes.scores import Drawn
from ldae.evaluation.probes.summary import SUMMARY, absent_summary, summarise
from ldae.evaluation.probes.target_table import make_target
from ldae.files import write_table
from ldae.ground_truth import counterfactual_tables

RESAMPLES = 20
CONTRASTS = (("AD to CN", -1), ("CN to AD", 1))
EXTRAPOLATION_SSIM = {
    "ldae": 0.94,
    "ldae_last_noise": 0.93,
    "last_visit": 0.91,
    "voxel_linear": 0.9,
}
EXTRAPOLATION_SSIM |= {"latent_linear": 0.92, "ldae_corrected": 0.96}
EXTRAPOLATION_SSIM |= {"mean_visits": 0.95, "population_change": 0.955}


def make_change_tables(tables: Path, evaluation: Path, brain: Callable, spacing: float) -> None:
    """Write all of them; ``brain(seed, ventricle)`` returns a volume (X, Y, Z)."""
    _extrapolation(tables)
    _manipulation(tables)
    _counterfactual(tables)
    np.savez(
        evaluation / "counterfactual_examples.npz",
        scan_id=["sub-1_ses-M000", "sub-0_ses-M000"],
        source=["AD", "CN"],
        target=["CN", "AD"],
        alpha=1.5,
        original=np.stack([brain(1, 0.4), brain(0, 0.25)]),
        reconstruction=np.stack([brain(1, 0.4), brain(0, 0.25)]),
        manipulated=np.stack([brain(1, 0.3), brain(0, 0.35)]),
        counterfactual=np.stack([brain(1, 0.25), brain(0, 0.4)]),
        spacing=spacing,
    )


def make_target_tables(tables: Path) -> None:
    """Tables of three targets, as their jobs and the rule ``targets`` make them."""
    draw = np.random.default_rng(3)
    people = 30
    code = np.repeat(draw.normal(size=people), 2)
    scans = pd.DataFrame({"scan_id": [f"s{i:02d}" for i in range(2 * people)]})
    scans["participant_id"] = [f"p{i // 2:02d}" for i in range(2 * people)]
    scans["diagnosis"] = np.where(code > 0, "AD", "CN")
    entries = {
        "diagnosis": {"kind": "binary", "classes": ["CN", "AD"], "label": "AD against CN"},
        "amyloid": {"kind": "binary", "positive": "> 1.1"},
        "age": {"kind": "continuous", "label": "Age"},
    }
    rows: dict[str, list[dict]] = {part: [] for part in SUMMARY}
    for name, about in entries.items():
        target, frames = make_target(name, about), []
        for system, skill in (("ldae", 1.0), ("volumes", 0.5), ("age_sex", 0.0)):
            risk = skill * code + draw.normal(size=2 * people)
            probability = 1 / (1 + np.exp(-risk))
            frames.append(
                scans.assign(
                    probe="regularised", system=system, seed=np.nan, penalty=1.0,
                    truth=(code + draw.normal(size=2 * people) > 0).astype(int), age=70 + 5 * code,
                    probability=probability, corrected=np.nan,
                    predicted=70 + 5 * risk if name == "age" else np.where(
                        probability > 0.5, *(("AD", "CN") if name == "diagnosis" else (1, 0))
                    ),
                )
            )  # fmt: skip
        made = summarise(Drawn.of(target, pd.concat(frames), target.outcomes, RESAMPLES, 0), 40)
        for part, found in made.items():
            rows[part] += found
    note = "too few subjects: 1 converts in test; 3 of each are needed"
    absent = make_target("conversion", {"kind": "binary", "positive": [1], "label": "MCI to AD"})
    rows["summary"] += absent_summary(absent, scans[:4], note)["summary"]
    for part, name in (
        ("summary", ""),
        ("contrasts", "_differences"),
        ("calibration", "_calibration"),
    ):
        table = pd.DataFrame(rows[part], columns=SUMMARY[part])
        if part in FAMILIES:
            table = corrected(table, FAMILIES[part])
        write_table(table, tables / f"targets{name}.tsv")


def _extrapolation(tables: Path) -> None:
    draw, rows = np.random.default_rng(2), []
    for method, number, horizon in product(extrapolation.METHODS, range(4), (6, 12, 24)):
        ssim = EXTRAPOLATION_SSIM[method] - 0.001 * horizon + draw.normal(0, 0.005)
        values = dict.fromkeys(interpolation_tables.METRICS, ssim)
        values |= {"mse_to_ae": (1 - ssim) / 10, "mse": (1 - ssim) / 10}
        values |= dict.fromkeys(interpolation_tables.VOLUME_ERRORS, 10 * (1 - ssim))
        known = {"participant_id": f"sub-{number}", "start": 0, "end": horizon, "alpha": 2.0}
        known |= {"target": 2 * horizon, "horizon": horizon, "time_gap": horizon}
        rows.append(known | {"method": method} | values)
    triplets = pd.DataFrame(rows)
    methods, groups = extrapolation.METHODS, interpolation_tables.extrapolation_groups(triplets)
    summary = interpolation_tables.summary_table(triplets, groups, methods, RESAMPLES, 0)
    write_table(summary, tables / "extrapolation.tsv")
    gaps = interpolation_tables.differences_of_both(triplets, methods, RESAMPLES, 0)
    write_table(gaps, tables / "extrapolation_differences.tsv")
    tried = [(NONE, 0.0), (Correction(1.0, 0.25, 599), 0.004)]
    rows = [
        {"study": study, **correction._asdict(), "value": 0.9 + gain, "difference": gain}
        | {"standard_error": gain / 8, "n_subjects": 30, "chosen": gain > 0}
        for study in ("interpolation", "extrapolation")
        for correction, gain in tried
    ]
    write_table(pd.DataFrame(rows), tables / "visit_correction.tsv")


def _manipulation(tables: Path) -> None:
    draw, rows = np.random.default_rng(3), []
    strength = {"plain": 1.0, "orthogonal": 0.8, "random": 0.1}
    for (name, sign), variant, scan in product(CONTRASTS, strength, range(4)):
        own = 1 + draw.normal(0, 0.1)
        for alpha in (0.0, 2.0, 5.0):
            move = sign * alpha * strength[variant] * own
            key = {"scan_id": f"sub-{scan}_ses-M000", "participant_id": f"sub-{scan}"}
            key |= {"direction": name, "way": variant, "alpha": alpha}
            values = {"ventricle_ml": 25 + move, "hippocampus_ml": 12 - 0.3 * move}
            values |= {"logit_asked": 3 * move, "logit_decoded": 2 * move, "age_asked": 75 + move}
            values |= {"age_decoded": 75 + 0.8 * move, "sex_kept": float(scan > 0 or alpha < 5)}
            values |= dict.fromkeys(("ssim_elsewhere", "ssim_to_unmanipulated"), 1 - alpha / 50)
            rows.append(key | values)
    scans = pd.DataFrame(rows)
    table = manipulation_tables.summarise(scans, RESAMPLES, 0)
    sign = np.where(table["direction"] == "CN to AD", 1, -1)
    round_numbers = (table["metric"] == "change_ventricle_ml") & (table["way"] == "plain")
    table["value"] = table["value"].where(~round_numbers, 0.5 * sign * table["alpha"])
    width = np.where(table["alpha"] > 0, 0.2, 0)
    table["ci_low"] = table["ci_low"].where(~round_numbers, table["value"] - width)
    table["ci_high"] = table["ci_high"].where(~round_numbers, table["value"] + width)
    write_table(table, tables / "manipulation.tsv")
    trends = manipulation_tables.trends(scans, "AD", RESAMPLES, 0)
    write_table(trends, tables / "manipulation_trends.tsv")


def _counterfactual(tables: Path) -> None:
    draw, rows = np.random.default_rng(4), []
    methods = [("none", np.nan, 0.0), ("true_code", np.nan, 0.8), ("truth", np.nan, 1.0)]
    methods += [("autoencoder", np.nan, 0.95)]
    for variant, gain in (("plain", 0.9), ("orthogonal", 0.7), ("random", 0.0)):
        methods += [(variant, alpha, gain * alpha / (1 + alpha)) for alpha in (0.5, 2.0, 5.0)]
    for (name, sign), (method, alpha, gain), scan in product(CONTRASTS, methods, range(4)):
        about = {"scan_id": f"sub-{scan}_ses-M000", "participant_id": f"sub-{scan}"}
        about |= {"direction": name, "method": method, "alpha": alpha}
        recovered = gain + draw.normal(0, 1e-3)
        for region in ("brain", "ventricles", "hippocampus", "elsewhere"):
            values = {"mse": 0.02 - recovered / 60, "mse_to_ae": 0.018 - recovered / 60}
            values |= {"ssim": recovered, "ssim_to_ae": recovered}
            values["change_correlation"] = np.nan if method == "none" else recovered
            if region == "brain":
                values |= {
                    "ventricle_change": sign * 20 * recovered,
                    "hippocampus_change": -sign * recovered,
                }
            for metric, value in values.items():
                rows.append(about | {"region": region, "metric": metric, "value": value})
    scans = pd.DataFrame(rows)
    write_table(counterfactual_tables.summarise(scans, RESAMPLES, 0), tables / "counterfactual.tsv")
    gaps = counterfactual_tables.differences(scans, RESAMPLES, 0)
    write_table(gaps, tables / "counterfactual_differences.tsv")
