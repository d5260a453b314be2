"""Real heads: what is known of them, their measures, and the page, on the sample's visits."""

import json
import math
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch

from ldae.application import raw_head, real_heads
from ldae.application.bundle import Bundle
from ldae.application.commands import compared
from ldae.application.known_heads import KnownHead, find_heads
from ldae.application.raw_head import VOLUMES
from ldae.application.real_heads import average_ssim, nearest_scans
from ldae.application.real_page import numbers, write_real_page
from ldae.application.sample import MODELS, sample_visits
from ldae.cli.main import main
from ldae.derivatives import SCAN_COLUMNS, scan_files
from ldae.errors import UserError
from ldae.files import read_json, read_table, write_json

VISITS = sample_visits()["file"].tolist()
DETERMINANT = 0.8


def heads_table(folder: Path, **columns) -> Path:
    """A folder of heads without a black background, named like people, with its table."""
    names = [f"secret-name-{number}.nii.gz" for number in range(len(VISITS))]
    for name in names:
        image = nib.Nifti1Image(np.ones((20, 20, 20), np.uint8), np.diag([10.0, 10, 10, 1]))
        nib.save(image, folder / name)
    rows = pd.DataFrame({"path": names, "scan_id": ["a", "b", "c"], **columns})
    rows.to_csv(folder / "heads.tsv", sep="\t", index=False, na_rep="n/a")
    return folder


@pytest.fixture
def preprocessed(monkeypatch):
    """Replace preprocessing by the sample's visits, in order; the third fails."""

    def preprocess(path, folder, cfg, volumes, despite_qc):
        assert despite_qc
        number = int(path.name[12]) if path.name.startswith("secret") else 0
        if number == 2:
            raise UserError(f"{path} could not be preprocessed: a reason.")
        scans = pd.DataFrame([["sub-1_ses-1", "sub-1", "ses-1", path.name]], columns=SCAN_COLUMNS)
        files = scan_files(scans, folder, cfg["template"]["name"])[0]
        files.folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(VISITS[number], files.registered_brain)
        image = nib.load(VISITS[number])
        mask = (image.get_fdata() > 0).astype(np.uint8)
        nib.save(nib.Nifti1Image(mask, image.affine), files.mask)
        measures = {"brain_ml": 1400, "dice": 0.95, "ncc": 0.7, "affine_determinant": DETERMINANT}
        write_json(measures, files.measures)
        return files, "passed"

    monkeypatch.setattr(raw_head, "preprocess", preprocess)


def segmentation(folder: Path, visit: int, shift: int) -> str:
    """A visit's mask, moved by voxels and stored with other axes."""
    image = nib.load(VISITS[visit])
    labels = np.roll(image.get_fdata() > 0, shift, axis=1).astype(np.uint8) * 47
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(image.affine), nib.orientations.axcodes2ornt("PIR")
    )
    nib.save(nib.Nifti1Image(labels, image.affine).as_reoriented(turn), folder / f"{shift}.nii.gz")
    return f"{shift}.nii.gz"


def test_command_measures_heads_and_writes_a_page_without_names(preprocessed, tmp_path, capsys):
    folder = heads_table(
        tmp_path,
        age=[30, 3, math.nan],
        segmentation=[segmentation(tmp_path, 0, 0), segmentation(tmp_path, 1, 2), ""],
        ventricle_ml=[20, 30, math.nan],
        source=["a study", "another study", "a study"],
    )
    page, out = tmp_path / "docs/real.md", tmp_path / "out"
    call = ["real", str(folder), "--sample", "--out", str(out), "--page", str(page)]
    assert main(call) == 3  # one of the heads failed
    assert json.loads(capsys.readouterr().out)["failed"] == ["c"]
    first, second = read_table(out / "heads.tsv").to_dict("records")
    assert first["mask_dice"] == 1 and 0.8 < second["mask_dice"] < 0.99
    assert first["true_ventricle_ml"] == pytest.approx(20 / DETERMINANT)
    bundle = Bundle.load(MODELS, "cpu", 1)
    seen = [raw_head.read_volume(visit, bundle.settings["volumes"])[0] for visit in VISITS[:2]]
    assert first["ssim_average"] == pytest.approx(average_ssim(torch.cat(seen))[0], abs=1e-5)
    assert 0.7 < first["ssim_autoencoder"] < 1 and first["scan_ventricle_ml"] > 10
    # AD is predicted for the subject: moved towards CN, its ventricles shrink.
    assert first["predicted"] == "AD" and first["alpha"] < 0
    assert first["moved_ventricle_ml"] < first["ventricle_ml"]

    text = page.read_text()
    assert "secret" not in text and str(tmp_path) not in text
    assert "Not measured, since a step failed: 3 (" in text
    assert "**3 heads: few.**" in text and "- a study: 2 heads" in text
    assert "Head 2, a child of 3, **is not flagged**" in text
    assert "synthetic brains alone" in text

    # The same command again applies nothing and writes the same page.
    before = (out / "a/findings.json").stat().st_mtime_ns
    assert main(call) == 3 and page.read_text() == text
    assert (out / "a/findings.json").stat().st_mtime_ns == before

    # What is known of a head, and no other words, has that head alone measured again.
    table = pd.read_csv(tmp_path / "heads.tsv", sep="\t")
    other = (out / "b/findings.json").stat().st_mtime_ns
    table.assign(age=[30, 4, math.nan], source="a third study").to_csv(
        tmp_path / "heads.tsv", sep="\t", index=False, na_rep="n/a"
    )
    assert main(call) == 3
    assert (out / "a/findings.json").stat().st_mtime_ns == before
    assert (out / "b/findings.json").stat().st_mtime_ns != other
    assert "a child of 4" in page.read_text() and "a third study: 3 heads" in page.read_text()


