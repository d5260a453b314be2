"""Made-up downloads of the studies that Clinica converts, in the layout that each study delivers.

Images are noise of a few voxels, people and values are invented.
"""

import json
import subprocess
import tempfile
from datetime import datetime
from pathlib import Path
from zipfile import ZipFile

import nibabel as nib
import numpy as np

from ldae.synthetic.scanner import Scan
from ldae.synthetic.series import Series, write_dicom

CLINICA = Path(__file__).parents[2] / ".venv/clinica/bin"
# pandas reads .xls by its content, so that this writes IXI.xls as well.
_WRITER = """
import json, sys
import pandas as pd
path, sheets = json.load(sys.stdin)
with pd.ExcelWriter(path, engine="openpyxl") as book:
    for name, (columns, rows) in sheets.items():
        pd.DataFrame(rows, columns=columns).to_excel(book, sheet_name=name, index=False)
"""


def noise(seed: int, shape: tuple[int, ...] = (24, 9, 10)) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 900, shape).astype(np.int16)


def put_nifti(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(noise(seed), np.diag([2.0, 2.0, 2.0, 1.0])), path)
    return path


def put_zip(path: Path, members: dict[str, int]) -> None:
    """An archive of images, each by its name and seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, ZipFile(path, "w") as archive:
        for name, seed in members.items():
            archive.write(put_nifti(Path(folder, "image.nii.gz"), seed), name)


def put_series(folder: Path, name: str, seed: int, description: str = "MPRAGE") -> None:
    """A DICOM series, one file a slice: ``name`` with its number."""
    folder.mkdir(parents=True)
    scan = Scan(noise(seed), np.diag([2.0, 2.0, 2.0, 1.0]))
    moment = datetime(2008, 5, 1, 10, 0, 0)
    series = Series("999_S_0001", "Male", 70.0, description, moment, 1, seed, seed, 3.0)
    with tempfile.TemporaryDirectory() as place:
        written = write_dicom(scan, series, Path(place))
        for number, path in enumerate(sorted(written.iterdir())):
            (folder / name.format(number)).write_bytes(path.read_bytes())


def put_csv(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def put_excel(path: Path, **sheets: tuple[list, list]) -> None:
    """An Excel file with the sheets (columns, rows); written by Clinica's Python, which can."""
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [str(CLINICA / "python"), "-c", _WRITER],
        input=json.dumps([str(path), sheets]), text=True, check=True,
    )  # fmt: skip


def oasis1(root: Path) -> None:
    """Three people on two discs; the first was scanned twice (MR2), the third has no CDR."""
    for number, name in enumerate(("OAS1_0001_MR1", "OAS1_0002_MR1", "OAS1_0001_MR2")):
        place = root / f"disc{number % 2 + 1}" / name / "PROCESSED/MPRAGE/SUBJ_111"
        place.mkdir(parents=True)
        image = nib.Spm2AnalyzeImage(noise(number, (24, 9, 10, 1)), np.eye(4))
        nib.save(image, place / f"{name}_mpr_n4_anon_sbj_111.img")
        (place.parent / "RAW").mkdir()
        (place.parent / "RAW" / f"{name}_mpr-1_anon.img").write_bytes(b"raw, not converted")
    third = root / "disc2/OAS1_0003_MR1/PROCESSED/MPRAGE/SUBJ_111"
    third.mkdir(parents=True)
    nib.save(
        nib.Spm2AnalyzeImage(noise(7, (24, 9, 10, 1)), np.eye(4)),
        third / "OAS1_0003_MR1_mpr_n4_anon_sbj_111.img",
    )
    (root / "disc1/README.txt").write_text("a stranger among the subjects' folders")
    columns = ["ID", "M/F", "Hand", "Age", "Educ", "SES", "MMSE", "CDR", "eTIV", "Delay"]
    rows = [
        ["OAS1_0001_MR1", "F", "R", 74, 2, 3, 29, 0.0, 1344, None],
        ["OAS1_0002_MR1", "M", "R", 80, 4, 1, 22, 1.0, 1400, None],
        ["OAS1_0003_MR1", "F", "R", 24, None, None, None, None, 1500, None],
        ["OAS1_0001_MR2", "F", "R", 74, None, None, None, None, 1345, 40],
    ]
    put_excel(root / "oasis_cross-sectional.xlsx", Sheet1=(columns, rows))


