"""Heads with known anatomy: a base head, deformed by a subject's shape and by atrophy.

The chain from an output point to the base image, all as pull-backs:
pose (per scan) -> head size and shear -> the subject's smooth random shape -> atrophy -> base.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from ldae.errors import UserError
from ldae.synthetic.bases import LABELS, Base, load_base
from ldae.synthetic.fields import Grid, exponentiate, random_velocity, sample

SHAPE_STEP = 9.0  # mm; lattice of the subject's random shape
TOLERANCE = 0.003  # relative; of the calibrated volumes
MAX_ITERATIONS = 20
LARGEST_STEP = 2.5  # of an amplitude
JACOBIAN_INVERSE = (4.5, -4.7)  # typical, of amplitudes by the logarithms of the volumes
SQUARINGS = 4  # of the flow of atrophy; within 0.1 mm of the exact flow of the largest atrophy


@dataclass(frozen=True)
class Atrophy:
    """Target volumes and displacement, at the reference head size (``REFERENCE_ICV_ML``).

    Attributes:
        ventricle_ml: Volume of the lateral ventricles.
        hippocampus_ml: Volume of both hippocampi.
        cortical_mm: Peak displacement of the cortex off the inner skull.
    """

    ventricle_ml: float
    hippocampus_ml: float
    cortical_mm: float


@dataclass(frozen=True, eq=False)
class Calibration:
    """Where the search for amplitudes begins: what an earlier search of the same subject found.

    Attributes:
        amplitudes: (2,) of the base's velocities ``outward`` and ``inward``.
        log_volumes: (2,) logarithms of the ventricles' and the hippocampi's ml that these
            amplitudes gave.
        inverse: (2, 2) inverse of the Jacobian of the logarithms by the amplitudes, estimated.
    """

    amplitudes: np.ndarray
    log_volumes: np.ndarray
    inverse: np.ndarray


def undeformed(base: Base) -> Calibration:
    """Calibration of a base without atrophy, where a subject's first search begins."""
    volumes = np.log([base.volumes["ventricles"], base.volumes["hippocampus"]])
    return Calibration(np.zeros(2), volumes, np.diag(JACOBIAN_INVERSE))


@dataclass(eq=False)
class Anatomy:
    """A subject: a base, a head size and a smooth random shape, the same at every visit.

    Attributes:
        linear: (3, 3) matrix from base to subject (mm).
        shape: (3, x, y, z) displacement on ``shape_grid``, mm, pull-back.
        start: The last calibration, from which the next one goes on.
    """

    base: Base
    linear: np.ndarray
    shape: torch.Tensor
    shape_grid: Grid
    start: Calibration = field(init=False)

    def __post_init__(self) -> None:
        self.start = undeformed(self.base)
        points = self.base.label_grid.points()
        self._near = self.into_base(points[self.base.near.view(-1)])
        self._whole = self.into_base(self.base.lattice.points())

    @classmethod
    def draw(cls, base: Base, rng: np.random.Generator) -> "Anatomy":
        """A random subject on ``base``."""
        size = np.exp(rng.normal(0, 0.03) + rng.normal(0, 0.025, 3))
        shear = np.eye(3)
        shear[np.triu_indices(3, 1)] = rng.normal(0, 0.02, 3)
        tilt = Rotation.from_euler("xyz", rng.normal(0, 1.5, 3), degrees=True).as_matrix()
        extent = (np.array(base.grid.shape) - 1) * base.grid.step
        shape = tuple(int(n) for n in np.ceil(extent / SHAPE_STEP) + 1)
        grid = Grid(base.grid.origin, SHAPE_STEP, shape)
        displacement = exponentiate(random_velocity(grid, rng, 36.0, 1.8), grid, squarings=3)
        return cls(base, base.reference_scale * tilt @ np.diag(size) @ shear, displacement, grid)

    def into_base(self, points: torch.Tensor) -> torch.Tensor:
        """Base points, without atrophy, of subject's points (N, 3) whose head size is removed."""
        return points + sample(self.shape, self.shape_grid, points, "border").T

    @property
    def size(self) -> float:
        """Volume ratio of the subject's head to its base."""
        return float(np.linalg.det(self.linear))

    def deform(self, amplitudes: np.ndarray, cortical_mm: float) -> torch.Tensor:
        """Displacement of atrophy on the base's lattice, (3, x, y, z) mm, pull-back.

        ``amplitudes`` (2,) scale the base's velocities ``outward`` and ``inward``.
        """
        base = self.base
        velocity = (
            float(amplitudes[0]) * base.outward
            + float(amplitudes[1]) * base.inward
            + cortical_mm * base.cortex
        )
        return exponentiate(-velocity, base.lattice, SQUARINGS)

    def _sums(self, displacement, points, step: float, labels: slice) -> np.ndarray:
        """Volumes (ml) of some of ``LABELS``, summed over ``points``, one every ``step`` mm."""
        base = self.base
        moved = points + sample(displacement, base.lattice, points).T
        fractions = sample(base.labels[labels], base.label_grid, moved).numpy()
        return fractions.sum(axis=1, dtype=np.float64) * step**3 / 1e3

    def small_volumes(self, displacement: torch.Tensor) -> np.ndarray:
        """Ventricles and hippocampi in ml under ``displacement``, at the base's own head size."""
        return self._sums(displacement, self._near, self.base.label_grid.step, np.s_[:2])

    def large_volumes(self, displacement: torch.Tensor) -> np.ndarray:
        """Brain tissue and intracranial space in ml, as above, but on the coarser lattice."""
        return self._sums(displacement, self._whole, self.base.lattice.step, np.s_[2:])