def test_another_page_is_refused_before_heads_are_worked_on(tmp_path, monkeypatch, capsys):
    page, out = tmp_path / "real.md", tmp_path / "out"
    page.write_text("# Mine")
    monkeypatch.setattr(Bundle, "load", None)  # networks are not asked for
    call = ["real", str(heads_table(tmp_path)), "--sample", "--out", str(out), "--page", str(page)]
    assert main(call) == 1 and page.read_text() == "# Mine" and not out.exists()
    assert "is another page" in capsys.readouterr().err


def test_make_asks_for_the_heads_before_it_makes_an_environment():
    root = Path(__file__).parents[2]
    done = subprocess.run(["make", "real", "REAL="], cwd=root, capture_output=True, text=True)
    assert done.returncode == 2 and "which heads? make real REAL=FOLDER" in done.stderr
    assert "pip" not in done.stdout


def test_apply_writes_a_folder_and_a_row_for_each_head(preprocessed, tmp_path, capsys):
    table, out = heads_table(tmp_path) / "heads.tsv", tmp_path / "out"
    call = ["apply", str(table), "--sample", "--despite-qc", "--out", str(out)]
    assert main(call) == 3 and json.loads(capsys.readouterr().out)["failed"] == ["c"]
    rows = read_table(out / "scans.tsv").set_index("scan_id")
    assert rows["status"].tolist() == ["ok", "ok", "failed"]
    assert rows.loc["c", "reason"].endswith("could not be preprocessed: a reason.")
    for name in ("a", "b"):
        findings = read_json(out / name / "findings.json")
        assert rows.loc[name, "predicted_age"] == findings["predicted_age"]
        assert rows.loc[name, "quality"] == "passed" and (out / name / VOLUMES[1]).is_file()
    before = (out / "a/findings.json").stat().st_mtime_ns
    (out / "b/findings.json").unlink()
    assert main(call) == 3 and (out / "b/findings.json").is_file()
    assert (out / "a/findings.json").stat().st_mtime_ns == before  # done before: kept


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("age", "thirty", "line 3: age is 'thirty'; it must be a number from 0 to 120"),
        ("ventricle_ml", -1, "line 3: ventricle_ml is '-1'; it must be a number from 0 to 500"),
        ("segmentation", "no.nii.gz", r"line 3: the segmentation .*no\.nii\.gz does not exist"),
    ],
)
def test_faults_of_the_table_are_named(tmp_path, column, value, message):
    folder = heads_table(tmp_path, **{column: ["", value, ""]})
    with pytest.raises(UserError, match=message):
        find_heads(folder)


def test_head_in_two_rows_is_refused(tmp_path):
    table = heads_table(tmp_path) / "heads.tsv"
    rows = pd.read_csv(table, sep="\t")
    rows.assign(path=rows["path"].iloc[0]).to_csv(table, sep="\t", index=False)
    with pytest.raises(UserError, match=r"line 3: .*secret-name-0\.nii\.gz has a row above"):
        find_heads(table)


def test_folder_without_a_table_is_a_list_of_heads(tmp_path):
    folder = heads_table(tmp_path)
    (folder / "heads.tsv").unlink()
    scans, known = find_heads(folder)
    assert [scan.scan_id for scan in scans] == [f"secret-name-{number}" for number in range(3)]
    assert all(one.segmentation is None and math.isnan(one.age) for one in known.values())
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="has no T1w image"):
        find_heads(empty)


def test_knowledge_changes_with_the_content_of_the_segmentation(tmp_path):
    path = tmp_path / segmentation(tmp_path, 0, 0)
    before = KnownHead(segmentation=path).content()
    shutil.copy(tmp_path / segmentation(tmp_path, 0, 2), path)
    assert KnownHead(segmentation=path).content() != before
    assert KnownHead(age=3).content() != KnownHead(age=4).content()
    assert KnownHead("a study", age=3).content() == KnownHead("its licence", age=3).content()


def test_segmentation_of_another_place_is_refused(tmp_path):
    mask = tmp_path / segmentation(tmp_path, 0, 0)
    image = nib.load(mask)
    far = image.affine.copy()
    far[:3, 3] += 1000
    nib.save(nib.Nifti1Image(image.get_fdata(), far), tmp_path / "far.nii.gz")
    with pytest.raises(UserError, match="no voxel above 0 within the head"):
        real_heads._mask_dice(mask, tmp_path / "far.nii.gz")
    (tmp_path / "bad.nii.gz").write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be read"):
        real_heads._mask_dice(mask, tmp_path / "bad.nii.gz")


