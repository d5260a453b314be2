"""Table repairs of values that Clinica cannot read, and exclusion of scans on which it fails."""

import logging
import shutil

import pandas as pd
import pytest

from helpers.downloads import ADNI1, ADNI3, MAYO, PEOPLE, edit, prepare, put
from ldae.conversion import clinica_exclusions
from ldae.conversion.clinica_tables import read_other_images, restrict
from ldae.conversion.study_tables import find_files
from ldae.conversion.table_repairs import iso_dates
from ldae.errors import UserError

# --- Repairs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("texts", "dates"),
    [
        (["2006-05-02", "2006-5-2 10:00:00.0", "20060502", "20060502.0"], ["2006-05-02"] * 4),
        (["05/02/2006", "5/2/06", "12/31/2010"], ["2006-05-02", "2006-05-02", "2010-12-31"]),
        (["31/12/2010", "02/05/2006"], ["2010-12-31", "2006-05-02"]),  # the day can only be first
        (["31/12/2010", "12/31/2010"], ["", "2010-12-31"]),  # both orders: American, others blank
        (["2May2006", "02-May-2006", "May 2006", "", "2006-13-01"], ["2006-05-02"] * 2 + [""] * 3),
        (["2-May-06", "May 2, 2006", "02 May 2006", "May 2nd, 2006"], ["2006-05-02"] * 4),
        (["2-Sept-06", "2 September 2006", "Sep. 2 2006"], ["2006-09-02"] * 3),
        (["2-Foo-06", "31-Feb-06", "2 Ma 2006", "200605"], [""] * 4),
    ],
)
def test_iso_dates(texts, dates):
    read, rewritten = iso_dates(pd.Series(texts))
    assert read.tolist() == dates
    assert rewritten.tolist() == [d not in ("", t) for t, d in zip(texts, dates, strict=True)]


def test_repair_examinations(today, tmp_path):
    def damage(table):
        table.loc[0, ["DX", "AGE", "MMSE"]] = ["SMC", ">89", "-1"]
        table.loc[3, ["AGE", "MMSE"]] = ["7.4", "30"]
        table.loc[1, "EXAMDATE"] = ""
        table.loc[2, "EXAMDATE_bl"] = ""
        table.loc[4, "EXAMDATE"] = "8/1/2011"
        odd = table.iloc[[0]].assign(VISCODE="y1")
        return pd.concat([table, odd, table.iloc[[0]].assign(PTID="941_S_10101", ORIGPROT="ADNI4")])

    before, _, _ = prepare(today, tmp_path)
    edit(today, "ADNIMERGE", damage)
    tables, records, _ = prepare(today, tmp_path)
    merge = tables["ADNIMERGE"]
    assert len(merge) == len(before["ADNIMERGE"]) - 1
    assert merge.loc[0, ["DX", "AGE", "MMSE"]].tolist() == ["", "", ""]
    outside = merge[merge["VISCODE"].ne("") & merge["MMSE"].eq("30") & merge["AGE"].eq("")]
    assert len(outside) == 1 and "7.4" not in set(merge["AGE"])
    filled = merge[(merge["PTID"] == "991_S_0102") & (merge["VISCODE"] == "bl")].iloc[0]
    assert filled["EXAMDATE_bl"] == filled["EXAMDATE"]
    assert "2011-08-01" in set(merge["EXAMDATE"])
    repairs = records.loc["ADNIMERGE", "repairs"]
    for part in (
        "VISCODE is no month", "1 value of DX blanked", "no readable EXAMDATE)",
        "1 value of MMSE blanked (not a number from 0 to 30)",
        "2 values of AGE blanked (not a number from 18 to 120)",
    ):  # fmt: skip
        assert part in repairs
    assert "991_S" not in repairs  # counts, no person


