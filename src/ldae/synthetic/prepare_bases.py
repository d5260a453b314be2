"""Preparation of the base heads in ``bases/`` from three public whole-head T1w images.

A maintainer runs it once; the workflow never does. ``bases/README.md`` lists the packages of the
sources and how to unpack them. It needs antspyx and deepbet, and about ten minutes of one core:

    OMP_NUM_THREADS=1 python -m ldae.synthetic.prepare_bases --sources DIR --out DIR
"""

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")
os.environ.setdefault("ANTS_RANDOM_SEED", "1")

import ants
import nibabel as nib
import numpy as np
from deepbet.bet import BrainExtraction
from scipy import linalg
from scipy import ndimage as ndi

from ldae.files import atomic

SOURCES = {
    "colin27": "mricron/usr/share/mricron/templates/ch2.nii.gz",
    "myconnectome": "pydeface-2.1.0/tests/data/ds000031_sub-01_ses-006_run-001_T1w.nii.gz",
    "pycortex-s1": "pycortex-1.4.0/filestore/db/S1/anatomicals/raw.nii.gz",
}
MNI_HEAD = "nimare/resources/templates/tpl-MNI152NLin6Asym_res-01_T1w.nii.gz"
MNI_MASK = "nimare/resources/templates/tpl-MNI152NLin6Asym_res-01_desc-brain_mask.nii.gz"
MNI_LABELS = "nibabies/data/tpl-MNI152NLin6Asym_res-01_desc-avgwmparc_dseg.nii.gz"

# FreeSurfer's label numbers
VENTRICLES = (4, 5, 43, 44)
HIPPOCAMPUS = (17, 53)
TEMPORAL = (17, 18, 53, 54, 1006, 2006, 1016, 2016)  # + amygdala, entorhinal, parahippocampal

# The standard grid: MNI axes and orientation, each head in its own size; x, y, z in mm
LOW, HIGH = np.array([-97.5, -135.0, -150.0]), np.array([97.5, 120.0, 105.0])
SPACING = 1.5


