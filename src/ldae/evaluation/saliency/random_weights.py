"""Weight randomisation: read-outs whose layers are replaced by random ones, from the top down.

A saliency map that looks the same whatever the weights are shows the image, not what the network
learnt (Adebayo et al. 2018, "Sanity checks for saliency maps"). Each level keeps the random layers
of the levels before it; the last has no trained weight left.
"""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from ldae.evaluation.probes.direction import LinearModel
from ldae.evaluation.saliency.attributions import Encoder, ReadOut, slice_encoder
from ldae.nets.components import VolumeComponents
from ldae.nets.joined_encoder import JoinedEncoder
from ldae.nets.semantic_encoder import SemanticEncoder
from ldae.seeds import generator

TRAINED, PROBE, ATTENTION, ALL = "trained", "probe", "attention", "all"
COMPONENTS = "components"
IMAGE = "image"  # no network at all: the scan less what it is compared with


def randomised(read_out: ReadOut, fresh: Encoder, seed: int) -> Iterator[tuple[str, ReadOut]]:
    """Read-outs with more and more random layers.

    Args:
        read_out: The trained one; it stays as it is.
        fresh: An encoder of the same architecture with random weights, the source of the layers.
        seed: Seed of the random probe, and of the voxels of a linear branch.

    Yields:
        Level and read-out, to be used before the next one is asked for: ``probe`` (random weights
        of the length of the trained ones); of a branch of slices ``attention`` (all that combines
        the slices) and ``backbone N`` for the stages of the backbone from its last (1) on; of a
        linear branch ``components`` (at the voxels that it reads); and ``all``, with other voxels.
    """
    probe = random_probe(read_out.probe, seed)
    encoder = copy.deepcopy(read_out.encoder)
    yield PROBE, ReadOut(encoder, probe)
    slices, new_slices = slice_encoder(encoder), slice_encoder(fresh)
    steps: list[tuple[str, Callable[[], None]]] = []
    if slices is not None:
        combining = [name for name, _ in slices.named_children() if name != "backbone"]
        stages = [combining, *reversed(backbone_stages(slices))]
        for number, names in enumerate(stages):
            level = f"backbone {number}" if number else ATTENTION
            steps.append((level, partial(_copy, new_slices, slices, names)))
    if isinstance(encoder, JoinedEncoder):
        branch = encoder.components
        steps.append((COMPONENTS, partial(branch.matrix.copy_, fresh.components.matrix)))
        steps.append((ALL, partial(_other_voxels, branch, seed)))
    for number, (level, randomise) in enumerate(steps, start=1):
        randomise()
        yield (ALL if number == len(steps) else level), ReadOut(encoder, probe)


def random_probe(probe: LinearModel, seed: int) -> LinearModel:
    """The probe with random weights of the same length, and without its bias."""
    drawn = torch.randn(len(probe.w), generator=generator(seed, "saliency", "probe")).to(probe.w)
    return replace(probe, w=drawn * (probe.w.norm() / drawn.norm()), b=0.0)


def backbone_stages(encoder: SemanticEncoder) -> list[list[str]]:
    """Names of the modules of each stage of the backbone, from the slice to its embedding.

    A stage ends where the backbone states a feature map (timm's ``feature_info``). What follows the
    last of them, such as a normalisation, belongs to the last stage. What has no weights is left
    out.
    """
    ends = [level["module"] for level in encoder.backbone.feature_info]
    stages: list[list[str]] = [[]]
    for name in _parts(encoder.backbone, ends):
        module = encoder.backbone.get_submodule(name)
        if any(True for _ in module.parameters()):
            stages[-1].append(f"backbone.{name}")
        if name in ends and name != ends[-1]:
            stages.append([])
    return [stage for stage in stages if stage]


def _parts(net: nn.Module, ends: list[str], prefix: str = "") -> list[str]:
    """Names of modules in order, opened only where a stage ends within them."""
    found: list[str] = []
    for name, child in net.named_children():
        whole = f"{prefix}{name}"
        if any(end.startswith(f"{whole}.") for end in ends):
            found += _parts(child, ends, f"{whole}.")
        else:
            found.append(whole)
    return found


def _copy(source: nn.Module, target: nn.Module, names: list[str]) -> None:
    """Copy weights and buffers of submodules."""
    for name in names:
        target.get_submodule(name).load_state_dict(source.get_submodule(name).state_dict())


def _other_voxels(branch: VolumeComponents, seed: int) -> None:
    """Let a linear branch read random voxels of its grid, without their mean."""
    drawn = generator(seed, "saliency", "voxels")
    places = torch.randperm(math.prod(branch.grid), generator=drawn)
    branch.index.copy_(places[: branch.voxels].sort().values)
    branch.mean.zero_()
