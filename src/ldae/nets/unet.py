"""Denoiser eps_theta: a 3-D UNet in three parts, two of which the gradient estimator G shares.

The time embedding and :class:`DownPath` are shared with G. :class:`UpPath` (middle, up, output)
exists once for eps_theta and once, conditioned on y_sem, for G (paper section 3.5).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ldae.nets.blocks import (
    FACTORS,
    Resample,
    ResBlock,
    SelfAttention,
    Stage,
    timestep_embedding,
    zero_init,
)
from ldae.nets.execution import (
    Recomputable,
    apply_execution_options,
    call_recomputed,
    guard_gradients,
)
from ldae.nets.normalisation import GroupNormSiLU, channels_last
from ldae.nets.preconditioning import Preconditioning

BF16_ADVICE = "precision: fp32, or choose another volumes.shape"


@dataclass(frozen=True)
class UNetShape:
    """The numbers that fix a UNet's architecture (Table 3); shared by eps_theta and G.

    Raises:
        ValueError: the numbers do not fit together.
    """

    in_channels: int
    out_channels: int
    base_channels: int
    channel_mult: tuple[int, ...]
    num_res_blocks: int
    attention_factors: tuple[int, ...]
    num_heads: int
    dropout: float
    norm_num_groups: int
    resample: Resample

    def __post_init__(self) -> None:
        levels = len(self.channel_mult)
        if self.resample not in FACTORS:
            raise ValueError(f"resample is one of {sorted(FACTORS)}, not {self.resample!r}")
        unreachable = set(self.attention_factors) - {2**level for level in range(levels)}
        if unreachable:
            raise ValueError(
                f"attention_factors {sorted(unreachable)} do not occur in a UNet of {levels} levels"
            )
        for mult in self.channel_mult:
            channels = self.base_channels * mult
            if channels % self.norm_num_groups or channels % self.num_heads:
                raise ValueError(
                    f"{channels} channels cannot be divided by norm_num_groups "
                    f"{self.norm_num_groups} and num_heads {self.num_heads}"
                )

    @property
    def embedding_dim(self) -> int:
        """Length of the time code."""
        return 4 * self.base_channels

    def block(
        self, in_channels: int, out_channels: int, conditional: bool = False, resample: str = ""
    ) -> ResBlock:
        """Make a residual block; ``resample`` is ``"up"``, ``"down"`` or empty."""
        return ResBlock(
            in_channels,
            out_channels,
            self.embedding_dim,
            self.dropout,
            self.norm_num_groups,
            conditional,
            FACTORS[self.resample] if resample else None,
            up=resample == "up",
        )

    def attention(self, channels: int) -> SelfAttention:
        """Make a self-attention layer."""
        return SelfAttention(channels, self.num_heads, self.norm_num_groups)


class DownPath(Recomputable):
    """First convolution and all levels down; returns the features for the skip connections.

    Args:
        shape: The UNet's numbers.
        conditional: Whether every block takes y_sem as well (the voxel-space DAE).
    """

    def __init__(self, shape: UNetShape, conditional: bool = False):
        super().__init__()
        channels = shape.base_channels
        self.conv = nn.Conv3d(shape.in_channels, channels, 3, padding=1)
        self.stages = nn.ModuleList()
        self.skip_channels = [channels]
        for level, mult in enumerate(shape.channel_mult):
            for _ in range(shape.num_res_blocks):
                block = shape.block(channels, mult * shape.base_channels, conditional)
                channels = mult * shape.base_channels
                attends = 2**level in shape.attention_factors
                self.stages.append(Stage(block, shape.attention(channels) if attends else None))
                self.skip_channels.append(channels)
            if level < len(shape.channel_mult) - 1:
                halving = shape.block(channels, channels, conditional, resample="down")
                self.stages.append(Stage(halving))
                self.skip_channels.append(channels)
        guard_gradients(self, "UNet", BF16_ADVICE)

    def forward(self, z: Tensor, t_emb: Tensor, y_emb: Tensor | None = None) -> list[Tensor]:
        """Return the features of every stage, finest first; the last one enters the middle."""
        features = [channels_last(self.conv(z))]
        for stage in self.stages:
            features.append(
                call_recomputed(stage, features[-1], t_emb, y_emb, recompute=self.checkpointing)
            )
        return features


class UpPath(Recomputable):
    """Middle, all levels up, and the output convolution, which starts at zero.

    Args:
        shape: The UNet's numbers.
        skip_channels: Channels of the features of the down path, finest first.
        conditional: Whether every block takes y_sem as well (the gradient estimator).
    """

    def __init__(self, shape: UNetShape, skip_channels: Sequence[int], conditional: bool):
        super().__init__()
        skips = list(skip_channels)
        channels = skips[-1]
        self.middle = nn.ModuleList(
            [
                Stage(shape.block(channels, channels, conditional), shape.attention(channels)),
                Stage(shape.block(channels, channels, conditional)),
            ]
        )
        self.stages = nn.ModuleList()
        self.joins: list[bool] = []  # whether a stage takes a skip connection
        for level, mult in reversed(list(enumerate(shape.channel_mult))):
            for _ in range(shape.num_res_blocks + 1):
                block = shape.block(channels + skips.pop(), mult * shape.base_channels, conditional)
                channels = mult * shape.base_channels
                attends = 2**level in shape.attention_factors
                self.stages.append(Stage(block, shape.attention(channels) if attends else None))
                self.joins.append(True)
            if level:
                self.stages.append(
                    Stage(shape.block(channels, channels, conditional, resample="up"))
                )
                self.joins.append(False)
        self.norm = GroupNormSiLU(shape.norm_num_groups, channels)
        self.conv = zero_init(nn.Conv3d(channels, shape.out_channels, 3, padding=1))
        guard_gradients(self, "estimator" if conditional else "UNet", BF16_ADVICE)

    def forward(
        self, features: Sequence[Tensor], t_emb: Tensor, y_emb: Tensor | None = None
    ) -> Tensor:
        """Map the features of :class:`DownPath` to (B, out_channels, X, Y, Z).

        ``t_emb`` is the time code (B, E); ``y_emb`` the embedded y_sem (B, E), if conditional.
        """
        skips = list(features)
        h = skips[-1]
        for stage in self.middle:
            h = call_recomputed(stage, h, t_emb, y_emb, recompute=self.checkpointing)
        for stage, joins in zip(self.stages, self.joins, strict=True):
            skip = skips.pop() if joins else None
            h = call_recomputed(stage, h, t_emb, y_emb, skip, recompute=self.checkpointing)
        return self.conv(self.norm(h))


def time_embedding(shape: UNetShape) -> nn.Sequential:
    """Network from the sinusoids of a step (B, base_channels) to the time code (B, E)."""
    return nn.Sequential(
        nn.Linear(shape.base_channels, shape.embedding_dim),
        nn.SiLU(),
        nn.Linear(shape.embedding_dim, shape.embedding_dim),
    )


class UNet(nn.Module):
    """eps_theta(z_t, t): predicts the noise in a latent (486,927,363 parameters as in Table 3).

    Args:
        in_channels: Channels of z_t.
        out_channels: Channels of the prediction.
        base_channels: Channels of the finest level.
        channel_mult: Multiples of ``base_channels`` by level; each level halves the size.
        num_res_blocks: Residual blocks by level on the way down (one more on the way up).
        attention_factors: Downsampling factors at which there is self-attention.
        num_heads: Attention heads.
        dropout: Probability, inside the residual blocks.
        norm_num_groups: Groups of the group normalisations.
        resample: ``isotropic`` halves all three axes, ``inner_axes`` the last two.
        preconditioning: Converts the network's output to eps; None: the output is eps.

    Raises:
        ValueError: the numbers do not fit together.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        base_channels: int,
        channel_mult: Sequence[int],
        num_res_blocks: int,
        attention_factors: Sequence[int],
        num_heads: int,
        dropout: float,
        norm_num_groups: int,
        resample: Resample,
        preconditioning: Preconditioning | None = None,
    ):
        super().__init__()
        shape = UNetShape(
            in_channels,
            out_channels,
            base_channels,
            tuple(channel_mult),
            num_res_blocks,
            tuple(attention_factors),
            num_heads,
            dropout,
            norm_num_groups,
            resample,
        )
        self.shape = shape
        self.time = time_embedding(shape)
        self.down = DownPath(shape)
        self.up = UpPath(shape, self.down.skip_channels, conditional=False)
        self.preconditioning = preconditioning

    def encode(self, z_t: Tensor, t: Tensor) -> tuple[list[Tensor], Tensor]:
        """Run the part shared with G: features of every stage, and the time code (B, E)."""
        t_emb = self.time(timestep_embedding(t, self.shape.base_channels))
        if self.preconditioning is not None:
            z_t = self.preconditioning.residual(z_t, t)
        return self.down(z_t, t_emb), t_emb

    def decode(self, features: Sequence[Tensor], t_emb: Tensor, z_t: Tensor, t: Tensor) -> Tensor:
        """eps (B, C, *S) from the output of :meth:`encode`; preconditioned in float32 or wider."""
        out = self.up(features, t_emb).to(z_t.dtype)
        return out if self.preconditioning is None else self.preconditioning.eps(out, z_t, t)

    def forward(self, z_t: Tensor, t: Tensor) -> Tensor:
        """Predict the noise.

        Args:
            z_t: Noisy latents (B, C, X, Y, Z); sides divisible by 2^(levels - 1).
            t: Steps (B,), long.

        Returns:
            eps (B, out_channels, X, Y, Z), in the dtype of ``z_t`` (also under autocast).
        """
        features, t_emb = self.encode(z_t, t)
        return self.decode(features, t_emb, z_t, t)


def unet_shape(cfg: Mapping[str, Any], latent_channels: int) -> UNetShape:
    """Read the architecture from the ``ldm`` or the ``dae`` section of the config."""
    return UNetShape(
        in_channels=latent_channels,
        out_channels=latent_channels,
        base_channels=cfg["base_channels"],
        channel_mult=tuple(cfg["channel_mult"]),
        num_res_blocks=cfg["num_res_blocks"],
        attention_factors=tuple(cfg["attention_factors"]),
        num_heads=cfg["num_heads"],
        dropout=cfg["dropout"],
        norm_num_groups=cfg["norm_num_groups"],
        resample=cfg["resample"],
    )


def build_unet(
    cfg: Mapping[str, Any],
    latent_channels: int,
    preconditioning: Preconditioning | None = None,
) -> UNet:
    """Build the UNet of the ``ldm`` section of the config, for latents of ``latent_channels``.

    Optional keys: ``checkpointing`` and ``compile`` (see :mod:`ldae.nets.execution`).
    """
    shape = dataclasses.asdict(unet_shape(cfg, latent_channels))
    return apply_execution_options(UNet(**shape, preconditioning=preconditioning), cfg)
