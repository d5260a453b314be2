"""Semantic encoder (2.5-D): a 2-D network on every slice, attention over slices (section 3.4).

Also the supervised baseline of Table 7: the semantic encoder and one linear layer.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ldae.config import AUTO
from ldae.errors import UserError, require
from ldae.nets.components import VolumeComponents
from ldae.nets.execution import Recomputable, apply_execution_options, call_recomputed
from ldae.nets.joined_encoder import JoinedEncoder
from ldae.nets.pretrained import load_strictly, load_weights, timm_convnext
from ldae.nets.timm_import import timm
from ldae.seeds import derive_seed

KINDS = ("slices", "components", "both")  # branches of the encoder
# The array axis that each plane's slices are stacked along, in RAS+ volumes (B, 1, X, Y, Z).
PLANES = {"sagittal": 2, "coronal": 3, "axial": 4}
RECOMPUTED_SLICES = 16
HOW_TO_STAGE = (
    "Put the backbone's ImageNet weights there, with timm's or torchvision's key names, or set "
    "ldae.encoder.pretrained to null to train from scratch."
)


def slice_positions(length: int, dim: int, device: torch.device | None = None) -> Tensor:
    """Code of slice numbers (length, dim): sine and cosine in turn, of falling frequencies."""
    frequencies = torch.exp(torch.arange(0, dim, 2, device=device) * (-math.log(10000.0) / dim))
    angles = torch.arange(length, device=device)[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)


class SemanticEncoder(Recomputable):
    """Semantic encoder x_0 -> y_sem.

    Every slice is embedded by one shared 2-D backbone: E (B, L, d). Soft attention, a softmax of
    Linear(d -> 1) over the slices, averages E to a summary Q (B, 1, d). Multi-head attention with
    query Q and keys = values = E gives y_sem.

    Args:
        backbone: A timm model without classifier, taking one channel.
        plane: The plane of the slices: ``axial``, ``coronal`` or ``sagittal``.
        num_heads: Heads of the attention (Table 4: 8).
        attention_dropout: Dropout on the attention weights (Table 4: 0.1).
        position: ``sinusoidal`` adds the slice's position to its embedding, as the authors' code
            does; ``none`` follows the paper.
        position_dropout: Dropout on the embeddings with their positions (the authors' code: 0.1).
        projections: Adds a LayerNorm, and linear layers for query, key and value before those of
            the attention, as in the configuration whose parameters are counted (53,588,065 with
            ConvNeXt-Small). False follows the text of section 3.4 alone (51,814,753).
        layer_norm: Place of that LayerNorm: ``input`` normalises E, ``output`` the result of the
            attention, as the authors' code does.
        standardize: z-score every component of y_sem by running statistics (BatchNorm without
            affine map). Training then needs two scans or more in a micro-batch.
        slice_batch: Slices that go through the backbone at once; None: all of them, or 16 with
            :attr:`checkpointing`, which never keeps the activations of more slices than this.
        skip_empty_slices: Embed all slices without any signal (zero throughout, as outside the
            brain) once instead of one by one. The result is the same. ``auto``: where that holds
            in training as well, for a backbone without batch normalisation, dropout and drop path.

    Attributes:
        dim: Length d of y_sem, the backbone's number of features.

    Raises:
        UserError: an option is unknown or does not fit the backbone.
    """

    def __init__(
        self,
        backbone: nn.Module,
        plane: Literal["axial", "coronal", "sagittal"],
        num_heads: int,
        attention_dropout: float,
        position: Literal["none", "sinusoidal"] = "none",
        projections: bool = True,
        standardize: bool = False,
        position_dropout: float = 0.0,
        layer_norm: Literal["input", "output"] = "input",
        slice_batch: int | None = None,
        skip_empty_slices: bool | str = False,
    ):
        super().__init__()
        require(plane in PLANES, f"ldae.encoder.plane is one of {', '.join(PLANES)}, not {plane}.")
        require(
            position in ("none", "sinusoidal"),
            f"ldae.encoder.position is none or sinusoidal, not {position}.",
        )
        require(
            layer_norm in ("input", "output"),
            f"ldae.encoder.layer_norm is input or output, not {layer_norm}.",
        )
        self.batch_norms = any(
            isinstance(module, nn.modules.batchnorm._BatchNorm) for module in backbone.modules()
        )
        if skip_empty_slices == AUTO:
            skip_empty_slices = not (self.batch_norms or _draws(backbone))
        self._require_no_batch_norms(bool(slice_batch or skip_empty_slices))
        self.dim: int = backbone.head_hidden_size
        require(
            self.dim % num_heads == 0,
            f"ldae.encoder.num_heads is {num_heads}, which does not divide the backbone's "
            f"{self.dim} features.",
        )
        self.plane, self.position, self.layer_norm = plane, position, layer_norm
        self.slice_batch, self.skip_empty_slices = slice_batch, skip_empty_slices
        self.backbone = backbone
        # A slice smaller than the backbone's total stride would vanish within it.
        self.stride: int = max(level["reduction"] for level in backbone.feature_info)
        self.position_dropout = nn.Dropout(position_dropout)
        self.norm = nn.LayerNorm(self.dim) if projections else nn.Identity()
        self.soft_attention = nn.Linear(self.dim, 1)
        self.query, self.key, self.value = (
            nn.Linear(self.dim, self.dim) if projections else nn.Identity() for _ in range(3)
        )
        self.cross_attention = nn.MultiheadAttention(
            self.dim, num_heads, dropout=attention_dropout, batch_first=True
        )
        self.standardize = nn.BatchNorm1d(self.dim, affine=False) if standardize else nn.Identity()

    def compiled_parts(self) -> list[nn.Module]:
        """The backbone alone; the attention over slices is small."""
        return [self.backbone]

    def embed_slices(self, x: Tensor) -> Tensor:
        """Embed all slices of volumes (B, 1, X, Y, Z): (B, L, d)."""
        slices = x.movedim(PLANES[self.plane], 1)  # (B, L, 1, H, W)
        batch, length = slices.shape[:2]
        slices = slices.flatten(0, 1)
        short = [max(0, self.stride - side) for side in slices.shape[-2:]]
        if any(short):
            top, left = short[0] // 2, short[1] // 2
            slices = F.pad(slices, (left, short[1] - left, top, short[0] - top))
        embed = self._embed_distinct if self.skip_empty_slices else self._embed
        return embed(slices).unflatten(0, (batch, length))

    def _embed_distinct(self, slices: Tensor) -> Tensor:
        """As :meth:`_embed`, but all empty slices are embedded once."""
        filled = slices.flatten(1).any(dim=1).nonzero().squeeze(1)
        if len(filled) == len(slices):
            return self._embed(slices)
        index = torch.zeros(len(slices), dtype=torch.long, device=slices.device)
        index[filled] = torch.arange(1, len(filled) + 1, device=slices.device)
        empty = torch.zeros_like(slices[:1])
        return self._embed(torch.cat([empty, slices[filled]]))[index]

    def _embed(self, slices: Tensor) -> Tensor:
        """Run the backbone: (N, 1, H, W) -> (N, d)."""
        recomputed = self.checkpointing and torch.is_grad_enabled()
        self._require_no_batch_norms(recomputed)
        together = RECOMPUTED_SLICES if recomputed else len(slices)
        parts = slices.split(self.slice_batch or together)
        embedded = [
            call_recomputed(self.backbone, part, recompute=self.checkpointing) for part in parts
        ]
        return embedded[0] if len(embedded) == 1 else torch.cat(embedded)

    def _require_no_batch_norms(self, parts: bool) -> None:
        """Raise where a backbone with batch normalisation would get the slices in parts.

        Its statistics would cover a part of the slices, and be updated twice when recomputed.
        """
        require(
            not (parts and self.batch_norms),
            "ldae.encoder.slice_batch, ldae.encoder.skip_empty_slices and ldae.checkpointing need "
            "a backbone without batch normalisation, such as a ConvNeXt; leave them off.",
        )

    def forward(self, x: Tensor) -> Tensor:
        """Encode volumes.

        Args:
            x: Volumes (B, 1, X, Y, Z) in [0, 1], axes in RAS+ order.

        Returns:
            y_sem (B, d), float32.
        """
        embeddings = self.embed_slices(x)  # (B, L, d)
        # In float32 also under autocast: scans differ little beside what their codes share, and
        # bfloat16 would round the difference away before it is standardised or probed.
        with torch.autocast(x.device.type, enabled=False):
            return self.aggregate(embeddings.float())

    def aggregate(self, embeddings: Tensor) -> Tensor:
        """Combine the embeddings of a volume's slices (B, L, d) into y_sem (B, d)."""
        if self.position == "sinusoidal":
            positions = slice_positions(embeddings.shape[1], self.dim, embeddings.device)
            embeddings = embeddings + positions
        embeddings = self.position_dropout(embeddings)
        if self.layer_norm == "input":
            embeddings = self.norm(embeddings)
        weights = self.soft_attention(embeddings).softmax(dim=1)  # (B, L, 1)
        summary = (weights * embeddings).sum(dim=1, keepdim=True)  # (B, 1, d)
        y_sem, _ = self.cross_attention(
            self.query(summary), self.key(embeddings), self.value(embeddings), need_weights=False
        )
        if self.layer_norm == "output":
            y_sem = self.norm(y_sem)
        return self.standardize(y_sem.squeeze(1))


def _draws(backbone: nn.Module) -> bool:
    """Whether a backbone draws random numbers in training: dropout, or blocks left out."""
    return any(
        (layer.p if isinstance(layer, nn.Dropout) else layer.drop_prob) > 0
        for layer in backbone.modules()
        if isinstance(layer, nn.Dropout | timm().layers.DropPath)
    )


def load_backbone(backbone: nn.Module, path: str, what: str) -> None:
    """Load ImageNet weights into a one-channel backbone in place.

    The filters of the first layer are summed over RGB, so that a grey image gives what its RGB
    copy gave (section 4.2). The classifier in the file, which the backbone lacks, is dropped.

    Raises:
        UserError: the file is missing, or its keys or shapes do not fit (naming them).
    """
    state = timm_convnext(load_weights(path, what, HOW_TO_STAGE))
    classifier = backbone.pretrained_cfg["classifier"]
    state = {key: value for key, value in state.items() if not key.startswith(f"{classifier}.")}
    first = f"{backbone.pretrained_cfg['first_conv']}.weight"
    if first not in state:
        raise UserError(f"{what}: the file {path} lacks the first layer, {first}. {HOW_TO_STAGE}")
    state[first] = timm().models.adapt_input_conv(1, state[first])
    load_strictly(backbone, state, path)


def build_encoder(cfg: Mapping[str, Any]) -> SemanticEncoder | JoinedEncoder:
    """Build the encoder of the ``ldae.encoder`` section of the config (Table 4).

    ``kind`` names its branches: ``slices`` (default), the paper's; ``components``, a linear one
    (:mod:`ldae.nets.components`), whose sizes are in the key of that name; or ``both``.

    Raises:
        UserError: as :func:`build_slice_encoder`; an unknown kind.
    """
    kind = cfg.get("kind", "slices")
    require(kind in KINDS, f"ldae.encoder.kind is one of {', '.join(KINDS)}, not {kind}.")
    if kind == "slices":
        return build_slice_encoder(cfg)
    slices = build_slice_encoder(cfg) if kind == "both" else None
    return JoinedEncoder(slices, VolumeComponents(**cfg["components"]))


def build_slice_encoder(cfg: Mapping[str, Any]) -> SemanticEncoder:
    """Build the paper's encoder, of slices.

    Optional keys: ``backbone_kwargs`` (a mapping handed to the timm model; none by default),
    ``drop_path_rate`` (0; chance that a slice skips the last block in training, less before),
    ``projections`` (true), ``layer_norm`` (input), ``position_dropout`` (0), ``slice_batch`` (null)
    and ``skip_empty_slices`` (false).

    Raises:
        UserError: an unknown backbone or option, or weights that are missing or do not fit.
    """
    name, kwargs = cfg["backbone"], dict(cfg.get("backbone_kwargs", {}))
    require(
        timm().is_model(name),
        f"ldae.encoder.backbone: timm {timm().__version__} has no model {name!r}.",
    )
    if cfg.get("drop_path_rate", 0.0) > 0:
        kwargs["drop_path_rate"] = cfg["drop_path_rate"]
    backbone = timm().create_model(name, pretrained=False, in_chans=1, num_classes=0, **kwargs)
    if cfg["pretrained"] is not None:
        load_backbone(backbone, cfg["pretrained"], "ldae.encoder.pretrained")
    return SemanticEncoder(
        backbone,
        plane=cfg["plane"],
        num_heads=cfg["num_heads"],
        attention_dropout=cfg["attention_dropout"],
        position=cfg["position"],
        projections=cfg.get("projections", True),
        standardize=cfg["standardize"],
        position_dropout=cfg.get("position_dropout", 0.0),
        layer_norm=cfg.get("layer_norm", "input"),
        slice_batch=cfg.get("slice_batch"),
        skip_empty_slices=cfg.get("skip_empty_slices", False),
    )


class SupervisedEncoder(nn.Module):
    """Supervised baseline x_0 -> y_sem -> prediction, trained end to end.

    Args:
        encoder: The semantic encoder, as in the unsupervised systems.
        outputs: Length of the prediction: the number of classes, or 1 for the age.
    """

    def __init__(self, encoder: SemanticEncoder, outputs: int):
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.dim, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map volumes (B, 1, X, Y, Z) in [0, 1] to (B, outputs), float32."""
        return self.head(self.encoder(x)).float()


def build_supervised(cfg: Mapping[str, Any], outputs: int) -> SupervisedEncoder:
    """Build the supervised network from the ``supervised`` section with its ``encoder``.

    Args:
        cfg: The section; optional keys ``checkpointing`` and ``compile``
            (:mod:`ldae.nets.execution`).
        outputs: See :class:`SupervisedEncoder`.

    Raises:
        UserError: as :func:`build_slice_encoder`.
    """
    net = SupervisedEncoder(build_slice_encoder(cfg["encoder"]), outputs)
    return apply_execution_options(net, cfg)


def initial_encoder(cfg: Mapping[str, Any], seed: int) -> SemanticEncoder | JoinedEncoder:
    """Build the encoder that stage 3 starts from: random by seed, or with a pretrained backbone."""
    torch.manual_seed(derive_seed(seed, "ldae", "encoder"))
    return build_encoder(cfg)
