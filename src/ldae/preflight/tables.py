"""ADNI's study tables: all that Clinica needs, once each, whole, in a form that we know."""

from ldae.conversion.study_tables import AUXILIARY, OPTIONAL, REQUIRED, read_download
from ldae.errors import UserError
from ldae.preflight.facts import Facts
from ldae.preflight.finding import ERROR, OK, WARNING, Finding, some
from ldae.preflight.paths import images_in

TOPIC = "tables"
GET = "Get it from the IDA, Search & Download (docs/adni.md)."


def check_tables(facts: Facts) -> list[Finding]:
    """Read the tables as the rule study_tables does, and tell every fault and every form."""
    folder = facts.path("tables")
    absent = not folder.is_dir() or images_in(folder)  # told under paths
    if absent or not facts.from_download:
        return []
    try:
        tables, auxiliary = read_download(folder)
    except UserError as error:
        _, *faults = str(error).splitlines()
        return [
            Finding(ERROR, TOPIC, line.strip(), "" if "in the IDA:" in line else GET)
            for line in faults
            if line.startswith("  ")
        ]
    found = []
    for name in REQUIRED:
        if name in tables:
            about = tables[name]
            text = f"{name}: {about.files[0]}, {len(about.table):,} rows, form {about.form}"
            found.append(Finding(OK, TOPIC, text))
        else:
            text = f"{name}: is made of MRIQC ({REQUIRED[name].purpose})"
            found.append(Finding(OK, TOPIC, text))
    there = [name for name in (*OPTIONAL, *AUXILIARY) if name in tables or name in auxiliary]
    found.append(Finding(OK, TOPIC, f"beside them: {some(there, 20) or 'none'}"))
    if "CDR" not in tables:
        text = "CDR is missing: the clinical dementia rating will be unknown at every visit"
        found.append(Finding(WARNING, TOPIC, text, GET))
    return found
