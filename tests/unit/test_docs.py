"""Docs: links and anchors, answers within two clicks, pages made from the source, facts."""

import ast
import posixpath
import pydoc
import re
import tomllib

import pytest
import yaml

import hooks
import reference
from helpers.pages import NOTEBOOK, ROOT, anchors, cells, code_blocks, links, pages
from helpers.plans import GROUPS, PLANS, rules

OWN = [page for page in pages() if not page.startswith(("src/", "resources/", ".github/"))]
REPEATING = ("CHANGELOG.md", "docs/proof.md")  # whose headings are those of versions and figures
# What a new reader asks, and where it is answered.
QUESTIONS = {
    "What does a run cost?": "README.md#what-a-run-on-adni-costs",
    "How much disk do I need?": "docs/faq.md#how-much-disk-do-i-need",
    "What do I have to download?": "docs/adni.md#1-download",
    "Where are the results?": "docs/faq.md#where-are-the-results",
    "How do I exclude a scan?": "docs/faq.md#how-do-i-exclude-a-scan",
    "Do I need a GPU?": "docs/faq.md#do-i-need-a-gpu",
    "Can I use my own scans?": "docs/own-scans.md#a-raw-head-ldae-apply",
    "How do I cite it, under which licence?": "README.md#cite-licence-take-part",
    "May I use it for patients?": "docs/faq.md#may-i-use-it-for-patients",
    "It was killed. What now?": "docs/faq.md#it-was-killed-what-now",
    "Is my result a good one?": "docs/good-run.md#the-demo-in-numbers",
    "What are my N scans good for?": "docs/what-you-get.md#by-the-number-of-people",
}


@pytest.mark.parametrize("page", OWN)
def test_links_lead_to_files_and_headings(page):
    for target, anchor in links(page):
        assert (ROOT / target).exists(), f"{page}: {target}"
        if anchor:
            assert anchor in anchors(target), f"{page}: {target}#{anchor}"


@pytest.mark.parametrize("page", [page for page in OWN if page not in REPEATING])
def test_headings_of_a_page_have_distinct_anchors(page):
    assert len(set(anchors(page))) == len(anchors(page))


@pytest.mark.parametrize("question", QUESTIONS)
def test_question_is_answered_within_two_clicks_of_the_readme(question):
    page, _, anchor = QUESTIONS[question].partition("#")
    reached = {"README.md"}
    for _ in range(2):
        reached |= {target for known in reached & set(OWN) for target, _ in links(known)}
    assert page in reached and anchor in anchors(page)


def test_site_has_every_page():
    text = re.sub(r"!!python/\S+", "", (ROOT / "mkdocs.yml").read_text())
    listed = set(re.findall(r"\b[\w-]+\.md", yaml.safe_dump(yaml.safe_load(text)["nav"])))
    docs = {posixpath.basename(page) for page in OWN if page.startswith("docs/")}
    assert listed == docs | set(hooks.PAGES.values())


# --- pages made from the source -------------------------------------------------------------------


def test_page_of_the_configuration_is_up_to_date():
    text = (ROOT / reference.CONFIGURATION).read_text()
    assert text == reference.configuration_page(), "Run: python docs/_site/reference.py"


def test_page_of_the_commands_is_up_to_date():
    text = (ROOT / reference.COMMAND_PAGE).read_text()
    assert text == reference.commands_page(), "Run: python docs/_site/reference.py"


def test_every_key_of_the_configuration_is_explained():
    def paths(content, above=()):
        for name, value in content.items():
            yield (*above, name)
            if isinstance(value, dict):
                yield from paths(value, (*above, name))

    found = {key.path: key for key in reference.all_keys()}
    defaults = yaml.safe_load((ROOT / reference.DEFAULTS).read_text())
    targets = ("evaluation", "targets")  # whose names are the user's: explained as one
    written = {
        (*targets, reference.ENTRY, *path[3:]) if path[:2] == targets and path[2:] else path
        for path in paths(defaults)
    }
    assert written <= set(found)
    assert len(found) > 240
    assert [key.path for key in found.values() if not key.section and not key.meaning] == []


def test_key_has_its_default_its_range_and_its_comment():
    found = {key.path: key for key in reference.all_keys()}
    key = found["preprocess", "qc", "max_border"]
    assert key.default == "0.005"
    assert reference.allowed(key.schema) == "number ≥ 0 ≤ 1, `null`"
    assert key.meaning.endswith("at the lower face, is 0.003.")  # of the comment's second line
    assert "mriqc_cjv" not in found["preprocess", "qc", "min_asymmetry"].meaning
    assert reference.allowed(found["ldm", "micro_batch"].schema) == "`auto`, integer ≥ 1"


