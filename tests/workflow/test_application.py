"""Application: `ldae apply` on a raw head of the small run, with its own models."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from ldae.application.bundle import SYNTHETIC
from ldae.data.embeddings import load_embeddings
from ldae.evaluation.probes.direction import Direction, LinearModel
from ldae.files import read_json

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


def test_apply_to_raw_head_equals_the_workflow_predictions(finished, tmp_path):
    """Runs in another folder with a copy of the models: apply needs nothing else of the project."""
    results = finished.path / "results"
    models = tmp_path / "models"
    shutil.copytree(results / "models", models)
    names, y_sem = load_embeddings(results / "embeddings/ldae.npz")
    scans = pd.read_csv(results / "cohort/scans.tsv", sep="\t").set_index("scan_id")
    manifests = pd.concat(
        pd.read_csv(path, sep="\t")
        for path in (results / "preproc/manifests/registration").glob("*.tsv")
    ).set_index("scan_id")
    scan = next(name for name in names if manifests.loc[name, "status"] == "ok")
    head = results / "bids" / scans.loc[scan, "path"]
    command = [sys.executable, "-m", "ldae", "apply", str(head), "--models", str(models)]
    command += ["--alpha", "1", "--steps", "4", "--out", str(tmp_path / "out")]
    done = subprocess.run(
        command, cwd=tmp_path, text=True, capture_output=True, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(finished.path / "src")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = read_json(tmp_path / "out/findings.json")
    assert SYNTHETIC in found["notice"]
    printed = json.loads(done.stdout[done.stdout.index("{") :])
    assert printed == {**found, "written": str(tmp_path / "out")}

    folder = models / "application"
    stored = y_sem[names.index(scan)][None].astype(np.float64)
    direction = Direction.load(folder / "classifier.npz", "cpu")
    age = LinearModel.load(folder / "age_regressor.npz", "cpu")
    expected = 1 / (1 + np.exp(-output_of(direction, stored)))
    assert found[f"probability_{direction.classes[1]}"] == pytest.approx(expected, abs=0.007)
    logit = found["counterfactual"]["logit_before"]
    assert 1 / (1 + np.exp(-logit)) == pytest.approx(expected, abs=0.002)
    assert found["predicted_age"] == pytest.approx(output_of(age, stored), abs=0.6)
    for name in ("reconstruction", "counterfactual", "difference"):
        assert (tmp_path / f"out/{name}.nii.gz").is_file()


def output_of(model, codes: np.ndarray) -> float:
    """Output of a linear model for one embedding."""
    import torch

    return float(model(torch.from_numpy(codes).float()))
