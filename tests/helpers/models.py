"""Stores, models and embeddings on which every stage of the evaluation runs in a second."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import torch

from helpers.networks import PAPER
from helpers.stores import write_store
from ldae.application.training_codes import TrainingCodes
from ldae.data.embeddings import load_embeddings, save_embeddings
from ldae.data.latent_store import LatentStore
from ldae.data.volume_store import VolumeStore
from ldae.evaluation.metrics.volumes import measure_volumes
from ldae.evaluation.probes.all_targets import join_tables, write_targets
from ldae.evaluation.probes.evaluate import Sources, evaluate_target
from ldae.files import write_table
from ldae.inference.ldae_system import LdaeSystem
from ldae.models.storage import ldae_state, save_model
from ldae.models.training_scans import write_training_scans
from ldae.nets.autoencoder import build_autoencoder
from ldae.nets.gradient_estimator import build_guided_unet
from ldae.nets.semantic_encoder import build_encoder
from ldae.nets.unet import build_unet

SHAPE, SPACING, DIM = (16, 16, 16), 12.0, 512
SCALE = 2.0  # of the latents, in the store as in the models trained on it
AUTOENCODER = PAPER["autoencoder"] | {
    "channels": [4, 4],
    "num_res_blocks": 1,
    "norm_num_groups": 2,
    "pretrained": None,
}
LDM = PAPER["ldm"] | {
    "base_channels": 8,
    "channel_mult": [1, 2],
    "num_res_blocks": 1,
    "attention_factors": [],
    "dropout": 0.0,
    "norm_num_groups": 2,
}
ENCODER = PAPER["ldae"]["encoder"] | {
    "backbone": "resnet10t",
    "pretrained": None,
    "num_heads": 2,
    "attention_dropout": 0.0,
}
DIFFUSION = PAPER["diffusion"]
PROBES = PAPER["evaluation"]["probes"]
CFG = PAPER["evaluation"] | {
    "ddim_steps": [2, 4],
    "batch_size": 5,
    "noise_seed": 7,
    "bootstrap": 50,
    "lpips": None,
    "timing_scans": 2,
    "probes": PROBES
    | {
        "min_subjects": 2,
        "cv_folds": 3,
        "seeds": [1, 2],
        "paper": PROBES["paper"] | {"classifier_epochs": 40, "regressor_epochs": 40},
    },
    "manipulation": PAPER["evaluation"]["manipulation"]
    | {"alphas": [0, 1], "ddim_steps": 3, "max_scans": 2},
    "interpolation": PAPER["evaluation"]["interpolation"] | {"subjects": 3, "ddim_steps": 3},
    "solver_study": PAPER["evaluation"]["solver_study"]
    | {"ddim_steps": [2, 4], "max_scans": 6, "subjects": 3},
}


PARTS = ("scores", "differences", "summary", "contrasts", "calibration")


def make_index() -> pd.DataFrame:
    """24 subjects; 6 of them, with three visits each, are the test split."""
    rows = []
    for subject in range(24):
        for visit in range(3 if subject < 6 else 1):
            rows.append(
                {
                    "scan_id": f"sub-{subject:02d}_ses-M{12 * visit:03d}",
                    "participant_id": f"sub-{subject:02d}",
                    "session_id": f"ses-M{12 * visit:03d}",
                    "months": 12 * visit,
                    "diagnosis": ("CN", "AD", "MCI")[subject % 3],
                    "age": 60 + subject + visit,
                    "sex": "MF"[subject % 2],
                    "split": "test" if subject < 6 else "val" if subject < 8 else "train",
                }
            )
    table = pd.DataFrame(rows)
    table.insert(0, "row", np.arange(len(table)))
    return table


def _radius() -> np.ndarray:
    grid = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    return np.sqrt(sum(g**2 for g in grid))


def brain_ball() -> np.ndarray:
    """The voxels (X, Y, Z) of the brain in every volume."""
    return _radius() < 0.8


def make_volumes(count: int) -> np.ndarray:
    radius = _radius()
    rng = np.random.default_rng(3)
    brain = brain_ball() * (0.7 + 0.1 * rng.random((count, 1, *SHAPE)))
    return np.where(radius < 0.2 + 0.1 * rng.random((count, 1, 1, 1, 1)), 0.1, brain)


def load_ldae(root: Path, cfg: Mapping[str, Any], precision: str | None = None) -> LdaeSystem:
    """The trained LDAE of a folder with one folder a stage, on the CPU."""
    models = {stage: root / stage for stage in LdaeSystem.stages}
    return LdaeSystem.load(models, cfg, "cpu", 1, precision)


def sources_of(root: Path, **changes) -> Sources:
    """The project's files that a target's job reads; some may be changed."""
    given = {
        "embeddings": {name: root / f"{name}.npz" for name in ("ldae", "untrained")},
        "latents": root / "latents",
        "volumes": root / "tissue_volumes.tsv",
        "visits": root / "visits.tsv",
    }
    return Sources(**{**given, **changes})


def run_target(
    root: Path, out: Path, name: str, about: Mapping[str, Any], cfg=CFG, **changes
) -> dict[str, Path]:
    """Probe one target on the project's embeddings; returns its files by what they hold."""
    files = {part: out / f"{name}/{part}.tsv" for part in PARTS}
    files["predictions"] = out / f"predictions_{name}.tsv"
    if name == "diagnosis":
        files |= {"model": out / "classifier.npz", "projection": out / "lda_projection.tsv"}
    if name == "age":
        files["model"] = out / "age_regressor.npz"
    evaluate_target(name, about, sources_of(root, **changes), files, cfg, 0)
    return files