def oasis3(root: Path) -> None:
    """Two people; the first with three MR sessions, two of them in one half-year, and two runs."""
    images = root / "images"
    for seed, (session, run) in enumerate(
        [
            ("OAS30001_MR_d0129", "run-01_"), ("OAS30001_MR_d0129", "run-02_"),
            ("OAS30001_MR_d0150", "run-01_"), ("OAS30001_MR_d0757", ""),
            ("OAS30002_MR_d0010", ""),
        ]
    ):  # fmt: skip
        subject, _, day = session.split("_")
        stem = f"sub-{subject}_ses-{day}_{run}T1w"
        put_nifti(images / session / "anat1" / f"{stem}.nii.gz", seed)
        (images / session / "anat1" / f"{stem}.json").write_text('{"MagneticFieldStrength": 3}')
    put_nifti(images / "OAS30001_MR_d0129/func1/sub-OAS30001_ses-d0129_task-rest_bold.nii.gz", 9)
    put_nifti(images / "OAS30003_MR_d0000/anat1/sub-OAS30003_ses-d0000_T1w.nii.gz", 8)
    put_csv(
        root / "tables/OASIS3_demographics.csv",
        "OASISID,AgeatEntry,GENDER,EDUC,HAND,APOE",
        "OAS30001,65.5,2,16,R,34",
        "OAS30002,70.25,1,12,L,33",
    )
    put_csv(
        root / "tables/OASIS3_UDSb4_cdr.csv",
        "OASISID,days_to_visit,age at visit,MMSE,CDRTOT,CDRSUM,dx1",
        # In the half-year of OAS30001's first scan: Clinica would give her this diagnosis.
        "OAS30002,120,70.6,20,1,6,AD Dementia",
        "OAS30001,100,65.8,29,0,0,Cognitively normal",
        "OAS30001,700,67.4,27,0.5,1,Unc: ques. Impairment",
    )


def aibl(root: Path) -> None:
    """Two people, the first with two visits and a repeated row; no PET scan or table."""
    for seed, (rid, moment, series) in enumerate(
        [
            ("4", "2008-05-01_10_00_00.0", "MPRAGE_ADNI_confirmed"),
            ("4", "2009-11-02_10_00_00.0", "MPRAGE_ADNI_confirmed_repeat"),
            ("21", "2008-06-03_11_30_00.0", "MPRAGE"),
        ],
        start=101,
    ):
        put_series(root / "AIBL" / rid / series / moment / f"I{seed}", "AIBL_{:03d}.dcm", seed)
    put_series(root / "AIBL/4/AXIAL_FLAIR/2008-05-01_10_00_00.0/I900", "AIBL_{:03d}.dcm", 900)
    tables, day = root / "tables", "01-Jun-2018"
    put_csv(
        tables / f"aibl_ptdemog_{day}.csv",
        "RID,SITEID,VISCODE,PTDOB,PTGENDER", "21,1,bl,/1940,1", "4,1,bl,/1936,2",
    )  # fmt: skip
    put_csv(
        tables / f"aibl_apoeres_{day}.csv",
        "RID,SITEID,VISCODE,APGEN1,APGEN2", "4,1,bl,4,3", "21,1,bl,3,3",
    )  # fmt: skip
    dates = ["4,1,bl,5/1/2008", "4,1,m18,11/02/2009", "21,1,bl,06/03/2008"]
    put_csv(tables / f"aibl_mri3meta_{day}.csv", "RID,SITEID,VISCODE,EXAMDATE", *dates)
    put_csv(tables / f"aibl_mrimeta_{day}.csv", "RID,SITEID,VISCODE,EXAMDATE", "4,1,bl,-4")
    for kind, column, values in (
        ("neurobat", "LIMMTOTAL", ("12", "11", "3")),
        ("cdr", "CDGLOBAL", ("0", "0.5", "1")),
        ("mmse", "MMSCORE", ("30", "28", "-4")),
        ("pdxconv", "DXCURREN", ("1", "2", "3")),
    ):
        rows = [f"{date},{value}" for date, value in zip(dates, values, strict=True)]
        rows += rows[:1]
        put_csv(tables / f"aibl_{kind}_{day}.csv", f"RID,SITEID,VISCODE,EXAMDATE,{column}", *rows)