def test_scan_unlike_all_compared_ones_has_a_warning_and_a_distance():
    bundle = Bundle.load(MODELS, "cpu", 1)
    x, affine = raw_head.read_volume(VISITS[0], bundle.settings["volumes"])
    training = bundle.training
    away = 0.5 / training.distance(training.mean[None] + 1)[0]
    y = training.mean[None] + away  # half as far as the farthest that is compared
    usual = compared(bundle, x, affine, y)
    assert usual["novelty_percentile"] < 100 and usual["warnings"] == []
    assert training.distance(y)[0] == pytest.approx(0.5)
    edge = training.mean[None] + np.sqrt(0.99999) / training.distance(training.mean[None] + 1)[0]
    assert training.novelty(edge)[0] > 99.95
    nearest = compared(bundle, x, affine, edge)  # a compared scan lies farther away
    assert nearest["novelty_percentile"] == 99.9 and nearest["warnings"] == []
    nearer = replace(training, distances=training.distances * 1e-6)
    bundle.__dict__["training"] = nearer  # what the property has cached
    novel = compared(bundle, x, affine, y)
    assert novel["novelty_percentile"] == 100 and "unlike those" in novel["warnings"][0]
    assert nearer.distance(y)[0] == pytest.approx(500)


def test_average_leaves_out_the_head_itself():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 1, 1, 24, 24, 24, generator=generator)
    both = average_ssim(torch.cat([first, second]))
    assert both[0] < 0.2  # with itself among them it would be far above
    assert average_ssim(torch.cat([first, first]))[0] == pytest.approx(1)
    assert math.isnan(average_ssim(first)[0])
    assert nearest_scans(torch.cat([first, second]), torch.cat([first, second])) == [0, 1]
    assert nearest_scans(torch.cat([first, second]), torch.cat([second, second])) == [1, 1]


def measures(n: int) -> pd.DataFrame:
    """Measures of n heads with known answers: constant age, ventricles that follow the truth."""
    place = np.arange(n, dtype=float)
    return pd.DataFrame(
        {
            "number": np.arange(1, n + 1),
            "quality": ["passed"] * (n - 1) + ["did not pass: ncc 0.2 below 0.45"],
            "predicted": "CN",
            "warnings": ["", *["n/a"] * (n - 2), "A sentence."],
            "age": 20 + place,
            "predicted_age": 70.0,
            "mask_dice": math.nan,
            "ssim_autoencoder": 0.8,
            "ssim_ldae": 0.8,
            "ssim_average": 0.7,
            "novelty_percentile": [100.0] + [40.0] * (n - 1),
            "distance": 1.0,
            "true_ventricle_ml": 10 + place,
            "scan_ventricle_ml": 30 + 2 * place + np.cos(place),
            "ventricle_ml": 30 + place,
            "moved_ventricle_ml": [29.0, *(31 + place[1:])],
            "alpha": 0.1,
            "nearest": [1, *range(1, n)],
        }
    )


def test_page_states_what_the_numbers_say(tmp_path):
    bundle, heads = Bundle.load(MODELS, "cpu", 1), measures(6)
    page = tmp_path / "real.md"
    heads["asymmetry"] = [0.1, -0.2, 0.1, 0.1, -0.1, 0.1]
    write_real_page(page, bundle, heads, measures(2).iloc[:1], [], [""] * 6, 7, "make it")
    text = page.read_text()
    assert "7 steps of the solver" in text  # those asked for, which may not be the run's
    assert "hint at swapped sides, in head 2 and head 5." in text
    assert "5 of 6 pass" in text and "Head 6 did not pass: ncc 0.2 below 0.45." in text
    assert "errs by 47.5 years on average (n = 6); the best constant would err by 1.5" in text
    assert "r = –." in text  # a probe that always says the same
    assert "1 of 6 codes are flagged" in text and "The others lie at 40.0 to 40.0" in text
    assert "segmented volume at r = 0.9" in text and "they do in 5 of 6, by 1.00 ml" in text
    assert "mask: Dice" not in text  # no head has a segmentation
    assert text.count("A sentence.") == 1 and "- Head 6: A sentence." in text
    assert "LDAE is above the floor in 6 of 6" in text
    assert text.count("earest to their own scan are 5 of 6 redrawn heads") == 2
    assert "the probe is no better than the best constant" in text
    assert (
        "Manipulation: the measured ventricles change in the direction asked for in 5 of 6" in text
    )
    few = heads.assign(age=heads["age"].where(heads["number"] <= 3))
    write_real_page(page, bundle, few, measures(2).iloc[:1], [], [""] * 6, 7, "make it")
    assert "Age:" not in page.read_text()  # the best constant of three fits them by itself
    assert list(numbers(heads)["number"]) == [1, 2, 3, 4, 5, 6]
    assert "warnings" not in numbers(heads)  # free text may name a file
