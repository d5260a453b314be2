"""Check of the scans that will come out of a download: its folders against its study tables.

Each visit's image is chosen as Clinica chooses it, from the tables, and looked for among the names
of folders. No image is opened, so one that is damaged counts as there.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from ldae.conversion.clinica_tables import read_clinica_tables
from ldae.conversion.download import DownloadFolders
from ldae.conversion.downloaded_scans import (
    by_reason,
    choose_downloaded,
    count_by_visit,
)
from ldae.conversion.prepare_tables import prepare_tables
from ldae.errors import UserError
from ldae.files import read_table, write_table
from ldae.labels import count
from ldae.preflight.report import ERROR, OK, WARNING, Finding
from ldae.preflight.run_facts import Facts
from ldae.preflight.scans import Counts, image_folders

TOPIC = "scans"
# Notes on repairs that tell of values which could not be read.
LOSS = re.compile(r"blanked \(|readable|\((not a|\w+ is no) ")


def expected_scans(
    facts: Facts, folders: DownloadFolders, to_download: Path
) -> tuple[Counts | None, list[Finding]]:
    """Count the scans that will come out of the download, by phase of ADNI and visit.

    Args:
        facts: Facts about the run; the study tables are complete.
        folders: The subjects' folders of the download.
        to_download: Written, if there are any: the preferred images that are not in the download.

    Returns:
        The counts (None: the tables cannot be prepared), and the findings.
    """
    try:
        with TemporaryDirectory(prefix="check-") as place, _quiet():
            work = Path(place)
            files = (work / name for name in ("tables", "tables.tsv", "held_back.tsv"))
            prepare_tables(facts.path("tables"), *files)
            tables = read_clinica_tables(work / "tables")
            repairs = _repairs(read_table(work / "tables.tsv"))
    except UserError as error:
        return None, [Finding(ERROR, TOPIC, str(error))]
    names = [
        (Path(path).name, subject)
        for subject, places in folders.subjects.items()
        for place in places
        for path, _ in image_folders(place)
    ]
    index = pd.DataFrame(names, columns=["image_id", "subject_id"]).assign(status=None, reason=None)
    choice = choose_downloaded(index, tables, facts.config["cohort"]["prefer"])
    taken = choice.visits[choice.visits["taken"].notna()]
    subjects = taken["subject_id"].nunique()
    text = f"{len(taken):,} scans of {subjects:,} subjects will be converted, by the study tables"
    found = [Finding(OK if len(taken) else ERROR, TOPIC, text)]
    for phase, row in count_by_visit(choice.visits).iterrows():
        visits = ", ".join(f"{code} {number:,}" for code, number in row.items() if number)
        found.append(Finding(OK, TOPIC, f"{phase}: {row.sum():,} scans: {visits}"))
    if len(wanted := choice.to_download()):
        write_table(wanted, to_download)
    else:
        to_download.unlink(missing_ok=True)
    for reason, visits in by_reason(choice.visits).items():
        found.append(_not_preferred(reason, visits, to_download))
    return Counts(subjects, len(taken), len(taken)), [*found, *repairs]


def _repairs(provenance: pd.DataFrame) -> list[Finding]:
    """What the study tables lose by values that cannot be read, and how others are rewritten."""
    found = []
    for name, text in provenance.set_index("table")["repairs"].dropna().items():
        loses = LOSS.search(text) is not None
        remedy = "Compare with the table in the IDA; download it again if it was edited."
        finding = (WARNING, remedy) if loses else (OK, "")
        found.append(Finding(finding[0], "tables", f"{name}: {text}", finding[1]))
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the notes on repairs of the tables; the rule study_tables logs them."""
    logger = logging.getLogger("ldae.conversion")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _not_preferred(reason: str, visits: pd.DataFrame, to_download: Path) -> Finding:
    """The finding on visits whose preferred image is not there, all for the same reason."""
    text = f"{count(len(visits), 'visit')}: {reason}"
    remedy = f"Download the images listed in {to_download}"
    if visits["taken"].notna().all():
        return Finding(OK, TOPIC, text, f"{remedy}, if you want those.")
    if visits["instead"].notna().all():
        return Finding(WARNING, TOPIC, text, f"{remedy}, or set cohort.prefer: downloaded.")
    return Finding(WARNING, TOPIC, text, f"{remedy}, if you want these visits.")
