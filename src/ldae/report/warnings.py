"""Warnings that a reader needs before the numbers of a run.

They concern the cohort and its size, departures from the paper, the network of LPIPS, flags of the
model cards, and training scans that have changed since.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ldae.data.thumbnails import THUMBNAIL, changed_scans
from ldae.files import read_table
from ldae.labels import count

FEW_SUBJECTS = 50  # test subjects below which the report warns
PAPER_LPIPS = ("squeeze", "fake_3d")  # of the authors' code


@dataclass(frozen=True)
class Caution:
    """A warning about a run.

    Attributes:
        brief: In a sentence, for the report's first screen.
        text: In full.
    """

    brief: str
    text: str


def changed_scans_warning(
    cards: dict[str, dict[str, Any]], models: Path, index: pd.DataFrame
) -> list[Caution]:
    """A warning if training scans have changed since models were trained on them, else none.

    Scans are compared by their thumbnails (:mod:`ldae.data.thumbnails`). A model trained on
    latents is skipped, since its scans.tsv holds no thumbnails.

    Args:
        cards: ``model.json`` by model.
        models: Folder of the models: ``<model>/scans.tsv`` is read where the card counts scans.
        index: ``index.tsv`` of the volume store.
    """
    found = []
    for name, card in cards.items():
        trained_on = read_table(models / name / "scans.tsv") if "scans" in card else pd.DataFrame()
        if THUMBNAIL in trained_on:
            here, changed = changed_scans(trained_on, index)
            if changed:
                found.append(f"{name} ({len(changed):,} of {count(here, 'scan')})")
    if not found:
        return []
    return [
        Caution(
            f"Training scans have changed since the training of {count(len(found), 'model')}.",
            "Scans that these models were trained on have changed since, as after another "
            f"preprocessing, and the models were not trained again: {'; '.join(found)}.",
        )
    ]


def warnings(
    config: dict[str, Any], index: pd.DataFrame, cards: dict[str, dict[str, Any]]
) -> list[Caution]:
    """Warnings about a run.

    Args:
        config: The run's whole configuration.
        index: ``index.tsv`` of the volume store.
        cards: ``model.json`` by model: their departures and flags are repeated.
    """
    found = [*_of_the_cohort(config, index)]
    others = trained_on_other_scans(cards, index)
    if others:
        found.append(
            Caution(
                "Scans have come or gone since the models were trained.",
                "Scans have come or gone since these models were trained, and they were not "
                f"trained again: {'; '.join(others)}. Tests are of the scans there are now.",
            )
        )
    departed = departures(config, cards)
    if departed:
        found.append(
            Caution(
                f"The run differs from the paper in {count(len(departed), 'point')}: its numbers "
                "cannot be compared with the paper's.",
                f"Where this run leaves the paper: {'; '.join(departed)}.",
            )
        )
    lpips = config["evaluation"]["lpips"]
    if (lpips["net"], lpips["protocol"]) != PAPER_LPIPS:
        found.append(
            Caution(
                f"LPIPS is that of {lpips['net']}, not the paper's: do not compare the two.",
                f"LPIPS in the tables is measured by {lpips['net']}, protocol "
                f"{lpips['protocol']}. It cannot be compared with the paper's, whose values are "
                "left out.",
            )
        )
    for stage, card in cards.items():
        for flag in card.get("flags", []):
            text = f"The model card of {stage} says: {flag}."
            found.append(Caution(text, text))
    return found


def _of_the_cohort(config: dict[str, Any], index: pd.DataFrame) -> list[Caution]:
    """Warnings about whose scans they are, and how many."""
    found = []
    if "synthetic" in config:
        found.append(
            Caution(
                "The heads are synthetic: this tests the workflow and says nothing of patients.",
                "The cohort is synthetic. The numbers say whether the workflow works from end to "
                "end, not how well the method does on patients; the paper's values are from ADNI "
                "at full size and are set beside them for orientation alone.",
            )
        )
    if config["evaluation"]["truth"]:
        found.append(
            Caution(
                "All heads are made from three real ones, which training and test people share.",
                "All synthetic subjects are smooth deformations of three real base heads, and the "
                "same base heads occur in training and in test subjects: no test brain is wholly "
                "new. Where a scan's own y_sem does better than another subject's (decoding, "
                "guidance), the advantage can come from recognising the base head rather than the "
                "individual.",
            )
        )
    test = index[index["split"] == "test"]
    subjects = test["participant_id"].nunique()
    if subjects < FEW_SUBJECTS:
        found.append(
            Caution(
                f"Only {count(subjects, 'test subject')}: what is not shown is not refuted.",
                f"Only {count(subjects, 'test subject')} ({count(len(test), 'scan')}). Intervals "
                "are wide, percentile intervals of so few subjects tend to be too narrow still, "
                "and a claim that is not shown here is not thereby refuted.",
            )
        )
    return found


def trained_on_other_scans(cards: dict[str, dict[str, Any]], index: pd.DataFrame) -> list[str]:
    """Models trained on another number of scans or subjects than there are now, as phrases."""
    parts = {split: index[index["split"] == split] for split in ("train", "val")}
    now = {split: len(part) for split, part in parts.items()}
    now["subjects"] = pd.concat(list(parts.values()))["participant_id"].nunique()
    return [
        f"{name} has learnt from {count(scans['train'], 'scan')} and {scans['val']:,} for "
        f"selection, of {count(scans['subjects'], 'subject')} (now {now['train']:,}, "
        f"{now['val']:,} and {now['subjects']:,})"
        for name, card in cards.items()
        if (scans := card.get("scans")) and any(scans[key] != now[key] for key in now)
    ]


def departures(config: dict[str, Any], cards: dict[str, dict[str, Any]]) -> list[str]:
    """Departures from the paper that shape the models, as phrases.

    They are those that the model cards list, another brain extraction and another template.
    """
    extraction, template = (
        config["preprocess"]["brain_extraction"],
        config["preprocess"]["template"],
    )
    found = [text for card in cards.values() for text in card.get("departures", [])]
    if extraction["method"] != "antspynet":
        found.append(f"brain extraction by {extraction['method']}, not ANTsPyNet")
    if template["name"] != "MNI152NLin2009cSym":
        found.append(f"template {template['name']}, not the 2009c one")
    return list(dict.fromkeys(found))
