"""Clinica's own choice, by its own code: foreseen from the tables, and made among what is there."""

import subprocess
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from ldae.conversion.batch import convert_batch
from ldae.conversion.clinica_exclusions import exclude_scans
from ldae.conversion.clinica_tables import MAYO, QUALITY, SCANS, read_clinica_tables, write_tables
from ldae.conversion.download import find_folders
from ldae.conversion.downloaded_scans import (
    CLINICA,
    DOWNLOADED,
    choose_downloaded,
    write_choice,
)
from ldae.conversion.plan import plan_conversion, write_plan
from ldae.conversion.prepare_tables import prepare_tables
from ldae.conversion.visit_codes import visit_name
from ldae.files import read_table
from ldae.preflight.expected_scans import expected_scans
from ldae.preflight.run_facts import Facts
from ldae.synthetic.download import make_download

pytestmark = pytest.mark.workflow

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv/clinica/bin/python"
CHOOSE = """
import sys
from pathlib import Path
from clinica.converters.adni_to_bids.modality_converters._t1 import _compute_t1_paths
images, tables, out = map(Path, sys.argv[1:])
out.mkdir()
_compute_t1_paths(images, tables, sorted(path.name for path in images.iterdir()), out)
"""
SUBJECTS = 150
SEQUENCES = (
    "MP-RAGE", "MP-RAGE REPEAT", "MPRAGE", "MPRAGE_2", "IR-SPGR", "Acc IR-SPGR",
    "Accelerated Sagittal MPRAGE", "Accelerated Sagittal MPRAGE_ND",
)  # fmt: skip
PROCESSED = ("MPR; GradWarp; N3; Scaled", "MPR; ; N3; Scaled_2", "MPR; GradWarp; N3m")
STRENGTHS = (1.5, 3.0, 3.0, 2.9)


def draw_tables(rng):
    """Prepared tables of 150 subjects of all phases, with up to seven images a visit."""
    exams, scans, quality, mayo = [], [], [], []
    number = 1000
    for subject in range(SUBJECTS):
        rid, study = 100 + subject, ("ADNI1", "ADNIGO", "ADNI2", "ADNI3")[subject % 4]
        ptid = f"002_S_{rid:04d}"
        number += 1  # no series of two subjects
        for months in (0, 6, 12):
            code = f"m{months:02d}" if months else "bl"
            day = f"{2010 + months // 12}-{1 + months % 12:02d}"
            exams.append([rid, ptid, code, study, study, f"{day}-05"])
            strength = STRENGTHS[rng.integers(4)]
            for _ in range(rng.integers(0, 8)):
                number += 1
                processed = study != "ADNI3" and rng.random() < 0.3
                names = PROCESSED if processed else SEQUENCES
                own = strength if rng.random() < 0.8 else STRENGTHS[rng.integers(4)]
                series = number if rng.random() < 0.8 else number - 1
                kind = "Processed" if processed else "Original"
                scans.append(
                    [kind, ptid, visit_name(study, code), own, names[rng.integers(len(names))],
                     f"{day}-{rng.integers(1, 4):02d}", 1, series, number]
                )  # fmt: skip
                if rng.random() < 0.5:
                    quality.append([rid, f"S{series}", rng.choice(["1", "1", "0", ""])])
                if rng.random() < 0.6:
                    grade, selected = rng.choice([-1, 1, 2, 3, 4]), int(rng.random() < 0.3)
                    mayo.append([rid, f"I{number}", "T1", grade, selected])
    columns = {
        "ADNIMERGE": ["RID", "PTID", "VISCODE", "COLPROT", "ORIGPROT", "EXAMDATE"],
        SCANS: ["Orig/Proc", "SubjectID", "Visit", "MagStrength", "Sequence", "ScanDate",
                "StudyID", "SeriesID", "ImageUID"],
        QUALITY: ["RID", "LONIUID", "PASS"],
        MAYO: ["RID", "loni_image", "series_type", "series_quality", "series_selected"],
    }  # fmt: skip
    rows = dict(zip(columns, (exams, scans, quality, mayo), strict=True))
    return {
        name: pd.DataFrame(rows[name], columns=columns[name]).astype(str).drop_duplicates()
        for name in columns
    }


def clinicas_choice(tables, images, folder):
    """The scan that Clinica takes, by subject and visit code: image, and whether it is there."""
    write_tables(tables, folder / "tables")
    command = [PYTHON, "-c", CHOOSE, images, folder / "tables", folder / "out"]
    subprocess.run(list(map(str, command)), check=True, capture_output=True, cwd=folder)
    table = pd.read_csv(folder / "out/t1_paths.tsv", sep="\t", dtype=str, keep_default_na=False)
    return {
        (row.Subject_ID, row.VISCODE): (f"I{row.Image_ID}", row.Path != "")
        for row in table.itertuples()
    }


def without(tables, images):
    scans = tables[SCANS]
    return tables | {SCANS: scans[~("I" + scans["ImageUID"]).isin(images)]}


