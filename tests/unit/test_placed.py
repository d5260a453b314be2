"""Scans that came preprocessed: what is taken of a folder, what is refused, where they end."""

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


def put(path, array, affine):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array.astype(np.float32), affine), path)


class Folder:
    """A preprocessed cohort; ``add`` names scans as subject and session."""

    def __init__(self, root):
        self.root = root / "scans"
        self.rows = []
        template = {name: root / f"{name}.nii.gz" for name in ("image", "mask")}
        array, inside = brain(*grid(2.0), seed=99)
        put(template["image"], array, grid(2.0)[1])
        put(template["mask"], inside, grid(2.0)[1])
        self.cfg = {
            "template": {"name": SPACE} | {key: str(path) for key, path in template.items()},
            "qc": BOUNDS | {"min_dice": 0.8},
        }
        self.out = root / "run"

    def path(self, subject, session, suffix="T1w", space=SPACE):
        name = f"sub-{subject}_ses-{session}_space-{space}_desc-brain_{suffix}.nii.gz"
        return self.root / f"sub-{subject}/ses-{session}/anat" / name

    def add(self, subject, session, array, affine, mask=None, **about):
        put(self.path(subject, session), array, affine)
        if mask is not None:
            put(self.path(subject, session, "mask"), mask, affine)
        row = {"participant_id": f"sub-{subject}", "session_id": f"ses-{session}"}
        self.rows.append(row | {"age": 70, "diagnosis": "CN", "sex": "F"} | about)

    def take(self, **settings):
        """Import and place; returns conversion table and manifest by scan."""
        pd.DataFrame(self.rows).to_csv(self.root / "sessions.tsv", sep="\t", index=False)
        settings = {"columns": {}, "values": {}, "space": SPACE} | settings
        conversion = import_bids(
            self.root, "MINE", **settings, part_dir=self.out / "part",
            conversion=self.out / "conversion.tsv",
        )  # fmt: skip
        good = conversion.loc[conversion["status"] == "converted", "scan_id"]
        bids = self.out / "part/bids"
        self.scans = pd.DataFrame(
            {
                "scan_id": scan,
                "participant_id": scan.split("_")[0],
                "session_id": scan.split("_")[1],
                "path": f"{scan.replace('_', '/')}/anat/{scan}_T1w.nii.gz",
            }
            for scan in good
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
def folder(tmp_path):
    return Folder(tmp_path)


def test_a_scan_on_any_grid_comes_to_the_same_place_on_the_target_grid(folder):
    """Finer, coarser or with turned axes: brain and mask end on the template's grid, alike."""
    for name, made in (
        ("A", grid(2.0)), ("B", grid(2.0, turn=(-1, 1, -1))), ("C", grid(4.0, edge=136.0)),
    ):  # fmt: skip
        array, _ = brain(*made, seed=1)
        folder.add(name, "M000", array, made[1])
    _, manifest = folder.take()
    assert (manifest["status"] == "ok").all()
    volume = brain(*grid(2.0))[1].sum() * 2.0**3 / 1000
    images = {}
    for scan in manifest.index:
        files = folder.files(scan)
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


def test_a_scan_on_the_target_grid_keeps_its_values(folder):
    shape, affine = grid(4.0)
    array, _ = brain(shape, affine)
    folder.add("A", "M000", array, affine)
    folder.take()
    stored = nib.load(folder.files("sub-A_ses-M000").registered_brain).get_fdata()
    assert np.allclose(np.sort(stored.ravel()), np.sort(array.ravel()), atol=1e-3)


def test_each_unusable_scan_fails_alone_with_its_reason(folder):
    shape, affine = grid(4.0)
    array, inside = brain(shape, affine)
    scores = np.where(inside, (array - 70) / 20, 0)
    far = grid(4.0, shift=(0, 60, 0))[1]
    folder.add("good", "M000", array, affine)
    folder.add("far", "M000", array, far)
    folder.add("empty", "M000", array * ~inside + ~inside * np.arange(30), affine, mask=inside)
    folder.add("nomask", "M000", array, affine, mask=0 * inside)
    folder.add("head", "M000", array + 1, affine)
    folder.add("scores", "M000", scores, affine)
    folder.add("small", "M000", array * (np.indices(shape).sum(0) < 45), affine)
    folder.add("nan", "M000", np.where(inside, array, np.nan), affine)
    put(folder.path("other", "M000", "mask"), inside[1:], affine)
    folder.add("other", "M000", array, affine)
    conversion, manifest = folder.take()
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
    nan = conversion.loc[str(folder.path("nan", "M000").relative_to(folder.root))]
    assert nan["status"] == "failed"
    assert "not finite" in nan["reason"]


def test_a_mask_of_its_own_strips_the_head(folder):
    shape, affine = grid(4.0)
    array, inside = brain(shape, affine)
    folder.add("A", "M000", array + 30, affine, mask=inside)
    _, manifest = folder.take()
    assert manifest["status"].tolist() == ["ok"]
    stored = nib.load(folder.files("sub-A_ses-M000").registered_brain).get_fdata()
    assert (stored > 0).sum() == inside.sum()


def test_tables_are_mapped_as_those_of_a_raw_data_set(folder):
    shape, affine = grid(4.0)
    array, _ = brain(shape, affine)
    folder.add("A", "M012", array, affine, diagnosis="NC", sex="2")
    folder.take(values={"diagnosis": {"NC": "CN"}, "sex": {2: "F"}})
    sessions = read_table(folder.out / "part/bids/sub-A/sub-A_sessions.tsv")
    assert sessions.loc[0, ["months", "diagnosis", "age"]].tolist() == [12, "CN", 70]
    with pytest.raises(UserError, match=r"diagnosis: 'NC'.*set cohort\.values\.diagnosis"):
        folder.take(values={"sex": {2: "F"}})
    with pytest.raises(UserError, match=r"cohort\.columns\.age: the data set .* no column 'years'"):
        folder.take(columns={"age": "years"}, values={"diagnosis": {"NC": "CN"}, "sex": {2: "F"}})


def test_another_space_is_named_with_the_remedy(folder):
    shape, affine = grid(4.0)
    put(folder.path("A", "M000", space="Other"), brain(shape, affine)[0], affine)
    message = r"cohort\.preprocessed_dir: .*space-Test_desc-brain.*space\(s\) Other\..*template"
    with pytest.raises(UserError, match=message):
        folder.take()
