"""Invalid input: one clear message, an exit code, and no partial output."""

import os
from pathlib import Path

import pytest
import yaml

from helpers.project import GOLDEN
from ldae.files import digest
from ldae.locks import locked

pytestmark = pytest.mark.workflow


def write_config(project, content: dict) -> str:
    """Write an overriding configuration and return its path."""
    (project.path / "mine.yaml").write_text(yaml.safe_dump(content))
    return "mine.yaml"


def real_download(project, **paths) -> str:
    """Turn the small run into the configuration of a download that the workflow does not make."""
    base = yaml.safe_load((project.path / GOLDEN).read_text())
    del base["synthetic"]
    base["paths"] |= paths
    (project.path / GOLDEN).write_text(yaml.safe_dump(base))
    return write_config(project, {})


def test_configuration_with_misspelt_key_is_refused_with_a_suggestion(project):
    config = write_config(project, {"ldm": {"lerning_rate": 1}})
    done = project.snakemake("-n", config=config, check=False)
    assert done.returncode != 0
    assert "unknown key ldm.lerning_rate (did you mean learning_rate?)" in done.stdout


def test_target_that_does_not_exist_is_refused_with_a_suggestion(project):
    done = project.snakemake("-n", "figurs", check=False)
    assert done.returncode != 0
    assert "There is no target figurs. Did you mean figures?" in done.stdout


def test_configuration_with_wrong_value_is_refused_with_allowed_ones(project):
    config = write_config(project, {"device": "gpu"})
    done = project.snakemake("-n", config=config, check=False)
    assert done.returncode != 0
    assert "device is 'gpu', allowed: cuda, cpu" in done.stdout


def test_missing_images_folder_is_named(project):
    config = real_download(project, images="/nowhere/images")
    done = project.snakemake("-n", config=config, check=False)
    assert done.returncode != 0
    assert "paths.images: the folder '/nowhere/images' does not exist" in done.stdout
    assert not (project.path / "results/bids").exists()


def test_empty_download_stops_before_the_conversion(project):
    images, tables = project.path / "images", project.path / "tables"
    images.mkdir()
    tables.mkdir()
    config = real_download(project, images=str(images), tables=str(tables))
    done = project.snakemake("bids", config=config, check=False)
    assert done.returncode != 0
    assert "study_tables: " in done.stdout
    assert str(tables) in done.stdout
    assert not (project.path / "results/cohort/images.tsv").exists()
    assert not (project.path / "results/bids").exists()


def test_every_missing_table_and_column_is_listed_at_once(project):
    images, tables = project.path / "images", project.path / "tables"
    (images / "002_S_0413").mkdir(parents=True)
    tables.mkdir()
    (tables / "MPRAGEMETA.csv").write_text("SubjectID,Visit\n002_S_0413,ADNI Screening\n")
    config = real_download(project, images=str(images), tables=str(tables))
    done = project.snakemake("bids", config=config, check=False)
    assert done.returncode != 0
    for expected in ("ADNIMERGE", "MRIQUALITY", "APOERES", "DXSUM", "ImageUID"):
        assert expected in done.stdout, expected
    assert not Path(project.path / "results/bids").exists()


def test_missing_folder_of_an_additional_data_set_is_named(project):
    config = write_config(project, {"cohort": {"beside": {"OASIS3": {"bids_dir": "/nowhere"}}}})
    done = project.snakemake("-n", config=config, check=False)
    assert done.returncode != 0
    assert "cohort.beside.OASIS3.bids_dir: the folder '/nowhere' does not exist" in done.stdout


def test_results_lock_refuses_a_second_snakemake_but_allows_retry(project):
    """Snakemake's own lock does not suffice: each Snakemake removes it when it ends."""
    lock = project.path / ".snakemake/ldae" / f"{digest(str(project.path / 'results'))}.lock"
    with locked(lock, "results"):
        second = project.snakemake("synthetic", check=False)
        retry = project.snakemake("retry", check=False)
    assert second.returncode != 0
    assert f"the folder results is being written by process {os.getpid()} on" in second.stdout
    assert not (project.path / "raw").exists()
    assert "run the target `preprocess` first" in retry.stdout
