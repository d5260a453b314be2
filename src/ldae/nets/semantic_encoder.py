"""The 2.5-D semantic encoder: a 2-D network on every slice, attention over slices (section 3.4)."""

from collections.abc import Mapping
from typing import Any, Literal

import ldae._torchvision  # noqa: F401

# isort: split
import timm
import torch
import torch.nn.functional as F
from timm.models import adapt_input_conv
from torch import Tensor, nn

from ldae.errors import UserError, require
from ldae.nets.blocks import timestep_embedding
from ldae.nets.weights import load_strictly, load_weights

# The array axis that each plane's slices are stacked along, in RAS+ volumes (B, 1, X, Y, Z).
PLANES = {"sagittal": 2, "coronal": 3, "axial": 4}
HOW_TO_STAGE = (
    "Put the backbone's ImageNet weights there as safetensors with timm's key names, or set "
    "ldae.encoder.pretrained to null to train from scratch."
)


class SemanticEncoder(nn.Module):
    """x_0 -> y_sem.

    Every slice is embedded by one shared 2-D backbone: E (B, L, d). Soft attention, a softmax of
    Linear(d -> 1) over the slices, averages E to a summary Q (B, 1, d). Multi-head attention with
    query Q and keys = values = E gives y_sem.

    Args:
        backbone: A timm model without classifier, taking one channel.
        plane: The plane of the slices: ``axial``, ``coronal`` or ``sagittal``.
        num_heads: Heads of the attention (Table 4: 8).
        attention_dropout: On its weights (Table 4: 0.1).
        position: ``sinusoidal`` adds the slice's position to its embedding; ``none`` is the paper.
        projections: Normalise E by a LayerNorm and give query, key and value a linear layer of
            their own before the attention's, as in the configuration whose parameters are counted
            (53,588,065 with ConvNeXt-Small); False leaves the text of section 3.4 alone
            (51,814,753).
        standardize: z-score every component of y_sem by running statistics (BatchNorm without
            affine map). Training then needs two scans or more in a micro-batch.

    Attributes:
        dim: Length d of y_sem, the backbone's number of features.
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
    ):
        super().__init__()
        require(plane in PLANES, f"ldae.encoder.plane is one of {', '.join(PLANES)}, not {plane}.")
        require(
            position in ("none", "sinusoidal"),
            f"ldae.encoder.position is none or sinusoidal, not {position}.",
        )
        self.dim: int = backbone.head_hidden_size
        require(
            self.dim % num_heads == 0,
            f"ldae.encoder.num_heads is {num_heads}, which does not divide the backbone's "
            f"{self.dim} features.",
        )
        self.plane, self.position = plane, position
        self.backbone = backbone
        # A slice smaller than the backbone's total stride would vanish on its way.
        self.stride: int = max(level["reduction"] for level in backbone.feature_info)
        self.norm = nn.LayerNorm(self.dim) if projections else nn.Identity()
        self.soft_attention = nn.Linear(self.dim, 1)
        self.query, self.key, self.value = (
            nn.Linear(self.dim, self.dim) if projections else nn.Identity() for _ in range(3)
        )
        self.cross_attention = nn.MultiheadAttention(
            self.dim, num_heads, dropout=attention_dropout, batch_first=True
        )
        self.standardize = nn.BatchNorm1d(self.dim, affine=False) if standardize else nn.Identity()

    def embed_slices(self, x: Tensor) -> Tensor:
        """Embed all slices of all volumes in one call of the backbone: (B, L, d)."""
        slices = x.movedim(PLANES[self.plane], 1)  # (B, L, 1, H, W)
        batch, length = slices.shape[:2]
        slices = slices.flatten(0, 1)
        short = [max(0, self.stride - side) for side in slices.shape[-2:]]
        if any(short):
            top, left = short[0] // 2, short[1] // 2
            slices = F.pad(slices, (left, short[1] - left, top, short[0] - top))
        return self.backbone(slices).unflatten(0, (batch, length))

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
            index = torch.arange(embeddings.shape[1], device=embeddings.device)
            embeddings = embeddings + timestep_embedding(index, self.dim)
        embeddings = self.norm(embeddings)
        weights = self.soft_attention(embeddings).softmax(dim=1)  # (B, L, 1)
        summary = (weights * embeddings).sum(dim=1, keepdim=True)  # (B, 1, d)
        y_sem, _ = self.cross_attention(
            self.query(summary), self.key(embeddings), self.value(embeddings), need_weights=False
        )
        return self.standardize(y_sem.squeeze(1))


def load_backbone(backbone: nn.Module, path: str, what: str) -> None:
    """Load ImageNet weights into a one-channel backbone in place.

    The filters of the first layer are summed over RGB, so that a grey image gives what its RGB
    copy gave (section 4.2). The classifier in the file, which the backbone lacks, is left out.

    Raises:
        UserError: the file is missing, or its keys or shapes do not fit (naming them).
    """
    state = load_weights(path, what, HOW_TO_STAGE)
    classifier = backbone.pretrained_cfg["classifier"]
    state = {key: value for key, value in state.items() if not key.startswith(f"{classifier}.")}
    first = f"{backbone.pretrained_cfg['first_conv']}.weight"
    if first not in state:
        raise UserError(f"{what}: the file {path} lacks the first layer, {first}. {HOW_TO_STAGE}")
    state[first] = adapt_input_conv(1, state[first])
    load_strictly(backbone, state, path)


def build_encoder(cfg: Mapping[str, Any]) -> SemanticEncoder:
    """Build the encoder of the ``ldae.encoder`` section of the config (Table 4).

    Optional keys: ``backbone_kwargs`` (a mapping handed to the timm model; none by default) and
    ``projections`` (true by default).

    Raises:
        UserError: an unknown backbone or option, or weights that are missing or do not fit.
    """
    name = cfg["backbone"]
    require(
        timm.is_model(name),
        f"ldae.encoder.backbone: timm {timm.__version__} has no model {name!r}.",
    )
    backbone = timm.create_model(
        name, pretrained=False, in_chans=1, num_classes=0, **cfg.get("backbone_kwargs", {})
    )
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
    )
