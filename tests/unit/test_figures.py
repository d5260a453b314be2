"""Figures: drawn from minimal data; same bytes when redrawn; results with the data's numbers."""

import hashlib
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import yaml

from helpers.results import SPACING, TEMPLATE, make_results
from ldae.config import merged
from ldae.errors import UserError
from ldae.evaluation.published_values import comparable_systems
from ldae.figures import figure4_variation, figure5_lda
from ldae.figures.brain_slices import Window
from ldae.figures.cohort_qc import load_measures
from ldae.figures.registry import FIGURES, draw
from ldae.figures.style import style
from ldae.figures.training_curves import kept_epoch
from ldae.labels import interval, number

SETTINGS = {"dpi": 40, "spacing": SPACING, "template": TEMPLATE, "paper": ["ldae", "lddim"]}
ROOT = Path(__file__).parents[2]
MOST_WORDS = 60  # of a caption


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
    suffixes = {"data": module_of(name).DATA, "caption": "caption.txt", "result": "result.txt"}
    return {key: folder / f"{name}.{suffixes.get(key, key)}" for key in ("pdf", "png", *suffixes)}


def drawn(name: str, inputs: dict, folder: Path) -> dict[str, Path]:
    outputs = output_paths(name, folder)
    draw(name, inputs[name], outputs, SETTINGS)
    return outputs


def drawing(name: str, inputs: dict, settings: dict | None = None):
    """The drawing itself, whose axes can be looked at."""
    with style():
        return module_of(name).draw(inputs[name], SETTINGS | (settings or {}))


def hashes(outputs: dict[str, Path]) -> dict[str, str]:
    return {key: hashlib.sha256(path.read_bytes()).hexdigest() for key, path in outputs.items()}


@pytest.mark.parametrize("name", FIGURES)
def test_figure_writes_pdf_png_data_caption_and_result(name, figures):
    files = figures[name]
    pdf = files["pdf"].read_bytes()
    assert pdf.startswith(b"%PDF")
    assert b"CreationDate" not in pdf and b"Producer" not in pdf
    assert files["png"].read_bytes().startswith(b"\x89PNG")
    title, body = files["caption"].read_text().strip().split("\n\n")
    assert len(body) > 80 and not title.endswith(".")
    assert len(f"{title} {body}".split()) <= MOST_WORDS
    result = files["result"].read_text()
    assert result.endswith(".\n") and result.count("\n") == 1
    assert re.search(r"\d", result)  # numbers of the data
    assert not re.search(r"\bnan\b", body + result)
    data = files["data"]
    rows = len(np.load(data).files) if data.suffix == ".npz" else len(pd.read_csv(data, sep="\t"))
    assert rows > 0


# One of each kind: text and arrows, bitmaps from files, volumes, densities, mathematics.
@pytest.mark.parametrize(
    "name", ["cohort_flow", "cohort_qc", "figure7_manipulation", "figure5_lda", "ddim_steps"]
)
def test_figure_redrawn_has_the_same_bytes(name, inputs, figures, tmp_path):
    assert hashes(drawn(name, inputs, tmp_path)) == hashes(figures[name])


def test_figure_image_and_result_change_with_the_data(inputs, figures, tmp_path):
    before = figures["probes"]
    table = pd.read_csv(inputs["probes"]["table"], sep="\t", na_values="n/a")
    table.loc[(table["system"] == "ldae") & (table["metric"] == "auroc"), "value"] = 0.79
    changed = tmp_path / "probes.tsv"
    table.to_csv(changed, sep="\t", index=False, na_rep="n/a")
    after = drawn("probes", {"probes": {"table": changed}}, tmp_path / "b")
    assert "LDAE 0.83 [0.73, 0.93]" in before["result"].read_text()
    assert "LDAE 0.79 [0.73, 0.93]" in after["result"].read_text()
    assert hashes(before)["png"] != hashes(after)["png"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("cohort_flow", ("41 images", "36 are used", "12 scans of 4 subjects", "name 1 scan more")),
        ("cohort_qc", ("1 of 36 registered scans excluded", "lowest 0.55")),
        ("training_curves", ("8 epochs, 80 steps", "epoch 8 kept", "0.863")),
        ("solvers", ("DDIM (the paper's) 0.040 and 0.0000 [−0.0010, 0.0010]", "at T = 2")),
        ("guidance", ("−0.0123 [−0.0133, −0.0113] from no guidance",)),
        ("figure9_interpolation_example", ("months 6 and 12", "by LDAE", "by a voxel average")),
        ("figure7_manipulation", ("α = 1.5", "AD → CN", "CN → AD")),
        ("manipulation_dose", ("−2.50 [−2.70, −2.30] ml", "ventricles in 100 %")),
        ("counterfactual_example", ("α = 1.5 correlates",)),
        ("truth", ("r = 0.77 [0.67, 0.87]",)),
    ],
)
def test_figure_result_states_numbers_of_the_data(name, found, figures):
    result = figures[name]["result"].read_text()
    for text in found:
        assert text in result


