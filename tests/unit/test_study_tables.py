"""Study tables: conversion of today's downloads to Clinica's form, file names, prepared tables."""

import shutil

import pandas as pd
import pytest

from helpers.downloads import ADNI1, ADNI2, ADNI3, MAYO, edit, prepare, put
from ldae.conversion.change_hashes import tables_hash
from ldae.conversion.clinica_tables import (
    read_clinica_tables,
    restrict,
    supported_subjects,
    write_tables,
)
from ldae.conversion.study_tables import REQUIRED, find_files
from ldae.conversion.visit_codes import Exam, join_visits, visit_name
from ldae.errors import UserError
from ldae.synthetic import tables as synthetic

# --- Today's form ------------------------------------------------------------------------------


def test_prepare_tables_gives_same_scans_from_both_forms(downloads, tmp_path):
    old, records_old, _ = prepare(downloads / "clinica", tmp_path / "old")
    new, records_new, excluded = prepare(downloads / "today", tmp_path / "new")
    assert excluded.empty and set(old) == set(new) >= set(REQUIRED)
    same = [column for column in old["MPRAGEMETA"] if column != "Visit"]
    pd.testing.assert_frame_equal(old["MPRAGEMETA"][same], new["MPRAGEMETA"][same])
    for name in ("ADNIMERGE", "APOERES", MAYO):
        pd.testing.assert_frame_equal(old[name], new[name])
    for name, columns in {
        "CDR": ["RID", "VISCODE2", "CDGLOBAL"],
        "MRIQUALITY": ["LONIUID", "PASS"],
    }.items():
        pd.testing.assert_frame_equal(old[name][columns], new[name][columns])
    assert set(records_old["form"]) == {"clinica"} and pd.isna(
        records_old.loc["MRIQUALITY", "repairs"]
    )
    assert records_new.loc["MPRAGEMETA", "form"] == "today"
    files = records_new.loc["MPRAGEMETA", "file"]
    assert all(part in files for part in ("All_Images_20Nov2026", "MRIQC_", "Manifest_"))
    assert records_new.loc["DXSUM_PDXCONV", "file"] == "DXSUM_20Nov2026.csv"
    assert records_new.loc["MPRAGEMETA", "rows"] == len(new["MPRAGEMETA"])


def test_join_visits_gives_same_examinations_in_both_forms(downloads, tmp_path):
    joined = []
    for form in synthetic.FORMS:
        tables, _, _ = prepare(downloads / form, tmp_path / form)
        merge, found = tables["ADNIMERGE"], set()
        for subject, scans in tables["MPRAGEMETA"].sort_values("ScanDate").groupby("SubjectID"):
            own = merge[merge["PTID"] == subject].sort_values("EXAMDATE")
            exams = [
                Exam(*row) for row in own[["VISCODE", "COLPROT", "ORIGPROT", "EXAMDATE"]].values
            ]
            first = scans.drop_duplicates("Visit").set_index("Visit")["ScanDate"].to_dict()
            visits = join_visits(first, exams)
            codes = scans["Visit"].map({visit: exam.code for visit, (exam, _) in visits.items()})
            found |= set(zip(scans["ImageUID"], codes, strict=True))
        joined.append(found)
    assert joined[0] == joined[1] and len(joined[0]) == 14
    assert {code for _, code in joined[0]} == {"bl", "m06", "m12"}


@pytest.mark.parametrize(
    ("study", "code", "name"),
    [
        ("ADNI1", "bl", "ADNI Screening"),
        ("ADNI1", "m03", "ADNIGO Month 3 MRI"),
        ("ADNI1", "m48", "ADNI1/GO Month 48"),
        ("ADNI1", "m54", "ADNIGO Month 54"),
        ("ADNIGO", "bl", "ADNIGO Screening MRI"),
        ("ADNIGO", "m06", "ADNI1/GO Month 6"),
        ("ADNI2", "bl", "ADNI2 Screening MRI-New Pt"),
        ("ADNI2", "m03", "ADNI2 Month 3 MRI-New Pt"),
        ("ADNI2", "m06", "ADNI2 Month 6-New Pt"),
        ("ADNI2", "m12", "ADNI2 Year 1.0 Visit"),
        ("ADNI3", "bl", "ADNI Screening"),
        ("ADNI3", "m18", "ADNI3 Year 1.5 Visit"),
    ],
)
def test_visit_name_is_the_one_that_clinica_expects(study, code, name):
    assert visit_name(study, code) == name


