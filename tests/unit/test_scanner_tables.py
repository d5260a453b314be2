"""Printed tables of scanner and fairness: their plain sentences, and rows without a value."""

import pandas as pd
import pytest

from helpers.scanner import make_scanner_tables
from ldae.evaluation.scanner.evaluate import COST
from ldae.figures import scanner
from ldae.figures.style import style
from ldae.files import read_table, write_table
from ldae.report.tables.registry import printed_tables
from ldae.report.tables.scanner import cost


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    tables = tmp_path_factory.mktemp("tables")
    make_scanner_tables(tables)
    names = ("scanner", "scanner_cost", "confounding", "confounding_counts", "fairness")
    return printed_tables(tables, {name: read_table(tables / f"{name}.tsv") for name in names})


def test_note_says_what_codes_tell_and_what_is_missing(printed):
    (table,) = printed["scanner"]
    assert table.note.startswith("y_sem tells the site (0.")
    assert [row[:2] for row in table.rows] == [
        ["Site", "LDAE"], ["Site", "Tissue volumes"], ["Vendor", "–"]
    ]  # fmt: skip
    assert table.rows[2][2].startswith("the vendor is GE in 1 scan; it is not known of 479")
    assert len({len(row) for row in (*table.rows, table.columns)}) == 1


def test_cost_names_what_is_lost_and_is_never_of_the_column_itself(printed):
    (table,) = printed["scanner_cost"]
    assert table.note.startswith("Harmonising y_sem costs diagnosis by site")
    assert [row[2] for row in table.rows[:3]] == ["Site", "Diagnosis", "Age"]
    assert len({len(row) for row in (*table.rows, table.columns)}) == 1


def test_cost_is_not_denied_where_nothing_was_harmonised():
    known = {"column": "site", "target": "age", "metric": "mae", "before": 4.0, "after": 4.1}
    known |= {"difference": 0.1, "ci_low": -0.1, "ci_high": 0.3, "p": 0.4}
    refused = {"column": "sex", "system": "ldae", "note": "not harmonised: ..."}
    for system, said in (("volumes", "y_sem was not harmonised"), ("ldae", "No cost for y_sem")):
        table = pd.DataFrame([known | {"system": system}, refused], columns=COST)
        assert cost(table).note.startswith(said)


def test_confounded_target_is_named(printed):
    (table,) = printed["confounding"]
    assert table.note.startswith("Confounded: AD against CN with site (V 0.")
    assert [row[5] for row in table.rows] == ["yes", "one value of the column among the people"
                                              " with both"]  # fmt: skip
    (counts,) = printed["confounding_counts"]
    assert counts.columns[2:] == ["AD", "CN"]
    assert sum(int(cell) for row in counts.rows[:3] for cell in row[2:]) == 240


def test_gap_between_groups_is_named(printed):
    (table,) = printed["fairness"]
    assert table.note.startswith("Groups differ in AD against CN in F (sex)")
    assert [row[2] for row in table.rows] == ["Sex", "Sex", "Site", "Site", "Site", "Vendor"]
    assert table.rows[0][6] == "than M" and table.rows[1][5] == "–"
    assert table.rows[-1][4].startswith("the vendor is GE in 1 scan")
    assert len({len(row) for row in (*table.rows, table.columns)}) == 1


def test_figure_is_drawn_where_nothing_can_be_told(tmp_path):
    make_scanner_tables(tmp_path)
    table = read_table(tmp_path / "scanner.tsv")
    with style():
        full = scanner.draw({"table": tmp_path / "scanner.tsv"}, {})
        write_table(table[table["value"].isna()], tmp_path / "scanner.tsv")
        empty = scanner.draw({"table": tmp_path / "scanner.tsv"}, {})
    assert len(full.figure.axes) == len(empty.figure.axes) == 1
    assert full.result.startswith("Balanced accuracy of y_sem: site 0.")
    assert empty.result == "1 column cannot be told: vendor."


def test_over_corrected_site_is_said_to_be(tmp_path):
    make_scanner_tables(tmp_path)
    table = read_table(tmp_path / "scanner.tsv")
    after = (table["system"] == "ldae") & (table["harmonised"] == "combat")
    for value, words in ((0.001, "less often than by chance (0.001): it over-corrects"),
                         (0.33, "that is not shown (0.330)")):  # fmt: skip
        table.loc[after, ["value", "p"]] = value, 1.0
        (shown,) = printed_tables(tmp_path, {"scanner": table})["scanner"]
        assert f"after ComBat {words}." in shown.note