@dataclass(frozen=True, eq=False)
class Head:
    """One visit's head: an anatomy and the displacement that gives it the atrophy asked for.

    Attributes:
        displacement: (3, x, y, z) mm on the base's lattice, pull-back.
        amplitudes: (2,) as in :meth:`Anatomy.deform`.
        volumes: ml of ``LABELS`` at the base's own head size.
    """

    anatomy: Anatomy
    atrophy: Atrophy
    displacement: torch.Tensor
    amplitudes: np.ndarray
    volumes: dict[str, float]

    def truth(self) -> dict[str, float]:
        """Volumes in ml, native (head size included) and in MNI152's scale; the cortex in mm."""
        anatomy, base = self.anatomy, self.anatomy.base
        names = {"ventricles": "ventricle", "hippocampus": "hippocampus", "tissue": "brain"}
        native = {f"{new}_ml": self.volumes[old] * anatomy.size for old, new in names.items()}
        scaled = {
            f"{new}_template_ml": self.volumes[old] * base.scale_to_mni
            for old, new in names.items()
        }
        intracranial = {"intracranial_ml": self.volumes["brain"] * anatomy.size}
        return {**native, **intracranial, **scaled, "cortical_mm": self.atrophy.cortical_mm}


def apply_atrophy(anatomy: Anatomy, atrophy: Atrophy, tolerance: float = TOLERANCE) -> Head:
    """Deform a subject until its ventricles and hippocampi have the volumes asked for.

    Broyden's method on the logarithms of the two volumes, from the subject's last calibration;
    stops at ``tolerance``.

    Raises:
        UserError: the volumes cannot be reached from this base.
    """
    factor = anatomy.base.reference_scale**3
    wanted = np.log([atrophy.ventricle_ml / factor, atrophy.hippocampus_ml / factor])
    start = anatomy.start
    amplitudes, inverse = start.amplitudes, start.inverse
    miss, step = start.log_volumes - wanted, np.zeros(2)
    if np.abs(miss).max() >= tolerance:
        step = _step(inverse, miss)
    for _ in range(MAX_ITERATIONS):
        amplitudes = amplitudes + step
        displacement = anatomy.deform(amplitudes, atrophy.cortical_mm)
        small = anatomy.small_volumes(displacement)
        previous, miss = miss, np.log(small) - wanted
        if step.any():
            inverse = _broyden(inverse, step, miss - previous)
        if np.abs(miss).max() < tolerance:
            anatomy.start = Calibration(amplitudes, np.log(small), inverse)
            volumes = [*small.tolist(), *anatomy.large_volumes(displacement).tolist()]
            named = dict(zip(LABELS, volumes, strict=True))
            return Head(anatomy, atrophy, displacement, amplitudes, named)
        step = _step(inverse, miss)
    raise UserError(
        f"The base head '{anatomy.base.name}' cannot be deformed to ventricles of "
        f"{atrophy.ventricle_ml:.1f} ml and hippocampi of {atrophy.hippocampus_ml:.2f} ml; "
        "ask for volumes nearer to "
        f"{anatomy.base.volumes['ventricles'] * factor:.1f} and "
        f"{anatomy.base.volumes['hippocampus'] * factor:.2f} ml."
    )


def _step(inverse: np.ndarray, miss: np.ndarray) -> np.ndarray:
    """Newton's step of the amplitudes, at most ``LARGEST_STEP`` each."""
    return np.clip(-inverse @ miss, -LARGEST_STEP, LARGEST_STEP)


def _broyden(inverse: np.ndarray, step: np.ndarray, change: np.ndarray) -> np.ndarray:
    """Broyden's update of an inverse Jacobian by a step and the change that it made."""
    back = inverse @ change
    return inverse + np.outer(step - back, step @ inverse) / (step @ back)


def base_points(
    head: Head, affine: np.ndarray, shape: tuple[int, int, int], pose: np.ndarray
) -> torch.Tensor:
    """Base coordinates of each voxel of a grid: (N, 3) mm, last axis running fastest.

    Args:
        affine: (4, 4) voxel to scanner coordinates, mm RAS.
        pose: (4, 4) motion from the head (origin at the brain's centre) to the scanner.
    """
    base, anatomy = head.anatomy.base, head.anatomy
    to_base = np.eye(4)
    to_base[:3, :3] = np.linalg.inv(anatomy.linear)
    to_base[:3, 3] = base.centre
    matrix = to_base @ np.linalg.inv(pose) @ affine
    axes = [torch.arange(n, dtype=torch.float32) for n in shape]
    columns = torch.from_numpy(matrix[:3].T.astype(np.float32))
    points = (
        axes[0][:, None, None, None] * columns[0]
        + axes[1][:, None, None] * columns[1]
        + (axes[2][:, None] * columns[2] + columns[3])
    ).view(-1, 3)
    points = anatomy.into_base(points)
    lattice = base.lattice
    low = torch.tensor(lattice.origin)
    high = low + (torch.tensor(lattice.shape) - 1) * lattice.step
    inside = ((points >= low) & (points <= high)).all(1).nonzero()[:, 0]
    brain = points[inside]
    points[inside] = brain + sample(head.displacement, lattice, brain).T
    return points


def intensities(
    head: Head, affine: np.ndarray, shape: tuple[int, int, int], pose: np.ndarray
) -> np.ndarray:
    """Noise-free signal of ``head`` on a voxel grid, float32 of ``shape``.

    Arguments are those of :func:`base_points`.
    """
    base = head.anatomy.base
    points = base_points(head, affine, shape, pose)
    return sample(base.head, base.grid, points).view(*shape).numpy()


def synthetic_anatomy(base: str, seed: int) -> Anatomy:
    """The random subject ``seed`` on the base named ``base``."""
    return Anatomy.draw(load_base(base), np.random.default_rng(seed))
