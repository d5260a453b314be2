"""Linear branch of the semantic encoder: principal components of the equalised volume.

A linear reader of a brain in template space is hard to beat on a few hundred people, and stage 3
reaches it slowly (docs/ablation.md). With this branch y_sem contains such a reader from the first
step, and the decoder has a good code to learn from.
"""

from collections.abc import Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldae.errors import require

BACKGROUND = 0.01  # intensities up to this one are no brain
KNOTS = 64  # quantiles between which a volume's intensities are equalised
LEAST_STEP = 1e-6  # between two quantiles, so that equal ones can be divided by


def equalised(x: Tensor) -> Tensor:
    """Histogram equalisation: each intensity replaced by its rank in the volume's brain, 0 to 1.

    T1-weighted intensities have no unit, and differ in gain and contrast between scanners. Their
    ranks do not. The map is linear between :data:`KNOTS` quantiles of the volume, so it has
    a gradient, in which the quantiles are constants.

    Args:
        x: Intensities (B, P), float32; those up to :data:`BACKGROUND` are no brain.

    Returns:
        Ranks (B, P): 0 outside the brain, 0 (the darkest) to 1 within it.
    """
    brain = x > BACKGROUND
    with torch.no_grad():
        outside = (~brain).sum(1, keepdim=True)
        last = x.shape[1] - 1
        ranks = torch.linspace(0, 1, KNOTS, device=x.device)
        # Sorted, a volume begins with all that is outside the brain.
        places = (outside + ranks * (last - outside)).round().long().clamp(max=last)
        knots = x.sort(dim=1).values.gather(1, places)
        below = torch.searchsorted(knots, x.detach().contiguous()).clamp(1, KNOTS - 1)
        low, high = knots.gather(1, below - 1), knots.gather(1, below)
    share = ((x - low) / (high - low).clamp_min(LEAST_STEP)).clamp(0, 1)
    return torch.where(brain, (below - 1 + share) / (KNOTS - 1), 0.0)


class VolumeComponents(nn.Module):
    """Components of a volume: its equalised intensities at some voxels, times a fixed matrix.

    The volume is first averaged to a coarse grid. At first the matrix is random and the voxels are
    evenly spaced, as in an encoder without any training;
    :func:`ldae.training.components.start_components` puts the principal components of the training
    scans in their place. They are buffers: training does not change them, so it cannot lose what
    they read.

    Args:
        count: Number of components.
        grid: Shape of the coarse grid.
        voxels: Number of voxels of that grid which are read.

    Raises:
        UserError: the grid has fewer voxels, or there are more components than voxels.

    Attributes:
        index: Their places in the flattened grid, (voxels,).
        mean: Their mean ranks, (voxels,).
        matrix: (count, voxels).
    """

    def __init__(self, count: int, grid: Sequence[int], voxels: int):
        super().__init__()
        self.dim, self.grid, self.voxels = count, tuple(grid), voxels
        size = prod(grid)
        require(
            count <= voxels,
            f"ldae.encoder.components.count is {count}, more than the {voxels} voxels of "
            "ldae.encoder.components.voxels. Lower it.",
        )
        require(
            voxels <= size,
            f"ldae.encoder.components.voxels is {voxels}, but the grid of "
            f"ldae.encoder.components.grid has only {size}. Lower it.",
        )
        self.register_buffer("index", torch.arange(voxels) * size // voxels)
        self.register_buffer("mean", torch.zeros(voxels))
        self.register_buffer("matrix", torch.randn(count, voxels) / voxels**0.5)

    def ranks(self, x: Tensor) -> Tensor:
        """Equalised intensities (B, P) of volumes (B, 1, X, Y, Z) on the coarse grid."""
        return equalised(F.adaptive_avg_pool3d(x.float(), self.grid).flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        """Components (B, count), float32, of volumes (B, 1, X, Y, Z) in [0, 1]."""
        # In float32 also under autocast, as the rest of y_sem.
        with torch.autocast(x.device.type, enabled=False):
            return F.linear(self.ranks(x)[:, self.index] - self.mean, self.matrix)
