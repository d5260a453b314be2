"""Batch conversion: ADNI's files of one batch of subjects to BIDS, with Clinica.

Clinica's success is never trusted: it aborts a whole run for one image, and exits normally although
scans are lost. Each batch is converted in a fresh folder. Subjects with a faulty scan, or all
subjects if the run broke off, are converted again, each alone in a fresh folder. One bad subject
then costs one subject.
"""

import logging
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ldae.conversion.bids import acquisition, check_scans, finish_subjects, write_sidecars
from ldae.conversion.clinica import convert, find_tools, make_link_tree, read_expected, versions
from ldae.conversion.clinica_tables import SCANS, read_clinica_tables, restrict, write_tables
from ldae.conversion.conversion_table import COLUMNS, make_conversion_table
from ldae.conversion.download import image_files
from ldae.conversion.downloaded_scans import PASSED_OVER, instead_of, mark_passed_over
from ldae.conversion.merge import merge_bids
from ldae.errors import UserError, require
from ldae.files import digest, read_json, read_table, write_json, write_table
from ldae.locks import locked

MIN_FREE = 100e6  # bytes; a disk with less counts as full


@dataclass
class Run:
    """Result of one run of Clinica.

    Attributes:
        subjects: PTIDs given to Clinica.
        bids: BIDS folder that Clinica wrote.
        expected: Scans that Clinica chose, with the fault and image_hash of each.
        error: Last line of Clinica's error, or None.
    """

    subjects: list[str]
    bids: Path
    expected: pd.DataFrame
    error: str | None


@dataclass
class Batch:
    """Inputs that all runs of one batch share.

    Attributes:
        images: The image folder.
        index: Table of the batch's images.
        tables: Study tables of the batch's subjects, by name.
        work: Folder in which each run makes its own.
        environment: Environment variables for Clinica.
    """

    images: Path
    index: pd.DataFrame
    tables: dict[str, pd.DataFrame]
    work: Path
    environment: dict[str, str]

    def run(self, subjects: list[str], jobs: int) -> Run:
        """Convert ``subjects`` (PTIDs) in a fresh folder and check every scan chosen."""
        folder = self.work / (subjects[0] if len(subjects) == 1 else "all")
        folder.mkdir()
        shown = self.index["subject_id"].isin(subjects) & self.index["status"].isna()
        make_link_tree(self.images, self.index[shown], folder / "images")
        for name in subjects:  # Clinica expects a folder of every subject
            (folder / "images" / name).mkdir(exist_ok=True)
        (folder / "tables").mkdir()
        write_tables(restrict(self.tables, subjects), folder / "tables")
        bids = folder / "bids"
        error = convert(
            folder / "images", folder / "tables", subjects, bids, jobs, self.environment
        )
        expected = read_expected(bids)
        found = check_scans(bids, expected.loc[expected["Path"] != "", "scan_id"], jobs)
        expected["fault"] = [found.get(scan, (None, None))[0] for scan in expected["scan_id"]]
        expected["image_hash"] = [found.get(scan, (None, None))[1] for scan in expected["scan_id"]]
        if error or expected["fault"].notna().any():
            _require_space(folder)
        return Run(subjects, bids, expected, error)


def convert_batch(
    batch: str | Path,
    images: str | Path,
    tables: str | Path,
    part: str | Path,
    cohort: str,
    fingerprint: str,
    clinica_bin: str | None = None,
    jobs: int = 1,
    log: str | Path | None = None,
    passed_over: str | Path | None = None,
) -> pd.DataFrame:
    """Convert one batch, unless its part already exists for the same inputs.

    Args:
        batch: Table of the batch's images, from :func:`ldae.conversion.plan.plan_conversion`.
        images: The image folder.
        tables: The study tables in Clinica's form, from
            :func:`ldae.conversion.prepare_tables.prepare_tables`.
        part: Folder of the part: ``bids/`` (a BIDS data set), ``conversion.tsv``, and
            ``stamp.json`` (hash of all inputs).
        cohort: Name of the cohort.
        fingerprint: Hash of our source code; another one repeats the conversion.
        clinica_bin: Folder of ``clinica`` and ``dcm2niix``; None: found on PATH.
        jobs: Parallel conversions.
        log: Log file that the error message names.
        passed_over: Table of images that Clinica must not choose, from
            :func:`ldae.conversion.downloaded_scans.choose_downloaded`; None: none.

    Returns:
        The conversion table of the batch, columns :data:`ldae.conversion.conversion_table.COLUMNS`.

    Raises:
        UserError: Clinica or dcm2niix is not found; the disk is full; or Clinica stopped at each
            of several subjects, which is not the subjects' fault. No part is stored then, and the
            next run converts again.
    """
    part = Path(part)
    with locked(part.with_name(f".{part.name}.lock"), str(part)):
        return _convert_batch(
            batch, images, tables, part, cohort, fingerprint, clinica_bin, jobs, log, passed_over
        )


