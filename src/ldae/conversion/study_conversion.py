"""Conversion of a raw study other than ADNI to a BIDS data set, by Clinica's converter for it.

The data set is written whole or not at all. It is then imported like any other
(:mod:`ldae.conversion.import_bids`).
"""

import logging
import tempfile
from pathlib import Path

from ldae.conversion.clinica import find_tools, processes, run_converter
from ldae.conversion.studies import STUDIES
from ldae.conversion.study_download import heads, link_download
from ldae.conversion.study_finish import AFTER
from ldae.conversion.study_repairs import BEFORE, ERRORS, link_tables
from ldae.errors import UserError, require
from ldae.files import atomic_folder
from ldae.labels import count

log = logging.getLogger(__name__)
MARK = "dataset_description.json"


def convert_study(
    name: str,
    images: str | Path,
    tables: str | Path,
    out: str | Path,
    clinica_bin: str | None,
    jobs: int = 1,
    section: str = "cohort",
) -> None:
    """Convert the download of a study to the BIDS data set ``out``.

    Args:
        name: Name of the study, a key of :data:`ldae.conversion.studies.STUDIES`.
        images: Folder of its images, at any depth.
        tables: Folder of its tables; may be the same.
        out: BIDS folder to make; an earlier one is replaced.
        clinica_bin: Folder with ``clinica`` and ``dcm2niix``; None: found on PATH.
        jobs: Parallel conversions, where the converter can.
        section: Section of the configuration that messages name.

    Raises:
        UserError: the download has faults, Clinica is not there or stopped, or no T1-weighted image
            came out. Nothing is written.
    """
    study, out = STUDIES[name], Path(out)
    environment = find_tools(clinica_bin)
    out.parent.mkdir(parents=True, exist_ok=True)
    notes: list[str] = []
    with (
        tempfile.TemporaryDirectory(prefix=".tmp-study-", dir=out.parent) as folder,
        atomic_folder(out, MARK) as bids,
    ):
        shown, own, found = link_download(study, images, tables, Path(folder).resolve(), section)
        if name in BEFORE:
            BEFORE[name](found, shown, own, notes)
        else:
            link_tables(found, own)
        given = heads(study, shown)
        require(bool(given), f"No image of {study.title} is left. {' '.join(notes)}")
        bids = bids.resolve()
        words = {"images": shown, "tables": own, "bids": bids}
        arguments = [word.format(**words) for word in study.arguments.split()]
        if study.parallel:
            arguments += ["-np", str(processes(jobs))]
        error = run_converter(arguments, Path(folder), bids / MARK, environment)
        _require_converted(name, error, section)
        if name in AFTER:
            AFTER[name](bids, found, notes)
        made = len(list(bids.glob("sub-*/ses-*/anat/*_T1w.nii.gz")))
        require(
            made > 0,
            f"Clinica ended well, but converted none of {study.title}'s "
            f"{count(len(given), 'T1-weighted image')}. {' '.join(notes)} The log has its words.",
        )
    for note in notes:
        log.warning("%s: %s", study.title, note)
    level = logging.WARNING if made < len(given) else logging.INFO
    log.log(level, "%s: %d images given to Clinica, %d made", study.title, len(given), made)


def _require_converted(name: str, error: str | None, section: str) -> None:
    """Raise Clinica's error in words that say what to do."""
    if error is None:
        return
    title = STUDIES[name].title
    if "openpyxl" in error or "xlrd" in error:
        raise UserError(
            f"Clinica cannot read the Excel file of {title}: its environment is older than this "
            "version of the workflow. Run `make env`."
        )
    meant = next((words for part, words in ERRORS.get(name, {}).items() if part in error), None)
    raise UserError(
        f"Clinica's converter of {title} stopped: {meant or error}. Nothing was written. The log "
        f"has all its words, the subject last named is the one it stopped at; take that folder out "
        f"of {section}.images and run again."
    )
