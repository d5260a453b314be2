"""Small results folder: the tables and arrays that the stages write, for figures and report.

Tables that need no model are made by the library, so that a changed column shows here.
"""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import yaml

from helpers.fine_tuning import make_fine_tuning_table
from helpers.normative_tables import make_normative_tables
from helpers.result_tables import make_change_tables, make_target_tables
from helpers.saliency_tables import make_saliency_tables
from helpers.scanner import make_scanner_tables
from ldae.cohort.flow import flow_table
from ldae.cohort.table1 import cohort_table
from ldae.evaluation import interpolation_tables, reconstruction_tables
from ldae.files import write_json, write_table
from ldae.models.card import complete_card
from ldae.preprocess.qc_bounds import outlyingness

ROOT = Path(__file__).parents[2]
SUBJECTS = 12
SHAPE = (14, 18, 14)
SPACING = 10.0
RESAMPLES = 20
TEMPLATE = "MNI"
LEAST_LIKE = 12  # scans of lowest correlation with the template, of which there is an image


def scans() -> pd.DataFrame:
    """Three visits of every subject; a third of the subjects are in the test split."""
    rows = []
    for number in range(SUBJECTS):
        participant = f"sub-ADNI{number:03d}S{100 + number:04d}"
        for months in (0, 6, 12):
            rows.append(
                {
                    "scan_id": f"{participant}_ses-M{months:03d}",
                    "participant_id": participant,
                    "session_id": f"ses-M{months:03d}",
                    "months": months,
                    "diagnosis": ("CN", "AD", "MCI")[number % 3],
                    "age": 70.0 + number,
                    "mmse": 28.0,
                    "cdr_global": 0.5,
                    "sex": "FM"[number % 2],
                    "apoe4": number % 3,
                    "field_strength": 3.0,
                    "cohort": "ADNI",
                    "split": "test" if number < 4 else "val" if number == 4 else "train",
                }
            )
    return pd.DataFrame(rows)


def brain(seed: int, ventricle: float = 0.25) -> np.ndarray:
    """A smooth ellipsoid with dark ventricles and a little noise, in [0, 1]."""
    axes = np.meshgrid(*(np.linspace(-1.1, 1.1, size) for size in SHAPE), indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes))
    noise = np.random.default_rng(seed).normal(0, 0.02, SHAPE)
    volume = np.where(radius < 0.95, 0.9 - 0.3 * radius + noise, 0.0)
    return np.where(radius < ventricle, 0.2, volume).clip(0, 1).astype(np.float16)


