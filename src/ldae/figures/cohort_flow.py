"""CONSORT flow chart: from every image of the download to the scans used, with the reasons."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from ldae.cohort.splits import EXTERNAL
from ldae.config import MRIQC
from ldae.errors import require
from ldae.figures.flow_boxes import GAP, Sheet, Text, box_height, items
from ldae.figures.style import DIAGNOSIS, PAGE, Drawing
from ldae.files import read_table
from ldae.labels import count, listing
from ldae.preprocess.qc_bounds import MEASURES

INPUTS = {
    "flow": "images lost at each stage (flow.tsv)",
    "index": "scans of the volume store with split and diagnosis (index.tsv)",
}
OPTIONAL: dict[str, str] = {}
DATA = "tsv"
FLOW = ("cohort", "stage", "images", "subjects", "remaining", "remaining_subjects", "reasons")
SPLITS = {"train": "Training", "val": "Validation", "test": "Test", EXTERNAL: "External test"}
# Phases from top to bottom: label, heading of the losses beside, noun for what is lost, its stages,
# and what is left after them.
PHASES = (
    (
        "Download",
        "Not to be converted",
        "image",
        ("file", "metadata", "adni_qc", "selection"),
        "to convert",
    ),
    ("Conversion", "Lost in conversion", "scan", ("conversion", "duplicate"), "converted"),
    (
        "Preprocessing",
        "Lost in preprocessing",
        "scan",
        ("n4", "brain", "registration", "pack"),
        "preprocessed",
    ),
    ("Quality", "Excluded for their quality", "scan", ("qc", "exclude"), "used"),
)
STAGES = {
    "file": "Damaged or unrecognised file",
    "metadata": "Not in the study tables, or not a study to convert",
    "adni_qc": "Rejected by ADNI's quality check",
    "selection": "Not chosen for the visit",
    "conversion": "Conversion failed",
    "duplicate": "Duplicate of another scan",
    "n4": "Bias field correction failed",
    "brain": "Brain extraction failed",
    "registration": "Registration failed",
    "pack": "Registered image of no use",
    "qc": "Outside the bounds of a quality measure",
    "exclude": "Left out by a person",
}
# Words for ADNI's tables, and for our quality measures, in reasons.
TABLES = {
    "MPRAGEMETA": "the study table of scans",
    "ADNIMERGE": "the study table of visits",
}
MEASURE_LABELS = {measure.key: measure.label for measure in MEASURES}
MARGIN, LEFT, SIDE = 3.0, 12.0, 75.0  # mm: edge, main column from, side boxes from
BETWEEN = 4.0  # mm between the boxes of the splits
MIDDLE = (PAGE - LEFT - MARGIN - 2 * BETWEEN) / 3  # the training box hangs right below
SIDE_WIDTH = PAGE - SIDE - MARGIN


@dataclass
class Step:
    """A box of the main column, and the losses between it and the box above."""

    phase: str
    box: list[Text]
    losses: list[Text]


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """Boxes top down: what remains after each phase, the losses beside, and the three splits."""
    flow = read_table(inputs["flow"], FLOW)
    scans = read_table(inputs["index"], ("scan_id", "participant_id", "split", "diagnosis"))
    rows = flow[flow["cohort"] == flow["cohort"].iloc[0]].set_index("stage")
    require("download" in rows.index, f"{inputs['flow']} has no row for the stage 'download'.")
    by_cohort = flow[flow["cohort"] != flow["cohort"].iloc[0]].set_index(["stage", "cohort"])[
        "images"
    ]
    sheet = _chart(_steps(rows, by_cohort), rows, scans)

    total, used = (rows.loc[stage, "images"] for stage in ("download", "used"))
    splits = listing(
        [
            f"{name.lower()} {count(len(part), 'scan')} of "
            f"{count(part['participant_id'].nunique(), 'subject')}"
            for key, name in SPLITS.items()
            if len(part := scans[scans["split"] == key])
        ]
    )
    body = (
        "Images, scans and subjects left after each phase; beside them how many were lost and the "
        "most frequent reasons, with their numbers. A scan that two quality measures refuse counts "
        "for both. Splits are by subject. The ledger has the outcome of every image."
    )
    result = (
        f"Of {count(total, 'image')} of {count(rows.loc['download', 'subjects'], 'subject')}, "
        f"{used:,} are used and {total - used:,} excluded: {splits}."
    )
    if len(by_cohort):
        result += f" By cohort: {listing(_cohort_sizes(by_cohort, 'used'))} scans used."
    if rows.loc["missing", "images"]:
        lacking = count(rows.loc["missing", "images"], "scan")
        result += f" The study tables name {lacking} more that the download lacks."
    return Drawing(sheet.figure, flow, "Flow of images through the workflow", body, result)


def _steps(rows: pd.DataFrame, by_cohort: pd.Series) -> list[Step]:
    """The boxes of the main column, one a phase, also where nothing was lost."""
    first = [*_left(rows, "download", "image", "on disk"), *_cohorts(by_cohort, "download")]
    steps = [Step("", first, [])]
    for phase, heading, noun, stages, left in PHASES:
        lost = rows.loc[list(stages), "images"]
        number = count(int(lost.sum()), noun) if lost.sum() else "none"
        losses = [Text(f"{heading}: {number}", bold=bool(lost.sum()))]
        for stage in lost[lost > 0].sort_values(ascending=False, kind="stable").index:
            losses.append(Text(f"{STAGES[stage]}: {lost[stage]:,}"))
            reasons = rows.loc[stage, "reasons"]
            if not pd.isna(reasons):
                words = [plain_reason(each) for each in str(reasons).split("; ")]
                losses += items(words, SIDE_WIDTH, indent=2.5)
        steps.append(Step(phase, _left(rows, stages[-1], "scan", left), losses))
    steps[-1].box = [*_left(rows, "used", "scan", "used"), *_cohorts(by_cohort, "used")]
    for label in ("diagnosis", "age"):
        lacking = rows.loc[f"no_{label}", "images"]
        if lacking:
            steps[-1].box.append(Text(f"of which {lacking:,} without {label}", small=True))
    return steps


def plain_reason(reason: str) -> str:
    """A reason of flow.tsv without keys of measures and without names of ADNI's tables."""
    measure, _, rest = reason.removeprefix("QC: ").partition(" ")
    if measure in MEASURE_LABELS:
        return f"{MEASURE_LABELS[measure]} {rest}"
    if measure.startswith(MRIQC):
        return f"MRIQC: {measure.removeprefix(MRIQC)} {rest}"
    for name, words in TABLES.items():
        reason = reason.replace(name, words)
    return reason[:1].upper() + reason[1:]


