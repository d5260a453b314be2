"""Preprocessing: N4, brain extraction, registration, and how a shard skips, survives, resumes."""

import errno
import json
import logging
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ldae.errors import UserError
from ldae.files import read_table
from ldae.preprocess._ants import ants
from ldae.preprocess.batch import ScanRejected, Step, read_manifests, run_step
from ldae.preprocess.bias import correct_bias, read_head, run_n4
from ldae.preprocess.brain import ANTSXNET_FILES, build_extractor, clean_mask, run_brain_extraction
from ldae.preprocess.picture import Head, write_picture
from ldae.preprocess.quality import affine_determinant, dice, judge
from ldae.preprocess.registration import (
    antialias,
    estimate,
    resample,
    run_registration,
    target_grid,
)
from ldae.preprocess.scan_files import scan_files
from ldae.synthetic.bases import FOLDER

SPACING = 3.0  # mm of the test heads
N4 = {"shrink_factor": 8, "iterations": [50, 50, 50], "tolerance": 1e-5}


def base(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Head, brain mask and affine of a base head, averaged to 3 mm; axes to R, A, S."""
    with np.load(FOLDER / f"{name}.npz") as stored:
        head, brain, affine = (stored[key] for key in ("head", "brain", "affine"))
    assert affine[0, 0] * 2 == SPACING

    def halve(array):
        even = array[tuple(slice(0, n - n % 2) for n in array.shape)].astype(np.float32)
        x, y, z = (n // 2 for n in even.shape)
        return even.reshape(x, 2, y, 2, z, 2).mean((1, 3, 5))

    coarse = np.diag([SPACING, SPACING, SPACING, 1.0])
    coarse[:3, 3] = affine[:3, 3] + SPACING / 4
    return halve(head), halve(brain) > 127, coarse


def save(values: np.ndarray, affine: np.ndarray, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, affine), path)
    return path


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> dict[str, str]:
    """config["preprocess"]["template"]: Colin27's brain at 3 mm."""
    folder = tmp_path_factory.mktemp("template")
    head, brain, affine = base("colin27")
    return {
        "image": str(save(head, affine, folder / "head.nii.gz")),
        "mask": str(save(brain.astype(np.uint8), affine, folder / "mask.nii.gz")),
        "name": "Test",
    }


@pytest.fixture(scope="module")
def colin(template) -> tuple[ants.ANTsImage, ants.ANTsImage]:
    """Head and brain mask."""
    return ants.image_read(template["image"]), ants.image_read(template["mask"])


def scan_table(*names: str) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "scan_id": [f"sub-{name}_ses-M000" for name in names],
            "participant_id": [f"sub-{name}" for name in names],
            "session_id": "ses-M000",
            "path": [f"sub-{name}/ses-M000/anat/sub-{name}_ses-M000_T1w.nii.gz" for name in names],
        }
    )


# --- N4 -------------------------------------------------------------------------------------


def test_n4_removes_a_known_bias(colin):
    head, mask = colin
    inside = mask.numpy() > 0
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in head.shape), indexing="ij")
    bias = 0.3 * x + 0.3 * y * z - 0.3 * z**2
    bias -= bias[inside].mean()
    noise = np.random.default_rng(0).normal(0, 2, head.shape)
    head = head.new_image_like(np.abs(head.numpy() + noise).astype(np.float32))
    biased = head.new_image_like((head.numpy() * np.exp(bias)).astype(np.float32))

    def log_brain(image):
        values = np.log(image.numpy()[inside] + 1)
        return values - values.mean()

    before = (log_brain(biased) - log_brain(head)).std()
    after = (log_brain(correct_bias(biased, **N4)) - log_brain(correct_bias(head, **N4))).std()
    assert before > 0.1
    assert after < 0.6 * before


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.full((4, 4, 4), np.nan, np.float32), "equal"),  # ITK reads NaN as 0
        (np.ones((4, 4, 4), np.float32), "equal"),
        (np.arange(128, dtype=np.float32).reshape(4, 4, 4, 2), "shape"),
    ],
)
def test_unusable_images_are_rejected_with_a_reason(tmp_path, values, reason):
    path = save(values, np.eye(4), tmp_path / "x.nii.gz")
    with pytest.raises(ScanRejected, match=reason):
        read_head(path)