def ixi(root: Path) -> None:
    """Three people; the table has the second twice and lacks the third."""
    for seed, name in enumerate(("IXI002-Guys-0828", "IXI012-HH-1211", "IXI013-IOP-1212")):
        put_nifti(root / "IXI-T1" / f"{name}-T1.nii.gz", seed)
    put_nifti(root / "IXI-T2/IXI002-Guys-0828-T2.nii.gz", 9)
    columns = [
        "IXI_ID", "SEX_ID (1=m, 2=f)", "HEIGHT", "WEIGHT", "ETHNIC_ID", "MARITAL_ID",
        "OCCUPATION_ID", "QUALIFICATION_ID", "DOB", "DATE_AVAILABLE", "STUDY_DATE", "AGE",
    ]  # fmt: skip
    rest = [164, 58, 1, 4, 1, 5, "1970-02-22", 1]
    rows = [
        [2, 2, *rest, "2005-11-18", 35.8],
        [12, 1, *rest, None, None],
        [12, 1, *rest, "2005-08-22", 38.78],
    ]
    sheets = {"Table": (columns, rows)}
    for sheet, column in (
        ("Ethnicity", "ETHNIC"), ("Marital Status", "MARITAL"), ("Occupation", "OCCUPATION"),
        ("Qualification", "QUALIFICATION"),
    ):  # fmt: skip
        sheets[sheet] = (["ID", column], [[1, "one"], [4, "four"], [5, "five"]])
    put_excel(root / "IXI.xls", **sheets)


def habs(root: Path) -> None:
    """One archive a visit. The second person has two MPRAGE, and no row of clinical measures."""
    for seed, (person, session) in enumerate(
        [("P_AAAAAA", "HAB_1.0"), ("P_AAAAAA", "HAB_4.0"), ("P_BBBBBB", "HAB_1.0")]
    ):
        stem = f"x/{person}_201{seed}-01-31_{session}_ADNI"
        images = {f"{stem}_1X-MPRAGE.nii.gz": seed, f"{stem}_3DFLAIR.nii.gz": seed + 90}
        if person == "P_BBBBBB":
            images[f"{stem}_2X-MPRAGE.nii.gz"] = seed + 80
        put_zip(root / f"{person}_{session}_HABS_DataRelease_2.0.zip", images)
    put_csv(
        root / "Demographics_HABS_DataRelease_2.0.csv",
        "SubjIDshort,StudyArc,NP_SessionDate,NP_Age,BiologicalSex,YrsOfEd",
        "P_AAAAAA,HAB_1.0,2010-01-31,70.5,F,16", "P_AAAAAA,HAB_4.0,2011-01-31,73.5,F,16",
        "P_BBBBBB,HAB_1.0,2012-01-31,66.0,M,12",
    )  # fmt: skip
    put_csv(
        root / "ClinicalMeasures_HABS_DataRelease_2.0.csv",
        "SubjIDshort,StudyArc,NP_SessionDate,HABS_DX,CDR_Total,MMSE_Total",
        "P_AAAAAA,HAB_1.0,2010-01-31,CN,0,29", "P_AAAAAA,HAB_4.0,2011-01-31,MCI,0.5,27",
    )  # fmt: skip


def ukb(root: Path) -> None:
    """Three people; of the second both visits are at the age of 60."""
    for seed, name in enumerate(
        ("1000001_20252_2_0", "1000001_20252_3_0", "1000002_20252_2_0", "1000002_20252_3_0",
         "1000003_20252_2_0")
    ):  # fmt: skip
        put_zip(root / "bulk" / f"{name}.zip", {"T1/T1.nii.gz": seed, "T1/T1_brain.nii.gz": 99})
    put_csv(
        root / "ukb.csv",
        "eid,31-0.0,34-0.0,21022-0.0,21003-2.0,21003-3.0,20-0.0",
        "1000001,0,1950,55,62,65,1", "1000002,1,1952,53,60,60,1", "1000003,1,1949,58,66,,1",
    )  # fmt: skip


