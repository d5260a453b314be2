"""Cost of the systems: model size and seconds per reconstruction (Table 5).

Sizes depend on the models alone. Seconds differ from run to run, so they are in a separate table.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ldae.compute import Compute
from ldae.data.volume_store import VolumeStore
from ldae.evaluation.test_scans import spread_over_subjects
from ldae.files import write_table
from ldae.inference.start_noise import StartNoise
from ldae.inference.trained_system import TrainedSystem
from ldae.progress import Progress

WARM_UP_STEPS = 2  # runs every network once at full shape, so that no timed call is the first


def measure_cost(
    system: TrainedSystem,
    volumes: str | Path,
    sizes: str | Path,
    timings: str | Path,
    cfg: dict[str, Any],
) -> None:
    """Count parameters and time reconstructions of single test scans, at the largest T.

    Args:
        system: Trained networks.
        volumes: Folder of the volume store.
        sizes: TSV to write: system, variant, parameters, resolution (voxels of the networks'
            input), latent_dim (how many numbers a scan is reconstructed from, y_sem included).
        timings: TSV to write, see :func:`time_reconstructions`.
        cfg: Section ``evaluation`` (``ddim_steps``, ``noise_seed``, ``start_noise``,
            ``timing_scans``).
    """
    system = system.with_solver(cfg["solver"])
    store = system.volume_store(volumes)
    write_table(time_reconstructions(system, store, cfg), timings)
    resolution = " × ".join(map(str, system.resolution(store.shape)))
    table = pd.DataFrame(
        [
            (*variant, size.parameters, resolution, size.latent_dim)
            for variant, size in system.sizes(store.shape).items()
        ],
        columns=["system", "variant", "parameters", "resolution", "latent_dim"],
    )
    write_table(table, sizes)


def time_reconstructions(
    system: TrainedSystem, store: VolumeStore, cfg: dict[str, Any]
) -> pd.DataFrame:
    """Time single reconstructions, from the volume on the device to the reconstructed one.

    The time covers all networks, but not reading and metrics. Every system runs once before it is
    timed, and the device is synchronised before and after each run.

    Args:
        system: Trained networks.
        store: The volume store.
        cfg: As in :func:`measure_cost`; the largest of ``ddim_steps`` is used.

    Returns:
        system, variant, T, seconds (mean), seconds_sd, n_scans, device, device_name, threads,
        precision.
    """
    steps, compute = max(cfg["ddim_steps"]), system.compute
    noise = StartNoise.configured(cfg)
    test = spread_over_subjects(store.index.loc[store.rows("test")], cfg["timing_scans"])
    progress = Progress("inference", len(test))
    seconds_by_variant: dict[tuple[str, str], list[float]] = {}
    for number, (row, scan) in enumerate(test["scan_id"].items()):
        x = compute.move(store.volumes(np.array([row])))
        if number == 0:
            for run in system.runs(x, scan, WARM_UP_STEPS, noise).values():
                _seconds(run, compute)
        for name, run in system.runs(x, scan, steps, noise).items():
            seconds_by_variant.setdefault(name, []).append(_seconds(run, compute))
        progress.step(number + 1)
    rows = [
        {"system": name, "variant": variant}
        | {"T": None if variant == "reconstruction" else steps}
        | {"seconds": np.mean(seconds)}
        | {"seconds_sd": np.std(seconds, ddof=1) if len(seconds) > 1 else np.nan}
        | {"n_scans": len(seconds)}
        | compute.describe()
        for (name, variant), seconds in seconds_by_variant.items()
    ]
    return pd.DataFrame(rows).astype({"T": "Int64"})


def _seconds(run: Callable[[], Tensor], compute: Compute) -> float:
    _wait(compute)
    start = time.perf_counter()
    run()
    _wait(compute)
    return time.perf_counter() - start


def _wait(compute: Compute) -> None:
    if compute.cuda:
        torch.cuda.synchronize(compute.device)
