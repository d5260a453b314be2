"""Tables from outside: field counts, quoting and delimiter are checked, never guessed."""

import pytest

from ldae.delimited import read_delimited
from ldae.errors import UserError

TABLE = "a,b,c\n1,2,3\n4,5,6\n"
ROWS = [["1", "2", "3"], ["4", "5", "6"]]


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (TABLE, None),
        ("\ufeff" + TABLE.replace("\n", "\r\n"), None),
        (TABLE.replace("\n", "\n\n,,\n"), None),  # blank rows
        ('"a","b",c\n"1",2 ,3\n4,5,6', None),  # no end of line at the end
        ("a,b,c\n1,2,3,\n4,5,6,\n", "Blank fields at the end of 2 rows were dropped."),
        ("a,b,c,\n1,2,3,\n4,5,6,\n", "Blank fields at the end of 2 rows were dropped."),
    ],
)
def test_values_stand_below_their_names(tmp_path, text, note):
    path = tmp_path / "table.csv"
    path.write_text(text, encoding="utf-8")
    table, notes = read_delimited(path, ",")
    assert table.columns.tolist() == ["a", "b", "c"]
    assert table.to_numpy().tolist() == ROWS
    assert notes == ([note] if note else [])


def test_short_rows_are_filled_with_a_note(tmp_path):
    path = tmp_path / "table.tsv"
    path.write_text("a\tb\n1\n2\t3\n")
    table, notes = read_delimited(path, "\t")
    assert table.to_numpy().tolist() == [["1", ""], ["2", "3"]]
    assert notes == ["1 row ended early: the missing fields are blank."]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "it is empty"),
        ("\n\n", "it is empty"),
        ("a,b\n1,2\n3,4,5\n", "1 of 2 rows have more values .* such as line 3 with 3 for 2"),
        ("a,b\n1,2\n3", "breaks off in its last row"),
        ('a,b\n1,"2\n3,4\n', "quotation mark in line 2 is not closed"),
        ('a,b\n1,2\n3,"4\n', "quotation mark in line 3 is not closed"),
        ("a;b\n1;2\n", "separated by semicolons. It must be comma-separated"),
        ("a\tb\n1\t2\n", "separated by tabs"),
    ],
)
def test_tables_of_another_form_are_refused(tmp_path, text, sentence):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=sentence):
        read_delimited(path, ",", downloaded=True)


def test_tables_written_by_hand(tmp_path):
    """No end of line at the end, blank last cells, words in quotation marks."""
    path = tmp_path / "exclude.tsv"
    path.write_text('scan_id\treason\tverdict\ns1\t"bad" scan\ns2\tmotion 3" off')
    table, _ = read_delimited(path, "\t")
    assert table["reason"].tolist() == ["bad scan", 'motion 3" off']
    path.write_text('a\tb\ns1\t"bad scan\ns2\t"motion\ns3\tx\n')
    with pytest.raises(UserError, match="quotation mark in line 2 is not closed"):
        read_delimited(path, "\t")


def test_free_text_of_several_lines(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text('a,b\n1,"first, and\nsecond ""line"""\n2,x\n')
    assert read_delimited(path, ",")[0]["b"].tolist() == ['first, and\nsecond "line"', "x"]


def test_bytes_of_another_encoding_are_refused_or_noted(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes("a,b\nZ\xfcrich,2\n".encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8"):
        read_delimited(path, ",")
    table, notes = read_delimited(path, ",", latin1=True)
    assert table["a"].tolist() == ["Zürich"]
    assert "Latin-1" in notes[0]


def test_names_that_are_there_twice_are_numbered(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("a,a,b\n1,2,3\n")
    assert read_delimited(path, ",")[0].columns.tolist() == ["a", "a.1", "b"]