def run_probes(root: Path, out: Path, cfg=CFG, predictions=None, **changes) -> Path:
    """Probe all targets of the configuration on the project's embeddings; join their tables."""
    made = {
        name: run_target(
            root, out, name, about, cfg, predictions=(predictions or {}).get(name, ()), **changes
        )
        for name, about in cfg["targets"].items()
    }
    for part, table in (("scores", "probes"), ("differences", "probes_differences")):
        join_tables([files[part] for files in made.values()], out / f"{table}.tsv")
    for part, table in (("summary", "targets"), ("contrasts", "targets_differences")):
        write_targets(part, [files[part] for files in made.values()], out / f"{table}.tsv")
    for name in made:
        shutil.rmtree(out / name)
    return out


def make_project(root: Path) -> Path:
    """Fill a folder with stores, models and embeddings of 24 subjects."""
    index = make_index()
    rng = np.random.default_rng(4)
    grid = {"kind": "volumes", "spacing": SPACING, "affine": grid_affine().tolist()}
    write_store(root / "volumes", index, grid, volumes=make_volumes(len(index)).astype(np.float16))
    torch.manual_seed(0)
    volumes = VolumeStore(root / "volumes")
    data = volumes.content_hash
    autoencoder = save_model(
        root / "autoencoder",
        build_autoencoder(AUTOENCODER).state_dict(),
        {"kind": "autoencoder", "architecture": AUTOENCODER}
        | write_training_scans(volumes, root / "autoencoder"),
    )
    latents = rng.normal(size=(len(index), 3, 8, 8, 8)).astype(np.float32) / SCALE
    card = {"kind": "latents", "scale": SCALE, "source": "mean", "volumes": data}
    card["autoencoder"] = autoencoder["sha256"]
    write_store(root / "latents", index, card, mean=latents, std=0 * latents)
    unet = build_unet(LDM, 3)
    ldm = save_model(
        root / "ldm",
        unet.state_dict(),
        {"kind": "ldm", "architecture": LDM, "latent_channels": 3}
        | write_training_scans(LatentStore(root / "latents"), root / "ldm"),
    )
    encoder = build_encoder(ENCODER)
    guided = build_guided_unet(unet, LDM, encoder.dim)
    for parameter in guided.estimator.parameters():  # a new estimator is zero
        torch.nn.init.normal_(parameter, std=0.05)
    ldae = save_model(
        root / "ldae",
        ldae_state(encoder, guided.estimator),
        {
            "kind": "ldae",
            "architecture": ENCODER,
            "ldm_sha256": ldm["sha256"],
            "autoencoder_sha256": autoencoder["sha256"],
            "data": data,
            **write_training_scans(volumes, root / "ldae"),
            "diffusion": DIFFUSION,
            "latent_scale": SCALE,
        },
    )
    y = rng.normal(size=(len(index), DIM))
    provenance = {"model": ldae["sha256"], "volumes": data}
    save_embeddings(root / "untrained.npz", index["scan_id"].tolist(), y, **provenance)
    y[:, :40] += 3 * (index["diagnosis"] == "AD").to_numpy()[:, None]
    y[:, 40:80] += 0.3 * (index["age"].to_numpy() - 70)[:, None]
    save_embeddings(root / "ldae.npz", index["scan_id"].tolist(), y, **provenance)
    measure_volumes(root / "volumes", root / "tissue_volumes.tsv")
    write_table(index[["participant_id", "months", "diagnosis"]], root / "visits.tsv")
    write_table(
        index[["participant_id", "session_id", "age", "diagnosis"]].assign(
            atrophy=y[:, :40].mean(1),
            ventricle_ml=30 + y[:, :40].mean(1),
            hippocampus_ml=7 - y[:, :40].mean(1),
        ),
        root / "truth.tsv",
    )
    return root


