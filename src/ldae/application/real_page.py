"""Page of real heads (Markdown): what the models did on them, head by head, and what it shows.

Heads are numbered; no name, path or picture of one is on the page.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import pearsonr

from ldae.application.bundle import Bundle
from ldae.application.training_codes import NOVEL
from ldae.errors import require
from ldae.files import MISSING, atomic
from ldae.labels import ABSENT, count, interval, listing, number
from ldae.report.tables.table import markdown_table

MARK = "This page is made by"  # a page without it is not overwritten
FEW = 30  # heads, below which the page says that they are few
LEAST = 4  # heads of a conclusion on ages, and of a correlation with an interval
INTRO = (
    "What preprocessing and models do on real heads. The models decide nothing about these people: "
    "the page says where the workflow holds on real images, and where it does not."
)
SYNTHETIC = (
    "**The models have seen synthetic brains alone**: deformed heads of no patient, with ages and "
    "diagnoses that were made up. Preprocessing and its checks are those of every run; diagnosis, "
    "age and manipulation are no evidence about models trained on patients."
)


@dataclass(frozen=True)
class Column:
    """A column of a table of heads: name in the measures, heading, decimals."""

    name: str
    heading: str
    digits: int


MASKS = (
    Column("brain_ml", "brain, ml", 0),
    Column("mask_dice", "mask: Dice with the segmentation", 3),
    Column("dice", "registered: Dice with the template", 3),
    Column("ncc", "registered: NCC", 2),
    Column("asymmetry", "asymmetry", 2),
)
IMAGES = (
    Column("ssim_autoencoder", "autoencoder", 3),
    Column("ssim_ldae", "LDAE", 3),
    Column("ssim_average", "average of the other heads", 3),
)
CODES = (
    Column("novelty_percentile", "novelty, percentile", 1),
    Column("distance", "distance", 2),
    Column("age", "age", 0),
    Column("predicted_age", "predicted age", 1),
)
VENTRICLES = (
    Column("true_ventricle_ml", "segmented", 1),
    Column("scan_ventricle_ml", "measured in the scan", 1),
    Column("ventricle_ml", "reconstruction (α = 0)", 1),
    Column("moved_ventricle_ml", "moved", 1),
    Column("alpha", "α", 2),
)


def write_real_page(
    page: Path,
    bundle: Bundle,
    heads: pd.DataFrame,
    reference: pd.DataFrame,
    failed: Sequence[int],
    sources: Sequence[str],
    steps: int,
    command: str,
) -> None:
    """Write the page.

    Args:
        page: Markdown file to write.
        bundle: The models.
        heads: From :func:`ldae.application.real_heads.measure_heads`, with the column ``number``.
        reference: The same of one synthetic head, ``number`` a word.
        failed: Numbers of the heads that could not be measured.
        sources: Where each head, failed ones too, comes from; empty where nothing is said.
        steps: Steps of the solver that the heads were decoded with.
        command: What makes the page.

    Raises:
        UserError: ``page`` is another file.
    """
    require_free(page)
    rows = pd.concat([heads, reference], ignore_index=True)
    parts = [
        f"# Real heads\n\n{MARK} `{command}`. Do not edit it.\n\n{INTRO}",
        _who(bundle, heads, failed, sources),
        _conclusions(bundle, heads, len(failed)),
        _masks(heads, rows),
        _reconstruction(heads, rows),
        _novelty(heads),
        _age(bundle, heads),
        _table(rows, CODES),
        _ventricles(bundle, heads, rows),
        _warnings(heads),
        _made(bundle, steps),
    ]
    with atomic(page) as temporary:
        temporary.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")


def require_free(page: Path) -> None:
    """Refuse to overwrite a file that is no such page.

    Raises:
        UserError: ``page`` is another file.
    """
    require(
        not page.exists() or MARK in page.read_text(encoding="utf-8", errors="replace"),
        f"{page} is another page: name another --page.",
    )


def numbers(heads: pd.DataFrame) -> pd.DataFrame:
    """The numbers of the page's tables, a row a head: what may be shared of them."""
    names = [column.name for column in (*MASKS, *IMAGES, *CODES, *VENTRICLES)]
    return heads.reindex(columns=["number", "quality", "predicted", *names])


