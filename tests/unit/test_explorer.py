"""Explorer: choice of people, coding of volumes, series, and the page with its vendored viewer."""

import gzip
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import ndimage as ndi

from helpers.models import CFG, SHAPE, training_codes
from ldae.explorer import stack_coding
from ldae.explorer.build import build_explorer, change_bands
from ldae.explorer.code_map import reduced
from ldae.explorer.page import SCRIPTS, VENDOR, VIEWER, WEB, grid, write_page
from ldae.explorer.people import chosen_people
from ldae.explorer.series import POSITIONS, outwards, signed_alphas, towards
from ldae.explorer.stack_coding import ALONE, Stack
from ldae.figures.style import DIAGNOSIS
from ldae.files import read_table, write_table
from ldae.fingerprint import closure

REPO = Path(__file__).parents[2]
# dist/niivue.umd.js of the npm package @niivue/niivue 0.69.0.
NIIVUE_SHA256 = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"
TRUTH = ("sub-03_ses-M012", "CN")


def smooth(seed: int, shape: tuple[int, ...] = (9, 7, 8)) -> np.ndarray:
    """A smooth volume in [0, 1] with a dark border, as of a decoder."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij")
    wave = sum(np.cos(axis * rng.uniform(1, 3) + rng.uniform(0, 6)) for axis in axes)
    inside = sum(axis**2 for axis in axes) < 0.8
    return (0.5 + wave / 8) * inside


@pytest.fixture(scope="module")
def page(system, project, probe_outputs, tmp_path_factory) -> Path:
    """The explorer of the project's models."""
    out = tmp_path_factory.mktemp("explorer")
    training_codes(project, probe_outputs / "classifier.npz").save(out / "training.npz")
    rows = [
        {"direction": direction, "way": way, "alpha": alpha, "metric": "change_ventricle_ml"}
        | {"value": sign * alpha, "ci_low": sign * alpha - 1, "ci_high": sign * alpha + 1}
        | {"n_scans": 2, "n_subjects": 2}
        for direction, sign in (("AD to CN", -1), ("CN to AD", 2))
        for way in ("plain", "random")
        for alpha in (0, 1)
    ]
    write_table(pd.DataFrame(rows), out / "manipulation.tsv")
    np.savez(
        out / "truths.npz",
        scan_id=[TRUTH[0]],
        target=[TRUTH[1]],
        volumes=np.full((1, 1, *SHAPE), 0.5, np.float32),
    )
    build_explorer(
        system,
        project / "volumes",
        project / "ldae.npz",
        probe_outputs / "classifier.npz",
        probe_outputs / "age_regressor.npz",
        out / "training.npz",
        out / "manipulation.tsv",
        out / "truths.npz",
        out / "explore.html",
        CFG,
        people=1,
        samples=2,
        megabytes=12,
    )
    return out / "explore.html"


@pytest.fixture(scope="module")
def content(page) -> dict:
    return json.loads(re.search(r'id="content">(.*?)</script>', page.read_text())[1])


@pytest.fixture(scope="module")
def volumes(page) -> list[np.ndarray]:
    """The decoded volumes of every person, (F, X, Y, Z)."""
    stacks = re.findall(r'class="stack">(.*?)</script>', page.read_text())
    return [stack_coding.decode(json.loads(stack)) for stack in stacks]


def series_of(content: dict, person: int, key: str) -> dict:
    return next(each for each in content["people"][person]["series"] if each["key"] == key)


@pytest.mark.parametrize("tolerance", (0, 1, 4, 7))
def test_coding_errs_by_the_tolerance_at_most(tolerance):
    stack = Stack()
    rng = np.random.default_rng(0)
    noisy = rng.random((20, 24, 20))
    even = ndi.gaussian_filter(noisy, 3)
    even = (even - even.min()) / np.ptp(even)
    first = stack.add(even)
    stack.add(even + 0.02 * noisy, first)
    stack.add(noisy)
    coded = stack_coding.encode(stack, tolerance)
    error = np.abs(stack_coding.decode(coded).astype(int) - np.stack(stack.frames).astype(int))
    assert error.max() <= tolerance and (tolerance == 0 or error.max() > 0)
    assert coded["smooth"] == [True, False, False]  # noise is not made larger by differences
    assert coded == stack_coding.encode(stack, tolerance)


def test_coding_takes_fewer_bytes_where_frames_resemble_each_other():
    frames = [smooth(0, (20, 24, 20)) * (1 + 0.02 * i) for i in range(5)]
    alone, chained = Stack(), Stack()
    for number, frame in enumerate(frames):
        alone.add(frame)
        chained.add(frame, number - 1)
    sizes = [len(stack_coding.encode(stack, 0)["data"]) for stack in (alone, chained)]
    raw = len(gzip.compress(np.stack(alone.frames).tobytes(), 9)) * 4 / 3
    assert sizes[1] < 0.7 * sizes[0] < 0.7 * raw
    with pytest.raises(ValueError, match="cannot follow"):
        chained.add(frames[0], 5)


