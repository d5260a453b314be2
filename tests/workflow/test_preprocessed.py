"""Preprocessed input: reaches the volume store without conversion, N4 or registration.

As the main cohort, and beside raw heads that pass every step.
"""

import pytest
import yaml

from helpers.quality import cards
from ldae.data.volume_store import VolumeStore
from ldae.files import read_table

pytestmark = pytest.mark.workflow

SMALL = {
    "synthetic": {"subjects": 12, "visits": 2, "spacing": 5.0},
    "preprocess": {"shards": 1},
    "evaluation": {"bootstrap": 20},
    "cohort": {"splits": {"test_fraction": 0.3, "val_fraction": 0.3}},
}
SKIPPED_RULES = {
    "study_tables",
    "check_download",
    "downloaded_scans",
    "clinica_batch",
    "n4",
    "brain_extraction",
    "registration",
}


def test_preprocessed_input_reaches_volume_store_and_ledger(project):
    configuration = yaml.safe_load((project.path / "config/proof.yaml").read_text())
    for section, values in SMALL.items():
        configuration[section] |= values
    (project.path / "mine.yaml").write_text(yaml.safe_dump(configuration))
    planned_rules = project.planned(config="mine.yaml")
    assert {
        "synthetic",
        "import_bids",
        "preprocessed_input",
        "volume_shard",
        "ldae",
        "report",
    } <= planned_rules
    assert not SKIPPED_RULES & planned_rules

    results = project.path / configuration["paths"]["results"]
    project.snakemake("preprocess", "cohort", config="mine.yaml")
    truth = read_table(project.path / "raw/proof/truth.tsv")
    ledger = read_table(results / "cohort/ledger.tsv")
    assert len(ledger) == len(truth)
    assert (ledger["status"] == "used").all()
    store = VolumeStore(results / "cache/volumes")
    assert len(store.index) == len(truth)
    about = store.index.merge(truth, on=["participant_id", "session_id"], suffixes=("", "_true"))
    assert (about["diagnosis"] == about["diagnosis_true"]).all()
    assert (about["age"] == about["age_true"]).all()
    volume = store.volume(0)
    assert volume.shape == (1, 32, 40, 32)
    assert 0.1 < float((volume > 0.05).float().mean()) < 0.5
    assert len(cards(results / "qc")) == len(truth)


def test_raw_heads_and_preprocessed_scans_are_one_cohort(project):
    beside = {"subjects": 6, "visits": 2, "spacing": 5.0, "seed": 3, "variation": 0.5}
    config = project.overlay(
        "mixed.yaml",
        {
            "synthetic": {"subjects": 4, "visits": 1, "beside": {"SYN": beside}},
            "cohort": {"beside": {"SYN": {"preprocessed_dir": "raw/brains/scans"}}},
            "evaluation": {"truth": ["raw/demo/truth.tsv", "raw/brains/truth.tsv"]},
            "figures": {"dpi": 60},
        },
    )
    results = project.path / "results"
    targets = ("preprocess", "cohort", "results/figures/cohort_qc.png")
    project.snakemake(*targets, "results/evaluation/true_volumes.tsv", config=config)
    scans = read_table(results / "cohort/scans.tsv")
    assert dict(scans.groupby("cohort")["shard"].agg(lambda shard: shard.max() < 2)) == {
        "ADNI": True,
        "SYN": False,
    }
    ledger = read_table(results / "cohort/ledger.tsv")
    used = ledger[ledger["status"] == "used"]
    assert set(used["cohort"]) == {"ADNI", "SYN"}
    store = VolumeStore(results / "cache/volumes")
    assert set(store.index["scan_id"]) == set(used["scan_id"])
    truth = read_table(project.path / "raw/brains/truth.tsv").set_index("participant_id")
    oracle = read_table(results / "evaluation/true_volumes.tsv").set_index("scan_id")
    heads = read_table(project.path / "raw/demo/truth.tsv").iloc[0]
    scan = f"{heads['participant_id']}_{heads['session_id']}"
    assert oracle.loc[scan, "hippocampus_ml"] == pytest.approx(heads["hippocampus_template_ml"])
    assert set(truth.index) <= set(store.index["participant_id"])
    n4 = read_table(results / "preproc/manifests/n4/shard-0.tsv")
    assert not n4["scan_id"].str.contains("SYN").any()
    assert len(cards(results / "qc")) == len(scans)
