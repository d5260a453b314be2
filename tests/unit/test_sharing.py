"""Shared models: what others get, that no person is in it, and that commands take it back."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from monai.bundle import ConfigParser, verify_net_in_out
from safetensors import safe_open

from helpers.models import bundle_settings, training_codes
from helpers.normative_tables import bundle_curves
from ldae.application.bundle import Bundle, write_bundle
from ldae.application.sample import FOLDER, sample_visits
from ldae.cli.main import main
from ldae.data.embeddings import load_embeddings
from ldae.files import read_json, write_json

SCAN = str(sample_visits()["file"].iloc[0])
# Keys that MONAI's specification of bundles asks for (November 2026), of the file and of a tensor.
METADATA = {
    "version", "monai_version", "pytorch_version", "numpy_version", "required_packages_version",
    "task", "description", "authors", "copyright", "network_data_format", "schema", "changelog",
}  # fmt: skip
TENSOR = {
    "type", "format", "modality", "num_channels", "spatial_shape", "dtype", "value_range",
    "is_patch_data", "channel_def",
}  # fmt: skip


@pytest.fixture(scope="module")
def run(project, probe_outputs, tmp_path_factory) -> Path:
    """Results of a run on patients' scans, with all that must not be shared."""
    root = tmp_path_factory.mktemp("run")
    models = shutil.copytree(project, root / "models")
    settings = bundle_settings(models)
    settings["preprocess"]["brain_extraction"]["weights"] = "/home/jane.doe/resources/antsxnet"
    stages = {stage: models / stage for stage in ("autoencoder", "ldm", "ldae")}
    probes = [probe_outputs / f"{name}.npz" for name in ("classifier", "age_regressor")]
    codes = training_codes(models, probes[0])
    write_bundle(models / "application", stages, *probes, codes, settings)
    bundle_curves(models / "application")
    for stage in stages:
        card = read_json(models / stage / "model.json")
        card |= {"config": {"weights": "/home/jane.doe/x"}, "machine": {"host": "jane-desk"}}
        write_json(card, models / stage / "model.json")
    return root