def _convert_batch(
    batch: str | Path,
    images: str | Path,
    tables: str | Path,
    part: Path,
    cohort: str,
    fingerprint: str,
    clinica_bin: str | None,
    jobs: int,
    log: str | Path | None,
    passed_over: str | Path | None,
) -> pd.DataFrame:
    index = read_table(batch, ["image_id", "subject_id", "path", "status", "reason", "content"])
    subjects = sorted(set(index["subject_id"]))
    study = restrict(read_clinica_tables(tables), subjects) if subjects else {}
    instead = {}
    if passed_over and subjects:
        out = read_table(passed_over, PASSED_OVER)
        scans = study[SCANS]
        study[SCANS] = scans[~("I" + scans["ImageUID"]).isin(out["image_id"])]
        index = mark_passed_over(index, out)
        instead = instead_of(out[out["taken"].isin(index["image_id"])])
    environment = find_tools(clinica_bin)
    programs = versions(environment)
    key = digest(
        {
            "index": index.to_csv(index=False),
            "tables": {name: table.to_csv(index=False) for name, table in study.items()},
            "instead": instead,
            "programs": programs,
            "source": fingerprint,
            "cohort": cohort,
        }
    )
    if _is_kept(part, key):
        logging.info("Nothing has changed: %s is kept.", part)
        return read_table(part / "conversion.tsv")
    work = part.with_name(f".work-{part.name}")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    runs = []
    if subjects:
        runs = _convert(
            Batch(Path(images), index, study, work.resolve(), environment), subjects, jobs
        )
        _require_one_good(runs, log)
    conversion = _finish(runs, index, study, cohort, Path(images), work / "part", programs, instead)
    write_json({"key": key}, work / "part" / "stamp.json")
    shutil.rmtree(part, ignore_errors=True)
    (work / "part").replace(part)
    shutil.rmtree(work)
    return conversion


def _is_kept(part: Path, key: str) -> bool:
    """Whether a part was made with this key and still has its converted subjects' folders."""
    stamp = part / "stamp.json"
    if not stamp.is_file() or read_json(stamp) != {"key": key}:
        return False
    table = read_table(part / "conversion.tsv")
    scans = table.loc[table["status"] == "converted", "scan_id"]
    return all((part / "bids" / scan.split("_")[0]).is_dir() for scan in scans)


def _convert(batch: Batch, subjects: list[str], jobs: int) -> list[Run]:
    """Convert all subjects together, then those with a fault again, each alone."""
    together = batch.run(subjects, jobs)
    suspects = subjects if together.error else _faulty(together)
    if not suspects or len(subjects) == 1:
        return [together]
    logging.warning(
        "%d of %d subjects are converted once more, each alone%s",
        len(suspects),
        len(subjects),
        f": Clinica stopped with {together.error}" if together.error else " (a scan is not good).",
    )
    with ThreadPoolExecutor(jobs) as pool:
        alone = list(pool.map(lambda subject: batch.run([subject], 1), suspects))
    rest = [name for name in subjects if name not in suspects]
    return [_only(together, rest), *alone] if rest else alone


def _require_one_good(runs: list[Run], log: str | Path | None) -> None:
    """Refuse runs that all stopped with an error; a single subject may be bad itself."""
    if len(runs) > 1 and all(run.error for run in runs):
        raise UserError(
            f"Clinica stopped at each of the batch's {len(runs)} subjects, the last time with: "
            f"{runs[-1].error}. Its output is in {log or 'the log'}. Mend the cause and run again."
        )


def _require_space(folder: Path) -> None:
    """Refuse a failed run if a disk is full: its subjects are not to blame."""
    for place in (folder, Path(tempfile.gettempdir())):
        free = shutil.disk_usage(place).free
        require(
            free >= MIN_FREE,
            f"The conversion failed and the disk of {place} has {free / 1e6:.0f} MB left. Make "
            "room and run again.",
        )


def _faulty(run: Run) -> list[str]:
    """Subjects with a scan that Clinica chose but did not convert to one good image."""
    bad = run.expected["fault"].notna()
    return sorted(set(run.expected.loc[bad, "Subject_ID"]))


def _only(run: Run, subjects: list[str]) -> Run:
    """The run restricted to these subjects."""
    mine = run.expected[run.expected["Subject_ID"].isin(subjects)].reset_index(drop=True)
    return Run(subjects, run.bids, mine, run.error)


def _finish(
    runs: list[Run],
    index: pd.DataFrame,
    study: dict[str, pd.DataFrame],
    cohort: str,
    images: Path,
    part: Path,
    programs: dict[str, str],
    instead: dict[str, str],
) -> pd.DataFrame:
    """Join the runs' output to one valid BIDS data set and a conversion table of every image."""
    errors = {}
    for run in runs:
        if run.error:
            sentence = f"Clinica stopped at this subject, alone: {run.error}"
            run.expected["fault"] = sentence
            errors |= dict.fromkeys(run.subjects, sentence)
    if runs:
        expected = pd.concat([run.expected for run in runs], ignore_index=True)
        conversion = make_conversion_table(index, expected, study, cohort, errors, instead)
    else:
        expected, conversion = None, pd.DataFrame(columns=COLUMNS)
    converted = set(conversion.loc[conversion["status"] == "converted", "scan_id"])
    paths = {
        row.image_id: image_files(images, row.path, row.image_id)[0]
        for row in index[index["format"] == "dicom"].itertuples()
        if pd.isna(row.status)
    }
    made = {}
    for run in runs:
        good = run.expected[run.expected["scan_id"].isin(converted)]
        if len(good):
            names = [name for name in good["image_id"] if name in paths]
            write_sidecars(run.bids, good, {name: acquisition(paths[name]) for name in names})
            finish_subjects(run.bids, set(good["scan_id"]))
            generated = {"GeneratedBy": [{"Name": k, "Version": v} for k, v in programs.items()]}
            write_json(generated, run.bids / "dataset_description.json")
            made[run.bids.parent.name] = run.bids
    merge_bids(made, [cohort], part / "bids")
    write_table(conversion, part / "conversion.tsv")
    return read_table(part / "conversion.tsv")
