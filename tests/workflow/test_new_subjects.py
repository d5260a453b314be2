"""New subjects after a finished run: preprocessed and embedded by the models that there are."""

from pathlib import Path

import pandas as pd
import pytest

from ldae.files import sha256

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


def state(folder: Path) -> dict[str, tuple[str, int]]:
    """Content and time of every file."""
    return {
        str(path.relative_to(folder)): (sha256(path), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def test_new_subjects_are_embedded_by_existing_models(finished):
    results = finished.path / "results"
    stages = ("autoencoder", "ldm", "ldae")
    models = {stage: state(results / "models" / stage) for stage in stages}
    derivatives = state(results / "preproc")
    tables = [results / "cohort/splits.tsv", results / "cohort/scans.tsv"]
    splits, scans = (pd.read_csv(path, sep="\t") for path in tables)

    config = finished.overlay("more.yaml", {"synthetic": {"subjects": 14}})
    finished.snakemake("cohort", "embeddings", config=config)

    assert {stage: state(results / "models" / stage) for stage in stages} == models
    now = state(results / "preproc")
    old = [name for name in derivatives if "/anat/" in name and name.endswith(".nii.gz")]
    assert old and {name: now[name] for name in old} == {name: derivatives[name] for name in old}
    more_splits, more_scans = (pd.read_csv(path, sep="\t") for path in tables)
    new = set(more_splits["participant_id"]) - set(splits["participant_id"])
    assert new and len(more_scans) > len(scans)
    kept = more_splits[~more_splits["participant_id"].isin(new)].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, splits)
    added = {name.split("/")[0] for name in set(now) - set(derivatives) if name.startswith("sub-")}
    assert added == new
    index = pd.read_csv(results / "cache/volumes/index.tsv", sep="\t")
    assert new & set(index["participant_id"])
    ledger = pd.read_csv(results / "cohort/ledger.tsv", sep="\t", dtype=str)
    assert new <= set(ledger["scan_id"].dropna().str.split("_").str[0])
    assert finished.jobs("cohort", "embeddings", config=config) == {}