def _left(rows: pd.DataFrame, stage: str, noun: str, what: str) -> list[Text]:
    images, subjects = (int(rows.loc[stage, name]) for name in ("remaining", "remaining_subjects"))
    return [Text(f"{count(images, noun)} {what}", bold=True), Text(count(subjects, "subject"))]


def _cohorts(by_cohort: pd.Series, stage: str) -> list[Text]:
    return items(_cohort_sizes(by_cohort, stage), MIDDLE)


def _cohort_sizes(by_cohort: pd.Series, stage: str) -> list[str]:
    """``ADNI 10,340`` for each of several cohorts."""
    return (
        [f"{name} {images:,}" for name, images in by_cohort[stage].items()]
        if len(by_cohort)
        else []
    )


def _chart(steps: list[Step], rows: pd.DataFrame, scans: pd.DataFrame) -> Sheet:
    parts = {name: scans[scans["split"] == key] for key, name in SPLITS.items()}
    parts = {name: part for name, part in parts.items() if len(part)}
    width = (PAGE - LEFT - MARGIN - BETWEEN * (len(parts) - 1)) / len(parts)
    splits = [_split(name, part, width) for name, part in parts.items()]
    tallest = max(map(box_height, splits))
    height = sum(box_height(step.box) for step in steps) + tallest + 3 * GAP
    height += sum(box_height(step.losses) + GAP for step in steps if step.losses)
    missing = int(rows.loc["missing", "images"])

    sheet = Sheet(PAGE, height)
    x, y = LEFT + MIDDLE / 2, GAP / 2
    for number, step in enumerate(steps):
        if step.losses:
            side = box_height(step.losses)
            sheet.arrow((x, y), (x, y + side + GAP))
            sheet.arrow((x, y + (side + GAP) / 2), (SIDE, y + (side + GAP) / 2))
            sheet.box(SIDE, y + GAP / 2, SIDE_WIDTH, step.losses, align="left", loss=True)
            with_box = side + GAP / 2 + box_height(step.box)
            sheet.phase(MARGIN, y + GAP / 2, with_box, step.phase)
            y += side + GAP
        size = box_height(step.box)
        if number == 0 and missing:
            note = [Text(f"Named by the study tables, not on disk: {count(missing, 'scan')}")]
            middle = y + (size - box_height(note)) / 2
            sheet.box(SIDE, middle, SIDE_WIDTH, note, align="left", dashed=True)
        sheet.box(LEFT, y, MIDDLE, step.box, strong=number in (0, len(steps) - 1))
        y += size

    bar = y + GAP
    centres = [LEFT + width / 2 + number * (width + BETWEEN) for number in range(len(splits))]
    sheet.line((x, y), (x, bar))
    sheet.line((min(*centres, x), bar), (max(*centres, x), bar))
    sheet.phase(MARGIN, bar + GAP, tallest, "Splits")
    for centre, lines in zip(centres, splits, strict=True):
        sheet.arrow((centre, bar), (centre, bar + GAP))
        sheet.box(centre - width / 2, bar + GAP, width, lines, strong=True, height=tallest)
    return sheet


def _split(name: str, part: pd.DataFrame, width: float) -> list[Text]:
    lines = [
        Text(name, bold=True),
        Text(count(len(part), "scan")),
        Text(count(part["participant_id"].nunique(), "subject")),
        *items(_sizes(part["diagnosis"].fillna("unknown"), list(DIAGNOSIS)), width),
    ]
    if "cohort" in part and part["cohort"].nunique() > 1:
        lines += items(_sizes(part["cohort"], []), width)
    return lines


def _sizes(values: pd.Series, first: list[str]) -> list[str]:
    """``CN 3,200``, ``MCI 4,100``; values in ``first`` lead in that order."""
    sizes = values.value_counts()
    order = [name for name in first if name in sizes] + sorted(set(sizes.index) - set(first))
    return [f"{name} {sizes[name]:,}" for name in order]