def make_results(folder: Path) -> tuple[dict[str, dict], dict]:
    """Write the files; returns the inputs of every figure by name, and the configuration."""
    tables, evaluation = folder / "tables", folder / "evaluation"
    index = scans()
    write_table(index, folder / "cache/volumes/index.tsv")
    _cohort(index, tables)
    manifests = _qc(index, folder)
    histories = _trainings(folder)
    _examples(evaluation)
    _reconstruction(index, tables, evaluation)
    _probes_and_visits(index, tables, evaluation)
    make_change_tables(tables, evaluation, brain, SPACING)
    make_saliency_tables(tables, evaluation, brain, SPACING)
    make_target_tables(tables)
    make_scanner_tables(tables)
    make_normative_tables(tables, evaluation, folder / "models")
    make_fine_tuning_table(folder, RESAMPLES)
    _benchmarks(folder)
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    config["evaluation"]["truth"] = "truth.tsv"
    inputs = {
        "cohort_flow": {"flow": tables / "flow.tsv", "index": folder / "cache/volumes/index.tsv"},
        "cohort_qc": {
            "manifests": manifests,
            "preproc": folder / "preproc",
            "mask": folder / "template/mask.nii.gz",
        },
        "training_curves": histories,
        "figure3_reconstruction": {"arrays": evaluation / "reconstruction_examples.npz"},
        "ddim_steps": {
            "table": tables / "reconstruction.tsv",
            "scans": evaluation / "reconstruction_scans.tsv",
            "controls": tables / "reconstruction_controls.tsv",
        },
        "guidance": {"table": tables / "guidance_differences.tsv"},
        "solvers": {
            "table": tables / "solvers.tsv",
            "differences": tables / "solvers_differences.tsv",
        },
        "figure4_variation": {"arrays": evaluation / "reconstruction_examples.npz"},
        "figure5_lda": {"projection": evaluation / "lda_projection.tsv"},
        "probes": {"table": tables / "probes.tsv"},
        "targets": {
            "table": tables / "targets.tsv",
            "calibration": tables / "targets_calibration.tsv",
        },
        "scanner": {"table": tables / "scanner.tsv"},
        "normative": {
            "curves": folder / "models/application/normative.json",
            "people": evaluation / "normative_people.tsv",
            "table": tables / "normative.tsv",
        },
        "fine_tuning": {"table": tables / "fine_tuning.tsv"},
        "figure6_progression": {"arrays": evaluation / "progression.npz"},
        "figure7_manipulation": {"arrays": evaluation / "manipulation_examples.npz"},
        "manipulation_dose": {
            "table": tables / "manipulation.tsv",
            "trends": tables / "manipulation_trends.tsv",
        },
        "figure8_interpolation": {
            "table": tables / "interpolation.tsv",
            "differences": tables / "interpolation_differences.tsv",
            "extrapolation": tables / "extrapolation.tsv",
        },
        "figure9_interpolation_example": {"arrays": evaluation / "interpolation_example.npz"},
        "saliency": {
            "arrays": evaluation / "saliency.npz",
            "regions": tables / "saliency_regions.tsv",
        },
        "saliency_checks": {
            "checks": tables / "saliency_checks.tsv",
            "attention": tables / "slice_attention.tsv",
        },
        "truth": {
            "table": tables / "truth.tsv",
            "predictions": evaluation / "truth_predictions.tsv",
        },
        "counterfactual": {
            "table": tables / "counterfactual.tsv",
            "differences": tables / "counterfactual_differences.tsv",
        },
        "counterfactual_example": {"arrays": evaluation / "counterfactual_examples.npz"},
    }
    return inputs, config


def _cohort(index: pd.DataFrame, tables: Path) -> None:
    used = pd.DataFrame(
        {
            "cohort": "ADNI",
            "image_id": [f"I{n}" for n in range(len(index))],
            "subject_id": index["participant_id"],
            "status": "used",
            "stage": "volumes",
            "reason": None,
            "split": index["split"],
            "lacks": None,
        }
    )
    excluded = used.head(5).assign(
        status="excluded", stage=["selection"] * 3 + ["qc"] * 2, split=None
    )
    excluded["reason"] = "QC: dice 0.51 is below min_dice 0.85"
    conversion = pd.DataFrame({"cohort": ["ADNI"], "status": ["missing"], "subject_id": ["x"]})
    ledger = pd.concat([used, excluded], ignore_index=True)
    write_table(flow_table(ledger, conversion), tables / "flow.tsv")
    splits = index[["participant_id", "split"]].drop_duplicates()
    write_table(cohort_table(index.drop(columns="split"), splits), tables / "cohort.tsv")


def _qc(index: pd.DataFrame, folder: Path) -> list[Path]:
    rows, measured = [], []
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    inside = nib.Nifti1Image((brain(0) > 0).astype(np.uint8), affine)
    (folder / "template").mkdir()
    nib.save(inside, folder / "template/mask.nii.gz")
    for number, scan in enumerate(index.itertuples()):
        anat = folder / "preproc" / scan.participant_id / scan.session_id / "anat"
        values = {"brain_ml": 1200.0 + number, "dice": 0.95, "ncc": 0.9 - 0.01 * number}
        values |= {"affine_determinant": 0.9 + 0.002 * number, "snr": 4.0 + 0.05 * number}
        values |= {"cnr": 1.5, "residual_bias": 0.02, "fov_cut": 0.0, "border": 0.0}
        values |= {"asymmetry": 0.2}
        write_json(values, anat / f"{scan.scan_id}_desc-qc.json")
        if number >= len(index) - LEAST_LIKE:
            volume = nib.Nifti1Image(brain(number).astype(np.float32), affine)
            nib.save(volume, anat / f"{scan.scan_id}_space-{TEMPLATE}_desc-brain_T1w.nii.gz")
        measured.append(values)
        bad = number == len(index) - 1
        reason = "QC: ncc 0.2 is below min_ncc 0.35" if bad else ""
        rows.append((scan.scan_id, "qc" if bad else "ok", reason, 1.0))
    table = pd.DataFrame(rows, columns=["scan_id", "status", "reason", "seconds"])
    known = table[["scan_id", "status"]].assign(step="registration", reason=table["reason"])
    known = known.replace("", None).join(pd.DataFrame(measured))
    known = known.join(outlyingness(known)).sort_values("z", ascending=False)
    write_table(known, folder / "qc/measures.tsv")
    paths = [folder / f"preproc/manifests/registration/shard-{k}.tsv" for k in range(2)]
    for k, path in enumerate(paths):
        write_table(table[k::2], path)
    return paths


