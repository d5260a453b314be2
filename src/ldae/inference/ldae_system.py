"""Trained LDAE with autoencoder and unconditional LDM: encode, invert, decode.

Shapes: volumes x (B, 1, X, Y, Z) in [0, 1]; latents z_0 and stochastic codes z_T (B, C, *S), scaled
to unit variance; semantic codes y_sem (B, d). All are float32 on the compute device.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ldae.compute import Compute
from ldae.data.embeddings import aligned_embeddings
from ldae.data.latent_store import LatentStore
from ldae.data.volume_store import VolumeStore
from ldae.diffusion.partial import up_to
from ldae.diffusion.schedule import Guidance, Schedule
from ldae.errors import require
from ldae.files import digest
from ldae.inference.code_store import CodeStore, Inversion
from ldae.inference.shared_estimate import SharedEstimate
from ldae.inference.start_noise import StartNoise
from ldae.inference.trained_system import (
    PRECISION,
    Reconstruction,
    Size,
    TrainedSystem,
    Variant,
    parameters,
)
from ldae.models.loading import load_autoencoder, load_ldae
from ldae.models.storage import load_card
from ldae.models.training_scans import refuse_leakage, require_fit
from ldae.nets.gradient_estimator import GuidedUNet
from ldae.nets.semantic_encoder import SemanticEncoder
from ldae.nets.shapes import latent_shape
from ldae.seeds import fixed_noise

if TYPE_CHECKING:
    from monai.networks.nets import AutoencoderKL


@torch.inference_mode()
def semantic_codes(encoder: SemanticEncoder, x: Tensor, compute: Compute) -> Tensor:
    """y_sem (B, d) of volumes (B, 1, X, Y, Z), in fp32 whatever the precision of ``compute``."""
    return encoder(compute.move(x)).float()


class _Start(NamedTuple):
    """z_T (B, C, *S) of decodes with several y_sem, which may share the frozen estimate at it."""

    z_T: Tensor
    shared: SharedEstimate | None


class LdaeSystem(TrainedSystem):
    """Autoencoder, unconditional LDM and LDAE with their latent scale and noise schedule.

    Args:
        autoencoder, encoder, guided: Trained networks, on ``compute``'s device.
        card: The LDAE's card: latent_scale, diffusion, training scans.
        cards: Cards of all three models, by folder.
        guidance: ``c_t`` (Eq. 9) or ``sqrt_one_minus_ab``.
        compute: Device and precision.
    """

    stages, name, has_autoencoder = ("autoencoder", "ldm", "ldae"), "ldae", True
    # Whether reconstructions by the autoencoder and by the LDM alone are of this system too.
    with_parts = True
    codes: CodeStore | None = None

    def __init__(
        self,
        autoencoder: "AutoencoderKL",
        encoder: SemanticEncoder,
        guided: GuidedUNet,
        card: dict[str, Any],
        cards: dict[str, dict[str, Any]],
        guidance: Guidance,
        compute: Compute,
    ):
        self.autoencoder, self.encoder, self.guided = autoencoder, encoder, guided
        self.card, self.cards, self.guidance, self.compute = card, cards, guidance, compute
        kinds = {one["kind"]: one for one in cards.values()}
        self.autoencoder_card = kinds["autoencoder"]
        self.volumes: str | None = None  # content hash of the volume store in use
        self.scale: float = card["latent_scale"]
        self.schedule = Schedule(**card["diffusion"]).to(compute.device)
        for net in (autoencoder, encoder, guided):
            net.eval()

    @classmethod
    def load(
        cls,
        models: Mapping[str, str | Path],
        cfg: Mapping[str, Any],
        device: str,
        threads: int,
        precision: str | None = None,
    ) -> "LdaeSystem":
        """See :meth:`TrainedSystem.load`.

        Scale and schedule are in the LDAE's card. ``cfg`` holds ``guidance``. The semantic encoder
        is always fp32.
        """
        autoencoder, ldm, ldae = (models[stage] for stage in cls.stages)
        compute = Compute.prepare(device, threads, precision or PRECISION.get(device, "fp32"))
        compression, autoencoder_card = load_autoencoder(autoencoder)
        encoder, guided, card = load_ldae(ldae, ldm)
        require(
            card["autoencoder_sha256"] == autoencoder_card["sha256"],
            f"The model in {ldae} was trained with another autoencoder than the one in "
            f"{autoencoder} (SHA-256 differs). Train the later stages again.",
        )
        guided = compute.place(guided)
        # Not its projection of y_sem, which is float32 (ldae.nets.gradient_estimator).
        for part in (guided.unet, guided.estimator.up):
            compute.store_reduced(part)
        return cls(
            compute.place_frozen(compression),
            compute.place(encoder),
            guided,
            card,
            {str(autoencoder): autoencoder_card, str(ldm): load_card(ldm), str(ldae): card},
            cfg["guidance"],
            compute,
        )

    def volume_store(self, folder: str | Path) -> VolumeStore:
        """Open the volume store, whose test subjects no model may have been trained on.

        Raises:
            UserError: a model does not fit the store (:mod:`ldae.models.training_scans`), or stored
                codes are of another one.
        """
        store = VolumeStore(folder)
        for model, card in self.cards.items():
            check = refuse_leakage if card["kind"] == "ldm" else require_fit
            check(store, card, model)
        self.volumes = store.content_hash
        if self.codes is not None:
            self.codes.require_volumes(store.content_hash)
        return store

    def latent_store(self, folder: str | Path) -> LatentStore:
        """Open the latent store, which must be encoded by this autoencoder.

        Raises:
            UserError: it is of another autoencoder, or a model was trained on a test subject.
        """
        store = LatentStore(folder, self.card["autoencoder_sha256"])
        for model, card in self.cards.items():
            refuse_leakage(store, card, model)
        self.volumes = store.card["volumes"]
        return store

    def with_codes(self, store: CodeStore) -> Self:
        """The same system, and the same networks, with stored inversions of scans.

        Raises:
            UserError: they are of other models.
        """
        store.require_models(self.models_hash, self.guidance)
        other = copy(self)
        other.codes = store
        return other

    def up_to_step(self, last: int) -> Self:
        """The same system, and the same networks, whose inversions end at step ``last``.

        The solver's steps lie between 0 and ``last``. No stored code is read.

        Raises:
            ValueError: the schedule has no such step above the first.
        """
        other = copy(self)
        other.schedule, other.codes = up_to(self.schedule, last), None
        return other

    @property
    def models_hash(self) -> str:
        """Digest of all three models: their weights, and what else a card has that decides z_T."""
        keys = ("sha256", "latent_scale", "diffusion")
        return digest(
            {card["kind"]: [card.get(key) for key in keys] for card in self.cards.values()}
        )

    def stored_codes(self, embeddings: str | Path, scan_ids: pd.Series) -> np.ndarray:
        """y_sem of scans from the embeddings on disk: (N, d) float64.

        Raises:
            UserError: a scan is missing, or the embeddings are not those of this model on the
                volumes of the store that was opened last.
            ValueError: no store has been opened.
        """
        if self.volumes is None:
            raise ValueError("no store has been opened")
        return aligned_embeddings(embeddings, scan_ids, self.card["sha256"], self.volumes)

    @torch.inference_mode()
    def encode_z(self, x: Tensor) -> Tensor:
        """Posterior mean z_0 (B, C, *S) of the autoencoder for volumes (B, 1, X, Y, Z), scaled."""
        with self.compute.autocast():
            mean, _ = self.autoencoder.encode(self.compute.move(x))
        return mean.float() * self.scale

    @torch.inference_mode()
    def image(self, z: Tensor) -> Tensor:
        """Decode scaled latents (B, C, *S) to volumes; intensities are clamped to [0, 1]."""
        with self.compute.autocast():
            x = self.autoencoder.decode(self.compute.move(z / self.scale))
        return x.float().clamp(0, 1)

    def y_sem(self, x: Tensor) -> Tensor:
        """Semantic codes (B, d) of volumes (B, 1, X, Y, Z), in fp32 as the stored embeddings."""
        return semantic_codes(self.encoder, x, self.compute)

    def latents(self, store: LatentStore, rows: np.ndarray) -> Tensor:
        """Latents z_0 of rows of a store, with the scale that the models were trained with.

        The store's own scale may differ: published models were trained with another one.
        """
        return self.compute.move(store.latents(rows) * (self.scale / store.scale))

    @torch.inference_mode()
    def estimates(self, z_t: Tensor, t: Tensor, *codes: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Noise estimates at step t (B,): of the frozen LDM, and guided by each y_sem of ``codes``.

        The frozen part is computed once, however many codes there are.
        """
        with self.compute.autocast():
            eps, shifts = self.guided.estimates(z_t, t, *codes)
        eps = eps.float()
        return eps, [self.schedule.guided_eps(eps, g.float(), t, self.guidance) for g in shifts]

    def _eps_fn(
        self, y: Tensor | None, shared: SharedEstimate | None = None
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """Noise estimate guided by ``y``; None: the unconditional one (LDDIM).

        Its first call shares the frozen part with those of other codes.
        """
        first = shared

        def estimate(z: Tensor, t: Tensor) -> Tensor:
            nonlocal first
            own, first = first, None
            with self.compute.autocast():
                if y is None and own is None:
                    return self.guided.unet(z, t).float()
                frozen = own.frozen(self.guided, z, t) if own else self.guided.frozen(z, t)
                if y is None:
                    return frozen.eps.float()
                g = self.guided.shift(frozen, t, y)
            return self.schedule.guided_eps(frozen.eps.float(), g.float(), t, self.guidance)

        return estimate

    @torch.inference_mode()
    def encode_zT(
        self, z_0: Tensor, y: Tensor | None, steps: int, shared: SharedEstimate | None = None
    ) -> Tensor:
        """Invert z_0 in ``steps`` calls (DDIM: Eq. 11); ``y=None`` is the unconditional LDM.

        The code has ``solver.states`` times the channels of z_0. ``shared`` is that of other
        inversions of the same z_0.
        """
        return self.solver.encode(self._eps_fn(y, shared), z_0, self.schedule, steps)

    def invert(
        self,
        scan_ids: Sequence[str],
        z_0: Tensor,
        y: Tensor | None,
        steps: int,
        shared: SharedEstimate | None = None,
    ) -> Tensor:
        """As :meth:`encode_zT` for scans with their own y_sem: read where they are stored."""
        if self.codes is not None:
            found = self.codes.read(Inversion(self.solver_name, steps, y is not None), scan_ids)
            if found is not None:
                return self.compute.move(found)
        return self.encode_zT(z_0, y, steps, shared)

    @torch.inference_mode()
    def decode(
        self, z_T: Tensor, y: Tensor | None, steps: int, shared: SharedEstimate | None = None
    ) -> Tensor:
        """From z_T to z_0 in ``steps`` calls, deterministically; ``y`` as in :meth:`encode_zT`.

        z_T is a code, or noise shaped like z_0. ``shared`` is that of other decodings of it.
        """
        is_noise = z_T.shape[1] == self.autoencoder_card["architecture"]["latent_channels"]
        solve = self.solver.sample if is_noise else self.solver.decode
        return solve(self._eps_fn(y, shared), z_T, self.schedule, steps)

    def images(self, z_T: Tensor, y: Tensor, steps: int, batch_size: int) -> Tensor:
        """Decode many codes to volumes, ``batch_size`` at a time; the result is on the CPU."""
        parts = zip(z_T.split(batch_size), y.split(batch_size), strict=True)
        return torch.cat([self.image(self.decode(*part, steps)).cpu() for part in parts])

    def noise(self, scan_ids: Sequence[str], shape: Sequence[int], seed: int) -> Tensor:
        """Fixed z_T (B, C, *S) of scans whose volumes have ``shape`` (X, Y, Z)."""
        return self.compute.move(fixed_noise(scan_ids, self.latent_shape(shape), seed))

    def _starts(
        self, scan_ids: Sequence[str], shape: Sequence[int], noise: StartNoise
    ) -> list[_Start]:
        """Starts of decodes from y_sem alone, of scans whose volumes have ``shape``.

        Of several draws none keeps its frozen estimate: memory shall not grow with their number.
        """
        drawn = noise.tensors(scan_ids, self.latent_shape(shape))
        shared = SharedEstimate() if len(drawn) == 1 else None
        return [_Start(self.compute.move(z_T), shared) for z_T in drawn]

    def _mean_image(self, starts: Sequence[_Start], y: Tensor, steps: int) -> Tensor:
        """Image of the mean of the latents decoded from each start."""
        decoded = [self.decode(one.z_T, y, steps, one.shared) for one in starts]
        return self.image(torch.stack(decoded).mean(0))

    def latent_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Shape (C, *S) of the latent of a volume of ``shape`` (X, Y, Z)."""
        return latent_shape(shape, self.autoencoder_card["architecture"])

    def reconstructions(
        self,
        x: Tensor,
        codes: Mapping[str, Tensor],
        scan_ids: Sequence[str],
        steps: Sequence[int],
        noise: StartNoise,
    ) -> Iterator[Reconstruction]:
        """See :meth:`TrainedSystem.reconstructions`.

        - ``autoencoder/reconstruction``.
        - Per T ``lddim/encoded`` (unconditional, inverted z_T), ``ldae/encoded`` (Table 6 b) and
          ``ldae/y_sem`` (Table 6 a: from ``noise``).
        - At the largest T ``ldae`` with every control code and the same z_T.

        The autoencoder's and the LDM's only of a system :attr:`with_parts`.
        """
        z_0 = self.encode_z(x)
        compressed = self.image(z_0)
        of_scans, starts = SharedEstimate(), self._starts(scan_ids, x.shape[2:], noise)

        def made(system: str, variant: str, T: int | None, image: Tensor) -> Reconstruction:
            return Reconstruction(system, variant, T, x, image, compressed)

        guided = [(self.name, codes["y_sem"])]
        if self.with_parts:
            yield made("autoencoder", "reconstruction", None, compressed)
        for T in steps:
            for system, code in [("lddim", None), *guided] if self.with_parts else guided:
                z_T = self.invert(scan_ids, z_0, code, T, of_scans)
                yield made(system, "encoded", T, self.image(self.decode(z_T, code, T)))
            for variant, code in codes.items():
                if variant == "y_sem" or max(steps) == T:
                    yield made(self.name, variant, T, self._mean_image(starts, code, T))

    def runs(
        self, x: Tensor, scan_id: str, steps: int, noise: StartNoise
    ) -> dict[Variant, Callable[[], Tensor]]:
        """See :meth:`TrainedSystem.runs`.

        ``ldae/encoded`` computes y_sem and z_0, then takes T calls to z_T, T calls back and the
        decoder. ``ldae/y_sem`` starts at noise.
        """
        starts = self._starts([scan_id], x.shape[2:], noise)

        def encoded(y: Tensor | None) -> Tensor:
            z_T = self.encode_zT(self.encode_z(x), y, steps)
            return self.image(self.decode(z_T, y, steps))

        parts: dict[Variant, Callable[[], Tensor]] = {
            ("autoencoder", "reconstruction"): lambda: self.image(self.encode_z(x)),
            ("lddim", "encoded"): lambda: encoded(None),
        }
        return (parts if self.with_parts else {}) | {
            (self.name, "y_sem"): lambda: self._mean_image(starts, self.y_sem(x), steps),
            (self.name, "encoded"): lambda: encoded(self.y_sem(x)),
        }

    @property
    def volume_shape(self) -> Sequence[int]:
        """See :attr:`TrainedSystem.volume_shape`."""
        return self.autoencoder_card["form"]["shape"][-3:]

    def largest_calls(self, x: Tensor) -> dict[str, Callable[[], Tensor]]:
        """See :meth:`TrainedSystem.largest_calls`."""
        z = x.new_zeros(len(x), *self.latent_shape(x.shape[2:]))
        t = torch.zeros(len(x), dtype=torch.long, device=x.device)
        y = x.new_zeros(len(x), int(self.encoder.dim))
        return {
            "y_sem": lambda: self.y_sem(x),
            "autoencoder, encode": lambda: self.encode_z(x),
            "autoencoder, decode": lambda: self.image(z),
            "guided noise estimate": lambda: self.estimates(z, t, y)[0],
        }

    def sizes(self, shape: Sequence[int]) -> dict[Variant, Size]:
        """See :meth:`TrainedSystem.sizes`."""
        latent, code = prod(self.latent_shape(shape)), int(self.encoder.dim)
        noise = latent * self.solver.states
        guided = parameters(self.guided, self.encoder)
        parts = {
            ("autoencoder", "reconstruction"): Size(parameters(self.autoencoder), latent),
            ("lddim", "encoded"): Size(parameters(self.guided.unet), noise),
        }
        return (parts if self.with_parts else {}) | {
            (self.name, "y_sem"): Size(guided, code),
            (self.name, "encoded"): Size(guided, code + noise),
        }
