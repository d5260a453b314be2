"""Start of the encoder's linear branch: principal components of the training scans.

No label is read, and no scan of another split.
"""

import logging

import numpy as np
import torch
from sklearn.decomposition import PCA

from ldae.compute import Compute
from ldae.data.sampling import batches
from ldae.data.volume_store import ByRow
from ldae.errors import require
from ldae.nets.components import VolumeComponents
from ldae.progress import Progress
from ldae.seeds import derive_seed

log = logging.getLogger(__name__)
BATCH = 16  # volumes read at once


@torch.inference_mode()
def start_components(
    branch: VolumeComponents, volumes: ByRow, rows: np.ndarray, compute: Compute, seed: int
) -> None:
    """Set the branch to the principal components of the rows' volumes, with mean variance 1.

    Its voxels are those whose rank differs most between the scans.

    Args:
        branch: Changed in place, on ``compute``'s device.
        volumes: Volumes by row.
        rows: Training rows.
        compute: The device.
        seed: Seed of the randomised decomposition.

    Raises:
        UserError: there are too few scans for so many components.
    """
    require(
        len(rows) > branch.dim,
        f"ldae.encoder.components.count is {branch.dim}, which needs {branch.dim + 1} training "
        f"scans or more; there are {len(rows)}. Lower it, or set ldae.encoder.kind to slices.",
    )
    progress, parts = Progress("components of the training scans", len(rows)), []
    for part in batches(len(rows), BATCH):
        x = compute.move(volumes.volumes(rows[part]))
        # Half the bytes: a rank needs three digits, and thousands of scans are kept.
        parts.append(branch.ranks(x).half().cpu().numpy())
        progress.step(sum(map(len, parts)))
    ranks = np.concatenate(parts)
    spread = ranks.std(axis=0, dtype=np.float32)
    index = np.sort(np.argsort(-spread, kind="stable")[: branch.voxels])
    chosen = ranks[:, index].astype(np.float32)
    number = derive_seed(seed, "ldae", "components") % 2**32
    pca = PCA(branch.dim, svd_solver="randomized", random_state=number).fit(chosen)
    # One factor for all, so that their order of size remains: the decoder learns the large ones
    # first (docs/ablation.md).
    scale = 1 / np.sqrt(pca.explained_variance_.mean())
    branch.index.copy_(torch.from_numpy(index))
    branch.mean.copy_(torch.from_numpy(pca.mean_))
    branch.matrix.copy_(torch.from_numpy(scale * pca.components_))
    log.info(
        "ldae: y_sem starts with %d principal components of %d training scans, %.0f %% of the "
        "variance at %d voxels",
        branch.dim,
        len(rows),
        100 * pca.explained_variance_ratio_.sum(),
        branch.voxels,
    )
