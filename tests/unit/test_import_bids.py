"""Import of external BIDS data sets: images, column mapping, refused input, duplicates."""

import gzip
import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from ldae.cohort.scans import find_duplicates
from ldae.conversion.change_hashes import bids_hash
from ldae.conversion.conversion_table import COLUMNS
from ldae.conversion.import_bids import import_bids, write_refused
from ldae.conversion.merge import merge_bids
from ldae.conversion.visit_months import months_of_label
from ldae.errors import UserError
from ldae.files import read_table

OASIS_COLUMNS = {
    "sex": "M/F", "age_baseline": "AgeatEntry", "diagnosis": "dx1", "mmse": "MMSE_total",
    "cdr_global": "cdr",
}  # fmt: skip
OASIS_VALUES = {
    "sex": {"1": "M", "2": "F"},
    "diagnosis": {"Cognitively normal": "CN", "AD Dementia": "AD", "uncertain": None},
    "mmse": {-4: None},
}


def voxels(seed):
    return np.random.default_rng(seed).integers(0, 900, (8, 8, 8)).astype(np.int16)


def put_image(root, path, data, comment=""):
    path = root / path
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(data, np.diag([2, 2, 2, 1]))
    image.header["descrip"] = comment
    nib.save(image, path)
    return path


def put_table(path, text):
    """Write a TSV from text whose fields are separated by bars."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(part.strip() for part in line.split("|")) for line in text.split("\n")]
    path.write_text("\n".join(lines) + "\n")


def anat(subject, session, rest="T1w.nii.gz"):
    return f"sub-{subject}/ses-{session}/anat/sub-{subject}_ses-{session}_{rest}"


@pytest.fixture
def oasis(tmp_path):
    """Sessions in days, several runs, one table of sessions; one image is 4-D, one truncated."""
    root = tmp_path / "OASIS3"
    put_image(root, anat("OAS30001", "d0129", "run-01_T1w.nii.gz"), voxels(1))
    put_image(root, anat("OAS30001", "d0129", "run-02_T1w.nii.gz"), voxels(2))
    sidecar = root / anat("OAS30001", "d0129", "run-01_T1w.json")
    sidecar.write_text('{"MagneticFieldStrength": 3, "PatientName": "Doe"}')
    put_image(root, anat("OAS30001", "d0757", "acq-b_T1w.nii"), voxels(3), "10:42, Doe")
    put_image(root, anat("OAS30002", "d0000"), np.zeros((8, 8, 8, 2), np.int16))
    cut = put_image(root, anat("OAS30002", "d0400"), voxels(4))
    cut.write_bytes(cut.read_bytes()[:-30])
    put_image(root, "derivatives/x/" + anat("OAS30001", "d0129"), voxels(5))
    put_table(
        root / "participants.tsv",
        "participant_id | M/F | AgeatEntry\nOAS30001 | 2 | 65.0\nsub-OAS30002 | 1 | 70",
    )
    put_table(
        root / "sessions.tsv",
        "participant_id | session_id | dx1 | cdr | MMSE_total\n"
        "sub-OAS30001 | ses-d0129 | Cognitively normal | 0.0 | 29\n"
        "sub-OAS30001 | ses-d0757 | AD Dementia | 1.0 | -4.0\n"
        "sub-OAS30001 | ses-d9999 | no image: read by nobody | 9 | 99\n"
        "sub-OAS30002 | ses-d0000 | uncertain | n/a | ",
    )
    return root


@pytest.fixture
def aibl(tmp_path):
    """Clinica's form: one table of sessions per subject; columns have our names already."""
    root = tmp_path / "AIBL"
    for subject, seed in (("AIBL1", 11), ("AIBL2", 1)):  # AIBL2's is OAS30001's at d0129
        put_image(root, anat(subject, "M000"), voxels(seed))
        put_table(
            root / f"sub-{subject}/sub-{subject}_sessions.tsv",
            "session_id | age | diagnosis | MMSE | cdr_global\nses-M000 | 72.5 | MCI | 27 | 0.5",
        )
    put_image(root, anat("AIBL1", "M018"), voxels(11))  # the same image again
    put_table(root / "participants.tsv", "participant_id | sex | apoe4\nsub-AIBL1 | M | 2")
    return root


