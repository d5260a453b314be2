"""Quality against network calls: every solver at several numbers of steps T.

Three experiments on test scans, each of which needs codes z_T by inversion:

- ``reconstruction``: a scan is inverted and decoded with its own y_sem.
- ``manipulation``: it is decoded from the same z_T with y_sem moved along the AD direction.
- ``interpolation``: a participant's middle visit is predicted from the first and the last one.

The reference of all paired differences is the paper's sampler, DDIM at the largest T.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ldae.data.sampling import batches
from ldae.data.volume_store import VolumeStore
from ldae.diffusion.interpolation import lerp, slerp
from ldae.diffusion.solvers import find_solver
from ldae.evaluation.longitudinal import longitudinal_series
from ldae.evaluation.metrics.bootstrap import ClusterBootstrap
from ldae.evaluation.metrics.image import compare
from ldae.evaluation.metrics.volumes import Regions, soft_volumes
from ldae.evaluation.probes.direction import Direction
from ldae.evaluation.test_scans import spread_over_subjects
from ldae.files import write_table
from ldae.inference.ldae_system import LdaeSystem
from ldae.inference.shared_estimate import SharedEstimate
from ldae.progress import Progress

REFERENCE = "ddim"
SETTING = ["solver", "T"]
RESULT = ["experiment", "metric"]


def evaluate_solvers(
    system: LdaeSystem,
    volumes: str | Path,
    embeddings: str | Path,
    classifier: str | Path,
    scans: str | Path,
    table: str | Path,
    differences: str | Path,
    cfg: dict[str, Any],
    seed: int,
) -> None:
    """Run the three experiments with every solver and T, on the same scans.

    Args:
        system: The trained models.
        volumes: Folder of the volume store.
        embeddings: y_sem of all scans by the LDAE's encoder.
        classifier: ``classifier.npz`` of the probes: the AD direction.
        scans: TSV to write, one row per experiment, metric, solver, T and scan: scan_id,
            participant_id, value. The metrics are those of :func:`_round_trips` and
            :func:`_middle_visits`.
        table: TSV to write: experiment, metric, solver, T, calls (of the network, for one scan),
            value (mean), ci_low, ci_high, n_scans, n_subjects.
        differences: TSV to write: the same for the difference from the reference, scan by scan
            (``difference`` in place of ``value``).
        cfg: Section ``evaluation`` (``solver_study``, ``manipulation``, ``interpolation``,
            ``batch_size``, ``bootstrap``).
        seed: Seed of the resamples.

    Raises:
        UserError: no test participant has enough visits.
    """
    study, size = cfg["solver_study"], cfg["batch_size"]
    store = system.volume_store(volumes)
    test = store.index.loc[store.rows("test")]
    settings = [(name, T) for name in study["solvers"] for T in study["ddim_steps"]]
    chosen = spread_over_subjects(test, study["max_scans"])
    series = longitudinal_series(test, cfg["interpolation"]["min_visits"], study["subjects"])
    trios = pd.concat([first_middle_last(visits) for visits in series])
    direction = Direction.load(classifier, system.compute.device)
    regions = Regions.on(store.affine, store.shape, system.compute.device)
    frames: list[pd.DataFrame] = []
    progress = Progress("solvers", len(chosen) + len(series))
    codes = system.stored_codes(embeddings, chosen["scan_id"])
    for part in batches(len(chosen), size):
        rows = chosen.iloc[part]
        batch = _Scans(system, store, rows, codes[part])
        moved = _moved(batch, rows, direction, cfg["manipulation"])
        for name, T in settings:
            solved = system.with_solver(name)
            for experiment, values in _round_trips(solved, batch, moved, regions, T):
                frames += _rows(experiment, values, rows, name, T)
        progress.step(int(part[-1]) + 1)
    codes = system.stored_codes(embeddings, trios["scan_id"])
    for part in batches(len(series), max(1, size // 3)):  # three scans at least, whatever the size
        three = slice(3 * int(part[0]), 3 * int(part[-1]) + 3)
        rows = trios.iloc[three]
        batch, targets = _Scans(system, store, rows, codes[three]), rows.iloc[1::3]
        for name, T in settings:
            values = _middle_visits(system.with_solver(name), batch, rows["months"], T)
            frames += _rows("interpolation", values, targets, name, T)
        progress.step(len(chosen) + int(part[-1]) + 1)
    found = pd.concat(frames, ignore_index=True)
    write_table(found, scans)
    means, gaps = summarise(found, cfg["bootstrap"], seed)
    write_table(gaps, differences)
    write_table(means, table)


def first_middle_last(visits: pd.DataFrame) -> pd.DataFrame:
    """Three visits of one participant, in order: first, the nearest to halfway in time, last.

    Args:
        visits: Rows of the participant sorted by ``months``, with three different months or more.
    """
    first, last = visits.iloc[0], visits.iloc[-1]
    between = visits[(visits["months"] > first["months"]) & (visits["months"] < last["months"])]
    halfway = (first["months"] + last["months"]) / 2
    middle = (between["months"] - halfway).abs().idxmin()
    return visits.loc[[visits.index[0], middle, visits.index[-1]]]


class _Scans:
    """A batch of scans on the device, and what no solver changes.

    Attributes:
        original, decoded: The scans and the autoencoder's reconstructions, (B, 1, X, Y, Z).
        y: Semantic codes, (B, d).
        z_0: Latents, (B, C, *S).
        scan_ids: Names of the scans.
    """

    def __init__(self, system: LdaeSystem, store: VolumeStore, rows: pd.DataFrame, y: np.ndarray):
        self.y = system.compute.move(torch.from_numpy(y).float())
        self.original = system.compute.move(store.volumes(rows.index.to_numpy()))
        self.z_0 = system.encode_z(self.original)
        self.scan_ids = rows["scan_id"].tolist()
        self.shared = SharedEstimate()
        self.decoded = system.image(self.z_0)

    @property
    def ends(self) -> list[int]:
        """Places of the first visits of all participants, then of the last ones."""
        return [*range(0, len(self.y), 3), *range(2, len(self.y), 3)]

    def invert(self, system: LdaeSystem, steps: int, places: list[int] | None = None) -> Tensor:
        """z_T of the scans at some places (None: of all), by the system's solver."""
        scans, z_0, y = self.scan_ids, self.z_0, self.y
        if places is not None:
            scans, z_0, y = [scans[i] for i in places], z_0[places], y[places]
        return system.invert(scans, z_0, y, steps, self.shared)

    def compare(self, image: Tensor, places: slice = slice(None)) -> dict[str, Tensor]:
        """``ssim`` and ``mse`` to the scans, ``ssim_to_ae`` to their reconstructions; (B,) each."""
        found = compare(self.original[places], self.decoded[places], image)
        return {name: found[name] for name in ("ssim", "ssim_to_ae", "mse")}


