"""Preprocessed input: import of brains in template space, checks, the target grid."""

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage as ndi

from ldae.conversion.import_bids import import_bids
from ldae.derivatives import scan_files
from ldae.errors import UserError
from ldae.files import read_json, read_table
from ldae.preprocess.preprocessed_input import run_preprocessed_input

SPACE = "Test"
BOUNDS = dict.fromkeys(
    (
        "min_dice", "min_ncc", "min_brain_ml", "max_brain_ml", "min_determinant",
        "max_determinant", "min_snr", "min_cnr", "max_residual_bias", "max_fov_cut", "max_border",
        "min_asymmetry",
    )
)  # fmt: skip
VOLUMES = {"spacing": 4.0, "interpolation": "bspline", "antialias": True}


def grid(spacing, turn=(1, 1, 1), shift=(0, 0, 0), edge=120.0):
    """Shape and affine of a cube about the origin, whose axes may run backwards."""
    shape = (int(edge / spacing),) * 3
    affine = np.diag([*(spacing * np.array(turn)), 1.0])
    affine[:3, 3] = shift - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return shape, affine


def brain(shape, affine, seed=0):
    """A lopsided ball of 40 mm with grey and white matter, a dark middle and noise."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    x, y, z = np.moveaxis(index @ affine[:3, :3].T + affine[:3, 3], -1, 0)
    r = np.sqrt(x**2 + (y / 1.2) ** 2 + (z + 0.3 * np.abs(x)) ** 2)
    values = np.select([r < 10, r < 28, r < 40], [25.0, 100.0, 65.0]) * (1 + 0.002 * y)
    noise = np.random.default_rng(seed).normal(0, 2, shape)
    inside = r < 40
    return (ndi.gaussian_filter(values, 0.7) + noise).clip(1) * inside, inside


def save_image(path, array, affine):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array.astype(np.float32), affine), path)


class PreprocessedCohort:
    """A preprocessed cohort; ``add`` names scans as subject and session."""

    def __init__(self, root):
        self.root = root / "scans"
        self.rows = []
        template = {name: root / f"{name}.nii.gz" for name in ("image", "mask")}
        array, inside = brain(*grid(2.0), seed=99)
        save_image(template["image"], array, grid(2.0)[1])
        save_image(template["mask"], inside, grid(2.0)[1])
        self.cfg = {
            "template": {"name": SPACE} | {key: str(path) for key, path in template.items()},
            "qc": BOUNDS | {"min_dice": 0.8},
        }
        self.out = root / "run"

    def path(self, subject, session, suffix="T1w", space=SPACE):
        name = f"sub-{subject}_ses-{session}_space-{space}_desc-brain_{suffix}.nii.gz"
        return self.root / f"sub-{subject}/ses-{session}/anat" / name

    def add(self, subject, session, array, affine, mask=None, **columns):
        save_image(self.path(subject, session), array, affine)
        if mask is not None:
            save_image(self.path(subject, session, "mask"), mask, affine)
        row = {"participant_id": f"sub-{subject}", "session_id": f"ses-{session}"}
        self.rows.append(row | {"age": 70, "diagnosis": "CN", "sex": "F"} | columns)

    def run(self, **settings):
        """Import the scans and run the step; returns conversion table and manifest by scan."""
        pd.DataFrame(self.rows).to_csv(self.root / "sessions.tsv", sep="\t", index=False)
        settings = {"columns": {}, "values": {}, "space": SPACE} | settings
        conversion = import_bids(
            self.root, "MINE", **settings, part_dir=self.out / "part",
            conversion=self.out / "conversion.tsv",
        )  # fmt: skip
        converted = conversion.loc[conversion["status"] == "converted", "scan_id"]
        bids = self.out / "part/bids"
        self.scans = pd.DataFrame(
            {
                "scan_id": scan,
                "participant_id": scan.split("_")[0],
                "session_id": scan.split("_")[1],
                "path": f"{scan.replace('_', '/')}/anat/{scan}_T1w.nii.gz",
            }
            for scan in converted
        )
        manifest = self.out / "preproc/manifests/registration/shard-0.tsv"
        run_preprocessed_input(self.scans, bids, self.out / "preproc", manifest, self.cfg, VOLUMES)
        table = read_table(manifest).set_index("scan_id").fillna("")
        return conversion.set_index("path"), table

    def files(self, scan):
        return next(
            f for f in scan_files(self.scans, self.out / "preproc", SPACE) if f.scan_id == scan
        )


@pytest.fixture
def cohort(tmp_path):
    return PreprocessedCohort(tmp_path)


def test_preprocessed_scans_on_any_grid_are_put_on_target_grid(cohort):
    """The grids are finer, coarser, or have reversed axes; the brains must agree afterwards."""
    for name, own_grid in (
        ("A", grid(2.0)), ("B", grid(2.0, turn=(-1, 1, -1))), ("C", grid(4.0, edge=136.0)),
    ):  # fmt: skip
        array, _ = brain(*own_grid, seed=1)
        cohort.add(name, "M000", array, own_grid[1])
    _, manifest = cohort.run()
    assert (manifest["status"] == "ok").all()
    volume = brain(*grid(2.0))[1].sum() * 2.0**3 / 1000
    images = {}
    for scan in manifest.index:
        files = cohort.files(scan)
        images[scan] = nib.load(files.registered_brain)
        measures = read_json(files.measures)
        assert measures["dice"] > 0.93
        assert measures["brain_ml"] == pytest.approx(volume, rel=0.03)
        assert "affine_determinant" not in measures
        assert files.picture.is_file()
    first = images["sub-A_ses-M000"]
    assert np.allclose(np.abs(np.diag(first.affine)[:3]), 4.0)
    for image in images.values():
        assert image.shape == first.shape
        assert np.allclose(image.affine, first.affine)
    a, b, c = (image.get_fdata() for image in images.values())
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.99
    assert np.corrcoef(a.ravel(), c.ravel())[0, 1] > 0.95


def test_preprocessed_scan_on_target_grid_keeps_its_values(cohort):
    shape, affine = grid(4.0)
    array, _ = brain(shape, affine)
    cohort.add("A", "M000", array, affine)
    cohort.run()
    stored = nib.load(cohort.files("sub-A_ses-M000").registered_brain).get_fdata()
    assert np.allclose(np.sort(stored.ravel()), np.sort(array.ravel()), atol=1e-3)


def test_preprocessed_input_fails_each_bad_scan_alone_with_reason(cohort):
    shape, affine = grid(4.0)
    array, inside = brain(shape, affine)
    scores = np.where(inside, (array - 70) / 20, 0)
    far = grid(4.0, shift=(0, 60, 0))[1]
    cohort.add("good", "M000", array, affine)
    cohort.add("far", "M000", array, far)
    cohort.add("empty", "M000", array * ~inside + ~inside * np.arange(30), affine, mask=inside)
    cohort.add("nomask", "M000", array, affine, mask=0 * inside)
    cohort.add("head", "M000", array + 1, affine)
    cohort.add("scores", "M000", scores, affine)
    cohort.add("small", "M000", array * (np.indices(shape).sum(0) < 45), affine)
    cohort.add("nan", "M000", np.where(inside, array, np.nan), affine)
    save_image(cohort.path("other", "M000", "mask"), inside[1:], affine)
    cohort.add("other", "M000", array, affine)
    conversion, manifest = cohort.run()
    reasons = {scan.split("_")[0][4:]: reason for scan, reason in manifest["reason"].items()}
    assert not reasons["good"]
    assert "60 mm from the template's" in reasons["far"]
    assert "all its voxels are zero" in reasons["empty"]
    assert "the brain mask is empty" in reasons["nomask"]
    assert "not skull-stripped" in reasons["head"]
    assert "z-scores" in reasons["scores"]
    assert reasons["small"].startswith("QC: dice")
    assert "on another grid" in reasons["other"]
    assert manifest.loc["sub-small_ses-M000", "status"] == "qc"
    nan = conversion.loc[str(cohort.path("nan", "M000").relative_to(cohort.root))]
    assert nan["status"] == "failed"
    assert "not finite" in nan["reason"]


def test_preprocessed_input_strips_head_by_its_own_mask(cohort):
    shape, affine = grid(4.0)
    array, inside = brain(shape, affine)
    cohort.add("A", "M000", array + 30, affine, mask=inside)
    _, manifest = cohort.run()
    assert manifest["status"].tolist() == ["ok"]
    stored = nib.load(cohort.files("sub-A_ses-M000").registered_brain).get_fdata()
    assert (stored > 0).sum() == inside.sum()


def test_preprocessed_input_maps_columns_and_values(cohort):
    shape, affine = grid(4.0)
    array, _ = brain(shape, affine)
    cohort.add("A", "M012", array, affine, diagnosis="NC", sex="2")
    cohort.run(values={"diagnosis": {"NC": "CN"}, "sex": {2: "F"}})
    sessions = read_table(cohort.out / "part/bids/sub-A/sub-A_sessions.tsv")
    assert sessions.loc[0, ["months", "diagnosis", "age"]].tolist() == [12, "CN", 70]
    with pytest.raises(UserError, match=r"diagnosis: 'NC'.*set cohort\.values\.diagnosis"):
        cohort.run(values={"sex": {2: "F"}})
    with pytest.raises(UserError, match=r"cohort\.columns\.age: the data set .* no column 'years'"):
        cohort.run(columns={"age": "years"}, values={"diagnosis": {"NC": "CN"}, "sex": {2: "F"}})


def test_preprocessed_input_in_another_space_is_refused_with_remedy(cohort):
    shape, affine = grid(4.0)
    save_image(cohort.path("A", "M000", space="Other"), brain(shape, affine)[0], affine)
    message = r"cohort\.preprocessed_dir: .*space-Test_desc-brain.*space\(s\) Other\..*template"
    with pytest.raises(UserError, match=message):
        cohort.run()