def _trainings(folder: Path) -> dict[str, Path]:
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    histories = {}
    for stage in ("autoencoder", "ldm", "ldae"):
        epochs = np.arange(1, 9)
        history = pd.DataFrame({"epoch": epochs, "step": epochs * 10, "train_loss": 1 / epochs})
        if stage == "autoencoder":
            history["train_kl"] = 1000.0
        if stage == "ldm":
            history["val_loss"] = 1.1 / epochs
        else:
            history["val_ssim"] = np.where(epochs % 2 == 0, 0.9 - 0.3 / epochs, np.nan)
        if stage == "ldae":
            history["val_probe_auroc"] = history["val_ssim"] - 0.1
            history["val_probe_age_r"] = history["val_ssim"] - 0.5
        history["seconds"], history["peak_memory_mib"] = 2.0, 512.0
        histories[stage] = folder / f"models/{stage}/history.tsv"
        write_table(history, histories[stage])
        card = {
            "kind": stage,
            "config": config[stage],
            "architecture": config[stage]["encoder"] if stage == "ldae" else config[stage],
            "sha256": f"{len(histories):064x}",
            "epoch": 8,
            "epochs": 8,
            "steps": 80,
            "metrics": {"ssim": 0.8625} if stage != "ldm" else {},
            "seed": 42,
            "machine": {"device": "cpu", "device_name": "x86_64", "precision": "fp32"},
            "versions": {"python": "3.11.7", "torch": "2.0"},
        }
        write_json(complete_card(card), folder / f"models/{stage}/model.json")
    return histories


def _examples(evaluation: Path) -> None:
    evaluation.mkdir(parents=True, exist_ok=True)
    index = scans()
    pair = [index.loc[index["diagnosis"] == name, "scan_id"].iloc[0] for name in ("CN", "AD")]
    originals = np.stack([brain(0), brain(1, 0.4)])
    np.savez(
        evaluation / "reconstruction_examples.npz",
        scan_id=pair,
        diagnosis=["CN", "AD"],
        original=originals,
        reconstruction=np.stack([brain(2), brain(3, 0.4)]),
        encoded=np.stack([brain(4), brain(5, 0.4)]),
        samples=np.stack([[brain(k), brain(k + 9)] for k in (6, 7)]),
        spacing=SPACING,
    )
    alphas = np.array([0.0, 2.0, 5.0])
    np.savez(
        evaluation / "progression.npz",
        scan_id=pair[1],
        source="AD",
        target="CN",
        original=originals[1],
        alphas=alphas,
        volumes=np.stack([brain(1, 0.4 - 0.05 * a) for a in alphas]),
        spacing=SPACING,
    )
    np.savez(
        evaluation / "manipulation_examples.npz",
        scan_id=pair[::-1],
        source=["AD", "CN"],
        target=["CN", "AD"],
        alpha=1.5,
        original=originals[::-1],
        reconstruction=originals[::-1],
        manipulated=np.stack([brain(1, 0.3), brain(0, 0.35)]),
        spacing=SPACING,
    )
    visits = np.stack([brain(k) for k in range(4)])
    np.savez(
        evaluation / "interpolation_example.npz",
        participant_id=pair[0].split("_")[0],
        months=np.array([0, 6, 12, 24]),
        factor=np.array([0, 0.25, 0.5, 1]),
        original=visits,
        autoencoder=visits,
        interpolated=visits[::-1],
        nearest_visit=visits[[0, 0, 0, 3]],
        voxel_average=np.linspace(visits[0], visits[3], 4),
        latent_lerp=np.linspace(visits[0], visits[3], 4),
        spacing=SPACING,
    )


