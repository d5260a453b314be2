"""Affine estimation from a brain to the template, with other starts where the first one fails."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from ldae.preprocess._ants import ants
from ldae.preprocess.qc_measures import correlation, dice
from ldae.preprocess.resampling import Template, at_spacing

# Starts, tried in this order while the overlap is too low. FIRST: the centres of mass. STAGED: the
# same, through a rigid and a similarity transform; it finds a head tilted by 60 degrees. TURNED:
# the best of the 24 right-angle rotations; it finds a head stored with a wrong orientation.
FIRST, STAGED, TURNED = "centre of mass", "staged", "turned"
TURN_SPACING = 6.0  # mm, at which the rotations are compared
LEVELS = ((6, 3, 2100), (4, 2, 1200), (2, 1, 1200), (1, 0, 10))  # ANTs': shrink, blur, iterations
COARSEST = 12.0  # mm: a level with larger voxels can turn a brain upside down


@dataclass(frozen=True)
class Registration:
    """Transforms of one scan.

    Attributes:
        transforms: Files that take the brain to the template, in ANTs' order.
        affine: The linear one among them.
        attempts: One entry per affine tried, in order: start, dice and ncc (with the template, at
            the spacing of the estimate). The one with the highest ncc was kept.
    """

    transforms: list[str]
    affine: str
    attempts: list[dict[str, Any]]


def register(
    brain: ants.ANTsImage,
    mask: ants.ANTsImage,
    template: Template,
    cfg: Mapping[str, Any],
    folder: Path,
) -> Registration:
    """Register a brain at the spacing of ``template.coarse_brain``.

    2 to 3 mm suffice: an estimate at 1 mm differs by 0.2-0.5 mm and takes ten times as long.

    The next start is tried if the masks overlap (Dice) by less than ``retry_below``. Of all affines
    tried, the one with the highest correlation is kept. A brain turned upside down overlaps by up
    to 0.93, but correlates little.

    Args:
        brain, mask: Native grid, or a box of it around the brain.
        template: The target.
        cfg: config["preprocess"]["registration"]: type, retry_below.
        folder: Receives the files of the transforms.
    """
    fixed, inside = template.coarse_brain, template.coarse_mask.numpy() > 0
    coarse = at_spacing(brain, min(fixed.spacing))
    affines, attempts = [], []
    for start in (FIRST, STAGED, TURNED):
        affines.append(estimate(coarse, fixed, start, f"{folder}/{len(affines)}"))
        moved, moved_mask = (
            ants.apply_transforms(fixed, image, affines[-1:], "linear").numpy()
            for image in (coarse, mask.clone("float"))
        )
        overlap = dice(moved_mask >= 0.5, inside)
        ncc = correlation(moved[inside], fixed.numpy()[inside])
        attempts.append({"start": start, "dice": round(overlap, 5), "ncc": round(ncc, 5)})
        if overlap >= cfg["retry_below"]:
            break
    best = affines[int(np.argmax([attempt["ncc"] for attempt in attempts]))]
    if cfg["type"] == "SyN":
        warped = ants.registration(
            fixed, coarse, "SyNOnly", initial_transform=best, outprefix=f"{folder}/warp"
        )
        return Registration(warped["fwdtransforms"], best, attempts)
    return Registration([best], best, attempts)


def estimate(brain: ants.ANTsImage, template: ants.ANTsImage, start: str, prefix: str) -> str:
    """Estimate the affine that takes ``brain`` to ``template``; returns its file.

    Args:
        brain, template: At the spacing of the estimate.
        start: ``FIRST``, ``STAGED`` or ``TURNED``.
        prefix: Path that the names of the files begin with.
    """
    options = {"type_of_transform": "TRSAA" if start == STAGED else "Affine"}
    if start == TURNED:
        options["initial_transform"] = best_turn(brain, template, f"{prefix}turn.mat")
    result = ants.registration(
        template, brain, outprefix=prefix, **options, **pyramid(min(template.spacing))
    )
    (affine,) = result["fwdtransforms"]
    return affine


def best_turn(brain: ants.ANTsImage, template: ants.ANTsImage, path: str) -> str:
    """Write the right-angle rotation about the centres of mass with the highest correlation.

    It is scaled so that brain and template have the same volume. Returns ``path``.
    """
    spacing = max(TURN_SPACING, min(template.spacing))
    fixed, moving = at_spacing(template, spacing), at_spacing(brain, spacing)
    inside = fixed.numpy() > 0
    centre, goal = (np.array(ants.get_center_of_mass(image)) for image in (fixed, moving))
    volumes = [(image.numpy() > 0).sum() * np.prod(image.spacing) for image in (moving, fixed)]
    scale = np.cbrt(volumes[0] / volumes[1])
    turns = []
    for rotation in Rotation.create_group("O").as_matrix():
        turn = ants.create_ants_transform(
            "AffineTransform", matrix=rotation * scale, center=centre, translation=goal - centre
        )
        turned = turn.apply_to_image(moving, fixed).numpy()[inside]
        turns.append((correlation(turned, fixed.numpy()[inside]), turn))
    ants.write_transform(max(turns, key=lambda found: found[0])[1], path)
    return path


def pyramid(spacing: float) -> dict[str, tuple[int, ...]]:
    """ANTs' options of the resolution levels, without levels too coarse to determine a pose.

    At a spacing of 3 mm, ANTs' first level has voxels of 18 mm and samples a fifth of them. With it
    one of 134 synthetic heads came out upside down.
    """
    shrink, blur, iterations = zip(
        *(level for level in LEVELS if level[0] * spacing <= COARSEST or level[0] == 1),
        strict=True,
    )
    return {
        "aff_shrink_factors": shrink,
        "aff_smoothing_sigmas": blur,
        "aff_iterations": iterations,
    }