def nifd(root: Path) -> None:
    """Two people; a listed image was not downloaded, another has a number of seven digits."""
    images = [("1_S_0001", 1, 100001), ("1_S_0001", 3, 100002), ("1_S_0002", 1, 100003)]
    for subject, visit, number in [*images, ("1_S_0002", 3, 1000034)]:
        place = root / "NIFD" / subject / "t1_mprage" / f"201{visit}-01-31_10_00_00.0"
        put_series(place / f"I{number}", f"NIFD_{subject}_{{:03d}}_I{number}.dcm", number % 1000)
    head = "Image Data ID,Subject,Group,Sex,Age,Visit,Modality,Description,Type,Acq Date,Format"
    rows = [
        f"I{number},{subject},Patient,{sex},{60 + visit},{visit},MRI,t1_mprage,Original,"
        f"1/31/201{visit},DCM,"
        for (subject, visit, number), sex in zip(
            [*images, ("1_S_0002", 3, 1000034), ("1_S_0002", 2, 100009)], "FFMMM", strict=True
        )
    ]
    put_csv(root / "tables/idaSearch.csv", head + ",Downloaded", *rows)
    columns = [
        "LONI_ID", "AGE_AT_TIME", "GENDER", "DX", "VISIT_NUMBER", "SITE", "EDUCATION", "RACE",
        "CDR_BOX_SCORE", "MMSE_TOT",
    ]  # fmt: skip
    rows = [
        ["1_S_0001", 61, 2, "CON", 1, "UCSF", 16, 1, 0.0, 30.0],
        ["1_S_0001", 63, 2, "CON", 3, "UCSF", 16, 1, 0.0, 29.0],
        ["1_S_0002", 61, 1, "BV", 1, "UCSF", 12, 1, 5.0, -4.0],
    ]
    put_excel(root / "tables/NIFD_Clinical_Data.xlsx", Sheet1=(columns, rows))


def genfi(root: Path) -> None:
    """Two people, the first with two visits, and one diffusion series."""
    for seed, (visit, series, description) in enumerate(
        [
            ("C9ORF001-11", "3-T1", "t1_mprage"), ("C9ORF001-12", "3-T1", "t1_mprage"),
            ("GRN002-11", "2-T1", "t1_mprage"), ("GRN002-11", "5-DWI", "dwi_64"),
        ]
    ):  # fmt: skip
        put_series(root / "images" / visit / series / "DICOM", "{:03d}.dcm", seed, description)
    keys = ["Blinded Code", "Blinded Site", "Visit"]
    people = [["C9ORF001", "A", 11], ["C9ORF001", "A", 12], ["GRN002", "B", 11]]
    more = {
        "IMAGING": (["Scanner"], [["x"]] * 3),
        "DEMOGRAPHICS": (
            ["Gender", "Age at visit", "Date of assessment", "Blinded Family", "Education"],
            [[1, 41.0, "2015-01-31", "F1", 12], [1, 42.5, "2016-07-31", "F1", 12],
             [0, 50.0, "2015-01-31", "F2", 16]],
        ),
        "CLINICAL": (["Diagnosis"], [["at risk"], ["bvFTD"], ["at risk"]]),
        "BIOSAMPLES": (["Plasma"], [[1]] * 3),
        "NEUROPSYCH": (["MMSE"], [[30], [27], [29]]),
    }  # fmt: skip
    for name, (columns, values) in more.items():
        rows = [[*key, *value] for key, value in zip(people, values, strict=True)]
        sheet = ([*keys, *columns], rows)
        empty = ([*keys, *columns], [])
        put_excel(root / f"tables/FINAL_{name}_DF6.xlsx", GENFI1=sheet, GENFI2=empty)