def _reconstruction(index: pd.DataFrame, tables: Path, evaluation: Path) -> None:
    test = index[index["split"] == "test"]
    draw = np.random.default_rng(0)
    levels = {("autoencoder", "reconstruction", np.nan): 0.95}
    for steps in (10, 50):
        levels |= {("lddim", "encoded", steps): 0.94, ("ldae", "encoded", steps): 0.945}
        levels[("ldae", "y_sem", steps)] = 0.8
    levels |= {("ldae", "wrong_y_sem", 50): 0.7, ("ldae", "mean_y_sem", 50): 0.75}
    frames = []
    for (system, variant, steps), level in levels.items():
        ssim = level + draw.normal(0, 0.01, len(test))
        frames.append(
            test[["scan_id", "participant_id", "diagnosis"]].assign(
                system=system,
                variant=variant,
                T=steps,
                ssim=ssim,
                ssim_brain=ssim - 0.1,
                mse=(1 - ssim) / 10,
                lpips_alex=1 - ssim,
                ssim_to_ae=1 - (1 - ssim) / 20,
                mse_to_ae=(1 - ssim) / 10,
                ssim_window=3,
            )
        )
    table = pd.concat(frames, ignore_index=True)
    write_table(table, evaluation / "reconstruction_scans.tsv")
    summary = reconstruction_tables.summary_table(table, RESAMPLES, 0)
    write_table(summary, tables / "reconstruction.tsv")
    controls = reconstruction_tables.control_table(table, RESAMPLES, 0)
    write_table(controls, tables / "reconstruction_controls.tsv")


def _interpolation(triplets: pd.DataFrame, name: str, groups: Callable, tables: Path) -> None:
    methods = list(triplets["method"].drop_duplicates())
    summary = interpolation_tables.summary_table(triplets, groups(triplets), methods, RESAMPLES, 0)
    write_table(summary, tables / f"{name}.tsv")
    differences = interpolation_tables.differences_of_both(triplets, methods, RESAMPLES, 0)
    write_table(differences, tables / f"{name}_differences.tsv")


def _with_intervals(rows: list[dict], name: str, width: float) -> pd.DataFrame:
    table = pd.DataFrame(rows)
    return table.assign(
        ci_low=table[name] - width, ci_high=table[name] + width, n_scans=12, n_subjects=4
    )


