"""The methods section, written from the run's own configuration, model cards and counts.

Citations are marks such as ``[@tustison2010]`` (see :mod:`ldae.report.citations`).
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ldae.labels import listing, number
from ldae.report.methods_data import data, preprocessing
from ldae.report.references import ADNI
from ldae.report.tidy import without_paths
from ldae.report.trained import trained

Cards = dict[str, dict[str, Any]]


def methods(
    config: dict[str, Any], cards: Cards, index: pd.DataFrame, versions: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Paragraphs (heading, text) of what was done, with the real settings and counts.

    Args:
        config: The run's whole configuration.
        cards: ``model.json`` of autoencoder, ldm and ldae, of this run or published.
        index: ``index.tsv`` of the volume store.
        versions: Software by name.
    """
    return [
        ("Data", data(config, cards, index)),
        ("Preprocessing", preprocessing(config)),
        ("Compression model", _autoencoder(config, cards["autoencoder"])),
        ("Latent diffusion model", _ldm(config, cards["ldm"])),
        ("Semantic encoder and gradient estimator", _ldae(config, cards["ldae"])),
        *_others(config, cards),
        ("Evaluation", _evaluation(config)),
        ("Software", _software(versions)),
    ]


def _start(path: str | None, what: str) -> str:
    return f"started from {what}" if path else f"trained from scratch ({what}: off)"


def _autoencoder(config: dict[str, Any], card: dict[str, Any]) -> str:
    net = card.get("config") or card["architecture"]
    what = (
        f"AutoencoderKL [@rombach2022; @pinaya2022] with channels {net['channels']} and "
        f"{net['latent_channels']} latent channels"
    )
    if card.get("published"):
        return f"{what}.{trained(card)}"
    cfg = card["config"]
    perceptual = (
        f"perceptual loss ({cfg['perceptual']['net']}, weight {cfg['perceptual']['weight']:g}) "
        "[@zhang2018]"
        if cfg["perceptual"]["net"]
        else "no perceptual loss"
    )
    return (
        f"{what}, {_start(cfg['pretrained'], 'UK Biobank weights')}: L1, KL "
        f"(weight {cfg['kl_weight']:g}), {perceptual} and a patch adversary (weight "
        f"{cfg['adversarial']['weight']:g}, from epoch {cfg['adversarial']['start_epoch']}); "
        "weights chosen by validation SSIM." + trained(card)
    )


def _ldm(config: dict[str, Any], card: dict[str, Any]) -> str:
    net, diffusion = card.get("config") or card["architecture"], card.get("diffusion")
    diffusion = diffusion or config["diffusion"]
    scale = (
        f", multiplied by {number(float(card['latent_scale']))}" if "latent_scale" in card else ""
    )
    target = "velocity about the mean" if card.get("preconditioning") else "noise"
    averaged = ""
    if "config" in card:
        decay = card["config"]["ema_decay"]
        averaged = f"; the moving average (decay {decay:g}) of the last epoch is used"
    return (
        f"An unconditional UNet (base {net['base_channels']}, multipliers {net['channel_mult']}) "
        f"predicts the {target} of latents{scale} ({config['latents']['source']} of the posterior) "
        f"over {diffusion['timesteps']} steps, β from {diffusion['beta_start']:g} to "
        f"{diffusion['beta_end']:g}{averaged}." + trained(card)
    )


def _ldae(config: dict[str, Any], card: dict[str, Any]) -> str:
    cfg = card.get("config")
    encoder = cfg["encoder"] if cfg else card["architecture"]
    standardised = "; y_sem is z-scored by running statistics" if encoder["standardize"] else ""
    start = f"{_start(encoder['pretrained'], 'ImageNet weights')}, " if cfg else ""
    cites = " [@liu2022]" if encoder["backbone"].startswith("convnext") else ""
    learnt = (
        f" Loss of Eq. 9 with γ = {config['diffusion']['gamma']:g}; moving average (decay "
        f"{cfg['ema_decay']:g}); weights chosen by the SSIM between validation scans and their "
        f"decoding from y_sem and fixed noise ({cfg['validate_steps']} DDIM steps)."
        if cfg
        else ""
    )
    return (
        f"{encoder['backbone']}{cites} on {encoder['plane']} slices, {start}joined by soft and "
        f"cross attention ({encoder['num_heads']} heads) into y_sem{standardised}, as in "
        "diffusion autoencoders [@preechakul2022]; the gradient estimator [@zhang2022pdae] shares "
        "the frozen UNet's down path and time embedding and adds a new middle, up path and output."
        + learnt
        + trained(card)
    )