# --- brain masks ----------------------------------------------------------------------------


def test_mask_keeps_the_largest_part_and_fills_holes():
    probability = np.zeros((20, 20, 20), np.float32)
    probability[4:16, 4:16, 4:16] = 0.9
    probability[9:11, 9:11, 9:11] = 0.1  # a hole
    probability[0:2, 0:2, 0:2] = 0.9  # an island
    mask = clean_mask(probability, 0.5)
    assert mask.sum() == 12**3
    assert mask[10, 10, 10]
    assert not mask[0, 0, 0]


def test_implausible_masks_are_rejected():
    with pytest.raises(ScanRejected, match=r"empty \(highest probability 0.3\)"):
        clean_mask(np.full((9, 9, 9), 0.3, np.float32), 0.5)
    with pytest.raises(ScanRejected, match="covers 100% of the image's outer faces"):
        clean_mask(np.ones((9, 9, 9), np.float32), 0.5)


def test_missing_antsxnet_weights_are_named(tmp_path):
    (tmp_path / ANTSXNET_FILES[1]).touch()
    with pytest.raises(UserError) as caught:
        build_extractor({"method": "antspynet", "weights": tmp_path})
    for part in (*ANTSXNET_FILES, "snakemake resources", f"missing: {ANTSXNET_FILES[0]}"):
        assert part in str(caught.value)


def test_unknown_method_is_named():
    with pytest.raises(UserError, match="'bet'; allowed: antspynet, deepbet"):
        build_extractor({"method": "bet", "weights": "x"})


# --- registration ---------------------------------------------------------------------------


@pytest.mark.parametrize(("spacing", "shape"), [(1, (193, 229, 193)), (1.5, (129, 153, 129))])
def test_target_grid_covers_the_template_about_its_centre(spacing, shape):
    direction = np.array([[0.0, -1, 0], [-1, 0, 0], [0, 0, 1]])
    template = ants.from_numpy(
        np.zeros((193, 229, 193), np.float32), origin=(7, -3, 5), direction=direction
    )
    grid = target_grid(template, spacing)
    assert grid.shape == shape
    assert grid.spacing == (spacing,) * 3
    assert np.array_equal(grid.direction, direction)
    centres = [
        np.array(image.origin)
        + direction @ (np.array(image.spacing) * (np.array(image.shape) - 1) / 2)
        for image in (template, grid)
    ]
    assert np.allclose(*centres)
    if spacing == 1:
        assert grid.origin == template.origin


def test_registration_recovers_a_known_affine(colin, tmp_path):
    head, mask = colin
    fixed = head * mask
    angle = np.deg2rad(8)
    turn = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    known = ants.create_ants_transform(
        "AffineTransform", matrix=turn * 1.06, translation=(6, -9, 4), center=(0, 20, 10)
    )
    moving = known.apply_to_image(fixed, fixed)  # moving(x) = fixed(known(x))
    noise = np.random.default_rng(0).normal(0, 3, moving.shape)
    moving = moving.new_image_like(np.clip(moving.numpy() + noise, 0, None).astype(np.float32))
    (found,) = estimate(moving, fixed, "Affine", str(tmp_path / "x"))
    assert affine_determinant(found) == pytest.approx(1.06**-3, rel=0.02)
    found = ants.read_transform(found)
    voxels = np.argwhere(mask.numpy() > 0)[::3000]
    points = [ants.transform_index_to_physical_point(fixed, tuple(map(int, v))) for v in voxels]
    errors = [
        np.linalg.norm(np.subtract(known.apply_to_point(found.apply_to_point(point)), point))
        for point in points
    ]
    assert max(errors) < SPACING


