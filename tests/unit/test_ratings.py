"""Ratings of scans: files of several raters, rules for disagreement, agreement, the server."""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from helpers.quality import draw_picture, quality_cohort, ratings_table, running_server
from ldae.application.quality_server import QualityServer, RatingFile, rating_file
from ldae.cli.main import main
from ldae.cohort.ratings import (
    agreement,
    decisions_of,
    joined_ratings,
    read_all_ratings,
    read_ratings,
    split_ratings,
    write_ratings,
)
from ldae.errors import UserError
from ldae.files import write_table
from ldae.preprocess.qc_page import write_page

SCANS = [f"sub-{name}_ses-M000" for name in "ABCDE"]


def given(**verdicts: str) -> dict[str, pd.DataFrame]:
    """Ratings by rater; one letter a scan: exclude, keep, unsure, or - for none."""
    words = {"e": "exclude", "k": "keep", "u": "unsure"}
    return {
        rater: ratings_table(
            [
                (scan, words[letter], f"{rater} says so")
                for scan, letter in zip(SCANS, letters, strict=False)
                if letter != "-"
            ]
        )
        for rater, letters in verdicts.items()
    }


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("any", ["exclude", "exclude", "keep", "keep", None]),
        ("majority", ["exclude", "keep", "keep", "keep", None]),
        ("all", ["exclude", None, "keep", "keep", None]),
    ],
)
def test_rule_decides_where_raters_disagree(rule, expected):
    ratings = given(anna="eeku-", ben="ekkku", cleo="ekkk-")
    decided = decisions_of(ratings, rule).set_index("scan_id")["verdict"].to_dict()
    assert [decided.get(scan) for scan in SCANS] == expected


def test_one_against_one_is_no_majority_and_unsure_has_no_vote():
    ratings = given(anna="eek", ben="kuu")
    decided = decisions_of(ratings, "majority").set_index("scan_id")
    assert decided["verdict"].to_dict() == {SCANS[1]: "exclude", SCANS[2]: "keep"}
    assert decided.loc[SCANS[1], "reason"] == "anna: anna says so"


def test_one_rater_decides_alone_with_the_reason_as_written():
    decided = decisions_of(given(anna="eku"), "all")
    assert decided.values.tolist() == [
        [SCANS[0], "exclude", "anna says so"], [SCANS[1], "keep", "anna says so"]
    ]  # fmt: skip
    assert decisions_of({}).empty


def test_agreement_is_cohens_kappa_over_the_scans_that_both_rated():
    table = agreement(given(anna="eekk-", ben="ekkke", cleo="--k--"))
    first = table.iloc[0]
    assert first[["rater", "other", "scans", "agreed"]].tolist() == ["anna", "ben", 4, 3]
    # Three of four agree; by chance 0.5 * 0.25 + 0.5 * 0.75 = 0.5
    assert first["kappa"] == pytest.approx((0.75 - 0.5) / 0.5)
    assert first["kappa"] == pytest.approx(cohen_kappa_score(list("eekk"), list("ekkk")))
    assert np.isnan(table["kappa"][1]) and table["scans"][1] == 1  # one verdict: no kappa
    assert agreement(given(anna="e")).empty


def test_files_of_raters_survive_the_way_to_the_page(tmp_path):
    paths = [str(tmp_path / name) for name in ("one.tsv", "two.tsv", "three.tsv")]
    tables = given(one="ek", cleo="ue", three="").values()
    for path, table in zip(paths, tables, strict=True):
        write_ratings(table, path)
    rated = read_ratings(paths[1]).assign(rater="cleo", picture="12e4567890123456", date="2026")
    write_ratings(rated, paths[1])
    ratings = read_all_ratings(paths, SCANS)
    assert list(ratings) == ["one", "cleo", "three"]
    write_table(joined_ratings(ratings, paths).replace("", None), tmp_path / "all.tsv")
    again = split_ratings(tmp_path / "all.tsv", paths)
    assert list(again) == list(ratings)
    for rater, table in ratings.items():
        assert again[rater][table.columns].values.tolist() == table.values.tolist()


def test_two_files_of_one_rater_are_refused(tmp_path):
    for name in ("a.tsv", "b.tsv"):
        write_ratings(given(x="e")["x"].assign(rater="anna"), tmp_path / name)
    with pytest.raises(UserError, match=r"b\.tsv is a second file of the rater anna"):
        read_all_ratings([tmp_path / "a.tsv", tmp_path / "b.tsv"], SCANS)


# --- the server -------------------------------------------------------------------------------


def test_rating_file_keeps_rows_written_by_hand(tmp_path):
    path = tmp_path / "exclude.tsv"
    path.write_text(
        "scan_id\treason\tnote\nsub-X_ses-M012\ta duplicate\tasked Eva\nsub-A_ses-M000\told\t\n"
    )
    file = RatingFile(path, "anna", set(SCANS))
    row = file.give(SCANS[0], "keep", ' "fine"\tnow\n', "abc")
    assert (row["rater"], row["reason"], row["picture"]) == ("anna", "'fine' now", "abc")
    table = read_ratings(path).set_index("scan_id")
    assert table["verdict"].to_dict() == {SCANS[0]: "keep", "sub-X_ses-M012": "exclude"}
    assert table.loc["sub-X_ses-M012", ["reason", "note"]].tolist() == ["a duplicate", "asked Eva"]
    file.give(SCANS[0], "", "", "abc")
    assert list(read_ratings(path)["scan_id"]) == ["sub-X_ses-M012"]
    before = path.read_bytes()
    for wrong in (
        ("sub-Z", "keep", "x"),
        (SCANS[1], "drop", "x"),
        (SCANS[1], "exclude", " "),
        (SCANS[1], "exclude", "n/a"),
    ):
        with pytest.raises(UserError):
            file.give(*wrong, "abc")
    assert path.read_bytes() == before


