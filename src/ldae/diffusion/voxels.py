"""Range of the voxels that the voxel-space DAE diffuses: [-1, 1], as images usually are."""

from torch import Tensor


def to_signal(x: Tensor) -> Tensor:
    """Volumes in [0, 1] as the diffusion takes them."""
    return 2 * x - 1


def to_image(x_0: Tensor) -> Tensor:
    """What the diffusion gives as volumes, clamped to [0, 1]."""
    return ((x_0 + 1) / 2).clamp(0, 1)