@pytest.mark.parametrize("interpolation", ["linear", "bspline"])
def test_resampling_has_no_negatives_and_a_clean_background(colin, interpolation):
    head, mask = colin
    grid = target_grid(head, 2.0)
    moved = resample(head * mask, grid, [], interpolation, prefilter=False)
    raw = ants.apply_transforms(grid, head * mask, [], interpolator="bSpline").numpy()
    assert raw.min() < -1  # the problem is there
    assert moved.shape == grid.shape
    assert moved.numpy().min() == 0
    assert (moved.numpy()[:, :, :5] == 0).all()
    assert moved.numpy().max() > 0.9 * (head * mask).numpy().max()


def test_antialias_turns_the_native_width_into_the_target_width():
    impulse = np.zeros((41, 41, 41), np.float32)
    impulse[20, 20, 20] = 1
    blurred = antialias(ants.from_numpy(impulse, spacing=(1.0, 1.0, 6.0)), 5.0).numpy()
    variance = [
        np.average((np.arange(41) - 20.0) ** 2, weights=blurred.sum(axes))
        for axes in ((1, 2), (0, 2), (0, 1))
    ]
    per_fwhm = 8 * np.log(2)
    assert variance[0] == pytest.approx((5**2 - 1) / per_fwhm, rel=0.1)
    assert variance[1] == pytest.approx(variance[0], rel=1e-3)
    assert variance[2] == 0  # already coarser than the target


def test_measures_and_verdict():
    a = np.zeros((4, 4, 4))
    a[:2] = 1
    assert dice(a, np.roll(a, 1, axis=0)) == 0.5
    bounds = {"min_dice": 0.85, "min_brain_ml": 700, "max_brain_ml": 2200}
    assert judge({"dice": 0.85, "brain_ml": 1500}, bounds) is None
    assert judge({"dice": 0.8, "brain_ml": 1500}, bounds) == "QC: dice 0.8 is below min_dice 0.85"
    assert "brain_ml 2300 is above max_brain_ml 2200" in judge(
        {"dice": 0.9, "brain_ml": 2300}, bounds
    )


def test_picture_does_not_depend_on_how_the_voxels_are_stored(colin, tmp_path):
    pictures = []
    for codes in ("RAS", "LPI", "ASL"):
        parts = []
        for number, image in enumerate(colin):
            stored = nib.load(save(*_as_nifti(image), tmp_path / f"{codes}{number}.nii"))
            turn = nib.orientations.ornt_transform(
                nib.io_orientation(stored.affine), nib.orientations.axcodes2ornt(codes)
            )
            nib.save(stored.as_reoriented(turn), tmp_path / f"{codes}{number}-turned.nii")
            parts.append(ants.image_read(str(tmp_path / f"{codes}{number}-turned.nii")))
        path = tmp_path / f"{codes}.png"
        write_picture(path, Head(*parts, limit=100), Head(*parts, limit=100), "title")
        pictures.append(path.read_bytes())
    assert pictures[0] == pictures[1] == pictures[2]


def _as_nifti(image):
    return image.numpy(), np.diag([SPACING, SPACING, SPACING, 1.0])


# --- a shard --------------------------------------------------------------------------------


class Copier:
    """A step that copies its input and keeps count; what the input says decides how it fails."""

    def __init__(self, folder: Path, names=("A", "B", "C")):
        self.folder, self.runs = folder, []
        self.files = scan_files(scan_table(*names), folder, "Test")
        for name, files in zip(names, self.files, strict=True):
            self.source(files).write_text(name)

    def source(self, files):
        return self.folder / f"{files.scan_id}.txt"

    def run(self, files):
        self.runs.append(files.scan_id[4])
        text = self.source(files).read_text()
        if text == "defect":
            raise ValueError("first line\nsecond line")
        if text == "reject":
            raise ScanRejected("not a head")
        if text == "full":
            raise OSError(errno.ENOSPC, "disk full")
        files.n4.write_text(text)

    def __call__(self, fingerprint="1", verdict=lambda files: None, earlier=None):
        self.runs = []
        step = Step(
            "n4",
            fingerprint,
            lambda files: [self.source(files)],
            lambda files: [files.n4],
            self.run,
            verdict,
        )
        run_step(step, self.files, self.folder / "n4" / "shard-0.tsv", earlier)
        table = read_manifests([self.folder / "n4" / "shard-0.tsv"])
        return list(table["status"]), list(table["reason"])