def _others(config: dict[str, Any], cards: Cards) -> list[tuple[str, str]]:
    """A paragraph for each model beside the three stages."""
    found = []
    for name, card in cards.items():
        if card["kind"] == "dae":
            cfg = config["dae"]
            text = (
                "Semantic encoder and conditional UNet trained together in voxel space "
                f"[@preechakul2022], on volumes of {' × '.join(map(str, cfg['shape']))} voxels "
                f"({cfg['resize']}); UNet with base {cfg['base_channels']} and multipliers "
                f"{cfg['channel_mult']}."
            )
            found.append(("Voxel-space diffusion autoencoder", text + trained(card)))
        if card["kind"] == "supervised":
            text = "The semantic encoder with a linear head, trained end to end on the label."
            heading = name.replace("_", " ").capitalize()
            found.append((f"{heading} (supervised encoder)", text + trained(card)))
    return found


def _evaluation(config: dict[str, Any]) -> str:
    cfg = config["evaluation"]
    moves, visits = cfg["manipulation"], cfg["interpolation"]
    return " ".join(
        [
            "All numbers are of test subjects that no stage saw. DDIM [@song2021] with "
            f"{listing(cfg['ddim_steps'])} steps, guidance coefficient {cfg['guidance']}, latents "
            "not clamped. SSIM [@wang2004] with a Gaussian window over the whole volume and within "
            f"the brain, MSE, LPIPS [@zhang2018] ({cfg['lpips']['net']}) over fixed axial slices.",
            _probing(cfg["probes"]),
            f"Manipulation ({moves['mode']} y_sem, α = "
            f"{listing([f'{a:g}' for a in moves['alphas']])}, {moves['ddim_steps']} DDIM steps) is "
            "judged by fluid and grey matter in the template's regions, by the probes of the "
            "decoded image and by SSIM elsewhere; controls are a direction that keeps the age "
            "probe's output and random directions of the same length. Visits between two known "
            f"ones are interpolated, and those after two extrapolated, for {visits['subjects']} "
            f"test subjects at most with {visits['min_visits']} visits or more "
            f"({visits['ddim_steps']} DDIM steps). Intervals: central 95 % of "
            f"{cfg['bootstrap']:,} resamples of whole subjects.",
        ]
    )


def _probing(cfg: dict[str, Any]) -> str:
    paper = cfg["paper"]
    return (
        "Probes [@pedregosa2011]: standardised logistic and ridge regression fitted on training "
        f"subjects, regularised by {cfg['cv_folds']}-fold cross-validation over subjects; targets "
        f"are {' against '.join(cfg['classes'])}, age, the groups {listing(cfg['groups'])}, and "
        f"conversion from MCI to AD within {cfg['conversion_months']} months. Those of section "
        f"4.2 beside them: {paper['classifier_epochs']:,} epochs of Adam, "
        f"{paper['regressor_epochs']:,} of SGD, learning rate {paper['learning_rate']:g}, on "
        f"{paper['train_fraction']:.0%} of the training subjects, {len(cfg['seeds'])} seeds."
    )


def _software(versions: Mapping[str, str]) -> str:
    listed = listing([f"{name} {number}" for name, number in versions.items()])
    return (
        f"Networks by MONAI [@cardoso2022], statistics by scikit-learn [@pedregosa2011], the whole "
        f"run by Snakemake [@molder2021]. Versions: {listed}."
    )


def markdown(paragraphs: list[tuple[str, str]], notes: list[str]) -> str:
    """methods.md: the paragraphs, with citations as pandoc reads them, and what limits the run.

    Args:
        paragraphs: From :func:`methods`.
        notes: From :func:`ldae.report.warnings.warnings`.
    """
    lines = ["---", "bibliography: references.bib", "---", "", "# Methods", ""]
    for heading, text in paragraphs:
        lines += [f"## {heading}", "", without_paths(text), ""]
    if notes:
        lines += ["## What to know before reading the numbers", ""]
        lines += [f"- {without_paths(note)}" for note in notes] + [""]
    return "\n".join([*lines, "## Acknowledgement", "", ADNI, ""])
