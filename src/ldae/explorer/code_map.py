"""Map of y_sem: every test scan by the axis of its diagnosis and by its predicted age."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import from_numpy

from ldae.data.datasets import labelled
from ldae.data.volume_store import VolumeStore
from ldae.evaluation.probes.direction import LinearModel
from ldae.evaluation.probes.features import TEST, TRAINING, ProbeData
from ldae.evaluation.probes.projection import lda_projection
from ldae.evaluation.probes.scores import COMPARED
from ldae.evaluation.test_scans import spread_over_subjects
from ldae.explorer.readings import plain
from ldae.explorer.stack_coding import WHITE, packed
from ldae.inference.ldae_system import LdaeSystem

MOST_SCANS = 150  # on the map; more are chosen evenly over participants
CORONAL_MM, AXIAL_MM = -20.0, 8.0  # MNI: slices through hippocampi and ventricles
WIDEST = 64  # voxels of a picture's longer side at most; larger ones are averaged


def make_map(
    system: LdaeSystem,
    store: VolumeStore,
    embeddings: str | Path,
    age: LinearModel,
    classes: tuple[str, str],
    shown: list[str],
    moved: Mapping[str, np.ndarray],
) -> tuple[dict[str, Any], dict[str, list[list[float]]]]:
    """Place test scans, and codes that were moved, on the axes of the map.

    The first axis is that of Figure 5: fitted on training scans of the two classes.

    Args:
        system, store, embeddings: The trained models, the volumes, and y_sem of all scans.
        age: Regressor of age in years.
        classes: The two diagnoses that the first axis separates.
        shown: Scans that must be on the map.
        moved: Name to codes (F, d) to place beside the scans.

    Returns:
        The map for the page's JSON: ``x`` and ``y``, names of the axes; ``points``; ``pictures``,
        one a point. And for every name of ``moved`` its [x, y] pairs.
    """
    index = store.index
    fitted = index["split"].isin(TRAINING) & index["diagnosis"].isin(classes)
    training = index[fitted & labelled(index, "age", [])]
    test = index.loc[store.rows(TEST)]
    test = test[test["diagnosis"].notna()]
    must = test[test["scan_id"].isin(shown)]
    rest = spread_over_subjects(test.drop(must.index), max(0, MOST_SCANS - len(must)))
    test = pd.concat([must, rest]).sort_values("scan_id")
    scans = pd.concat([training, test])
    codes = system.stored_codes(embeddings, scans["scan_id"])
    extra = np.concatenate(list(moved.values()))
    columns = ["scan_id", "participant_id", "split", "diagnosis"]
    rows = pd.concat(
        [scans[columns], pd.DataFrame({"split": [TEST] * len(extra)})], ignore_index=True
    )
    both = np.concatenate([codes, extra])
    x = lda_projection(ProbeData(rows, {COMPARED: both}))["ld1"].to_numpy()
    years = age(from_numpy(both).to(system.compute.device)).cpu().numpy()
    pairs = [plain(pair) for pair in zip(x[len(training) :], years[len(training) :], strict=True)]
    points = [
        {"scan": row.scan_id, "diagnosis": row.diagnosis, "age": plain([row.age])[0], "at": at}
        for row, at in zip(test.itertuples(), pairs[: len(test)], strict=True)
    ]
    found = {
        "x": f"First discriminant of y_sem, {classes[0]} against {classes[1]}",
        "y": "Predicted age (years)",
        "points": points,
        "pictures": pictures(store, test.index.to_numpy()),
    }
    trails, start = {}, len(test)
    for name, each in moved.items():
        trails[name] = pairs[start : start + len(each)]
        start += len(each)
    return found, trails


def pictures(store: VolumeStore, rows: np.ndarray) -> dict[str, Any]:
    """Two slices of every scan, coronal and axial, with the subject's right on the left.

    Returns:
        ``widths`` and ``heights`` of the two slices; ``data``, base64 of gzip of their pixels, row
        after row, scan after scan.
    """
    inverse = np.linalg.inv(store.affine)
    _, coronal, axial = (inverse @ [0, CORONAL_MM, AXIAL_MM, 1])[:3].round().astype(int)
    content, shapes = [], []
    for row in rows:
        volume = store.volume(int(row))[0].numpy()
        slices = [reduced(volume[:, coronal, :]), reduced(volume[:, :, axial])]
        # Rows from the top: superior or anterior first; columns from the subject's right.
        pixels = [np.rint(one.T[::-1, ::-1].clip(0, 1) * WHITE).astype(np.uint8) for one in slices]
        content += [one.tobytes() for one in pixels]
        shapes = [one.shape for one in pixels]
    return {
        "widths": [shape[1] for shape in shapes],
        "heights": [shape[0] for shape in shapes],
        "data": packed(b"".join(content)),
    }


def reduced(picture: np.ndarray) -> np.ndarray:
    """A picture whose longer side has at most :data:`WIDEST` pixels, means of blocks."""
    factor = -(-max(picture.shape) // WIDEST)
    if factor == 1:
        return picture
    height, width = (size // factor * factor for size in picture.shape)
    blocks = picture[:height, :width].reshape(height // factor, factor, width // factor, factor)
    return blocks.mean(axis=(1, 3))
