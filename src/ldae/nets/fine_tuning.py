"""Fine-tuning: the parts of a semantic encoder that learn on; the others keep their weights."""

from torch import nn

from ldae.errors import require
from ldae.nets.semantic_encoder import SemanticEncoder, SupervisedEncoder

HEAD, LAST_STAGE, WHOLE = "head", "last_stage", "all"
TRAINABLE = (HEAD, LAST_STAGE, WHOLE)


def encoder_parts(encoder: SemanticEncoder, trainable: str) -> dict[str, nn.Module]:
    """Modules of the encoder that learn on, by their names in it.

    Args:
        encoder: The encoder.
        trainable: ``head``: none; ``last_stage``: the backbone from its last stage on, and what
            combines the slices; ``all``: the whole encoder.

    Raises:
        UserError: an unknown value.
    """
    require(
        trainable in TRAINABLE,
        f"evaluation.fine_tuning.trainable is {trainable!r}; allowed are {', '.join(TRAINABLE)}.",
    )
    if trainable == HEAD:
        return {}
    if trainable == WHOLE:
        return {"encoder": encoder}
    joining = {name: one for name, one in encoder.named_children() if name != "backbone"}
    return _from_last_stage(encoder.backbone) | joining


def _from_last_stage(backbone: nn.Module) -> dict[str, nn.Module]:
    """The last stage of a timm backbone (as ``stages.3`` or ``layer4``), and all behind it."""
    top, _, place = backbone.feature_info[-1]["module"].partition(".")
    children = dict(backbone.named_children())
    names = list(children)
    parts = {name: children[name] for name in names[names.index(top) :]}
    if place:
        stages = parts.pop(top)
        parts |= {f"{top}.{number}": stages[number] for number in range(int(place), len(stages))}
    return {f"backbone.{name}": part for name, part in parts.items()}


def freeze_but(net: SupervisedEncoder, trainable: str) -> dict[str, nn.Module]:
    """Freeze all but the head and the parts of the encoder that learn on; return these parts.

    What is frozen is in evaluation mode: it draws no dropout and keeps its running statistics.
    """
    parts = encoder_parts(net.encoder, trainable)
    net.requires_grad_(False).eval()
    for part in (*parts.values(), net.head):
        part.requires_grad_(True).train()
    return parts
