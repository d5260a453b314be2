"""Hooks of the site: links turned to its pages, the notebook, and charts drawn at the build."""

import posixpath
import re
import xml.etree.ElementTree as ET

import pytest

import flowchart
import hooks

CHART = """flowchart TB
  a[start<br/>here] -->|by hand| b & c
  b --> d[("store")]
  c --> d
  a --> d
"""


def places(drawn: str, tag: str) -> list[ET.Element]:
    return list(ET.fromstring(drawn).iter(f"{{http://www.w3.org/2000/svg}}{tag}"))


def test_chart_has_a_box_for_each_name_and_an_arrow_for_each_edge():
    drawn = flowchart.svg(CHART, "Title & more")
    assert len(places(drawn, "rect")) == 4
    assert len([path for path in places(drawn, "path") if path.get("class") == "way"]) == 5
    texts = [text.text for text in places(drawn, "text")]
    assert {"start", "here", "store"} <= set(texts) and texts.count("by hand") == 2
    assert places(drawn, "title")[0].text == "Title & more"


def boxes(drawn: str) -> list[tuple[float, float, float, float]]:
    """x, y, width, height of each box."""
    names = ("x", "y", "width", "height")
    return [tuple(float(box.get(name)) for name in names) for box in places(drawn, "rect")]


@pytest.mark.parametrize("page", ["docs/how-it-works.md", "docs/architecture.md"])
def test_boxes_of_the_pages_charts_do_not_overlap(page):
    source = hooks.CHART.search(hooks.read(page))[1]
    drawn = boxes(flowchart.svg(source, page))
    assert len(drawn) > 10
    for number, (x, y, width, height) in enumerate(drawn):
        for u, v, wide, tall in drawn[number + 1 :]:
            apart = x + width < u or u + wide < x or y + height < v or v + tall < y
            assert apart


def test_upward_chart_has_its_first_box_at_the_bottom():
    down = boxes(flowchart.svg("flowchart TB\na --> b", "x"))
    up = boxes(flowchart.svg("flowchart BT\na --> b", "x"))
    assert down[0][1] < down[1][1] and up[0][1] > up[1][1]


@pytest.mark.parametrize(
    "source", ["graph LR\na --> b", "flowchart TB\na ==> b", "flowchart TB\n-->"]
)
def test_other_charts_are_refused(source):
    with pytest.raises(ValueError, match="chart"):
        flowchart.svg(source, "x")


def turned(text: str, source: str, uri: str) -> str:
    def from_page(path: str) -> str:
        return posixpath.relpath(hooks.uri_of(path), posixpath.dirname(uri) or ".")

    return hooks.with_links(text, source, from_page)


def test_links_lead_to_the_pages_of_the_site():
    text = "[a](docs/adni.md#1-download) [c](config/README.md) ![p](docs/images/p.png) [l](LICENSE)"
    assert turned(text, "README.md", "index.md") == (
        "[a](adni.md#1-download) [c](config.md) ![p](images/p.png) [l](files/LICENSE.txt)"
    )
    text = "[r](../README.md#cite) [here](#below) [web](https://example.org/a) [n](tutorial.ipynb)"
    assert turned(text, "docs/adni.md", "adni.md") == (
        "[r](index.md#cite) [here](#below) [web](https://example.org/a) [n](tutorial.md)"
    )


def test_links_in_code_stay():
    text = "```\n[a](docs/adni.md)\n```\n[a](docs/adni.md)"
    assert turned(text, "README.md", "index.md") == "```\n[a](docs/adni.md)\n```\n[a](adni.md)"


def test_notebook_page_has_every_cell():
    page = hooks.notebook_page(hooks.REPO / hooks.NOTEBOOK)
    assert page.startswith("# The models, step by step")
    assert len(re.findall("^```python$", page, re.MULTILINE)) >= 8 and "## Manipulate" in page