def by_visit(visits, column):
    keys = zip(visits["subject_id"], visits["viscode"], strict=True)
    return {key: image for key, image in zip(keys, visits[column], strict=True) if image}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Tables, a folder of images of which two in five are not there, and their index."""
    root, rng = tmp_path_factory.mktemp("drawn"), np.random.default_rng(3)
    write_tables(draw_tables(rng), root / "raw")
    tables = read_clinica_tables(root / "raw")
    tables[SCANS], _ = exclude_scans(tables)
    there = tables[SCANS][rng.random(len(tables[SCANS])) < 0.6]
    for row in there.itertuples():
        (root / "images" / row.SubjectID).mkdir(parents=True, exist_ok=True)
        (root / "images" / row.SubjectID / f"x_I{row.ImageUID}.dcm").touch()
    index = pd.DataFrame(
        {"image_id": "I" + there["ImageUID"], "subject_id": there["SubjectID"]}
    ).assign(status=None, reason=None)
    return root, tables, index


def test_the_choice_is_clinicas(drawn, tmp_path):
    root, tables, index = drawn
    visits = choose_downloaded(index, tables, CLINICA).visits
    found = clinicas_choice(tables, root / "images", tmp_path)
    assert by_visit(visits, "image_id") == {key: image for key, (image, _) in found.items()}
    taken = {key: image for key, (image, there) in found.items() if there}
    assert by_visit(visits, "taken") == taken
    assert len(found) > 200 and 0.3 < len(taken) / len(found) < 0.9


def test_clinica_takes_the_best_of_what_is_there(drawn, tmp_path):
    """By its own choice: from tables that list nothing else, it takes the same images."""
    root, tables, index = drawn
    choice = choose_downloaded(index, tables, DOWNLOADED)
    visits, taken = choice.visits, by_visit(choice.visits, "taken")
    chosen = clinicas_choice(
        without(tables, set(choice.passed_over["image_id"])), root / "images", tmp_path
    )
    assert {key: image for key, (image, there) in chosen.items() if there} == taken

    absent = set("I" + tables[SCANS]["ImageUID"]) - set(index["image_id"])
    only = without(tables, absent)
    only[SCANS], _ = exclude_scans(only)
    (tmp_path / "only").mkdir()
    alone = clinicas_choice(only, root / "images", tmp_path / "only")
    replaced = visits[visits["instead"].notna()]
    assert len(replaced) > 40
    for row in replaced.itertuples():
        assert alone[row.subject_id, row.viscode] == (row.instead, True)
        assert row.taken == row.instead != row.image_id
    lost = visits[visits["taken"].isna()]
    assert not [row for row in lost.itertuples() if (row.subject_id, row.viscode) in alone]


def put_preferred(raw):
    """List a processed image, absent, of a visit that has an original on disk; returns both."""
    path = raw / "tables/MPRAGEMETA.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    original = table[(table["Orig/Proc"] == "Original") & (table["MagStrength"] == "3.0")].iloc[0]
    assert list((raw / "images").rglob(f"*_I{original['ImageUID']}.dcm"))
    processed = original.copy()
    processed[["Orig/Proc", "Sequence", "ImageUID"]] = ["Processed", "MPR; ; N3; Scaled", "77"]
    pd.concat([table, processed.to_frame().T]).to_csv(path, index=False)
    return f"I{original['ImageUID']}", "I77"


@pytest.mark.parametrize("prefer", [CLINICA, DOWNLOADED])
def test_check_counts_what_clinica_converts(tmp_path, prefer):
    raw, out = tmp_path / "raw", tmp_path / "out"
    make_download(raw, 4, 2, 5.0, seed=1)
    original, absent = put_preferred(raw)
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    config["paths"]["tables"], config["cohort"]["prefer"] = str(raw / "tables"), prefer
    given = dict.fromkeys([field.name for field in fields(Facts)]) | {"config": config}
    run, lists = Facts(**given | {"root": tmp_path}), tmp_path / "images_to_download.tsv"
    counts, _ = expected_scans(run, find_folders(raw / "images"), lists)

    names = ("tables", "tables.tsv", "held_back.tsv")
    prepare_tables(raw / "tables", *(out / name for name in names))
    index = plan_conversion(raw / "images", out / "tables", out / "held_back.tsv", 1)
    choice = choose_downloaded(index, read_clinica_tables(out / "tables"), prefer)
    write_choice(choice, out / "to_download.tsv", out / "passed_over.tsv")
    write_plan(index, out / "images.tsv", {0: out / "0.tsv"})
    assert read_table(out / "to_download.tsv").equals(read_table(lists))
    table = convert_batch(
        out / "0.tsv", raw / "images", out / "tables", out / "part", "ADNI", "source",
        str(PYTHON.parent), 2, passed_over=out / "passed_over.tsv",
    ).set_index("image_id")  # fmt: skip
    converted = table[table["status"] == "converted"]
    assert counts.scans == len(converted) and counts.subjects == converted["subject_id"].nunique()
    assert set(choice.visits["taken"].dropna()) == set(converted.index)
    if prefer == CLINICA:
        assert table["status"][[original, absent]].tolist() == ["not_chosen", "missing"]
        assert f"Clinica preferred {absent}" in table["reason"][original]
    else:
        assert table["status"][original] == "converted" and absent not in table.index
        sentence = f"Taken instead of {absent}: it is not in the download."
        assert table["reason"][original].endswith(sentence)
