"""Training process of tests, forked from a server that has imported everything once."""

import multiprocessing
import os
from pathlib import Path
from typing import Any

import monai.losses
import monai.metrics.regression
import monai.networks.nets  # noqa: F401
import torch

from helpers.training import make_chain, objective, settings, weights, without_timing
from ldae.training.distributed.processes import Processes, process_group
from ldae.training.loop import fit


def make(root: Path) -> None:
    """Make the stores and models that the trainings need."""
    torch.save(make_chain(root), root / "chain.pt")


def train(
    root: Path,
    stage: str,
    changes: dict[str, Any],
    run_dir: Path,
    rank: int,
    size: int,
    port: int,
    stop_after: int | None = None,
) -> None:
    """Train and write weights, averages and history to ``<run_dir>/result-<rank>.pt``.

    ``<run_dir>/left-<rank>`` is made when the process has finished the training, with or without an
    error.
    """
    torch.set_num_threads(1)
    multiprocessing.set_start_method("fork", force=True)  # of loaders, as outside tests
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    chain = torch.load(root / "chain.pt", weights_only=False)
    made, cfg = objective(chain, stage, **changes | {"processes": size})
    processes = Processes(rank, size, rank)
    job_settings = settings(stage, cfg, run_dir, checkpoint_seconds=0, stop_after=stop_after)
    try:
        with process_group(processes, "cpu", size):
            trained = fit(made, job_settings, processes)
    finally:
        (run_dir / f"left-{rank}").touch()
    result: dict[str, Any] = {"weights": weights(made)}
    if trained is not None:
        result |= {"state": trained.state, "history": without_timing(trained.history)}
    torch.save(result, run_dir / f"result-{rank}.pt")
