"""Preprocessing of one head: seconds per step, residual bias, and registration error.

    OMP_NUM_THREADS=1 PYTHONPATH=src python benchmarks/preprocess.py

A synthetic head (1 mm by default, see --spacing) with a known bias field goes through the
real steps with three settings; each works on one thread, so two scans run side by side on two
cores. What a shard does once (imports, weights, template) is measured separately. On a shared
machine only CPU seconds and their ratios are meaningful.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import yaml
from scipy import ndimage as ndi
from scipy.spatial.transform import Rotation

from ldae.data.volume_transform import StoreTransform
from ldae.derivatives import ScanFiles, scan_files
from ldae.preprocess._ants import ants
from ldae.preprocess.affine import FIRST, estimate
from ldae.preprocess.brain_extraction import run_brain_extraction
from ldae.preprocess.n4 import run_n4
from ldae.preprocess.qc_measures import affine_matrix, points_of
from ldae.preprocess.registration import run_registration
from ldae.preprocess.resampling import at_spacing, crop_around
from ldae.synthetic.bases import load_base
from ldae.synthetic.heads import Anatomy, Atrophy, apply_atrophy
from ldae.synthetic.scanner import PROTOCOLS, acquire

ROOT = Path(__file__).parents[1]
FAST = {"shrink_factor": 8, "iterations": [50, 50, 50], "tolerance": 1e-5, "mask": "none"}
SETTINGS: dict[str, dict[str, Any]] = {  # N4's settings and the estimate's spacing, mm
    "paper": {"n4": None, "estimate": 2.0},
    "fast": {"n4": FAST, "estimate": 3.0},
    "brain first": {
        "n4": {**FAST, "iterations": [50, 50, 30], "mask": "brain"},
        "estimate": 3.0,
    },
}


def make_head(folder: Path, spacing: float) -> tuple[pd.DataFrame, np.ndarray]:
    """Write one scan below ``folder``; returns its scan table and the same scan without bias."""
    head = apply_atrophy(
        Anatomy.draw(load_base("myconnectome"), np.random.default_rng(0)), Atrophy(30.0, 7.0, 1.0)
    )
    protocol = PROTOCOLS["ADNI3"]
    scan = acquire(head, protocol, spacing, np.random.default_rng(1))
    flat = acquire(head, replace(protocol, bias=0.0), spacing, np.random.default_rng(1))
    path = "sub-A/ses-M000/anat/sub-A_ses-M000_T1w.nii.gz"
    (folder / path).parent.mkdir(parents=True)
    nib.save(nib.Nifti1Image(scan.array.astype(np.int16), scan.affine), folder / path)
    row = {"scan_id": "sub-A_ses-M000", "participant_id": "sub-A", "session_id": "ses-M000"}
    return pd.DataFrame([{**row, "path": path}]), flat.array.astype(np.float32)


def timed(call: Callable[[], Any]) -> np.ndarray:
    """CPU and wall seconds of a call."""
    cpu, wall = time.process_time(), time.perf_counter()
    call()
    return np.array([time.process_time() - cpu, time.perf_counter() - wall])


def run_steps(
    scans: pd.DataFrame, bids: Path, out: Path, cfg: dict[str, Any], volumes: dict[str, Any]
) -> dict[str, np.ndarray]:
    """Seconds (CPU, wall) of each step over ``scans``, which may be none."""
    n4, brain, last = (out / f"{name}/shard-0.tsv" for name in ("n4", "brain", "registration"))
    common = scans, bids, out
    first = cfg["n4"]["mask"] == "brain"
    steps = {
        "n4": lambda: run_n4(*common, n4, cfg, brain if first else None),
        "brain extraction": lambda: run_brain_extraction(
            *common, brain, cfg, None if first else n4
        ),
    }
    order = reversed(steps) if first else iter(steps)
    seconds = {name: timed(steps[name]) for name in list(order)}
    seconds["affine"] = timed(
        lambda: run_registration(scans, out, last, cfg, volumes, n4 if first else brain)
    )

    def store() -> None:
        transform = StoreTransform(volumes["spacing"], volumes["shape"], volumes["interpolation"])
        for files in scan_files(scans, out, cfg["template"]["name"]):
            transform(files.registered_brain)

    seconds["store"] = timed(store)
    return seconds


def residual_bias(files: ScanFiles, flat: np.ndarray) -> float:
    """SD over the brain of the log of corrected head over the head without bias."""
    mask = nib.load(files.mask).get_fdata() > 0
    inside = ndi.binary_erosion(mask, iterations=3)
    corrected = nib.load(files.n4).get_fdata(dtype=np.float32)
    smooth = [ndi.uniform_filter(image, 7)[inside] for image in (corrected, flat)]
    return float(np.log(smooth[0] / smooth[1]).std())


def table_of_steps(folder: Path, spacing: float) -> None:
    """Print seconds per step for each of ``SETTINGS``."""
    base = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    demo = yaml.safe_load((ROOT / "config/demo.yaml").read_text())["preprocess"]["template"]
    template = {key: str(ROOT / value) if "/" in value else value for key, value in demo.items()}
    scans, flat = make_head(folder / "bids", spacing)
    totals = {}
    for name, choice in SETTINGS.items():
        own = base["preprocess"]
        cfg = {
            **own,
            "template": template,
            "n4": choice["n4"] or own["n4"],
            "brain_extraction": {**own["brain_extraction"], "method": "deepbet"},
            "registration": {**own["registration"], "estimate_spacing": choice["estimate"]},
        }
        out = folder / name.replace(" ", "-")
        common = folder / "bids", out, cfg, base["volumes"]
        run_steps(scans[:0], *common)  # imports
        once = run_steps(scans[:0], *common)
        both = run_steps(scans, *common)
        (files,) = scan_files(scans, out, template["name"])
        print(f"\n{name}: N4 {cfg['n4']}, estimate {choice['estimate']} mm")
        print(f"  {'step':<18}{'CPU s':>8}{'wall s':>8}{'once a shard, CPU s':>22}")
        for step in both:
            cpu, wall = both[step] - once[step]
            print(f"  {step:<18}{cpu:>8.1f}{wall:>8.1f}{once[step][0]:>22.1f}")
        totals[name] = sum((both[step] - once[step] for step in both), np.zeros(2))
        cpu, wall = totals[name]
        print(f"  {'all':<18}{cpu:>8.1f}{wall:>8.1f}   bias left {residual_bias(files, flat):.3f}")
        size = sum(path.stat().st_size for path in files.folder.iterdir()) / 1e6
        print(f"  written {size:.0f} MB; {measures_line(files)}")
    print("\nCPU seconds relative to the paper's settings:", end=" ")
    print(", ".join(f"{name} {all_[0] / totals['paper'][0]:.2f}" for name, all_ in totals.items()))


def measures_line(files: ScanFiles) -> str:
    """The quality measures of a scan, on one line."""
    return files.measures.read_text().split('"attempts"')[0].replace("\n ", "").strip(" {,")


def table_of_errors(folder: Path, spacings: list[float]) -> None:
    """Print the error of the estimate against a known affine, for a noisy 1 mm brain."""
    base = load_base("myconnectome")
    affine = np.diag([base.grid.step] * 3 + [1.0])
    affine[:3, 3] = base.grid.origin
    inside = ndi.binary_fill_holes(base.labels[-1].numpy() > 0.5)
    nib.save(nib.Nifti1Image(base.head[0].numpy() * 100, affine), folder / "head.nii")
    label = np.diag([base.label_grid.step] * 3 + [1.0])
    label[:3, 3] = base.label_grid.origin
    nib.save(nib.Nifti1Image(inside.astype(np.float32), label), folder / "mask.nii")
    head, mask = (ants.image_read(str(folder / name)) for name in ("head.nii", "mask.nii"))
    head = ants.resample_image(head, (1.0, 1.0, 1.0), use_voxels=False, interp_type=0)
    mask = ants.apply_transforms(head, mask, [], "linear") >= 0.5
    brain = head * mask
    points = points_of(mask)[::200]
    known = ants.create_ants_transform(
        "AffineTransform",
        matrix=Rotation.from_euler("xyz", (8, -5, 10), degrees=True).as_matrix() * 1.08,
        translation=(6.0, -10.0, 8.0),
        center=points.mean(axis=0),
    )
    moved = known.apply_to_image(brain, brain)
    noise = np.random.default_rng(0).normal(0, 4, moved.shape)
    values = np.clip(moved.numpy() + noise, 0, None) * (moved.numpy() > 0)
    moved = moved.new_image_like(values.astype(np.float32))
    (moved,) = crop_around(moved > 0, 12, moved)
    print("\nerror of the estimate against a known affine, 1 mm brain with noise")
    print(f"  {'estimate at':<14}{'CPU s':>8}{'mean mm':>10}{'max mm':>10}")
    for spacing in spacings:
        cpu = time.process_time()
        fixed = at_spacing(brain, spacing)
        found = estimate(at_spacing(moved, spacing), fixed, FIRST, f"{folder}/{spacing}")
        cpu = time.process_time() - cpu
        matrix = affine_matrix(found)
        there = points @ matrix[:3, :3].T + matrix[:3, 3]
        back = np.array([known.apply_to_point(tuple(point)) for point in there])
        error = np.linalg.norm(back - points, axis=1)
        print(f"  {f'{spacing:g} mm':<14}{cpu:>8.1f}{error.mean():>10.2f}{error.max():>10.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spacing", type=float, default=1.0, help="mm of the head")
    parser.add_argument("--estimates", type=float, nargs="+", default=[1.0, 2.0, 3.0, 4.0])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        table_of_steps(Path(scratch), arguments.spacing)
        table_of_errors(Path(scratch), arguments.estimates)