def test_only_what_changed_runs_again(tmp_path):
    copier = Copier(tmp_path)
    assert copier() == (["ok"] * 3, [""] * 3)
    assert copier.runs == ["A", "B", "C"]
    assert copier()[0] == ["ok"] * 3
    assert copier.runs == []
    copier.source(copier.files[1]).touch()
    copier()
    assert copier.runs == []
    copier.source(copier.files[1]).write_text("changed")
    copier()
    assert copier.runs == ["B"]
    copier.files[2].n4.unlink()
    copier()
    assert copier.runs == ["C"]
    copier(fingerprint="2")
    assert copier.runs == ["A", "B", "C"]


def test_a_failing_scan_fails_alone_and_is_tried_again(tmp_path, caplog):
    copier = Copier(tmp_path)
    copier()
    copier.source(copier.files[1]).write_text("defect")
    with caplog.at_level(logging.ERROR):
        status, reason = copier()
    assert status == ["ok", "failed", "ok"]
    assert reason[1] == "ValueError: first line second line"
    assert "Traceback" in caplog.text and "test_preprocess.py" in caplog.text
    assert not copier.files[1].n4.exists()  # nothing stale of the earlier run is left
    copier()
    assert copier.runs == ["B"]
    copier.source(copier.files[1]).write_text("good")
    assert copier()[0] == ["ok"] * 3


def test_a_rejected_scan_is_remembered(tmp_path):
    copier = Copier(tmp_path)
    copier.source(copier.files[0]).write_text("reject")
    assert copier() == (["failed", "ok", "ok"], ["not a head", "", ""])
    assert copier() == (["failed", "ok", "ok"], ["not a head", "", ""])
    assert copier.runs == []


def test_a_missing_input_fails_its_scan_alone(tmp_path):
    copier = Copier(tmp_path)
    copier.source(copier.files[2]).unlink()
    status, reason = copier()
    assert status == ["ok", "ok", "failed"]
    assert "FileNotFoundError" in reason[2]


def test_a_full_disk_stops_the_shard(tmp_path):
    copier = Copier(tmp_path)
    copier.source(copier.files[1]).write_text("full")
    with pytest.raises(OSError, match="disk full"):
        copier()
    assert not (tmp_path / "n4" / "shard-0.tsv").exists()


def test_an_earlier_failure_is_carried_not_retried(tmp_path):
    copier = Copier(tmp_path)
    earlier = tmp_path / "bids" / "shard-0.tsv"
    earlier.parent.mkdir()
    earlier.write_text(
        "scan_id\tstatus\treason\tseconds\n"
        "sub-A_ses-M000\tok\tn/a\t1\n"
        "sub-B_ses-M000\tfailed\tbroken\t1\n"
        "sub-C_ses-M000\tskipped\tfailed in x: y\t1\n"
    )
    status, reason = copier(earlier=earlier)
    assert copier.runs == ["A"]
    assert status == ["ok", "skipped", "skipped"]
    assert reason == ["", "failed in bids: broken", "failed in x: y"]
    earlier.write_text("scan_id\tstatus\treason\tseconds\nsub-A_ses-M000\tok\tn/a\t1\n")
    with pytest.raises(UserError, match="lacks 2 scan"):
        copier(earlier=earlier)


def test_a_verdict_needs_no_new_run(tmp_path):
    copier = Copier(tmp_path)
    copier()
    status, reason = copier(verdict=lambda files: "too small" if "sub-B" in files.scan_id else None)
    assert copier.runs == []
    assert status == ["ok", "failed", "ok"]
    assert reason[1] == "too small"


# --- all steps ------------------------------------------------------------------------------


