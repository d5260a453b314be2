"""Scanner effects on a brain in template space: contrast, coil, blur, noise and skull stripping.

Each site has two machines, each with its own style. Styles differ more between machines than
disease changes the mean of a scan. Every scan also deviates a little from the style of its machine.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage as ndi

from ldae.synthetic.brains import Brain, skull_distance
from ldae.synthetic.fields import sample
from ldae.synthetic.heads import Head

SITE_STREAM = 1_000_003  # stream of the random generator; no person has this index
BIAS_WAVELENGTH_MM = 45.0  # mm; distance of the control points of the coil's field
MARGIN_MM = 8.0  # mm; margin around the mask that is rendered too, for the blur at its edge
MASK_WAVELENGTH_MM = 12.0  # mm; distance of the control points of the brain mask's error


@dataclass(frozen=True)
class Style:
    """Imaging style of a machine.

    Attributes:
        field_strength: Tesla.
        csf, grey: Signal relative to white matter 1.
        gamma: Exponent of the signal between the tissues.
        bias: SD of the log of the field that the bias correction leaves.
        noise: SD relative to white matter, in either channel, after resampling.
        blur: SD in mm.
        strip, strip_error: Distance from the brain's border to the mask's, mm: mean and SD.
    """

    field_strength: float
    csf: float
    grey: float
    gamma: float
    bias: float
    noise: float
    blur: float
    strip: float
    strip_error: float


def draw_style(seed: int, site: int, machine: int, variation: float = 1.0) -> Style:
    """The style of a site's machine 0 or 1, drawn from these numbers alone.

    ``variation`` scales the differences between machines, the noise, the field that the bias
    correction leaves, and the error that the brain extraction leaves.
    """
    rng = np.random.default_rng([seed, SITE_STREAM, site, machine])

    def uniform(low: float, high: float) -> float:
        margin = (1 - variation) * (high - low) / 2
        return float(rng.uniform(low + margin, max(low + margin, high - margin)))

    strong = bool((site + machine) % 2)
    return Style(
        field_strength=3.0 if strong else 1.5,
        csf=uniform(0.16, 0.42),
        grey=uniform(0.58, 0.80),
        gamma=float(np.exp(rng.normal(0, 0.10 * variation))),
        bias=variation * uniform(0.02, 0.07) * (1.5 if strong else 1.0),
        noise=variation * uniform(0.01, 0.03) * (0.8 if strong else 1.5),
        blur=uniform(0.3, 1.8),
        strip=uniform(-1.5, 1.5),
        strip_error=variation * uniform(0.5, 1.2),
    )


def vary_style(style: Style, rng: np.random.Generator, variation: float = 1.0) -> Style:
    """A machine's style with the random deviations of one scan, scaled by ``variation``."""

    def factor(sd: float) -> float:
        return float(np.exp(rng.normal(0, sd * variation)))

    return replace(
        style,
        csf=style.csf * factor(0.06),
        grey=style.grey * factor(0.015),
        gamma=style.gamma * factor(0.03),
        noise=style.noise * factor(0.15),
        blur=style.blur * factor(0.1),
        strip=style.strip + float(rng.normal(0, 0.4 * variation)),
    )


def smooth_noise(
    shape: tuple[int, int, int], spacing: float, wavelength: float, rng: np.random.Generator
) -> np.ndarray:
    """A smooth random field of SD about 1 on a grid, float32: control points every wavelength."""
    count = [int(np.ceil(n * spacing / wavelength)) + 3 for n in shape]
    control = rng.normal(size=count)
    field = control
    for axis, n in enumerate(shape):
        where = 1 + np.arange(n) * spacing / wavelength
        field = _along(field, where, axis)
    return (field / field.std()).astype(np.float32)


def _along(field: np.ndarray, where: np.ndarray, axis: int) -> np.ndarray:
    """Cubic B-spline values of a field's control points along one axis."""
    low = np.floor(where).astype(int)
    t = (where - low).astype(np.float64)
    weights = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    moved = np.moveaxis(field, axis, -1)
    last = moved.shape[-1] - 1
    found = sum(w / 6 * moved[..., np.clip(low + k - 1, 0, last)] for k, w in enumerate(weights))
    return np.moveaxis(found, -1, axis)


def render_scan(
    brain: Brain,
    head: Head,
    pose: np.ndarray,
    style: Style,
    grid: tuple[tuple[int, int, int], np.ndarray],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """A skull-stripped scan and its mask on a grid in template space.

    With the same generator state, two heads of one brain differ by their anatomy alone.

    Args:
        head: The brain with an atrophy.
        pose: (4, 4) motion from the head to template space, mm.
        grid: Shape and affine (4, 4), RAS, mm.

    Returns:
        (X, Y, Z) float32, about 1 in white matter, 0 outside the mask; (X, Y, Z) bool.
    """
    shape, affine = grid
    spacing = float(affine[0, 0])
    points = brain.points(head, affine, shape, pose)
    distance, distance_grid = skull_distance(brain.base.name)
    beyond = sample(distance, distance_grid, points, "border").view(*shape).numpy()
    edge = style.strip + style.strip_error * smooth_noise(shape, spacing, MASK_WAVELENGTH_MM, rng)
    mask = ndi.binary_opening(beyond < edge)
    near = beyond < float(edge.max()) + MARGIN_MM
    points = points[torch.from_numpy(near.ravel())]
    raw = sample(brain.base.head, brain.base.grid, points)
    uneven = sample(brain.texture, brain.texture_grid, points, "border")
    signal = np.zeros(shape, np.float32)
    signal[near] = (tissue_curve(raw, brain.base.tissue, style) * (1 + uneven)).numpy()[0]
    signal = ndi.gaussian_filter(signal, style.blur / spacing, truncate=3)
    signal = signal * np.exp(style.bias * smooth_noise(shape, spacing, BIAS_WAVELENGTH_MM, rng))
    sigma = np.float32(style.noise)
    real = signal + sigma * rng.standard_normal(shape, dtype=np.float32)
    imaginary = sigma * rng.standard_normal(shape, dtype=np.float32)
    return np.hypot(real, imaginary) * mask, mask


def tissue_curve(raw: torch.Tensor, tissue: tuple[float, float], style: Style) -> torch.Tensor:
    """A base's intensities with the contrast of a style: monotone piecewise linear map, then gamma.

    ``tissue`` holds the base's intensities of CSF and of grey matter.
    """
    knots = np.array([0.0, tissue[0], tissue[1], 1.0, 2.0])
    levels = np.array([0.0, style.csf, style.grey, 1.0, 1.6])
    moved = np.interp(raw.numpy(), knots, levels).astype(np.float32)
    return torch.from_numpy(moved ** np.float32(style.gamma))
