"""Sample in the package: small, complete, as its card says, and enough for `ldae apply`."""

import json
from contextlib import chdir

import nibabel as nib
import numpy as np
import pytest
import torch

from helpers.models import bundle_settings, training_codes
from helpers.normative_tables import bundle_curves
from ldae.application.bundle import SYNTHETIC, Bundle, write_bundle
from ldae.application.commands import read_volume
from ldae.application.normative import load_curves
from ldae.application.sample import CARD, FOLDER, MODELS, PAGE, sample_card, sample_visits
from ldae.application.sample_packing import (
    MAX_BYTES,
    MAX_CHANGE,
    ROUNDED,
    pack_models,
    write_sample,
)
from ldae.cli.main import main
from ldae.errors import UserError
from ldae.evaluation.metrics.image import brain_mask
from ldae.files import read_json, sha256
from ldae.inference.ldae_system import LdaeSystem
from ldae.models.storage import load_card
from ldae.ssim import ssim


@pytest.fixture(scope="module")
def applied(tmp_path_factory):
    """A folder without anything of a project, in which `ldae apply --sample` has run."""
    folder = tmp_path_factory.mktemp("elsewhere")
    with chdir(folder):
        assert main(["apply", "--sample"]) == 0
    return folder / "applied"


def brain(path) -> torch.Tensor:
    """A preprocessed scan as the sample's models read it."""
    return read_volume(path, Bundle.load(MODELS, "cpu", 1).settings["volumes"])[0]


def test_card_lists_every_file_with_its_hash():
    paths = [path for path in FOLDER.rglob("[!.]*") if path.is_file()]  # .snakemake_timestamp
    found = {str(path.relative_to(FOLDER)): path for path in paths}
    files = {name: path for name, path in found.items() if name not in (CARD, PAGE)}
    assert {name: sha256(path) for name, path in files.items()} == sample_card()["files"]
    assert sum(path.stat().st_size for path in found.values()) <= MAX_BYTES
    page = (FOLDER / PAGE).read_text()
    assert all(digest in page for digest in sample_card()["files"].values())


def test_card_says_what_made_the_sample_and_that_no_patient_was_seen():
    card = sample_card()
    assert card["command"].endswith("-- sample") and len(card["commit"].split("-")[0]) == 40
    assert card["notice"] == SYNTHETIC and SYNTHETIC in (FOLDER / PAGE).read_text()
    assert card["configuration"]["synthetic"]["seed"] != card["subject"]["seed"]
    for stage in LdaeSystem.stages:
        assert {SYNTHETIC, ROUNDED} <= set(load_card(MODELS / stage)["flags"])


def test_packing_changed_the_outputs_little():
    changes = sample_card()["changes_by_packing"]
    for reason, bounds in MAX_CHANGE.items():
        assert all(0 < changes[reason][key] <= most for key, most in bounds.items())


def test_apply_sample_finds_what_the_card_says(applied):
    findings, card = read_json(applied / "findings.json"), sample_card()
    assert SYNTHETIC in findings["notice"]
    assert findings["models"] == card["findings"]["models"]
    assert findings["predicted_age"] == pytest.approx(card["findings"]["predicted_age"], abs=1)
    probability = "probability_AD"
    assert findings[probability] == pytest.approx(card["findings"][probability], abs=0.05)
    # The mask of the brain holds its tissue and its CSF.
    truth = card["truth"]
    assert truth["brain_ml"] < findings["quality"]["brain_ml"] < truth["intracranial_ml"]


def test_apply_sample_writes_finite_volumes_like_the_head(applied):
    volumes = {
        name: nib.load(applied / f"{name}.nii.gz").get_fdata()
        for name in ("reconstruction", "counterfactual", "difference")
    }
    assert all(np.isfinite(values).all() for values in volumes.values())
    assert volumes["reconstruction"].min() >= 0 and volumes["reconstruction"].max() <= 1
    assert np.abs(volumes["difference"]).max() > 1e-3
    (path,) = (applied / "preproc").rglob("*_space-*_desc-brain_T1w.nii.gz")
    x = brain(path)
    decoded = torch.from_numpy(volumes["reconstruction"]).float()[None, None]
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(1))
    likeness, chance = (float(ssim(x, each, brain_mask(x))[0]) for each in (decoded, noise))
    assert likeness > 0.4 > chance