def _probes_and_visits(index: pd.DataFrame, tables: Path, evaluation: Path) -> None:
    draw = np.random.default_rng(1)
    rows = []
    for start, target, end in combinations((0, 6, 12, 36), 3):
        for number in range(4):
            gap = min(target - start, end - target)
            for method, level in zip(
                interpolation_tables.METHODS, (0.95, 0.945, 0.9, 0.94, 0.93), strict=True
            ):
                ssim = level - 0.001 * gap + draw.normal(0, 0.005)
                values = dict.fromkeys(interpolation_tables.METRICS, ssim)
                values |= {"mse_to_ae": (1 - ssim) / 10, "mse": (1 - ssim) / 10}
                values |= dict.fromkeys(interpolation_tables.VOLUME_ERRORS, 10 * (1 - ssim))
                known = {"participant_id": f"sub-{number}", "start": start, "target": target}
                known |= {"end": end, "alpha": (target - start) / (end - start)}
                known |= {"prediction_gap": gap, "time_gap": end - start, "method": method}
                rows.append(known | values)
    triplets = pd.DataFrame(rows)
    _interpolation(triplets, "interpolation", interpolation_tables.interpolation_groups, tables)

    rows, gaps = [], []
    values = {"ldae": 0.83, "untrained": 0.7, "latents_pca": 0.8, "age_sex": 0.6}
    for system, value in values.items():
        for metric in ("auroc", "balanced_accuracy"):
            paper = 0.8948 if (system, metric) == ("ldae", "auroc") else np.nan
            key = {"target": "diagnosis", "probe": "regularised", "system": system}
            key |= {"metric": metric, "value": value}
            rows.append(key | {"n_positive": 6, "paper": paper})
            if system != "ldae":
                gaps.append(
                    key
                    | {"system": "ldae", "reference": system, "difference": 0.2}
                    | {"p": 0.01, "p_holm": 0.03}
                )
    for system, value in {"ldae": 5.11, "untrained": 6, "sex": 7, "mean_age": 7.5}.items():
        for metric in ("mae", "rmse"):
            paper = 4.16 if (system, metric) == ("ldae", "mae") else np.nan
            key = {"target": "age", "probe": "regularised", "system": system}
            key |= {"metric": metric, "value": value}
            rows.append(key | {"n_positive": np.nan, "paper": paper})
            if system != "ldae":
                gaps.append(
                    key
                    | {"system": "ldae", "reference": system, "difference": -0.5}
                    | {"p": 0.01, "p_holm": 0.03}
                )
    write_table(_with_intervals(rows, "value", 0.1), tables / "probes.tsv")
    write_table(_with_intervals(gaps, "difference", 0.3), tables / "probes_differences.tsv")

    names = ["scan_id", "participant_id", "split", "diagnosis"]
    axis = index["diagnosis"].map({"CN": -1.0, "AD": 1.0, "MCI": 0.0})
    projection = index[names].assign(ld1=axis + draw.normal(0, 0.5, len(index)))
    projection["ld2"] = draw.normal(0, 1, len(index))
    write_table(projection[projection["diagnosis"] != "MCI"], evaluation / "lda_projection.tsv")

    rows = [
        {"system": a, "reference": b, "quartile": q, "metric": m, "difference": -0.0123}
        for a, b in (
            ("right_y_sem", "ldm"),
            ("wrong_y_sem", "ldm"),
            ("right_y_sem", "wrong_y_sem"),
        )
        for q in ("1", "2", "3", "4", "all")
        for m in ("loss", "weighted_loss")
    ]
    write_table(_with_intervals(rows, "difference", 0.001), tables / "guidance_differences.tsv")

    rows = [
        {"experiment": e, "metric": m, "solver": s, "T": steps, "calls": 2 * steps, "value": 0.04}
        for e, m in (
            ("reconstruction", "latent_rmse"),
            ("reconstruction", "ssim_to_ae"),
            ("manipulation", "ventricle_ml"),
            ("interpolation", "ssim_to_ae"),
        )
        for s in ("ddim", "ddim_refined", "multistep", "angle", "midpoint")
        for steps in (2, 10, 100)
    ]
    write_table(_with_intervals(rows, "value", 0.001), tables / "solvers.tsv")
    gaps = [{key: row[key] for key in row if key != "value"} | {"difference": 0.0} for row in rows]
    write_table(_with_intervals(gaps, "difference", 0.001), tables / "solvers_differences.tsv")

    test = index[index["split"] == "test"]
    frames, rows = [], []
    for probe, truth in (("atrophy_probe", "atrophy"), ("diagnosis_probe", "atrophy"),
                         ("age_probe", "age")):  # fmt: skip
        for system in ("ldae", "untrained"):
            known = test[["scan_id", "participant_id", "age"]].assign(
                system=system, prediction=probe, atrophy=np.linspace(0, 1, len(test))
            )
            known["output"] = known[truth] + draw.normal(0, 0.1, len(test))
            frames.append(known)
            rows.append({"prediction": probe, "truth": truth, "system": system,
                         "reference": None, "r": 0.77})  # fmt: skip
        rows.append({"prediction": probe, "truth": truth, "system": "ldae",
                     "reference": "untrained", "r": 0.05})  # fmt: skip
    write_table(pd.concat(frames), evaluation / "truth_predictions.tsv")
    write_table(_with_intervals(rows, "r", 0.1), tables / "truth.tsv")


def _benchmarks(folder: Path) -> None:
    row = {"s": 75.0, "max_rss": 1024.0, "cpu_time": 60.0}
    for name in ("n4/shard-0", "n4/shard-1", "autoencoder"):
        write_table(pd.DataFrame([row]), folder / f"benchmarks/{name}.tsv")
