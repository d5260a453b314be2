"""ADNI study tables of a synthetic cohort, as Clinica 0.12 reads them or as LONI ships them now."""

import csv
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from ldae.files import atomic
from ldae.synthetic.subjects import NO_DIAGNOSIS, Subject, Visit, subject_generator

FORMS = ("clinica", "today")
LONI_DATE = "20Nov2026"  # the date that LONI adds to the names of files
DX = {"CN": "CN", "MCI": "MCI", "AD": "Dementia"}
DIAGNOSIS = {"CN": 1, "MCI": 2, "AD": 3}
BASELINE = {"CN": {"ADNI1": "CN", "ADNI2": "CN", "ADNI3": "CN"},
            "MCI": {"ADNI1": "LMCI", "ADNI2": "EMCI", "ADNI3": "LMCI"},
            "AD": {"ADNI1": "AD", "ADNI2": "AD", "ADNI3": "AD"}}  # fmt: skip
UNMEASURED = (
    "PIB", "AV45", "ABETA", "TAU", "PTAU", "FDG", "ICV", "Hippocampus", "Ventricles", "WholeBrain",
    "Entorhinal", "Fusiform", "MidTemp",
)  # fmt: skip
SCORES = ("MMSE", "CDRSB", "ADAS11", "ADAS13", "ADASQ4", "RAVLT_immediate", "TRABSCOR", "FAQ",
          "MOCA", "mPACCdigit", "mPACCtrailsB")  # fmt: skip


def visit_name(phase: str, months: int) -> str:
    """MPRAGEMETA's name of a visit, as Clinica expects it.

    From the second year on, Clinica matches visits of ADNI2 and ADNI3 by their dates alone.
    """
    if phase == "ADNI1":
        return "ADNI Screening" if months == 0 else f"ADNI1/GO Month {months}"
    if months == 0:
        return {"ADNI2": "ADNI2 Screening MRI-New Pt", "ADNI3": "ADNI Screening"}[phase]
    return f"{phase} Year {months // 12} Visit"


def _scores(visit: Visit, rng: np.random.Generator) -> dict[str, float]:
    """Test scores that follow the MMSE, with noise of their own."""
    lost = 30 - visit.mmse
    q4 = float(np.clip(round(2 + 0.9 * lost + rng.normal(0, 1)), 0, 10))
    adas11 = round(float(np.clip(5 + 1.5 * lost + rng.normal(0, 2), 0, 70)), 2)
    return {
        "MMSE": visit.mmse,
        "CDRSB": visit.cdr_sb,
        "ADAS11": adas11,
        "ADAS13": round(adas11 + q4 + 1, 2),
        "ADASQ4": q4,
        "RAVLT_immediate": int(np.clip(round(46 - 2.6 * lost + rng.normal(0, 6)), 0, 75)),
        "TRABSCOR": int(np.clip(round(75 + 16 * lost + rng.normal(0, 20)), 30, 300)),
        "FAQ": int(np.clip(round(1.8 * visit.cdr_sb + rng.normal(0, 1)), 0, 30)),
        "MOCA": int(np.clip(round(visit.mmse - 3 + rng.normal(0, 1)), 0, 30)),
        "mPACCdigit": round(0.5 - 1.1 * lost + float(rng.normal(0, 1.5)), 4),
        "mPACCtrailsB": round(0.5 - 1.0 * lost + float(rng.normal(0, 1.5)), 4),
    }


