"""Synthetic ADNI download with known truth: images, study tables, ``truth.tsv``."""

import logging
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import torch

from ldae.errors import require
from ldae.files import atomic_folder, write_json, write_table
from ldae.progress import Progress
from ldae.synthetic.bases import load_base
from ldae.synthetic.heads import Anatomy, apply_atrophy
from ldae.synthetic.scanner import PROTOCOLS, Scan, acquire
from ldae.synthetic.series import Series, write_dicom, write_nifti
from ldae.synthetic.subjects import (
    LOCALISER,
    MADE_BY,
    MARK,
    REJECTED,
    Subject,
    Visit,
    draw_cohort,
    standardised_atrophy,
    subject_generator,
)
from ldae.synthetic.tables import FORMS, visit_name, write_tables

KIND = "download"
ORIGINAL, PROCESSED, REPEATED, LOCALISING = 0, 1, 2, 3  # the images of a visit
DESCRIPTION = {
    "ADNI1": "MP-RAGE",
    "ADNI2": "MPRAGE",
    "ADNI3": "Accelerated Sagittal MPRAGE",
}
PROCESSED_DESCRIPTION = "MPR; GradWarp; B1 Correction; N3; Scaled"
FAULTS = {
    "rejected": "a second scan of the first visit, very noisy, failed by QC",
    "localiser": "a localiser series that no table knows",
    "no scan": "the last visit has a row in ADNIMERGE and no scan",
    "lost": "the last visit's scan is listed in MPRAGEMETA and has no file",
    "no diagnosis": "the last visit's diagnosis is blank in ADNIMERGE",
}


@dataclass(frozen=True)
class Image:
    """One planned image.

    Attributes:
        kind: ORIGINAL, PROCESSED, REPEATED or LOCALISING.
        description: Series description.
        on_disk: Whether its files are written.
        listed: Whether it has a row in MPRAGEMETA.
    """

    subject: Subject
    visit: Visit
    kind: int
    description: str
    on_disk: bool = True
    listed: bool = True

    @property
    def series(self) -> Series:
        """Its header values, and the numbers under which it is stored."""
        subject, visit = self.subject, self.visit
        acquired = ORIGINAL if self.kind == PROCESSED else self.kind
        return Series(
            ptid=subject.ptid,
            sex=subject.sex,
            age=visit.age,
            description=self.description,
            time=visit.scan_time,
            study=subject.number(visit, 9),
            series=subject.number(visit, acquired),
            image=subject.number(visit, self.kind),
            field_strength=PROTOCOLS[subject.phase].field_strength,
        )


def plan_images(subject: Subject) -> list[Image]:
    """Every image of a subject, on disk or only listed, with the faults of its index."""
    planned = []
    for visit in subject.visits:
        if visit.state == "no scan":
            continue
        name, there = DESCRIPTION[subject.phase], visit.state == "scan"
        processed = subject.phase == "ADNI1" and visit is not subject.visits[-1]
        planned.append(Image(subject, visit, ORIGINAL, name, on_disk=there and not processed))
        if processed:
            planned.append(Image(subject, visit, PROCESSED, PROCESSED_DESCRIPTION, on_disk=there))
        if visit.number == 0 and subject.index % 10 == REJECTED:
            planned.append(Image(subject, visit, REPEATED, f"{name} Repeat"))
        if visit.number == 0 and subject.index % 10 == LOCALISER:
            planned.append(Image(subject, visit, LOCALISING, "3-Plane Localizer", listed=False))
    return planned


def _localiser(scan: Scan) -> Scan:
    """A localiser: a few of a scan's slices, stored as thick ones."""
    stride = scan.array.shape[0] // 5
    affine = scan.affine.copy()
    affine[:3, 0] *= stride
    return Scan(scan.array[::stride], affine)


def make_subject(subject: Subject, seed: int, spacing: float, images: Path) -> list[dict]:
    """Write a subject's images below ``images``.

    Returns:
        Rows of ``truth.tsv``, one for each visit with an image on disk.
    """
    base = load_base(subject.base)
    anatomy = Anatomy.draw(base, subject_generator(seed, subject.index, 2))
    protocol = PROTOCOLS[subject.phase]
    rows = []
    planned = plan_images(subject)
    for visit in subject.visits:
        stored = [image for image in planned if image.visit is visit and image.on_disk]
        if not stored:
            continue
        head = apply_atrophy(anatomy, visit.atrophy)
        for image in stored:
            rng = subject_generator(seed, subject.index, 3, visit.number, image.kind)
            scan = acquire(head, protocol, spacing, rng, 6.0 if image.kind == REPEATED else 1.0)
            if image.kind == PROCESSED:
                write_nifti(scan, image.series, images)
            else:
                localising = image.kind == LOCALISING
                write_dicom(_localiser(scan) if localising else scan, image.series, images)
        main = next(image for image in stored if image.kind in (ORIGINAL, PROCESSED))
        rows.append(
            {
                "participant_id": subject.participant_id,
                "session_id": f"ses-M{visit.months:03d}",
                "age": visit.age,
                "sex": subject.sex[0],
                "diagnosis": visit.diagnosis,
                "atrophy": standardised_atrophy(visit.atrophy),
                **head.truth(),
                "base": subject.base,
                "phase": subject.phase,
                "field_strength": protocol.field_strength,
                "image_id": str(main.series.image),
                "seed": seed,
                "subject_index": subject.index,
            }
        )
    return rows


