"""Count of the scans to expect, from folders and their names alone: no image is opened."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ldae.config import folder_key, preprocessed_cohorts
from ldae.conversion.download import DownloadFolders, is_folder, read_name
from ldae.conversion.t1w_preference import asked_for, entities_of, never_taken
from ldae.files import read_table
from ldae.preflight.report import ERROR, OK, WARNING, Finding, some
from ldae.preflight.run_facts import Facts
from ldae.preflight.studies import count_study

TOPIC = "scans"
SAMPLED = 5  # subjects of which one image folder is listed
_IMAGE = re.compile(r"I\d+")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_T1W = re.compile(r".*_T1w\.nii(\.gz)?")


@dataclass(frozen=True)
class Counts:
    """Size of the cohort.

    Attributes:
        subjects: Number of subjects.
        scans: Number of scans to process, one a visit; exact if ``known``, else an upper bound.
        raw: How many of them are raw heads; the others come preprocessed.
        converted: How many Clinica makes of the downloads of other studies (cohort.study).
        known: Whether the scans are listed already (results/cohort/scans.tsv).
    """

    subjects: int
    scans: int
    raw: int
    converted: int = 0
    known: bool = False

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.subjects + other.subjects,
            self.scans + other.scans,
            self.raw + other.raw,
            self.converted + other.converted,
        )


def counted(subjects: int, scans: int, dataset: Mapping[str, Any]) -> Counts:
    """Size of a data set of the configuration, all of whose scans are raw or preprocessed."""
    raw = folder_key(dataset) == "bids_dir"
    return Counts(subjects, scans, scans if raw else 0)


def count(
    facts: Facts, folders: DownloadFolders | None, expected: Counts | None = None
) -> tuple[Counts | None, list[Finding]]:
    """Count the subjects and scans of all data sets.

    Args:
        facts: Facts about the run.
        folders: The subjects' folders of the download; None: there is no download.
        expected: Scans of the download that will be converted; None: only its visits are known.

    Returns:
        The counts (None: no scan was found), and the findings.
    """
    listed = facts.results / "cohort/scans.tsv"
    found: list[Finding] = []
    total = Counts(0, 0, 0)
    cohort = facts.config["cohort"]
    if folders is not None and folders.subjects:
        total, found = _download(folders)
        total = expected or total
    elif facts.to_make:
        about = facts.config["synthetic"]
        total = counted(about["subjects"], about["subjects"] * about["visits"], cohort)
        text = f"{total.subjects:,} synthetic subjects, at most {total.scans:,} scans, to be made"
        found.append(Finding(OK, TOPIC, text))
    datasets = dict(cohort["beside"])
    places = {
        name: about[folder_key(about)]
        for name, about in datasets.items()
        if name not in facts.studies
    }
    for name, about in facts.synthetic_beside.items():
        if not Path(places[name]).is_dir():
            subjects, most = about["subjects"], about["subjects"] * about["visits"]
            total += counted(subjects, most, datasets[name])
            text = f"{name}: {subjects:,} synthetic subjects, at most {most:,} scans, to be made"
            found.append(Finding(OK, TOPIC, text))
    if facts.dataset is not None and not cohort["study"]:
        datasets[cohort["name"]] = cohort
        places[cohort["name"]] = facts.dataset[1]
    for name, place in places.items():
        if Path(place).is_dir():
            bids_filter = datasets[name].get("bids_filter") or {}
            subjects, scans, about = _bids(name, Path(place), bids_filter)
            total += counted(subjects, scans, datasets[name])
            found.append(about)
    for subjects, scans, about in map(partial(count_study, facts), facts.studies):
        total += Counts(subjects, scans, scans, scans)
        found.append(about)
    if listed.is_file():
        table = read_table(listed, ["participant_id", "cohort"])
        raw = int((~table["cohort"].isin(preprocessed_cohorts(cohort))).sum())
        made = int(table["cohort"].isin(facts.studies).sum())
        total = Counts(table["participant_id"].nunique(), len(table), raw, made, known=True)
        text = f"{len(table):,} scans of {total.subjects:,} subjects are listed in {listed}"
        found.append(Finding(OK, TOPIC, text))
    return (total if total.scans else None), found


def _download(folders: DownloadFolders) -> tuple[Counts, list[Finding]]:
    """Count the images and visits of an ADNI download, by the names of folders."""
    images = visits = 0
    empty, unnamed = [], []
    for number, (subject, places) in enumerate(folders.subjects.items()):
        dates: set[str] = set()
        first, here = None, 0
        for path, date in (item for place in places for item in image_folders(place)):
            first, here = first or path, here + 1
            dates.add(date or path)
        images, visits = images + here, visits + len(dates)
        if not here:
            empty.append(subject)
        elif number % max(1, len(folders.subjects) // SAMPLED) == 0 and not _has_image(first):
            unnamed.append(first)
    total = Counts(len(folders.subjects), visits, visits)
    text = f"{total.subjects:,} subjects, {images:,} images, {visits:,} visits with images on disk"
    found = [Finding(OK, TOPIC, text)]
    if not images:
        text = "No subject's folder holds images in ADNI's form, <series>/<date>/I<ImageUID>"
        found = [Finding(ERROR, TOPIC, text, "Unpack ADNI's archives as they are (docs/adni.md).")]
    elif empty:
        text = f"{len(empty):,} subjects have no folder I<ImageUID> with an image: {some(empty)}"
        found.append(Finding(WARNING, TOPIC, text, "Download them again, if they should be there."))
    if unnamed:
        text = f"Of {SAMPLED} sampled folders these hold no file ..._I<ImageUID>.dcm or .nii: "
        remedy = "Keep ADNI's file names; the study tables refer to images by them."
        found.append(Finding(WARNING, TOPIC, text + some(unnamed), remedy))
    return total, found


def image_folders(folder: Path, levels: int = 3) -> list[tuple[str, str | None]]:
    """Folders ``I<ImageUID>`` below a subject's, each with the date in the name of its parents."""
    found, waiting = [], [(os.fspath(folder), None, levels)]
    while waiting:
        place, date, left = waiting.pop()
        try:
            with os.scandir(place) as entries:
                below = [entry for entry in entries if is_folder(entry)]
        except OSError:  # the rule check_download lists it with the reason
            continue
        for entry in below:
            if _IMAGE.fullmatch(entry.name):
                found.append((entry.path, date))
            elif left > 1:
                match = _DATE.match(entry.name)
                waiting.append((entry.path, match[0] if match else date, left - 1))
    return found


