"""Explorer of made-up scans: a synthetic brain of the package, moved by hand, on any grid."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy import ndimage as ndi

from ldae.explorer.build import TOLERANCES
from ldae.explorer.page import MEGABYTE, grid, measures, overhead, write_page
from ldae.explorer.readings import MEASURES
from ldae.explorer.stack_coding import Stack, encode_within, packed

VISIT = Path(__file__).parents[2] / "src/ldae/sample/visit-month00.nii.gz"
ALPHAS = [-0.4, -0.3, -0.2, -0.1, -0.05, 0.0, 0.05, 0.1, 0.2, 0.3, 0.4]
DEMO, PAPER = (24, 32, 24), (128, 160, 128)
PEOPLE = 6
DIAGNOSES = ("CN", "CN", "MCI", "MCI", "AD", "AD")


def brain(shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A synthetic brain on a grid (X, Y, Z) of the template, in [0, 1], and its affine."""
    image = nib.load(VISIT)
    values = image.get_fdata(dtype=np.float32)
    factors = np.array(shape) / values.shape
    moved = ndi.zoom(values / values.max(), factors, order=3).clip(0, 1)
    affine = image.affine.copy()
    affine[:3, :3] /= factors[0]
    return np.where(moved > 0.04, moved, 0).astype(np.float32), affine


def moved(volume: np.ndarray, amount: float, texture: np.ndarray) -> np.ndarray:
    """The brain with darker and wider ventricles, as the networks change one: smooth and local."""
    axes = np.meshgrid(*(np.linspace(-1, 1, size) for size in volume.shape), indexing="ij")
    near = np.exp(-((axes[0] / 0.25) ** 2 + (axes[1] / 0.45) ** 2 + ((axes[2] - 0.1) / 0.3) ** 2))
    return (volume * (1 - amount * near) * (1 + 0.05 * amount * texture)).clip(0, 1)


def made_person(number: int, shape: tuple[int, int, int]) -> tuple[dict[str, Any], Stack]:
    """A person for the page, with all four series, and the volumes."""
    rng = np.random.default_rng(number)
    base, _ = brain(shape)
    texture = ndi.gaussian_filter(rng.normal(size=shape).astype(np.float32), 1.5)
    texture /= texture.std()
    decoded = ndi.gaussian_filter(base, 0.6 * shape[0] / 64)
    stack = Stack()
    scan = base * (1 + 0.02 * rng.normal(size=shape))
    stack.add(scan)
    start = ALPHAS.index(0.0)
    places = {start: stack.add(decoded)}
    for step in (1, -1):
        for place in range(start + step, len(ALPHAS) if step > 0 else -1, step):
            volume = moved(decoded, 1.5 * ALPHAS[place], texture)
            places[place] = stack.add(volume, places[place - step])
    between = [places[start]]
    for part in range(1, 11):
        between.append(stack.add(moved(decoded, 0.03 * part, -texture), between[-1]))
    noise = [stack.add(moved(decoded, 0.2, np.roll(texture, 5 * k)), places[start]) for k in (1, 2)]
    truth = stack.add(moved(scan, 0.5, texture * 0), 0)
    diagnosis = DIAGNOSES[number % PEOPLE]

    def readings(slopes: np.ndarray) -> dict[str, list[float]]:
        return {key: (10 * (k + 1) + slopes * (k + 1)).tolist() for k, key in enumerate(MEASURES)}

    def series(key: str, positions: list, labels: list, frames: list, reference: int, **more):
        values = np.linspace(-1, 1, len(positions))
        asked = readings(1.5 * values)
        return {
            "key": key,
            "axis": key,
            "positions": positions,
            "labels": labels,
            "frames": frames,
            "reference": reference,
            "decoded": readings(values),
            "asked": {name: asked[name] for name in ("logit", "age")},
            **more,
        }

    months = [2.4 * k for k in range(11)]
    described = {
        "scan": f"sub-{number:02d}_ses-M000",
        "diagnosis": diagnosis,
        "series": [
            series(
                "manipulation",
                ALPHAS,
                [f"{alpha:+g}" if alpha else "0" for alpha in ALPHAS],
                [places[k] for k in range(len(ALPHAS))],
                start,
                seen=[-0.15, 0.25],
            ),
            series("visits", months, [f"month {m:.0f}" for m in months], between, 0),
            series(
                "reconstruction",
                [0, 1],
                ["scan", "T = 10"],
                [0, places[start]],
                0,
                ssim=[1, 0.9],
                is_list=True,
            ),
            series(
                "variation",
                [0, 1, 2],
                ["own z_T", "noise 1", "noise 2"],
                [places[start], *noise],
                0,
                is_list=True,
            ),
        ],
        "visits": {"positions": [0, 12, 24], "decoded": readings(np.array([-1.0, 0.0, 1.0]))},
        "truth": {
            "frame": truth,
            "target": "CN" if diagnosis == "AD" else "AD",
            "changes": dict.fromkeys(MEASURES, 1.5),
        },
        "trail": [[number + 0.2 * k, 70 + 0.3 * k] for k in range(len(ALPHAS))],
    }
    return described, stack


def made_page(path: Path, shape: tuple[int, int, int], people: int = PEOPLE) -> int:
    """Write the explorer of made-up people; returns its size in bytes."""
    made = [made_person(number, shape) for number in range(people)]
    _, affine = brain(shape)
    points = [
        {"scan": person["scan"], "diagnosis": person["diagnosis"], "age": 71.5}
        | {"at": [float(number), 70.0 + number]}
        for number, (person, _) in enumerate(made)
    ]
    points += [
        {"scan": f"sub-9{k}_ses-M000", "diagnosis": "AD", "age": None, "at": [k - 1.5, 77.0]}
        for k in range(3)
    ]
    pictures = np.random.default_rng(0).integers(0, 255, len(points) * 2 * 32 * 32, np.uint8)
    band = [
        {"alpha": alpha, "value": 10 * alpha, "low": 10 * alpha - 1, "high": 10 * alpha + 1}
        | {"people": 8}
        for alpha in ALPHAS
        if alpha
    ]
    content = {
        "grid": grid(affine),
        "classes": ["CN", "AD"],
        "measures": measures("AD"),
        "people": [person for person, _ in made],
        "bands": dict.fromkeys(MEASURES, band),
        "map": {
            "x": "First discriminant of y_sem, CN against AD",
            "y": "Predicted age (years)",
            "points": points,
            "pictures": {
                "widths": [32, 32],
                "heights": [32, 32],
                "data": packed(pictures.tobytes()),
            },
        },
    }
    most = int(11.4 * MEGABYTE) - overhead()
    stacks, _ = encode_within([stack for _, stack in made], most, TOLERANCES)
    return write_page(path, "Explorer", ["Made-up scans."], content, stacks)
