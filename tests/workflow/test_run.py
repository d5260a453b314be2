"""One small run of everything, and what a second one does."""

import hashlib
import shutil

import pandas as pd
import pytest

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


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
    assert finished.planned("figures") == {"figure5_lda"}
    assert finished.planned() == {"figure5_lda", "report"}
    finished.snakemake()
    assert hashlib.sha256(figure.read_bytes()).hexdigest() == before


def test_changing_ddim_steps_reruns_evaluation_only(finished):
    config = finished.path / "steps.yaml"
    config.write_text((finished.path / "tests/workflow/small.yaml").read_text())
    text = config.read_text().replace("ddim_steps: [4, 10]", "ddim_steps: [4, 8]")
    config.write_text(text)
    planned = finished.planned(config="steps.yaml")
    assert {"reconstruction", "examples", "figure_ddim_steps", "report"} <= planned
    assert not planned & {
        "volumes",
        "autoencoder",
        "latents",
        "ldm",
        "ldae",
        "embeddings",
        "probes",
    }


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


def test_a_second_run_from_the_conversion_on_gives_identical_tables(finished):
    tables = sorted((finished.path / "results/tables").glob("*.tsv"))
    before = {table.name: table.read_bytes() for table in tables}
    assert len(before) >= 10
    assert not list((finished.path / "results/runs").glob("*/*"))  # no checkpoint to start from
    shutil.rmtree(finished.path / "results/preproc")
    finished.snakemake("evaluate", "cohort", "--forcerun", "scans")
    assert {table.name: table.read_bytes() for table in tables} == before
