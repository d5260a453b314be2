"""The report in a browser: filtered, sorted, enlarged, by keyboard, on a phone, and printed."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from helpers.browser import violations
from helpers.report import make_report
from ldae.report.sections import FOLDED_FIGURES
from ldae.report.verdicts import OPEN, SHOWN

PHONE = {"width": 390, "height": 844}
PAGES_PRINTED = 20  # most sheets of A4


@pytest.fixture(scope="module")
def address(tmp_path_factory) -> str:
    """Address of a report that also links to a page of quality and an explorer."""
    folder, _, _ = make_report(tmp_path_factory.mktemp("results"))
    return (folder / "report/report.html").as_uri()


def column(table: Locator, place: int) -> list[str]:
    """Texts of a column, from 1."""
    return table.locator(f"tbody tr > :nth-child({place})").all_inner_texts()


def beyond(tab: Page) -> list[str]:
    """Elements that reach over the right edge, without those that scroll within themselves."""
    return tab.evaluate(
        """() => [...document.querySelectorAll("main *, nav *")].filter((each) =>
            !each.closest(".scroll, pre, .hidden")
            && each.getBoundingClientRect().right > innerWidth + 1).map((each) => each.outerHTML)"""
    )


def test_first_screen_answers_what_came_out(page: Page, address: str):
    page.goto(address)
    last = page.get_by_text("Where to look next").bounding_box()
    assert last and last["y"] + last["height"] <= 900
    assert page.locator(".outcome li").count() == 5
    assert page.locator(".outcome .verdict").count() == 5
    for link in page.locator(".outcome a").all():
        assert page.locator(str(link.get_attribute("href"))).count() == 1


def test_claims_are_filtered_by_verdict_and_question(page: Page, address: str):
    page.goto(address)
    rows, visible = page.locator(".claims tbody tr"), page.locator(".claims tbody tr:visible")
    total = rows.count()
    page.get_by_label("Verdict").select_option(OPEN)
    few = visible.count()
    assert 0 < few < total
    assert set(visible.locator(".verdict").all_inner_texts()) == {OPEN}
    assert page.locator("output").inner_text() == f"{few} of {total} claims"
    page.get_by_label("Verdict").select_option("")
    page.get_by_label("Question").select_option("Age")
    assert set(visible.locator("td:first-child").all_inner_texts()) == {"Age"}
    page.get_by_label("Question").select_option("")
    assert visible.count() == total


def test_tables_are_sorted_by_keyboard_with_empty_cells_last(page: Page, address: str):
    page.goto(address)
    table = page.locator("#table-probes table")
    before = column(table, 2)
    button = table.get_by_role("button", name="AUROC", exact=True)
    button.focus()
    page.keyboard.press("Enter")
    values = [float(text.split()[0]) for text in column(table, 2)]
    assert values == sorted(values) and column(table, 2) != before
    assert table.locator("th[aria-sort=ascending]").inner_text() == "AUROC"
    page.keyboard.press("Enter")
    assert [float(text.split()[0]) for text in column(table, 2)] == values[::-1]
    table.get_by_role("button", name="AUROC, paper").press("Space")
    assert column(table, 3)[0] == "0.895" and set(column(table, 3)[1:]) == {"–"}
    page.locator("#usage summary").click()
    times = page.locator("#usage table")
    times.get_by_role("button", name="Wall time, summed").click()
    assert [text for text in column(times, 1)] == ["autoencoder", "n4", "all"]  # the sum stays last


def test_wide_tables_keep_their_first_column_and_show_that_there_is_more(page: Page, address: str):
    page.goto(address)
    page.set_viewport_size(PHONE)
    table = page.locator("#table-cohort")
    expect(table.locator(".cue")).to_be_visible()  # in the frame after the change of width
    expect(table.locator(".holder.more")).to_have_count(1)
    first = table.locator("tbody th").first
    left = first.bounding_box()["x"]
    table.locator(".scroll").focus()
    for _ in range(40):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('#table-cohort .scroll').scrollLeft > 100")
    assert first.bounding_box()["x"] == left
    table.locator(".scroll").evaluate("each => each.scrollTo({left: 1e6, behavior: 'instant'})")
    page.wait_for_function("!document.querySelector('#table-cohort .holder.more')")


def test_figures_enlarge_in_place_and_links_open_what_is_folded(page: Page, address: str):
    page.goto(address)
    figure = page.locator("#figure-probes")
    small = figure.bounding_box()["width"]
    figure.get_by_role("button").press("Enter")
    assert figure.bounding_box()["width"] > 1.5 * small
    assert figure.get_by_role("button").get_attribute("aria-expanded") == "true"
    figure.get_by_role("button", name="Reduce").click()
    assert figure.bounding_box()["width"] == small
    folded = page.locator("#table-manipulation")
    assert not folded.evaluate("each => each.open")
    page.locator(".claims a[href='#table-manipulation']").first.click()
    page.wait_for_function("document.querySelector('#table-manipulation').open")
    name = min(FOLDED_FIGURES)
    assert not page.locator(f"#figure-{name}").is_visible()
    page.goto(f"{address}#figure-{name}")
    page.locator(f"#figure-{name}").wait_for(state="visible")
    opener = page.get_by_role("button", name="Open all tables")
    opener.click()
    assert page.locator("main details:not([open])").count() == 0
    page.get_by_role("button", name="Fold the tables again").click()
    assert page.locator("main details:not([open])").count() > 0


def test_contents_mark_where_one_is(page: Page, address: str):
    page.goto(address)
    here = page.locator("nav a[aria-current]")
    assert here.all_inner_texts() == ["What came out"]
    for section in ("claims", "manipulation", "references"):
        page.locator(f"nav a[href='#{section}']").click()
        page.wait_for_function(
            f"document.querySelector('nav [aria-current]').hash === '#{section}'"
        )
        assert here.count() == 1


def test_on_a_phone_nothing_lies_off_the_right_edge(page: Page, address: str):
    page.set_viewport_size(PHONE)
    page.goto(address)
    assert beyond(page) == []
    verdict = page.locator(".claims tbody tr").first.locator(".verdict").bounding_box()
    assert verdict and verdict["x"] + verdict["width"] <= PHONE["width"]
    page.locator("nav summary").click()
    page.get_by_role("button", name="Open all tables").click()
    assert beyond(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_report_prints_on_few_sheets_with_every_figure(page: Page, address: str, tmp_path: Path):
    page.goto(address)
    page.evaluate(
        "addEventListener('beforeprint', () => { window.opened = "
        "document.querySelectorAll('details.more:not([open])').length; })"
    )
    printed = page.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)
    sheets = len(re.findall(rb"/Type\s*/Page\b", printed))
    assert 1 < sheets <= PAGES_PRINTED
    assert page.evaluate("window.opened") == 0
    assert page.locator("details.more[open]").count() == 0  # as before


@pytest.mark.parametrize("size", [None, PHONE], ids=["desk", "phone"])
def test_report_has_no_fault_of_accessibility(page: Page, address: str, size):
    if size:
        page.set_viewport_size(size)
    page.goto(address)
    assert violations(page) == []
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert violations(page) == []


def test_report_can_be_read_without_scripts(chromium, address: str):
    context = chromium.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto(address)
    assert tab.locator("form.filter").is_hidden() and tab.locator("#open-all").is_hidden()
    assert tab.locator(".claims .verdict", has_text=re.compile(f"^{SHOWN}$")).first.is_visible()
    assert "&" in tab.locator("#figure-probes .caption").inner_text()
    context.close()
