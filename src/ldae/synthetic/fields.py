"""Smooth, invertible deformations on coarse lattices, in millimetres (torch on the CPU).

A deformation is the flow of a stationary velocity field, found by scaling and squaring (Arsigny
et al., MICCAI 2006). All of them are pull-backs: an output point takes its value from
``point + displacement(point)``.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage as ndi


@dataclass(frozen=True)
class Grid:
    """An axis-aligned lattice: first node ``origin`` (mm), distance ``step`` (mm), ``shape``."""

    origin: tuple[float, float, float]
    step: float
    shape: tuple[int, int, int]

    def points(self) -> torch.Tensor:
        """All nodes in mm, (N, 3), last axis of the lattice running fastest."""
        axes = [
            torch.arange(n, dtype=torch.float32) * self.step + o
            for o, n in zip(self.origin, self.shape, strict=True)
        ]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).view(-1, 3)


def sample(
    volume: torch.Tensor, grid: Grid, points: torch.Tensor, outside: str = "zeros"
) -> torch.Tensor:
    """Trilinear values of ``volume`` (C, X, Y, Z) at ``points`` (N, 3) in mm, as (C, N).

    Beyond the grid, values are 0 (``outside="zeros"``) or those of the border (``"border"``).
    """
    last = (torch.tensor(grid.shape, dtype=torch.float32) - 1) * grid.step
    unit = (points - torch.tensor(grid.origin)) * (2 / last) - 1
    where = unit.flip(-1).view(1, 1, 1, -1, 3)
    found = F.grid_sample(
        volume[None], where, mode="bilinear", padding_mode=outside, align_corners=True
    )
    return found.view(volume.shape[0], -1)


def exponentiate(velocity: torch.Tensor, grid: Grid, squarings: int = 6) -> torch.Tensor:
    """Displacement (3, X, Y, Z) in mm of the flow of ``velocity`` (3, X, Y, Z) over unit time."""
    displacement = velocity / 2**squarings
    nodes = grid.points()
    for _ in range(squarings):
        moved = nodes + displacement.view(3, -1).T
        displacement = displacement + sample(displacement, grid, moved, "border").view_as(velocity)
    return displacement


def random_velocity(
    grid: Grid, rng: np.random.Generator, wavelength: float, amplitude: float
) -> torch.Tensor:
    """Smooth random velocity (3, X, Y, Z) from control points every ``wavelength`` mm.

    ``amplitude`` is the SD of the control points, mm.
    """
    count = [int(np.ceil((n - 1) * grid.step / wavelength)) + 3 for n in grid.shape]
    control = rng.normal(0, amplitude, (3, *count))
    axes = [np.arange(n) * grid.step / wavelength + 1 for n in grid.shape]
    where = np.stack(np.meshgrid(*axes, indexing="ij"))
    field = np.stack([ndi.map_coordinates(c, where, order=3, mode="nearest") for c in control])
    return torch.from_numpy(field.astype(np.float32))