def _table(heads: pd.DataFrame, columns: Sequence[Column]) -> str:
    """The columns that any head has a value of."""
    shown = [one for one in columns if one.name in heads and heads[one.name].notna().any()]
    rows = [
        [str(row["number"]), *(number(float(row[one.name]), one.digits) for one in shown)]
        for _, row in heads.iterrows()
    ]
    return markdown_table(["head", *(one.heading for one in shown)], rows)


def _who(bundle: Bundle, heads: pd.DataFrame, failed: Sequence[int], sources: Sequence[str]) -> str:
    """How many heads, where from, what failed, and what the models have seen."""
    total = len(heads) + len(failed)
    parts = [f"{count(total, 'head')}."]
    if total < FEW:
        parts = [f"**{count(total, 'head')}: few.** A mean of them says little about other heads."]
    told = pd.Series([source for source in sources if source], dtype=str).value_counts(sort=False)
    lines = [f"- {source}: {count(n, 'head')}" for source, n in told.items()]
    if failed:
        which = listing([str(one) for one in failed])
        parts.append(f"Not measured, since a step failed: {which} (`scans.tsv` has the reasons).")
    text = " ".join(parts) + ("\n\n" + "\n".join(lines) if lines else "")
    return f"{text}\n\n{SYNTHETIC}" if bundle.settings["synthetic"] else text


def _conclusions(bundle: Bundle, heads: pd.DataFrame, failed: int) -> str:
    """What the numbers say, a sentence each; each may come out the other way."""
    total, passed = len(heads) + failed, int((heads["quality"] == "passed").sum())
    lines = [f"Preprocessing: {passed} of {total} heads come through and pass the quality check."]
    floor = heads["ssim_average"]
    if floor.notna().all():
        above = int((heads["ssim_ldae"] > floor).sum())
        lines.append(
            "Reconstruction: the SSIM is above that of an average of the other heads in "
            f"{above} of {len(heads)}; nearest to their own scan are {_own(heads)} of {len(heads)} "
            "redrawn heads."
        )
    flagged = int((heads["novelty_percentile"] >= NOVEL).sum())
    lines.append(
        f"Novelty: {flagged} of {len(heads)} codes are flagged. All of these heads are of another "
        "kind than the training scans, so it should be all: novelty does not guard against that."
        if bundle.settings["synthetic"] and flagged < len(heads)
        else f"Novelty: {flagged} of {len(heads)} codes are flagged."
    )
    known = heads.dropna(subset="age")
    if len(known) >= LEAST:  # of fewer, the best constant is right by itself
        error, constant = _errors(known)
        lines.append(
            "Age: the probe is no better than the best constant, so it tells nothing of the age."
            if error >= constant
            else "Age: the probe is nearer than the best constant."
        )
    segmented = heads.dropna(subset="true_ventricle_ml")
    if len(segmented):
        lines.append(
            "Ventricles: the measure correlates with the segmented volume (r = "
            f"{_correlation(segmented['true_ventricle_ml'], segmented['scan_ventricle_ml'])}), "
            f"and is {_percent(_share(segmented))} of it."
        )
    change = _change(heads)
    lines.append(
        f"Manipulation: the measured ventricles change in the direction asked for in "
        f"{int((change > 0).sum())} of {len(heads)} heads. How large it is in a brain is not "
        "known: the measure is a proxy."
    )
    return "## What may be concluded\n\n" + "\n".join(f"- {line}" for line in lines)


def _change(heads: pd.DataFrame) -> pd.Series:
    """Change of the ventricles by the manipulation, positive in the direction asked for, ml."""
    return (heads["moved_ventricle_ml"] - heads["ventricle_ml"]) * np.sign(heads["alpha"])


def _errors(known: pd.DataFrame) -> tuple[float, float]:
    """Mean absolute error (years) of the predicted age, and of the best constant, the median."""
    real = known["age"]
    error, constant = (real - known["predicted_age"]).abs(), (real - real.median()).abs()
    return float(error.mean()), float(constant.mean())