@pytest.mark.parametrize("form", ["%d-%b-%y", "%b %d, %Y", "%d %B %Y", "%m/%d/%y"])
@pytest.mark.parametrize(
    ("stem", "column"), [("ADNIMERGE", "EXAMDATE"), ("All_Images", "image_date")]
)
def test_dates_as_spreadsheets_save_them_lose_nothing(today, tmp_path, stem, column, form):
    whole, *_ = prepare(today, tmp_path / "whole")
    edit(today, stem, lambda table: table.assign(
        **{column: pd.to_datetime(table[column]).dt.strftime(form)}))  # fmt: skip
    tables, *_ = prepare(today, tmp_path / "out")
    for name, table in whole.items():
        pd.testing.assert_frame_equal(tables[name], table)


def test_diagnoses_in_the_words_of_older_tables(downloads, tmp_path):
    folder = shutil.copytree(downloads / "clinica", tmp_path / "clinica")
    whole, *_ = prepare(folder, tmp_path / "whole")
    words = {"CN": "NL", "Dementia": "MCI to Dementia", "MCI": "NL to MCI"}
    edit(folder, "ADNIMERGE", lambda table: table.assign(DX=table["DX"].replace(words)))
    numbers = {"1": "NL", "2": "MCI", "3": "MCI to AD"}
    edit(folder, "DXSUM_PDXCONV", lambda table: table.assign(
        DIAGNOSIS=table["DIAGNOSIS"].replace(numbers)))  # fmt: skip
    tables, records, _ = prepare(folder, tmp_path / "out")
    for name, table in whole.items():
        pd.testing.assert_frame_equal(tables[name], table)
    assert "(MCI to Dementia, NL, NL to MCI) translated" in records.loc["ADNIMERGE", "repairs"]


@pytest.mark.parametrize(
    ("stem", "column", "value"),
    [
        ("ADNIMERGE", "EXAMDATE", "week 12"),
        ("ADNIMERGE", "EXAMDATE_bl", "39204"),
        ("ADNIMERGE", "DX", "1"),
        ("All_Images", "image_date", "46:12.0"),
        ("All_Images", "image_id", "4.00E+04"),
        ("MRIPROT", "PASS", "yes"),
        ("DXSUM", "DIAGNOSIS", "stable"),
    ],
)
def test_a_column_that_decides_and_is_mostly_unreadable_is_refused(
    today, tmp_path, stem, column, value
):
    """Half of it; one value alone is left out or blanked, as before."""
    edit(today, stem, lambda table: table.assign(
        **{column: table[column].mask(table.index % 2 == 0, value)}))  # fmt: skip
    with pytest.raises(UserError) as error:
        prepare(today, tmp_path / "out")
    assert column in str(error.value) and repr(value) in str(error.value)
    assert not (tmp_path / "out/tables").exists()


def test_a_separator_at_the_end_of_each_row_shifts_nothing(today, tmp_path):
    whole, *_ = prepare(today, tmp_path / "whole")
    for path in today.rglob("*.csv"):
        head, *rows = path.read_text(encoding="utf-8-sig").splitlines()
        path.write_text("\n".join([head, *(f"{row}," for row in rows)]) + "\n")
    tables, records, _ = prepare(today, tmp_path / "out")
    for name, table in whole.items():
        pd.testing.assert_frame_equal(tables[name], table)
    assert records["repairs"].str.contains("Blank fields at the end of").sum() >= 5


def test_repair_genotypes_matches_rows_of_examinations(downloads, tmp_path):
    tables, _, _ = prepare(downloads / "today", tmp_path)
    truth = {person.ptid: tuple(map(str, person.genotype)) for person in PEOPLE}
    for cut in (tables, restrict(tables, [ADNI3, ADNI1])):
        merge, genes = cut["ADNIMERGE"], cut["APOERES"]
        first = merge.reset_index().drop_duplicates("PTID")  # the row that Clinica takes
        for row, subject in zip(first["index"], first["PTID"], strict=True):
            assert tuple(genes.loc[row, ["APGEN1", "APGEN2"]]) == truth[subject]