def run_import(root, columns=None, values=None, name="OASIS3", **options):
    part = root.parent / "parts" / name
    table = import_bids(
        root, name, columns or {}, values or {}, part, root.parent / f"{name}.tsv", **options
    )
    return table, part


def contents(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_import_lists_every_image_and_changes_none(oasis):
    before = contents(oasis)
    table, part = run_import(oasis, OASIS_COLUMNS, OASIS_VALUES, jobs=2)
    assert contents(oasis) == before
    assert list(table) == COLUMNS and set(table["cohort"]) == {"OASIS3"}
    rows = table.set_index("path")
    assert len(rows) == 5 and rows.index.is_unique and table["image_id"].is_unique
    first, second = (anat("OAS30001", "d0129", f"run-0{run}_T1w.nii.gz") for run in (1, 2))
    plain = anat("OAS30001", "d0757", "acq-b_T1w.nii")
    assert rows["status"].to_dict() == {
        first: "converted", second: "not_chosen", plain: "converted",
        anat("OAS30002", "d0000"): "failed", anat("OAS30002", "d0400"): "failed",
    }  # fmt: skip
    assert "run-01" in rows.loc[second, "reason"] and pd.isna(rows.loc[second, "scan_id"])
    assert "3-D" in rows.loc[anat("OAS30002", "d0000"), "reason"]
    assert "cannot be read" in rows.loc[anat("OAS30002", "d0400"), "reason"]
    assert rows.loc[first, "image_id"] == f"OASIS3/{first.removesuffix('.nii.gz')}"
    assert rows.loc[first, "field_strength"] == 3 and rows.loc[first, "subject_id"] == "OAS30001"
    assert not table["image_id"].str.contains(" ").any()
    assert rows["image_hash"].notna().sum() == 2 and rows["image_hash"].nunique() == 2
    for copy in (part / "conversion.tsv", oasis.parent / "OASIS3.tsv"):
        pd.testing.assert_frame_equal(read_table(copy), table, check_dtype=False)


def test_import_links_images_and_rewrites_uncompressed_ones(oasis):
    _, part = run_import(oasis, OASIS_COLUMNS, OASIS_VALUES)
    images = sorted(path for path in (part / "bids").rglob("*.nii*"))
    assert [str(path.relative_to(part / "bids")) for path in images] == [
        anat("OAS30001", "d0129"), anat("OAS30001", "d0757"),
    ]  # fmt: skip
    link, made = images
    assert link.readlink() == oasis.resolve() / anat("OAS30001", "d0129", "run-01_T1w.nii.gz")
    assert not made.is_symlink()
    assert np.array_equal(np.asanyarray(nib.load(made).dataobj), voxels(3))
    assert b"Doe" not in gzip.decompress(made.read_bytes())
    sidecar = json.loads(link.with_name("sub-OAS30001_ses-d0129_T1w.json").read_text())
    assert sidecar["MagneticFieldStrength"] == 3 and "PatientName" not in sidecar


def test_import_maps_columns_and_values(oasis):
    _, part = run_import(oasis, OASIS_COLUMNS, OASIS_VALUES)
    participants = read_table(part / "bids/participants.tsv")
    assert participants.to_dict("list")["participant_id"] == ["sub-OAS30001"]
    assert participants["sex"].item() == "F" and participants["apoe4"].isna().all()
    sessions = read_table(part / "bids/sub-OAS30001/sub-OAS30001_sessions.tsv")
    assert list(sessions["session_id"]) == ["ses-d0129", "ses-d0757"]
    assert list(sessions["months"]) == [4, 25] and list(sessions["diagnosis"]) == ["CN", "AD"]
    assert sessions["age"].tolist() == pytest.approx([65 + 4 / 12, 65 + 25 / 12], abs=1e-3)
    assert sessions["MMSE"][0] == 29 and pd.isna(sessions["MMSE"][1])
    assert list(sessions["cdr_global"]) == [0, 1]


def test_import_needs_no_mapping_for_our_column_names(aibl):
    table, part = run_import(aibl, name="AIBL")
    assert (table["status"] == "converted").all()
    first = read_table(part / "bids/sub-AIBL1/sub-AIBL1_sessions.tsv").set_index("session_id")
    assert first["months"].to_dict() == {"ses-M000": 0, "ses-M018": 18}
    assert first.loc["ses-M000", ["age", "diagnosis", "MMSE"]].tolist() == [72.5, "MCI", 27]
    assert first.loc["ses-M018"].drop("months").isna().all()  # no row in the table of sessions
    participants = read_table(part / "bids/participants.tsv").set_index("participant_id")
    assert participants.loc["sub-AIBL1", "apoe4"] == 2
    assert participants.loc["sub-AIBL2"].isna().all()


def test_repeated_import_replaces_part_byte_for_byte(aibl):
    _, part = run_import(aibl, name="AIBL")
    before = contents(part)
    (part / "bids" / "left.txt").touch()
    run_import(aibl, name="AIBL")
    assert contents(part) == before
    (part / "conversion.tsv").unlink()
    with pytest.raises(UserError, match="in the way"):
        run_import(aibl, name="AIBL")


def test_bids_hash_changes_with_images_and_tables(aibl):
    hashes = [bids_hash(aibl)]
    (aibl / "sub-AIBL1/ses-M000/func").mkdir()
    assert bids_hash(aibl) == hashes[0]
    put_image(aibl, anat("AIBL1", "M036"), voxels(12))
    hashes.append(bids_hash(aibl))
    for table in (aibl / "participants.tsv", aibl / "sub-AIBL1/sub-AIBL1_sessions.tsv"):
        table.write_text(table.read_text() + "\n")
        hashes.append(bids_hash(aibl))
    (aibl / anat("AIBL1", "M036")).unlink()
    hashes.append(bids_hash(aibl))
    assert len(set(hashes)) == 5
    assert bids_hash(aibl / "nothing") == "absent"


def test_import_of_data_set_without_sessions_and_with_prefix(tmp_path):
    root = tmp_path / "flat"
    put_image(root, "sub-01/anat/sub-01_T1w.nii.gz", voxels(1))
    table, part = run_import(root, name="Flat", prefix="Flat")
    assert table["scan_id"].tolist() == ["sub-Flat01_ses-M000"]
    assert table["subject_id"].tolist() == ["01"]
    sessions = read_table(part / "bids/sub-Flat01/sub-Flat01_sessions.tsv")
    assert sessions["months"].tolist() == [0] and sessions["diagnosis"].isna().all()


def test_import_lists_each_unmapped_value_once(oasis):
    values = {"sex": {"1": "male"}}
    with pytest.raises(UserError) as caught:
        run_import(oasis, OASIS_COLUMNS, values, section="cohort.beside.OASIS3")
    message = str(caught.value)
    assert (
        "diagnosis: 'AD Dementia', 'Cognitively normal', 'uncertain'; allowed: CN, MCI, AD; "
        "set cohort.beside.OASIS3.values.diagnosis\n" in message
    )
    assert "sex: '1' (mapped to 'male'), '2'; allowed: M, F" in message
    assert "mmse: '-4.0'; allowed: numbers from 0 to 30" in message
    assert "no image" not in message
    assert not (oasis.parent / "parts").exists() and not (oasis.parent / "OASIS3.tsv").exists()


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        ({"diagnosis": "dx2"}, r"cohort.columns.diagnosis: .* no column 'dx2'.*'dx1'.*'M/F'"),
        ({"age": "AgeatEntry"}, "age is that at the visit.*set cohort.columns.age_baseline"),
        ({"months": "AgeatEntry"}, "must be in the table of sessions"),
    ],
)
def test_import_refuses_absent_or_unsuitable_columns(oasis, columns, sentence):
    with pytest.raises(UserError, match=sentence):
        run_import(oasis, columns, OASIS_VALUES)