def test_prepare_tables_accepts_unknown_and_double_visit_codes(today, tmp_path):
    def change(table):
        own = table[table["subject_id"] == ADNI1]
        table.loc[own.index[-1], "VISCODE2"] = "init"
        return pd.concat([table, own.iloc[[0]].assign(image_id="5", VISCODE2="bl")])

    edit(today, "All_Images", change)
    edit(today, "Manifest", lambda t: pd.concat([t, t.iloc[[0]].assign(image_id="5")]))
    tables, records, _ = prepare(today, tmp_path)
    scans = tables["MPRAGEMETA"].set_index("ImageUID")
    # Clinica skips this visit and takes the screening scan
    assert scans.loc["5", "Visit"] == "ADNI Baseline"
    assert "1 scan of baseline visits" in records.loc["MPRAGEMETA", "repairs"]
    assert set(scans["Visit"][scans["SubjectID"] == ADNI1]) >= {"ADNI Screening"}
    edit(today, "All_Images", put(lambda t: t["image_id"] == "9000010", "VISCODE2", "v06"))
    scans = prepare(today, tmp_path)[0]["MPRAGEMETA"].set_index("ImageUID")
    assert scans.loc["9000010", "Visit"] == "v06 2006-11-24"  # its own visit, joined by date


def test_prepare_tables_requires_series_numbers_and_field_strengths(today, tmp_path):
    (manifest,) = find_files(today, "Manifest")
    manifest.unlink()
    record = prepare(today, tmp_path)[1].loc["MPRAGEMETA"]
    assert "No table gives the series number of 2 scans" in record["repairs"]  # the processed ones
    (mriqc,) = find_files(today, "MRIQC")
    mriqc.unlink()
    with pytest.raises(UserError) as caught:
        prepare(today, tmp_path)
    assert "lacks series numbers" in str(caught.value) and "Manifest" in str(caught.value)
    assert "lacks field strengths" in str(caught.value)


# --- Files -------------------------------------------------------------------------------------


def test_prepare_tables_lists_all_faults_before_writing(today, tmp_path):
    for stem in ("MRIPROT", "MRIQC", "APOERES", MAYO):
        (path,) = find_files(today, stem)
        path.unlink()
    edit(today, "ADNIMERGE", lambda table: table.drop(columns=["DX", "AGE"]))
    (dxsum,) = find_files(today, "DXSUM")
    (today / "old").mkdir()
    (today / "old" / "DXSUM_PDXCONV_ADNIALL.csv").write_text("PTID,VISCODE2,DIAGNOSIS\n")
    with pytest.raises(UserError) as caught:
        prepare(today, tmp_path / "out")
    message = str(caught.value)
    assert "MRIQUALITY.csv or MRIPROT.csv (ADNI's quality check of series) is missing" in message
    assert "in the IDA: Study Files > Imaging: MRIPROT or MRIQC" in message
    assert (
        "APOERES.csv (APOE genotypes) is missing; in the IDA: Study Files > Biospecimen" in message
    )
    assert f"{MAYO}.csv" in message and "lacks the column(s) DX, AGE" in message
    assert "is there 2 times: old/DXSUM_PDXCONV_ADNIALL.csv" in message and dxsum.name in message
    assert "lacks field strengths" in message and "MPRAGEMETA.csv or" not in message
    assert not (tmp_path / "out").exists()


def test_prepare_tables_ignores_identical_copies_and_other_files(today, tmp_path):
    (path,) = find_files(today, "DXSUM")
    shutil.copy(path, today / "DXSUM_20Nov2026 (1).csv")
    (today / "RMT_APOERES_20Nov2026.csv").write_text("ADNIOnlineID,GENOTYPE\n1,3/3\n")
    (today / "._CDR.csv").write_text("")
    records = prepare(today, tmp_path)[1]
    assert "Identical copies were ignored" in records.loc["DXSUM_PDXCONV", "repairs"]
    assert records.loc["APOERES", "file"] == "APOERES_20Nov2026.csv"


