"""Raw downloads of other studies, by Clinica's own converters, then imported: images and values."""

import logging
from zipfile import ZipFile

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from helpers import studies
from helpers.studies import CLINICA, noise
from ldae.conversion.import_bids import import_bids
from ldae.conversion.studies import LEFT_OUT, STUDIES, study_columns
from ldae.conversion.study_conversion import convert_study
from ldae.errors import UserError
from ldae.files import read_table

pytestmark = [
    pytest.mark.workflow,
    pytest.mark.skipif(not CLINICA.is_dir(), reason="Clinica's environment is missing: make env"),
]
# Of each scan: seed of its voxels, months, age, sex, diagnosis, MMSE, CDR, ε4 alleles, tesla.
EXPECTED = {
    "oasis1": {
        # Scanned twice: Clinica takes the row of the second session, which has no MMSE.
        "OASIS10001_ses-M000": (0, 0, 74, "F", "CN", None, 0, None, None),
        "OASIS10002_ses-M000": (1, 0, 80, "M", "AD", 22, 1, None, None),
        "OASIS10003_ses-M000": (7, 0, 24, "F", None, None, None, None, None),
    },
    "oasis3": {
        "OAS30001_ses-M006": (0, 4, 65.8532, "F", "CN", 29, 0, 1, 3),
        "OAS30001_ses-M024": (3, 25, 67.5726, "F", None, 27, 0.5, 1, 3),
        "OAS30002_ses-M000": (4, 0, 70.2774, "M", "AD", 20, 1, 0, 3),
    },
    "aibl": {
        "AIBL4_ses-M000": (101, 0, 72, "F", "CN", 30, 0, 1, 3),
        "AIBL4_ses-M018": (102, 18, 73, "F", "MCI", 28, 0.5, 1, 3),
        "AIBL21_ses-M000": (103, 0, 68, "M", "AD", None, 1, 0, 3),
    },
    "ixi": {
        "IXI002_ses-M000": (0, 0, 35.8, "F", None, None, None, None, 1.5),
        "IXI012_ses-M000": (1, 0, 38.78, "M", None, None, None, None, 3),
        "IXI013_ses-M000": (2, 0, None, None, None, None, None, None, 1.5),
    },
    "habs": {
        "HABSAAAAAA_ses-M000": (0, 0, 70.5, "F", "CN", 29, 0, None, None),
        "HABSAAAAAA_ses-M036": (1, 36, 73.5, "F", "MCI", 27, 0.5, None, None),
        "HABSBBBBBB_ses-M000": (2, 0, 66, "M", None, None, None, None, None),
    },
    "nifd": {
        "NIFD1S0001_ses-M000": (1, 0, 61, "F", "CN", 30, None, None, 3),
        "NIFD1S0001_ses-M012": (2, 12, 63, "F", "CN", 29, None, None, 3),
        "NIFD1S0002_ses-M000": (3, 0, 61, "M", None, None, None, None, 3),
    },
    "genfi": {
        "C9ORF001_ses-11": (0, 0, 41, None, None, None, None, None, 3),
        "C9ORF001_ses-12": (1, 18, 42.5, None, None, None, None, None, 3),
        "GRN002_ses-11": (2, 0, 50, None, None, None, None, None, 3),
    },
    "ukb": {
        "UKB1000001_ses-M000": (0, 0, 62, "F", None, None, None, None, None),
        "UKB1000001_ses-M036": (1, 36, 65, "F", None, None, None, None, None),
        "UKB1000002_ses-M000": (2, 0, 60, "M", None, None, None, None, None),
        "UKB1000003_ses-M000": (4, 0, 66, "M", None, None, None, None, None),
    },
}


def convert(name, root, damage=None):
    """Make a download, damage it, convert and import it; returns the imported part."""
    raw = root / "raw"
    raw.mkdir()
    getattr(studies, name)(raw)
    if damage:
        damage(raw)
    convert_study(name, raw, raw, root / "bids", str(CLINICA), 2, "cohort.beside.X")
    given = study_columns({"study": name})
    import_bids(
        root / "bids", "X", part_dir=root / "part", conversion=root / "x.tsv", left_out=LEFT_OUT,
        **given,
    )  # fmt: skip
    return root / "part"


def known(value):
    return None if pd.isna(value) else value


@pytest.mark.parametrize("name", STUDIES)
def test_study_is_converted_with_its_own_images_and_values(name, tmp_path):
    part = convert(name, tmp_path)
    people = read_table(part / "bids/participants.tsv").set_index("participant_id")
    table = read_table(part / "conversion.tsv").dropna(subset="scan_id").set_index("scan_id")
    found = {}
    for path in sorted(part.glob("bids/sub-*/sub-*_sessions.tsv")):
        person = path.parent.name
        for row in read_table(path).itertuples():
            scan = f"{person}_{row.session_id}"
            image = path.parent / row.session_id / "anat" / f"{scan}_T1w.nii.gz"
            values = np.sort(np.rint(nib.load(image).get_fdata()), axis=None)
            # Voxels in any order: dcm2niix may turn the axes.
            seeds = [
                seed
                for seed in range(120)
                if np.array_equal(values, np.sort(noise(seed), axis=None))
            ]
            (seed,) = seeds
            rest = row.diagnosis, row.MMSE, row.cdr_global, people["apoe4"][person]
            strength = table["field_strength"][scan]
            sex = people["sex"][person]
            about = (seed, row.months, row.age, sex, *rest, strength)
            found[scan.removeprefix("sub-")] = tuple(map(known, about))
    assert found == EXPECTED[name]
    assert not list(tmp_path.glob(".tmp*"))  # no folder of links is left


