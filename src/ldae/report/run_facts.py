"""Facts of a run on the report's first screen: what was run, and what to trust and what not."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import pandas as pd

from ldae import __version__
from ldae.cohort.splits import EXTERNAL
from ldae.labels import count, listing
from ldae.report.tables.job_usage import duration
from ldae.report.verdicts import QUESTIONS, Claim
from ldae.report.warnings import FEW_SUBJECTS, Caution
from ldae.systems import lower_first

SHORT = 9  # characters of a commit's hash that are shown


def run_facts(
    folder: str,
    config: Mapping[str, Any],
    index: pd.DataFrame,
    cards: Mapping[str, Mapping[str, Any]],
    usage: pd.DataFrame,
    commit: str | None,
    day: date,
) -> dict[str, str]:
    """What was run, by heading.

    Args:
        folder: Name of the results folder.
        config: The run's whole configuration.
        index: ``index.tsv`` of the volume store.
        cards: ``model.json`` by model.
        usage: From :func:`ldae.orchestration.job_usage.job_usage_table`.
        commit: Of the source that writes the report; None: not known.
        day: On which the report is written.
    """
    machine = cards["ldae"].get("machine")
    outside = index[index["split"] == EXTERNAL]
    tested = f"{_scans(index[index['split'] == 'test'])}, held out"
    if len(outside):
        tested += f"; {_scans(outside)} of external test sets"
    shape = " × ".join(map(str, config["volumes"]["shape"]))
    hours = usage["cpu_hours"].sum() * 3600
    return {
        "Run": f"folder {folder}, seed {config['seed']}",
        "Cohort": f"{_cohort(config, index)}: {_scans(index)}",
        "Tested on": tested,
        "Volumes": f"{shape} voxels of {config['volumes']['spacing']:g} mm",
        "Trained on": (
            f"{machine['device']} ({machine['device_name']})"
            if machine
            else "the authors' published weights"
        ),
        "Time": (
            f"all jobs together {duration(usage['seconds'].sum())}, {duration(hours)} of CPU"
            if len(usage)
            else "not recorded"
        ),
        "Date": f"{day.day} {day:%B %Y}",
        "Source": f"version {__version__}, commit {_short(commit) if commit else 'not known'}",
    }


def _short(commit: str) -> str:
    """The first letters of a hash, with ``-dirty`` if the source differs from that commit."""
    number, _, changed = commit.partition("-")
    return f"{number[:SHORT]}{' with changes' if changed else ''}"


def _cohort(config: Mapping[str, Any], index: pd.DataFrame) -> str:
    names = (
        list(dict.fromkeys(index["cohort"])) if "cohort" in index else [config["cohort"]["name"]]
    )
    return f"{'synthetic, ' if 'synthetic' in config else ''}{listing(names)}"


def _scans(part: pd.DataFrame) -> str:
    people = count(part["participant_id"].nunique(), "subject")
    return f"{count(len(part), 'scan')} of {people}"


def grounds(
    flow: pd.DataFrame, index: pd.DataFrame, config: Mapping[str, Any], published: bool
) -> list[str]:
    """What speaks for the numbers of a run, a sentence each.

    Args:
        flow: ``flow.tsv``.
        index: ``index.tsv`` of the volume store.
        config: The run's whole configuration.
        published: Whether any of the models is published, and its training scans not known.
    """
    stages = flow[flow["cohort"] == flow["cohort"].iloc[0]].set_index("stage")["images"]
    left_out = stages["download"] - stages["used"]
    why = "the reason is kept for each of the others" if left_out else "none was left out"
    people = index.loc[index["split"] == "test", "participant_id"].nunique()
    unseen = "No probe" if published else "No model and no probe"
    return [
        f"It ran to the end: {stages['used']:,} of {count(stages['download'], 'image')} are used, "
        f"{why}.",
        f"{unseen} was trained on any of the {count(people, 'test subject')}.",
        f"Intervals are 95 % over subjects, {config['evaluation']['bootstrap']:,} times resampled; "
        "comparisons are on the same subjects.",
    ]


def cautions(found: Sequence[Caution], claims: Sequence[Claim]) -> list[str]:
    """What speaks against the numbers of a run, a sentence each.

    Args:
        found: From :mod:`ldae.report.warnings`.
        claims: All claims; of the questions whose claims rest on few subjects, the numbers.
    """
    few = [
        f"{lower_first(QUESTIONS[question])} {least}"
        for question, least in _least_subjects(claims).items()
        if least < FEW_SUBJECTS
    ]
    people = [f"Few subjects in some experiments: {listing(few)}."] if few else []
    return [*_once(caution.brief for caution in found), *people]


def _least_subjects(claims: Iterable[Claim]) -> dict[str, int]:
    """By question, the fewest subjects that any of its claims rests on."""
    least: dict[str, int] = {}
    for claim in claims:
        if claim.subjects:
            least[claim.question] = min(claim.subjects, least.get(claim.question, claim.subjects))
    return least


def _once(texts: Iterable[str]) -> list[str]:
    """Every text once, with its number where it occurs more often."""
    return [
        text if times == 1 else f"{text} ({times} times)" for text, times in Counter(texts).items()
    ]
