"""Report: one self-contained HTML file; job usage, methods, model card, claims and warnings."""

import base64
import datetime
import os
import re
import shutil
import time
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
import yaml
from pybtex.database import parse_string

from helpers.report import make_report, outputs, write
from ldae.diffusion.solvers import SOLVERS as SOLVERS_BY_NAME
from ldae.errors import UserError
from ldae.figures.registry import FIGURES
from ldae.files import read_json, read_table, write_json, write_table
from ldae.labels import interval
from ldae.orchestration.job_usage import (
    COLUMNS,
    job_usage_table,
    set_resources_yaml,
    store_largest_usage,
)
from ldae.report.build import full_size, read_cards
from ldae.report.citations import printed
from ldae.report.methods import methods, rates
from ldae.report.methods_evaluation import SOLVERS
from ldae.report.model_card import write_model_card
from ldae.report.page import estimate, linked, symbols, without_paths
from ldae.report.references import bibliography
from ldae.report.run_facts import run_facts
from ldae.report.sections import FOLDED_FIGURES, OPEN_TABLES, SECTIONS, SHOWN_IN
from ldae.report.tables.job_usage import duration, resources
from ldae.report.tables.probes import by_system, threshold_failure
from ldae.report.tables.table import Table
from ldae.report.tables.table import write as write_table_files
from ldae.report.verdicts import QUESTIONS
from ldae.report.warnings import departures, warnings


