"""External test sets beside a finished run: nothing is trained again, no own number changes."""

import pytest

from ldae.files import read_table, sha256
from ldae.orchestration.training_record import STAGES

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

SYN = {"subjects": 8, "visits": 2, "spacing": 5.0, "seed": 3, "variation": 0.5}
BESIDE = {
    "SYN": {"preprocessed_dir": "raw/brains/scans", "role": "test"},
    "BAD": {"bids_dir": "raw/bad", "role": "test"},
}
OWN = ("reconstruction", "reconstruction_controls", "probes", "probes_differences")
SHOWN = (
    "results/tables/table6.tsv", "results/tables/table7.tsv", "results/figures/probes.png",
    "results/figures/cohort_flow.png",
)  # fmt: skip


def test_external_test_sets_join_a_finished_run(finished):
    results = finished.path / "results"
    models = {path: path.stat().st_mtime_ns for path in results.glob("models/*/model.json")}
    own = {name: sha256(results / f"tables/{name}.tsv") for name in OWN}
    splits = read_table(results / "cohort/splits.tsv").set_index("participant_id")["split"]

    (finished.path / "raw/bad").mkdir()
    truths = ["raw/demo/truth.tsv", "raw/brains/truth.tsv"]
    changes = {"synthetic": {"beside": {"SYN": SYN}}, "cohort": {"beside": BESIDE}}
    config = finished.overlay("external.yaml", changes | {"evaluation": {"truth": truths}})
    planned = finished.planned("cohort", *SHOWN, config=config)
    assert {"probes_external", "reconstruction_external", "reconstruction_dae_external"} <= planned
    assert not planned & {*STAGES, "dae", "supervised_age", "supervised_diagnosis"}
    finished.snakemake("cohort", *SHOWN, config=config)

    assert {path: path.stat().st_mtime_ns for path in models} == models
    assert {name: sha256(results / f"tables/{name}.tsv") for name in OWN} == own
    now = read_table(results / "cohort/splits.tsv").set_index("participant_id")["split"]
    assert now[splits.index].equals(splits) and set(now.drop(splits.index)) == {"external"}
    ledger = read_table(results / "cohort/ledger.tsv").set_index("cohort")
    assert "raw/bad has no image" in ledger.loc["BAD", "reason"]
    flow = read_table(results / "tables/flow.tsv").set_index(["cohort", "stage"])["images"]
    assert flow["SYN", "external"] == flow["all", "external"] == 2 * SYN["subjects"]
    assert read_table(results / "tables/cohort.tsv")["external_subjects"].max() == SYN["subjects"]
    for name in ("table6", "table7"):
        rows = read_table(results / f"tables/{name}.tsv")["Test set"].drop_duplicates()
        assert rows.tolist() == ["ADNI", "SYN", "SYN - ADNI"], name
        assert "BAD" in (results / f"tables/{name}.md").read_text()
    found = read_table(results / "tables/probes_external.tsv")
    assert set(found.loc[found["value"].notna(), "target"]) >= {"diagnosis", "age"}
    assert "supervised" in set(found["system"])
