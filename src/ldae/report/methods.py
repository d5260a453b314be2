"""The methods section, written from the run's own configuration, model cards and counts."""

from typing import Any

import pandas as pd

from ldae.figures.text import count, listing, number

EXTRACTION = {"antspynet": "ANTsPyNet (Cullen and Avants 2018)", "deepbet": "deepbet (Fisch 2024)"}
FEW_SUBJECTS = 50  # test subjects below which the report warns

Cards = dict[str, dict[str, Any]]


def methods(config: dict[str, Any], cards: Cards, index: pd.DataFrame) -> list[tuple[str, str]]:
    """Paragraphs (heading, text) of what was done, with the real settings and counts.

    Args:
        config: The run's whole configuration.
        cards: ``model.json`` of autoencoder, ldm and ldae.
        index: ``index.tsv`` of the volume store.
    """
    return [
        ("Data", _data(config, index)),
        ("Preprocessing", _preprocessing(config)),
        *_models(config, cards),
        ("Evaluation", _evaluation(config, is_published(cards["ldae"]))),
    ]


def is_published(card: dict[str, Any]) -> bool:
    """Whether a model is the authors' published one, not trained by this workflow."""
    return card.get("published", False)


def _models(config: dict[str, Any], cards: Cards) -> list[tuple[str, str]]:
    """Paragraphs of the three models, or one where they are the authors'."""
    if is_published(cards["ldae"]):
        return [("Models", _published(cards["ldae"]))]
    return [
        ("Compression model", _autoencoder(config, cards["autoencoder"])),
        ("Latent diffusion model", _ldm(config, cards["ldm"])),
        ("Semantic encoder and gradient estimator", _ldae(config, cards["ldae"])),
    ]


def _published(card: dict[str, Any]) -> str:
    encoder = card["architecture"]
    return (
        "Published weights: autoencoder, latent diffusion model, semantic encoder and gradient "
        "estimator are those that the authors published, converted; nothing was trained here. "
        f"Their encoder is {encoder['backbone']} on {encoder['plane']} slices; latents were "
        f"multiplied by {number(float(card['latent_scale']))}, as in their training. The settings "
        "of trainings in the configuration were not used."
    )


def _data(config: dict[str, Any], index: pd.DataFrame) -> str:
    splits = config["cohort"]["splits"]
    sizes = listing(
        [
            f"{count(len(part), 'scan')} of {count(part['participant_id'].nunique(), 'subject')} "
            f"({name})"
            for name in ("train", "val", "test")
            if len(part := index[index["split"] == name])
        ]
    )
    return (
        f"{_sources(config)} Subjects, not scans, were divided within each cohort and first known "
        "diagnosis, in the order of a hash of their identifier (test fraction "
        f"{splits['test_fraction']:g}, validation {splits['val_fraction']:g} of the rest, seed "
        f"{splits['seed']}): {sizes}."
    )


def _sources(config: dict[str, Any]) -> str:
    """Where the scans come from, in a sentence or two."""
    cohort = config["cohort"]
    if cohort["bids_dir"]:
        main = f"The scans are those of the BIDS data set {cohort['name']}."
    else:
        what = (
            "a synthetic ADNI download (image folders of DICOM series and study tables with known "
            "truth)"
            if "synthetic" in config
            else "ADNI's T1-weighted images and study tables"
        )
        main = f"The scans are those of {what}, converted to BIDS with Clinica."
    if not cohort["beside"]:
        return main
    return f"{main} Beside it: the BIDS data set(s) {listing(sorted(cohort['beside']))}."