def _has_image(folder: str) -> bool:
    with os.scandir(folder) as entries:
        return any((about := read_name(entry.name)) and about[0] for entry in entries)


def _bids(name: str, folder: Path, bids_filter: Mapping[str, Any]) -> tuple[int, int, Finding]:
    """Count the subjects, and the sessions of a BIDS data set that have a T1-weighted image."""
    subjects, scans, asked = 0, 0, asked_for(bids_filter)
    for subject in _below(folder, "sub-"):
        sessions = [subject, *_below(subject.path, "ses-")]
        good = sum(_has_t1w(f"{session.path}/anat", asked) for session in sessions)
        subjects, scans = subjects + bool(good), scans + good
    text = f"{name}: {subjects:,} subjects, {scans:,} sessions with a T1-weighted image"
    if bids_filter:
        text += f", less those that its bids_filter leaves out ({', '.join(bids_filter)})"
    if scans:
        return subjects, scans, Finding(OK, TOPIC, text)
    remedy = "It needs images sub-*/[ses-*/]anat/*_T1w.nii.gz (docs/cohorts.md)."
    return 0, 0, Finding(ERROR, TOPIC, text, remedy)


def _below(folder: str | Path, prefix: str) -> list[os.DirEntry]:
    with os.scandir(folder) as entries:
        return [entry for entry in entries if entry.name.startswith(prefix) and is_folder(entry)]


def _has_t1w(folder: str, asked: set[str]) -> bool:
    """Whether a folder has an image that may be taken, by its name."""
    try:
        with os.scandir(folder) as entries:
            names = (entry.name for entry in entries if _T1W.fullmatch(entry.name))
            return any(never_taken(entities_of(name), {}, asked) is None for name in names)
    except FileNotFoundError:
        return False
