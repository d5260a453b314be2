"""Quality control: measures, bounds, page of the cohort, pictures, BIDS derivatives."""

import json
import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers.heads import SPACING, base, save, scan_table
from helpers.quality import BOUNDS, GOOD, cards, quality_cohort, ratings_table
from ldae.derivatives import scan_files
from ldae.errors import UserError
from ldae.files import read_table, sha256, write_json
from ldae.preprocess._ants import ants
from ldae.preprocess.bids_derivatives import describe_dataset, remove_withdrawn
from ldae.preprocess.image_io import border_fraction
from ldae.preprocess.qc_bounds import judge, outlyingness
from ldae.preprocess.qc_measures import dice, outside_fraction, tissue_measures
from ldae.preprocess.qc_page import write_page
from ldae.preprocess.qc_picture import PANEL, Head, write_picture
from ldae.preprocess.shard_runner import ScanRejected
from ldae.report.tables.cohort import measures as report_measures

# --- measures -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def brain() -> tuple[np.ndarray, np.ndarray]:
    """Three shells as CSF, grey and white matter, with noise, and their mask."""
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, 48),) * 3, indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    values = np.select([radius < 0.6, radius < 0.8, radius < 0.9], [100.0, 70.0, 30.0], 0.0)
    noise = np.random.default_rng(0).normal(0, 4, values.shape)
    return np.where(values > 0, values + noise, 0).astype(np.float32), values > 0


def test_tissue_measures_match_simulated_noise_and_contrast(brain):
    found = tissue_measures(*brain)
    assert found["snr"] == pytest.approx(100 / 4, rel=0.1)
    assert 2.5 < found["cnr"] < (100 - 70) / np.hypot(4, 4) * 1.02
    assert found["residual_bias"] < 0.005


def test_tissue_measures_respond_to_noise_contrast_and_bias(brain):
    values, mask = brain
    rng = np.random.default_rng(1)
    noisy = np.where(mask, values + rng.normal(0, 12, values.shape), 0)
    flat = np.where(values > 85, values - 15, values)
    slope = np.exp(np.linspace(-0.2, 0.2, 48))[:, None, None]
    before = tissue_measures(values, mask)
    assert tissue_measures(noisy, mask)["snr"] < before["snr"] / 2
    assert tissue_measures(flat, mask)["cnr"] < 0.7 * before["cnr"]
    biased = tissue_measures(values * slope, mask)
    inside = np.log(np.broadcast_to(slope, mask.shape)[values > 85]).std()
    assert biased["residual_bias"] == pytest.approx(inside, rel=0.15)
    assert biased["snr"] == pytest.approx(before["snr"], rel=0.2)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda values, mask: 100.0 * mask, "tell three tissues apart"),
        (lambda values, mask: mask * (100 + 1e-7 * values), "tell three tissues apart"),
        (lambda values, mask: 1e7 * (values == values.max()) + values, "tell three tissues apart"),
        (lambda values, mask: 70.0 * (values > 85) + 30 * mask, "no noise"),
    ],
    ids=["constant", "nearly constant", "one voxel far above", "two levels"],
)
def test_tissue_measures_reject_brain_without_tissues_or_noise(brain, damage, reason):
    with pytest.raises(ScanRejected, match=reason) as rejected:
        tissue_measures(damage(*brain).astype(np.float32), brain[1])
    assert "bins" not in str(rejected.value)  # no words of the library


def test_outside_fraction_border_fraction_and_dice():
    image = ants.from_numpy(
        np.zeros((10, 10, 10), np.float32), origin=(5.0, 0, 0), spacing=(2.0, 2.0, 2.0),
        direction=np.diag([-1.0, 1, 1]),
    )  # fmt: skip
    x = np.arange(-20, 10) + 0.5  # inside: from 5 - 18 - 1 to 5 + 1
    points = np.column_stack([x, np.full(30, 9.0), np.full(30, 9.0)])
    assert outside_fraction(image, points) == pytest.approx(10 / 30)
    faces = np.zeros((10, 10, 10), bool)
    faces[:, :, 0] = True
    assert border_fraction(faces) == pytest.approx((100 + 4 * 10) / 600)
    a = np.zeros((4, 4, 4))
    a[:2] = 1
    assert dice(a, np.roll(a, 1, axis=0)) == 0.5