@pytest.mark.parametrize(
    "name",
    [
        "All_Images.csv",
        "all_images_20nov2026.csv",
        "ADNI_All_Images_11_20_2025.csv",
        "idaSearch_All_Images_2026-11-20.csv",
        "x/y_All_Images_1Jan2026 (2).CSV",
    ],
)
def test_find_files_recognises_prefixed_and_dated_names(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
    (tmp_path / "All_Images_DICT_20Nov2026.csv").touch()
    assert find_files(tmp_path, "All_Images") == [path]


def test_prepare_tables_refuses_old_beside_new_image_list(downloads, today, tmp_path):
    shutil.copy(downloads / "clinica" / "MPRAGEMETA.csv", today)
    with pytest.raises(UserError, match=r"MPRAGEMETA.*2 times: MPRAGEMETA.csv, All_Subjects_All"):
        prepare(today, tmp_path)


def test_lists_of_images_split_by_phase_are_read_together(today, tmp_path):
    whole, *_ = prepare(today, tmp_path / "whole")
    (path,) = find_files(today, "All_Images")
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    path.unlink()
    halves = {"ADNI1": table[::2], "ADNI3": table[1::2].assign(more="x")}
    for phase, half in halves.items():
        half.to_csv(today / f"{phase}_All_Images_20Nov2026.csv", index=False)
    shutil.copy(today / "ADNI1_All_Images_20Nov2026.csv", today / "x_All_Images_20Nov2026.csv")
    tables, records, _ = prepare(today, tmp_path / "out")
    together = tables["MPRAGEMETA"].sort_values("ImageUID", ignore_index=True)
    expected = whole["MPRAGEMETA"].sort_values("ImageUID", ignore_index=True)
    pd.testing.assert_frame_equal(together, expected)
    assert "2 lists, of different cohorts" in records.loc["MPRAGEMETA", "repairs"]
    # Two lists of one cohort are an old one beside a new one.
    halves["ADNI1"].to_csv(today / "ADNI3_All_Images_21Nov2026.csv", index=False)
    (today / "x_All_Images_20Nov2026.csv").unlink()
    (today / "ADNI1_All_Images_20Nov2026.csv").unlink()
    with pytest.raises(UserError, match="is there 2 times"):
        prepare(today, tmp_path / "again")


def test_prepare_tables_reads_and_records_latin_1(today, tmp_path):
    edit(today, "DXSUM", lambda table: table.assign(note="x"))
    (path,) = find_files(today, "DXSUM")
    path.write_bytes(path.read_bytes().replace(b",x\n", b",\xe9\n"))
    assert "Latin-1" in prepare(today, tmp_path)[1].loc["DXSUM_PDXCONV", "repairs"]
    path.write_bytes(b"")
    with pytest.raises(UserError, match="cannot be read"):
        prepare(today, tmp_path)


# --- Prepared tables ---------------------------------------------------------------------------


def test_restrict_keeps_what_clinica_needs(downloads, tmp_path):
    tables, _, _ = prepare(downloads / "today", tmp_path)
    cut = restrict(tables, [ADNI3])
    assert set(cut) == set(tables)
    for name, table in cut.items():
        column = next(c for c in ("PTID", "SubjectID", "RID") if c in table)
        assert set(table[column]) <= {ADNI3, "6105"} and len(table), name
    assert cut["DXSUM_PDXCONV"].duplicated(["PTID", "VISCODE2"]).sum() == 1
    write_tables(cut, tmp_path / "cut")
    again = read_clinica_tables(tmp_path / "cut")
    for name, table in cut.items():
        pd.testing.assert_frame_equal(again[name], table, check_dtype=False)
    assert restrict(tables, ["000_S_0000"])["DXSUM_PDXCONV"].empty


def test_prepare_tables_output_is_reproducible_on_rerun(downloads, tmp_path):
    for out in ("a", "b", "a"):
        prepare(downloads / "today", tmp_path / out)
    files = [sorted(p for p in (tmp_path / o).rglob("*") if p.is_file()) for o in "ab"]
    assert [p.name for p in files[0]] == [p.name for p in files[1]]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(*files, strict=True))


def test_tables_hash_changes_with_a_table_edited_in_place(today):
    before = tables_hash(today)
    assert tables_hash(today) == before != tables_hash(today / "absent") == "absent"
    (path,) = find_files(today, "CDR")
    with path.open("a") as stream:
        stream.write("\n")
    assert tables_hash(today) != before


def test_supported_subjects_are_those_in_adnimerge(downloads, tmp_path):
    tables, _, _ = prepare(downloads / "today", tmp_path)
    assert supported_subjects([ADNI1, "000_S_0000", ADNI2], tables) == [ADNI1, ADNI2]
    with pytest.raises(UserError, match="None of the 1 subjects"):
        supported_subjects(["000_S_0000"], tables)