class Page(HTMLParser):
    """Parsed HTML: sources that a browser would load, links, ids and text."""

    def __init__(self, html: str):
        super().__init__()
        self.loads, self.links, self.ids, self.text = [], [], [], []
        self.open: list[str] = []
        self.alts: list[str] = []
        self.code = 0  # whether within a script or style
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.loads += [attrs["src"]] if "src" in attrs else []
        if "href" in attrs:
            (self.loads if tag == "link" else self.links).append(attrs["href"])
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.alts = [*self.alts, attrs["alt"]] if tag == "img" else self.alts
        self.code += tag in ("script", "style")
        if tag not in ("img", "meta", "br", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.code -= tag in ("script", "style")

    def handle_data(self, data):
        if not self.code:
            self.text.append(data)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Results folder with an image for every figure, its configuration, and the page."""
    return make_report(tmp_path_factory.mktemp("results"))


def full(cautions):
    """The texts of warnings."""
    return " ".join(caution.text for caution in cautions)


def words(html):
    return " ".join(" ".join(Page(html).text).split())


def test_figure_sections_equal_report_sections():
    assert {figure.section for figure in FIGURES.values()} == {key for key, _, _ in SECTIONS}


def test_report_shows_every_table_and_figure(run):
    folder, _, html = run
    for name in FIGURES:
        assert f'id="figure-{name}"' in html
    for path in (folder / "tables").glob("*.tsv"):
        assert f"tables/{path.name}" in html, path.name
    text = words(html)
    assert "Further tables" in text and "new thing" in text  # belongs to no section
    assert "Empty" not in text


def test_report_shows_paper_table_in_place_of_its_source_table(run, tmp_path):
    folder, config, _ = run
    for path in folder.iterdir():
        if path.name != "tables":
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / "tables").mkdir()
    for path in (folder / "tables").glob("*.tsv"):
        (tmp_path / "tables" / path.name).write_bytes(path.read_bytes())
    cells = [["LDAE", "0.945 [0.940, 0.950]", "–"]]
    table = Table("Table 6: reconstruction", ["System", "SSIM", "Paper"], cells, "Of 12 scans.")
    paths = {form: tmp_path / f"tables/table6.{form}" for form in ("tsv", "md", "tex")}
    write_table_files(table, paths)
    text = words(write(tmp_path, config, tmp_path / "out"))
    assert "Table 6: reconstruction Of 12 scans." in text
    assert "LDAE 0.945 [0.940, 0.950] –" in text
    assert "Reconstruction of test scans (Table 6)" not in text  # has the same numbers
    sources = text[text.index("Numbers: tables/table6.tsv") :]
    assert "tables/reconstruction.tsv" in sources[: sources.index("What y sem represents")]
    paths["md"].unlink()
    with pytest.raises(UserError, match=r"table6\.md"):
        write(tmp_path, config, tmp_path / "out")


def test_report_loads_no_external_file_and_is_well_formed(run):
    folder, _, html = run
    page = Page(html)
    assert not page.open
    assert page.loads and all(source.startswith("data:image/png;base64,") for source in page.loads)
    inside = [link[1:] for link in page.links if link.startswith("#")]
    assert inside and set(inside) <= set(page.ids) and len(set(page.ids)) == len(page.ids)
    elsewhere = [link for link in page.links if link.startswith("http")]
    assert elsewhere and all(
        link.startswith(("https://doi.org/10.", "https://arxiv.org/abs/")) for link in elsewhere
    )
    beside = set(page.links) - set(elsewhere) - {f"#{name}" for name in inside}
    named = ("report", "methods.md", "references.bib", "resources.tsv")  # written elsewhere here
    missing = [link for link in beside if not (folder / "report" / link).exists()]
    assert [link for link in missing if not link.endswith(named)] == []
    code = re.sub(r'href="https://[^"]+"', "", html)
    assert not re.search(r"url\(|@import|https?:", code)


def test_report_contains_no_full_path_or_patient_identifier(run, tmp_path):
    folder, config, html = run
    assert "secret" not in html and "…/ADNI" in html
    files = outputs(folder / "report")
    flow = read_table(folder / "tables/flow.tsv")
    flow["reasons"] = "cannot read /home/someone/raw/I1.dcm (2)"
    (tmp_path / "tables").mkdir()
    for path in folder.iterdir():
        if path.name != "tables":
            (tmp_path / path.name).symlink_to(path)
    for path in (folder / "tables").glob("*.tsv"):
        (tmp_path / "tables" / path.name).write_bytes(path.read_bytes())
    write_table(flow, tmp_path / "tables/flow.tsv")
    again = write(tmp_path, config, tmp_path / "again")
    assert "cannot read …/I1.dcm (2)" in again and "someone" not in again
    pixels = re.compile(r"base64,[^\"]+")
    for text in (pixels.sub("", html), files["methods"].read_text()):
        for path in (str(folder), str(tmp_path), str(Path.cwd()), str(Path.home()) + "/"):
            assert path not in text
        assert not re.search(r"PatientName|PatientID|BirthDate|OtherPatientIDs", text)


def test_report_embeds_every_figure_with_its_caption(run):
    folder, _, html = run
    text = words(html)
    for name in FIGURES:
        png = base64.b64encode((folder / f"figures/{name}.png").read_bytes()).decode()
        assert png in html
        assert f"Title of {name}" in text and f"Body of {name}" in text
    assert "& <numbers>" in text


def test_figures_link_to_their_files_and_say_their_result(run):
    html = run[2]
    for name in FIGURES:
        for form in ("png", "pdf"):
            assert f'href="../figures/{name}.{form}"' in html
    alts = [f"Title of {name}. Result of {name}: 0.83." for name in FIGURES]
    assert sorted(Page(html).alts) == sorted(alts)


def test_details_are_folded_and_what_proves_the_summary_is_not(run):
    html = run[2]
    opened = set(re.findall(r'<details class="table" id="table-(\w+)(?:-2)?" open>', html))
    assert opened == OPEN_TABLES
    folded = html[html.index('<details class="more">') :]
    for name in FOLDED_FIGURES:
        assert f'id="figure-{name}"' in folded
    assert set(SHOWN_IN) == set(QUESTIONS)
    assert not {figure for _, figure in SHOWN_IN.values()} & FOLDED_FIGURES


def test_pages_that_the_run_made_are_linked(run, tmp_path):
    folder, config, html = run
    assert not {"../qc/index.html", "explore.html"} & set(Page(html).links)
    pages = [folder / "qc/index.html", folder / "report/explore.html"]
    links = Page(write(folder, config, tmp_path, pages=pages)).links
    assert {"../qc/index.html", "explore.html"} <= set(links)
    with pytest.raises(UserError, match="qc/other"):
        write(folder, config, tmp_path, pages=[folder / "qc/other.html"])


def test_facts_of_a_run_stand_first(run):
    folder, config, html = run
    first = words(html[: html.index("What came out</h2>")])
    assert "36 scans of 12 subjects" in first and "12 scans of 4 subjects, held out" in first
    assert f"seed {config['seed']}" in first and "128 × 160 × 128 voxels of 1.5 mm" in first
    index = read_table(folder / "cache/volumes/index.tsv")
    usage = job_usage_table(folder / "benchmarks", folder / "models", {})
    cards, day = read_cards(folder / "models"), datetime.date(2026, 3, 1)
    known = run_facts("results", config, index, cards, usage, "abcdef0123456789-dirty", day)
    assert known["Date"] == "1 March 2026" and known["Source"].endswith("abcdef012 with changes")
    unknown = run_facts("results", config, index, cards, usage.head(0), None, day)
    assert "not known" in unknown["Source"] and unknown["Time"] == "not recorded"


def test_first_screen_says_what_to_trust_and_what_not(run):
    text = words(run[2])
    trust, _, doubt = text[text.index("What to trust") :].partition("What not to trust")
    assert "31 of 36 images" in trust or "36 of 41 images" in trust
    assert "any of the 4 test subjects" in trust
    doubt = doubt[: doubt.index("Where to look next")]
    assert "Only 4 test subjects" in doubt and "manipulation 4" in doubt


def test_minus_signs_and_addresses_of_works():
    assert str(symbols("gamma -1, [-0.2, -3e-05] of sub-01, T1-3, 2026-11-30")) == (
        "gamma −1, [−0.2, −3e−05] of sub-01, T1-3, 2026-11-30"
    )
    text = str(linked("A & B. 2026. doi:10.1016/j.x.2026.1. arXiv:2504.08635."))
    assert '<a href="https://doi.org/10.1016/j.x.2026.1">doi:10.1016/j.x.2026.1</a>.' in text
    assert '<a href="https://arxiv.org/abs/2504.08635">' in text and "A &amp; B" in text


def test_probes_have_a_row_a_system_and_say_where_a_threshold_failed(run):
    table = read_table(run[0] / "tables/probes.tsv")
    made = by_system(table, "diagnosis")
    assert [row[0] for row in made.rows][:2] == ["LDAE", "Untrained encoder"]
    assert made.columns[:3] == ["System", "AUROC", "AUROC, paper"]
    assert made.rows[0][1:3] == ["0.830 [0.730, 0.930]", "0.895"]
    assert "Threshold" not in made.columns  # no sensitivity was measured
    rates = table[table["metric"] == "auroc"].assign(metric="sensitivity", value=1.0)
    called = rates.assign(metric="specificity", value=[0.0, 0.4, 0.9, 1.0] + [0.0] * 0)
    both = by_system(pd.concat([table, rates, called], ignore_index=True), "diagnosis")
    assert [row[-1] for row in both.rows] == [
        "failed: every scan called AD",
        "failed: all of AD and 60 % of CN called AD",
        "–",
        "–",
    ]
    assert threshold_failure(pd.Series({"sensitivity": 0.0, "specificity": 1.0})) == (
        "failed: no AD scan called AD"
    )


def test_an_interval_has_decimals_enough_to_be_one():
    assert interval(-0.00023, -0.00037, -0.000079) == "−0.00023 [−0.00037, −0.00008]"
    assert interval(0.9977, 0.9974, 0.998) == "0.99770 [0.99740, 0.99800]"
    assert interval(0.814, 0.807, 0.822) == "0.814 [0.807, 0.822]"
    assert interval(-0.03, -0.23, -0.0002, 2) == "−0.03 [−0.23, −0.0002]"
    assert interval(4e-06, -0.00033, 0.00034) == "0.00000 [−0.00033, 0.00034]"
    assert interval(-0.00011, -0.00023, 1.8e-06) == "−0.00011 [−0.00023, 0.000002]"
    assert interval(1.0, 1.0, 1.0) == "1.000 [1.000, 1.000]"


def test_full_size_is_the_grid_of_the_paper():
    assert full_size([128, 160, 128]) and not full_size([32, 40, 32])


def test_report_contains_tables_methods_and_job_usage(run):
    text = words(run[2])
    for phrase in (
        "The cohort (the paper's Table 1)",
        "Reconstruction of test scans (Table 6)",
        "Linear probes: AD against CN (Table 7)",
        "Only 4 test subjects (12 scans)",
        "(shrink factor 4",
        "12 scans of 4 subjects (test)",
        "2 min 30 s",  # two jobs of n4
        "Adam (learning rate 2.5e−05",
        "paper 0.962",
        "(the paper’s Figure 3)",
        "max_failed_fraction",
    ):
        assert phrase in text, phrase


def test_report_lists_preprocessing_outliers_with_their_measures(run):
    folder, _, html = run
    worst = read_table(folder / "qc/measures.tsv").iloc[0]
    text = words(html)
    assert "0 failed a step, 1 set aside by a bound" in text
    assert f"{worst['scan_id']} used" in text or f"{worst['scan_id']} set aside" in text
    assert "QC: ncc 0.2 is below min_ncc 0.35" in text and "at least 0.35" in text


def test_report_says_what_was_repaired_in_the_study_tables(run, tmp_path):
    folder, config, html = run
    assert "Repairs" not in words(html)  # no download
    rows = [["ADNIMERGE", 12, "1 value of AGE blanked (no number)."], ["CDR", 20, None]]
    provenance = pd.DataFrame(rows, columns=["table", "rows", "repairs"])
    write_table(provenance, folder / "cohort/tables.tsv")
    try:
        text = words(write(folder, config, tmp_path))
    finally:
        (folder / "cohort/tables.tsv").unlink()
    assert "ADNIMERGE 12 1 value of AGE blanked (no number)." in text


def test_job_usage_table_has_seconds_and_memory_by_rule(run):
    took = read_table(outputs(run[0] / "report")["resources"]).set_index("rule")
    assert list(took.columns) == list(COLUMNS[1:])
    assert took.loc["n4", ["jobs", "seconds", "longest_seconds"]].tolist() == [2, 150, 75]
    assert took.loc["n4", "cpu_hours"] == pytest.approx(120 / 3600, rel=1e-4)
    assert took.loc["n4", ["max_rss_mib", "gpus", "mem_mib_next"]].tolist() == [1024, 0, 2048]
    assert took.loc["autoencoder", "mem_mib_asked"] == 48000
    assert pd.isna(took.loc["n4", "mem_mib_asked"])
    assert "autoencoder: {mem_mb: 2048 * attempt, runtime: 10 * attempt}" in words(run[2])


def write_benchmark(folder, name, seconds, memory=1024.0):
    path = folder / f"benchmarks/{name}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    row = pd.DataFrame([{"s": seconds, "max_rss": memory, "cpu_time": seconds / 2}])
    row.to_csv(path, sep="\t", index=False)


def test_job_usage_of_resumed_training_counts_epochs_of_all_attempts(tmp_path):
    for stage, last in (("ldm", 900.0), ("ldae", 3700.0)):
        write_benchmark(tmp_path, stage, last)
        history = pd.DataFrame({"epoch": [1, 2], "seconds": [1800.0, 1800.0]})
        (tmp_path / f"models/{stage}").mkdir(parents=True)
        write_table(history, tmp_path / f"models/{stage}/history.tsv")
    asked = {"ldm": {"gpu": 4, "mem_mb": 1}, "ldae": {"gpu": 1, "mem_mb": 1}}
    table = job_usage_table(tmp_path / "benchmarks", tmp_path / "models", asked)
    took = table.set_index("rule")
    # ldm was stopped before its last 900 s; ldae ran once, with 100 s outside of epochs.
    assert took.loc["ldm", ["seconds", "counted_by", "gpu_hours"]].tolist() == [3600, "history", 4]
    assert took.loc["ldae", ["seconds", "counted_by"]].tolist() == [3700, "benchmark"]
    assert took.loc["ldm", "runtime_min_next"] == 90
    printed = resources(table)
    assert [row[2] for row in printed.rows[:2]] == ["1 h 01 min", "1 h 00 min *"]
    assert "stopped and continued *" in printed.note


def test_suggested_resources_follow_the_largest_job_of_a_rule(tmp_path):
    for shard, (seconds, memory) in enumerate([(60, 800), (600, 3000), (90, 900)]):
        write_benchmark(tmp_path, f"n4/shard-{shard}", seconds, memory)
    took = job_usage_table(tmp_path / "benchmarks", tmp_path, {"n4": {"mem_mb": 8000}})
    row = took.iloc[0]
    assert row[["median_seconds", "longest_seconds", "max_rss_mib"]].tolist() == [90, 600, 3000]
    assert row[["mem_mib_next", "runtime_min_next"]].tolist() == [4096, 15]
    assert yaml.safe_load(set_resources_yaml(took)) == {
        "set-resources": {"n4": {"mem_mb": "4096 * attempt", "runtime": "15 * attempt"}}
    }


def test_suggested_resources_keep_largest_usage_until_settings_change(tmp_path):
    folder, asked = tmp_path / "benchmarks", {"n4": {"jobs": 2, "gpu": None}}  # None: unset

    def advice():
        return set_resources_yaml(job_usage_table(folder, tmp_path, asked)).partition("n4: ")[2]

    for shard in range(3):
        write_benchmark(tmp_path, f"n4/shard-{shard}", 3600 * (1 + shard), 3000)
    full_jobs = advice()
    assert full_jobs == "{mem_mb: 4096 * attempt, runtime: 180 * attempt}"  # of shards 0 and 1
    for _ in range(2):  # reruns in which every shard skips its scans
        store_largest_usage(folder, {"n4": "as before"})
        for shard in range(2):
            write_benchmark(tmp_path, f"n4/shard-{shard}", 5, 200)
        assert advice() == full_jobs
    old = time.time() - 60
    for path in folder.glob("n4/*"):
        os.utime(path, (old, old))
    store_largest_usage(folder, {"n4": "other settings"})
    assert advice() == ""
    write_benchmark(tmp_path, "n4/shard-0", 600, 200)
    assert advice() == "{mem_mb: 1024 * attempt, runtime: 15 * attempt}"


def test_job_usage_of_unmeasured_jobs_is_missing_not_zero(tmp_path):
    write_benchmark(tmp_path, "splits", 0.4, "NA")
    write_benchmark(tmp_path, "report", 1.0)  # written after the report
    file = tmp_path / "benchmarks/splits.tsv"
    file.write_text(file.read_text().replace("0.2", "-"))
    took = job_usage_table(tmp_path / "benchmarks", tmp_path, {"splits": {"mem_mb": 1000}})
    assert took["rule"].tolist() == ["splits"] and took["cpu_hours"].isna().all()
    assert resources(took).rows[0][6:8] == ["–", "–"]
    assert set_resources_yaml(took) == ""
    assert resources(job_usage_table(tmp_path / "none", tmp_path, {})) is None


def test_methods_and_references_do_not_depend_on_timings(run, tmp_path):
    folder, config, _ = run
    first = outputs(folder / "report")
    benchmark = folder / "benchmarks/autoencoder.tsv"
    content = benchmark.read_text()
    benchmark.write_text(content.replace("75", "99"))
    try:
        write(folder, config, tmp_path)
    finally:
        benchmark.write_text(content)
    for key in ("methods", "references"):
        assert outputs(tmp_path)[key].read_bytes() == first[key].read_bytes()
    assert outputs(tmp_path)["resources"].read_bytes() != first["resources"].read_bytes()


def test_methods_state_encoder_learning_rate_and_decay():
    cfg = {"learning_rate": 3e-3, "encoder_learning_rate": 5e-4, "decay": "cosine"}
    assert rates(cfg) == "0.003 and 0.0005 for the encoder, falling by a cosine"
    assert rates(cfg | {"encoder_learning_rate": None, "decay": "none"}) == "0.003"


def test_methods_name_sites_left_out_where_subjects_tell_them(run):
    folder, config, _ = run
    cards, index = read_cards(folder / "models"), read_table(folder / "cache/volumes/index.tsv")

    def evaluation(names):
        known = index.assign(participant_id=[names[i % 2] for i in range(len(index))])
        return dict(methods(config, cards, known, {"a": "1"}))["Evaluation"]

    assert "each site left out once" in evaluation(["sub-ADNI002S0001", "sub-ADNI003S0001"])
    assert "left out once" not in evaluation(["sub-ADNI002S0001", "sub-ADNI002S0002"])
    assert "left out once" not in evaluation(["sub-1", "sub-2"])


def test_methods_count_training_scans_of_the_model_card_not_the_index(run):
    folder, config, _ = run
    cards, index = read_cards(folder / "models"), read_table(folder / "cache/volumes/index.tsv")
    parts = index[index["split"] != "test"]
    now = parts["split"].value_counts().to_dict() | {"subjects": parts["participant_id"].nunique()}

    def methods_and_warnings(**scans):
        card = cards["ldm"] | {"scans": now | scans}
        text = " ".join(
            text for _, text in methods(config, cards | {"ldm": card}, index, {"a": "1"})
        )
        return text, full(warnings(config, index, cards | {"ldm": card}))

    text, warned = methods_and_warnings(train=7)
    assert "Trained on 7 scans (" in text and "not trained again" in text
    assert f"ldm has learnt from 7 scans and {now['val']} for selection" in warned
    text, warned = methods_and_warnings()
    assert f"Trained on {now['train']} scans (" in text
    assert "not trained again" not in text + warned


def test_methods_name_solver_and_noise_of_each_experiment(run, monkeypatch):
    folder, config, _ = run
    cards, index = read_cards(folder / "models"), read_table(folder / "cache/volumes/index.tsv")

    def evaluation(**solvers):
        cfg = config["evaluation"] | {"solver": solvers.pop("solver", "ddim")}
        cfg |= {name: cfg[name] | {"solver": solver} for name, solver in solvers.items()}
        return dict(methods(config | {"evaluation": cfg}, cards, index, {"a": "1"}))["Evaluation"]

    given = config | {"published": config["published"] | {"autoencoder": "a.pth"}}
    assert (
        "that no probe saw; whether" in dict(methods(given, cards, index, {"a": "1"}))["Evaluation"]
    )
    assert "no stage saw. DDIM [@song2021] with " in evaluation()
    assert evaluation().count("DDIM steps)") == 2
    text = evaluation(solver="multistep", manipulation="midpoint")
    assert "no stage saw. A second-order multistep solver for noise predictions [@lu2022]" in text
    assert "steps of an exactly invertible midpoint rule [@wang2024belm]) is judged" in text
    assert text.count("DDIM steps)") == 1
    assert "decoded from y_sem alone" not in text
    for start, said in (
        ({"kind": "zero", "draws": 1}, "y_sem alone starts at z_T = 0, not at a draw."),
        ({"kind": "shared", "draws": 1}, "y_sem alone starts at one noise for all scans."),
        ({"kind": "scan", "draws": 4}, "y_sem alone is the mean over 4 noises."),
        ({"kind": "shared", "draws": 4}, "over 4 noises, the same for all scans."),
    ):
        monkeypatch.setitem(config["evaluation"], "start_noise", start)
        assert said in evaluation()
    keys = set(bibliography().entries)
    assert set(re.findall(r"@(\w+)", " ".join(SOLVERS.values()))) <= keys
    assert set(SOLVERS) == set(SOLVERS_BY_NAME)


def test_methods_citations_equal_bibliography_entries(run):
    files = outputs(run[0] / "report")
    text, bib = files["methods"].read_text(), files["references"].read_text()
    keys = set(re.findall(r"@(\w+)[;\]]", text))
    entries = parse_string(bib, "bibtex").entries
    assert keys == set(entries) and len(keys) > 12
    assert "fisch2024" not in keys  # ANTsPyNet extracts the brains in this configuration
    assert all(entry.fields["checked"] for entry in entries.values())
    assert "bibliography: references.bib" in text
    html = run[2]
    for key in keys:
        assert f'id="ref-{key}"' in html and f'href="#ref-{key}"' in html
    for phrase in ("shrink factor 4", "torch 2.0", "Only 4 test subjects"):
        assert phrase in text


def test_report_names_external_test_sets_and_prints_their_tables_once(run, tmp_path):
    folder, config, _ = run
    for path in folder.iterdir():
        if path.name not in ("tables", "cache"):
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / "cache/volumes").mkdir(parents=True)
    index = read_table(folder / "cache/volumes/index.tsv")
    other = index.head(3).assign(participant_id=["sub-x", "sub-x", "sub-y"], split="external")
    write_table(pd.concat([index, other]), tmp_path / "cache/volumes/index.tsv")
    shutil.copytree(folder / "tables", tmp_path / "tables")
    probes = read_table(folder / "tables/probes.tsv").assign(cohort="OTHER", note=None)
    write_table(probes, tmp_path / "tables/probes_external.tsv")
    means = read_table(folder / "tables/reconstruction.tsv").assign(cohort="OTHER", note=None)
    write_table(means, tmp_path / "tables/reconstruction_external.tsv")
    datasets = {"OTHER": {"bids_dir": "x", "role": "test"}}
    changed = config | {"cohort": config["cohort"] | {"beside": datasets}}
    text = words(write(tmp_path, changed, tmp_path / "report"))
    assert "3 scans of 2 subjects of external test sets" in text
    assert "3 scans of 2 subjects (external)" in text
    assert "OTHER served as external test data alone" in text
    assert "In the external test set OTHER," in text
    assert text.count("Probes external") == 1


def test_references_are_complete():
    for one in bibliography().entries.values():
        fields = one.fields
        assert fields["title"].strip("{}") in printed(one) and fields["year"] in printed(one)
        assert {"doi", "eprint", "pages"} & fields.keys()
        assert "doi" not in fields or re.fullmatch(r"10\.\d{4,}/\S+", fields["doi"])
        assert re.match(r"[\w -]+(, [\w -]+)*( et al)?\. \w", printed(one)), printed(one)


def test_reference_is_printed_with_all_that_identifies_it():
    entries = bibliography().entries
    assert printed(entries["routier2021"]) == (
        "Routier, Burgos et al. Clinica: An Open-Source Software Platform for Reproducible "
        "Clinical Neuroscience Studies. Frontiers in Neuroinformatics 15, 689675, 2021. "
        "doi:10.3389/fninf.2021.689675."
    )
    assert "De Stefano, Huisman. Latent" in printed(entries["lozupone2026"])
    assert "22117–22130, 2022. arXiv:2212.12990." in printed(entries["zhang2022pdae"])


def test_report_of_published_weights_describes_no_training(run, tmp_path):
    folder, config, _ = run
    for path in folder.iterdir():
        if path.name != "models":
            (tmp_path / path.name).symlink_to(path)
    for stage in ("autoencoder", "ldm", "ldae"):
        card = read_json(folder / f"models/{stage}/model.json")
        keep = ("kind", "architecture", "versions", "sha256", "citation")
        bare = {key: card[key] for key in keep} | {"published": True, "seed": 0, "departures": []}
        bare |= {"versions": {"ldae": "0.1.0"}, "flags": ["which subjects they saw is unknown"]}
        write_json(bare, tmp_path / f"models/{stage}/model.json")
    text = words(write(tmp_path, config, tmp_path / "out"))
    assert "published weights" in text and "nothing was trained here" in text
    assert "The model card of ldae says: which subjects they saw is unknown." in text
    write_model_card(tmp_path, config, tmp_path / "out/CARD.md")
    assert "published by the authors" in (tmp_path / "out/CARD.md").read_text()


def test_report_and_model_card_describe_baseline_models(run, tmp_path):
    folder, config, _ = run
    for path in folder.iterdir():
        if path.name != "models":
            (tmp_path / path.name).symlink_to(path)
    (tmp_path / "models").mkdir()
    for path in (folder / "models").iterdir():
        (tmp_path / "models" / path.name).symlink_to(path)
    own = {"architecture": {"encoder": {"plane": "axial"}, "checkpointing": True}}
    for name, kind in {"dae": "dae", "supervised_age": "supervised"}.items():
        card = read_json(folder / "models/ldae/model.json") | own | {"kind": kind}
        write_json(card, tmp_path / f"models/{name}/model.json")
        history = read_table(folder / "models/ldae/history.tsv")
        write_table(history, tmp_path / f"models/{name}/history.tsv")
    text = words(write(tmp_path, config, tmp_path / "out"))
    assert "Voxel-space diffusion autoencoder" in text and "112 × 128 × 112 voxels" in text
    assert "Supervised age (supervised encoder)" in text
    write_model_card(tmp_path, config, tmp_path / "CARD.md")
    text = (tmp_path / "CARD.md").read_text()
    assert "| dae | dae | `" in text and "**supervised_age**: encoder.plane axial." in text


def test_model_card_states_scores_and_intended_use(run, tmp_path):
    folder, config, _ = run
    out = tmp_path / "MODEL_CARD.md"
    write_model_card(folder, config, out)
    text = out.read_text()
    first = out.read_bytes()
    write_model_card(folder, config, out)
    assert out.read_bytes() == first
    for phrase in (
        "## Intended use",
        "## Not intended",
        "no output is a medical finding",
        f"`{2:064x}`",  # of the third stage
        "| test | 4 | 12 |",
        "| AUROC | 0.830 [0.730, 0.930]",
        "Only 4 test subjects (12 scans)",
        "10.1016/j.media.2026.103932",
    ):
        assert phrase in text, phrase
    assert "secret" not in text
    cells = [line.count(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert min(cells) >= 2


def test_report_refuses_missing_table_figure_or_model_card(run, tmp_path):
    folder, config, _ = run
    tables = [path.stem for path in (folder / "tables").glob("*.tsv")]
    for name in (
        "tables/probes.tsv",
        "tables/new.tsv",
        "figures/probes.png",
        "models/ldm/model.json",
        "qc/measures.tsv",
    ):
        path = folder / name
        content = path.read_bytes()
        path.unlink()
        try:
            with pytest.raises(UserError, match=re.escape(path.name)):
                write(folder, config, tmp_path, tables=tables)
        finally:
            path.write_bytes(content)
    assert not list(tmp_path.iterdir())


def test_report_without_ground_truth_has_no_ground_truth_section(run, tmp_path):
    folder, config, _ = run
    config = {**config, "evaluation": {**config["evaluation"], "truth": None}}
    html = write(folder, config, tmp_path)
    assert 'id="figure-truth"' not in html and "synthetic" not in html


def test_warnings_name_departures_few_subjects_and_lpips_net(run):
    folder, config, _ = run
    index = pd.DataFrame({"participant_id": ["a"], "split": ["test"]})
    card = read_json(folder / "models/autoencoder/model.json")
    assert departures(config, {"autoencoder": card}) == []
    scratch = {"departures": ["autoencoder trained from scratch"], "flags": ["it collapsed"]}
    preprocess = config["preprocess"] | {"brain_extraction": {"method": "deepbet"}}
    off = {**config, "synthetic": {}, "preprocess": preprocess}
    text = full(warnings(off, index, {"autoencoder": scratch, "ldae": scratch}))
    assert "three real base heads" in text and "rather than the individual" in text
    assert "synthetic" in text and "1 test subject" in text
    assert text.count("autoencoder trained from scratch") == 1 and "deepbet" in text
    assert "The model card of ldae says: it collapsed." in text
    assert "LPIPS in the tables is measured by alex" in text
    lpips = {"net": "squeeze", "protocol": "fake_3d"}
    squeeze = {**config["evaluation"], "truth": None, "lpips": lpips}
    text = full(warnings({**config, "evaluation": squeeze}, index, {}))
    assert "base heads" not in text and "LPIPS" not in text


def test_without_paths_shortens_absolute_paths_only():
    assert without_paths("of /data/a b, '/x/y/z.tsv' and /tmp/q/") == "of …/a b, '…/z.tsv' and …/q"
    for text in ("and/or/nor", "1/2/3", "results/tables/x.tsv", "</td></tr>", "doi:10.1/a/b"):
        assert without_paths(text) == text


def test_estimate_escapes_html_and_marks_interval():
    assert "<script>" not in estimate("<script>")
    assert '<span class="ci">[0.1, 0.2]</span>' in estimate("0.15 [0.1, 0.2]")


def test_duration_in_seconds_minutes_or_hours():
    assert [duration(s) for s in (4.2, 200, 7500)] == ["4 s", "3 min 20 s", "2 h 05 min"]