def test_import_refuses_age_in_participants_table_unless_mapped(aibl):
    table = "participant_id | age\nsub-AIBL1 | 70"
    put_table(aibl / "participants.tsv", table)
    for path in aibl.glob("sub-*/*_sessions.tsv"):
        path.unlink()
    with pytest.raises(UserError, match=r"set cohort\.columns\.age_baseline: age"):
        run_import(aibl, name="AIBL")
    _, part = run_import(aibl, {"age_baseline": "age"}, name="AIBL")
    sessions = read_table(part / "bids/sub-AIBL1/sub-AIBL1_sessions.tsv")
    assert sessions["age"].tolist() == [70, 71.5]


def test_import_reads_months_from_column_or_session_label(tmp_path):
    assert [months_of_label(label) for label in ("M012", "m06", "d0365", "bl")] == [12, 6, 12, 0]
    assert [months_of_label(label) for label in ("01", "baseline2", "M", "v03")] == [None] * 4
    root = tmp_path / "visits"
    for session in ("1", "2"):
        put_image(root, anat("A", session), voxels(int(session)))
    with pytest.raises(UserError, match=r"ses-1, ses-2 .*cohort\.columns\.months"):
        run_import(root)
    put_table(root / "sessions.tsv", "participant_id|session_id|visit\nA|1|6\nsub-A|ses-2|6.2")
    table, part = run_import(root, {"months": "visit"})
    assert read_table(part / "bids/sub-A/sub-A_sessions.tsv")["months"].tolist() == [6, 6]
    assert table["scan_id"].is_unique