def test_packaged_visit_is_the_head_preprocessed(applied):
    (path,) = (applied / "preproc").rglob("*_space-*_desc-brain_T1w.nii.gz")
    first = brain(sample_visits()["file"][0])
    assert float((brain(path) - first).abs().mean()) < 0.005


def test_commands_on_preprocessed_scans_take_the_sample_models(capsys, tmp_path):
    visits = sample_visits()
    assert visits["months"].is_monotonic_increasing
    scans = [str(path) for path in visits["file"]]
    assert main(["encode", *scans, "--sample", "--out", str(tmp_path / "y.npz")]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert SYNTHETIC in printed["notice"] and printed["scans"] == len(scans)


def test_sample_and_models_exclude_each_other(capsys):
    scan = str(sample_visits()["file"][0])
    arguments = ["encode", scan, "--sample", "--models", "results/models", "--out", "y.npz"]
    assert main(arguments) == 2
    assert "Give one of --models, --model and --sample" in capsys.readouterr().err


@pytest.fixture
def finished(project, probe_outputs, tmp_path):
    """Makes the bundle of a finished run on random models, with a template of 4 mm."""

    def bundle(**changes) -> Bundle:
        ball = np.linalg.norm(np.indices((40, 48, 40)) - 20, axis=0) < 15
        for name, values in (("image", 200 * ball), ("mask", ball)):
            image = nib.Nifti1Image(values.astype(np.uint8), np.diag([4.0, 4, 4, 1]))
            nib.save(image, tmp_path / f"{name}.nii.gz")
        settings = bundle_settings(tmp_path)
        template = {key: str(tmp_path / f"{key}.nii.gz") for key in ("image", "mask")}
        settings["preprocess"] = {
            "template": template | {"name": "Ball"},
            "brain_extraction": {"method": "deepbet"},
            "registration": {"estimate_spacing": 3.0},
        }
        root = tmp_path / "models"
        for stage in LdaeSystem.stages:
            (root / stage).parent.mkdir(exist_ok=True)
            (root / stage).symlink_to(project / stage)
        write_bundle(
            root / "application",
            {stage: root / stage for stage in LdaeSystem.stages},
            probe_outputs / "classifier.npz",
            probe_outputs / "age_regressor.npz",
            training_codes(project, probe_outputs / "classifier.npz"),
            settings | {"synthetic": True} | changes,
        )
        return Bundle.load(root, "cpu", 1)

    return bundle


def test_packed_models_belong_together_and_take_half_the_space(finished, tmp_path):
    run = finished()
    packed = pack_models(run, tmp_path / "packed")
    for stage in LdaeSystem.stages:
        before, after = (each.models / stage / "model.safetensors" for each in (run, packed))
        assert after.stat().st_size < 0.6 * before.stat().st_size
    volume = torch.rand((1, 1, *run.settings["volumes"]["shape"]))
    codes = [each.system.y_sem(volume) for each in (run, packed)]
    torch.testing.assert_close(*codes, rtol=0.01, atol=0.01)
    template = packed.preprocessing()["template"]
    assert template["name"] == "Ball"
    assert nib.load(template["image"]).get_fdata().max() == 255
    assert load_curves(run) is load_curves(packed) is None
    bundle_curves(run.folder)
    again = load_curves(pack_models(run, tmp_path / "with curves"))
    assert again is not None and again.probes == load_curves(run).probes


@pytest.mark.parametrize(
    ("changes", "seed", "message"),
    [
        ({"synthetic": False}, 2, "not trained on synthetic brains alone"),
        ({}, 1, "may have seen this subject"),
        ({"volumes": {"spacing": 1.5}}, 2, "must not be finer"),
    ],
)
def test_packing_refuses(finished, tmp_path, changes, seed, message):
    run = finished(**changes)
    settings = {"seed": seed, "subject": 0, "spacing": 2.5}
    with pytest.raises(UserError, match=message):
        write_sample(tmp_path / "out", run.models, settings, {"synthetic": {"seed": 1}}, "make")
    assert not (tmp_path / "out").exists()
