"""Check of the downloads of other studies than ADNI: images and tables that Clinica demands."""

from pathlib import Path

from ldae.conversion.studies import STUDIES
from ldae.conversion.study_download import faults_of, find_tables, read_heads
from ldae.labels import count
from ldae.preflight.report import ERROR, OK, WARNING, Finding
from ldae.preflight.run_facts import Facts

TOPIC = "studies"


def check_studies(facts: Facts) -> list[Finding]:
    """Check each download before Clinica runs: every missing folder, image and table at once."""
    found = []
    for name, about in facts.studies.items():
        study = STUDIES[about["study"]]
        images, tables = facts.root / about["images"], facts.root / about["tables"]
        faults = faults_of(study, images, tables, about["section"])
        found += [Finding(ERROR, TOPIC, what, remedy) for what, remedy in faults]
        if not faults:
            names = ", ".join(path.name for path in find_tables(study, tables)[0].values())
            found.append(Finding(OK, TOPIC, f"{name} ({study.title}): tables {names}"))
    return found


def count_study(facts: Facts, name: str) -> tuple[int, int, Finding]:
    """Number of subjects and images of a download, by file names; the conversion makes no more."""
    about = facts.studies[name]
    study, images = STUDIES[about["study"]], facts.root / about["images"]
    if not Path(images).is_dir():
        return 0, 0, Finding(OK, TOPIC, f"{name}: no image of {study.title} is there yet")
    found, unreadable = read_heads(study, images)
    subjects = len({head.subject for head in found})
    text = f"{name}: {subjects:,} subjects, {len(found):,} images of {study.title} to convert"
    if unreadable:
        why = next(iter(unreadable.values()))
        text += f"; {count(len(unreadable), 'archive')} cannot be read: {why}"
        return subjects, len(found), Finding(WARNING, TOPIC, text)
    return subjects, len(found), Finding(OK, TOPIC, text)
