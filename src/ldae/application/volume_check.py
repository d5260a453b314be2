"""Checks of images: an extracted brain in the template's space, as in training, or a raw head.

The networks take any array of the right shape, and would give a code of a skull, or of a brain that
lies elsewhere, without a word.
"""

from functools import cached_property
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.processing import resample_from_to
from scipy.ndimage import distance_transform_edt

from ldae.errors import UserError, require
from ldae.nifti import NOT_REAL, ImageUnreadable, is_real, read_image
from ldae.preprocess.sides import asymmetry_of, is_map_space

VISIBLE = 0.02  # of the largest intensity: what lies below is background
MARGIN_MM = 8.0  # a registered brain may reach so far beyond the template's mask
MAX_OUTSIDE = 0.10  # volume beyond that margin, relative to the mask's
MIN_COVERED = 0.80  # fraction of the mask that a brain fills; unregistered brains fill less
MAX_COARSER = 2.0  # voxel edge of a scan relative to the models'
MAX_STRIPPED_LITRES = 3.0  # volume of all voxels but 0, which a head with its skull exceeds
MIN_ZEROS = 0.3  # fraction of voxels that are 0 where the skull has been removed


class TemplateCheck:
    """Comparison of preprocessed volumes with the template's brain.

    Args:
        mask: Brain mask of the template, NIfTI.
        spacing: Voxel edge of the models' volumes, mm.
    """

    def __init__(self, mask: str | Path, spacing: float):
        self.mask, self.spacing = nib.load(mask), spacing
        self._near: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}

    def require_brain(self, path: Path, volume: np.ndarray, affine: np.ndarray) -> None:
        """Refuse a volume that is no extracted brain in the template's space.

        Args:
            path: File that it was read from.
            volume: (X, Y, Z) in [0, 1], on the models' grid.
            affine: (4, 4) of the volume.

        Raises:
            UserError: the file's voxels are much coarser than the models', tissue lies outside the
                template's brain, or the brain does not fill it.
        """
        coarsest = max(nib.load(path).header.get_zooms()[:3])
        require(
            coarsest <= MAX_COARSER * self.spacing,
            f"{path} has voxels of {coarsest:.3g} mm: the models see {self.spacing:g} mm. Give the "
            "scan itself, not a thumbnail of it.",
        )
        outside, covered = self.measure(volume, affine)
        remedy = "Preprocess the raw head as the models' scans were: `ldae apply HEAD`."
        require(
            outside <= MAX_OUTSIDE,
            f"{path} is no extracted brain in the template's space: tissue of {outside:.0%} of the "
            f"brain's volume lies outside the template's brain (at most {MAX_OUTSIDE:.0%}), as "
            f"with a skull, a shift or a flip. {remedy}",
        )
        require(
            covered >= MIN_COVERED,
            f"{path} does not lie in the template's space, or is cut off: it fills {covered:.0%} "
            f"of the template's brain (at least {MIN_COVERED:.0%}). {remedy}",
        )

    def measure(self, volume: np.ndarray, affine: np.ndarray) -> tuple[float, float]:
        """Volume outside the template's brain, and the part of it that is filled.

        Returns:
            Voxels farther than :data:`MARGIN_MM` from the mask, and voxels inside it, that hold
            tissue; both relative to the mask.
        """
        inside, near = self._on_grid(volume.shape, affine)
        if not inside.any():  # the grid lies elsewhere than the template
            return 0.0, 0.0
        tissue = volume > VISIBLE
        return float((tissue & ~near).sum() / inside.sum()), float(tissue[inside].mean())

    def asymmetry(self, volume: np.ndarray, affine: np.ndarray) -> float | None:
        """Correlation of a brain's asymmetry with the average brain's, to two decimals.

        Args:
            volume: (X, Y, Z), an extracted brain in the template's space.
            affine: (4, 4) of the volume.

        Returns:
            -1 to 1 (:func:`ldae.preprocess.sides.asymmetry_of`), negative where left and right may
            be swapped; None where the template is not in MNI space.
        """
        return round(asymmetry_of(volume, affine), 2) if self._in_map_space else None

    @cached_property
    def _in_map_space(self) -> bool:
        return is_map_space(self.mask.get_fdata() > 0.5, self.mask.affine)

    def _on_grid(self, shape: tuple[int, ...], affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The mask on a grid, and the same with its margin; both (X, Y, Z) bool."""
        key = np.round(affine, 3).tobytes()
        if key not in self._near:
            mask = resample_from_to(self.mask, (shape, affine), order=0).get_fdata() > 0.5
            near = distance_transform_edt(~mask, sampling=self.spacing) <= MARGIN_MM
            self._near[key] = mask, near
        return self._near[key]


def side_warnings(asymmetry: float | None) -> list[str]:
    """A sentence where the asymmetry of a brain says that its sides may be swapped."""
    if asymmetry is None or asymmetry >= 0:
        return []
    return [
        f"Left and right may be swapped: the asymmetry is {asymmetry:.2f}, and most brains are "
        "above 0. It is a hint and no proof (docs/qc.md)."
    ]


def require_head(path: Path) -> None:
    """Refuse a head whose skull has been removed already: the extraction would cut into the brain.

    Raises:
        UserError: most of the image is 0 and the rest is no larger than a brain, or the file is
            damaged.
    """
    try:
        image, values = read_image(path)
    except ImageUnreadable as error:
        raise UserError(f"{path}: {error}") from error
    require(is_real(values.dtype), f"{path}: {NOT_REAL}")
    zeros = float((values == 0).mean())
    litres = float((values != 0).sum() * abs(np.linalg.det(image.affine[:3, :3])) / 1e6)
    if zeros >= MIN_ZEROS and litres <= MAX_STRIPPED_LITRES:
        raise UserError(
            f"{path} looks like an extracted brain: {zeros:.0%} of its voxels are 0, and the rest "
            f"is {litres:.1f} litres. `apply` takes the raw head; a brain in the template's space "
            "is read by encode, reconstruct, manipulate and interpolate. If it is a raw head, give "
            "--force."
        )