class Pipeline:
    """The steps with deepbet, on a real head stored oblique and in other axes and a broken file."""

    def __init__(self, folder: Path, template: dict[str, str]):
        self.folder, self.scans = folder, scan_table("A", "B")
        head, self.brain, affine = base("myconnectome")
        noise = np.random.default_rng(0).normal(0, 2, head.shape)
        image = nib.Nifti1Image(np.clip(head + noise, 0, None).astype(np.int16), affine)
        self.turn = nib.orientations.ornt_transform(
            nib.io_orientation(affine), nib.orientations.axcodes2ornt("AIL")
        )
        image = image.as_reoriented(self.turn)
        tilt = np.eye(4)
        tilt[1:3, 1:3] = [[0.97, -0.243], [0.243, 0.97]]
        path = folder / "bids" / self.scans["path"][0]
        save(np.asanyarray(image.dataobj), tilt @ image.affine, path)
        broken = folder / "bids" / self.scans["path"][1]
        broken.parent.mkdir(parents=True)
        broken.write_bytes(b"not an image")
        self.cfg = {
            "template": template,
            "n4": N4,
            "brain_extraction": {"method": "deepbet", "threshold": 0.5, "weights": "unused"},
            "registration": {"type": "Affine", "estimate_spacing": 4.0},
            "qc": {"min_dice": 0.85, "min_brain_ml": 700, "max_brain_ml": 2200},
        }
        self.volumes = {"spacing": 4.0, "interpolation": "bspline", "antialias": True}

    def run(self, out: Path) -> list[pd.DataFrame]:
        n4, brain, registration = (
            out / "manifests" / step / "shard-0.tsv" for step in ("n4", "brain", "registration")
        )
        run_n4(self.scans, self.folder / "bids", out, n4, self.cfg)
        run_brain_extraction(self.scans, out, n4, brain, self.cfg)
        run_registration(self.scans, out, brain, registration, self.cfg, self.volumes)
        return [read_table(path) for path in (n4, brain, registration)]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory, template):
    made = Pipeline(tmp_path_factory.mktemp("pipeline"), template)
    made.out = made.folder / "preproc"
    made.tables = made.run(made.out)
    (made.files,) = scan_files(made.scans[:1], made.out, "Test")
    return made


def test_steps_record_the_good_and_the_broken_scan(pipeline):
    n4, brain, registration = pipeline.tables
    assert list(n4["status"]) == ["ok", "failed"]
    assert n4["reason"][1].count("\n") == 0 and n4["reason"][1]
    assert list(brain["status"]) == list(registration["status"]) == ["ok", "skipped"]
    assert registration["reason"][1].startswith("failed in n4: ")


def test_brain_mask_is_right_and_on_the_native_grid(pipeline):
    files = pipeline.files
    mask, head, brain = (nib.load(path) for path in (files.mask, files.n4, files.brain))
    assert mask.get_data_dtype() == np.uint8
    assert np.allclose(mask.affine, head.affine) and np.allclose(brain.affine, head.affine)
    truth = nib.apply_orientation(pipeline.brain, pipeline.turn)
    assert dice(mask.get_fdata(), truth) > 0.92
    assert np.array_equal(brain.get_fdata(), head.get_fdata() * mask.get_fdata())


def test_registered_brain_is_the_native_one_interpolated_once(pipeline, template):
    files = pipeline.files
    grid = target_grid(ants.image_read(template["image"]), 4.0)
    moved = ants.image_read(str(files.registered_brain))
    assert (moved.shape, moved.spacing) == (grid.shape, grid.spacing)
    assert np.allclose(moved.origin, grid.origin)
    once = resample(
        ants.image_read(str(files.brain)), grid, [str(files.transform)], "bspline", prefilter=True
    )
    assert np.array_equal(moved.numpy(), once.numpy())
    measures = json.loads(files.measures.read_text())
    assert measures["scan_id"] == "sub-A_ses-M000"
    assert measures["dice"] > 0.9 and measures["ncc"] > 0.5
    assert measures["brain_ml"] == pytest.approx(pipeline.brain.sum() * 0.027, rel=0.1)
    assert Image.open(files.picture).size == (840, 584)


