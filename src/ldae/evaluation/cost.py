"""How large the systems are and how long one reconstruction takes (Table 5).

Sizes follow from the models alone; seconds differ from run to run, so they have a table of their
own.

How large the voxel-space DAE is and how long one reconstruction takes (Table 5).
"""

import time
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ldae.compute import Compute
from ldae.data.volume_store import VolumeStore
from ldae.evaluation.test_scans import spread_over_subjects
from ldae.files import write_table
from ldae.inference.dae_system import SYSTEM, DaeSystem
from ldae.inference.ldae_system import LdaeSystem
from ldae.progress import Progress
from ldae.seeds import fixed_noise

WARM_UP_STEPS = 2  # the networks and shapes of a full reconstruction, so nothing is first later
Run = Callable[[], Tensor]
Runs = Callable[[Tensor, str, int], dict[tuple[str, str], Run]]
"""Volume (1, 1, X, Y, Z), scan_id and T to the whole way to its reconstruction, by system and
variant."""


def measure_inference(
    system: LdaeSystem,
    volumes: str | Path,
    sizes: str | Path,
    timings: str | Path,
    cfg: dict[str, Any],
) -> None:
    """Count parameters and time reconstructions of single test scans, at the largest T.

    ``ldae/encoded`` is y_sem, z_0, T calls to z_T, T calls back and the decoder; ``ldae/y_sem``
    starts at noise.

    Args:
        system: The trained models.
        volumes: Folder of the volume store.
        sizes: TSV to write: system, variant, parameters, resolution, latent_dim (numbers that a
            scan is reconstructed from; y_sem included).
        timings: TSV to write, see :func:`time_reconstructions`.
        cfg: Section ``evaluation`` (``ddim_steps``, ``noise_seed``, ``timing_scans``).
    """
    store = system.volume_store(volumes)
    latent = tuple(system.encode_z(store.volumes(np.array([0]))).shape[1:])

    def runs(x: Tensor, scan: str, steps: int) -> dict[tuple[str, str], Run]:
        def encoded(y: Tensor | None) -> Tensor:
            z_T = system.encode_zT(system.encode_z(x), y, steps)
            return system.image(system.decode(z_T, y, steps))

        noise = system.compute.move(fixed_noise([scan], latent, cfg["noise_seed"]))
        return {
            ("autoencoder", "reconstruction"): lambda: system.image(system.encode_z(x)),
            ("lddim", "encoded"): lambda: encoded(None),
            ("ldae", "y_sem"): lambda: system.image(system.decode(noise, system.y_sem(x), steps)),
            ("ldae", "encoded"): lambda: encoded(system.y_sem(x)),
        }

    write_table(time_reconstructions(store, system.compute, runs, cfg), timings)
    unet, code = parameters(system.guided.unet), int(system.encoder.dim)
    whole = parameters(system.guided, system.encoder)
    rows = {
        ("autoencoder", "reconstruction"): (parameters(system.autoencoder), prod(latent)),
        ("lddim", "encoded"): (unet, prod(latent)),
        ("ldae", "y_sem"): (whole, code),
        ("ldae", "encoded"): (whole, code + prod(latent)),
    }
    write_table(size_table(rows, store.shape), sizes)


def time_reconstructions(
    store: VolumeStore, compute: Compute, runs: Runs, cfg: dict[str, Any]
) -> pd.DataFrame:
    """Seconds of one reconstruction, from the volume on the device to the reconstructed one.

    All networks count, reading and metrics do not. Every system is run once before, and the device
    is waited for at both ends.

    Returns:
        system, variant, T, seconds (mean), seconds_sd, n_scans, device, device_name, threads,
        precision.
    """
    steps = max(cfg["ddim_steps"])
    test = spread_over_subjects(store.index.loc[store.rows("test")], cfg["timing_scans"])
    progress = Progress("inference", len(test))
    taken: dict[tuple[str, str], list[float]] = {}
    for number, (row, scan) in enumerate(test["scan_id"].items()):
        x = compute.move(store.volumes(np.array([row])))
        if number == 0:
            for run in runs(x, scan, WARM_UP_STEPS).values():
                _seconds(run, compute)
        for name, run in runs(x, scan, steps).items():
            taken.setdefault(name, []).append(_seconds(run, compute))
        progress.step(number + 1)
    rows = [
        {"system": name, "variant": variant}
        | {"T": None if variant == "reconstruction" else steps}
        | {"seconds": np.mean(seconds)}
        | {"seconds_sd": np.std(seconds, ddof=1) if len(seconds) > 1 else np.nan}
        | {"n_scans": len(seconds)}
        | compute.describe()
        for (name, variant), seconds in taken.items()
    ]
    return pd.DataFrame(rows).astype({"T": "Int64"})


def _seconds(run: Run, compute: Compute) -> float:
    _wait(compute)
    start = time.perf_counter()
    run()
    _wait(compute)
    return time.perf_counter() - start


def _wait(compute: Compute) -> None:
    if compute.cuda:
        torch.cuda.synchronize(compute.device)


def parameters(*modules: nn.Module) -> int:
    """Number of parameters, those that modules share counted once."""
    return sum({id(p): p.numel() for net in modules for p in net.parameters()}.values())


def size_table(rows: dict[tuple[str, str], tuple[int, int]], shape: Sequence[int]) -> pd.DataFrame:
    """Table of sizes.

    Args:
        rows: (system, variant) to parameters and latent dimensions. LDDIM and LDAE are counted
            without their autoencoder, as in the paper.
        shape: Of the volumes that go in.
    """
    table = pd.DataFrame(
        [(*key, *numbers) for key, numbers in rows.items()],
        columns=["system", "variant", "parameters", "latent_dim"],
    )
    table.insert(3, "resolution", " × ".join(map(str, shape)))
    return table


def measure_dae(
    system: DaeSystem, sizes: str | Path, timings: str | Path, cfg: dict[str, Any]
) -> None:
    """The rows of the DAE; see :func:`ldae.evaluation.cost.measure_inference`.

    Args:
        system: The trained model.
        sizes, timings: TSVs to write.
        cfg: Section ``evaluation`` (``ddim_steps``, ``noise_seed``, ``timing_scans``).
    """

    def runs(x: Tensor, scan: str, steps: int) -> dict[tuple[str, str], Run]:
        noise = system.noise(pd.Series([scan]), cfg["noise_seed"])

        def encoded() -> Tensor:
            y = system.y_sem(x)
            return system.decode(system.encode_xT(x, y, steps), y, steps)

        return {
            (SYSTEM, "y_sem"): lambda: system.decode(noise, system.y_sem(x), steps),
            (SYSTEM, "encoded"): encoded,
        }

    write_table(time_reconstructions(system.store, system.compute, runs, cfg), timings)
    shape, code = system.resizer.shape, int(system.encoder.dim)
    whole = parameters(system.encoder, system.unet)
    rows = {(SYSTEM, "y_sem"): (whole, code), (SYSTEM, "encoded"): (whole, code + prod(shape))}
    write_table(size_table(rows, shape), sizes)
