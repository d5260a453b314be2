"""Figures: drawn from minimal data; same bytes when redrawn; captions with the data's numbers."""

import hashlib
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from helpers.results import SPACING, make_results
from ldae.errors import UserError
from ldae.figures.brain_slices import Window
from ldae.figures.cohort_qc import load_measures
from ldae.figures.registry import FIGURES, draw
from ldae.figures.training_curves import kept_epoch
from ldae.labels import interval, number

SETTINGS = {"dpi": 40, "spacing": SPACING}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    return make_results(tmp_path_factory.mktemp("results"))[0]


@pytest.fixture(scope="module")
def figures(inputs, tmp_path_factory):
    """Files of every figure by name; each figure is drawn once."""
    folder = tmp_path_factory.mktemp("figures")
    return {name: drawn(name, inputs, folder) for name in FIGURES}


def module_of(name: str) -> ModuleType:
    return import_module(f"ldae.figures.{FIGURES[name].module or name}")


def output_paths(name: str, folder: Path) -> dict[str, Path]:
    """Files of a figure, named as the rules name them."""
    suffixes = {"data": module_of(name).DATA, "caption": "caption.txt"}
    return {key: folder / f"{name}.{suffixes.get(key, key)}" for key in ("pdf", "png", *suffixes)}


def drawn(name: str, inputs: dict, folder: Path) -> dict[str, Path]:
    outputs = output_paths(name, folder)
    draw(name, inputs[name], outputs, SETTINGS)
    return outputs


def hashes(outputs: dict[str, Path]) -> dict[str, str]:
    return {key: hashlib.sha256(path.read_bytes()).hexdigest() for key, path in outputs.items()}


@pytest.mark.parametrize("name", FIGURES)
def test_figure_writes_pdf_png_data_and_caption(name, figures):
    files = figures[name]
    pdf = files["pdf"].read_bytes()
    assert pdf.startswith(b"%PDF")
    assert b"CreationDate" not in pdf and b"Producer" not in pdf
    assert files["png"].read_bytes().startswith(b"\x89PNG")
    title, body = files["caption"].read_text().strip().split("\n\n")
    assert len(body) > 80 and not title.endswith(".")
    assert not re.search(r"\bnan\b", body)
    data = files["data"]
    rows = len(np.load(data).files) if data.suffix == ".npz" else len(pd.read_csv(data, sep="\t"))
    assert rows > 0


# One of each kind: text and arrows, bitmaps from files, volumes, densities, mathematics.
@pytest.mark.parametrize(
    "name", ["cohort_flow", "cohort_qc", "figure7_manipulation", "figure5_lda", "ddim_steps"]
)
def test_figure_redrawn_has_the_same_bytes(name, inputs, figures, tmp_path):
    assert hashes(drawn(name, inputs, tmp_path)) == hashes(figures[name])


def test_figure_image_and_caption_change_with_the_data(inputs, figures, tmp_path):
    before = figures["probes"]
    table = pd.read_csv(inputs["probes"]["table"], sep="\t", na_values="n/a")
    table.loc[(table["system"] == "ldae") & (table["metric"] == "auroc"), "value"] = 0.79
    changed = tmp_path / "probes.tsv"
    table.to_csv(changed, sep="\t", index=False, na_rep="n/a")
    after = drawn("probes", {"probes": {"table": changed}}, tmp_path / "b")
    assert "LDAE 0.83 [0.73, 0.93]" in before["caption"].read_text()
    assert "LDAE 0.79 [0.73, 0.93]" in after["caption"].read_text()
    assert hashes(before)["png"] != hashes(after)["png"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (
            "cohort_flow",
            ("41 images", "36 images used", "12 scans of 4 subjects", "name 1 scan more"),
        ),
        ("cohort_qc", ("36 registered scans", "1 scan excluded", "lowest 0.55")),
        ("training_curves", ("8 epochs, 80 steps", "epoch 8 is kept", "0.863")),
        ("solvers", ("T = 2: error 0.040, SSIM 0.0000 [−0.0010, 0.0010] from",)),
        ("guidance", ("−0.0123 [−0.0133, −0.0113]",)),
        ("figure9_interpolation_example", ("months 0 and 24", "months 6 and 12")),
        ("figure7_manipulation", ("α = 1.5", "AD → CN", "CN → AD")),
        ("manipulation_dose", ("−2.50 [−2.70, −2.30] ml", "is monotone over α = 0 to 5")),
        ("truth", ("r = 0.77 [0.67, 0.87]",)),
    ],
)
def test_figure_caption_states_numbers_of_the_data(name, found, figures):
    caption = figures[name]["caption"].read_text()
    for text in found:
        assert text in caption


