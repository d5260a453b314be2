"""Acquisition table: site, study phase and scanner of every scan, and the person's education.

The scan table has no such columns, and a new one would change what every model depends on. They
are read where each data set has them: the table of sessions, participants.tsv, the image's JSON
sidecars, the site in a subject's name.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pandas as pd

from ldae.conversion.bids_sidecars import Sidecars
from ldae.delimited import is_there, read_tsv
from ldae.errors import require
from ldae.files import MISSING

COLUMNS = [
    "scan_id", "participant_id", "cohort", "site", "phase", "field_strength", "vendor", "model",
    "education",
]  # fmt: skip
# Column -> names in the tables of data sets, without case and signs, the best first. Clinica's for
# ADNI: site, current_study and original_study, education_level.
NAMES = {
    "site": ("site", "siteid", "sitename", "acquisitionsite", "scansite", "centre", "center"),
    "phase": ("currentstudy", "colprot", "phase", "studyphase", "originalstudy", "origprot"),
    "vendor": ("manufacturer", "vendor", "scannermanufacturer", "scannervendor"),
    "model": ("manufacturersmodelname", "scannermodel", "scanner"),
    "education": ("educationlevel", "educationyears", "yearsofeducation", "education", "educ",
                  "pteducat"),
}  # fmt: skip
SIDECAR = {"vendor": "Manufacturer", "model": "ManufacturersModelName"}
# Words of a vendor's name in headers -> its name.
VENDORS = {
    r"siemens": "Siemens",
    r"ge\b|general electric|g\.e\.": "GE",
    r"philips": "Philips",
    r"toshiba|canon": "Canon",
    r"hitachi|fujifilm": "Hitachi",
    r"uih|united imaging": "United Imaging",
}
NOMINAL = (0.55, 1.0, 1.5, 2.0, 3.0, 4.0, 7.0)  # tesla
OFF = 0.06  # relative distance from a nominal strength: a magnet of 3 T may be called 2.89
NOT_A_LABEL = ("", MISSING, "NA", "nan", "-4")
WHOLE = re.compile(r"0*(\d+)(\.0+)?")  # a whole number however it is written: 2, 002, 2.0


def acquisition_table(
    scans: pd.DataFrame,
    conversion: pd.DataFrame,
    bids: str | Path,
    datasets: Mapping[str, str | Path],
    site: str | None,
) -> pd.DataFrame:
    """Find the acquisition of every scan.

    Args:
        scans: The scan table.
        conversion: The conversion table: where an imported scan lies in its data set.
        bids: The BIDS folder of all cohorts. Scans of the download are described in it.
        datasets: Cohort -> folder of the BIDS data set that it was imported from.
        site: Regular expression with one group, the site in a subject's name; it serves where no
            table has the site. None: names tell none.

    Returns:
        Columns :data:`COLUMNS`, a row for each scan in their order; n/a where nothing is known.
        ``field_strength`` is the nominal one, tesla; ``education`` in years. Sites and phases begin
        with the cohort's name, since two cohorts may use one name.

    Raises:
        UserError: the folder of a data set does not exist.
    """
    for cohort, folder in datasets.items():
        require(
            Path(folder).is_dir(),
            f"The folder {folder} of the data set {cohort} does not exist, and its tables name the "
            "sites and scanners. Connect it again, or set evaluation.scanner and "
            "evaluation.fairness to null.",
        )
    imported = conversion[conversion["status"] == "converted"].set_index("scan_id")
    readers: dict[Path, _DataSet] = {}
    rows = []
    for scan in scans.itertuples():
        folder = Path(datasets.get(scan.cohort, bids))
        if folder not in readers:
            readers[folder] = _DataSet(folder)
        subject, session = scan.participant_id, scan.session_id
        path = scan.path
        if scan.cohort in datasets:
            subject = imported.at[scan.scan_id, "subject_id"]
            path = imported.at[scan.scan_id, "path"]
        found = readers[folder].found(_label(subject), _label(session), folder / path)
        if found["site"] is None and site:
            named = re.search(site, scan.participant_id)
            found["site"] = named[1] if named else None
        found["site"] = _site_name(found["site"])
        for name in ("site", "phase"):
            found[name] = _of_cohort(found[name], scan.cohort)
        rows.append(
            {"scan_id": scan.scan_id, "participant_id": scan.participant_id, "cohort": scan.cohort}
            | found
            | {"field_strength": nominal_strength(scan.field_strength)}
        )
    table = pd.DataFrame(rows, columns=COLUMNS)
    years = pd.to_numeric(table["education"], errors="coerce")
    table["education"] = years.where(years >= 0)  # ADNI's codes of missing values are negative
    for name in COLUMNS[3:]:
        logging.info("%s: known of %d of %d scans", name, table[name].notna().sum(), len(table))
    return table


class _DataSet:
    """Tables and sidecars of one BIDS data set; each table is read once."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._sidecar = Sidecars(folder)
        self._people = _rows(folder / "participants.tsv", "participant_id")
        self._visits = _rows(folder / "sessions.tsv", "participant_id", "session_id")
        self._own = cache(self._own_visits)

    def _own_visits(self, subject: str) -> dict[tuple[str, ...], dict[str, str]]:
        return _rows(self._folder / f"sub-{subject}" / f"sub-{subject}_sessions.tsv", "session_id")

    def found(self, subject: str, session: str, image: Path) -> dict[str, str | None]:
        """Values of a scan by our names, None where the data set has none."""
        rows = [
            self._own(subject).get((session,), {}),
            self._visits.get((subject, session), {}),
            self._people.get((subject,), {}),
        ]
        found = {ours: next(_values(rows, names), None) for ours, names in NAMES.items()}
        about = self._sidecar(image)
        for ours, key in SIDECAR.items():
            text = str(about.get(key, "")).strip()
            found[ours] = found[ours] or (None if text in NOT_A_LABEL else text)
        if found["vendor"]:
            found["vendor"] = vendor_name(found["vendor"])
        return found