def test_same_scan_same_bytes(pipeline, tmp_path):
    pipeline.run(tmp_path)
    files = [path for path in sorted(pipeline.files.folder.iterdir()) if path.name[0] != "."]
    assert len(files) == 8
    for path in files:
        assert path.read_bytes() == (tmp_path / path.relative_to(pipeline.out)).read_bytes(), path


def test_nothing_runs_twice_but_changed_bounds_count(pipeline, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in pipeline.files.folder.iterdir()}
    bounds = {**pipeline.cfg["qc"], "min_dice": 0.999}
    monkeypatch.setitem(pipeline.cfg, "qc", bounds)
    registration = pipeline.run(pipeline.out)[2]
    assert registration["status"][0] == "failed"
    assert "dice" in registration["reason"][0] and "min_dice 0.999" in registration["reason"][0]
    assert before == {path: path.stat().st_mtime_ns for path in pipeline.files.folder.iterdir()}


def test_bad_settings_are_named(pipeline, monkeypatch, tmp_path):
    manifest = pipeline.out / "manifests" / "brain" / "shard-0.tsv"

    def run(cfg, volumes):
        run_registration(pipeline.scans, tmp_path, manifest, tmp_path / "m.tsv", cfg, volumes)

    wrong = {**pipeline.cfg, "registration": {"type": "affine", "estimate_spacing": 4.0}}
    with pytest.raises(UserError, match=r"preprocess\.registration\.type is 'affine'; allowed"):
        run(wrong, pipeline.volumes)
    with pytest.raises(UserError, match=r"volumes\.interpolation is 'cubic'"):
        run(pipeline.cfg, {**pipeline.volumes, "interpolation": "cubic"})
    missing = {**pipeline.cfg["template"], "mask": "nowhere/mask.nii.gz"}
    with pytest.raises(UserError, match=r"nowhere/mask\.nii\.gz \(preprocess\.template\.mask\)"):
        run({**pipeline.cfg, "template": missing}, pipeline.volumes)


@pytest.mark.slow
def test_antspynet_runs_its_own_path_from_local_weights(pipeline, tmp_path):
    """Random weights of the right architecture: what comes out lies on the native grid."""
    h5py = pytest.importorskip("h5py")
    weights = tmp_path / "antsxnet"
    weights.mkdir()
    shutil.copy(pipeline.cfg["template"]["image"], weights / ANTSXNET_FILES[1])
    (weights / ANTSXNET_FILES[0]).touch()
    settings = {"method": "antspynet", "threshold": None, "weights": str(weights)}
    build_extractor(settings)  # sets up TensorFlow before it is imported here
    import antspynet
    import keras
    from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group

    image = ants.image_read(pipeline.cfg["template"]["image"])
    image = ants.resample_image(image, (1, 1, 1), False, 0)
    image = ants.pad_or_crop_image_to_size(image, (160, 192, 160))
    ants.image_write(image, str(weights / ANTSXNET_FILES[1]))
    keras.utils.set_random_seed(0)
    network = antspynet.create_unet_model_3d(
        (None, None, None, 1),
        number_of_outputs=1,
        mode="sigmoid",
        number_of_filters=(16, 32, 64, 128),
        convolution_kernel_size=3,
        deconvolution_kernel_size=2,
    )
    *_, last = network.layers
    kernel, offset = last.get_weights()
    # of the sign and size that turn bright tissue into high probabilities
    last.set_weights([-100 * kernel, offset])
    with h5py.File(weights / ANTSXNET_FILES[0], "w") as stream:
        save_weights_to_hdf5_group(stream, network)

    probability = build_extractor(settings).probability(pipeline.files.n4)
    head = nib.load(pipeline.files.n4).get_fdata()
    assert probability.shape == head.shape
    assert 0 <= probability.min() < probability.max() <= 1
    assert np.corrcoef(probability.ravel(), head.ravel())[0, 1] > 0.5
