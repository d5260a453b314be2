"""Test predictions of the supervised baselines, in the format of the linear probes (Table 7)."""

from functools import partial
from pathlib import Path

import numpy as np
import torch

from ldae.cohort.splits import EXTERNAL
from ldae.compute import Compute
from ldae.data.datasets import labelled
from ldae.data.sampling import batches
from ldae.data.volume_store import VolumeStore
from ldae.errors import require
from ldae.files import write_table
from ldae.inference.memory import fitting_batch, network_bytes
from ldae.models.loading import load_supervised
from ldae.models.training_scans import require_fit
from ldae.progress import Progress

SYSTEM = "supervised"


def predict_supervised(
    volumes: str | Path,
    model: str | Path,
    out: str | Path,
    device: str,
    threads: int,
    batch_size: int | str,
    split: str = "test",
) -> None:
    """Predict the test scans that the probes predict, in fp32, and write the table.

    Columns: system (``supervised``), scan_id, participant_id, diagnosis. For the diagnosis,
    ``predicted`` (the likeliest class) and ``probability`` (of the positive class, the last one).
    For the age, ``age`` and ``predicted`` (years). ``penalty`` is n/a: nothing is chosen by
    cross-validation.

    Args:
        volumes: Folder of the volume store, whose index has the labels.
        model: Model folder.
        out: The table to write.
        device: ``cuda`` or ``cpu``.
        threads: CPU threads.
        batch_size: Volumes predicted at once; ``auto``: what fits the GPU.
        split: The split to predict; ``external`` for the external test sets, where the table may
            be empty.

    Raises:
        UserError: the model is missing or does not fit the store
            (:mod:`ldae.models.training_scans`), or no scan of the test split has a label.
    """
    compute = Compute.prepare(device, threads, "fp32")
    store = VolumeStore(volumes)
    net, card = load_supervised(model)
    require_fit(store, card, model)
    net = compute.place(net)
    target, classes = card["target"], card.get("classes", [])
    rows = np.flatnonzero(store.index["split"] == split)
    rows = rows[labelled(store.index, target, classes)[rows]]
    require(
        len(rows) > 0 or split == EXTERNAL,
        f"No test scan has a known {target}, age and sex to be predicted.",
    )
    batch_size = fitting_batch(batch_size, compute, partial(network_bytes, net, store.shape))
    outputs, progress = [], Progress(f"predictions of {target}", len(rows))
    with torch.inference_mode():
        for part in batches(len(rows), batch_size):
            outputs.append(net(compute.move(store.volumes(rows[part]))).cpu())
            progress.step(int(part[-1]) + 1)
    numbers = torch.cat([torch.empty(0, max(1, len(classes))), *outputs]).double()
    test = store.index.loc[rows]
    table = test[["scan_id", "participant_id", "diagnosis"]].copy()
    table.insert(0, "system", SYSTEM)
    if target == "diagnosis":
        table["predicted"] = np.asarray(classes)[numbers.argmax(1).numpy()]
        table["probability"] = numbers.softmax(1)[:, -1].numpy()
    else:
        table["age"] = test["age"].astype(float)
        table["predicted"] = (numbers[:, 0] * card["age_std"] + card["age_mean"]).numpy()
    table = table.assign(penalty=np.nan).sort_values("scan_id", ignore_index=True)
    write_table(table, out)
