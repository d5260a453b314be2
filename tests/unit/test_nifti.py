"""Heads as every library should see them: integers of all kinds, geometry, intensities below 0."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from helpers.heads import base, save
from ldae.conversion.bids import inspect_image
from ldae.conversion.image_checks import nifti_fault
from ldae.data.volume_transform import StoreTransform
from ldae.errors import UserError
from ldae.nifti import corners, without_shear
from ldae.preprocess._ants import ants
from ldae.preprocess.image_io import affine, read_head, read_mask, read_scan
from ldae.preprocess.shard_runner import ScanRejected

SHAPE = (24, 28, 26)
LAS = np.diag([-1.0, 1.1, 1.2, 1.0])
VALUES = np.random.default_rng(0).integers(20, 900, SHAPE)
NOISE = np.random.default_rng(1).uniform(-0.5, 0.5, base("myconnectome")[0].shape)  # of MP2RAGE


def with_matrices(path: Path, qform=None, sform=None, codes=(1, 1), values=VALUES) -> Path:
    """Write an image with the matrices (4, 4) given; a matrix of None has the code 0."""
    image = nib.Nifti1Image(values.astype("i2"), None)
    image.header.set_qform(qform, 0 if qform is None else codes[0])
    image.header.set_sform(sform, 0 if sform is None else codes[1])
    if sform is None and qform is None:  # nibabel itself never writes this
        image.header["magic"], image.header["vox_offset"] = b"n+1", 352
        content = image.header.binaryblock + bytes(4) + values.astype("<i2").tobytes(order="F")
        path.write_bytes(gzip.compress(content))
        return path
    nib.Nifti1Image(values.astype("i2"), None, image.header).to_filename(path)
    return path


@pytest.mark.parametrize("kind", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_numbers_of_every_kind_are_read_as_they_are(tmp_path, kind):
    values = VALUES // 8 if kind.endswith("1") else VALUES
    if kind[0] in "if":
        values = values - 40  # ANTs wraps negative integers
    path = tmp_path / "x.nii.gz"
    nib.save(nib.Nifti1Image(values.astype(kind), LAS, dtype=np.dtype(kind)), path)
    assert nifti_fault(path) is None and inspect_image(path)[0] is None
    image = read_scan(path)
    np.testing.assert_array_equal(image.numpy(), values)
    np.testing.assert_allclose(affine(image), LAS, atol=1e-5)


def test_image_that_itk_reads_alike_is_itks_own_bit_for_bit(tmp_path):
    head, _, matrix = base("colin27")
    path = save(head.astype("i2"), matrix, tmp_path / "head.nii.gz")
    ours, itks = read_head(path), ants.image_read(str(path))
    np.testing.assert_array_equal(ours.numpy(), itks.numpy())
    assert (ours.origin, ours.spacing) == (itks.origin, itks.spacing)
    np.testing.assert_array_equal(ours.direction, itks.direction)


def every_door(path: Path) -> list[str]:
    """What each entry point says of a file: download, BIDS, preprocessing, command line."""
    said = [nifti_fault(path), inspect_image(path)[0]]
    for read, error in (
        (read_head, ScanRejected),
        (StoreTransform(2.0, [8, 8, 8], "linear"), UserError),
    ):
        try:
            read(path)
            said.append(None)
        except error as caught:
            said.append(str(caught))
    return said


@pytest.mark.parametrize(
    ("qform", "sform", "sentence"),
    [
        (None, None, "does not say how the head lies"),
        (LAS, np.diag([1.0, 1.1, 1.2, 1.0]), "differ in which side is left"),
        (None, LAS + np.array([[0, 0.3, 0, 0]] + [[0] * 4] * 3), "a shear of 0.26"),
        (None, np.diag([1.0, 0.0, 1.0, 1.0]), "singular"),
    ],
)
def test_headers_of_unknown_side_are_refused_alike_everywhere(tmp_path, qform, sform, sentence):
    said = every_door(with_matrices(tmp_path / "x.nii.gz", qform, sform))
    assert all(sentence in str(text) for text in said), said


def test_sform_is_taken_where_both_matrices_are_set(tmp_path):
    """As nibabel does, whatever the codes; ITK takes the qform for some of them."""
    moved = LAS.copy()
    moved[:3, 3] = (7, -5, 3)
    for codes in ((1, 1), (1, 2), (1, 4), (4, 2)):
        path = with_matrices(tmp_path / "x.nii.gz", LAS, moved, codes)
        assert every_door(path) == [None] * 4
        np.testing.assert_allclose(affine(read_scan(path)), moved, atol=1e-5)


def test_quaternion_that_is_none_is_not_read_where_the_sform_is_taken(tmp_path):
    path = with_matrices(tmp_path / "x.nii", LAS, LAS)
    content = bytearray(path.read_bytes())
    content[256:268] = np.array([1.0003, 0, 0], "<f4").tobytes()  # quatern_b, c, d
    path.write_bytes(content)
    assert every_door(path) == [None] * 4
    np.testing.assert_allclose(affine(read_scan(path)), LAS, atol=1e-5)


def test_mask_follows_the_rule_of_its_scan(tmp_path):
    moved = LAS.copy()
    moved[:3, 3] = (20, 0, 0)
    inside = (VALUES > 400).astype("i2")
    for codes in ((1, 2), (1, 4), (4, 4)):
        scan = read_scan(with_matrices(tmp_path / "x.nii.gz", LAS, moved, codes))
        mask = with_matrices(tmp_path / "m.nii.gz", LAS, moved, codes, values=inside)
        np.testing.assert_array_equal(read_mask(mask, scan), inside > 0)
        apart = with_matrices(tmp_path / "m.nii.gz", LAS, None, codes, values=inside)
        with pytest.raises(ScanRejected, match="another grid"):
            read_mask(apart, scan)


def test_trailing_axis_of_length_1_is_dropped(tmp_path):
    path = tmp_path / "x.nii.gz"
    nib.save(nib.Nifti1Image(VALUES.astype("i2")[..., None], LAS), path)
    np.testing.assert_array_equal(read_head(path).numpy(), VALUES)


def test_slight_shear_is_replaced_by_the_nearest_rotation(tmp_path, caplog):
    sheared = np.array([[-1, 0.01, 0, 12], [0, 1, 0.02, -14], [0, 0, 1, -13], [0, 0, 0, 1.0]])
    path = with_matrices(tmp_path / "x.nii.gz", None, sheared)
    assert every_door(path) == [None] * 4
    found = affine(read_head(path))
    assert "a shear of 0.020 is ignored" in caplog.text
    np.testing.assert_allclose(found, without_shear(sheared, SHAPE), atol=1e-4)
    assert np.abs(corners(found, SHAPE) - corners(sheared, SHAPE)).max() < 0.3  # mm
    np.testing.assert_array_equal(read_head(path).numpy(), VALUES)


def test_scaling_that_is_no_number_has_its_own_reason(tmp_path):
    path = with_matrices(tmp_path / "x.nii", None, LAS)
    content = bytearray(path.read_bytes())
    content[112:120] = np.array([2, np.nan], "<f4").tobytes()  # scl_slope, scl_inter
    path.write_bytes(content)
    assert "scl_slope" in nifti_fault(path) and "scl_slope" in inspect_image(path)[0]


@pytest.mark.parametrize(
    ("scaled", "zero"),
    [
        (lambda head: (head - head.mean()) / head.std(), "background"),
        (lambda head: head - 1024, "background"),
        (lambda head: np.where(head > 0, head / head.max() - 0.5, NOISE), "lowest"),
    ],
)
def test_heads_below_zero_are_shifted(tmp_path, scaled, zero):
    head, brain, matrix = base("myconnectome")
    head = head.astype(np.float64)
    values = scaled(head).astype(np.float32)
    shifted = read_head(save(values, matrix, tmp_path / "x.nii.gz")).numpy()
    low = np.median(values[0]) if zero == "background" else values.min()
    np.testing.assert_allclose(shifted, np.maximum(values - low, 0), rtol=1e-5, atol=1e-3)
    assert shifted.min() == 0
    assert np.corrcoef(shifted[brain], head[brain])[0, 1] > 0.999


def test_ringing_below_zero_stays(tmp_path):
    head, _, matrix = base("myconnectome")
    values = head.astype(np.float32)
    values[::9, ::9, ::9] = -2
    path = save(values, matrix, tmp_path / "x.nii.gz")
    np.testing.assert_array_equal(read_head(path).numpy(), values)
