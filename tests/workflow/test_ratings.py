"""Ratings in a run: they take scans out of the tables, and a typing error deletes nothing."""

import pytest
import yaml

from helpers.quality import cards
from ldae.files import read_table

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

SMALL = {
    "synthetic": {"subjects": 12, "visits": 2, "spacing": 5.0},
    "preprocess": {"shards": 1},
    "cohort": {
        "exclude": ["anna.tsv", "ben.tsv"],
        "disagreement": "majority",
        "splits": {"test_fraction": 0.3, "val_fraction": 0.3},
    },
}
HEAD = "scan_id\tverdict\treason\trater\n"
KEPT = ("preproc/quarantine.tsv", "qc/index.html", "qc/measures.tsv", "qc/scans/1.js")


def test_ratings_take_scans_out_and_a_typing_error_deletes_nothing_else(project):
    configuration = yaml.safe_load((project.path / "config/proof.yaml").read_text())
    for section, values in SMALL.items():
        configuration[section] |= values
    (project.path / "mine.yaml").write_text(yaml.safe_dump(configuration))
    results = project.path / configuration["paths"]["results"]
    files = [project.path / name for name in SMALL["cohort"]["exclude"]]

    def run(anna: str, ben: str = "", check: bool = True) -> str:
        for path, rows in zip(files, (anna, ben), strict=True):
            path.write_text(HEAD + rows)
        return project.snakemake("preprocess", "cohort", config="mine.yaml", check=check).stdout

    run("")
    scans = sorted(read_table(results / "cache/volumes/index.tsv")["scan_id"])
    assert len(scans) == 24
    bad, disputed = scans[1], scans[2]

    before = {name: (results / name).read_bytes() for name in KEPT}
    said = run(f"{bad}x\texclude\tmoved\tanna\n", check=False)
    assert f"neither in the scan table nor in conversion.tsv: {bad}x" in said
    assert {name: (results / name).read_bytes() for name in KEPT} == before

    row = "{}\t{}\tmoved\t{}\n".format
    said = run(
        row(bad, "exclude", "anna") + row(disputed, "exclude", "anna"),
        row(bad, "exclude", "ben") + row(disputed, "keep", "ben"),
    )
    used = set(read_table(results / "cache/volumes/index.tsv")["scan_id"])
    assert used == set(scans) - {bad}  # one against one is no majority
    ledger = read_table(results / "cohort/ledger.tsv").set_index("scan_id")
    assert ledger.loc[bad, ["status", "stage", "reason"]].tolist() == [
        "excluded", "exclude", "anna: moved; ben: moved"
    ]  # fmt: skip
    rated = {card["scan_id"]: len(card["ratings"]) for card in cards(results / "qc")}
    assert rated == dict.fromkeys(scans, 0) | {bad: 2, disputed: 2}
    assert "<td>anna and ben</td><td>2 scans</td>" in (results / "qc/index.html").read_text()
    assert "rule registration" not in said and "rule preprocessed_input" not in said
