"""Simulated T1w acquisition of a head: protocol, pose, contrast, coil bias and Rician noise."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from ldae.synthetic.heads import Head, intensities

FIELD_OF_VIEW = np.array([200.0, 224.0, 252.0])  # mm: left-right, vertical, front-back
HEAD_LIFT = 18.0  # mm; the brain's centre above the centre of the field of view


@dataclass(frozen=True)
class Protocol:
    """Protocol of a study phase, sagittal 3-D T1w.

    Attributes:
        field_strength: Tesla.
        slice_factor, inplane_factor: Voxel edges relative to the spacing asked for.
        noise: SD of the noise in either channel, relative to white matter.
        bias: SD of the log of the coil's receive field over the field of view.
        gamma: Exponent of the signal: below 1 flattens the grey-white contrast.
        gain: Stored value of white matter.
    """

    name: str
    field_strength: float
    slice_factor: float
    inplane_factor: float
    noise: float
    bias: float
    gamma: float
    gain: float


PROTOCOLS = {
    "ADNI1": Protocol("ADNI1", 1.5, 1.1, 0.95, 0.035, 0.08, 0.90, 480.0),
    "ADNI2": Protocol("ADNI2", 3.0, 1.1, 1.0, 0.022, 0.14, 1.05, 900.0),
    "ADNI3": Protocol("ADNI3", 3.0, 1.0, 1.0, 0.020, 0.12, 1.10, 1200.0),
}


@dataclass(frozen=True, eq=False)
class Scan:
    """Stored values and geometry of a scan.

    Attributes:
        array: (slices, rows, columns) uint16: right of the patient last, top and front first.
        affine: (4, 4) from (slice, row, column) to scanner coordinates, mm RAS.
    """

    array: np.ndarray
    affine: np.ndarray


def sagittal_grid(protocol: Protocol, spacing: float) -> tuple[tuple[int, int, int], np.ndarray]:
    """Shape (slices, rows, columns) and RAS affine of a sagittal acquisition.

    Slices run to the patient's right, rows downwards, columns backwards.
    """
    inplane = spacing * protocol.inplane_factor
    edges = np.array([spacing * protocol.slice_factor, inplane, inplane])
    shape = tuple((2 * np.ceil(FIELD_OF_VIEW / edges / 2)).astype(int).tolist())
    affine = np.eye(4)
    affine[:3, :3] = np.array([[-edges[0], 0, 0], [0, 0, -edges[2]], [0, -edges[1], 0]])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return shape, affine


def draw_pose(rng: np.random.Generator) -> np.ndarray:
    """Rigid motion (4, 4) of the head in the scanner, mm: SDs of 2.5 to 5 degrees, 3 to 5 mm."""
    pose = np.eye(4)
    angles = np.clip(rng.normal(0, 1, 3), -2, 2) * (5.0, 2.5, 2.5)
    pose[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    pose[:3, 3] = np.clip(rng.normal(0, 1, 3), -2, 2) * (3.0, 5.0, 4.0) + (0, 0, HEAD_LIFT)
    return pose


def log_bias(shape: tuple[int, int, int], strength: float, rng: np.random.Generator) -> np.ndarray:
    """Log of a receive field on (slices, rows, columns): random, falling off at the neck."""
    s, r, c = np.meshgrid(
        *[np.linspace(-1, 1, n, dtype=np.float32) for n in shape], indexing="ij", sparse=True
    )
    weights = rng.normal(size=9).astype(np.float32)
    terms = (s, r, c, s * r, s * c, r * c, s * s, r * r, c * c)
    field = sum(weight * term for weight, term in zip(weights, terms, strict=True))
    field = (field - field.mean()) / field.std() * np.float32(strength)
    below = np.clip((r - 0.45) / 0.55, 0, None)  # rows run downwards
    return np.clip(field, -3 * strength, 3 * strength) - 1.5 * below**2


def acquire(
    head: Head, protocol: Protocol, spacing: float, rng: np.random.Generator, noise: float = 1.0
) -> Scan:
    """Scan ``head`` at about ``spacing`` mm; ``noise`` multiplies the protocol's noise."""
    shape, affine = sagittal_grid(protocol, spacing)
    signal = intensities(head, affine, shape, draw_pose(rng))
    gamma = protocol.gamma * np.exp(rng.normal(0, 0.04))
    gain = protocol.gain * np.exp(rng.normal(0, 0.08))
    signal = np.maximum(signal, 0) ** np.float32(gamma)
    signal *= np.exp(log_bias(shape, protocol.bias, rng))
    sigma = np.float32(protocol.noise * noise)
    real = signal + sigma * rng.standard_normal(shape, dtype=np.float32)
    imaginary = sigma * rng.standard_normal(shape, dtype=np.float32)
    stored = np.round(np.hypot(real, imaginary) * np.float32(gain))
    return Scan(np.clip(stored, 0, 4095).astype(np.uint16), affine)