def test_solver_that_falls_apart_is_left_out_of_its_panels(inputs, tmp_path):
    table = pd.read_csv(inputs["solvers"]["differences"], sep="\t")
    odd = (table["solver"] == "midpoint") & (table["experiment"] == "interpolation")
    table.loc[odd, ["difference", "ci_low", "ci_high"]] -= 0.5
    changed = tmp_path / "changed.tsv"
    table.to_csv(changed, sep="\t", index=False)
    given = {"solvers": inputs["solvers"] | {"differences": changed}}
    caption = drawn("solvers", given, tmp_path / "out")["caption"].read_text()
    assert "Midpoint lies far outside of c and is not drawn there." in caption


@pytest.mark.parametrize("name", FIGURES)
def test_figure_refuses_missing_input(name, inputs, tmp_path):
    outputs = output_paths(name, tmp_path)
    first = next(iter(module_of(name).INPUTS))
    with pytest.raises(UserError, match=first):
        draw(name, {**inputs[name], first: None}, outputs, SETTINGS)
    gone = {key: tmp_path / "gone" for key in inputs[name]}
    with pytest.raises(UserError, match="gone"):
        draw(name, gone, outputs, SETTINGS)
    assert not list(tmp_path.iterdir())


def test_draw_refuses_unknown_figure_and_input(inputs, tmp_path):
    with pytest.raises(UserError, match="no figure 'figure99'"):
        draw("figure99", {}, {}, SETTINGS)
    with pytest.raises(UserError, match="no input 'wrong'"):
        draw("probes", {**inputs["probes"], "wrong": "x"}, {}, SETTINGS)


def test_figure_refuses_arrays_of_wrong_shape_or_missing_array(inputs, tmp_path):
    path = tmp_path / "arrays.npz"
    np.savez(path, scan_id=["a"], diagnosis=["CN"], original=np.zeros((2, 2, 2)))
    outputs = output_paths("figure3_reconstruction", tmp_path)
    with pytest.raises(UserError, match=r"has 3 axes where 4"):
        draw("figure3_reconstruction", {"arrays": path}, outputs, SETTINGS)
    np.savez(path, scan_id=["a"], diagnosis=["CN"])
    with pytest.raises(UserError, match="lacks the array 'original'"):
        draw("figure3_reconstruction", {"arrays": path}, outputs, SETTINGS)


def test_brain_slices_are_in_radiological_orientation():
    volume = np.zeros((10, 12, 8), dtype=np.float32)
    volume[2:8, 2:10, 1:7] = 0.5
    window = Window.around(volume, margin=0)
    x, y, z = window.cuts
    volume[7, y, z] = 1.0  # the subject's right, in the box
    assert window.slice(volume, "axial")[:, 0].max() == 1.0
    assert window.slice(volume, "coronal")[:, 0].max() == 1.0
    volume[7, y, z] = 0.5
    volume[x, 9, z] = 1.0  # front
    assert window.slice(volume, "axial")[0].max() == 1.0
    assert window.slice(volume, "sagittal")[:, 0].max() == 1.0
    volume[x, 9, z] = 0.5
    volume[x, y, 6] = 1.0  # top
    assert window.slice(volume, "coronal")[0].max() == 1.0
    assert window.slice(volume, "sagittal")[0].max() == 1.0
    assert window.slice(volume, "axial").shape == window.size("axial")[::-1]


def test_cohort_qc_measures_are_sorted_by_ascending_ncc(inputs):
    measures = load_measures(**inputs["cohort_qc"])
    assert measures["ncc"].is_monotonic_increasing
    assert measures.iloc[0]["status"] == "qc"


def test_kept_epoch_is_the_best_for_ldae_and_the_last_for_ldm():
    history = pd.DataFrame({"epoch": [1, 2, 3], "val_ssim": [0.1, 0.9, np.nan]})
    assert kept_epoch("ldae", history) == 2
    assert kept_epoch("ldm", history) == 3


def test_number_and_interval_labels_never_round_to_zero():
    assert number(0.0004) == "0.0004"
    assert number(-0.00012) == "−0.00012"
    assert number(0.0) == "0.000"
    assert number(float("nan")) == "–"
    assert interval(0.5, 0.4, 0.6, 2) == "0.50 [0.40, 0.60]"
    assert interval(0.5, float("nan"), float("nan"), 2) == "0.50"
