"""Asymmetry of a brain against the average one: sign of real and mirrored heads, other spaces."""

import numpy as np
import pytest

from helpers.heads import base
from ldae.preprocess._ants import ants
from ldae.preprocess.asymmetry import asymmetry, symmetric_grid
from ldae.preprocess.sides import (
    OUTSIDE,
    SHAPE,
    asymmetry_of,
    average_asymmetry,
    is_map_space,
)
from ldae.synthetic.bases import FOLDER, base_names


def registered(name: str) -> tuple[ants.ANTsImage, ants.ANTsImage]:
    """A real brain and its mask, centred and scaled to the size of MNI152; both sides alike."""
    head, brain, _ = base(name)
    with np.load(FOLDER / f"{name}.npz") as stored:
        edge = 3.0 * float(stored["scale_to_mni"]) ** (1 / 3)
    where = np.argwhere(brain)
    middle = (where.min(0) + where.max(0)) / 2 * edge
    flip = np.diag([-1.0, -1.0, 1.0])
    place = {"origin": tuple(flip @ (np.array([0, -18.5, 4.5]) - middle)), "direction": flip}
    return tuple(
        ants.from_numpy(values.astype(np.float32), spacing=(edge,) * 3, **place)
        for values in (head * brain, brain)
    )


def mirrored(image: ants.ANTsImage) -> ants.ANTsImage:
    """The image reflected at x = 0 mm: its voxels keep their values and change their places."""
    turned = image.numpy()[::-1]
    last = image.origin[0] - (image.shape[0] - 1) * image.spacing[0]
    return ants.from_numpy(
        np.ascontiguousarray(turned),
        origin=(-last, *image.origin[1:]),
        spacing=image.spacing,
        direction=image.direction,
    )


@pytest.mark.parametrize("name", base_names())
def test_asymmetry_of_a_real_brain_is_positive_and_of_its_mirror_image_negative(name):
    brain, mask = registered(name)
    right, swapped = (asymmetry(image, mask) for image in (brain, mirrored(brain)))
    assert right > 0.05
    assert swapped == pytest.approx(-right, abs=1e-4)


def test_asymmetry_of_a_symmetric_brain_is_zero():
    _, inside = average_asymmetry()
    brain = symmetric_grid().new_image_like(inside.astype(np.float32))
    assert asymmetry(brain, brain) == 0
    assert asymmetry(symmetric_grid(), brain) == 0  # nothing left of the brain


def test_asymmetry_is_absent_in_another_space_than_the_map_s():
    brain, mask = registered("colin27")
    for image in (brain, mask):
        image.set_origin((image.origin[0], image.origin[1] + 40, image.origin[2]))
    assert asymmetry(brain, mask) is None


def test_average_asymmetry_covers_the_right_side_of_the_brain():
    average, inside = average_asymmetry()
    assert inside.shape == SHAPE and np.array_equal(inside, inside[::-1])
    assert 1.5e6 < inside.sum() * 4.0**3 < 2.2e6  # mm³
    values = average[average != OUTSIDE]
    assert np.abs(values).max() == 127 and abs(values.mean()) < 10


def as_arrays(image: ants.ANTsImage) -> tuple[np.ndarray, np.ndarray]:
    """Voxels and affine (RAS) of an image."""
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(image.direction) * image.spacing
    affine[:3, 3] = image.origin
    return image.numpy(), np.diag([-1, -1, 1, 1]) @ affine


@pytest.mark.parametrize("name", base_names())
@pytest.mark.parametrize("edge", [2.0, 5.0])  # mm: finer and coarser than the map
def test_asymmetry_without_antspy_is_that_of_the_registration(name, edge):
    brain, mask = (ants.resample_image(image, (edge,) * 3) for image in registered(name))
    values, affine = as_arrays(brain)
    assert asymmetry_of(values, affine) == pytest.approx(asymmetry(brain, mask), abs=0.02)
    assert is_map_space(mask.numpy() >= 0.5, affine)
    affine[1, 3] += 40
    assert not is_map_space(mask.numpy() >= 0.5, affine)