def test_solver_that_falls_apart_is_left_out_of_its_panels(inputs, tmp_path):
    table = pd.read_csv(inputs["solvers"]["differences"], sep="\t")
    odd = (table["solver"] == "midpoint") & (table["experiment"] == "interpolation")
    table.loc[odd, ["difference", "ci_low", "ci_high"]] -= 0.5
    changed = tmp_path / "changed.tsv"
    table.to_csv(changed, sep="\t", index=False)
    given = {"solvers": inputs["solvers"] | {"differences": changed}}
    assert drawing("solvers", given).body.endswith("Midpoint lies far outside of c.")


def test_checks_of_saliency_are_drawn_as_far_as_they_are_known(inputs, tmp_path):
    given = inputs["saliency_checks"]
    both = drawing("saliency_checks", {"saliency_checks": given})
    assert "(c) Attention" in both.body and "Most attention" in both.result
    checks = pd.read_csv(given["checks"], sep="\t", na_values="n/a")
    known = checks[checks["measure"] == "likeness"]
    known.to_csv(tmp_path / "c.tsv", sep="\t", index=False, na_rep="n/a")
    alone = drawing("saliency_checks", {"saliency_checks": {"checks": tmp_path / "c.tsv"}})
    assert len(alone.figure.axes) == 1 and "true change" not in alone.body + alone.result
    assert "attention" not in alone.result and "with maps of random weights by" in alone.result


def test_paper_values_are_drawn_where_they_are_comparable_alone(inputs):
    for name in ("ddim_steps", "probes"):
        for systems, seen in (([], set()), (["ldae"], {"ldae"})):
            figure = drawing(name, inputs, {"paper": systems})
            assert set(figure.data.loc[figure.data["paper"].notna(), "system"]) == seen
            legend = [text.get_text() for text in figure.figure.legends[0].get_texts()]
            assert ("paper" in legend) == bool(seen) == ("diamonds: the paper" in figure.body)


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, ["autoencoder", "lddim", "ldae", "supervised", "dae"]),
        ({"dae": {"shape": [64, 80, 64]}}, ["autoencoder", "lddim", "ldae", "supervised"]),
        ({"cohort": {"beside": {"OASIS": {"role": "test"}, "IXI": {"role": "train"}}}}, None),
        ({"cohort": {"beside": {"OASIS": {"bids_dir": "oasis"}}}}, []),
        ({"cohort": {"name": "OASIS"}}, []),
        ({"cohort": {"study": "oasis3"}}, []),
        ({"synthetic": {"out": "raw"}}, []),
        ({"evaluation": {"truth": ["truth.tsv"]}}, []),
        ({"volumes": {"spacing": 2.0}}, []),
        ({"volumes": {"shape": [96, 120, 96]}}, []),
    ],
)
def test_paper_is_comparable_on_the_same_data_and_grid_alone(changes, found):
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    systems = comparable_systems(merged(config, changes))
    assert systems == (comparable_systems(config) if found is None else found)


def test_axis_of_interpolation_is_set_by_the_data_and_a_far_bound_is_named_at_its_edge(inputs):
    lone, published = (
        drawing("figure8_interpolation", inputs, {"paper": systems}) for systems in ([], ["ldae"])
    )
    for alone, beside in zip(lone.figure.axes[:2], published.figure.axes[:2], strict=True):
        assert alone.get_ylim() == beside.get_ylim()
        table = lone.data[lone.data["grouping"] == "prediction_gap"]
    ssim = table[table["metric"] == "ssim_to_ae"]
    low, high = lone.figure.axes[1].get_ylim()
    assert ssim["ci_low"].min() - low < 0.1 * (high - low)
    assert high - ssim["ci_high"].max() < 0.1 * (high - low)
    texts = [text.get_text() for text in published.figure.axes[0].texts]
    assert any(text.startswith("paper's bound: 4") for text in texts)
    assert not any("bound" in text.get_text() for text in lone.figure.axes[0].texts)


def test_sample_that_is_worse_than_a_grey_brain_is_framed_as_failed(inputs, tmp_path):
    arrays = dict(np.load(inputs["figure4_variation"]["arrays"]))
    given = {"figure4_variation": {"arrays": tmp_path / "arrays.npz"}}
    arrays["samples"] = np.stack([arrays["original"]] * 2, axis=1)
    np.savez(tmp_path / "arrays.npz", **arrays)
    assert "None of the 4 samples failed." in drawing("figure4_variation", given).result
    noise = np.random.default_rng(0).uniform(0, 1, arrays["original"][1].shape)
    arrays["samples"][1, 0] = noise
    np.savez(tmp_path / "arrays.npz", **arrays)
    figure = drawing("figure4_variation", given)
    assert figure.data["failed"].tolist() == [[False, False], [True, False]]
    assert "1 of 4 samples failed (framed)." in figure.result
    words = [text.get_text() for ax in figure.figure.axes for text in ax.texts]
    assert words.count("failed") == 1


