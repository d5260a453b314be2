"""Trained voxel-space DAE: codes and reconstructions (Tables 5 and 6).

Shapes: volumes of the store x (B, 1, X, Y, Z) in [0, 1]; stochastic codes x_T (B, 1, *S) on the
DAE's own grid; semantic codes y_sem (B, d). All are float32 on the compute device.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ldae.compute import Compute
from ldae.data.resize import ResizedVolumes, Resizer
from ldae.data.volume_store import VolumeStore
from ldae.diffusion.ddim import ddim_decode
from ldae.diffusion.schedule import Schedule, to_image, to_signal
from ldae.inference.embeddings import Source
from ldae.inference.start_noise import StartNoise
from ldae.inference.trained_system import (
    PRECISION,
    Reconstruction,
    Size,
    TrainedSystem,
    Variant,
    parameters,
)
from ldae.models.loading import load_dae
from ldae.models.training_scans import require_fit
from ldae.nets.conditional_unet import ConditionalUNet
from ldae.nets.semantic_encoder import SemanticEncoder

OWN_GRID = "dae_own_grid"  # its reconstructions compared at its own resolution


class DaeSystem(TrainedSystem):
    """A trained voxel-space DAE.

    Args:
        encoder, unet: Trained networks, on ``compute``'s device.
        card: Model card: grid, noise schedule, training scans.
        folder: Model folder.
        compute: Device and precision.
    """

    stages, name = ("dae",), "dae"

    def __init__(
        self,
        encoder: SemanticEncoder,
        unet: ConditionalUNet,
        card: dict[str, Any],
        folder: str | Path,
        compute: Compute,
    ):
        self.encoder, self.unet, self.card = encoder, unet, card
        self.folder, self.compute = folder, compute
        cfg = card["architecture"]
        self.resizer = Resizer(card["form"]["shape"][1:], cfg["shape"], cfg["resize"])
        self.clamp = cfg["clamp"]
        self.schedule = Schedule(**card["diffusion"]).to(compute.device)

    @classmethod
    def load(
        cls,
        models: Mapping[str, str | Path],
        cfg: Mapping[str, Any],
        device: str,
        threads: int,
        precision: str | None = None,
    ) -> "DaeSystem":
        """See :meth:`TrainedSystem.load`. The precision is that of the encoder as well."""
        compute = Compute.prepare(device, threads, precision or PRECISION.get(device, "fp32"))
        encoder, unet, card = load_dae(models["dae"])
        encoder, unet = compute.place(encoder), compute.place_frozen(unet)
        return cls(encoder, unet, card, models["dae"], compute)

    def volume_store(self, folder: str | Path) -> VolumeStore:
        """See :meth:`TrainedSystem.volume_store`."""
        store = VolumeStore(folder)
        require_fit(store, self.card, self.folder)
        return store

    @torch.inference_mode()
    def y_sem(self, x: Tensor) -> Tensor:
        """Semantic codes (B, d) of volumes of the store (B, 1, X, Y, Z)."""
        with self.compute.autocast():
            return self.encoder(self.resizer.there(self.compute.move(x))).float()

    def _eps_fn(self, y: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        def estimate(x_t: Tensor, t: Tensor) -> Tensor:
            with self.compute.autocast():
                return self.unet(x_t, t, y).float()

        return estimate

    @torch.inference_mode()
    def encode_xT(self, x: Tensor, y: Tensor, steps: int) -> Tensor:
        """Inversion of volumes of the store to x_T, in ``steps`` calls, without any clamp."""
        signal = to_signal(self.resizer.there(self.compute.move(x)))
        return self.solver.encode(self._eps_fn(y), signal, self.schedule, steps)

    @torch.inference_mode()
    def decode(self, x_T: Tensor, y: Tensor, steps: int) -> Tensor:
        """From an encoded x_T to volumes (B, 1, *S) in [0, 1], on the DAE's grid.

        Without any clamp, as it was encoded: with one, decoding does not invert encoding (on the
        demo, T = 20: a mean squared error of 0.004 without and 0.022 with a clamp).
        """
        return to_image(self.solver.decode(self._eps_fn(y), x_T, self.schedule, steps))

    @torch.inference_mode()
    def generate(self, noise: Tensor, y: Tensor, steps: int) -> Tensor:
        """DDIM from noise, with ``dae.clamp`` on the predicted x_0, whatever the solver."""
        return to_image(ddim_decode(self._eps_fn(y), noise, self.schedule, steps, self.clamp))

    def _starts(self, scan_ids: Sequence[str], noise: StartNoise) -> list[Tensor]:
        """x_T (B, 1, *S) of scans, drawn as that of the other systems."""
        drawn = noise.tensors(scan_ids, (1, *self.resizer.shape))
        return [self.compute.move(one) for one in drawn]

    def _generate_mean(self, starts: Sequence[Tensor], y: Tensor, steps: int) -> Tensor:
        """Mean of the images generated from each start."""
        return torch.stack([self.generate(one, y, steps) for one in starts]).mean(0)

    def reconstructions(
        self,
        x: Tensor,
        codes: Mapping[str, Tensor],
        scan_ids: Sequence[str],
        steps: Sequence[int],
        noise: StartNoise,
    ) -> Iterator[Reconstruction]:
        """See :meth:`TrainedSystem.reconstructions`.

        - ``dae/resized``: to the DAE's grid and back, without any network. No DAE at its resolution
          could do better.
        - Per T ``y_sem`` (Table 6 a: from ``noise``) and ``encoded``
          (Table 6 b: from y_sem and inverted x_T). Each is compared twice: as ``dae`` at the
          store's resolution, as all systems of Table 6, and as ``dae_own_grid`` at the DAE's own,
          as the paper's rows most likely are.
        """
        resized, y = self.resizer.there(x), codes["y_sem"]
        yield Reconstruction(self.name, "resized", None, x, self.resizer.back(resized))
        starts = self._starts(scan_ids, noise)
        for T in steps:
            encoded = self.decode(self.encode_xT(x, y, T), y, T)
            for variant, image in (
                ("y_sem", self._generate_mean(starts, y, T)),
                ("encoded", encoded),
            ):
                yield Reconstruction(self.name, variant, T, x, self.resizer.back(image))
                yield Reconstruction(OWN_GRID, variant, T, resized, image)

    def runs(
        self, x: Tensor, scan_id: str, steps: int, noise: StartNoise
    ) -> dict[Variant, Callable[[], Tensor]]:
        """See :meth:`TrainedSystem.runs`."""
        starts = self._starts([scan_id], noise)

        def encoded() -> Tensor:
            y = self.y_sem(x)
            return self.decode(self.encode_xT(x, y, steps), y, steps)

        return {
            (self.name, "y_sem"): lambda: self._generate_mean(starts, self.y_sem(x), steps),
            (self.name, "encoded"): encoded,
        }

    @property
    def volume_shape(self) -> Sequence[int]:
        """See :attr:`TrainedSystem.volume_shape`."""
        return self.card["form"]["shape"][-3:]

    def largest_calls(self, x: Tensor) -> dict[str, Callable[[], Tensor]]:
        """See :meth:`TrainedSystem.largest_calls`."""
        x_t = x.new_zeros(len(x), 1, *self.resizer.shape)
        t = torch.zeros(len(x), dtype=torch.long, device=x.device)
        y = x.new_zeros(len(x), int(self.encoder.dim))
        estimate = torch.inference_mode()(self._eps_fn(y))
        return {
            "DAE, y_sem": lambda: self.y_sem(x),
            "DAE, noise estimate": lambda: estimate(x_t, t),
        }

    def sizes(self, shape: Sequence[int]) -> dict[Variant, Size]:
        """See :meth:`TrainedSystem.sizes`."""
        whole, code = parameters(self.encoder, self.unet), int(self.encoder.dim)
        voxels = prod(self.resizer.shape)
        return {
            (self.name, "y_sem"): Size(whole, code),
            (self.name, "encoded"): Size(whole, code + voxels),
        }

    def resolution(self, shape: Sequence[int]) -> Sequence[int]:
        """See :meth:`TrainedSystem.resolution`."""
        return self.resizer.shape


def dae_encoder(model: str | Path, store: VolumeStore) -> Source:
    """The trained encoder of a DAE; it reads the volumes on the DAE's own grid."""
    encoder, _, card = load_dae(model)
    cfg = card["architecture"]
    return Source(encoder, ResizedVolumes(store, cfg["shape"], cfg["resize"]), card)