# --- bounds ---------------------------------------------------------------------------------


def test_judge_names_measure_value_and_bound():
    assert judge(GOOD, {**BOUNDS, "min_dice": 0.95, "max_brain_ml": 1400}) is None
    assert judge({**GOOD, "dice": 0.8}, BOUNDS) is None
    assert (
        judge({**GOOD, "dice": 0.8}, {**BOUNDS, "min_dice": 0.85})
        == "QC: dice 0.8 is below min_dice 0.85"
    )
    assert (
        judge({**GOOD, "brain_ml": 2300}, {**BOUNDS, "max_brain_ml": 2200})
        == "QC: brain_ml 2300 is above max_brain_ml 2200"
    )


def test_outlyingness_counts_only_the_bad_direction_of_a_measure():
    rng = np.random.default_rng(0)
    table = pd.DataFrame([GOOD] * 40) + rng.normal(0, 1e-3, (40, len(GOOD)))
    table["border"] = 0.0
    table.loc[3, "dice"] -= 0.02
    table.loc[4, "dice"] += 0.02  # better than the others: no outlier
    table.loc[5, "brain_ml"] += 0.1  # an outlier in both directions
    table.loc[6, "border"] = 0.01  # 0 in all other scans
    found = outlyingness(table)
    assert found["worst"][3] == "dice" and found["z"][3] > 10
    assert found["z"][4] < 5
    assert found["worst"][5] == "brain_ml" and found["z"][5] > 20
    assert found["worst"][6] == "border" and found["z"][6] > 10
    assert np.isfinite(found["z"]).all()


def test_outlyingness_of_one_scan_is_zero():
    assert outlyingness(pd.DataFrame([GOOD]))["z"].tolist() == [0.0]


def test_judge_bounds_measures_of_mriqc_where_they_were_taken():
    bounds = {**BOUNDS, "mriqc_cjv": [None, 0.9], "mriqc_snr_total": [8, None]}
    good = {**GOOD, "mriqc_cjv": 0.9, "mriqc_snr_total": 8.0}
    assert judge(good, bounds) is judge(GOOD, bounds) is None
    assert judge({**good, "mriqc_cjv": float("nan")}, bounds) is None
    reasons = [
        judge({**good, "mriqc_cjv": 1.2}, bounds),
        judge({**good, "mriqc_snr_total": 7}, bounds),
    ]
    assert reasons == [
        "QC: mriqc_cjv 1.2 is above its highest 0.9",
        "QC: mriqc_snr_total 7 is below its lowest 8",
    ]


# --- the page -------------------------------------------------------------------------------


@pytest.fixture
def cohort(tmp_path):
    return quality_cohort(tmp_path)


def order(folder):
    return [card["scan_id"][4] for card in cards(folder)]


def test_qc_page_puts_failures_and_outliers_first_in_plain_words(cohort):
    write_page(**cohort)
    folder = cohort["page"].parent
    shown = cards(folder)
    assert [(card["scan_id"][4], card["word"]) for card in shown] == [
        ("D", "failed"), ("C", "failed"), ("B", "look"), ("A", "ok")
    ]  # fmt: skip
    failed, outside, outlier, good = shown
    assert failed["text"] == "Failed in bias field correction: <bad> header"
    assert outside["text"] == "Dice with template mask: 0.5 is below the bound 0.9"
    pattern = r"Signal to noise: 3 is [\d.]+ robust standard deviations from the median 15\.9"
    assert re.fullmatch(pattern, outlier["text"])
    assert good["text"] == "" and good["ratings"] == [[0, "exclude", "moved", "", "", ""]]
    assert failed["picture"] == ""  # a picture left by an earlier run
    picture = scan_files(cohort["scans"], cohort["preproc_dir"], "T")[0].picture
    assert good["picture"] == sha256(picture)[:16]
    html = cohort["page"].read_text()
    about = json.loads(re.search(r'id="about">(.*?)</script>', html)[1])
    assert (folder / about["preproc"]).resolve() == cohort["preproc_dir"].resolve()
    assert not re.search(r"(src|href)=\"https?:", html)
    internal = [key for key in (*GOOD, *BOUNDS) if re.search(rf"\b{key}\b", json.dumps(shown))]
    assert internal == []
    table = read_table(cohort["table"])
    assert list(table["scan_id"].str[4]) == ["D", "C", "B", "A"]
    assert list(table["status"]) == ["failed", "qc", "ok", "ok"]
    assert np.isnan(table["dice"][0]) and table["worst"][2] == "snr"
    assert "picture" not in table