# --- what pages say -------------------------------------------------------------------------------


def said() -> str:
    """All texts of the library and the rules, one beside the other; parts that differ are \\0."""
    texts = [path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk"))]
    texts = [re.sub(r'"\n\s*f?"', "", text) for text in texts]
    for path in sorted((ROOT / "src/ldae").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = (getattr(part, "value", "") for part in node.values)
                texts.append("".join(part if isinstance(part, str) else "\0" for part in parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts)


def test_troubleshooting_quotes_messages_of_the_program():
    texts = said()
    quoted = [row[0] for row in cells("docs/troubleshooting.md", "the message")]
    messages = [cell.strip("` ") for cell in quoted if cell.startswith("`")]
    assert len(messages) > 50
    lost = [
        part
        for message in messages
        for part in re.split(r"…", message)
        if len(part.strip()) > 3 and part.strip() not in texts
    ]
    assert lost == []


def test_partial_runs_page_names_the_models_that_are_trained():
    by_page = {row["page"]: row for row in PLANS.values() if "page" in row}
    rows = cells("docs/partial-runs.md", "you have")
    assert [row[0] for row in rows] == list(dict.fromkeys(row[0] for row in rows))
    assert {row[0] for row in rows} == set(by_page) and len(rows) == 11
    for name, trained, *_ in rows:
        expected = set(rules(by_page[name]["runs"])) & set(GROUPS["trainings"])
        stated = set(re.findall(r"`(\w+)`", trained))
        stated |= set(GROUPS["trainings"]) if trained == "all models" else set()
        assert stated == expected, name


def test_pages_name_one_range_of_python_versions():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    least, above = (int(number) for number in re.findall(r"3\.(\d+)", project["requires-python"]))
    versions = [f"3.{minor}" for minor in range(least, above)]
    text = f"{', '.join(versions[:-1])} or {versions[-1]}"
    for page in ("README.md", "docs/install.md", "docs/faq.md", "Makefile"):
        assert text in (ROOT / page).read_text(), page


def test_pages_agree_on_the_minutes_of_the_demo():
    told = {
        found
        for page in [*OWN, "Makefile"]
        if page != "CHANGELOG.md"
        for found in re.findall(r"([\d-]+) minutes (?:on|of) two cores", (ROOT / page).read_text())
    }
    assert len(told) == 1, told


def commands(page: str) -> list[str]:
    """What stands in code: pieces in backticks, and lines of blocks for a shell."""
    lines = [line for _, text in code_blocks(page, "bash") for line in text.splitlines()]
    return re.findall(r"`([^`\n]+)`", (ROOT / page).read_text()) + lines


@pytest.mark.parametrize("page", OWN)
def test_commands_of_make_and_ldae_exist(page):
    makefile = (ROOT / "Makefile").read_text()
    for command in commands(page):
        if target := re.match(r"make ([a-z][a-z-]+)", command):
            assert re.search(rf"^{target[1]}:", makefile, re.MULTILINE), command
        if name := re.match(r"ldae ([a-z][a-z-]+)", command):
            assert name[1] in reference.COMMANDS, command


def test_examples_of_the_python_page_run_on_the_sample():
    blocks = code_blocks("docs/python.md", "python")
    sources = [text for heading, text in blocks if heading != "Read the results of a run"]
    assert len(sources) == len(blocks) - 1 >= 5
    source, steps = "\n".join(sources), 'bundle.settings["ddim_steps"]'
    assert steps in source
    names: dict = {}
    exec(source.replace(steps, "2"), names)
    assert names["again"].shape == names["changed"].shape == names["x"].shape
    assert 0 <= names["percentile"] <= 100 and names["alpha"] > 0


def test_names_of_the_python_page_exist():
    for first, about in cells("docs/python.md", "name"):
        for name in re.findall(r"`(ldae[\w.]+)`", first):
            found = pydoc.locate(name)
            assert found is not None, name
            for attribute in re.findall(r"`(\w+)(?:\(\))?`", about):
                fields = getattr(found, "__dataclass_fields__", {})
                assert hasattr(found, attribute) or attribute in fields, f"{name}.{attribute}"


def test_notebook_is_linked_from_the_pages():
    assert any(target == NOTEBOOK for page in OWN for target, _ in links(page))


def test_the_sites_own_files_name_no_other_machine():
    files = [*(ROOT / "docs/assets").iterdir(), ROOT / "mkdocs.yml"]
    assert len(files) >= 3
    for file in files:
        text = re.sub(r"/\*.*?\*/", "", file.read_text(), flags=re.DOTALL)
        assert not re.search(r"https?://", text), file