def months_of(part) -> dict[str, list[int]]:
    """Months of the visits of each participant of an imported part, in the tables' order."""
    paths = sorted(part.glob("bids/sub-*/*_sessions.tsv"))
    return {path.parent.name.removeprefix("sub-"): read_table(path)["months"].tolist()
            for path in paths}  # fmt: skip


@pytest.mark.parametrize("source", ["sessions", "subject's sessions", "scans", "labels", "ages"])
def test_import_reads_months_from_dates_or_ages(tmp_path, source):
    root = tmp_path / "visits"
    labels = ("20110512", "20120511") if source == "labels" else ("1", "2")
    days = ("2011-05-12T10:00:00", "2012-05-11")
    for number, label in enumerate(labels):
        put_image(root, anat("A", label), voxels(number))
        put_table(
            root / f"sub-A/ses-{label}/sub-A_ses-{label}_scans.tsv",
            f"filename | acq_time\nanat/sub-A_ses-{label}_T1w.nii.gz | "
            + (days[number] if source == "scans" else "n/a"),
        )
    put_image(root, anat("B", labels[0]), voxels(5))  # one visit: the baseline
    rows = [f"ses-{label} | {day}" for label, day in zip(labels, days, strict=True)]
    if source == "sessions":
        lines = "\n".join(f"sub-A | {row}" for row in rows)
        put_table(root / "sessions.tsv", f"participant_id | session_id | acq_time\n{lines}")
    if source == "subject's sessions":
        lines = "\n".join(rows)
        put_table(root / "sub-A/sub-A_sessions.tsv", f"session_id | acq_time\n{lines}")
    if source == "ages":
        lines = "\n".join(f"A | {label} | {71 + n}" for n, label in enumerate(labels))
        put_table(root / "sessions.tsv", f"participant_id | session_id | age\n{lines}")
    _, part = run_import(root)
    assert months_of(part) == {"A": [0, 12], "B": [0]}


def test_dates_count_from_a_visit_whose_months_are_known(tmp_path):
    root = tmp_path / "visits"
    for number, label in enumerate(("M012", "x")):
        put_image(root, anat("A", label), voxels(number))
    put_table(
        root / "sessions.tsv",
        "participant_id | session_id | acq_time\nA | M012 | 2012-01-01\nA | x | 20120701",
    )
    _, part = run_import(root)
    assert months_of(part) == {"A": [12, 18]}


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("acq_time", ("13:04:22", "09:00:00")),
        ("acq_time", ("05/06/2011", "13/06/2012")),
        ("age", ("71", "71")),
    ],
)
def test_times_of_day_and_ages_at_baseline_are_no_months(tmp_path, column, values):
    root = tmp_path / "visits"
    rows = ""
    for number, value in enumerate(values):
        put_image(root, anat("A", str(number)), voxels(number))
        rows += f"\nA | {number} | {value}"
    put_table(root / "sessions.tsv", f"participant_id | session_id | {column}{rows}")
    with pytest.raises(UserError, match="months since baseline are not known"):
        run_import(root)


