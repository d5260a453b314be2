"""Base heads: real T1w heads with labels, and the velocities along which atrophy moves tissue."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage as ndi

from ldae.errors import UserError
from ldae.synthetic.fields import Grid

FOLDER = Path(__file__).parent / "bases"
REFERENCE_ICV_ML = 1450.0  # every base is brought to this intracranial volume before anything else
LATTICE_STEP = 3.0  # mm; of the atrophy fields
# mm; ventricles and hippocampi are measured up to this distance from the ventricles, and up to half
# of it from the temporal labels
REACH = 16.0
LABELS = ("ventricles", "hippocampus", "tissue", "brain")


@dataclass(frozen=True, eq=False)
class Base:
    """One base head. Coordinates are mm, RAS, MNI orientation, the head in its own size.

    Attributes:
        name: File in ``bases/`` without suffix.
        head: (1, X, Y, Z) intensities, about 1 in white matter, 0 in air.
        grid: Lattice of ``head``.
        labels: (4, X, Y, Z) fractions in [0, 1] of ``LABELS`` on ``label_grid``.
        label_grid: Lattice of ``labels``: the brain's box.
        near: (X, Y, Z) bool on ``label_grid``, where ventricles or hippocampi may be after atrophy.
        lattice: Coarser lattice of the velocities, the same box.
        outward: (3, x, y, z) velocity that moves the walls of the lateral ventricles apart.
        inward: (3, x, y, z) velocity that shrinks hippocampus, amygdala and the cortex beside them.
        cortex: (3, x, y, z) velocity that pulls the cortex off the skull, peak 1.
        centre: (3,) centre of the brain, mm.
        tissue: Intensities of CSF and of grey matter in ``head``.
        volumes: ml of ``LABELS``, in the base's own size.
        scale_to_mni: Volume ratio of MNI152 to this head, by affine registration.
        reference_scale: Linear factor that brings this head to ``REFERENCE_ICV_ML``.
    """

    name: str
    head: torch.Tensor
    grid: Grid
    labels: torch.Tensor
    label_grid: Grid
    near: torch.Tensor
    lattice: Grid
    outward: torch.Tensor
    inward: torch.Tensor
    cortex: torch.Tensor
    centre: np.ndarray
    tissue: tuple[float, float]
    volumes: dict[str, float]
    scale_to_mni: float
    reference_scale: float


def base_names() -> list[str]:
    """Names of the bases shipped with the package, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.npz"))


def signed_distance(mask: np.ndarray, spacing: float, sigma: float) -> np.ndarray:
    """Distance in mm to the border of ``mask``, negative inside, smoothed by ``sigma`` mm."""
    distance = ndi.distance_transform_edt(~mask) - ndi.distance_transform_edt(mask)
    return ndi.gaussian_filter(distance.astype(np.float32) * spacing, sigma / spacing)


def normal_field(distance: np.ndarray, weight: np.ndarray, spacing: float) -> np.ndarray:
    """Unit normals of ``distance`` times ``weight``, smoothed by 1.5 mm: (3, X, Y, Z)."""
    normal = np.stack(np.gradient(distance, spacing))
    normal /= np.maximum(np.linalg.norm(normal, axis=0), 0.3)
    return np.stack([ndi.gaussian_filter(n * weight, 1.5 / spacing) for n in normal])


def bell(distance: np.ndarray, inside: float, outside: float) -> np.ndarray:
    """Gaussian of a signed distance, with one SD (mm) inside and another outside."""
    return np.exp(-((distance / np.where(distance < 0, inside, outside)) ** 2) / 2)


@lru_cache(maxsize=4)
def load_base(name: str) -> Base:
    """Load a base and compute its velocity fields (about two seconds, once a process).

    Raises:
        UserError: there is no such base.
    """
    path = FOLDER / f"{name}.npz"
    if not path.is_file():
        raise UserError(f"There is no base head '{name}'; there are: {', '.join(base_names())}.")
    with np.load(path) as stored:
        arrays = {key: stored[key] for key in stored.files}
    head = arrays["head"].astype(np.float32) / 100
    soft = {
        key: arrays[key].astype(np.float32) / 255
        for key in ("brain", "ventricles", "hippocampus", "temporal")
    }
    csf, grey = arrays["tissue"]
    solid = np.clip((head - csf) / (grey - csf), 0, 1)
    soft["tissue"] = solid * soft["brain"] * (1 - soft["ventricles"])

    affine, spacing = arrays["affine"], float(arrays["affine"][0, 0])
    stride = round(LATTICE_STEP / spacing)
    bounds = ndi.find_objects((soft["brain"] > 0.5).astype(np.uint8))[0]
    margin = round(9 / spacing)
    low = [max(0, b.start - margin) for b in bounds]
    box = tuple(
        slice(a, min(n, b.stop + margin)) for a, b, n in zip(low, bounds, head.shape, strict=True)
    )
    soft = {key: value[box] for key, value in soft.items()}
    origin = affine[:3, 3] + spacing * np.array(low)

    depth = -signed_distance(soft["brain"] > 0.5, spacing, 1.5)
    ventricles = signed_distance(soft["ventricles"] > 0.5, spacing, 1.0)
    temporal = signed_distance(soft["temporal"] > 0.5, spacing, 1.0)
    # nothing moves at the inner skull, so that the head around the brain stays as it is
    anchored = np.clip(depth / 4, 0, 1)
    velocities = {
        "outward": normal_field(ventricles, bell(ventricles, 6, 12) * anchored, spacing),
        "inward": -normal_field(temporal, bell(temporal, 5, 5) * anchored, spacing),
        "cortex": normal_field(depth, bell(depth - 4, 10, 10) * np.clip(depth / 2, 0, 1), spacing),
    }

    def coarse(array: np.ndarray) -> torch.Tensor:
        every = (..., *[slice(None, None, stride)] * 3)
        return torch.from_numpy(np.ascontiguousarray(array[every], dtype=np.float32))

    labels = np.stack([soft[key] for key in LABELS])
    sums = labels.sum(axis=(1, 2, 3), dtype=np.float64) * spacing**3 / 1e3
    volumes = dict(zip(LABELS, sums.tolist(), strict=True))
    velocities = {key: coarse(value) for key, value in velocities.items()}
    corner = tuple(origin.tolist())
    return Base(
        name=name,
        head=torch.from_numpy(head)[None],
        grid=Grid(tuple(affine[:3, 3].tolist()), spacing, head.shape),
        labels=torch.from_numpy(labels),
        label_grid=Grid(corner, spacing, labels.shape[1:]),
        near=torch.from_numpy((ventricles < REACH) | (temporal < REACH / 2)),
        lattice=Grid(corner, spacing * stride, tuple(velocities["outward"].shape[1:])),
        **velocities,
        centre=np.array(ndi.center_of_mass(soft["brain"])) * spacing + origin,
        tissue=(float(csf), float(grey)),
        volumes=volumes,
        scale_to_mni=float(arrays["scale_to_mni"]),
        reference_scale=float((REFERENCE_ICV_ML / volumes["brain"]) ** (1 / 3)),
    )