def _masks(heads: pd.DataFrame, rows: pd.DataFrame) -> str:
    passed = int((heads["quality"] == "passed").sum())
    outside = heads[heads["quality"] != "passed"]
    text = [f"{passed} of {len(heads)} pass the [quality check](qc.md)."]
    text += [f"Head {row['number']} {row['quality']}." for _, row in outside.iterrows()]
    overlap = heads["mask_dice"].dropna()
    if len(overlap):
        text.append(
            f"Brain masks overlap with the segmentations by a Dice of {number(overlap.min(), 3)} "
            f"to {number(overlap.max(), 3)} (n = {len(overlap)}). Where a segmentation leaves out "
            "the fluid around the brain, the best mask has less than 1."
        )
    if "asymmetry" in heads:
        swapped = heads.loc[heads["asymmetry"] < 0, "number"]
        which = listing([f"head {one}" for one in swapped]) if len(swapped) else "no head"
        text.append(
            "[Left and right](qc.md#left-and-right): the asymmetry is below 0, which would be a "
            f"hint at swapped sides, in {which}."
        )
    return f"## Masks and registration\n\n{' '.join(text)}\n\n{_table(rows, MASKS)}"


def _reconstruction(heads: pd.DataFrame, rows: pd.DataFrame) -> str:
    means = [f"{one.heading} {number(float(heads[one.name].mean()), 3)}" for one in IMAGES[:2]]
    floor = heads["ssim_average"].dropna()
    text = f"Mean SSIM within the brain: {', '.join(means)}"
    if len(floor):
        above = int((heads["ssim_ldae"] > heads["ssim_average"]).sum())
        text += (
            f"; the floor, which knows nothing of the head, {number(float(floor.mean()), 3)}. The "
            f"LDAE is above the floor in {above} of {len(heads)}"
        )
        text += f". Nearest to their own scan are {_own(heads)} of {len(heads)} redrawn heads"
    note = (
        "The LDAE decodes from y_sem and z_T. The floor is the voxel average of the other heads of "
        "this page: smooth, which SSIM favours. *synthetic* is a head of the kind that the models "
        "were trained on."
    )
    return f"## Reconstruction\n\n{text}.\n\n{_table(rows, IMAGES)}\n\n{note}"


def _own(heads: pd.DataFrame) -> int:
    """How many reconstructions are nearer to their own scan than to any other."""
    return int((heads["nearest"].to_numpy() == np.arange(len(heads))).sum())


def _novelty(heads: pd.DataFrame) -> str:
    """How many codes are said to be unlike training, among them children."""
    flagged = heads["novelty_percentile"] >= NOVEL
    text = (
        f"{int(flagged.sum())} of {len(heads)} codes are flagged as unlike the training scans: "
        "farther from them than all that they were compared with (percentile 100; *distance* is "
        "the multiple of the farthest of those). The others lie at "
        f"{_range(heads.loc[~flagged, 'novelty_percentile'], 1)}."
    )
    if not flagged.any():
        text = (
            f"None of {len(heads)} codes is flagged as unlike the training scans (percentile 100): "
            f"they lie at {_range(heads['novelty_percentile'], 1)}. *distance* is the multiple of "
            "the farthest code that they are compared with."
        )
    children = heads[heads["age"] < 18]
    for (_, row), found in zip(children.iterrows(), flagged[children.index], strict=True):
        text += (
            f" Head {row['number']}, a child of {row['age']:g}, **is {'' if found else 'not '}"
            "flagged**."
        )
    if not flagged.all():
        text += (
            " So a low novelty does not say that the models may be used: a code looks usual for a "
            "head that none of their training scans is like."
        )
    return f"## Novelty of the code, and age\n\n{text}"


def _range(values: pd.Series, digits: int) -> str:
    if not len(values):
        return ABSENT
    return f"{number(float(values.min()), digits)} to {number(float(values.max()), digits)}"