def test_smallest_tolerance_that_fits_is_taken():
    stacks = [Stack(), Stack()]
    for seed, stack in enumerate(stacks):
        stack.add(np.random.default_rng(seed).random((9, 9, 9)))
    sizes = [sum(len(stack_coding.encode(s, t)["data"]) for s in stacks) for t in (0, 1, 3)]
    for most, tolerance in ((sizes[0], 0), (sizes[0] - 1, 1), (sizes[1], 1), (10, 1)):
        coded, found = stack_coding.encode_within(stacks, most, (0, 1))
        assert found == tolerance and len(coded) == 2
        assert coded[1] == stack_coding.encode(stacks[1], tolerance)


def test_people_are_chosen_by_truth_then_visits_then_evenly():
    rows = [
        (f"sub-{person:02d}", months, diagnosis)
        for person, diagnosis in enumerate(["CN"] * 8 + ["AD"] * 3 + ["MCI", None])
        for months in ((0, 12) if person in (1, 2, 4, 6, 8, 11) else (0,))
    ]
    test = pd.DataFrame(rows, columns=["participant_id", "months", "diagnosis"])
    test["scan_id"] = test["participant_id"] + "_M" + test["months"].astype(str)
    chosen = chosen_people(test, 2)
    assert chosen["scan_id"].tolist() == [
        "sub-01_M0",  # CN with two visits: 1, 2, 4, 6, evenly spread
        "sub-04_M0",
        "sub-11_M0",  # the only MCI
        "sub-08_M0",  # the only AD with two visits, then the first of the others
        "sub-09_M0",
    ]
    chosen = chosen_people(test, 2, {"sub-07_M0", "sub-06_M12"})
    assert chosen["scan_id"].tolist()[:2] == ["sub-06_M12", "sub-07_M0"]
    converted = test.assign(diagnosis=["CN", "AD", *test["diagnosis"].tolist()[2:]])
    converted["participant_id"] = ["sub-00", "sub-00", *test["participant_id"].tolist()[2:]]
    assert chosen_people(converted, 9)["participant_id"].is_unique


def test_frames_are_stored_outwards_from_alpha_0():
    assert signed_alphas([0, 0.5, 2]) == [-2.0, -0.5, 0.0, 0.5, 2.0]
    assert outwards(5, 2) == [2, 3, 4, 1, 0]
    assert [towards(2)(position) for position in range(5)] == [1, 2, 2, 2, 3]


def test_manipulation_series_holds_the_decoded_volumes(
    content, volumes, system, project, probe_outputs
):
    store = system.volume_store(project / "volumes")
    assert [each["diagnosis"] for each in content["people"]] == ["CN", "MCI", "AD"]
    person = content["people"][0]
    found = series_of(content, 0, "manipulation")
    row = store.index[store.index["scan_id"] == person["scan"]]
    y = torch.from_numpy(system.stored_codes(project / "ldae.npz", row["scan_id"])).float()
    steps = CFG["manipulation"]["ddim_steps"]
    x = store.volumes(row.index.to_numpy())
    np.testing.assert_allclose(volumes[0][0], np.rint(x[0, 0].numpy() * 255), atol=1)
    z_T = system.encode_zT(system.encode_z(x), y, steps)
    image = system.image(system.decode(z_T, y, steps))[0, 0].numpy()
    np.testing.assert_allclose(volumes[0][found["frames"][1]], 255 * image, atol=1.5)
    assert found["positions"] == [-1.0, 0.0, 1.0] and found["labels"] == ["-1", "0", "+1"]
    low, middle, high = found["asked"]["logit"]
    assert high - middle == pytest.approx(middle - low, rel=1e-3) and high > low
    assert found["decoded"]["logit"][1] != pytest.approx(middle)


def test_seen_range_ends_where_the_training_codes_do(content, page):
    limits = np.load(page.with_name("training.npz"))["logit_range"]
    found = series_of(content, 1, "manipulation")
    logits = np.interp(found["seen"], found["positions"], found["asked"]["logit"])
    inside = [found["positions"][0] <= alpha <= found["positions"][-1] for alpha in found["seen"]]
    assert any(inside)
    np.testing.assert_allclose(logits[inside], limits[inside], rtol=1e-3)