def _make_subjects(
    cohort: list[Subject], seed: int, spacing: float, images: Path, jobs: int
) -> Iterator[list[dict]]:
    """Rows of :func:`make_subject` for every subject, in the order in which they are done."""
    if jobs == 1:
        yield from (make_subject(subject, seed, spacing, images) for subject in cohort)
        return
    # one thread each: the processes fill the cores, and OpenMP's threads do not survive a fork
    with ProcessPoolExecutor(
        jobs, get_context("fork"), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        runs = [pool.submit(make_subject, s, seed, spacing, images) for s in cohort]
        for run in as_completed(runs):
            yield run.result()


def _mprage_rows(images: list[Image]) -> pd.DataFrame:
    """Rows of MPRAGEMETA, with two more columns: viscode and phase."""
    return pd.DataFrame(
        {
            "Orig/Proc": "Processed" if image.kind == PROCESSED else "Original",
            "SubjectID": image.subject.ptid,
            "Visit": visit_name(image.subject.phase, image.visit.months),
            "MagStrength": image.series.field_strength,
            "Sequence": image.description,
            "ScanDate": image.visit.scan_time.date().isoformat(),
            "StudyID": image.series.study,
            "SeriesID": image.series.series,
            "ImageUID": image.series.image,
            "viscode": image.visit.viscode,
            "phase": image.subject.phase,
        }
        for image in images
        if image.listed
    )


def _quality_rows(images: list[Image]) -> pd.DataFrame:
    """ADNI's quality check of every acquired series that is listed."""
    return pd.DataFrame(
        {
            "RID": image.subject.rid,
            "phase": image.subject.phase,
            "SeriesID": image.series.series,
            "ImageUID": image.series.image,
            "passed": image.kind != REPEATED,
            "field_strength": image.series.field_strength,
        }
        for image in images
        if image.listed and image.kind != PROCESSED
    )


def _faults(subjects: list[Subject], images: list[Image], tables: Path) -> list[dict[str, str]]:
    """Every deliberate fault of the download, for ``synthetic.json``."""
    found = [
        (image.subject, image.visit, {REPEATED: "rejected", LOCALISING: "localiser"}[image.kind])
        for image in images
        if image.kind in (REPEATED, LOCALISING)
    ]
    merged = pd.read_csv(
        next(tables.glob("ADNIMERGE*.csv")), usecols=["PTID", "VISCODE", "DX"], encoding="utf-8-sig"
    )
    blank = set(merged[merged.DX.isna()][["PTID", "VISCODE"]].itertuples(index=False, name=None))
    for subject in subjects:
        for visit in subject.visits:
            if visit.state != "scan":
                found.append((subject, visit, visit.state))
            if (subject.ptid, visit.viscode) in blank:
                found.append((subject, visit, "no diagnosis"))
    return [
        {"subject": subject.ptid, "visit": visit.viscode, "fault": fault, "what": FAULTS[fault]}
        for subject, visit, fault in found
    ]


def make_download(
    out: str | Path,
    subjects: int,
    visits: int,
    spacing: float,
    seed: int,
    tables: str = "clinica",
    jobs: int = 1,
) -> Path:
    """Make a synthetic ADNI download.

    Writes ``out/images/<PTID>/…``, ``out/tables/*.csv``, ``out/truth.tsv`` and
    ``out/synthetic.json`` (arguments and the deliberate faults). Everything is made in a folder
    beside ``out`` and renamed at the end. An earlier synthetic cohort in ``out`` is replaced. The
    files depend on all arguments but ``jobs``.

    Args:
        spacing: Voxel edge in mm; the protocols vary it by up to 10 %.
        tables: Form of the study tables: ``clinica`` or ``today`` (see
            :mod:`ldae.synthetic.tables`).
        jobs: Number of parallel processes.

    Returns:
        The absolute path of ``out``.

    Raises:
        UserError: a number is out of range, or ``out`` holds something else.
    """
    require(0.5 <= spacing <= 6, f"The spacing must be between 0.5 and 6 mm, not {spacing}.")
    require(tables in FORMS, f"The form of the tables must be {' or '.join(FORMS)}, not {tables}.")
    require(jobs >= 1, f"The number of jobs must be at least 1, not {jobs}.")
    cohort = draw_cohort(subjects, visits, seed)
    plan = [image for subject in cohort for image in plan_images(subject)]
    with atomic_folder(Path(out).absolute(), MARK) as work:
        (work / "images").mkdir()
        progress = Progress("synthetic subjects", len(cohort), interval=5)
        truth = []
        runs = _make_subjects(cohort, seed, spacing, work / "images", jobs)
        for done, rows in enumerate(runs, start=1):
            truth += rows
            progress.step(done)
        truth.sort(key=lambda row: row["subject_index"])
        write_tables(work / "tables", cohort, seed, _mprage_rows(plan), _quality_rows(plan), tables)
        write_table(pd.DataFrame(truth), work / "truth.tsv")
        content = {
            "made_by": MADE_BY,
            "kind": KIND,
            "arguments": {
                "subjects": subjects,
                "visits": visits,
                "spacing": spacing,
                "seed": seed,
                "tables": tables,
            },
            "faults": _faults(cohort, plan, work / "tables"),
        }
        write_json(content, work / MARK)
    logging.getLogger(__name__).info("%d scans of %d subjects in %s", len(truth), subjects, out)
    return Path(out).absolute()