def test_import_refuses_visits_of_which_one_has_no_date(tmp_path):
    root = tmp_path / "visits"
    for number in (1, 2, 3):
        put_image(root, anat("A", str(number)), voxels(number))
    dates = "\n".join(f"A | {n} | {day}" for n, day in ((1, "2011-05-12"), (2, "n/a")))
    put_table(root / "sessions.tsv", f"participant_id | session_id | acq_time\n{dates}")
    with pytest.raises(UserError, match="months since baseline are not known for 3 scan"):
        run_import(root)


def test_age_in_participants_table_is_the_age_where_each_has_one_visit(tmp_path):
    root = tmp_path / "IXI"
    for number, age in (("012", 38.78), ("013", 46.71)):
        put_image(root, f"sub-IXI{number}/anat/sub-IXI{number}_T1w.nii.gz", voxels(int(age)))
    put_table(root / "participants.tsv", "participant_id | age\nsub-IXI012 | 38.78\nIXI013 | 46.71")
    _, part = run_import(root, name="IXI")
    tables = sorted(part.glob("bids/sub-*/*_sessions.tsv"))
    assert [read_table(path)["age"].item() for path in tables] == [38.78, 46.71]


def test_age_of_the_only_visit_is_taken_as_it_is_whatever_its_months(tmp_path):
    root = tmp_path / "one"
    for seed, subject in enumerate("AB"):
        put_image(root, anat(subject, "M012"), voxels(seed))
    put_table(root / "participants.tsv", "participant_id | age\nA | 70\nB | 71")
    put_table(root / "sub-B/sub-B_sessions.tsv", "session_id | age\nses-M012 | 71.5")
    _, part = run_import(root, name="One")
    tables = [read_table(path) for path in sorted(part.glob("bids/sub-*/*_sessions.tsv"))]
    assert [table["months"].item() for table in tables] == [12, 12]
    assert [table["age"].item() for table in tables] == [70, 71.5]
    (root / "sub-B/sub-B_sessions.tsv").unlink()
    _, part = run_import(root, {"age_baseline": "age"}, name="One")
    table = read_table(part / "bids/sub-A/sub-A_sessions.tsv")
    assert table["age"].item() == 71  # said to be that at baseline
    put_image(root, anat("B", "M024"), voxels(3))
    with pytest.raises(UserError, match="age"):  # at which of the two?
        run_import(root, name="One", bids_filter={"session": "M024"})


def test_import_refuses_participants_table_that_does_not_match(aibl):
    put_table(aibl / "participants.tsv", "participant_id | sex\nsub-AIBL1 | M\nAIBL1 | F")
    with pytest.raises(UserError, match="1 subject twice, such as AIBL1"):
        run_import(aibl)
    put_table(aibl / "participants.tsv", "participant_id | sex\nsub-0001 | M")
    with pytest.raises(UserError, match="no row for any scan's subject, such as AIBL1"):
        run_import(aibl)
    put_table(aibl / "participants.tsv", "subject | sex\nsub-0001 | M")
    with pytest.raises(UserError, match=r"lacks the column.*participant_id"):
        run_import(aibl)
    (aibl / "participants.tsv").write_bytes("participant_id\nMénage\n".encode("latin-1"))
    with pytest.raises(UserError, match="UTF-8"):
        run_import(aibl)


