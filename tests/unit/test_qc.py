"""Quality control: measures, bounds, page of the cohort, pictures, BIDS derivatives."""

import json
import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from helpers.heads import SPACING, base, save, scan_table
from ldae.derivatives import scan_files
from ldae.errors import UserError
from ldae.files import read_table, write_json
from ldae.preprocess._ants import ants
from ldae.preprocess.bids_derivatives import describe_dataset, remove_withdrawn
from ldae.preprocess.image_io import border_fraction
from ldae.preprocess.qc_bounds import MEASURES, judge, outlyingness
from ldae.preprocess.qc_measures import dice, outside_fraction, tissue_measures
from ldae.preprocess.qc_page import write_page
from ldae.preprocess.qc_picture import Head, write_picture
from ldae.preprocess.shard_runner import ScanRejected
from ldae.report.tables.cohort import measures as report_measures

GOOD = {
    "ncc": 0.7, "dice": 0.95, "brain_ml": 1400, "affine_determinant": 0.7, "snr": 16, "cnr": 1.6,
    "residual_bias": 0.02, "fov_cut": 0.0, "border": 0.0, "asymmetry": 0.2,
}  # fmt: skip
BOUNDS = {key: None for measure in MEASURES for key in measure.bounds}


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
    """Arguments of write_page: A and B good (B an outlier), C outside the bounds, D failed."""
    scans = scan_table("A", "B", "C", "D")
    rows = [("ok", ""), ("ok", ""), ("qc", "QC: dice 0.5 is below min_dice 0.9"), ("skipped", "x")]
    registration = scans[["scan_id"]].assign(
        status=[status for status, _ in rows], reason=[reason for _, reason in rows]
    )
    n4 = registration.assign(status=["ok"] * 3 + ["failed"], reason=["", "", "", "<bad> header"])
    files = scan_files(scans, tmp_path / "preproc", "T")
    changed = {"B": {"snr": 3.0}, "C": {"dice": 0.5}, "D": {"dice": 0.99}}
    for file, name in zip(files, "ABCD", strict=True):
        write_json({"scan_id": file.scan_id, **GOOD, **changed.get(name, {})}, file.measures)
    decisions = pd.DataFrame([("sub-A_ses-M000", "exclude", "moved")])
    return {
        "scans": scans,
        "manifests": {
            "n4": n4,
            "brain": registration,
            "registration": registration,
            "pack": registration.assign(status="ok"),
        },
        "preproc_dir": tmp_path / "preproc",
        "decisions": decisions.set_axis(["scan_id", "verdict", "reason"], axis=1),
        "duplicates": pd.DataFrame(
            [("sub-A_ses-M012", "sub-A_ses-M000", "The same <voxels>.")],
            columns=["scan_id", "duplicate_of", "reason"],
        ),
        "page": tmp_path / "qc/index.html",
        "table": tmp_path / "qc/measures.tsv",
        "cfg": {"template": {"name": "T"}, "qc": {**BOUNDS, "min_dice": 0.9}},
    }


def test_qc_page_puts_failures_and_outliers_first(cohort):
    write_page(**cohort)
    html = cohort["page"].read_text()
    assert re.findall(r"<h2>sub-(\w)_", html) == ["D", "C", "B", "A"]
    assert "failed in n4: &lt;bad&gt; header" in html
    assert 'src="../preproc/sub-B/ses-M000/anat/sub-B_ses-M000_desc-qc.png"' in html
    assert "sub-D_ses-M000_desc-qc.png" not in html  # left by an earlier run
    assert "sub-C_ses-M000\tkeep\tlooked at: fine" in html
    assert "sub-B_ses-M000\texclude\tsnr is an outlier" in html
    assert "Verdict: exclude: moved" in html
    assert not re.search(r"(src|href)=\"https?:", html)
    table = read_table(cohort["table"])
    assert list(table["scan_id"].str[4]) == ["D", "C", "B", "A"]
    assert list(table["status"]) == ["failed", "qc", "ok", "ok"]
    assert np.isnan(table["dice"][0]) and table["worst"][2] == "snr"


def test_qc_page_lists_duplicates_and_scans_that_failed_packing(cohort):
    pack = cohort["manifests"]["pack"]
    pack.loc[0, ["status", "reason"]] = ["failed", "no contrast"]
    write_page(**cohort)
    html = " ".join(cohort["page"].read_text().split())
    assert "failed in pack: no contrast" in html and "2 failed; 1 more left out" in html
    assert "Duplicates: 1 scans" in html
    assert "<td>sub-A_ses-M012<td>sub-A_ses-M000<td>The same &lt;voxels&gt;." in html
    write_page(**{**cohort, "duplicates": cohort["duplicates"][:0]})
    html = cohort["page"].read_text()
    assert "Duplicates:" not in html and "0 more left out" in html


def test_qc_page_names_scans_whose_sides_may_be_swapped_without_ranking_them(cohort):
    file = scan_files(cohort["scans"], cohort["preproc_dir"], "T")[0].measures
    write_json({"scan_id": "sub-A_ses-M000", **GOOD, "asymmetry": -0.2}, file)
    write_page(**cohort)
    html = cohort["page"].read_text()
    assert re.findall(r"<h2>sub-(\w)_", html) == ["D", "C", "B", "A"]
    assert html.count("left and right may be swapped: asymmetry -0.20") == 1
    assert "In 1 of the scans left and right may be swapped" in html
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
    assert "mriqc_size_x [100, None]" in html and "<dt>mriqc_cjv<dd>0.41" in html
    assert "mriqc_size_y" not in html  # has no bound and is none of those always shown
    pd.testing.assert_frame_equal(table[before.columns], before)
    assert table.set_index("scan_id")["mriqc_size_y"].dropna().to_dict() == {"sub-B_ses-M000": 256}
    rows = report_measures(table, cohort["cfg"]["qc"]).rows
    assert [row[0] for row in rows][-2:] == ["MRIQC: cjv", "MRIQC: size_x"]
    assert rows[-1][1:4] == ["176", "176 to 176", "at least 100"]


def test_qc_page_is_reproducible(cohort):
    write_page(**cohort)
    before = cohort["page"].read_bytes()
    write_page(**cohort)
    assert cohort["page"].read_bytes() == before


def test_qc_page_of_a_cohort_in_which_all_scans_failed(cohort):
    bad = cohort["manifests"]["n4"].assign(status="failed", reason="broken")
    skipped = bad.assign(status="skipped")
    manifests = {"n4": bad, "brain": skipped, "registration": skipped, "pack": skipped}
    write_page(**{**cohort, "manifests": manifests, "decisions": cohort["decisions"][:0]})
    assert cohort["page"].read_text().count("failed in n4: broken") == 4


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
        path = tmp_path / f"{codes}.png"
        write_picture(path, Head(*parts, limit=100), Head(*parts, limit=100), "title")
        pictures.append(path.read_bytes())
    assert pictures[0] == pictures[1] == pictures[2]


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
