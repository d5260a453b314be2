"""The voxel-space DAE at work: codes, reconstructions (Table 6) and embeddings (Table 7).

Shapes: volumes of the store x (B, 1, X, Y, Z) in [0, 1]; stochastic codes x_T (B, 1, *S) on the
DAE's own grid; semantic codes y_sem (B, d). All are float32 on the compute device.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ldae.compute import Compute
from ldae.data.resize import ResizedVolumes
from ldae.data.sampling import batches
from ldae.data.volume_store import VolumeStore
from ldae.diffusion.ddim import ddim_decode, ddim_encode
from ldae.diffusion.schedule import Schedule, to_image, to_signal
from ldae.evaluation.metrics import ImageMetrics, ssim_window
from ldae.evaluation.scans import spread_over_subjects
from ldae.evaluation.systems import PRECISION
from ldae.files import write_table
from ldae.models.loading import load_dae
from ldae.models.training_scans import require_fit
from ldae.progress import Progress
from ldae.seeds import fixed_noise

SYSTEM, OWN_GRID = "dae", "dae_own_grid"


class DaeSystem:
    """A trained voxel-space DAE with the store it was trained on.

    Args:
        model: Its folder.
        volumes: Folder of the volume store.
        device: ``cuda`` or ``cpu``.
        threads: CPU threads.
        precision: Of the networks, ``bf16`` (autocast) or ``fp32``; None: bf16 on cuda, else fp32.

    Attributes:
        card: Of the model.
        store: The volumes, at their own resolution.
        resized: The same at the DAE's.

    Raises:
        UserError: the model is missing, or the store is another one, whose test subjects the model
            may have seen.
    """

    def __init__(
        self,
        model: str | Path,
        volumes: str | Path,
        device: str,
        threads: int,
        precision: str | None = None,
    ):
        self.compute = Compute.prepare(device, threads, precision or PRECISION.get(device, "fp32"))
        encoder, unet, self.card = load_dae(model)
        self.encoder, self.unet = self.compute.place(encoder), self.compute.place(unet)
        self.store = VolumeStore(volumes)
        require_fit(self.store, self.card, model)
        cfg = self.card["architecture"]
        self.resized = ResizedVolumes(self.store, cfg["shape"], cfg["resize"])
        self.resizer, self.clamp = self.resized.resizer, cfg["clamp"]
        self.schedule = Schedule(**self.card["diffusion"]).to(self.compute.device)

    @torch.inference_mode()
    def y_sem(self, x: Tensor) -> Tensor:
        """Semantic code of volumes of the store."""
        with self.compute.autocast():
            return self.encoder(self.resizer.there(self.compute.move(x))).float()

    def _eps_fn(self, y: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        def estimate(x_t: Tensor, t: Tensor) -> Tensor:
            with self.compute.autocast():
                return self.unet(x_t, t, y).float()

        return estimate

    @torch.inference_mode()
    def encode_xT(self, x: Tensor, y: Tensor, steps: int) -> Tensor:
        """DDIM inversion of volumes of the store, in ``steps`` calls, without any clamp."""
        signal = to_signal(self.resizer.there(self.compute.move(x)))
        return ddim_encode(self._eps_fn(y), signal, self.schedule, steps)

    @torch.inference_mode()
    def decode(self, x_T: Tensor, y: Tensor, steps: int) -> Tensor:
        """Deterministic DDIM of an encoded x_T to volumes (B, 1, *S) in [0, 1], on the DAE's grid.

        Without any clamp, as it was encoded: else the two directions do not undo each other (on the
        demo, T = 20, a mean squared error of 0.004 without and 0.022 with a clamp).
        """
        return to_image(ddim_decode(self._eps_fn(y), x_T, self.schedule, steps))

    @torch.inference_mode()
    def generate(self, noise: Tensor, y: Tensor, steps: int) -> Tensor:
        """As :meth:`decode`, from noise, with ``dae.clamp`` on the predicted x_0."""
        return to_image(ddim_decode(self._eps_fn(y), noise, self.schedule, steps, self.clamp))

    def noise(self, scan_ids: pd.Series, seed: int) -> Tensor:
        """The fixed x_T of scans, as the other systems have it."""
        return self.compute.move(fixed_noise(scan_ids, (1, *self.resizer.shape), seed))


def evaluate_dae(
    system: DaeSystem, scans: str | Path, cfg: dict[str, Any], most: int | None = None
) -> None:
    """Reconstruct test scans, by the rule that chooses those of the other systems; write the table.

    Systems (``system``/``variant``), the metrics of ``dae`` against the original at the store's
    resolution, where all systems of Table 6 can be compared, those of ``dae_own_grid`` at the
    DAE's, as the paper's rows most likely are:

    - ``resized``, without T: there and back between the two grids, without any network (``dae``
      alone): the best that a DAE at its resolution could reach;
    - per T of ``ddim_steps``: ``y_sem`` (Table 6 a: from y_sem and the fixed noise of the scan) and
      ``encoded`` (Table 6 b: from y_sem and inverted x_T).

    Args:
        system: The trained model.
        scans: Per-scan table to write, with the columns of
            :func:`ldae.evaluation.reconstruct.evaluate_reconstruction`; ``ssim_to_ae`` and
            ``mse_to_ae`` are n/a, since no autoencoder is involved.
        cfg: Section ``evaluation``.
        most: ``dae.test_scans``: at most so many scans, if ``cfg["max_scans"]`` is not fewer.
    """
    store, caps = system.store, [cap for cap in (most, cfg["max_scans"]) if cap is not None]
    test = spread_over_subjects(store.index.loc[store.rows("test")], min(caps, default=None))
    metrics = ImageMetrics(cfg["lpips"], system.compute.device)
    progress = Progress("reconstruction by the voxel-space DAE", len(test))
    frames = []
    for part in batches(len(test), cfg["batch_size"]):
        rows = test.iloc[part]
        x = system.compute.move(store.volumes(rows.index.to_numpy()))
        frames += _reconstruct(system, x, rows, metrics, cfg)
        progress.step(int(part[-1]) + 1)
    order = ["system", "variant", "T", "scan_id"]
    result = pd.concat(frames).sort_values(order, na_position="first", ignore_index=True)
    write_table(result, scans)


def _reconstruct(
    system: DaeSystem, x: Tensor, rows: pd.DataFrame, metrics: ImageMetrics, cfg: dict[str, Any]
) -> list[pd.DataFrame]:
    """Per-scan rows of one batch."""
    known = rows[["scan_id", "participant_id", "diagnosis"]]
    resizer, frames = system.resizer, []
    resized, y = resizer.there(x), system.y_sem(x)

    def compare(name: str, variant: str, steps: int | None, x: Tensor, image: Tensor) -> None:
        values = {key: value.cpu().numpy() for key, value in metrics(x, image).items()}
        frames.append(
            known.assign(
                system=name,
                variant=variant,
                T=np.nan if steps is None else steps,
                **values,
                ssim_to_ae=np.nan,
                mse_to_ae=np.nan,
                ssim_window=ssim_window(x.shape[2:]),
            )
        )

    compare(SYSTEM, "resized", None, x, resizer.back(resized))
    noise = system.noise(rows["scan_id"], cfg["noise_seed"])
    for steps in cfg["ddim_steps"]:
        encoded = system.decode(system.encode_xT(x, y, steps), y, steps)
        for variant, image in (
            ("y_sem", system.generate(noise, y, steps)),
            ("encoded", encoded),
        ):
            compare(SYSTEM, variant, steps, x, resizer.back(image))
            compare(OWN_GRID, variant, steps, resized, image)
    return frames