def adnimerge(subjects: Iterable[Subject], seed: int) -> pd.DataFrame:
    """ADNIMERGE: one row a visit, also for visits without an image; biomarkers are blank."""
    rows = []
    for subject in subjects:
        rng = subject_generator(seed, subject.index, 1)
        scores = [_scores(visit, rng) for visit in subject.visits]
        first, last = subject.visits[0], subject.visits[-1]
        for visit, score in zip(subject.visits, scores, strict=True):
            blank = subject.index % 10 == NO_DIAGNOSIS and visit is last and visit is not first
            rows.append(
                {
                    "RID": subject.rid,
                    "COLPROT": subject.phase,
                    "ORIGPROT": subject.phase,
                    "PTID": subject.ptid,
                    "SITE": subject.site,
                    "VISCODE": visit.viscode,
                    "EXAMDATE": visit.exam_date.isoformat(),
                    "EXAMDATE_bl": first.exam_date.isoformat(),
                    "DX_bl": BASELINE[subject.group][subject.phase],
                    "DX": "" if blank else DX[visit.diagnosis],
                    "AGE": subject.age,
                    "PTGENDER": subject.sex,
                    "PTEDUCAT": subject.education,
                    "PTETHCAT": "Not Hisp/Latino",
                    "PTMARRY": "Married",
                    "APOE4": subject.genotype.count(4),
                    **score,
                    **{f"{name}_bl": scores[0][name] for name in SCORES},
                    **dict.fromkeys(UNMEASURED, ""),
                    "Month": visit.months,
                }
            )
    return pd.DataFrame(rows)


def dxsum(subjects: Iterable[Subject]) -> pd.DataFrame:
    """Diagnostic summary. Its first row is repeated, as rows of real tables are.

    Clinica fails on a table where no (PTID, VISCODE2) is repeated.
    """
    rows = []
    for subject in subjects:
        common = {"Phase": subject.phase, "RID": subject.rid, "PTID": subject.ptid}
        for code in ("sc", "bl"):
            rows.append({**common, "VISCODE2": code, "DIAGNOSIS": DIAGNOSIS[subject.group]})
        for visit in subject.visits[1:]:
            number = DIAGNOSIS[visit.diagnosis]
            rows.append({**common, "VISCODE2": visit.viscode, "DIAGNOSIS": number})
    return pd.DataFrame([rows[0], *rows])


def cdr(subjects: Iterable[Subject]) -> pd.DataFrame:
    """Clinical dementia rating, with the ``bl`` rows that Clinica needs for a baseline value."""
    return pd.DataFrame(
        {
            "Phase": subject.phase,
            "RID": subject.rid,
            "PTID": subject.ptid,
            "VISCODE2": visit.viscode,
            "USERDATE": visit.exam_date.isoformat(),
            "CDGLOBAL": visit.cdr_global,
            "CDRSB": visit.cdr_sb,
        }
        for subject in subjects
        for visit in subject.visits
    )


def apoeres(subjects: Iterable[Subject]) -> pd.DataFrame:
    """APOE genotypes."""
    return pd.DataFrame(
        {
            "Phase": subject.phase,
            "RID": subject.rid,
            "PTID": subject.ptid,
            "VISCODE": "sc",
            "APTESTDT": (subject.visits[0].exam_date - timedelta(days=20)).isoformat(),
            "GENOTYPE": "/".join(map(str, subject.genotype)),
        }
        for subject in subjects
    )


def write_tables(
    folder: Path,
    subjects: list[Subject],
    seed: int,
    images: pd.DataFrame,
    quality: pd.DataFrame,
    form: str = "clinica",
) -> None:
    """Write every table into ``folder``.

    Args:
        images: MPRAGEMETA's rows, from the plan of images, with columns viscode and phase.
        quality: One row a series: RID, phase, SeriesID, ImageUID, passed, field_strength.
        form: ``clinica``, the names and columns that Clinica 0.12 reads, or ``today``, those of
            LONI's downloads since 2024, with their quirks.
    """
    three_tesla = quality[quality.field_strength == 3.0]
    content = {
        "ADNIMERGE": adnimerge(subjects, seed),
        "MPRAGEMETA": images.drop(columns=["viscode", "phase"]),
        "MRIQUALITY": pd.DataFrame(
            {
                "Phase": quality.phase,
                "RID": quality.RID,
                "LONIUID": "S" + quality.SeriesID.astype(str),
                "PASS": quality.passed.astype(int),
            }
        ),
        "MAYOADIRL_MRI_IMAGEQC_05_07_15": pd.DataFrame(
            {
                "RID": three_tesla.RID,
                "loni_image": "I" + three_tesla.ImageUID.astype(str),
                "series_type": "T1",
                "series_quality": np.where(three_tesla.passed, 1, 4),
                "series_selected": three_tesla.passed.astype(int),
            }
        ),
        "APOERES": apoeres(subjects),
        "DXSUM_PDXCONV": dxsum(subjects),
        "CDR": cdr(subjects),
    }
    folder.mkdir(parents=True, exist_ok=True)
    if form == "today":
        for name, table in as_loni(content, images, quality).items():
            with atomic(folder / f"{name}_{LONI_DATE}.csv") as temporary:
                table.to_csv(
                    temporary,
                    index=False,
                    quoting=csv.QUOTE_ALL,
                    lineterminator="\r\n",
                    encoding="utf-8-sig",
                )
        return
    for name, table in content.items():
        with atomic(folder / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False)


