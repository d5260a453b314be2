"""Embeddings: exact round trip, and refusal for another model or volume store."""

import numpy as np
import pytest

from ldae.data.embeddings import load_embeddings, save_embeddings
from ldae.errors import UserError


def test_embeddings_round_trip_and_refuse_missing_or_non_finite(tmp_path):
    codes = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    save_embeddings(tmp_path / "ldae.npz", ["a", "b", "c"], codes)
    scans, read = load_embeddings(tmp_path / "ldae.npz")
    assert scans == ["a", "b", "c"]
    assert (read == codes).all()
    with pytest.raises(UserError, match="do not exist"):
        load_embeddings(tmp_path / "other.npz")
    codes[1, 1] = np.nan
    save_embeddings(tmp_path / "ldae.npz", ["a", "b", "c"], codes)
    with pytest.raises(UserError, match="not finite"):
        load_embeddings(tmp_path / "ldae.npz")


def test_embeddings_of_another_model_or_store_are_refused(tmp_path):
    path = tmp_path / "ldae.npz"
    save_embeddings(path, ["a"], np.zeros((1, 2)), model="m1", volumes="v1")
    assert load_embeddings(path, model="m1", volumes="v1")[0] == ["a"]
    with pytest.raises(UserError, match="another model"):
        load_embeddings(path, model="m2", volumes="v1")
    with pytest.raises(UserError, match="another volume store"):
        load_embeddings(path, volumes="v2")
    np.savez(path, scan_id=np.array(["a"]), y_sem=np.zeros((1, 2)))  # of an earlier version
    with pytest.raises(UserError, match="another model"):
        load_embeddings(path, model="m1")