def load_ras(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Array (X, Y, Z), RAS axes, float32, and its affine (4, 4)."""
    image = nib.as_closest_canonical(nib.squeeze_image(nib.load(path)))
    return np.asanyarray(image.dataobj).astype(np.float32), image.affine


def as_ants(array: np.ndarray, affine: np.ndarray) -> ants.ANTsImage:
    """ANTs image with axis-aligned world coordinates kept as they are (RAS taken for LPS)."""
    return ants.from_numpy(
        np.ascontiguousarray(array, dtype=np.float32),
        origin=tuple(affine[:3, 3]),
        spacing=tuple(np.diag(affine)[:3]),
    )


def standard_grid(spacing: float) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and affine of the standard grid at ``spacing`` mm."""
    shape = tuple(int(n) for n in np.round((HIGH - LOW) / spacing))
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = LOW + spacing / 2
    return shape, affine


def resample(array, affine, to_standard, spacing, order) -> np.ndarray:
    """Sample ``array`` on the standard grid; ``to_standard`` maps its world to the standard's."""
    shape, grid = standard_grid(spacing)
    matrix = np.linalg.inv(affine) @ np.linalg.inv(to_standard) @ grid
    return ndi.affine_transform(array, matrix[:3, :3], matrix[:3, 3], shape, order=order)


def affine_to_mni(brain, affine, mni_brain, mni_affine, folder) -> np.ndarray:
    """4 x 4 affine from a brain's world to MNI's, estimated at 2 mm."""
    fixed = ants.resample_image(as_ants(brain, affine), (2, 2, 2), False, 0)
    moving = ants.resample_image(as_ants(mni_brain, mni_affine), (2, 2, 2), False, 0)
    found = ants.registration(fixed, moving, "Affine", outprefix=f"{folder}/affine_")
    transform = ants.read_transform(found["fwdtransforms"][0])
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(transform.parameters[:9], (3, 3))
    centre = transform.fixed_parameters
    matrix[:3, 3] = transform.parameters[9:] + centre - matrix[:3, :3] @ centre
    return matrix


def rigid_part(matrix: np.ndarray, centre_mni: np.ndarray) -> np.ndarray:
    """Nearest rigid transform that agrees with ``matrix`` at one point of MNI space."""
    rotation, _ = linalg.polar(matrix[:3, :3])
    centre = np.linalg.solve(matrix[:3, :3], centre_mni - matrix[:3, 3])
    rigid = np.eye(4)
    rigid[:3, :3] = rotation
    rigid[:3, 3] = centre_mni - rotation @ centre
    return rigid


def refine_ventricles(head, ventricles, hippocampus, brain, labels) -> np.ndarray:
    """Atlas ventricles, corrected by intensity: dark voxels within 3 mm of them (1 mm grid)."""
    dark = np.percentile(head[ndi.binary_erosion(ventricles)], 30)
    grey = np.median(head[(labels >= 1000) & (labels < 3000) & brain])
    near = ndi.binary_dilation(ventricles, iterations=3)
    candidate = near & (head < (dark + grey) / 2) & brain & ~hippocampus
    parts, count = ndi.label(candidate)
    overlap = np.bincount(parts[ventricles & candidate], minlength=count + 1)
    kept = np.flatnonzero(overlap > 50)
    return np.isin(parts, kept[kept > 0])


def prepare(name: str, sources: Path, out: Path) -> None:
    """Write ``out/<name>.npz``: see ``bases/README.md`` for its arrays."""
    mni, mni_affine = load_ras(sources / MNI_HEAD)
    mni_mask = load_ras(sources / MNI_MASK)[0] > 0
    mni_labels, labels_affine = load_ras(sources / MNI_LABELS)
    head, affine = load_ras(sources / SOURCES[name])
    mask = BrainExtraction(no_gpu=True).run(nib.Nifti1Image(head, affine))[1]
    brain = np.asanyarray(mask.dataobj) > 0
    wide = ndi.binary_dilation(brain, iterations=12)
    head = ants.n4_bias_field_correction(
        as_ants(head, affine),
        mask=as_ants(wide, affine),
        shrink_factor=4,
        convergence={"iters": [50, 50, 30], "tol": 1e-5},
    ).numpy()
    head = np.clip(head / np.percentile(head[brain], 95), 0, 2.5)

    with tempfile.TemporaryDirectory() as folder:
        to_mni = affine_to_mni(head * brain, affine, mni * mni_mask, mni_affine, folder)
        centre = mni_affine[:3, :3] @ ndi.center_of_mass(mni_mask) + mni_affine[:3, 3]
        rigid = rigid_part(to_mni, centre)
        fine = resample(head, affine, rigid, 1.0, 3)
        fine_brain = resample(brain.astype(np.float32), affine, rigid, 1.0, 1) > 0.5
        fine_affine = standard_grid(1.0)[1]
        fixed = ants.resample_image(as_ants(fine * fine_brain, fine_affine), (SPACING,) * 3, False)
        moving = ants.resample_image(as_ants(mni * mni_mask, mni_affine), (SPACING,) * 3, False)
        found = ants.registration(
            fixed, moving, "SyN", outprefix=f"{folder}/syn_", reg_iterations=(60, 40, 20)
        )
        labels = ants.apply_transforms(
            as_ants(fine, fine_affine),
            as_ants(mni_labels, labels_affine),
            found["fwdtransforms"],
            interpolator="nearestNeighbor",
        ).numpy()

    hippocampus = np.isin(labels, HIPPOCAMPUS)
    atlas = np.isin(labels, VENTRICLES)
    ventricles = refine_ventricles(fine, atlas, hippocampus, fine_brain, labels)
    air = fine < 0.06
    outside = air & ~ndi.binary_fill_holes(ndi.binary_opening(~air, iterations=2))
    outside = ndi.binary_erosion(outside, iterations=2, border_value=1)

    arrays = {"head": np.round(np.clip(resample(head, affine, rigid, SPACING, 3), 0, 2.5) * 100)}
    masks = {
        "brain": fine_brain,
        "ventricles": ventricles,
        "hippocampus": hippocampus,
        "temporal": np.isin(labels, TEMPORAL),
        "air": outside,
    }
    for key, mask in masks.items():
        soft = ndi.gaussian_filter(mask.astype(np.float32), 0.5)
        arrays[key] = np.round(resample(soft, fine_affine, np.eye(4), SPACING, 1) * 255)
    air_fraction = arrays.pop("air") / 255
    arrays["head"] *= 1 - air_fraction
    arrays = {key: np.round(value).astype(np.uint8) for key, value in arrays.items()}
    csf = np.percentile(fine[ndi.binary_erosion(ventricles)], 30)
    grey = np.median(fine[(labels >= 1000) & (labels < 3000) & fine_brain])
    with atomic(out / f"{name}.npz") as temporary:
        np.savez_compressed(
            temporary,
            **arrays,
            affine=standard_grid(SPACING)[1],
            scale_to_mni=np.linalg.det(to_mni[:3, :3]),
            tissue=np.array([csf, grey]),
        )
    print(
        f"{name}: ventricles {atlas.sum() / 1e3:.1f} ml by atlas, {ventricles.sum() / 1e3:.1f} "
        f"refined; hippocampus {hippocampus.sum() / 1e3:.1f}, brain {fine_brain.sum() / 1e3:.0f}; "
        f"scale to MNI {np.linalg.det(to_mni[:3, :3]):.3f}; CSF {csf:.2f}, grey {grey:.2f}",
        flush=True,
    )


def graft_neck(path: Path, donor: Path) -> None:
    """Graft face and neck of ``donor`` onto a head that ends below the brain; changes ``path``.

    The donor is registered to the head above the cut, matched in intensity just above it, and
    blended in over 14 mm.
    """
    with np.load(path) as stored:
        arrays = {key: stored[key] for key in stored.files}
    with np.load(donor) as stored:
        other = stored["head"].astype(np.float32)
    head = arrays["head"].astype(np.float32)
    columns = head.any(axis=2)
    cut = int(np.median((head > 0).argmax(axis=2)[columns]))
    above = np.zeros_like(head)
    above[:, :, cut + 3 :] = 1
    grid = np.diag([SPACING] * 3 + [1.0])
    fixed = as_ants(np.minimum(head, 130), grid)
    with tempfile.TemporaryDirectory() as folder:
        found = ants.registration(
            fixed,
            as_ants(np.minimum(other, 130), grid),
            "SyN",
            mask=as_ants(above, grid),
            outprefix=f"{folder}/neck_",
            reg_iterations=(40, 30, 10),
        )
        warped = ants.apply_transforms(
            fixed, as_ants(other, grid), found["fwdtransforms"], interpolator="linear"
        ).numpy()
    band = np.s_[:, :, cut + 3 : cut + 14]
    common = (head[band] > 15) & (warped[band] > 15) & (head[band] < 200)
    percent = np.linspace(1, 99, 25)
    known, wanted = (np.percentile(array[band][common], percent) for array in (warped, head))
    matched = np.interp(warped, [0, *known, 255], [0, *wanted, 255])
    weight = np.clip((np.arange(head.shape[2]) - cut - 2) / 9, 0, 1)
    weight = weight**2 * (3 - 2 * weight)
    arrays["head"] = np.round(weight * head + (1 - weight) * matched).astype(np.uint8)
    with atomic(path) as temporary:
        np.savez_compressed(temporary, **arrays)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Prepare the base heads (one-off).")
    parser.add_argument("--sources", type=Path, required=True, help="folder of unpacked packages")
    parser.add_argument("--out", type=Path, required=True, help="the package's bases/ folder")
    arguments = parser.parse_args()
    for name in SOURCES:
        prepare(name, arguments.sources, arguments.out)
    graft_neck(arguments.out / "colin27.npz", arguments.out / "myconnectome.npz")


if __name__ == "__main__":
    main()
