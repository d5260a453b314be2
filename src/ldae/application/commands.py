"""Commands on preprocessed scans: encode, reconstruct, manipulate and interpolate.

They read NIfTI in the template's space, resample it to the models' grid, and write NIfTI on that
grid.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

from ldae.application.bundle import Bundle
from ldae.data.volume_transform import StoreTransform
from ldae.diffusion.interpolation import lerp, slerp
from ldae.errors import require
from ldae.evaluation.metrics.image import brain_mask, ssim
from ldae.files import atomic, save_arrays
from ldae.inference.ldae_system import semantic_codes

OF_LDAE = "LDAE, a research model's output"  # NIfTI's field holds 79 characters
OF_SYNTHETIC = f"{OF_LDAE}; trained on synthetic brains, no patient seen"


def read_volume(path: str | Path, volumes: Mapping[str, Any]) -> tuple[torch.Tensor, np.ndarray]:
    """Read a preprocessed scan as the models do: (1, 1, X, Y, Z) float32 in [0, 1]; and its affine.

    Args:
        path: Brain-extracted scan in the template's space, as ``*_desc-brain_T1w.nii.gz``.
        volumes: config["volumes"] of the training: spacing, shape, interpolation.

    Raises:
        UserError: the file is missing or damaged, or the image has no contrast.
    """
    require(Path(path).is_file(), f"The scan {path} does not exist.")
    transform = StoreTransform(
        volumes["spacing"], [int(n) for n in volumes["shape"]], volumes["interpolation"]
    )
    volume, affine = transform(Path(path))
    return torch.from_numpy(volume)[None], affine


def write_volume(
    volume: torch.Tensor, affine: np.ndarray, path: str | Path, bundle: Bundle
) -> None:
    """Write (X, Y, Z) float32 as NIfTI in mm, RAS; its header says what the models have seen."""
    image = nib.Nifti1Image(volume.cpu().numpy().astype(np.float32), affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = OF_SYNTHETIC if bundle.settings["synthetic"] else OF_LDAE
    with atomic(path) as temporary:
        nib.save(image, temporary)


def _read(bundle: Bundle, scan: str | Path) -> tuple[torch.Tensor, np.ndarray]:
    return read_volume(scan, bundle.settings["volumes"])


def encode(bundle: Bundle, scans: Sequence[Path], out: Path) -> np.ndarray:
    """Write y_sem of each scan to an npz; return it.

    Its arrays: ``scan_id`` (N,), the names of the files; ``y_sem`` (N, d); ``notice``.
    """
    volumes = (_read(bundle, scan)[0] for scan in scans)
    codes = [semantic_codes(bundle.encoder, x, bundle.compute) for x in volumes]
    y_sem = torch.cat(codes).cpu().numpy()
    names = [scan.name.split(".")[0] for scan in scans]
    save_arrays(out, scan_id=names, y_sem=y_sem, notice=bundle.notice)
    return y_sem


def reconstruct(bundle: Bundle, scan: Path, out: Path, steps: int) -> float:
    """Write the scan decoded from its own y_sem and z_T; return its SSIM with the original."""
    system = bundle.system
    x, affine = _read(bundle, scan)
    y = system.y_sem(x)
    decoded = system.image(system.decode(system.encode_zT(system.encode_z(x), y, steps), y, steps))
    write_volume(decoded[0, 0], affine, out, bundle)
    x = x.to(decoded.device)
    return float(ssim(x, decoded, brain_mask(x))[0])


def manipulate(bundle: Bundle, scan: Path, alpha: float, out: Path, steps: int) -> list[float]:
    """Write the scan moved by ``alpha`` towards the classifier's positive class (AD).

    Negative values move it towards the other class. Returns the classifier's logits before and
    after, the latter measured on the written volume, encoded again.
    """
    system, direction = bundle.system, bundle.direction()
    x, affine = _read(bundle, scan)
    y = system.y_sem(x)
    z_T = system.encode_zT(system.encode_z(x), y, steps)
    moved = direction.move(y, alpha, bundle.settings["mode"])
    image = system.image(system.decode(z_T, moved, steps))
    write_volume(image[0, 0], affine, out, bundle)
    return [float(direction(code)) for code in (y, system.y_sem(image))]


def interpolate(
    bundle: Bundle, first: Path, second: Path, position: float, out: Path, steps: int
) -> None:
    """Write the scan at ``position`` (0: first, 1: second): LERP of y_sem, SLERP of z_T.

    Raises:
        UserError: the two scans lie on different grids.
    """
    system = bundle.system
    (x_a, affine), (x_b, other) = _read(bundle, first), _read(bundle, second)
    require(
        np.allclose(affine, other, atol=1e-3),
        f"{first} and {second} lie on different grids: register both to the template first.",
    )
    x = torch.cat([x_a, x_b])
    y = system.y_sem(x)
    z_T = system.encode_zT(system.encode_z(x), y, steps)
    y_t, z_t = lerp(y[:1], y[1:], position), slerp(z_T[:1], z_T[1:], position)
    write_volume(system.image(system.decode(z_t, y_t, steps))[0, 0], affine, out, bundle)