def test_import_refuses_folder_without_valid_images(tmp_path):
    with pytest.raises(UserError, match=r"cohort\.bids_dir: the folder .* does not exist"):
        run_import(tmp_path / "absent")
    root = tmp_path / "data"
    (root / "BIDS").mkdir(parents=True)
    with pytest.raises(UserError, match=r"found: BIDS\. Set it to the folder"):
        run_import(root)
    image = root / anat("A", "M000")
    image.parent.mkdir(parents=True)
    image.symlink_to(".git/annex/objects/not-here.nii.gz")
    with pytest.raises(UserError, match="link to nothing"):
        run_import(root)
    assert not list((tmp_path / "parts").iterdir())


def test_import_fails_only_images_of_unsupported_kinds(tmp_path):
    """nibabel reads these images, but the preprocessing cannot use them."""
    root = tmp_path / "odd"
    put_image(root, anat("A", "M000"), voxels(1))
    colours = np.zeros((8, 8, 8), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    put_image(root, anat("B", "M000"), colours)
    put_image(root, anat("C", "M000"), voxels(2))
    put_image(root, anat("D", "M000", "T1w.nii"), voxels(3))
    nib.save(nib.Nifti2Image(voxels(3), np.eye(4)), root / anat("D", "M000", "T1w.nii"))
    flat = nib.Nifti1Image(voxels(4), None)
    flat.header.set_sform([[1e9, 1e9, 0, 0], [0, 1e-9, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], code=1)
    nib.save(flat, root / anat("C", "M000"))
    (root / anat("A", "M000", "T1w.json")).write_text("{no JSON")
    table, _ = run_import(root)
    assert table["status"].tolist() == ["converted", "failed", "failed", "failed"]
    for reason, words in zip(table["reason"][1:], ("colours", "same", "NIfTI-1"), strict=True):
        assert words in reason


def test_import_inherits_metadata(tmp_path):
    """JSON files above the image hold as well; the nearest wins."""
    root = tmp_path / "data"
    for number, subject in enumerate(("01", "02", "03", "04")):
        put_image(root, anat(subject, "M000"), voxels(number))
    put_image(root, anat("05", "M000", "acq-a_T1w.nii.gz"), voxels(5))
    for name, strength in {
        "T1w.json": 3,
        "acq-a_T1w.json": 2,
        "acq-b_T1w.json": 4,
        "T2w.json": 5,
        "sub-02/sub-02_T1w.json": 1.5,
        anat("03", "M000", "T1w.json"): 7,
        "sub-04/ses-M000/sub-04_ses-M000_T1w.json": "unknown",
    }.items():
        (root / name).write_text(json.dumps({"MagneticFieldStrength": strength}))
    table, _ = run_import(root)
    assert table["field_strength"].fillna(0).tolist() == [3, 1.5, 7, 0, 2]


def test_import_takes_the_plain_image_of_a_session(tmp_path):
    root = tmp_path / "data"
    taken = {
        "01": ("T1w", "ce-gadolinium_T1w", "part-phase_T1w", "rec-norm_T1w"),
        "02": ("rec-norm_T1w", "rec-other_T1w", "ce-gad_run-1_T1w"),
        "03": ("echo-1_run-2_T1w", "echo-2_run-1_T1w", "inv-1_T1w"),
        "04": ("part-mag_T1w", "part-real_T1w", "part-imag_T1w"),
        "05": ("run-2_T1w", "run-10_T1w"),
        "06": ("run-2_T1w", "run-1_T1w"),  # the first run's sidecar names an agent
    }
    for subject, names in taken.items():
        for number, name in enumerate(names):
            put_image(root, anat(subject, "M000", f"{name}.nii.gz"), voxels(number))
    put_image(root, anat("07", "M000", "ce-gad_T1w.nii.gz"), voxels(1))  # nothing else is there
    agent = {"ContrastBolusIngredient": "GADOLINIUM", "MagneticFieldStrength": 3}
    (root / anat("06", "M000", "run-1_T1w.json")).write_text(json.dumps(agent))
    none = {"ContrastBolusIngredient": "NONE", "ContrastBolusAgent": "No contrast"}
    (root / anat("06", "M000", "run-2_T1w.json")).write_text(json.dumps(none), encoding="utf-8-sig")
    table, _ = run_import(root)
    assert len(table) == sum(map(len, taken.values())) + 1  # each image has its row
    found = table[table["status"] == "converted"].set_index("subject_id")["path"]
    assert found.to_dict() == {
        subject: anat(subject, "M000", f"{names[0]}.nii.gz") for subject, names in taken.items()
    }
    reasons = table.set_index("path")["reason"]
    for subject, name, words in (
        ("01", "ce-gadolinium_T1w", "contrast agent (ce-gadolinium)"),
        ("01", "part-phase_T1w", "no magnitude image (part-phase)"),
        ("03", "inv-1_T1w", "one inversion of several"),
        ("05", "run-10_T1w", "sub-05_ses-M000_run-2_T1w.nii.gz is taken"),
        ("06", "run-1_T1w", "ContrastBolusIngredient in its sidecar"),
        ("07", "ce-gad_T1w", "contrast agent"),
    ):
        assert words in reasons[anat(subject, "M000", f"{name}.nii.gz")]


FILTERED = {
    "01": ("T1w", "ce-gad_T1w", "acq-fast_T1w", "part-phase_T1w"),
    "02": ("ce-gad_T1w",),
    "03": ("ce-other_T1w", "rec-norm_T1w"),
}


@pytest.mark.parametrize(
    ("bids_filter", "taken"),
    [
        ({}, {"01": "T1w", "03": "rec-norm_T1w"}),
        ({"ceagent": "gad"}, {"01": "ce-gad_T1w", "02": "ce-gad_T1w"}),
        ({"ceagent": "*"}, {"01": "ce-gad_T1w", "02": "ce-gad_T1w", "03": "ce-other_T1w"}),
        ({"ceagent": None}, {"01": "T1w", "03": "rec-norm_T1w"}),
        ({"part": ["phase", "real"]}, {"01": "part-phase_T1w"}),
        ({"acquisition": "fast"}, {"01": "acq-fast_T1w"}),
        ({"acquisition": [None, "fast"], "reconstruction": None}, {"01": "T1w"}),
    ],
)
def test_import_takes_what_the_data_set_asks_for(tmp_path, bids_filter, taken):
    root = tmp_path / "data"
    for subject, names in FILTERED.items():
        for number, name in enumerate(names):
            put_image(root, anat(subject, "M000", f"{name}.nii.gz"), voxels(number))
    agent = '{"ContrastBolusAgent": "Gadavist"}'  # so say both names of contrast agent
    (root / anat("02", "M000", "ce-gad_T1w.json")).write_text(agent)
    table, _ = run_import(root, bids_filter=bids_filter)
    assert len(table) == sum(map(len, FILTERED.values()))
    found = table[table["status"] == "converted"].set_index("subject_id")["path"]
    assert found.to_dict() == {
        subject: anat(subject, "M000", f"{name}.nii.gz") for subject, name in taken.items()
    }
    assert table["reason"].notna().all()
    out = table["reason"].str.startswith("Left out by cohort.bids_filter: its ")
    assert out.any() == bool(bids_filter) and not (out & (table["status"] == "converted")).any()
    plain = table.set_index("path")["reason"][anat("01", "M000")]
    if bids_filter == {"ceagent": "gad"}:
        assert plain == "Left out by cohort.bids_filter: its ceagent is absent, not gad."


def test_contrast_agent_of_a_sidecar_alone_is_refused_whatever_the_filter(tmp_path):
    root = tmp_path / "data"
    put_image(root, anat("01", "M000"), voxels(1))
    put_image(root, anat("02", "M000"), voxels(2))
    agent = '{"ContrastBolusAgent": "Gadavist"}'
    (root / anat("01", "M000", "T1w.json")).write_text(agent)
    table, _ = run_import(root, bids_filter={"ceagent": [None, "gad"]})
    reason = table.set_index("subject_id")["reason"]["01"]
    assert reason == "The scan was taken with contrast agent (ContrastBolusAgent in its sidecar)."
    assert table["status"].tolist() == ["not_chosen", "converted"]


def test_find_duplicates_within_a_subject_and_across_cohorts(oasis, aibl):
    tables = [run_import(oasis, OASIS_COLUMNS, OASIS_VALUES)[0], run_import(aibl, name="AIBL")[0]]
    scans = pd.concat(tables).query("status == 'converted'")
    scans["participant_id"] = scans["scan_id"].str.split("_").str[0]
    scans["months"] = [months_of_label(scan.split("_ses-")[1]) for scan in scans["scan_id"]]
    found = find_duplicates(scans).set_index("scan_id")
    assert found["duplicate_of"].to_dict() == {
        "sub-AIBL1_ses-M018": "sub-AIBL1_ses-M000",
        "sub-AIBL2_ses-M000": "sub-OAS30001_ses-d0129",
        "sub-OAS30001_ses-d0129": "sub-AIBL2_ses-M000",
        "sub-OAS30001_ses-d0757": "sub-AIBL2_ses-M000,sub-OAS30001_ses-d0129",  # same person
    }
    assert "earliest" in found.loc["sub-AIBL1_ses-M018", "reason"]
    assert "shares a scan with another cohort's" in found.loc["sub-AIBL2_ses-M000", "reason"]
    one = scans.assign(cohort="AIBL")  # in one cohort, whose a scan is cannot be known
    within = find_duplicates(one).set_index("scan_id")
    assert "sub-AIBL2, sub-OAS30001" in within.loc["sub-AIBL2_ses-M000", "reason"]
    assert "sub-OAS30001_ses-d0757" not in within.index
    none = find_duplicates(scans.drop_duplicates("image_hash"))
    assert none.empty and list(none) == ["scan_id", "duplicate_of", "reason"]


def test_import_sets_rare_implausible_values_to_missing(tmp_path, caplog):
    root = tmp_path / "odd"
    for number in range(3):
        put_image(root, anat(f"0{number}", "M000"), voxels(number))
    lines = "participant_id | age_baseline | sex\n01 | 7.4 | M\n00 | 70 | F\n02 | 71 | F"
    put_table(root / "participants.tsv", lines)
    columns = {"age_baseline": "age_baseline"}
    _, part = run_import(root, columns, name="Odd")
    ages = [
        read_table(path)["age"].item() for path in sorted(part.glob("bids/sub-*/*_sessions.tsv"))
    ]
    assert ages[0] == 70 and pd.isna(ages[1]) and ages[2] == 71
    assert "age_baseline: 7.4 of 1 scan(s) is taken as unknown" in caplog.text
    put_table(root / "participants.tsv", lines.replace("70", "840").replace("71", "852"))
    with pytest.raises(UserError, match=r"'7\.4', '840', '852'; allowed: numbers"):
        run_import(root, columns, name="Odd")


def test_import_drops_trailing_axes_of_length_1(tmp_path):
    root = tmp_path / "four"
    original = put_image(root, anat("01", "M000"), voxels(1)[..., None])
    _, part = run_import(root, name="Four")
    made = part / "bids" / anat("01", "M000")
    assert not made.is_symlink() and nib.load(original).ndim == 4
    assert np.array_equal(np.asanyarray(nib.load(made).dataobj), voxels(1))


def test_refused_data_set_replaces_its_part_by_one_without_scans(oasis, tmp_path):
    part, table = tmp_path / "parts/OASIS3", tmp_path / "OASIS3.tsv"
    import_bids(oasis, "OASIS3", OASIS_COLUMNS, OASIS_VALUES, part, table)
    assert list((part / "bids").glob("sub-*"))
    write_refused("OASIS3", "It has no age.", oasis, part, table)
    assert list((part / "bids").iterdir()) == []
    row = read_table(table, COLUMNS).squeeze()
    assert (row["status"], row["reason"], row["path"]) == ("failed", "It has no age.", "OASIS3")
    assert pd.isna(row["scan_id"])
    merge_bids({"OASIS3": part / "bids"}, ["ADNI"], tmp_path / "bids")  # an empty part is merged
    assert not list((tmp_path / "bids").glob("sub-*"))
