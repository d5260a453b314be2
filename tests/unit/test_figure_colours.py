"""Colours of figures: apart for every kind of colour vision, one meaning each, as docs say."""

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from skimage.color import rgb2lab

from ldae.figures import style
from ldae.systems import SYSTEMS

ROOT = Path(__file__).parents[2]
# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
APART = 17.0  # CIELAB units between any two colours of a group; 2.3 are just noticeable
GROUPS = {
    "classes": list(style.DIAGNOSIS.values()),
    "systems": [kind.colour for kind in style.KINDS.values()],
    "shades": list(style.SHADES),
}


def linear(colour: str) -> np.ndarray:
    """Linear RGB of a hex colour."""
    rgb = np.array(to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def seen(colour: str, vision: str) -> np.ndarray:
    """CIELAB of a colour as a kind of vision sees it."""
    rgb = np.clip(np.asarray(VISION[vision]) @ linear(colour), 0, 1)
    return rgb2lab(np.where(rgb <= 0.0031308, 12.92 * rgb, 1.055 * rgb ** (1 / 2.4) - 0.055))


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("group", GROUPS)
def test_colours_of_a_group_stay_apart(group, vision):
    for a, b in combinations(GROUPS[group], 2):
        assert np.linalg.norm(seen(a, vision) - seen(b, vision)) > APART, (a, b)


def test_colours_of_classes_and_systems_are_visible_on_white():
    for colour in GROUPS["classes"] + GROUPS["systems"]:
        luminance = np.array([0.2126, 0.7152, 0.0722]) @ linear(colour)
        assert 1.05 / (luminance + 0.05) > 2.5, colour


def test_no_colour_means_both_a_class_and_a_kind_of_systems():
    colours = GROUPS["classes"] + GROUPS["systems"] + GROUPS["shades"] + [style.BRIGHT]
    assert len(set(colours)) == len(colours)


def test_every_system_has_a_kind_and_every_kind_a_system():
    assert set(style.KIND_OF_SYSTEM) == set(SYSTEMS)
    assert set(style.KIND_OF_SYSTEM.values()) == set(style.KINDS)
    assert style.system_colour("ldae") == style.LDAE
    assert style.system_colour("a new one") == style.GREY


def test_colours_are_named_in_the_style_alone():
    for path in (ROOT / "src/ldae/figures").glob("*.py"):
        if path.name != "style.py":
            assert not re.search(r"#[0-9A-Fa-f]{6}", path.read_text()), path


def test_legend_in_the_docs_is_that_of_the_style():
    text = (ROOT / "docs/figures.md").read_text()
    rows = dict(re.findall(r"^\| ([^|]+?) \| `(#[0-9A-F]{6})` \|", text, flags=re.MULTILINE))
    expected = style.DIAGNOSIS | {kind.label: kind.colour for kind in style.KINDS.values()}
    assert rows == expected
    for key, kind in style.KINDS.items():
        (row,) = [line for line in text.splitlines() if line.startswith(f"| {kind.label} |")]
        named = [name.strip() for name in row.split("|")[3].split(";")]
        own = [SYSTEMS[name].label for name, each in style.KIND_OF_SYSTEM.items() if each == key]
        assert sorted(named) == sorted(own)
    for shade in style.SHADES:
        assert f"`{shade}`" in text