def add_external_cohort(project: Path, root: Path, name: str = "OTHER") -> Path:
    """The project with an external test set: copies of the six test subjects under other names.

    Models, and the codes of all other scans, are those of the project.
    """
    index = make_index().assign(cohort="ADNI")
    own = (index["split"] == "test").to_numpy()
    copies = index[own].assign(cohort=name, split="external")
    for column in ("scan_id", "participant_id"):
        copies[column] = copies[column].str.replace("sub-", f"sub-{name}")
    table = pd.concat([index, copies]).sort_values("scan_id", ignore_index=True)
    table["row"] = np.arange(len(table))
    source = table["scan_id"].str.replace(f"sub-{name}", "sub-")
    rows = index.set_index("scan_id").loc[source, "row"].to_numpy()

    old = VolumeStore(project / "volumes")
    grid = {key: old.card[key] for key in ("kind", "spacing", "affine")}
    volumes = make_volumes(len(index)).astype(np.float16)[rows]
    write_store(root / "volumes", table, grid, volumes=volumes)
    data = VolumeStore(root / "volumes").content_hash
    latents = LatentStore(project / "latents")
    card = {key: latents.card[key] for key in ("kind", "scale", "source", "autoencoder")}
    moments = [np.load(project / f"latents/{moment}.npy")[rows] for moment in ("mean", "std")]
    write_store(root / "latents", table, card | {"volumes": data}, mean=moments[0], std=moments[1])
    for system in ("ldae", "untrained"):
        with np.load(project / f"{system}.npz") as file:
            model, codes = str(file["model"]), file["y_sem"][rows]
        save_embeddings(root / f"{system}.npz", table["scan_id"].tolist(), codes, model, data)
    for stage in LdaeSystem.stages:
        (root / stage).symlink_to(project / stage)
    measure_volumes(root / "volumes", root / "tissue_volumes.tsv")
    write_table(table[["participant_id", "months", "diagnosis"]], root / "visits.tsv")
    return root


def grid_affine() -> np.ndarray:
    """Affine (4, 4) of the volumes: their grid lies around the origin."""
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    affine[:3, 3] = -SPACING * (np.array(SHAPE) - 1) / 2
    return affine


def training_codes(root: Path, classifier: Path) -> TrainingCodes:
    """Distribution of the project's codes over its training scans."""
    splits = VolumeStore(root / "volumes").index["split"]
    return TrainingCodes.measure(load_embeddings(root / "ldae.npz")[1], splits, classifier)


def bundle_settings(root: Path) -> dict:
    """Settings of a run that the application's bundle needs; the template's brain is a ball."""
    template = {"name": "Small"}
    for key in ("image", "mask"):
        path = root / f"template_{key}.nii.gz"
        nib.save(nib.Nifti1Image(brain_ball().astype(np.uint8), grid_affine()), path)
        template[key] = str(path)
    extraction = {"method": "antspynet", "weights": "nowhere/antsxnet"}
    return {
        "preprocess": {"template": template, "brain_extraction": extraction},
        "volumes": {"spacing": SPACING, "shape": list(SHAPE), "interpolation": "linear"},
        "affine": grid_affine().tolist(),
        "performance": {
            "diagnosis": {"metric": "auroc", "value": 0.8, "ci_low": 0.7, "ci_high": 0.9}
        },
        "guidance": "c_t",
        "ddim_steps": 2,
        "solver": "ddim",
        "mode": "normalised",
        "alpha": 1.5,
        "synthetic": False,
    }
