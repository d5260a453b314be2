"""Registration accuracy against ground truth: affines of a 1 mm head, ventricle volumes."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage as ndi
from scipy.spatial.transform import Rotation
from skimage.filters import threshold_multiotsu

from ldae.preprocess._ants import ants
from ldae.preprocess.affine import FIRST, estimate, register
from ldae.preprocess.brain_extraction import DeepBet, clean_mask
from ldae.preprocess.image_io import as_mask
from ldae.preprocess.n4 import correct_bias
from ldae.preprocess.qc_measures import affine_matrix, points_of
from ldae.preprocess.resampling import Template, at_spacing, crop_around, load_template, resample
from ldae.synthetic.bases import FOLDER, load_base
from ldae.synthetic.heads import Anatomy, apply_atrophy
from ldae.synthetic.scanner import PROTOCOLS, acquire
from ldae.synthetic.subjects import draw_cohort

pytestmark = pytest.mark.workflow
ESTIMATE = 3.0  # mm
SETTINGS = {"type": "Affine", "retry_below": 0.9}


def stored(name: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Arrays of a base and its affine (1.5 mm)."""
    with np.load(FOLDER / f"{name}.npz") as arrays:
        return dict(arrays), arrays["affine"]


def as_image(values: np.ndarray, affine: np.ndarray, path: Path) -> ants.ANTsImage:
    nib.save(nib.Nifti1Image(values.astype(np.float32), affine), path)
    return ants.image_read(str(path))


def random_affine(rng: np.random.Generator, centre: np.ndarray) -> ants.ANTsTransform:
    """An affine with a subject's usual range of pose, size and shear."""
    turn = Rotation.from_euler("xyz", rng.normal(0, 8, 3), degrees=True).as_matrix()
    stretch = np.diag(np.exp(rng.normal(0, 0.06, 3)))
    stretch[np.triu_indices(3, 1)] = rng.normal(0, 0.03, 3)
    return ants.create_ants_transform(
        "AffineTransform", matrix=turn @ stretch, translation=rng.normal(0, 12, 3), center=centre
    )


def test_registration_recovers_random_affines_of_a_head(tmp_path):
    """20 affines of a noisy, shaded 1 mm head: the mean error over its brain is below 1 mm."""
    arrays, affine = stored("myconnectome")
    brain = as_image(arrays["head"] * (arrays["brain"] > 127.0), affine, tmp_path / "brain.nii")
    brain = ants.resample_image(brain, (1.0, 1.0, 1.0), use_voxels=False, interp_type=0)
    (brain,) = crop_around(brain > 0, 30, brain)  # room to move in
    fixed, points = at_spacing(brain, ESTIMATE), points_of(brain > 0)[::5000]
    rng = np.random.default_rng(0)
    means = []
    for number in range(20):
        known = random_affine(rng, points.mean(axis=0))
        moved = known.apply_to_image(brain, brain)  # moved(x) = brain(known(x))
        shape = [np.linspace(-1, 1, n, dtype=np.float32) for n in moved.shape]
        shading = np.exp(0.15 * np.einsum("i,j,k->ijk", shape[0], shape[1], 1 + shape[2] / 2))
        noise = rng.normal(0, 3, moved.shape).astype(np.float32)
        values = np.clip(moved.numpy() * shading + noise, 0, None) * (moved.numpy() > 0)
        moving = at_spacing(moved.new_image_like(values.astype(np.float32)), ESTIMATE)
        found = affine_matrix(estimate(moving, fixed, FIRST, f"{tmp_path}/{number}"))
        there = points @ found[:3, :3].T + found[:3, 3]
        back = np.array([known.apply_to_point(tuple(point)) for point in there])
        means.append(float(np.linalg.norm(back - points, axis=1).mean()))
    assert np.mean(means) < 0.5
    assert max(means) < 1.0


def ventricle_ml(brain: ants.ANTsImage, ventricles: np.ndarray) -> float:
    """Volume of the dark voxels in and near the template's ``ventricles``, ml on the brain's grid.

    Dark: nearer to the CSF within than to the brain's middle class, grey matter.
    """
    values = brain.numpy()
    low, high = threshold_multiotsu(values[values > 0], classes=3, nbins=128)
    grey = values[(values > low) & (values < high)].mean()
    csf = np.percentile(values[ventricles & (values > 0)], 20)
    near = ndi.binary_dilation(ventricles, iterations=5)
    dark = near & (values > 0) & (values < (grey + csf) / 2)
    return float(dark.sum() * np.prod(brain.spacing) / 1000)


def prepare(
    head: ants.ANTsImage, network: DeepBet, target: Template, folder: Path
) -> tuple[ants.ANTsImage, float]:
    """Strip, N4 inside the mask, affine: brain on the target grid, native per template volume."""
    mask = as_mask(clean_mask(network.probability(head), 0.5), head)
    corrected = correct_bias(head, 8, [50, 50, 30], 1e-5, mask)
    brain = corrected.new_image_like(np.where(mask.numpy() > 0, corrected.numpy(), 0))
    brain, mask = crop_around(mask, 12, brain, mask)
    found = register(brain, mask, target, SETTINGS, folder)
    moved = resample(brain, target.grid_brain, found.transforms, "bspline", prefilter=False)
    return moved, float(np.linalg.det(affine_matrix(found.affine)[:3, :3]))


def test_preprocessing_preserves_ventricle_volumes(tmp_path):
    """Synthetic heads of 2 mm: volume on the template's grid times the determinant, r >= 0.95."""
    arrays, affine = stored("colin27")
    files = {"image": tmp_path / "head.nii", "mask": tmp_path / "mask.nii"}
    as_image(arrays["head"], affine, files["image"])
    as_image(arrays["brain"] > 127, affine, files["mask"])
    target = load_template(files, 1.5, ESTIMATE)
    label = as_image(arrays["ventricles"] > 127, affine, tmp_path / "label.nii")
    label = ants.apply_transforms(target.grid_brain, label, [], "nearestNeighbor").numpy() > 0
    network, truth, found = DeepBet(), [], []
    for subject in draw_cohort(subjects=8, visits=1, seed=5):
        rng = np.random.default_rng(subject.index)
        head = apply_atrophy(Anatomy.draw(load_base(subject.base), rng), subject.visits[0].atrophy)
        scan = acquire(head, PROTOCOLS[subject.phase], 2.0, rng)
        image = as_image(scan.array, scan.affine, tmp_path / "scan.nii")
        moved, determinant = prepare(image, network, target, tmp_path)
        truth.append(head.truth()["ventricle_ml"])
        found.append(ventricle_ml(moved, label) * determinant)
    assert np.ptp(truth) > 15  # ml: there is something to correlate
    assert np.corrcoef(truth, found)[0, 1] >= 0.95
    assert 0.75 < np.polyfit(truth, found, 1)[0] < 1.25