def _age(bundle: Bundle, heads: pd.DataFrame) -> str:
    known = heads.dropna(subset="age")
    if not len(known):
        return ""
    error, constant = _errors(known)
    text = (
        f"The age probe of y_sem errs by {error:.1f} years on average "
        f"(n = {len(known)}); the best constant would err by {constant:.1f}. It answers "
        f"{_range(known['predicted_age'], 1)} for people of {_range(known['age'], 0)}; r = "
        f"{_correlation(known['age'], known['predicted_age'])}."
    )
    if "age" in bundle.settings["performance"]:
        told = bundle.settings["performance"]["age"]
        text += f" On test subjects of its own kind it errs by {told['value']:.1f} years."
    return text


def _ventricles(bundle: Bundle, heads: pd.DataFrame, rows: pd.DataFrame) -> str:
    """Measured against segmented ventricles, and the way that a manipulation changes them."""
    negative, positive = bundle.direction().classes
    change = _change(heads)
    text = [
        "A soft volume of fluid in a fixed region, in the template's scale: it follows the "
        "ventricles and does not estimate them.",
    ]
    known = heads.dropna(subset="true_ventricle_ml")
    if len(known):
        truth, seen = known["true_ventricle_ml"], known["scan_ventricle_ml"]
        edge = bundle.settings["volumes"]["spacing"]
        text.append(
            f"It is {_percent(_share(known))} of the segmented volume in the median: at "
            f"{edge:g} mm, voxels that are part fluid and part white matter count as grey matter, "
            "and narrow ventricles have few others. "
            f"Over heads it correlates with the segmented volume at r = {_correlation(truth, seen)}"
            f"; in the reconstruction at r = {_correlation(truth, known['ventricle_ml'])} "
            f"(n = {len(known)})."
        )
    scan, decoded = heads["scan_ventricle_ml"], heads["ventricle_ml"]
    text += [
        f"Reconstruction and scan: r = {_correlation(scan, decoded)} (n = {len(heads)}).",
        f"Each head was moved away from its predicted class. Towards {positive} the ventricles "
        f"should grow, towards {negative} shrink: they do in {int((change > 0).sum())} of "
        f"{len(heads)}, by {number(float(change.median()), 2)} ml in the median.",
    ]
    return f"## Ventricles\n\n{' '.join(text)}\n\nml:\n\n{_table(rows, VENTRICLES)}"


def _share(known: pd.DataFrame) -> float:
    """Measured over segmented ventricles, median."""
    return float((known["scan_ventricle_ml"] / known["true_ventricle_ml"]).median())


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _correlation(first, second) -> str:
    """Pearson's r with its 95 % interval (Fisher's); a dash where too few or equal values."""
    a, b = np.asarray(first, float), np.asarray(second, float)
    if len(a) < LEAST or not (np.ptp(a) and np.ptp(b)):
        return ABSENT
    found = pearsonr(a, b)
    low, high = found.confidence_interval(0.95)
    return interval(float(found.statistic), float(low), float(high), 2)


def _warnings(heads: pd.DataFrame) -> str:
    said = [
        (row["number"], row["warnings"])
        for _, row in heads.iterrows()
        if isinstance(row["warnings"], str) and row["warnings"] not in ("", MISSING)
    ]
    lines = [f"- Head {head}: {text}" for head, text in said]
    return "## Warnings\n\n" + "\n".join(lines) if lines else ""


def _made(bundle: Bundle, steps: int) -> str:
    settings = bundle.settings
    extraction = settings["preprocess"]["brain_extraction"]["method"]
    models = ", ".join(f"{name} `{value[:12]}`" for name, value in settings["models"].items())
    edge, shape = settings["volumes"]["spacing"], settings["volumes"]["shape"]
    return (
        "## How it was made\n\n"
        f"Brain extraction by {extraction}; volumes of {' × '.join(map(str, shape))} voxels of "
        f"{edge:g} mm; {steps} steps of the solver {settings['solver']}; models "
        f"(SHA-256): {models}. Your own heads: a folder of NIfTI files, or one with a table "
        "`heads.tsv`, whose columns [Apply the models to your scans](own-scans.md#real-heads-a-"
        "page) names. Figures of a head show its face until the brain is extracted: there is none "
        "here."
    )
