"""Check of the downloads of other studies than ADNI: images and tables that Clinica demands."""

from pathlib import Path

from ldae.conversion.studies import STUDIES
from ldae.conversion.study_download import faults_of, find_tables, heads
from ldae.errors import UserError
from ldae.preflight.report import ERROR, OK, Finding
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
    try:
        found = heads(study, images) if Path(images).is_dir() else []
    except UserError as error:
        return 0, 0, Finding(ERROR, TOPIC, f"{about['section']}.images: {error}")
    subjects = len({head.subject for head in found})
    text = f"{name}: {subjects:,} subjects, {len(found):,} images of {study.title} to convert"
    return subjects, len(found), Finding(OK, TOPIC, text)
