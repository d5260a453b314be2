"""Application: commands of `ldae` on tiny random models."""

import json
import shutil
import tomllib
from importlib import import_module
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch

from helpers.models import SHAPE, bundle_settings, load_ldae, training_codes
from helpers.normative_tables import bundle_curves
from ldae.application import raw_head
from ldae.application.bundle import NOTICE, SYNTHETIC, Bundle, write_bundle
from ldae.application.commands import read_volume
from ldae.application.normative import load_curves
from ldae.cli import options
from ldae.cli.main import main
from ldae.data.embeddings import load_embeddings
from ldae.data.volume_store import VolumeStore
from ldae.derivatives import SCAN_COLUMNS, scan_files
from ldae.diffusion.solvers import SOLVERS
from ldae.errors import UserError
from ldae.evaluation.metrics.volumes import Regions, soft_volumes, tissue_volumes
from ldae.evaluation.probes.direction import Direction
from ldae.files import read_json, write_json


@pytest.fixture(scope="module")
def models(project, probe_outputs, tmp_path_factory):
    """Models folder with the application's bundle, and two preprocessed scans as NIfTI."""
    root = shutil.copytree(project, tmp_path_factory.mktemp("application") / "models")
    write_bundle(
        root / "application",
        {stage: root / stage for stage in ("autoencoder", "ldm", "ldae")},
        probe_outputs / "classifier.npz",
        probe_outputs / "age_regressor.npz",
        training_codes(root, probe_outputs / "classifier.npz"),
        bundle_settings(root),
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


def test_encode_writes_one_embedding_a_scan(models, capsys, tmp_path):
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


def test_reconstruct_takes_any_solver(models, capsys, tmp_path):
    assert set(options.SOLVERS) == set(SOLVERS)
    scan, names = models / "first.nii.gz", ("ddim", "midpoint")
    for name in names:
        out = tmp_path / f"{name}.nii.gz"
        run(models, capsys, "reconstruct", scan, "--solver", name, "--steps", 3, "--out", out)
    run(models, capsys, "reconstruct", scan, "--steps", 3, "--out", tmp_path / "default.nii.gz")
    default, ddim, midpoint = (
        nib.load(tmp_path / f"{name}.nii.gz").get_fdata() for name in ("default", *names)
    )
    np.testing.assert_array_equal(ddim, default)  # the bundle's
    assert np.abs(midpoint - ddim).max() > 1e-4


def test_manipulate_with_alpha_zero_is_the_reconstruction(models, capsys, tmp_path):
    plain, moved, far = (tmp_path / f"{name}.nii.gz" for name in ("plain", "moved", "far"))
    scan = models / "first.nii.gz"
    run(models, capsys, "reconstruct", scan, "--out", plain)
    run(models, capsys, "manipulate", scan, "--alpha", 0, "--out", moved)
    printed = run(models, capsys, "manipulate", scan, "--alpha", 3, "--force", "--out", far)
    voxels = [nib.load(path).get_fdata() for path in (plain, moved, far)]
    np.testing.assert_allclose(voxels[0], voxels[1], atol=1e-5)
    assert np.abs(voxels[2] - voxels[0]).max() > 1e-4
    assert printed["alpha"] == 3 and printed["alpha_sd"] > 1
    assert printed["logit_asked"] > printed["logit_before"]
    assert "lies outside the training scans'" in printed["warnings"][0]


def test_interpolate_at_either_end_is_the_reconstruction(models, capsys, tmp_path):
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
def test_application_names_missing_file(models, capsys, arguments, message):
    assert main([*arguments, "--models", str(models)]) == 1
    assert message in capsys.readouterr().err


def test_application_refuses_settings_of_other_models(models, capsys):
    card = models / "application/application.json"
    content = read_json(card)
    write_json(content | {"models": content["models"] | {"ldae": "0" * 64}}, card)
    try:
        assert main(
            ["encode", str(models / "first.nii.gz"), "--models", str(models), "--out", "y.npz"]
        )
        assert "trained anew" in capsys.readouterr().err
    finally:
        write_json(content, card)


def test_direction_load_names_remedy_for_missing_classifier(tmp_path):
    with pytest.raises(UserError, match="the target `evaluate`"):
        Direction.load(tmp_path / "classifier.npz")


def test_encode_needs_only_the_encoder_weights(models, capsys, tmp_path):
    lean = tmp_path / "models"
    shutil.copytree(models, lean, ignore=shutil.ignore_patterns("volumes", "latents"))
    for stage in ("autoencoder", "ldm"):
        (lean / stage / "model.safetensors").unlink()
    scan, out = models / "first.nii.gz", tmp_path / "y.npz"
    run(lean, capsys, "encode", scan, "--out", out)
    bundle = Bundle.load(models, "cpu", 1)
    y_sem = bundle.system.y_sem(read_volume(scan, bundle.settings["volumes"])[0])
    np.testing.assert_allclose(load_embeddings(out)[1], y_sem, rtol=1e-4, atol=1e-5)
    assert main(["reconstruct", str(scan), "--models", str(lean), "--out", "r.nii.gz"]) == 1
    assert "lacks model.safetensors" in capsys.readouterr().err


def test_y_sem_is_fp32_at_every_precision(models):
    full, half = (load_ldae(models, {"guidance": "c_t"}, each) for each in ("fp32", "bf16"))
    x = VolumeStore(models / "volumes").volume(0)[None]
    assert torch.equal(full.y_sem(x), half.y_sem(x))
    assert not torch.equal(full.encode_z(x), half.encode_z(x))


def test_outputs_of_models_of_synthetic_brains_say_so(models, capsys, tmp_path):
    synthetic = shutil.copytree(models, tmp_path / "models")
    card = synthetic / "application/application.json"
    write_json(read_json(card) | {"synthetic": True}, card)
    for folder, seen in ((models, False), (synthetic, True)):
        codes, image = tmp_path / "y.npz", tmp_path / "image.nii.gz"
        printed = run(folder, capsys, "encode", models / "first.nii.gz", "--out", codes)
        run(folder, capsys, "reconstruct", models / "first.nii.gz", "--out", image)
        with np.load(codes) as content:
            assert str(content["notice"]) == printed["notice"]
        assert printed["notice"].endswith(SYNTHETIC) == seen
        header = bytes(nib.load(image).header["descrip"].item()).decode()
        assert header.endswith("no patient seen") == seen


def raw_head_file(folder: Path) -> Path:
    """A file without a background of zeros, as raw heads are."""
    path = folder / "head.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((20, 20, 20), np.uint8), np.diag([10.0, 10, 10, 1])), path)
    return path


def test_apply_names_missing_weights(models, capsys, tmp_path):
    head_path = raw_head_file(tmp_path)
    arguments = ["apply", str(head_path), "--models", str(models), "--out", str(tmp_path / "out")]
    assert main(arguments) == 1
    assert "name it by --brain-weights" in capsys.readouterr().err


@pytest.fixture
def head(models, monkeypatch):
    """Replace preprocessing by a copy of the scan ``first``; returns the arguments it was given."""
    given = {}

    def preprocess(path, folder, cfg, volumes, despite_qc):
        scans = pd.DataFrame([["sub-1_ses-1", "sub-1", "ses-1", path.name]], columns=SCAN_COLUMNS)
        files = scan_files(scans, folder, cfg["template"]["name"])[0]
        files.folder.mkdir(parents=True)
        shutil.copy(models / "first.nii.gz", files.registered_brain)
        write_json({"dice": 0.95}, files.measures)
        given.update(cfg=cfg, despite_qc=despite_qc)
        return files, "passed"

    monkeypatch.setattr(raw_head, "preprocess", preprocess)
    return given


def test_apply_writes_findings_and_a_counterfactual(models, capsys, tmp_path, head):
    out = tmp_path / "findings"
    weights = ["--brain-weights", tmp_path]
    head_path = raw_head_file(tmp_path)
    strong = ["--alpha", 2, "--force"]
    printed = run(models, capsys, "apply", head_path, *strong, "--out", out, *weights)
    assert printed == {**read_json(out / "findings.json"), "written": str(out)}
    assert printed["notice"] == NOTICE
    assert head["despite_qc"] is False
    assert head["cfg"]["brain_extraction"]["weights"] == str(tmp_path)

    bundle = Bundle.load(models, "cpu", 1)
    scan = read_volume(models / "first.nii.gz", bundle.settings["volumes"])[0]
    y = bundle.system.y_sem(scan)
    logit = float(bundle.direction()(y))
    assert printed["classes"] == ["CN", "AD"]
    assert printed["predicted"] == ("AD" if logit > 0 else "CN")
    assert printed["probability_AD"] == pytest.approx(1 / (1 + np.exp(-logit)), abs=0.006)
    assert printed["predicted_age"] == pytest.approx(float(bundle.age()(y)), abs=0.6)
    assert printed["performance"]["diagnosis"]["value"] == 0.8
    assert printed["quality"] == {"verdict": "passed", "dice": 0.95}
    assert set(printed["models"]) == {"autoencoder", "ldm", "ldae"}
    moved = printed["counterfactual"]
    assert moved["towards"] == ("CN" if logit > 0 else "AD")
    assert moved["alpha"] == (-2 if logit > 0 else 2)
    assert moved["logit_before"] == pytest.approx(logit, abs=1e-3)
    assert (moved["logit_asked"] - moved["logit_before"]) * np.sign(logit) < -0.1

    plain, other, difference = (
        nib.load(out / f"{name}.nii.gz").get_fdata()
        for name in ("reconstruction", "counterfactual", "difference")
    )
    np.testing.assert_allclose(other - plain, difference, atol=1e-6)
    assert np.abs(difference).max() > 1e-4


def test_apply_sees_the_head_against_its_age_and_sex(models, capsys, tmp_path, head):
    head_path, common = raw_head_file(tmp_path), ["--force", "--brain-weights", tmp_path]
    given = ["apply", head_path, *common, "--age", 74.5, "--sex", "male"]
    without = run(models, capsys, *given, "--out", tmp_path / "without")["normative"]
    assert without["reading"].startswith("These models came without normative curves")
    assert without["age"] == 74.5 and without["sex"] == "M" and "measures" not in without

    root = shutil.copytree(models, tmp_path / "models")
    curves = bundle_curves(root / "application")
    found = run(root, capsys, *given, "--out", tmp_path / "with")
    bundle = Bundle.load(root, "cpu", 1)
    scan = read_volume(root / "first.nii.gz", bundle.settings["volumes"])[0]
    y = bundle.system.y_sem(scan)
    store = VolumeStore(root / "volumes")
    regions = Regions.on(store.affine, store.shape)
    expected = {
        "ventricle_ml": float(soft_volumes(scan, scan, regions)["ventricle_ml"][0]),
        "brain_ml": tissue_volumes(scan[0, 0].numpy(), regions.voxel_ml)["brain_ml"],
        "logit": float(bundle.direction()(y)),
        "predicted_age": float(bundle.age()(y)),
    }
    for name, value in expected.items():
        shown = found["normative"]["measures"][name]
        assert shown["value"] == pytest.approx(value, abs=0.06)
        z = curves.deviations(name, [value], [74.5], ["M"])[0]
        assert shown["deviation"] == pytest.approx(z, rel=1e-2, abs=0.02)
        assert shown["percentile"] == round(float(curves.percentiles([z])[0]))
    assert "Against 40 CN people" in found["normative"]["reading"]
    assert "normative" not in run(
        root, capsys, "apply", head_path, *common, "--out", tmp_path / "x"
    )

    for wrong, message in (
        (["--age", "74"], "the sex is missing"),
        (["--age", "74", "--sex", "X"], "Write F or M"),
        (["--age", "old", "--sex", "F"], "is no number of years"),
    ):
        call = [
            "apply",
            str(head_path),
            "--models",
            str(root),
            *wrong,
            "--out",
            str(tmp_path / "y"),
        ]
        assert main(call) == 1
        assert message in capsys.readouterr().err
    (root / "application/classifier.npz").write_bytes(b"another")
    with pytest.raises(UserError, match=r"made for another classifier\.npz"):
        load_curves(Bundle.load(root, "cpu", 1))


def test_heads_of_a_table_are_seen_against_the_age_in_their_row(models, capsys, tmp_path, head):
    root = shutil.copytree(models, tmp_path / "models")
    bundle_curves(root / "application")
    head_path, table = raw_head_file(tmp_path), tmp_path / "heads.csv"
    out = tmp_path / "out"

    def rows(text: str, status: int) -> pd.DataFrame:
        table.write_text(f"path,scan_id,age,sex\n{text}")
        call = ["apply", str(table), "--models", str(root), "--out", str(out), "--force"]
        assert main([*call, "--brain-weights", str(tmp_path)]) == status
        capsys.readouterr()
        return pd.read_csv(out / "scans.tsv", sep="\t", dtype=str).set_index("scan_id")

    name = head_path.name
    found = rows(f"{name},old,95,F\n{name},wrong,70,Q\n{name},plain,,\n{name},one,70,F\n", 3)
    assert found.loc["one", "given_age"] == "70" and found.loc["one", "given_sex"] == "F"
    assert found.loc["one", "brain_ml_percentile"] == "95"
    assert "no percentiles at 95 years" in found.loc["old", "normative"]
    assert "Write F or M" in found.loc["wrong", "reason"] and found.loc["plain", "status"] == "ok"
    # The same file with another age is done again; what is as it was is kept.
    shutil.rmtree(out / "one/preproc")
    made = (out / "plain/findings.json").stat().st_mtime_ns
    again = rows(f"{name},plain,,\n{name},one,71,F\n", 0)
    assert again.loc["one", "given_age"] == "71"
    assert read_json(out / "one/findings.json")["normative"]["age"] == 71
    assert (out / "plain/findings.json").stat().st_mtime_ns == made


def test_bundle_in_copied_models_folder_includes_its_template(models, tmp_path):
    copied = tmp_path / "models"
    shutil.copytree(models, copied, ignore=shutil.ignore_patterns("volumes", "latents"))
    bundle = Bundle.load(copied, "cpu", 1)
    template = bundle.preprocessing(tmp_path)["template"]
    assert template["image"] == str(copied / "application/template.nii.gz")
    assert Path(template["mask"]).read_bytes() == (models / "template_mask.nii.gz").read_bytes()
    assert template["name"] == "Small"
    Path(template["mask"]).write_bytes(b"another")
    with pytest.raises(UserError, match=r"template_mask\.nii\.gz is missing or is not"):
        bundle.preprocessing(tmp_path)


def test_console_script_is_main_of_the_module():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    module, _, function = project["scripts"]["ldae"].partition(":")
    assert getattr(import_module(module), function) is main
