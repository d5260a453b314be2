"""Attributions of the read-out of y_sem to the voxels of a scan, by captum.

The read-out is the logit of the diagnosis probe, so an attribution is a part of a logit: positive
where a voxel speaks for the positive class (AD). Both methods compare the scan with a reference,
an average brain or an empty volume.

- Integrated gradients (Sundararajan et al. 2017): the gradient of the logit on the way from the
  reference to the scan, times the difference. Over all voxels they add up to the logit of the scan
  less that of the reference. For the linear branch of an encoder they do so roughly: the quantiles
  of its equalisation count as constants (:func:`ldae.nets.components.equalised`).
- Occlusion (Zeiler and Fergus 2014): how far the logit falls when a block of the scan is replaced
  by the reference. The blocks are cubes side by side, so their number is that of blocks in the
  brain.
"""

import torch
from captum.attr import FeatureAblation, IntegratedGradients
from torch import Tensor, nn

from ldae.evaluation.probes.direction import LinearModel
from ldae.nets.joined_encoder import JoinedEncoder
from ldae.nets.semantic_encoder import PLANES, SemanticEncoder

TOGETHER = 8  # volumes in one pass of the network
BLOCKS_TOGETHER = 32  # occluded blocks in one pass: only the slices that they touch are embedded


Encoder = SemanticEncoder | JoinedEncoder


def slice_encoder(encoder: Encoder) -> SemanticEncoder | None:
    """The branch of an encoder that looks at slices; None: it has none."""
    return encoder.slices if isinstance(encoder, JoinedEncoder) else encoder


class ReadOut(nn.Module):
    """Read-out of a volume: the encoder, then a linear probe of y_sem.

    Args:
        encoder: In evaluation mode.
        probe: The probe; its output is a logit or another number.
    """

    def __init__(self, encoder: Encoder, probe: LinearModel):
        super().__init__()
        self.encoder, self.probe = encoder, probe

    def forward(self, x: Tensor) -> Tensor:
        """Output (B,) float32 for volumes (B, 1, X, Y, Z) in [0, 1]."""
        return self.probe(self.encoder(x)).float()


class OccludedReadOut(nn.Module):
    """Read-out of copies of one scan of which parts are replaced.

    A slice that is as in the scan is not embedded again: the backbone sees slices one by one.

    Args:
        read_out: The read-out.
        x: The scan, (1, 1, X, Y, Z).
    """

    def __init__(self, read_out: ReadOut, x: Tensor):
        super().__init__()
        self.read_out, self.branch = read_out, slice_encoder(read_out.encoder)
        if self.branch is not None:
            self.axis = PLANES[self.branch.plane]
            self.slices = x.movedim(self.axis, 1)[0]  # (L, 1, H, W)
            self.embedded = self.branch.embed_slices(x)[0]  # (L, d)

    def forward(self, x: Tensor) -> Tensor:
        """Output (B,) float32 for changed copies (B, 1, X, Y, Z) of the scan."""
        if self.branch is None:
            return self.read_out(x)
        code, encoder = self._code(x, self.branch), self.read_out.encoder
        if isinstance(encoder, JoinedEncoder):
            code = torch.cat([code, encoder.components(x)], dim=1)
        return self.read_out.probe(code).float()

    def _code(self, x: Tensor, branch: SemanticEncoder) -> Tensor:
        """Code of the slices (B, d)."""
        slices = x.movedim(self.axis, 1)  # (B, L, 1, H, W)
        changed = (slices != self.slices).flatten(2).any(dim=2)
        embedded = self.embedded.expand(len(x), -1, -1).clone()
        if changed.any():
            as_volume = slices[changed][None].movedim(1, self.axis)
            embedded[changed] = branch.embed_slices(as_volume)[0]
        return branch.aggregate(embedded.float())


def integrated_gradients(read_out: ReadOut, x: Tensor, reference: Tensor, steps: int) -> Tensor:
    """Integrated gradients of scans, summing up to their logit less that of the reference.

    Args:
        read_out: The read-out.
        x: Scans (B, 1, X, Y, Z).
        reference: (1, 1, X, Y, Z), where the way to each scan starts.
        steps: Points on the way (Gauss-Legendre).

    Returns:
        (B, 1, X, Y, Z) float32.
    """
    found = IntegratedGradients(read_out, multiply_by_inputs=True).attribute(
        x, baselines=reference, n_steps=steps, internal_batch_size=TOGETHER
    )
    return found.detach().float()


def occlusion(read_out: ReadOut, x: Tensor, reference: Tensor, labels: Tensor) -> Tensor:
    """How far the logit falls when each block is replaced by the reference.

    Args:
        read_out: The read-out.
        x: One scan (1, 1, X, Y, Z).
        reference: (1, 1, X, Y, Z), what a block is replaced by.
        labels: (X, Y, Z) of :func:`blocks`.

    Returns:
        (1, 1, X, Y, Z) float32; every voxel of a block has its value, 0 outside the blocks.
    """
    # Voxels of no block are one more block, which replaces nothing: its reference is the scan.
    kept = torch.where(labels == 0, x, reference)
    with torch.no_grad():
        found = FeatureAblation(OccludedReadOut(read_out, x)).attribute(
            x,
            baselines=kept,
            feature_mask=labels[None, None],
            perturbations_per_eval=BLOCKS_TOGETHER,
        )
    return found.float()


def blocks(brain: Tensor, edge: int) -> Tensor:
    """Numbers of the cubes that hold some of the brain.

    Args:
        brain: (X, Y, Z) bool.
        edge: Edge of a cube, voxels; the first cube starts at the grid's first voxel.

    Returns:
        (X, Y, Z) int64: 1 to the number of cubes; 0 where a cube holds no brain.
    """
    places = [torch.arange(size, device=brain.device) // edge for size in brain.shape]
    counts = [int(place[-1]) + 1 for place in places]
    x, y, z = torch.meshgrid(*places, indexing="ij")
    cube = (x * counts[1] + y) * counts[2] + z
    used = cube[brain].unique()
    number = torch.zeros(counts[0] * counts[1] * counts[2], dtype=torch.int64, device=brain.device)
    number[used] = torch.arange(1, len(used) + 1, device=brain.device)
    return number[cube]
