"""The report: one file, nothing to load from elsewhere, every figure and verdict in it."""

import base64
import math
import re
import shutil
from html.parser import HTMLParser

import pandas as pd
import pytest
from fake_results import make_results
from PIL import Image

from ldae.errors import UserError
from ldae.figures import FIGURES
from ldae.files import read_table, write_json
from ldae.report import build
from ldae.report.build import SECTIONS, TABLES, estimate
from ldae.report.claims import OPEN, OPPOSITE, SHOWN, claims, tally, verdict
from ldae.report.methods import pretrained_off, warnings
from ldae.report.resources import duration

OWN = "Decoding from the scan's own y_sem is closer to it than from another subject's"
NAMES = [name for *_, figures in SECTIONS for name in figures]


class Page(HTMLParser):
    """Collects what a browser would load or follow, ids, and text."""

    def __init__(self, html: str):
        super().__init__()
        self.loads, self.links, self.ids, self.text = [], [], [], []
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        assert tag != "script"
        self.loads += [attrs["src"]] if "src" in attrs else []
        if "href" in attrs:
            (self.loads if tag == "link" else self.links).append(attrs["href"])
        self.ids += [attrs["id"]] if "id" in attrs else []
        if tag not in ("img", "meta", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A results folder with a picture for every figure, its configuration, and the page."""
    folder = tmp_path_factory.mktemp("results")
    _, config = make_results(folder)
    (folder / "figures").mkdir()
    for number, name in enumerate(NAMES):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"figures/{name}.png")
        caption = f"Title of {name}\n\nBody of {name} with y_sem & <numbers>.\n"
        (folder / f"figures/{name}.caption.txt").write_text(caption)
    build(folder, config, folder / "report/report.html")
    return folder, config, (folder / "report/report.html").read_text()


def test_the_report_shows_every_figure_there_is():
    assert sorted(NAMES) == sorted(FIGURES)


def test_the_page_loads_nothing_and_is_well_formed(run):
    page = Page(run[2])
    assert not page.open
    assert page.loads and all(source.startswith("data:image/png;base64,") for source in page.loads)
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert not re.search(r"url\(|@import|https?:", run[2])


def test_every_figure_is_inline_with_its_caption(run):
    folder, _, html = run
    text = " ".join(" ".join(Page(html).text).split())
    for name in NAMES:
        assert f'id="figure-{name}"' in html
        png = base64.b64encode((folder / f"figures/{name}.png").read_bytes()).decode()
        assert png in html
        assert f"Title of {name}" in text and f"Body of {name}" in text
    assert "& <numbers>" in text


def test_tables_methods_and_resources_are_there(run):
    html = run[2]
    text = " ".join(" ".join(Page(html).text).split())
    for words in (
        "The cohort (the paper's Table 1)",
        "Reconstruction of test scans (Table 6)",
        "Linear probes: AD against CN (Table 7)",
        "Only 4 test subjects (12 scans)",
        "N4 bias correction (shrink factor 4",
        "12 scans of 4 subjects (test)",
        "2 min 30 s",  # two jobs of n4
        "Adam (learning rate 2.5e-05",
        "paper 0.962",
        "(the paper’s Figure 3)",
        "max_failed_fraction",
    ):
        assert words in text, words
    assert "sub-ADNI009S0109" not in html  # a training subject: in no figure, so nowhere


def test_a_missing_table_or_figure_is_a_users_error(run, tmp_path):
    folder, config, _ = run
    for victim in ("tables/probes.tsv", "figures/probes.png", "models/ldm/model.json"):
        path = folder / victim
        content = path.read_bytes()
        path.unlink()
        try:
            with pytest.raises(UserError, match=re.escape(path.name)):
                build(folder, config, tmp_path / "report.html")
        finally:
            path.write_bytes(content)
    assert not list(tmp_path.iterdir())


def test_without_known_truth_there_is_no_section_of_it(run, tmp_path):
    folder, config, _ = run
    config = {**config, "evaluation": {**config["evaluation"], "truth": None}}
    build(folder, config, tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text()
    assert 'id="figure-truth"' not in html and "synthetic" not in html


def test_verdicts():
    assert verdict(0.6, 0.9, 0.5, above=True) == SHOWN
    assert verdict(0.4, 0.9, 0.5, above=True) == OPEN
    assert verdict(0.1, 0.4, 0.5, above=True) == OPPOSITE
    assert verdict(-0.3, -0.1, 0, above=False) == SHOWN
    assert verdict(-0.3, 0.1, 0, above=False) == OPEN
    assert verdict(0.1, 0.3, 0, above=False) == OPPOSITE
    assert verdict(math.nan, math.nan, 0, above=True) == OPEN


def test_claims_say_what_the_tables_say(run):
    tables = {name: read_table(run[0] / f"tables/{name}.tsv") for name in (*TABLES, "truth")}
    found = {one.text: one for one in claims(tables, 1.5)}
    assert found[OWN].verdict == SHOWN
    assert found["The autoencoder reproduces unseen scans"].verdict == SHOWN
    trip = found["Inverting and decoding by DDIM loses next to nothing"]
    assert (trip.criterion, trip.verdict) == ("> 0.99", SHOWN) and "T = 50" in trip.measure
    auroc = found["y_sem tells AD from CN, linearly"]
    assert (auroc.found, auroc.paper, auroc.verdict) == ("0.830 [0.730, 0.930]", "0.895", SHOWN)
    assert found["For the diagnosis, y_sem beats an untrained encoder"].verdict == OPEN
    assert found["y_sem predicts age better than guessing the mean age"].verdict == SHOWN
    assert found["Manipulation AD → CN makes the ventricles smaller"].verdict == SHOWN
    assert found["A missing visit is predicted better than by the nearest visit"].verdict == SHOWN
    assert "the opposite" not in tally(list(found.values()))
    gaps = tables["reconstruction_controls"]
    gaps.loc[gaps["comparison"] == "y_sem - wrong_y_sem", ["ci_low", "ci_high"]] = [-0.2, -0.1]
    changed = {one.text: one for one in claims(tables, 1.5)}
    assert changed[OWN].verdict == OPPOSITE
    assert "for 1 the opposite is seen" in tally(list(changed.values()))


def test_manipulation_is_judged_at_the_strength_stated(run):
    tables = {name: read_table(run[0] / f"tables/{name}.tsv") for name in TABLES}
    rows = tables["manipulation"]
    text = "Manipulation CN → AD makes the ventricles larger"

    def judged(alpha):
        return next(one for one in claims(tables, alpha) if one.text == text)

    nearest, exact = judged(1.5), judged(5)
    assert nearest.found == "1.00 [0.80, 1.20]" and "α = 2 less α = 0" in nearest.measure
    assert "(at the largest, 5: 2.50 [2.30, 2.70])" in nearest.measure
    assert "is monotone over α = 0 to 5" in nearest.measure
    assert exact.found == "2.50 [2.30, 2.70]" and "largest" not in exact.measure
    assert "α = 2 less" in judged(0.1).measure  # never α = 0 itself
    worst = (rows["direction"] == "CN to AD") & (rows["alpha"] == 5)
    rows.loc[worst, ["value", "ci_low", "ci_high"]] = [-1.0, -2.0, -0.5]
    assert judged(1.5).verdict == SHOWN and judged(5).verdict == OPPOSITE
    assert "not monotone over α = 0 to 5: it turns back at α = 2" in judged(1.5).measure


def test_warnings_name_what_is_off(run):
    _, config, _ = run
    index = pd.DataFrame({"participant_id": ["a"], "split": ["test"]})
    assert pretrained_off(config) == []
    off = {**config, "synthetic": {}, "autoencoder": {**config["autoencoder"], "pretrained": None}}
    text = " ".join(warnings(off, index))
    assert "three real base heads" in text and "rather than the individual" in text
    assert "synthetic" in text and "UK Biobank" in text and "1 test subject" in text
    real = {**config, "evaluation": {**config["evaluation"], "truth": None}}
    assert "base heads" not in " ".join(warnings(real, index))


def test_a_run_of_published_weights_is_said_to_be_one(run, tmp_path):
    """Without histories, training curves and the entries of cards that trainings alone write."""
    folder, config, _ = run
    copied = tmp_path / "results"
    shutil.copytree(folder, copied, ignore=shutil.ignore_patterns("history.tsv", "training_*"))
    for stage in ("autoencoder", "ldm", "ldae"):
        card = {"kind": stage, "published": True, "versions": {"ldae": "1"}, "latent_scale": 0.873}
        card["architecture"] = {"backbone": "convnext_small", "plane": "axial"}
        write_json(card, copied / "models" / stage / "model.json")
    build(copied, config, tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text())
    text = " ".join(" ".join(page.text).split())
    assert "Published weights: autoencoder, latent diffusion model" in text
    assert "multiplied by 0.873" in text
    assert "the test subjects may be among them" in text
    assert "weights published by the authors, not trained here" in text
    assert "training" not in page.ids and "representation" in page.ids
    assert "that no stage saw" not in text and "Adam" not in text


def test_text_of_tables_is_escaped():
    assert "<script>" not in estimate("<script>")
    assert '<span class="ci">[0.1, 0.2]</span>' in estimate("0.15 [0.1, 0.2]")


def test_durations():
    assert [duration(s) for s in (4.2, 200, 7500)] == ["4 s", "3 min 20 s", "2 h 05 min"]
