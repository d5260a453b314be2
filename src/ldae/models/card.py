"""Model card: origin of a model, departures from the paper, citation.

A card (``model.json``) holds, as far as the stage records it:

    kind, architecture     what to build; required (:mod:`ldae.models.storage`)
    config                 the stage's section of the config
    told                   training record: settings and source that the training depends on
    data, split            content hash of the store, hash of the subjects' splits
    metrics, epoch, steps  scores and epoch of the saved weights, optimizer steps of the training
    versions               of this code, of torch, MONAI, numpy, timm
    flags                  warnings, one sentence each
    departures             differences of the settings from the paper, one sentence each
    citation               what to cite
    sha256                 of model.safetensors; results are stored with it
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ldae import __version__

CITATION = (
    "Lozupone et al. Latent Diffusion Autoencoders: toward efficient and meaningful unsupervised "
    "representation learning in medical imaging. Medical Image Analysis 2026."
)
PAPER_BACKBONE, PAPER_PERCEPTUAL = "convnext_small", "squeeze"
PAPER_VARIANCE, PAPER_GAMMA = "all", 0.1


def complete_card(card: Mapping[str, Any], flags: Iterable[str] = ()) -> dict[str, Any]:
    """Add citation, code version, departures and flags to a card; all other keys are kept.

    Args:
        card: Card of a stage.
        flags: Warnings to add to those of the card.
    """
    return {
        **card,
        "versions": {"ldae": __version__, **card.get("versions", {})},
        "flags": [*card.get("flags", []), *flags],
        "departures": departures(card),
        "citation": CITATION,
    }


def departures(card: Mapping[str, Any]) -> list[str]:
    """Differences from the paper that change what the model learns, one sentence each.

    Sizes are not compared: the card's architecture states them.
    """
    cfg, found = card.get("architecture", {}), []
    if card["kind"] == "autoencoder":
        if "pretrained" in cfg and cfg["pretrained"] is None:
            found.append("autoencoder trained from scratch, not from UK Biobank weights")
        perceptual = cfg.get("perceptual")
        if perceptual and perceptual["net"] != PAPER_PERCEPTUAL:
            net = perceptual["net"]
            found.append(
                f"perceptual loss by LPIPS with {net}, not SqueezeNet"
                if net
                else "trained without a perceptual loss"
            )
    if card["kind"] == "ldm":
        if card.get("preconditioning"):
            found.append("the denoiser predicts velocity about the mean latent, not noise")
        if card.get("latents_variance", PAPER_VARIANCE) != PAPER_VARIANCE:
            found.append("latents scaled to unit variance between scans, not over all")
    if card["kind"] == "ldae" and "diffusion" in card:
        gamma = card["diffusion"]["gamma"]
        if gamma != PAPER_GAMMA:
            found.append(f"loss weighted with gamma {gamma:g}, not {PAPER_GAMMA:g}")
    if card["kind"] in ("dae", "supervised"):
        cfg = cfg.get("encoder", {})
    if "augmentation" in card.get("config", {}):
        found.append("training scans augmented as the semantic encoder sees them")
    kind = cfg.get("kind", "slices") if card["kind"] == "ldae" else "slices"
    if kind != "slices":
        count = cfg["components"]["count"]
        beside = "in place of" if kind == "components" else "beside"
        found.append(f"y_sem has {count} principal components of volumes {beside} a learnt code")
    if card["kind"] in ("ldae", "dae", "supervised") and kind != "components":
        if "pretrained" in cfg and cfg["pretrained"] is None:
            found.append("semantic encoder trained from scratch, not from ImageNet weights")
        if cfg.get("backbone", PAPER_BACKBONE) != PAPER_BACKBONE:
            found.append(f"backbone {cfg['backbone']}, not ConvNeXt-Small")
    return found
