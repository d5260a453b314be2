"""How large the voxel-space DAE is and how long one reconstruction takes (Table 5)."""

from math import prod
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

from ldae.evaluation.dae import SYSTEM, DaeSystem
from ldae.evaluation.inference import Run, parameters, size_table, time_reconstructions
from ldae.files import write_table


def measure_dae(
    system: DaeSystem, sizes: str | Path, timings: str | Path, cfg: dict[str, Any]
) -> None:
    """The rows of the DAE; see :func:`ldae.evaluation.inference.measure_inference`.

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
