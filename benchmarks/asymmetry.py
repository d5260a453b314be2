"""Error rate of the QC measure `asymmetry`, and the map of average asymmetry that it needs.

    python benchmarks/asymmetry.py --nimare DIR             # write the map again
    python benchmarks/asymmetry.py --subjects 60            # error rate, about 5 minutes

The map: MNI152NLin6Asym at 2 mm, the average of 152 brains that keeps their asymmetry, from the
Python package nimare 0.22.1, unpacked into DIR (licence of the package: MIT; the template's own is
to be confirmed before redistribution elsewhere). It is registered to the symmetric template, as
scans are; its right minus its mirrored left is kept.

The rate: the three real heads of ldae/synthetic/bases, and subjects deformed from them, whose sides
are exchanged at random. Each is measured as it is and mirrored: a brain as it is with a negative
value, or a mirrored one with a positive value, is an error. Subjects of one base are no
independent brains.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from ldae.files import atomic
from ldae.preprocess._ants import ants
from ldae.preprocess.affine import register
from ldae.preprocess.asymmetry import asymmetry, on_symmetric_grid, symmetric_grid
from ldae.preprocess.resampling import MARGIN, Template, crop_around, load_template, resample
from ldae.preprocess.sides import MAP, OUTSIDE, SHAPE, local_asymmetry
from ldae.synthetic.bases import FOLDER, base_names
from ldae.synthetic.preprocessed import make_preprocessed

ROOT = Path(__file__).parents[1]
SPACING = 2.0  # mm of the target grid
NLIN6 = "nimare/resources/templates/tpl-MNI152NLin6Asym_res-02_{}.nii.gz"


def registered(brain: ants.ANTsImage, mask: ants.ANTsImage, template: Template) -> ants.ANTsImage:
    """A brain on the template's grid, by the affine of the workflow."""
    brain, mask = crop_around(mask, MARGIN, brain * mask, mask)
    with tempfile.TemporaryDirectory() as folder:
        found = register(brain, mask, template, {"type": "Affine", "retry_below": 0.92}, folder)
        return resample(brain, template.grid_brain, found.transforms, "bspline", False)


def mirrored(image: ants.ANTsImage) -> ants.ANTsImage:
    """The image with its first axis turned round: left and right of a head are swapped."""
    return image.new_image_like(np.ascontiguousarray(image.numpy()[::-1]))


def write_map(folder: Path, template: Template) -> None:
    """Write the map of average asymmetry from nimare's copy of MNI152NLin6Asym."""
    brain, mask = (
        ants.image_read(str(folder / NLIN6.format(name))) for name in ("T1w", "desc-brain_mask")
    )
    whole = template.grid_mask.clone("float")
    inside = resample(whole, symmetric_grid(), [], "linear", True).numpy() >= 0.5
    inside &= inside[::-1]
    average = local_asymmetry(on_symmetric_grid(registered(brain, mask, template)), inside)
    right = inside[SHAPE[0] // 2 :]
    values = np.where(right, np.round(127 * average / np.abs(average).max()), OUTSIDE)
    with atomic(MAP) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, right_minus_left=values.astype(np.int8))
    print(f"{MAP}: {MAP.stat().st_size} bytes")


def real_heads() -> Iterator[tuple[str, ants.ANTsImage, ants.ANTsImage]]:
    """Name, head and brain mask of the base heads, 1.5 mm."""
    for name in base_names():
        with np.load(FOLDER / f"{name}.npz") as stored:
            head, brain, affine = (stored[key] for key in ("head", "brain", "affine"))
        flip = np.diag([-1.0, -1.0, 1.0])
        place = {
            "origin": tuple(flip @ affine[:3, 3]),
            "spacing": tuple(np.diag(affine)[:3]),
            "direction": flip,
        }
        yield (
            name,
            ants.from_numpy(head.astype(np.float32), **place),
            ants.from_numpy((brain > 127).astype(np.float32), **place),
        )


def synthetic_brains(subjects: int, folder: Path) -> pd.DataFrame:
    """Base, whether it was flipped, and the measure of one scan of each synthetic subject."""
    out = make_preprocessed(folder / "cohort", subjects, 2, 3.0, 7, "MNI152NLin2009aSym", jobs=2)
    truth = pd.read_csv(out / "truth.tsv", sep="\t").drop_duplicates("participant_id")
    rows = []
    for row in truth.itertuples():
        scan = next((out / "scans" / row.participant_id / row.session_id).glob("anat/*T1w.nii.gz"))
        mask = ants.image_read(str(scan).replace("_T1w", "_mask"))
        brain = ants.image_read(str(scan)) * mask
        values = [asymmetry(image, mask) for image in (brain, mirrored(brain))]
        swapped = row.base.endswith("-flipped")
        rows.append((row.base.removesuffix("-flipped"), *(values[::-1] if swapped else values)))
    return pd.DataFrame(rows, columns=["base", "right", "swapped"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nimare", type=Path, help="folder with nimare 0.22.1: write the map")
    parser.add_argument("--subjects", type=int, default=60, help="synthetic ones")
    parser.add_argument("--template", type=Path, default=ROOT, help="folder of resources/template")
    arguments = parser.parse_args()
    demo = yaml.safe_load((ROOT / "config/demo.yaml").read_text())["preprocess"]["template"]
    paths = {key: str(arguments.template / demo[key]) for key in ("image", "mask")}
    template = load_template(paths, SPACING, SPACING)
    if arguments.nimare:
        write_map(arguments.nimare, template)
    else:
        real = []
        for name, head, mask in real_heads():
            both = (head, mask), (mirrored(head), mirrored(mask))
            moved = [registered(*pair, template) for pair in both]
            real.append((name, *(asymmetry(image, template.grid_mask) for image in moved)))
        tables = {
            "real": pd.DataFrame(real, columns=["base", "right", "swapped"]),
            "synthetic": None,
        }
        with tempfile.TemporaryDirectory() as scratch:
            tables["synthetic"] = synthetic_brains(arguments.subjects, Path(scratch))
        for kind, table in tables.items():
            for name, rows in [*table.groupby("base"), ("all", table)]:
                wrong = (rows["right"] <= 0).sum() + (rows["swapped"] >= 0).sum()
                print(
                    f"{kind:<10}{name:<14}{len(rows):>4} brains, as they are "
                    f"{rows['right'].min():+.2f} to {rows['right'].max():+.2f} (median "
                    f"{rows['right'].median():+.2f}), mirrored {rows['swapped'].min():+.2f} to "
                    f"{rows['swapped'].max():+.2f}: {wrong} of {2 * len(rows)} wrong"
                )