@pytest.fixture(scope="module")
def shared(run, tmp_path_factory) -> Path:
    """The run's models, shared under terms of their own."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "TERMS.txt").write_text("You may not pass them on.\n")
    command = ["share", str(run), "--to", str(folder / "nets"), "--licence", "other"]
    assert main([*command, "--licence-file", str(folder / "TERMS.txt")]) == 0
    return folder / "nets"


def test_no_person_place_or_machine_is_shared(run, shared):
    people = set(pd.read_csv(run / "models/ldae/scans.tsv", sep="\t")["participant_id"])
    assert len(people) > 10
    content = {path: path.read_bytes() for path in shared.rglob("*") if path.is_file()}
    for word in (*people, "jane", "/home", "look"):
        assert not [path for path, data in content.items() if word.encode() in data], word
    names = {str(path.relative_to(shared)) for path in content}
    stages = ("autoencoder", "ldm", "ldae")
    application = ("application.json", "classifier.npz", "age_regressor.npz", "training.npz")
    application += ("normative.json",)
    assert names == {
        *("README.md", "LICENSE", "NOTICE", "configs/metadata.json", "configs/inference.json"),
        *(f"models/{stage}/model.{kind}" for stage in stages for kind in ("json", "safetensors")),
        *(f"models/application/{name}" for name in application),
        *(f"models/application/template{name}.nii.gz" for name in ("", "_mask")),
    }
    with np.load(shared / "models/application/training.npz") as codes:
        dimensions = len(codes["mean"])
        shapes = {codes[name].shape for name in codes.files}
    assert shapes <= {(dimensions,), (dimensions, dimensions), (101,), (2,), ()}


def test_shared_models_are_those_of_the_run(run, shared):
    mine, theirs = (Bundle.load(folder, "cpu", 1) for folder in (run, shared))
    assert theirs.settings["models"] == mine.settings["models"]
    assert theirs.system.card["latent_scale"] == mine.system.card["latent_scale"]
    for stage in ("autoencoder", "ldm", "ldae"):
        file = shared / "models" / stage / "model.safetensors"
        assert file.read_bytes() == (run / "models" / stage / "model.safetensors").read_bytes()
        with safe_open(file, framework="np") as tensors:
            assert tensors.keys()


def test_card_has_what_the_hub_reads_and_what_a_reader_asks(shared):
    text = (shared / "README.md").read_text()
    _, head, body = text.split("---\n", 2)
    about = yaml.safe_load(head)
    assert about["license"] == "other" and about["library_name"] == "ldae-workflow"
    assert about["pipeline_tag"] == "image-feature-extraction" and "mri" in about["tags"]
    (result,) = about["model-index"][0]["results"]
    assert result["metrics"][0] == {"type": "roc_auc", "value": 0.8}
    assert (shared / "LICENSE").read_text() == "You may not pass them on.\n"
    card = read_json(shared / "models/ldae/model.json")
    counts = card["scans"]
    assert counts.keys() == {"train", "val", "subjects"} and "config" not in card
    assert f"| ldae | {counts['train']} | {counts['val']} | {counts['subjects']} |" in body
    assert "| diagnosis | auroc | 0.8 | 0.7 to 0.9 |" in body
    assert "Diagnosis, prognosis or any decision about a person" in body
    assert "{{" not in body and "None" not in body


def test_monai_reads_the_bundle_and_its_encoder_fits_the_metadata(shared, tmp_path):
    metadata = read_json(shared / "configs/metadata.json")
    assert metadata.keys() >= METADATA
    tensors = metadata["network_data_format"]
    for tensor in (*tensors["inputs"].values(), *tensors["outputs"].values()):
        assert tensor.keys() == TENSOR
    configs = [str(shared / "configs" / name) for name in ("metadata.json", "inference.json")]
    verify_net_in_out("network_def", *configs, device="cpu", bundle_root=str(shared))

    sample = tmp_path / "sample"
    assert main(["share", str(FOLDER), "--to", str(sample)]) == 0
    parser = ConfigParser()
    parser.read_config(str(sample / "configs/inference.json"))
    out = tmp_path / "codes.npz"
    parser.update({"bundle_root": str(sample), "scans": [SCAN], "out": str(out)})
    assert parser.get_parsed_content("run") == [0]
    assert main(["encode", SCAN, "--sample", "--out", str(tmp_path / "again.npz")]) == 0
    for one, other in zip(
        load_embeddings(out), load_embeddings(tmp_path / "again.npz"), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_models_of_the_hub_are_used_by_name(hub, tmp_path, capsys, monkeypatch):
    assert main(["share", str(FOLDER), "--to", "hub:lab/sample", "--name", "Sample"]) == 0
    name = json.loads(capsys.readouterr().out)["model"]
    repository, _, commit = name.partition("@")
    assert repository == "lab/sample" and list(hub.repositories[repository]) == [commit]
    page = hub.repositories[repository][commit]["README.md"].decode()
    assert "--model lab/sample@COMMIT" in page and "license: apache-2.0" in page

    codes = []
    for model in (name, "lab/sample"):
        out = tmp_path / f"{len(codes)}.npz"
        assert main(["encode", SCAN, "--model", model, "--out", str(out)]) == 0
        codes.append(load_embeddings(out)[1])
    downloaded = {path for method, path in hub.requests if path.startswith("/blobs/")}
    assert all("/models/" in path for path in downloaded)
    hub.requests.clear()
    out = tmp_path / "offline.npz"
    assert main(["encode", SCAN, "--model", name, "--out", str(out)]) == 0
    assert hub.requests == []
    assert main(["encode", SCAN, "--sample", "--out", str(tmp_path / "sample.npz")]) == 0
    codes += [load_embeddings(path)[1] for path in (out, tmp_path / "sample.npz")]
    for each in codes[1:]:
        np.testing.assert_array_equal(each, codes[0])


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        ("share {run} --to {new}", 1, "trained on scans of people: give --licence"),
        ("share {run} --to {new} --licence cc-by-4.0", 1, "needs its text: give --licence-file"),
        ("share {run} --to {new} --licence other --licence-file none", 1, "does not exist"),
        ("share {new} --to {new}", 1, "has no trained models"),
        ("share {sample} --to {full}", 1, "is not empty and was not made by this command"),
        ("share {sample} --to hub:lab", 1, "'lab' is no name of a repository"),
        ("share {sample} --to hub:lab/none", 1, "was not uploaded to lab/none"),
        ("encode {scan} --out {new}.npz --model lab/none", 1, "there is no such repository"),
        (
            "encode {scan} --out {new}.npz --model lab",
            1,
            "neither a folder nor the name of a model",
        ),
        ("encode {scan} --out {new}.npz --model lab/a --sample", 2, "one of --models, --model and"),
    ],
)
def test_call_is_refused_in_one_sentence(
    run, hub, tmp_path, capsys, monkeypatch, arguments, status, sentence
):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").touch()
    names = {"run": run, "sample": FOLDER, "scan": SCAN}
    names |= {name: tmp_path / name for name in ("new", "full")}
    assert main(arguments.format(**names).split()) == status
    error = capsys.readouterr().err
    assert sentence in error and len(error.strip().splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) in (["full"], ["full", "hub-cache"])