def _preprocessing(config: dict[str, Any]) -> str:
    cfg, volumes = config["preprocess"], config["volumes"]
    n4 = cfg["n4"]
    extraction = cfg["brain_extraction"]
    threshold = extraction["threshold"]
    mask = "as a soft mask" if threshold is None else f"cut at {threshold:g}"
    smooth = ", after a Gaussian against aliasing" if volumes["antialias"] else ""
    inside = ", inside the brain mask, which was found first" if n4["mask"] == "brain" else ""
    return (
        f"N4 bias correction (shrink factor {n4['shrink_factor']}, iterations "
        f"{' × '.join(map(str, n4['iterations']))}{inside}), brain extraction by "
        f"{EXTRACTION.get(extraction['method'], extraction['method'])}, its probability {mask}, "
        f"and {cfg['registration']['type'].lower()} registration to {cfg['template']['name']} with "
        f"ANTs, estimated at {cfg['registration']['estimate_spacing']:g} mm and applied once "
        f"({volumes['interpolation']} interpolation{smooth}) onto a grid of "
        f"{volumes['spacing']:g} mm with {' × '.join(map(str, volumes['shape']))} voxels. "
        f"{_quality(cfg['qc'])} Intensities were scaled to 0 to 1 per scan."
    )


def _quality(qc: dict[str, float | None]) -> str:
    """The bounds that exclude a scan; null ones are off."""
    bounds = []
    for key, bound in qc.items():
        side, measure = key.split("_", 1)
        if bound is not None:
            bounds.append(f"{measure.replace('_', ' ')} {'<' if side == 'min' else '>'} {bound:g}")
    if not bounds:
        return "No scan was excluded by its quality measures."
    return (
        f"Scans were excluded by their quality measures ({', '.join(bounds)}) unless a person "
        "decided otherwise."
    )


def _trained(card: dict[str, Any]) -> str:
    machine, metrics = card["machine"], card.get("metrics") or {}
    kept = f"epoch {card['epoch']} of {card['epochs']} ({count(card['steps'], 'step')}) was kept"
    scores = ", ".join(
        f"validation {name.removeprefix('val_').replace('_', ' ')} {number(float(value))}"
        for name, value in metrics.items()
    )
    return (
        f" Trained with Adam (learning rate {card['config']['learning_rate']:g}, effective batch "
        f"{card['config']['batch_size']}) on {machine['device']} in {machine['precision']}, seed "
        f"{card['seed']}; {kept}{f'; {scores}' if scores else ''}."
    )


def _start(path: str | None, what: str) -> str:
    return f"started from {what}" if path else f"trained from scratch ({what}: off)"


def _autoencoder(config: dict[str, Any], card: dict[str, Any]) -> str:
    cfg = card["config"]
    net = cfg["perceptual"]["net"]
    perceptual = (
        f"perceptual loss ({net}, weight {cfg['perceptual']['weight']:g})"
        if net
        else "no perceptual loss"
    )
    return (
        f"AutoencoderKL with channels {cfg['channels']} and {cfg['latent_channels']} latent "
        f"channels, {_start(cfg['pretrained'], 'UK Biobank weights')}: L1, KL "
        f"(weight {cfg['kl_weight']:g}), {perceptual} and a patch adversary (weight "
        f"{cfg['adversarial']['weight']:g}, from epoch {cfg['adversarial']['start_epoch']}); "
        "weights chosen by validation SSIM." + _trained(card)
    )


def _ldm(config: dict[str, Any], card: dict[str, Any]) -> str:
    cfg, diffusion = card["config"], card.get("diffusion", config["diffusion"])
    scale = (
        f", multiplied by {number(float(card['latent_scale']))}" if "latent_scale" in card else ""
    )
    return (
        f"An unconditional UNet (base {cfg['base_channels']}, multipliers {cfg['channel_mult']}) "
        f"predicts the noise of latents{scale} ({config['latents']['source']} of the posterior) "
        f"over {diffusion['timesteps']} steps, β from {diffusion['beta_start']:g} to "
        f"{diffusion['beta_end']:g}; the moving average (decay {cfg['ema_decay']:g}) of the last "
        "epoch is used." + _trained(card)
    )


