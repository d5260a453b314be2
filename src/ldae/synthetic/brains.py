"""Brains in template space as an affine registration leaves them: varied anatomy, imperfect pose.

A person's brain is a base head, in half of the people with left and right exchanged. It is brought
to the template's size, bent by smooth random deformations of three wavelengths and moved a little.
On purpose, the residual pose, size and shape exceed the effect of a disease's atrophy.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from scipy import ndimage as ndi
from scipy.spatial.transform import Rotation

from ldae.synthetic.bases import Base, load_base
from ldae.synthetic.fields import Grid, exponentiate, random_velocity
from ldae.synthetic.heads import Anatomy, Atrophy, Head, base_points
from ldae.synthetic.heads import apply_atrophy as apply_to_anatomy
from ldae.synthetic.population import Person, PersonVisit
from ldae.synthetic.subjects import subject_generator

TEMPLATE_CENTRE = np.array([0.0, -22.0, 9.5])  # mm; of the brain of ICBM 2009 symmetric
FIELD = np.array([(-90.0, 90.0), (-126.0, 90.0), (-84.0, 100.0)])  # mm RAS; holds every brain
SHAPE_STEP = 7.0  # mm; lattice of the random shape
SHAPE = ((64.0, 2.5), (34.0, 2.1), (19.0, 1.4))  # mm: wavelength and SD of each deformation
# SDs of the pose that the affine registration leaves, of a person and of a scan: rotation
# (degrees), logarithm of the size, shear, translation (mm).
OF_PERSON = (2.2, 0.025, 0.025, 1.8)
OF_SCAN = (0.8, 0.006, 0.004, 0.7)
TOLERANCE = 0.015  # relative; of the volumes asked for (the truth records the volumes reached)
TEXTURE = (14.0, 0.035)  # mm, SD: each person's own unevenness of the tissue's signal


@dataclass(frozen=True, eq=False)
class Brain:
    """A person's anatomy in template space, the same at every visit.

    Attributes:
        flipped: Left and right of the base are exchanged.
        texture: (1, x, y, z) relative unevenness of the tissue's signal, on ``texture_grid``.
    """

    anatomy: Anatomy
    flipped: bool
    texture: torch.Tensor
    texture_grid: Grid

    @property
    def base(self) -> Base:
        """The base head that the brain deforms."""
        return self.anatomy.base

    def points(self, head: Head, affine: np.ndarray, shape, pose: np.ndarray) -> torch.Tensor:
        """Base coordinates of each voxel of a grid in template space, (N, 3) mm."""
        if self.flipped:
            affine = np.diag([-1.0, 1, 1, 1]) @ affine
        return base_points(head, affine, shape, pose)


def residual(rng: np.random.Generator, degrees: float, size: float, shear: float) -> np.ndarray:
    """(3, 3): a random rotation, scaling and shear of these SDs."""
    tilt = Rotation.from_euler("xyz", rng.normal(0, degrees, 3), degrees=True).as_matrix()
    skew = np.eye(3)
    skew[np.triu_indices(3, 1)] = rng.normal(0, shear, 3)
    return tilt @ np.diag(np.exp(rng.normal(0, size, 3))) @ skew


def draw_brain(person: Person, seed: int, variation: float = 1.0) -> Brain:
    """The brain of a person of the population ``seed``; ``variation`` scales shape and size."""
    rng = subject_generator(seed, person.index, 1)
    base = load_base(person.base)
    extent = (np.array(base.grid.shape) - 1) * base.grid.step
    nodes = tuple(int(n) for n in np.ceil(extent / SHAPE_STEP) + 1)
    grid = Grid(base.grid.origin, SHAPE_STEP, nodes)
    velocity = sum(random_velocity(grid, rng, wave, sd * variation) for wave, sd in SHAPE)
    displacement = exponentiate(velocity, grid, squarings=5)
    spread = [sd * variation for sd in OF_PERSON[:3]]
    linear = base.scale_to_mni ** (1 / 3) * residual(rng, *spread)
    texture = random_velocity(grid, rng, TEXTURE[0], TEXTURE[1] * variation)[:1]
    brain = Brain(Anatomy(base, linear, displacement, grid), person.flipped, texture, grid)
    # every later calibration starts from this result, so none depends on the order of the visits
    apply_to_anatomy(brain.anatomy, person.visits[0].atrophy, TOLERANCE)
    return brain


def draw_pose(person: Person, visit: PersonVisit, seed: int, variation: float = 1.0) -> np.ndarray:
    """(4, 4) motion from the head (origin at the brain's centre) to template space, mm.

    ``variation`` scales the deviations of the person and of the scan.
    """
    pose = np.eye(4)
    of_person, of_scan = (
        subject_generator(seed, person.index, 2),
        subject_generator(seed, person.index, 3, visit.number),
    )
    pose[:3, :3] = residual(of_scan, *(sd * variation for sd in OF_SCAN[:3]))
    of_both = [
        rng.normal(0, sd * variation, 3)
        for rng, sd in ((of_person, OF_PERSON[3]), (of_scan, OF_SCAN[3]))
    ]
    pose[:3, 3] = TEMPLATE_CENTRE + of_both[0] + of_both[1]
    return pose


def visible_volumes(head: Head, pose: np.ndarray) -> dict[str, float]:
    """Volumes in template space, ml: ventricles, hippocampi, brain tissue, intracranial space."""
    size = head.anatomy.size * float(np.linalg.det(pose[:3, :3]))
    names = {"ventricle_ml": "ventricles", "hippocampus_ml": "hippocampus"}
    names |= {"brain_ml": "tissue", "intracranial_ml": "brain"}
    return {ours: head.volumes[label] * size for ours, label in names.items()}


def apply_atrophy(brain: Brain, atrophy: Atrophy) -> Head:
    """Deform the brain to an atrophy (volumes at the reference size, to ``TOLERANCE``).

    The start of later calibrations stays as it was.

    Raises:
        UserError: the volumes cannot be reached from this base.
    """
    start = brain.anatomy.start
    head = apply_to_anatomy(brain.anatomy, atrophy, TOLERANCE)
    brain.anatomy.start = start
    return head


@lru_cache(maxsize=4)
def skull_distance(name: str) -> tuple[torch.Tensor, Grid]:
    """Distance (1, X, Y, Z), mm, to the brain's border in a base, negative inside; and its grid."""
    base = load_base(name)
    inside = base.labels[3].numpy() > 0.5
    distance = ndi.distance_transform_edt(~inside) - ndi.distance_transform_edt(inside)
    smooth = ndi.gaussian_filter(distance.astype(np.float32) * base.label_grid.step, 1.0)
    return torch.from_numpy(smooth)[None], base.label_grid


def template_grid(spacing: float) -> tuple[tuple[int, int, int], np.ndarray]:
    """Shape and RAS affine of a grid in template space that holds every brain."""
    shape = tuple(int(n) for n in np.ceil((FIELD[:, 1] - FIELD[:, 0]) / spacing))
    affine = np.diag([spacing] * 3 + [1.0])
    affine[:3, 3] = FIELD.mean(axis=1) - spacing * (np.array(shape) - 1) / 2
    return shape, affine
