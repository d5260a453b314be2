"""Preprocessing: N4 and brain extraction in either order, registration, resampling."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers.heads import SPACING, base, save, scan_table
from ldae.derivatives import scan_files
from ldae.errors import UserError
from ldae.files import read_table
from ldae.preprocess._ants import ants
from ldae.preprocess.affine import FIRST, TURNED, estimate, pyramid, register
from ldae.preprocess.brain_extraction import (
    ANTSXNET_FILES,
    brain_probability,
    build_extractor,
    clean_mask,
    run_brain_extraction,
)
from ldae.preprocess.field_of_view import head_box
from ldae.preprocess.image_io import TO_ITK, affine, read_head, write_image
from ldae.preprocess.n4 import correct_bias, run_n4
from ldae.preprocess.qc_bounds import MEASURES
from ldae.preprocess.qc_measures import affine_matrix, dice
from ldae.preprocess.registration import run_registration
from ldae.preprocess.resampling import antialias, crop_around, load_template, resample, target_grid
from ldae.preprocess.shard_runner import ScanRejected

N4 = {"shrink_factor": 8, "iterations": [50, 50, 50], "tolerance": 1e-5}


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
        (np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "colours"),
        (np.arange(64).reshape(4, 4, 4) * 1j, "complex"),
    ],
)
def test_constant_and_4d_images_are_rejected_with_a_reason(tmp_path, values, reason):
    path = save(values, np.eye(4), tmp_path / "x.nii.gz")
    with pytest.raises(ScanRejected, match=reason):
        read_head(path)


@pytest.mark.parametrize("codes", ["RAS", "ASL"])
def test_written_images_keep_affine_background_and_values(tmp_path, codes):
    values = np.random.default_rng(0).gamma(2, 300, (7, 9, 11)).astype(np.float32)
    values[:2] = 0
    tilt = np.array([[1, 0, 0, 4], [0, 1.9, -0.4, 5], [0, 0.5, 1.5, -6], [0, 0, 0, 1]])
    tilt[:, 2] -= tilt[:, 1] * (tilt[:, 1] @ tilt[:, 2]) / (tilt[:, 1] @ tilt[:, 1])
    stored = nib.Nifti1Image(values, tilt)
    turn = nib.orientations.ornt_transform(
        nib.io_orientation(tilt), nib.orientations.axcodes2ornt(codes)
    )
    stored = stored.as_reoriented(turn)
    nib.save(stored, tmp_path / "in.nii")
    image = ants.image_read(str(tmp_path / "in.nii"))
    assert np.allclose(affine(image), stored.affine, atol=1e-5)
    write_image(image, tmp_path / "out.nii.gz")
    write_image((image > 0).clone("unsigned char"), tmp_path / "mask.nii.gz")
    for again in (nib.load(tmp_path / "out.nii.gz"), nib.load(tmp_path / "mask.nii.gz")):
        assert np.allclose(again.affine, stored.affine, atol=1e-5)
    again = ants.image_read(str(tmp_path / "out.nii.gz"))
    assert np.abs(again.numpy() - image.numpy()).max() <= values.max() / 32767
    assert np.array_equal(again.numpy() == 0, image.numpy() == 0)
    mask = nib.load(tmp_path / "mask.nii.gz")
    assert mask.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(mask.dataobj), stored.get_fdata() > 0)


# --- brain masks ----------------------------------------------------------------------------


def test_brain_mask_keeps_largest_component_and_fills_holes():
    probability = np.zeros((20, 20, 20), np.float32)
    probability[4:16, 4:16, 4:16] = 0.9
    probability[9:11, 9:11, 9:11] = 0.1  # a hole
    probability[0:2, 0:2, 0:2] = 0.9  # an island
    mask = clean_mask(probability, 0.5)
    assert mask.sum() == 12**3
    assert mask[10, 10, 10]
    assert not mask[0, 0, 0]


@pytest.mark.parametrize("codes", ["RAS", "LPI", "ASL"])
def test_brain_in_much_air_and_above_a_neck_is_found(codes):
    head, brain, matrix = base("colin27")
    network = build_extractor({"method": "deepbet", "weights": None})

    def found(values: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        stored = nib.Nifti1Image(values.astype(np.float32), matrix)
        turn = nib.orientations.ornt_transform(
            nib.io_orientation(matrix), nib.orientations.axcodes2ornt(codes)
        )
        turned = stored.as_reoriented(turn)
        itk = TO_ITK @ turned.affine
        image = ants.from_numpy(
            np.ascontiguousarray(turned.get_fdata(dtype=np.float32)),
            origin=itk[:3, 3].tolist(),
            spacing=(SPACING,) * 3,
            direction=itk[:3, :3] / SPACING,
        )
        mask = clean_mask(brain_probability(network, image), 0.5)
        back = nib.Nifti1Image(mask.astype(np.uint8), turned.affine)
        turn = nib.orientations.ornt_transform(
            nib.io_orientation(turned.affine), nib.io_orientation(matrix)
        )
        return np.asarray(back.as_reoriented(turn).dataobj) > 0

    air = round(120 / SPACING)
    wide, true = np.pad(head, air), np.pad(brain, air)
    neck = np.zeros(head.shape[:2], bool)
    neck[head.shape[0] // 3 : -head.shape[0] // 3, head.shape[1] // 3 : -head.shape[1] // 3] = True
    wide[air:-air, air:-air, : air + 8][neck] = np.percentile(head[brain], 40)
    for values in (np.pad(head, air), wide):
        mask = found(values, matrix)
        assert 2 * (mask & true).sum() / (mask.sum() + true.sum()) > 0.95


def test_head_that_fills_its_field_is_not_cropped():
    head, *_ = base("colin27")
    assert head_box(ants.from_numpy(head, spacing=(SPACING,) * 3)) is None


def test_implausible_brain_masks_are_rejected():
    with pytest.raises(ScanRejected, match=r"empty \(highest probability 0.3\)"):
        clean_mask(np.full((9, 9, 9), 0.3, np.float32), 0.5)
    with pytest.raises(ScanRejected, match="covers 100% of the image's outer faces"):
        clean_mask(np.ones((9, 9, 9), np.float32), 0.5)


def test_missing_antsxnet_weights_are_named(tmp_path):
    (tmp_path / ANTSXNET_FILES[1]).touch()
    with pytest.raises(UserError) as caught:
        build_extractor({"method": "antspynet", "weights": tmp_path})
    for part in (*ANTSXNET_FILES, "the target `resources`", f"missing: {ANTSXNET_FILES[0]}"):
        assert part in str(caught.value)


def test_unknown_brain_extraction_method_is_named():
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
    found = estimate(moving, fixed, FIRST, str(tmp_path / "x"))
    determinant = np.linalg.det(affine_matrix(found)[:3, :3])
    assert determinant == pytest.approx(1.06**-3, rel=0.02)
    found = ants.read_transform(found)
    voxels = np.argwhere(mask.numpy() > 0)[::3000]
    points = [ants.transform_index_to_physical_point(fixed, tuple(map(int, v))) for v in voxels]
    errors = [
        np.linalg.norm(np.subtract(known.apply_to_point(found.apply_to_point(point)), point))
        for point in points
    ]
    assert max(errors) < SPACING


def test_registration_recovers_an_upside_down_head_from_second_start(template, tmp_path):
    """Rotated by 180 degrees about the left-right axis, which centres of mass cannot detect."""
    target = load_template(template, 6.0, 4.0)
    head, inside, affine = base("myconnectome")
    turned = np.diag([1.0, -1.0, -1.0, 1.0]) @ affine
    brain, mask = (
        ants.image_read(str(save(values.astype(np.float32), turned, tmp_path / name)))
        for name, values in (("brain.nii", head * inside), ("mask.nii", inside))
    )
    cfg = {"type": "Affine", "retry_below": 0.9}
    found = register(*crop_around(mask, 12, brain, mask), target, cfg, tmp_path)
    assert [attempt["start"] for attempt in found.attempts][::2] == [FIRST, TURNED]
    assert found.attempts[0]["dice"] < 0.9 < found.attempts[-1]["dice"]
    assert found.attempts[-1]["ncc"] > found.attempts[0]["ncc"] + 0.2
    assert found.transforms == [found.affine] == [f"{tmp_path}/20GenericAffine.mat"]


def test_registration_pyramid_omits_levels_that_are_too_coarse():
    assert pyramid(2.0)["aff_shrink_factors"] == (6, 4, 2, 1)
    assert pyramid(3.0)["aff_shrink_factors"] == (4, 2, 1)
    assert pyramid(20.0)["aff_shrink_factors"] == (1,)
    assert len({len(levels) for levels in pyramid(3.0).values()}) == 1


@pytest.mark.parametrize("interpolation", ["linear", "bspline"])
def test_resampling_has_no_negatives_and_a_clean_background(colin, interpolation):
    head, mask = colin
    grid = target_grid(head, 2.0)
    moved = resample(head * mask, grid, [], interpolation, prefilter=False)
    raw = ants.apply_transforms(grid, head * mask, [], interpolator="bSpline").numpy()
    assert raw.min() < -1  # without clipping there are negatives
    assert moved.shape == grid.shape
    assert moved.numpy().min() == 0
    assert (moved.numpy()[:, :, :5] == 0).all()
    assert moved.numpy().max() > 0.9 * (head * mask).numpy().max()


def test_antialias_widens_native_fwhm_to_target_fwhm():
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


# --- all steps ------------------------------------------------------------------------------


class Pipeline:
    """All steps with deepbet, on a real head (oblique, in other axes) and on a broken file."""

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
            "n4": {**N4, "mask": "none"},
            "brain_extraction": {"method": "deepbet", "threshold": 0.5, "weights": "unused"},
            "registration": {"type": "Affine", "estimate_spacing": 4.0, "retry_below": 0.85},
            "qc": {key: None for measure in MEASURES for key in measure.bounds},
        }
        self.volumes = {"spacing": 4.0, "interpolation": "bspline", "antialias": True}

    def run(self, out: Path, cfg: dict | None = None) -> list[pd.DataFrame]:
        """Manifests of N4, brain extraction and registration."""
        cfg = cfg or self.cfg
        n4, brain, registration = (
            out / "manifests" / step / "shard-0.tsv" for step in ("n4", "brain", "registration")
        )
        common = self.scans, self.folder / "bids", out
        if cfg["n4"]["mask"] == "brain":
            run_brain_extraction(*common, brain, cfg)
            run_n4(*common, n4, cfg, earlier=brain)
            last = n4
        else:
            run_n4(*common, n4, cfg)
            run_brain_extraction(*common, brain, cfg, earlier=n4)
            last = brain
        run_registration(self.scans, out, registration, cfg, self.volumes, earlier=last)
        return [read_table(path) for path in (n4, brain, registration)]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory, template):
    made = Pipeline(tmp_path_factory.mktemp("pipeline"), template)
    made.out = made.folder / "preproc"
    made.tables = made.run(made.out)
    (made.files,) = scan_files(made.scans[:1], made.out, "Test")
    return made


def test_manifests_record_the_good_and_the_broken_scan(pipeline):
    n4, brain, registration = pipeline.tables
    assert list(n4["status"]) == ["ok", "failed"]
    assert n4["reason"][1].count("\n") == 0 and n4["reason"][1]
    assert list(brain["status"]) == list(registration["status"]) == ["ok", "skipped"]
    assert registration["reason"][1].startswith("failed in n4: ")


def test_brain_mask_matches_the_truth_on_the_native_grid(pipeline):
    files = pipeline.files
    mask, head, brain = (nib.load(path) for path in (files.mask, files.n4, files.brain))
    assert mask.get_data_dtype() == np.uint8
    assert np.allclose(mask.affine, head.affine) and np.allclose(brain.affine, head.affine)
    truth = nib.apply_orientation(pipeline.brain, pipeline.turn)
    assert dice(mask.get_fdata(), truth) > 0.92
    step = head.get_fdata().max() / 32767
    difference = brain.get_fdata() - head.get_fdata() * mask.get_fdata()
    assert np.abs(difference).max() <= 1.01 * step


def test_registered_brain_is_the_native_brain_interpolated_once(pipeline, template):
    files = pipeline.files
    grid = target_grid(ants.image_read(template["image"]), 4.0)
    moved = ants.image_read(str(files.registered_brain))
    assert (moved.shape, moved.spacing) == (grid.shape, grid.spacing)
    assert np.allclose(moved.origin, grid.origin)
    once = resample(
        ants.image_read(str(files.brain)), grid, [str(files.transform)], "bspline", prefilter=True
    )
    assert np.allclose(moved.numpy(), once.numpy(), atol=1e-3 * once.numpy().max())
    measures = json.loads(files.measures.read_text())
    assert measures["scan_id"] == "sub-A_ses-M000"
    assert measures["dice"] > 0.9 and measures["ncc"] > 0.5
    assert [attempt["start"] for attempt in measures["attempts"]] == [FIRST]
    keys = {measure.key for measure in MEASURES}
    assert set(measures) == {"scan_id", "attempts", "picture", *keys}
    assert measures["brain_ml"] == pytest.approx(pipeline.brain.sum() * 0.027, rel=0.1)
    assert Image.open(files.picture).size == (1400, 1200)


def test_preprocessing_is_reproducible_byte_for_byte(pipeline, tmp_path):
    pipeline.run(tmp_path)
    files = [path for path in sorted(pipeline.files.folder.iterdir()) if path.name[0] != "."]
    assert len(files) == 8
    for path in files:
        assert path.read_bytes() == (tmp_path / path.relative_to(pipeline.out)).read_bytes(), path


def test_changed_qc_bounds_apply_without_running_steps_again(pipeline, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in pipeline.files.folder.iterdir()}
    bounds = {**pipeline.cfg["qc"], "min_dice": 0.999}
    monkeypatch.setitem(pipeline.cfg, "qc", bounds)
    registration = pipeline.run(pipeline.out)[2]
    assert registration["status"][0] == "qc"
    assert "dice" in registration["reason"][0] and "min_dice 0.999" in registration["reason"][0]
    assert before == {path: path.stat().st_mtime_ns for path in pipeline.files.folder.iterdir()}


def test_invalid_preprocessing_settings_are_named(pipeline, monkeypatch, tmp_path):
    manifest = pipeline.out / "manifests" / "brain" / "shard-0.tsv"

    def run(cfg, volumes):
        run_registration(pipeline.scans, tmp_path, tmp_path / "m.tsv", cfg, volumes, manifest)

    wrong = {**pipeline.cfg, "registration": {"type": "affine", "estimate_spacing": 4.0}}
    with pytest.raises(UserError, match=r"preprocess\.registration\.type is 'affine'; allowed"):
        run(wrong, pipeline.volumes)
    with pytest.raises(UserError, match=r"volumes\.interpolation is 'cubic'"):
        run(pipeline.cfg, {**pipeline.volumes, "interpolation": "cubic"})
    missing = {**pipeline.cfg["template"], "mask": "nowhere/mask.nii.gz"}
    with pytest.raises(UserError, match=r"nowhere/mask\.nii\.gz \(preprocess\.template\.mask\)"):
        run({**pipeline.cfg, "template": missing}, pipeline.volumes)
    soft = {**pipeline.cfg, "brain_extraction": {"method": "deepbet", "threshold": None}}
    with pytest.raises(UserError, match=r"soft mask.* needs preprocess\.n4\.mask: none"):
        run_brain_extraction(
            pipeline.scans, tmp_path, tmp_path, manifest, {**soft, "n4": {"mask": "brain"}}
        )


def test_brain_extraction_may_precede_n4(pipeline, tmp_path):
    n4, brain, registration = pipeline.run(
        tmp_path, {**pipeline.cfg, "n4": {**N4, "mask": "brain"}}
    )
    assert list(brain["status"]) == ["ok", "failed"]
    assert list(n4["status"]) == list(registration["status"]) == ["ok", "skipped"]
    assert n4["reason"][1].startswith("failed in brain: ")
    (files,) = scan_files(pipeline.scans[:1], tmp_path, "Test")
    head, mask, corrected = (
        nib.load(path).get_fdata() for path in (files.n4, files.mask, files.brain)
    )
    assert dice(mask, nib.load(pipeline.files.mask).get_fdata()) > 0.97
    assert np.abs(corrected - head * mask).max() <= 1.01 * head.max() / 32767
    assert np.array_equal(mask > 0, corrected > 0)
    names = {path.name for path in pipeline.files.folder.iterdir()}
    assert names == {path.name for path in files.folder.iterdir()}


@pytest.mark.slow
def test_antspynet_extraction_runs_from_local_weights(pipeline, tmp_path):
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

    head = ants.image_read(str(pipeline.files.n4))
    probability = build_extractor(settings).probability(head)
    head = head.numpy()
    assert probability.shape == head.shape
    assert 0 <= probability.min() < probability.max() <= 1
    assert np.corrcoef(probability.ravel(), head.ravel())[0, 1] > 0.5
