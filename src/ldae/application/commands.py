"""Encode, reconstruct, manipulate and interpolate preprocessed scans."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ldae.application.bundle import Bundle
from ldae.application.images import read_volume, write_volume
from ldae.data.embeddings import save_embeddings
from ldae.diffusion.interpolation import lerp, slerp
from ldae.errors import require
from ldae.evaluation.metrics.image import brain_mask, ssim
from ldae.inference.ldae_system import semantic_codes


def _read(bundle: Bundle, scan: str | Path) -> tuple[torch.Tensor, np.ndarray]:
    return read_volume(scan, bundle.settings["volumes"])


def encode(bundle: Bundle, scans: Sequence[Path], out: Path) -> np.ndarray:
    """Write y_sem of each scan to an npz (``scan_id``: file names; ``y_sem`` (N, d)); return it."""
    volumes = (_read(bundle, scan)[0] for scan in scans)
    codes = [semantic_codes(bundle.encoder, x, bundle.compute) for x in volumes]
    y_sem = torch.cat(codes).cpu().numpy()
    save_embeddings(out, [scan.name.split(".")[0] for scan in scans], y_sem)
    return y_sem


def reconstruct(bundle: Bundle, scan: Path, out: Path, steps: int) -> float:
    """Write the scan decoded from its own y_sem and z_T; return its SSIM with the original."""
    system = bundle.system
    x, affine = _read(bundle, scan)
    y = system.y_sem(x)
    decoded = system.image(system.decode(system.encode_zT(system.encode_z(x), y, steps), y, steps))
    write_volume(decoded[0, 0], affine, out)
    x = x.to(decoded.device)
    return float(ssim(x, decoded, brain_mask(x))[0])


def manipulate(bundle: Bundle, scan: Path, alpha: float, out: Path, steps: int) -> list[float]:
    """Write the scan moved by ``alpha`` towards the classifier's positive class (AD).

    Negative values move it towards the other one. Returns the classifier's logit before and after,
    the latter measured on the written volume, encoded again.
    """
    system, direction = bundle.system, bundle.direction()
    x, affine = _read(bundle, scan)
    y = system.y_sem(x)
    z_T = system.encode_zT(system.encode_z(x), y, steps)
    moved = direction.move(y, alpha, bundle.settings["mode"])
    image = system.image(system.decode(z_T, moved, steps))
    write_volume(image[0, 0], affine, out)
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
    write_volume(system.image(system.decode(z_t, y_t, steps))[0, 0], affine, out)
