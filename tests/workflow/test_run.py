"""One small run of everything, and what a second one does."""

import hashlib

import pandas as pd
import pytest

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

EVALUATION = {"reconstruction", "guidance", "probes", "manipulation", "interpolation", "truth"}


def test_every_image_of_the_download_is_accounted_for(finished):
    images = finished.path / "raw/demo/images"
    on_disk = {folder.name for folder in images.glob("*/*/*/I*")}
    ledger = pd.read_csv(finished.path / "results/cohort/ledger.tsv", sep="\t", dtype=str)
    assert {f"I{name.lstrip('I')}" for name in ledger["image_id"]} >= on_disk
    assert set(ledger["status"]) == {"used", "excluded"}
    assert ledger.loc[ledger["status"] == "excluded", "reason"].str.len().min() > 0


def test_no_subject_is_on_both_sides(finished):
    index = pd.read_csv(finished.path / "results/cache/volumes/index.tsv", sep="\t")
    assert (index.groupby("participant_id")["split"].nunique() == 1).all()
    assert set(index["split"]) == {"train", "val", "test"}


def test_a_second_run_does_nothing(finished):
    assert "Nothing to be done" in finished.snakemake().stdout


def test_a_deleted_figure_alone_is_redrawn_byte_for_byte(finished):
    figure = finished.path / "results/figures/figure5_lda.pdf"
    before = hashlib.sha256(figure.read_bytes()).hexdigest()
    figure.unlink()
    assert finished.planned("figures") == {"figure"}
    finished.snakemake("figures")
    assert hashlib.sha256(figure.read_bytes()).hexdigest() == before


def test_changing_ddim_steps_reruns_evaluation_only(finished):
    config = finished.path / "steps.yaml"
    config.write_text((finished.path / "tests/workflow/small.yaml").read_text())
    text = config.read_text().replace("ddim_steps: [4, 10]", "ddim_steps: [4, 8]")
    config.write_text(text)
    assert finished.planned(config="steps.yaml") == {"reconstruction", "figure", "report"}


def test_an_edit_reruns_its_stage_and_a_touch_nothing(finished):
    module = finished.path / "src/ldae/evaluation/probes.py"
    original = module.read_text()
    module.write_text(original)
    assert finished.planned() == set()
    try:
        module.write_text(original + "\n# edited\n")
        planned = finished.planned()
    finally:
        module.write_text(original)
    assert "probes" in planned
    assert not planned & {"autoencoder", "ldm", "ldae", "reconstruction", "registration"}
    assert finished.planned() == set()


def test_retrained_and_reevaluated_from_scratch_the_tables_are_identical(finished):
    tables = sorted((finished.path / "results/tables").glob("*.tsv"))
    before = {table.name: table.read_bytes() for table in tables}
    assert len(before) >= 8
    finished.snakemake("evaluate", "cohort", "--forceall", "--omit-from", "resource")
    after = {table.name: table.read_bytes() for table in tables}
    assert after == before