def test_repair_visits_of_optional_tables(today, tmp_path):
    def damage(table):
        table.loc[[1, 3], "CDGLOBAL"] = ["-1", "0.7"]
        rows = table.iloc[[2, 2]].assign(VISCODE2=["bl", "4_bl"], CDGLOBAL="3")
        return pd.concat([table, rows])

    edit(today, "CDR", damage)
    (today / "MOCA_20Nov2026.csv").write_text("RID,VISCODE2,MOCA\n101.0,bl,1\n,bl,2\n10200,m06,3\n")
    tables, records, _ = prepare(today, tmp_path)
    cdr = tables["CDR"].set_index(["RID", "VISCODE2"])
    assert ("101", "bl") in cdr.index and ("101", "sc") not in cdr.index
    # a subject with a baseline row keeps the screening row
    assert cdr.loc[("102", "bl"), "CDGLOBAL"] == "3" and ("102", "sc") in cdr.index
    assert not {"nv", "4_bl"} & set(tables["CDR"]["VISCODE2"]) and "" not in set(
        tables["CDR"]["RID"]
    )
    assert not {"-1", "0.7"} & set(tables["CDR"]["CDGLOBAL"])
    assert "4_bl, nv" in records.loc["CDR", "repairs"]
    assert tables["MOCA"].to_dict("records") == [{"RID": "101", "VISCODE2": "bl", "MOCA": "1"}]


def test_quality_tables_are_made_from_mriqc_or_empty(today, tmp_path, caplog):
    edit(today, "MRIPROT", lambda table: table.drop(columns="PASS"))
    (path,) = find_files(today, MAYO)
    path.unlink()
    with caplog.at_level(logging.WARNING):
        tables, records, _ = prepare(today, tmp_path)
    assert records.loc[[MAYO, "MRIQUALITY"], "form"].tolist() == ["made"] * 2
    assert list(tables["MRIQUALITY"].columns) == ["RID", "LONIUID", "PASS"]
    assert tables[MAYO].empty and "Made empty" in records.loc[MAYO, "repairs"]
    assert len(caplog.records) == 2 and "no scan will be rejected" in caplog.text

    grades = {"9000010": "4", "9000202": "4", "9000210": "-1"}
    edit(today, "MRIQC", lambda t: t.assign(SeriesQC=t["image_id"].map(grades).fillna("1")))
    tables, records, _ = prepare(today, tmp_path)
    assert records.loc[[MAYO, "MRIQUALITY"], "form"].tolist() == ["today"] * 2
    passed = tables["MRIQUALITY"].set_index("LONIUID")["PASS"]
    assert passed["S9000010"] == "0" and passed["S9000200"] == "1" and "S9000210" not in passed
    mayo = tables[MAYO].set_index("loni_image")
    assert mayo.loc["I9000202", "series_quality"] == "4"
    assert mayo.loc["I9000210", ["RID", "series_quality"]].tolist() == ["4103", "-1"]


# --- Exclusions --------------------------------------------------------------------------------


def test_exclude_scans_of_visits_that_the_mayo_clinic_rejected(today, tmp_path):
    def reject(table):
        own = table["RID"] == "4103"
        table.loc[own, ["series_quality", "series_selected"]] = ["4", "FALSE"]

    edit(today, MAYO, reject)
    tables, records, excluded = prepare(today, tmp_path)
    # the repeated scan failed ADNI's check, so Clinica does not consider it
    assert excluded["status"].to_dict() == dict.fromkeys(["I9000200", "I9000210"], "rejected_qc")
    assert "9000200" not in set(tables["MPRAGEMETA"]["ImageUID"])
    assert "2 scans held back (rejected_qc)" in records.loc["MPRAGEMETA", "repairs"]
    edit(today, MAYO, put(lambda t: t["loni_image"] == "I9000210", "series_selected", "TRUE"))
    assert "I9000210" not in prepare(today, tmp_path)[2].index  # selected in spite of its grade


