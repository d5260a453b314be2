"""`python -m ldae` on tiny random models."""

import json

import nibabel as nib
import numpy as np
import pytest
from small_models import CFG, SHAPE, SPACING, make_project

from ldae.__main__ import main
from ldae.application.bundle import write_bundle
from ldae.data.embeddings import load_embeddings
from ldae.data.volume_store import VolumeStore
from ldae.errors import UserError
from ldae.evaluation.direction import Direction
from ldae.evaluation.probes import evaluate_probes
from ldae.files import read_json, write_json


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folder of models with the application beside them, and one preprocessed scan as NIfTI."""
    root = make_project(tmp_path_factory.mktemp("application"))
    names = ("ldae", "untrained")
    out = root / "probes"
    evaluate_probes(
        {name: root / f"{name}.npz" for name in names},
        root / "latents",
        out,
        out / "probes.tsv",
        out / "differences.tsv",
        CFG,
        0,
    )
    settings = {
        "preprocess": {},
        "volumes": {"spacing": SPACING, "shape": list(SHAPE), "interpolation": "linear"},
        "guidance": "c_t",
        "ddim_steps": 2,
        "mode": "normalised",
    }
    write_bundle(
        root / "application",
        {stage: root / stage for stage in ("autoencoder", "ldm", "ldae")},
        out / "classifier.npz",
        out / "age_regressor.npz",
        settings,
    )
    store = VolumeStore(root / "volumes")
    for row, name in ((0, "first"), (1, "second")):
        image = nib.Nifti1Image(store.volume(row)[0].numpy(), store.affine)
        nib.save(image, root / f"{name}.nii.gz")
    return root


def run(models, capsys, command: str, *arguments) -> dict:
    """Run a command and return what it printed."""
    assert main([command, "--models", str(models), *map(str, arguments)]) == 0
    return json.loads(capsys.readouterr().out)


def test_encode_gives_the_stored_scans_code(models, capsys, tmp_path):
    out = tmp_path / "y.npz"
    run(models, capsys, "encode", models / "first.nii.gz", models / "second.nii.gz", "--out", out)
    names, y_sem = load_embeddings(out)
    assert names == ["first", "second"]
    again = tmp_path / "again.npz"
    run(models, capsys, "encode", models / "second.nii.gz", "--out", again)
    np.testing.assert_allclose(load_embeddings(again)[1][0], y_sem[1], rtol=1e-4, atol=1e-5)
    assert not np.allclose(y_sem[0], y_sem[1])


def test_reconstruct_keeps_grid_and_range(models, capsys, tmp_path):
    out = tmp_path / "reconstruction.nii.gz"
    printed = run(models, capsys, "reconstruct", models / "first.nii.gz", "--out", out)
    image = nib.load(out)
    assert image.shape == SHAPE
    np.testing.assert_allclose(image.affine, VolumeStore(models / "volumes").affine)
    assert 0 <= image.get_fdata().min() <= image.get_fdata().max() <= 1
    assert -1 <= printed["ssim"] <= 1


def test_manipulation_by_nothing_is_the_reconstruction(models, capsys, tmp_path):
    plain, moved, far = (tmp_path / f"{name}.nii.gz" for name in ("plain", "moved", "far"))
    scan = models / "first.nii.gz"
    run(models, capsys, "reconstruct", scan, "--out", plain)
    run(models, capsys, "manipulate", scan, "--alpha", 0, "--out", moved)
    printed = run(models, capsys, "manipulate", scan, "--alpha", 3, "--out", far)
    voxels = [nib.load(path).get_fdata() for path in (plain, moved, far)]
    np.testing.assert_allclose(voxels[0], voxels[1], atol=1e-5)
    assert np.abs(voxels[2] - voxels[0]).max() > 1e-4
    assert set(printed) == {"written", "logit_before", "logit_after"}


def test_interpolation_ends_at_its_ends(models, capsys, tmp_path):
    pair = [models / f"{name}.nii.gz" for name in ("first", "second")]
    for scan, position in zip(pair, (0, 1), strict=True):
        end, plain = tmp_path / "end.nii.gz", tmp_path / "plain.nii.gz"
        run(models, capsys, "interpolate", *pair, "--position", position, "--out", end)
        run(models, capsys, "reconstruct", scan, "--out", plain)
        np.testing.assert_allclose(
            nib.load(end).get_fdata(), nib.load(plain).get_fdata(), atol=1e-3
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["encode", "/nowhere/scan.nii.gz", "--out", "y.npz"], "does not exist"),
        (["apply", "/nowhere/head.nii.gz", "--out", "folder"], "does not exist"),
    ],
)
def test_a_missing_scan_is_one_sentence(models, capsys, arguments, message):
    assert main([*arguments, "--models", str(models)]) == 1
    assert message in capsys.readouterr().err


def test_settings_of_other_models_are_refused(models, capsys):
    card = models / "application/application.json"
    content = read_json(card)
    write_json(content | {"models": content["models"] | {"ldae": "0" * 64}}, card)
    try:
        assert main(["encode", str(models / "first.nii.gz"), "--models", str(models), "--out", "y"])
        assert "trained anew" in capsys.readouterr().err
    finally:
        write_json(content, card)


def test_a_missing_probe_names_its_remedy(tmp_path):
    with pytest.raises(UserError, match="snakemake evaluate"):
        Direction.load(tmp_path / "classifier.npz")