def _ldae(config: dict[str, Any], card: dict[str, Any]) -> str:
    cfg, encoder = card["config"], card["config"]["encoder"]
    standardised = "; y_sem is z-scored by running statistics" if encoder["standardize"] else ""
    return (
        f"{encoder['backbone']} on {encoder['plane']} slices, "
        f"{_start(encoder['pretrained'], 'ImageNet weights')}, joined by soft and cross attention "
        f"({encoder['num_heads']} heads) into y_sem{standardised}; the gradient estimator shares "
        "the frozen UNet's down path and time embedding and adds a new middle, up path and output. "
        f"Loss of Eq. 9 with γ = {config['diffusion']['gamma']:g}; moving average (decay "
        f"{cfg['ema_decay']:g}); weights chosen by the SSIM between validation scans and their "
        f"decoding from y_sem and fixed noise ({cfg['validate_steps']} DDIM steps)."
        + _trained(card)
    )


def _evaluation(config: dict[str, Any], published: bool) -> str:
    cfg = config["evaluation"]
    lpips = cfg["lpips"]
    unseen = (
        "test subjects of this workflow's split" if published else "test subjects that no stage saw"
    )
    return (
        f"All numbers are of {unseen}. DDIM with "
        f"{listing(cfg['ddim_steps'])} steps, guidance coefficient {cfg['guidance']}, no clamping. "
        "SSIM with a Gaussian window over the whole volume and within the brain, MSE, LPIPS "
        f"({lpips['net']}) over fixed axial slices. Probes: standardised logistic and ridge "
        f"regression fitted on training subjects, regularised by {cfg['probes']['cv_folds']}-fold "
        f"cross-validation over subjects. Manipulation ({cfg['manipulation']['mode']} y_sem, α = "
        f"{listing([f'{a:g}' for a in cfg['manipulation']['alphas']])}) and interpolation with "
        f"{cfg['manipulation']['ddim_steps']} and {cfg['interpolation']['ddim_steps']} DDIM steps. "
        f"Intervals: central 95 % of {cfg['bootstrap']:,} resamples of whole subjects."
    )


def warnings(config: dict[str, Any], index: pd.DataFrame, published: bool = False) -> list[str]:
    """What a reader must know before reading any number; ``published``: the models are."""
    found = []
    if published:
        found.append(
            "The models are the authors' published weights. Which subjects they were trained on is "
            "not known: the test subjects may be among them, and scores on them may be too good. "
            "Their preprocessing differs from this one (docs/pretrained.md)."
        )
    if "synthetic" in config:
        found.append(
            "The cohort is synthetic. The numbers say whether the workflow works from end to end, "
            "not how well the method does on patients; the paper's values are from ADNI at full "
            "size and are set beside them for orientation alone."
        )
    if config["evaluation"]["truth"]:
        found.append(
            "All synthetic subjects are smooth deformations of three real base heads, and the same "
            "base heads occur in training and in test subjects: no test brain is wholly new. Where "
            "a scan's own y_sem does better than another subject's (decoding, guidance), the "
            "advantage can come from recognising the base head rather than the individual."
        )
    test = index[index["split"] == "test"]
    subjects = test["participant_id"].nunique()
    if subjects < FEW_SUBJECTS:
        found.append(
            f"Only {count(subjects, 'test subject')} ({count(len(test), 'scan')}). Intervals are "
            "wide, percentile intervals of so few subjects tend to be too narrow still, and a "
            "claim that is not shown here is not thereby refuted."
        )
    off = pretrained_off(config, published)
    if off:
        found.append(f"Pretrained parts that the paper uses and this run does not: {listing(off)}.")
    return found


def pretrained_off(config: dict[str, Any], published: bool = False) -> list[str]:
    """Pretrained parts of the paper that are switched off or replaced.

    ``published``: the models are the authors', so that no part of a training counts.
    """
    trainings = (
        (config["autoencoder"]["pretrained"] is None, "UK Biobank weights of the autoencoder"),
        (config["ldae"]["encoder"]["pretrained"] is None, "ImageNet weights of the encoder"),
        (
            config["autoencoder"]["perceptual"]["net"] != "squeeze",
            "SqueezeNet of the perceptual loss",
        ),
    )
    checks = (
        *(() if published else trainings),
        (
            config["preprocess"]["brain_extraction"]["method"] != "antspynet",
            "ANTsPyNet's brain extraction",
        ),
        (config["preprocess"]["template"]["name"] != "MNI152NLin2009cSym", "the 2009c template"),
    )
    return [name for missing, name in checks if missing]