def _values(rows: list[dict[str, str]], names: tuple[str, ...]) -> Iterator[str]:
    """Values under any of the names, the nearest row and the best name first."""
    for row in rows:
        for name in names:
            if row.get(name, "") not in NOT_A_LABEL:
                yield row[name]


def _rows(path: Path, *keys: str) -> dict[tuple[str, ...], dict[str, str]]:
    """Rows of a table by the labels in ``keys``: plain column name to text. Empty without it."""
    if not is_there(path):
        return {}
    table = read_tsv(path, keys)
    plain = [re.sub("[^a-z0-9]", "", name.lower()) for name in table.columns]
    labels = zip(*(table[key].map(_label) for key in keys), strict=True)
    texts = table.itertuples(index=False, name=None)
    return {
        label: dict(zip(plain, row, strict=True)) for label, row in zip(labels, texts, strict=True)
    }


def _label(name: str) -> str:
    return str(name).removeprefix("sub-").removeprefix("ses-")


def _site_name(site: str | None) -> str | None:
    """A site's name, with one text for a number: ADNI's tables have 2 or 2.0, its names 002."""
    number = WHOLE.fullmatch(site) if site else None
    return number[1] if number else site


def _of_cohort(value: str | None, cohort: str) -> str | None:
    """A name within its cohort, unless it begins with the cohort's already: ``OASIS3 2``."""
    if value is None or value.lower().startswith(cohort.lower()):
        return value
    return f"{cohort} {value}"


def vendor_name(text: str) -> str:
    """The vendor of a header's manufacturer, such as GE for ``GE MEDICAL SYSTEMS``."""
    for words, name in VENDORS.items():
        if re.match(words, text, re.IGNORECASE):
            return name
    return text


def nominal_strength(tesla: float) -> float:
    """The nominal strength that a header's one stands for (3 T for 2.89); others stay."""
    near = min(NOMINAL, key=lambda one: abs(tesla - one) / one)
    return near if abs(tesla - near) <= OFF * near else tesla