def _moved(
    batch: _Scans, rows: pd.DataFrame, direction: Direction, settings: dict[str, Any]
) -> Tensor:
    """y_sem of every scan moved towards AD, that of scans with AD towards CN."""
    signs = [-1.0 if name == direction.classes[1] else 1.0 for name in rows["diagnosis"]]
    alpha = settings["alpha"] * torch.tensor(signs, device=batch.y.device)
    return direction.move(batch.y, alpha, settings["mode"])


def _round_trips(
    system: LdaeSystem, batch: _Scans, moved: Tensor, regions: Regions, steps: int
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Reconstruction, and manipulation from the same z_T, by the system's solver.

    Yields:
        ``reconstruction`` with ``latent_rmse`` (of z_0 after the round trip; z_0 has unit variance)
        and the measures of :meth:`_Scans.compare`; ``manipulation`` with ``ventricle_ml``. (B,)
        each.
    """
    z_T, shared = batch.invert(system, steps), SharedEstimate()
    z_0 = system.decode(z_T, batch.y, steps, shared)
    error = (z_0 - batch.z_0).square().flatten(1).mean(1).sqrt()
    base = system.image(z_0)
    yield "reconstruction", {"latent_rmse": error, **batch.compare(base)}
    image = system.image(system.decode(z_T, moved, steps, shared))
    volume = soft_volumes(image, base, regions)["ventricle_ml"]
    yield "manipulation", {"ventricle_ml": volume}


def _middle_visits(
    system: LdaeSystem, batch: _Scans, months: pd.Series, steps: int
) -> dict[str, Tensor]:
    """Measures (B,) of middle visits predicted from the first and last ones.

    Args:
        system: The trained models with a solver.
        batch: The visits of B participants, three each (:func:`first_middle_last`).
        months: Their months.
        steps: Number of steps T.
    """
    start, target, end = slice(0, None, 3), slice(1, None, 3), slice(2, None, 3)
    first, middle, last = (torch.tensor(months.to_numpy(float)[i::3]) for i in range(3))
    alpha = ((middle - first) / (last - first)).to(batch.y.device)
    z_T = batch.invert(system, steps, batch.ends)
    between = slerp(*z_T.chunk(2), alpha)
    y = lerp(batch.y[start], batch.y[end], alpha)
    return batch.compare(system.image(system.decode(between, y, steps)), target)


def _rows(
    experiment: str, values: dict[str, Tensor], scans: pd.DataFrame, solver: str, steps: int
) -> list[pd.DataFrame]:
    """Rows of the per-scan table: one frame a metric."""
    known = scans[["scan_id", "participant_id"]]
    key = {"experiment": experiment, "solver": solver, "T": steps}
    return [
        known.assign(**key, metric=name, value=value.cpu().numpy())
        for name, value in values.items()
    ]


def network_calls(experiment: str, solver: str, steps: int) -> int:
    """Calls of the network for one scan of an experiment; interpolation inverts two visits."""
    up, down = find_solver(solver).calls(steps)
    return (2 if experiment == "interpolation" else 1) * up + down


def summarise(scans: pd.DataFrame, resamples: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Means, and differences from DDIM at the largest T, with intervals over subjects.

    Args:
        scans: Per-scan table of :func:`evaluate_solvers`.
        resamples, seed: Number of bootstrap resamples of subjects, and their seed.
    """
    means, gaps = [], []
    most = scans["T"].max()
    for (experiment, metric), part in scans.groupby(RESULT, sort=False):
        settings = {key: one.set_index("scan_id") for key, one in part.groupby(SETTING, sort=False)}
        reference = settings[REFERENCE, most].sort_index()
        bootstrap = ClusterBootstrap(reference["participant_id"], resamples, seed)
        size = bootstrap.counts
        for (solver, steps), one in settings.items():
            value = one.loc[reference.index, "value"]
            key = {"experiment": experiment, "metric": metric, "solver": solver, "T": steps}
            key["calls"] = network_calls(experiment, solver, steps)
            means.append(key | bootstrap.mean(value).row("value") | size)
            gap = bootstrap.mean(value - reference["value"])
            gaps.append(key | gap.row("difference") | size)
    return pd.DataFrame(means), pd.DataFrame(gaps)