def test_other_series_have_their_positions_and_readings(content, volumes):
    visits = series_of(content, 0, "visits")
    assert len(visits["positions"]) == POSITIONS and visits["positions"][-1] == 24
    assert content["people"][0]["visits"]["positions"] == [0, 12, 24]
    made = series_of(content, 0, "reconstruction")
    assert made["labels"] == ["scan", "autoencoder", "T = 2", "T = 4"]
    assert made["frames"][0] == 0 and made["ssim"][0] == 1 > max(made["ssim"][1:])
    other = series_of(content, 0, "variation")
    assert len(other["frames"]) == 3
    # The scan's own code is the volume that was not moved, stored once.
    manipulation = series_of(content, 0, "manipulation")
    assert other["frames"][0] == manipulation["frames"][manipulation["reference"]]
    pairs = [volumes[0][frame].astype(int) for frame in other["frames"]]
    assert np.abs(pairs[1] - pairs[2]).max() > 0
    for person in content["people"]:
        for series in person["series"]:
            lengths = {len(series[key]) for key in ("positions", "labels", "frames")}
            lengths |= {len(values) for values in series["decoded"].values()}
            assert len(lengths) == 1


def test_true_counterfactual_is_shown_where_it_is_known(content, volumes):
    truths = {each["scan"]: each["truth"] for each in content["people"]}
    assert [scan for scan, truth in truths.items() if truth] == [TRUTH[0]]
    truth = truths[TRUTH[0]]
    place = list(truths).index(TRUTH[0])
    assert truth["target"] == "CN" and set(truth["changes"]) == {
        m["key"] for m in content["measures"]
    }
    np.testing.assert_allclose(volumes[place][truth["frame"]], 128, atol=1)


def test_bands_are_the_tables_changes_of_the_plain_direction(content, page):
    assert content["bands"]["ventricle_ml"] == [
        {"alpha": -1.0, "value": -1.0, "low": -2.0, "high": 0.0, "people": 2},
        {"alpha": 1.0, "value": 2.0, "low": 1.0, "high": 3.0, "people": 2},
    ]
    table = read_table(page.with_name("manipulation.tsv"))
    assert change_bands(table, ("CN", "AD"))["age"] == []


def test_map_has_the_axis_of_figure_5_and_all_diagnoses(content, probe_outputs):
    figure = read_table(probe_outputs / "lda_projection.tsv").set_index("scan_id")["ld1"]
    points = {each["scan"]: each for each in content["map"]["points"]}
    both = [scan for scan in points if scan in figure.index]
    assert len(both) == 12 and {each["diagnosis"] for each in points.values()} == {
        "CN",
        "AD",
        "MCI",
    }
    np.testing.assert_allclose(
        [points[s]["at"][0] for s in both], figure[both], rtol=1e-3, atol=1e-3
    )
    for person in content["people"]:
        assert person["scan"] in points
        assert len(person["trail"]) == len(person["series"][0]["positions"])


def test_map_pictures_are_small():
    assert reduced(np.ones((32, 40))).shape == (32, 40)
    assert reduced(np.arange(160.0 * 128).reshape(160, 128)).shape == (53, 42)


def test_grid_box_lies_in_the_ventricles_region():
    affine = np.diag([5.0, 5, 5, 1])
    affine[:3, 3] = -77.5, -110, -70
    low, high = np.array(grid(affine)["box"])
    inside = [affine[:3, :3] @ corner + affine[:3, 3] for corner in (low, high)]
    np.testing.assert_array_less([-28.1, -46.1, -6.1], inside[0])
    np.testing.assert_array_less(inside[1], [28, 36, 32])


def test_page_asks_for_nothing_and_ends_no_script_early(page, tmp_path):
    text = page.read_text()
    outside = re.sub(r"<script.*?</script>|<!--.*?-->", "", text, flags=re.DOTALL)
    assert not re.findall(r"""(?:src|href)=["'](?!report\.html|#)""", outside)
    assert "fetch(" not in "".join((WEB / name).read_text() for name in SCRIPTS)
    path = tmp_path / "page.html"
    write_page(path, "</script><b>", ["a < b"], {"text": "</script><b>"}, [])
    assert "<b>" not in path.read_text().split("<script>")[0].replace("<!--", "")


def test_vendored_viewer_is_the_published_file_with_its_licence():
    assert hashlib.sha256((VENDOR / VIEWER).read_bytes()).hexdigest() == NIIVUE_SHA256
    assert "BSD 2-Clause License" in (VENDOR / "LICENSE").read_text()
    notice = (REPO / "NOTICE").read_text()
    assert f"src/ldae/explorer/vendor/{VIEWER}" in notice and "NiiVue 0.69.0" in notice
    packaged = (REPO / "pyproject.toml").read_text()
    assert '"explorer/web/*"' in packaged and '"explorer/vendor/*"' in packaged


def test_fingerprint_of_the_rule_covers_scripts_and_viewer():
    files = {path.name for path in closure("explorer.build:build_explorer").files}
    assert files >= {VIEWER, "explore.html.j2", "explore.css", *SCRIPTS}


def test_classes_have_the_colours_of_the_figures():
    style = (WEB / "explore.css").read_text()
    for name, colour in DIAGNOSIS.items():
        assert f"--{name}: {colour.lower()};" in style


def test_alone_marks_a_frame_without_an_earlier_one():
    stack = Stack()
    stack.add(smooth(0))
    assert stack.after == [ALONE]