def test_qc_page_lists_duplicates_and_scans_that_failed_packing(cohort):
    pack = cohort["manifests"]["pack"]
    pack.loc[0, ["status", "reason"]] = ["failed", "no contrast"]
    write_page(**cohort)
    html = " ".join(cohort["page"].read_text().split())
    assert cards(cohort["page"].parent)[0]["text"] == "Failed in packing: no contrast"
    assert "1 ok, 0 to look at, 3 failed" in html
    assert "Duplicates: 1 more scan" in html
    assert "<td>sub-A_ses-M012</td><td>sub-A_ses-M000</td><td>The same &lt;voxels&gt;.</td>" in html
    write_page(**{**cohort, "duplicates": cohort["duplicates"][:0]})
    assert "Duplicates:" not in cohort["page"].read_text()


def test_qc_page_names_scans_whose_sides_may_be_swapped_without_ranking_them(cohort):
    file = scan_files(cohort["scans"], cohort["preproc_dir"], "T")[0].measures
    write_json({"scan_id": "sub-A_ses-M000", **GOOD, "asymmetry": -0.2, "picture": "0"}, file)
    write_page(**cohort)
    assert order(cohort["page"].parent) == ["D", "C", "B", "A"]
    assert [card["swapped"] for card in cards(cohort["page"].parent)] == [0, 0, 0, 1]
    assert "In 1 of the scans left and right may be swapped" in cohort["page"].read_text()
    reason = judge({**GOOD, "asymmetry": -0.2}, {**BOUNDS, "min_asymmetry": -0.1})
    assert reason == "QC: asymmetry -0.2 is below min_asymmetry -0.1"


def test_qc_page_and_report_show_measures_of_mriqc(cohort):
    cohort["cfg"]["qc"]["mriqc_size_x"] = [100, None]
    names = ["scan_id", "mriqc_cjv", "mriqc_size_x", "mriqc_size_y"]
    mriqc = pd.DataFrame([("sub-B_ses-M000", 0.41, 176.0, 256.0)], columns=names)
    write_page(**cohort)
    before = read_table(cohort["table"])
    write_page(**cohort, mriqc=mriqc)
    html, table = cohort["page"].read_text(), read_table(cohort["table"])
    measures = json.loads(re.search(r'id="about">(.*?)</script>', html)[1])["measures"]
    assert measures[-2] == {"label": "MRIQC: cjv", "worse": 1, "median": 0.41, "bounds": ""}
    assert measures[-1]["label"] == "MRIQC: size_x" and measures[-1]["bounds"] == "at least 100"
    assert cards(cohort["page"].parent)[2]["values"][-2:] == [0.41, 176]
    assert "size_y" not in html  # has no bound and is none of those always shown
    pd.testing.assert_frame_equal(table[before.columns], before)
    assert table.set_index("scan_id")["mriqc_size_y"].dropna().to_dict() == {"sub-B_ses-M000": 256}
    rows = report_measures(table, cohort["cfg"]["qc"]).rows
    assert [row[0] for row in rows][-2:] == ["MRIQC: cjv", "MRIQC: size_x"]
    assert rows[-1][1:4] == ["176", "176 to 176", "at least 100"]


def test_qc_page_names_the_bound_of_a_measure_with_two(cohort):
    file = scan_files(cohort["scans"], cohort["preproc_dir"], "T")[2].measures
    write_json({"scan_id": "sub-C_ses-M000", **GOOD, "brain_ml": 2300, "picture": "0"}, file)
    cohort["cfg"]["qc"] |= {"min_dice": None, "min_brain_ml": 700, "max_brain_ml": 2200}
    write_page(**cohort)
    outside = cards(cohort["page"].parent)[1]
    assert outside["text"] == "Brain volume (ml): 2300 is above the bound 2200"