def as_loni(
    content: dict[str, pd.DataFrame], images: pd.DataFrame, quality: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """The same tables with the names, columns and quirks of LONI's downloads since 2024.

    - All Images replaces MPRAGEMETA; series are in the Manifest, field strengths in MRIQC. Its
      scans have screening codes instead of baseline, and American dates.
    - DXSUM repeats no row.
    - CDR has a screening instead of a baseline, an unscheduled visit and a row without RID.
    - CDR ends with rows of ADNI4. APOERES begins with one and continues in reverse order.
    """
    diagnosis = content["DXSUM_PDXCONV"].drop_duplicates().rename(columns={"Phase": "PHASE"})
    rating = content["CDR"].rename(columns={"Phase": "PHASE"}).replace({"VISCODE2": {"bl": "sc"}})
    odd = rating.iloc[[0, 0]].assign(VISCODE2=["nv", "sc"], CDGLOBAL=3.0, PHASE="ADNI4")
    odd["RID"] = [str(rating["RID"].iloc[0]), ""]
    genes = content["APOERES"].rename(columns={"Phase": "PHASE"})
    late = genes.iloc[[0]].assign(PHASE="ADNI4", RID=10101, PTID="941_S_10101", GENOTYPE="4/4")
    return {
        "ADNIMERGE": content["ADNIMERGE"],
        "All_Subjects_All_Images": all_images(images),
        "All_Subjects_Manifest": pd.DataFrame(
            {"image_id": images.ImageUID, "series_id": images.SeriesID}
        ),
        "MRIPROT": content["MRIQUALITY"].rename(columns={"Phase": "PHASE"}),
        "MRIQC": pd.DataFrame(
            {
                "ParticipantID": images.SubjectID,
                "MRIProtocolPhase": images.phase,
                "StudyDate": images.ScanDate.str.replace("-", ""),
                "SeriesType": "T1w",
                "MagneticFieldStrength": images.MagStrength,
                "LONIStudy": images.StudyID,
                "LONISeries": images.SeriesID,
                "image_id": images.ImageUID,
            }
        )[images["Orig/Proc"] == "Original"],
        "MAYOADIRL_MRI_IMAGEQC_05_07_15": content["MAYOADIRL_MRI_IMAGEQC_05_07_15"],
        "APOERES": pd.concat([late, genes[::-1]]),
        "DXSUM": diagnosis,
        "CDR": pd.concat([rating.astype({"RID": str}), odd]),
    }


def all_images(images: pd.DataFrame) -> pd.DataFrame:
    """LONI's list of images of all kinds: the scans of MPRAGEMETA and one PET image a scan."""
    screening = images.phase.map({"ADNI1": "sc", "ADNI2": "scmri", "ADNI3": "sc"})
    scans = pd.DataFrame(
        {
            "image_id": images.ImageUID,
            "subject_id": images.SubjectID,
            "phase": images.phase.str.replace("ADNI", "ADNI "),
            "study_id": images.StudyID,
            "image_visit": "v02",
            "VISCODE2": images.viscode.where(images.viscode != "bl", screening),
            "image_date": pd.to_datetime(images.ScanDate).dt.strftime("%m/%d/%Y"),
            "modality": "MRI",
            "image_type": images["Orig/Proc"].replace("Processed", "Pre-processed"),
            "image_description": images.Sequence,
        }
    )
    pet = scans[scans.image_type == "Original"].assign(
        image_id=lambda table: table.image_id + 500_000,
        VISCODE2="m99",
        modality="PET",
        image_description="ADNI Brain PET: Raw",
    )
    return pd.concat([scans, pet])
