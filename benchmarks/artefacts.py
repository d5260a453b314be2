"""Detection by the QC bounds of movement and ghosts, by strength.

    pip install --target TORCHIO torchio==0.20.1    # not part of the environment
    OMP_NUM_THREADS=1 PYTHONPATH=src:TORCHIO python benchmarks/artefacts.py

Synthetic scans of the three base heads (2 mm, with noise and coil field) get TorchIO's RandomMotion
and RandomGhosting of rising strength, and go through the real steps: N4 (as in the demo), brain
extraction by deepbet, affine registration, measures, the bounds of config/config.yaml. A scan
counts as found if it is outside a bound or fails a step. Strength 0 counts false alarms.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import torch
import torchio
import yaml

from ldae.derivatives import QC, lost_scans, read_manifests, scan_files
from ldae.files import read_json
from ldae.preprocess.brain_extraction import run_brain_extraction
from ldae.preprocess.n4 import run_n4
from ldae.preprocess.registration import run_registration
from ldae.synthetic.bases import base_names, load_base
from ldae.synthetic.heads import Anatomy, Atrophy, apply_atrophy
from ldae.synthetic.scanner import PROTOCOLS, acquire

ROOT = Path(__file__).parents[1]
MOTION = (2.0, 5.0, 10.0)  # degrees, and mm, of each of two movements, up to
GHOSTS = (0.25, 0.5, 1.0, 2.0)  # of the intensity of the lines of k-space that are changed
SHOWN = ("ncc", "dice", "snr", "cnr", "residual_bias")
TEMPLATE_NAME = "MNI152NLin2009aSym"


def artefacts() -> dict[tuple[str, float], Callable | None]:
    """TorchIO's transform by kind and strength; None: the scan as it is."""
    found: dict[tuple[str, float], Callable | None] = {("none", 0.0): None}
    for size in MOTION:
        limits = (-size, size)
        found["motion", size] = torchio.RandomMotion(limits, limits, num_transforms=2)
    for size in GHOSTS:
        found["ghosting", size] = torchio.RandomGhosting((4, 8), intensity=(size, size))
    return found


def write_scans(bids: Path, spacing: float, draws: int) -> pd.DataFrame:
    """Write the scans of all bases, artefacts and draws; returns their table with both."""
    rows = []
    for number, name in enumerate(base_names()):
        rng = np.random.default_rng(number)
        head = apply_atrophy(Anatomy.draw(load_base(name), rng), Atrophy(30.0, 7.0, 1.0))
        for draw in range(draws):
            scan = acquire(head, PROTOCOLS["ADNI3"], spacing, np.random.default_rng([number, draw]))
            clean = torchio.ScalarImage(
                tensor=torch.from_numpy(scan.array.astype(np.float32))[None], affine=scan.affine
            )
            for place, ((kind, size), transform) in enumerate(artefacts().items()):
                torch.manual_seed(1000 * number + 10 * draw + place)
                damaged = transform(clean) if transform else clean
                values = np.clip(damaged.numpy()[0], 0, 32767).astype(np.int16)
                subject = f"sub-{number}{draw}{place}"
                scan_id = f"{subject}_ses-M000"
                path = f"{subject}/ses-M000/anat/{scan_id}_T1w.nii.gz"
                (bids / path).parent.mkdir(parents=True)
                nib.save(nib.Nifti1Image(values, scan.affine), bids / path)
                rows.append((scan_id, subject, "ses-M000", path, kind, size))
    columns = ["scan_id", "participant_id", "session_id", "path", "kind", "strength"]
    return pd.DataFrame(rows, columns=columns)


def judged(scans: pd.DataFrame, folder: Path, cfg: dict, spacing: float) -> pd.DataFrame:
    """The scans with the step and reason of those that are lost, and their measures."""
    out = folder / "preproc"
    paths = {step: out / f"{step}/shard-0.tsv" for step in ("n4", "brain", "registration")}
    common = scans, folder / "bids", out
    run_n4(*common, paths["n4"], cfg)
    run_brain_extraction(*common, paths["brain"], cfg, paths["n4"])
    volumes = {"spacing": spacing, "interpolation": "bspline", "antialias": False}
    run_registration(scans, out, paths["registration"], cfg, volumes, paths["brain"])
    lost = lost_scans(read_manifests({step: [path] for step, path in paths.items()}))
    measures = [
        read_json(files.measures) if files.measures.is_file() else {}
        for files in scan_files(scans, out, TEMPLATE_NAME)
    ]
    table = pd.concat([scans, pd.DataFrame(measures, columns=list(SHOWN))], axis=1)
    return table.merge(lost, on="scan_id", how="left")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spacing", type=float, default=2.0, help="mm, of heads and target grid")
    parser.add_argument("--draws", type=int, default=1, help="scans of a head with each strength")
    parser.add_argument("--template", type=Path, default=ROOT, help="folder of resources/template")
    arguments = parser.parse_args()
    paper, demo = (
        yaml.safe_load((ROOT / f"config/{name}.yaml").read_text())["preprocess"]
        for name in ("config", "demo")
    )
    template = {
        key: str(arguments.template / value) if "/" in value else value
        for key, value in demo["template"].items()
    }
    cfg = {
        "template": template,
        "n4": {**paper["n4"], **demo["n4"]},
        "brain_extraction": {**paper["brain_extraction"], "method": "deepbet"},
        "registration": {**paper["registration"], **demo["registration"]},
        "qc": paper["qc"],
    }
    with tempfile.TemporaryDirectory() as scratch:
        scans = write_scans(Path(scratch) / "bids", arguments.spacing, arguments.draws)
        table = judged(scans, Path(scratch), cfg, arguments.spacing)
    for (kind, strength), rows in table.groupby(["kind", "strength"], sort=False):
        reasons = rows["reason"].dropna().str.split().str[:2].str.join(" ").unique()
        medians = ", ".join(f"{key} {rows[key].median():.3g}" for key in SHOWN)
        print(
            f"{kind:<9}{strength:>5g}  found {rows['step'].notna().sum()} of {len(rows)}, of them "
            f"by a bound {(rows['step'] == QC).sum()}  ({medians})  {'; '.join(reasons)}"
        )