def test_qc_page_is_reproducible_and_leaves_no_part_of_an_earlier_one(cohort):
    write_page(**cohort)
    folder = cohort["page"].parent
    before = {path: path.read_bytes() for path in folder.rglob("*.*")}
    (folder / "scans/2.js").write_text("addScans(2, []);")
    write_page(**cohort)
    assert {path: path.read_bytes() for path in folder.rglob("*.*")} == before


def test_qc_page_shows_agreement_of_several_raters(cohort):
    ratings = {
        "anna": ratings_table([("sub-A_ses-M000", "exclude", "moved")]),
        "ben": ratings_table([("sub-A_ses-M000", "keep", "fine"), ("sub-X_ses-M000", "keep", "x")]),
    }
    write_page(**cohort | {"ratings": ratings, "files": ["anna.tsv", "b.tsv"], "rule": "all"})
    html = " ".join(cohort["page"].read_text().split())
    row = "<td>anna and ben</td><td>1 scan</td><td>0</td><td>0.00</td>"
    assert row in html and "1 scans decided, by the rule &#34;all&#34;" not in html
    raters = json.loads(re.search(r'id="about">(.*?)</script>', html)[1])["raters"]
    assert [(one["name"], one["file"], len(one["others"])) for one in raters] == [
        ("anna", "anna.tsv", 0), ("ben", "b.tsv", 1)
    ]  # fmt: skip
    good = cards(cohort["page"].parent)[-1]
    assert [rating[:2] for rating in good["ratings"]] == [[0, "exclude"], [1, "keep"]]


def test_qc_page_of_a_cohort_in_which_all_scans_failed(cohort):
    bad = cohort["manifests"]["n4"].assign(status="failed", reason="broken")
    skipped = bad.assign(status="skipped")
    manifests = {"n4": bad, "brain": skipped, "registration": skipped, "pack": skipped}
    write_page(**{**cohort, "manifests": manifests, "ratings": {}, "files": []})
    texts = {card["text"] for card in cards(cohort["page"].parent)}
    assert texts == {"Failed in bias field correction: broken"}


def test_qc_page_refuses_scans_without_manifest(cohort):
    with pytest.raises(UserError, match=r"1 scan\(s\) are in no manifest .*sub-E_ses-M000"):
        write_page(**{**cohort, "scans": scan_table("A", "B", "C", "D", "E")})


# --- pictures and data set ------------------------------------------------------------------


def test_qc_picture_is_independent_of_voxel_order(tmp_path):
    head, mask, _ = base("colin27")
    pictures = []
    for codes in ("RAS", "LPI", "ASL"):
        parts = []
        for number, values in enumerate((head, mask.astype(np.float32))):
            stored = nib.Nifti1Image(values, np.diag([SPACING, SPACING, SPACING, 1.0]))
            turn = nib.orientations.ornt_transform(
                nib.io_orientation(stored.affine), nib.orientations.axcodes2ornt(codes)
            )
            turned = stored.as_reoriented(turn)
            path = save(turned.get_fdata(), turned.affine, tmp_path / f"{codes}{number}.nii")
            parts.append(ants.image_read(str(path)))
        path = tmp_path / f"{codes}.webp"
        checksum = write_picture(path, Head(*parts, limit=100), Head(*parts, limit=100))
        assert checksum == sha256(path)[:16]
        pictures.append(path.read_bytes())
    assert pictures[0] == pictures[1] == pictures[2]