@pytest.fixture
def server(tmp_path) -> Iterator[QualityServer]:
    draw_picture(tmp_path / "qc/template.webp", 9)
    write_page(**quality_cohort(tmp_path))
    (tmp_path / "cohort").mkdir()
    (tmp_path / "cohort/scans.tsv").write_text("age\n")
    with running_server(tmp_path, tmp_path / "mine.tsv") as made:
        yield made


def ask(server: QualityServer, place: str, body: dict | None = None, **headers: str):
    """Status and content of a request; ``place`` is below the token, or absolute."""
    url = urlsplit(server.address)
    path = place if place.startswith("/") else f"/{server.token}/{place}"
    link = http.client.HTTPConnection(url.hostname, url.port, timeout=10)
    given = {"Origin": f"http://{url.netloc}", "Content-Type": "application/json"} | headers
    content = None if body is None else json.dumps(body)
    link.request("GET" if body is None else "POST", path, content, given)
    answer = link.getresponse()
    return answer.status, answer.read()


RATING = {
    "scan_id": SCANS[1], "verdict": "keep", "reason": "fine", "picture": "abc", "known": "",
}  # fmt: skip


def test_server_takes_ratings_of_its_own_page_alone(server, tmp_path):
    path = tmp_path / "mine.tsv"
    port = server.server_port
    refused = [
        ask(server, "/ratings", RATING),
        ask(server, "/wrong/ratings", RATING),
        ask(server, "ratings", RATING, Origin="http://example.org"),
        ask(server, "ratings", RATING, Origin="null"),
        ask(server, "ratings", RATING, Host=f"example.org:{port}"),
    ]
    assert [status for status, _ in refused] == [403] * 5
    wrong = [
        ask(server, "ratings", RATING, **{"Content-Type": "text/plain"})[0],
        ask(server, "ratings", {"scan_id": SCANS[1]})[0],
        ask(server, "ratings", RATING | {"reason": "x" * 20_000})[0],
        ask(server, "ratings", RATING | {"reason": 3})[0],
        ask(server, "ratings", RATING | {"scan_id": "../x"})[0],
    ]
    assert wrong == [400, 400, 400, 400, 409]
    assert not path.exists()
    # Through a tunnel the browser knows another port.
    tunnel = {"Host": "localhost:9999", "Origin": "http://localhost:9999"}
    assert ask(server, "ratings", RATING, **tunnel)[0] == 200
    assert list(read_ratings(path)["scan_id"]) == [SCANS[1]]


def test_server_serves_the_files_of_the_page_and_no_other(server, tmp_path):
    picture = "preproc/sub-A/ses-M000/anat/sub-A_ses-M000_desc-qc.webp?abc"
    for place in ("qc/index.html", "qc/scans/1.js", "qc/template.webp", picture):
        assert ask(server, place)[0] == 200, place
    assert b'data-server="../ratings"' in ask(server, "qc/index.html")[1]
    assert (tmp_path / "preproc/sub-A/ses-M000/anat/sub-A_ses-M000_desc-qc.json").is_file()
    for place in (
        "cohort/scans.tsv", "qc/measures.tsv", "qc/../cohort/scans.tsv", "qc/%2e%2e/mine.tsv",
        "preproc/sub-A/ses-M000/anat/sub-A_ses-M000_desc-qc.json", "", "qc",
    ):  # fmt: skip
        assert ask(server, place)[0] == 404, place


def test_row_deleted_by_hand_does_not_come_back_from_a_page_that_shows_it(server, tmp_path):
    path = tmp_path / "mine.tsv"
    row = json.loads(ask(server, "ratings", RATING)[1])
    header = path.read_text().splitlines()[0]
    path.write_text(f"{header}\n")
    again = RATING | {"verdict": "exclude", "known": row["date"]}  # the page still shows the row
    status, content = ask(server, "ratings", again)
    assert status == 409 and "changed or deleted" in json.loads(content)["error"]
    assert path.read_text() == f"{header}\n"
    assert ask(server, "ratings", again | {"known": ""})[0] == 200  # rated again, as it is now
    assert read_ratings(path)["verdict"].tolist() == ["exclude"]


def test_server_says_when_the_file_was_edited_wrongly(server, tmp_path):
    (tmp_path / "mine.tsv").write_text("scan_id\treason\nsub-A_ses-M000\t\n")
    status, content = ask(server, "ratings", RATING)
    assert status == 409 and "no reason" in json.loads(content)["error"]
    assert (tmp_path / "mine.tsv").read_text().count("\n") == 2


def test_command_names_what_is_missing(tmp_path, capsys):
    assert main(["qc", str(tmp_path)]) == 1
    assert "has no page of quality" in capsys.readouterr().err
    made = quality_cohort(tmp_path)
    write_page(**made)
    assert rating_file(tmp_path) == Path("config/exclude.tsv")
    write_page(**made | {"ratings": {}, "files": []})
    with pytest.raises(UserError, match=r"reads no file .*--out"):
        rating_file(tmp_path)