def test_exclude_scans_where_no_field_strength_is_the_preferred_one(today, tmp_path):
    edit(today, "MRIPROT", lambda table: table.assign(PASS="1"))
    edit(today, "MRIQC", put(lambda t: t["image_id"] == "9000200", "MagneticFieldStrength", "2.9"))
    edit(today, "MRIQC", put(lambda t: t["image_id"] == "9000202", "MagneticFieldStrength", "1.5T"))
    tables, _, excluded = prepare(today, tmp_path)
    assert excluded["status"].to_dict() == {"I9000202": "not_chosen"}
    assert "9000200" in set(tables["MPRAGEMETA"]["ImageUID"])
    edit(today, "MRIQC", put(lambda t: t["image_id"] == "9000200", "MagneticFieldStrength", "3"))
    assert prepare(today, tmp_path)[2].empty


def test_exclude_scans_without_date_or_examination_near_by(today, tmp_path):
    def damage(table):
        table.loc[table["image_id"] == "9000410", ["VISCODE2", "image_date"]] = [
            "m96",
            "07/02/2025",
        ]
        table.loc[table["image_id"] == "9000110", "image_date"] = "soon"
        return pd.concat([table, table.iloc[[0]].assign(image_id="7", subject_id="941_S_10101")])

    edit(today, "All_Images", damage)
    more = {"PTID": "941_S_10101", "RID": "10101", "ORIGPROT": "ADNI4"}
    edit(today, "ADNIMERGE", lambda t: pd.concat([t, t.iloc[[0]].assign(**more)]))
    tables, _, excluded = prepare(today, tmp_path)
    assert excluded["status"].to_dict() == {
        "I9000110": "no_metadata", "I7": "unsupported", "I9000410": "no_metadata",
    }  # fmt: skip
    assert (
        "2558 days" in excluded.loc["I9000410", "reason"]
        and "ADNI4" in excluded.loc["I7", "reason"]
    )
    assert not {"7", "9000110", "9000410"} & set(tables["MPRAGEMETA"]["ImageUID"])


def test_repair_scans_blanks_implausible_field_strengths(today, tmp_path):
    strengths = {"9000010": "0", "9000110": "15"}
    edit(today, "MRIQC", lambda t: t.assign(
        MagneticFieldStrength=t["image_id"].map(strengths).fillna(t["MagneticFieldStrength"])
    ))  # fmt: skip
    tables, records, _ = prepare(today, tmp_path)
    scans = tables["MPRAGEMETA"].set_index("ImageUID")["MagStrength"]
    assert list(scans[list(strengths)]) == ["", ""] and set(scans) >= {"1.5", "3.0"}
    words = "2 values of MagStrength blanked (not a number above 0 and up to 7)"
    assert words in records.loc["MPRAGEMETA", "repairs"]


def test_exclude_scans_of_visits_that_clinica_skips(today, tmp_path, monkeypatch):
    late = put(lambda t: (t["PTID"] == ADNI3) & (t["VISCODE"] == "m12"), "COLPROT", "ADNI4")
    edit(today, "ADNIMERGE", late)
    monkeypatch.setattr(clinica_exclusions, "LEFT_OUT", {(ADNI1, "m06")})
    tables, _, excluded = prepare(today, tmp_path)
    assert set(excluded["status"]) == {"unsupported"}
    assert "visits of ADNI4" in excluded.loc["I9000410", "reason"]
    assert "leaves out this visit (m06)" in excluded.loc["I9000010", "reason"]
    taken = set(tables["MPRAGEMETA"]["ImageUID"])
    assert not {"9000010", "9000410"} & taken and {"9000000", "9000400"} <= taken


def test_read_other_images_lists_images_that_are_not_t1_weighted(today, tmp_path):
    prepare(today, tmp_path)
    other = read_other_images(tmp_path / "tables")
    assert len(other) == 12 and set(other.values()) == {"ADNI Brain PET: Raw"}