def test_every_image_that_is_left_out_has_a_row_with_its_reason(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    table = read_table(convert("oasis3", tmp_path) / "conversion.tsv")
    assert len(table) == 6  # all T1-weighted images of the download
    rows = table[table["status"] == "not_chosen"].set_index("path")["reason"].to_dict()
    rows.pop("sub-OAS30001/ses-M006/anat/sub-OAS30001_ses-M006_run-02_T1w.nii.gz", None)
    assert rows == {
        "images/OAS30001_MR_d0150/anat1/sub-OAS30001_ses-d0150_run-01_T1w.nii.gz": (
            "A second MR session in one half-year: Clinica gives both one name."
        ),
        "images/OAS30003_MR_d0000/anat1/sub-OAS30003_ses-d0000_T1w.nii.gz": (
            "The subject has no row in the demographics."
        ),
    }
    assert "1 image left out: The subject has no row in the demographics." in caplog.text


def test_study_that_clinica_cannot_convert_leaves_nothing_and_a_sentence(tmp_path):
    raw = tmp_path / "raw"
    studies.genfi(raw)
    for series in (raw / "images").glob("*/*DWI"):
        for path in series.rglob("*.dcm"):
            path.unlink()
    with pytest.raises(UserError, match="Download the DWI series of at least one visit"):
        convert_study("genfi", raw, raw, tmp_path / "bids", str(CLINICA))
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def cut_off(raw):
    place = raw / "AIBL/21/MPRAGE/2008-06-03_11_30_00.0/I103"
    for path in place.iterdir():
        path.write_bytes(path.read_bytes()[:200])


def no_image(raw):
    (raw / "IXI-T1/IXI002-Guys-0828-T1.nii.gz").write_bytes(b"no image")


def not_an_archive(raw):
    (raw / "bulk/1000003_20252_2_0.zip").write_bytes(b"no archive")


def not_an_archive_of_habs(raw):
    (raw / "P_AAAAAA_HAB_1.0_HABS_DataRelease_2.0.zip").write_bytes(b"no archive")


def not_an_image(raw):
    with ZipFile(raw / "P_AAAAAA_HAB_1.0_HABS_DataRelease_2.0.zip", "w") as archive:
        archive.writestr("x/P_AAAAAA_2010-01-31_HAB_1.0_ADNI_1X-MPRAGE.nii.gz", b"no image")


@pytest.mark.parametrize(
    ("name", "damage", "path", "reason"),
    [
        ("aibl", cut_off, "AIBL/21/MPRAGE/2008-06-03_11_30_00.0/I103", "files"),
        ("ixi", no_image, "IXI-T1/IXI002-Guys-0828-T1.nii.gz", "cannot be read"),
        ("ukb", not_an_archive, "bulk/1000003_20252_2_0.zip", "cannot be read"),
        (
            "habs",
            not_an_archive_of_habs,
            "P_AAAAAA_HAB_1.0_HABS_DataRelease_2.0.zip",
            "cannot be read",
        ),
        (
            "habs",
            not_an_image,
            "P_AAAAAA_HAB_1.0_HABS_DataRelease_2.0.zip/x/"
            "P_AAAAAA_2010-01-31_HAB_1.0_ADNI_1X-MPRAGE.nii.gz",
            "cannot be read",
        ),
    ],
)
def test_bad_image_is_left_out_and_the_others_are_converted(name, damage, path, reason, tmp_path):
    table = read_table(convert(name, tmp_path, damage) / "conversion.tsv")
    bad = table.set_index("path").loc[path]
    assert bad["status"] == "corrupt" and reason in bad["reason"]
    good = table[table["status"] == "converted"]
    assert len(good) == len(EXPECTED[name]) - 1


def test_column_that_a_table_lacks_is_named(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    studies.aibl(raw)
    path = next((raw / "tables").glob("aibl_cdr_*.csv"))
    path.write_text(path.read_text().replace("CDGLOBAL", "GLOBAL"))
    with pytest.raises(UserError, match=r"lacks the column\(s\) .*CDGLOBAL"):
        convert_study("aibl", raw, raw, tmp_path / "bids", str(CLINICA), 1, "cohort.beside.A")
    assert not (tmp_path / "bids").exists()


def test_study_is_planned_from_its_download(project, tmp_path):
    studies.ixi(project.path / "ixi")
    beside = {"IXI": {"study": "ixi", "images": "ixi", "tables": "ixi"}}
    config = project.overlay("study.yaml", {"cohort": {"beside": beside}})
    assert {"convert_study", "import_bids", "bids"} <= project.planned("bids", config=config)
