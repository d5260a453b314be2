"""Conversion of a raw study other than ADNI to a BIDS data set, by Clinica's converter for it.

The data set is written whole or not at all. It is then imported like any other
(:mod:`ldae.conversion.import_bids`).
"""

import logging
import re
from pathlib import Path

from ldae.conversion.change_hashes import file_state
from ldae.conversion.clinica import find_tools, processes, run_converter
from ldae.conversion.studies import LEFT_OUT, STUDIES
from ldae.conversion.study_download import link_download, read_heads
from ldae.conversion.study_finish import AFTER
from ldae.conversion.study_images import (
    not_converted,
    remove_bad_archives,
    remove_bad_images,
    sentences,
)
from ldae.conversion.study_repairs import BEFORE, ERRORS, link_tables
from ldae.errors import UserError, require
from ldae.files import folder_beside, replace_folder, write_table
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

    Images that cannot be read are not given to Clinica, which would stop at the first. Every image
    that is not converted has a row in ``out``'s :data:`LEFT_OUT`, with the reason.

    Args:
        name: Name of the study, a key of :data:`ldae.conversion.studies.STUDIES`.
        images: Folder of its images, at any depth.
        tables: Folder of its tables; may be the same.
        out: BIDS folder to make; an earlier one is replaced.
        clinica_bin: Folder with ``clinica`` and ``dcm2niix``; None: found on PATH.
        jobs: Parallel processes that read images, and conversions where the converter can.
        section: Section of the configuration that messages name.

    Raises:
        UserError: the download has faults, Clinica is not there or stopped, or no T1-weighted image
            came out. Nothing is written.
    """
    study, out = STUDIES[name], Path(out)
    environment = find_tools(clinica_bin)
    with folder_beside(out) as folder:
        download = link_download(study, images, tables, folder.resolve(), section)
        found, unreadable = read_heads(study, download.images)
        remove_bad_archives(download, unreadable)
        remove_bad_images(download, found, jobs)
        bad = set(download.reasons)
        if name in BEFORE:
            BEFORE[name](download)
        else:
            link_tables(download.found, download.tables)
        given = [each for each in found if download.reason_of(each) is None]
        why = " ".join(sentences(download.reasons.values()) + download.notes)
        require(bool(given), f"No image of {study.title} is left. {why}")
        bids = (folder / "bids").resolve()
        bids.mkdir()
        words = {"images": download.images, "tables": download.tables, "bids": bids}
        arguments = [word.format(**words) for word in study.arguments.split()]
        if study.parallel:
            arguments += ["-np", str(processes(jobs))]
        error = run_converter(arguments, folder, bids / MARK, environment)
        _require_converted(name, error, section)
        if name in AFTER:
            AFTER[name](bids, download.found, download.notes)
        made = len(list(bids.glob("sub-*/ses-*/anat/*_T1w.nii.gz")))
        require(
            made > 0,
            f"Clinica ended well, but converted none of {study.title}'s "
            f"{count(len(given), 'T1-weighted image')}. {why} The log has its words.",
        )
        left_out = not_converted(study, download, [*unreadable, *found], bad, bids)
        left_out["state"] = [file_state(images, place) for place in left_out["path"]]
        (bids / LEFT_OUT).parent.mkdir(exist_ok=True)
        write_table(left_out, bids / LEFT_OUT)
        replace_folder(bids, out, MARK)
    for note in sentences(left_out["reason"]) + download.notes:
        log.warning("%s: %s", study.title, note)
    log.info("%s: %d images given to Clinica, %d made", study.title, len(given), made)


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
    if error.startswith("KeyError"):
        columns = ", ".join(re.findall(r"'([^']+)'", error)) or error
        raise UserError(
            f"Clinica's converter of {title} stopped: a table lacks the column(s) {columns}, or is "
            f"of another release. Compare the tables in {section}.tables with docs/studies.md. "
            "Nothing was written."
        )
    meant = next((words for part, words in ERRORS.get(name, {}).items() if part in error), None)
    raise UserError(
        f"Clinica's converter of {title} stopped: {meant or error}. Nothing was written. The log "
        f"has all its words, the subject last named is the one it stopped at; take that folder out "
        f"of {section}.images and run again."
    )
