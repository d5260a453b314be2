"""Picture of docs/good-run.md: one synthetic head, good and damaged on purpose, as the QC sees it.

    python docs/_site/bad_scans.py --results results

The head of a demo's run is damaged in five ways, and each goes through the run's preprocessing and
its quality control. Writes docs/images/good_and_bad_scans.webp, and prints the measures.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from ldae.application.bundle import Bundle
from ldae.application.raw_head import run_all
from ldae.errors import require
from ldae.files import atomic, read_json
from ldae.preprocess.qc_picture import TITLE

REPO = Path(__file__).parents[2]
OUT = REPO / "docs/images/good_and_bad_scans.webp"
HEAD = "sub-ADNI991S0101/ses-M000/anat/sub-ADNI991S0101_ses-M000_T1w.nii.gz"
PANEL, LABEL, QUALITY = 560, 50, 85  # pixels, pixels, of WebP's lossy compression
SHOWN = ("dice", "ncc", "brain_ml", "snr", "cnr", "residual_bias", "fov_cut", "border")
Damage = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def _cut(head: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return head[:, :, : round(head.shape[2] * 0.72)], affine


def _noise(head: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(1).normal(0, 0.2 * np.percentile(head, 99), (2, *head.shape))
    return np.hypot(head + draw[0], draw[1]), affine


def _spot(head: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    place = [0.35, 0.75, 0.55]
    grid = np.meshgrid(*(np.arange(n) / n for n in head.shape), indexing="ij")
    far = sum((axis - at) ** 2 for axis, at in zip(grid, place, strict=True))
    return head * (1 + 4 * np.exp(-far / 0.01)), affine


def _upside_down(head: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return head[:, ::-1, ::-1].copy(), affine  # the header still says where up was


def _wrong_size(head: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return head, affine @ np.diag([1.35, 1.35, 1.35, 1])


DAMAGES: dict[str, Damage] = {
    "good": lambda head, affine: (head, affine),
    "top of the head cut off": _cut,
    "noise, 20 % of the brightest tissue": _noise,
    "bright spot": _spot,
    "upside down by its header": _upside_down,
    "wrong voxel size in the header": _wrong_size,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=REPO / "results")
    results = parser.parse_args().results
    require((results / "bids" / HEAD).is_file(), f"{results} is no run of the demo: {HEAD} lacks.")
    bundle = Bundle.load(results / "models", device="cpu", threads=1)
    image = nib.load(results / "bids" / HEAD)
    head = image.get_fdata(dtype=np.float32)
    panels = []
    with tempfile.TemporaryDirectory() as name:
        for number, (what, damage) in enumerate(DAMAGES.items()):
            folder = Path(name) / str(number)
            folder.mkdir()
            values, affine = damage(head, image.affine)
            nib.save(nib.Nifti1Image(values.astype(np.float32), affine), folder / "head.nii.gz")
            panels.append(_panel(what, folder, bundle))
    rows = [panels[n : n + 2] for n in range(0, len(panels), 2)]
    wide, tall = panels[0].size
    whole = Image.new("RGB", (2 * wide + 12, len(rows) * (tall + 12) - 12), "white")
    for y, row in enumerate(rows):
        for x, panel in enumerate(row):
            whole.paste(panel, (x * (wide + 12), y * (tall + 12)))
    with atomic(OUT) as temporary:
        whole.save(temporary, format="WebP", quality=QUALITY, method=6)
    print(f"{OUT}: {OUT.stat().st_size / 1e6:.2f} MB, {whole.size}")


def _panel(what: str, folder: Path, bundle: Bundle) -> Image.Image:
    """Preprocess a head; its QC picture below what was done to it and the verdict."""
    scan = {"scan_id": "sub-1_ses-1", "participant_id": "sub-1", "session_id": "ses-1"}
    table = pd.DataFrame([scan | {"path": "head.nii.gz"}])
    made = folder / "preproc"
    settings = bundle.settings["volumes"]
    manifest = run_all(table, folder, made, bundle.preprocessing(), settings)
    status, reason = manifest.loc[0, ["status", "reason"]]
    measures = read_json(next(made.rglob("*_desc-qc.json")))
    shown = {key: float(f"{measures[key]:.3g}") for key in SHOWN if key in measures}
    print(f"{what}: {status} {reason} {shown}", flush=True)
    picture = Image.open(next(made.rglob("*_desc-qc.png"))).convert("RGB")
    picture = picture.crop((0, TITLE, picture.width, picture.height))
    picture = picture.resize((PANEL, round(picture.height * PANEL / picture.width)))
    panel = Image.new("RGB", (PANEL, picture.height + LABEL), "black")
    panel.paste(picture, (0, LABEL))
    draw = ImageDraw.Draw(panel)
    verdict = "passes" if status == "ok" else str(reason)
    draw.text((8, 5), what, fill="white", font=ImageFont.load_default(17))
    colour = (140, 230, 140) if status == "ok" else (255, 170, 120)
    draw.text((8, 28), verdict[:80], fill=colour, font=ImageFont.load_default(13))
    return panel


if __name__ == "__main__":
    main()