def test_grey_brain_has_one_value_inside_and_none_outside():
    original = np.zeros((1, 4, 4, 4), dtype=np.float32)
    original[0, 1:3, 1:3, 1:3] = np.linspace(0.4, 0.8, 8).reshape(2, 2, 2)
    flat = figure4_variation.flat_brains(original)
    np.testing.assert_allclose(np.unique(flat), [0, 0.6], rtol=1e-6)
    assert ((flat > 0) == (original > 0)).all()


def test_lda_densities_are_of_people_and_the_separation_has_a_direction():
    scans = pd.DataFrame(
        {
            "participant_id": ["a", "a", "a", "b", "c", "d"],
            "diagnosis": ["CN", "CN", "CN", "CN", "AD", "AD"],
            "seen": False,
            "ld1": [0.0, 1.0, 2.0, 3.0, 6.0, 8.0],
        }
    )
    people = figure5_lda.means_of_people(scans)
    assert people.set_index("participant_id")["ld1"].to_dict() == {"a": 1, "b": 3, "c": 6, "d": 8}
    step = figure5_lda.separation(people, ["CN", "AD"])
    assert step == pytest.approx(5 / np.sqrt(2))
    assert figure5_lda.separation(people.assign(ld1=-people["ld1"]), ["CN", "AD"]) == -step


def test_lda_direction_is_that_of_the_training_people_however_the_axis_points(inputs, tmp_path):
    table = pd.read_csv(inputs["figure5_lda"]["projection"], sep="\t")
    people = table["participant_id"].str[8:11].astype(int)  # of each class two and two
    table["split"] = np.where(people.isin([0, 1, 3, 4]), "test", "train")
    results = []
    for sign, arrow in ((1, "(AD →)"), (-1, "(← AD)")):
        table.assign(ld1=sign * table["ld1"]).to_csv(tmp_path / "lda.tsv", sep="\t", index=False)
        figure = drawing("figure5_lda", {"figure5_lda": {"projection": tmp_path / "lda.tsv"}})
        assert figure.figure.axes[1].get_xlabel().endswith(arrow)
        results.append(figure.result)
    assert results[0] == results[1] and "in the direction of AD" in results[0]


def test_strength_panel_without_content_is_dropped_and_its_value_stated(inputs, tmp_path):
    table = pd.read_csv(inputs["manipulation_dose"]["table"], sep="\t", na_values="n/a")
    table.loc[table["metric"] == "sex_kept", "value"] = 1.0
    table.to_csv(tmp_path / "table.tsv", sep="\t", index=False, na_rep="n/a")
    given = {"manipulation_dose": inputs["manipulation_dose"] | {"table": tmp_path / "table.tsv"}}
    whole, part = drawing("manipulation_dose", inputs), drawing("manipulation_dose", given)
    assert len(whole.figure.axes) == 6 and len(part.figure.axes) == 5
    assert "Not drawn, being 1.00 throughout: share with the same predicted sex." in part.result
    assert "Not drawn" not in whole.result


@pytest.mark.parametrize("name", ["manipulation_dose", "counterfactual"])
def test_lines_of_random_directions_are_told_apart(name, inputs):
    for ax in drawing(name, inputs).figure.axes:
        random = [line for line in ax.lines if line.get_marker() == "^"]
        assert len({line.get_color() for line in random}) == len(random) == 2


def test_training_curves_have_one_legend_and_the_same_look_in_every_panel(inputs):
    figure = drawing("training_curves", inputs).figure
    assert len(figure.legends) == 1 and not any(ax.get_legend() for ax in figure.axes)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert sorted(labels) == sorted({"loss", "SSIM", "AD/CN: AUROC", "age: r"})
    losses = [figure.axes[number].lines[0].get_color() for number in (0, 2, 3, 4)]
    assert len(set(losses)) == 1


def test_example_of_interpolation_shows_baselines_at_predicted_visits(inputs):
    figure = drawing("figure9_interpolation_example", inputs)
    columns = len(("original", "autoencoder", "ldae", "nearest", "average", "lerp"))
    shown = {tuple(map(int, re.findall(r"\d+", key))) for key in figure.data if "column" in key}
    for row, filled in ((0, 3), (1, columns), (2, columns - 1), (5, 3)):
        assert sum(1 for r, column in shown if r == row and column < columns) == filled
    nearest = figure.data["row2_column3"]  # month 6: the first visit, unchanged
    assert not nearest.any()


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
    given = inputs["cohort_qc"]
    measures = load_measures(given["manifests"], given["preproc"], TEMPLATE)
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