def test_qc_picture_shows_the_subjects_left_on_the_right(tmp_path):
    """A bright block in the brain's left, front and upper part, in all panels that it is in."""
    values = np.full((60, 70, 50), 20.0, np.float32)  # 3 mm, axes right, anterior, superior
    mask = np.zeros(values.shape, np.float32)
    mask[10:50, 10:60, 10:40] = 1
    values[14:24, 45:55, 28:36] = 100  # low index: left
    lps = {"direction": np.diag([-1.0, -1, 1]), "spacing": (3.0, 3.0, 3.0)}
    image, outline = (ants.from_numpy(array, **lps) for array in (values, mask))
    path = tmp_path / "a.webp"
    write_picture(path, Head(image, outline, 100), Head(image, outline, 100))
    blue = np.asarray(Image.open(path))[..., 2]  # which outlines lack
    rows = blue.reshape(6, PANEL, 7, PANEL).transpose(0, 2, 1, 3)  # row, slice, y, x
    for plane, (horizontal, vertical) in enumerate([(1, 0), (1, 0), (0, 0)]):
        for view in (plane, plane + 3):
            lit = rows[view] > 180
            y, x = np.nonzero(lit[lit.sum(axis=(1, 2)).argmax()])
            assert (np.median(x) > PANEL / 2) == horizontal, plane
            assert (np.median(y) > PANEL / 2) == vertical, plane
    sagittal = (rows[2] > 180).sum(axis=(1, 2))
    assert sagittal[4:].sum() > 4 * sagittal[:4].sum()  # right slices first


def test_qc_outline_is_two_pixels_wide_and_coloured(tmp_path):
    values = np.full((60, 60, 60), 50.0, np.float32)
    mask = np.zeros(values.shape, np.float32)
    mask[15:45, 15:45, 15:45] = 1
    image, outline = (ants.from_numpy(array, spacing=(3.0,) * 3) for array in (values, mask))
    path = tmp_path / "a.webp"
    write_picture(path, Head(image, outline, 100), Head(image, outline, 100))
    line = np.asarray(Image.open(path), int)[PANEL // 2 + 20, 3 * PANEL : 4 * PANEL]
    coloured = np.flatnonzero(np.ptp(line, axis=1) > 90)
    assert 2 <= len(coloured) / 2 <= 4  # two edges; the WebP spreads colour by a pixel


def test_describe_dataset_names_programs_and_source(tmp_path):
    cfg = {"brain_extraction": {"method": "deepbet"}, "template": {"name": "T"}}
    describe_dataset(tmp_path / "out/preproc", tmp_path / "out/bids", cfg)
    description = json.loads((tmp_path / "out/preproc/dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert {"antspyx", "deepbet"} < {tool["Name"] for tool in description["GeneratedBy"]}
    assert description["SourceDatasets"] == [{"URL": "../bids"}]
    ignored = (tmp_path / "out/preproc/.bidsignore").read_text().splitlines()
    assert "manifests" in ignored and "*_desc-qc.*" in ignored


def test_remove_withdrawn_deletes_only_withdrawn_scans(tmp_path, caplog):
    folder, elsewhere = tmp_path / "preproc", tmp_path / "elsewhere"
    for path in (
        "sub-A/ses-M000/anat/x.nii.gz", "sub-A/ses-M012/anat/x.nii.gz", "sub-A/notes.txt",
        "sub-B/ses-M000/anat/x.nii.gz", "manifests/n4/shard-0.tsv", "ses-M000/x", "README",
        "sub-C/ses-M000/anat/x.nii.gz", "sub-A/ses-M024",
    ):  # fmt: skip
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("x")
    (elsewhere / "ses-M000").mkdir(parents=True)
    (folder / "sub-D").symlink_to(elsewhere)
    (folder / "sub-C/ses-M006").symlink_to(elsewhere)
    with caplog.at_level("INFO"):
        removed = remove_withdrawn(folder, {"sub-A_ses-M000", "sub-C_ses-M000"})
    assert removed == ["sub-A_ses-M012", "sub-B_ses-M000"] and "2 scan(s)" in caplog.text
    left = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}
    assert left == {
        "sub-A/ses-M000/anat/x.nii.gz", "sub-A/notes.txt", "sub-A/ses-M024", "README", "ses-M000/x",
        "manifests/n4/shard-0.tsv", "sub-C/ses-M000/anat/x.nii.gz",
    }  # fmt: skip
    assert not (folder / "sub-B").exists() and (elsewhere / "ses-M000").is_dir()
    assert remove_withdrawn(folder, {"sub-A_ses-M000", "sub-C_ses-M000"}) == []
