"""Methods section, written from the run's own configuration, model cards and counts.

Its paragraphs describe the scans, their preprocessing, each model with its training, the
evaluation and the software. Citations are marks such as ``[@tustison2010]``
(:mod:`ldae.report.citations`).
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ldae.cohort.splits import OF_ROLE, splits_of
from ldae.config import cohort_roles, preprocessed_cohorts
from ldae.labels import count, listing, number
from ldae.report.methods_evaluation import evaluation
from ldae.report.page import without_paths
from ldae.report.references import ADNI
from ldae.report.warnings import trained_on_other_scans
from ldae.training.settings import training_section

Cards = dict[str, dict[str, Any]]
EXTRACTION = {"antspynet": "ANTsPyNet [@tustison2021]", "deepbet": "deepbet [@fisch2024]"}


def methods(
    config: dict[str, Any], cards: Cards, index: pd.DataFrame, versions: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Paragraphs (heading, text) of the methods section, with the run's settings and counts.

    Args:
        config: The run's whole configuration.
        cards: ``model.json`` by model: autoencoder, ldm and ldae, of this run or published, and
            any baselines.
        index: ``index.tsv`` of the volume store.
        versions: Version by software package.
    """
    return [
        ("Data", data(config, cards, index)),
        ("Preprocessing", preprocessing(config)),
        ("Compression model", _autoencoder(config, cards["autoencoder"])),
        ("Latent diffusion model", _ldm(config, cards["ldm"])),
        ("Semantic encoder and gradient estimator", _ldae(config, cards["ldae"])),
        *_others(config, cards),
        ("Evaluation", evaluation(config, index)),
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
        return f"{what}.{training_summary(card)}"
    cfg = card["config"]
    perceptual = (
        f"perceptual loss ({cfg['perceptual']['net']}, weight {cfg['perceptual']['weight']:g}) "
        "[@zhang2018]"
        if cfg["perceptual"]["net"]
        else "no perceptual loss"
    )
    weight, first = (cfg["adversarial"][key] for key in ("weight", "start_epoch"))
    adversary = f"a patch adversary (weight {weight:g}, from epoch {first})"
    if not weight:
        adversary = "no patch adversary"
    return (
        f"{what}, {_start(cfg['pretrained'], 'UK Biobank weights')}: L1, KL "
        f"(weight {cfg['kl_weight']:g}), {perceptual} and {adversary}; "
        "weights chosen by validation SSIM." + training_summary(card)
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
        f"{diffusion['beta_end']:g}{averaged}." + training_summary(card)
    )


def _ldae(config: dict[str, Any], card: dict[str, Any]) -> str:
    cfg = card.get("config")
    learnt = (
        f" Loss of Eq. 9 with γ = {config['diffusion']['gamma']:g}; moving average (decay "
        f"{cfg['ema_decay']:g}); weights chosen by the SSIM between validation scans and their "
        f"decoding from y_sem and fixed noise ({cfg['validate_steps']} DDIM steps)."
        if cfg
        else ""
    )
    return (
        f"{_encoder(cfg['encoder'] if cfg else card['architecture'], from_run=bool(cfg))}, as in "
        "diffusion autoencoders [@preechakul2022]; the gradient estimator [@zhang2022pdae] shares "
        "the frozen UNet's down path and time embedding and adds a new middle, up path and output."
        + learnt
        + training_summary(card)
    )


def _encoder(encoder: dict[str, Any], from_run: bool) -> str:
    """Branches of the encoder that y_sem is made by; the start of one trained in this run."""
    kind, branches = encoder.get("kind", "slices"), []
    if kind != "components":
        start = f"{_start(encoder['pretrained'], 'ImageNet weights')}, " if from_run else ""
        cites = " [@liu2022]" if encoder["backbone"].startswith("convnext") else ""
        standardised = "; y_sem is z-scored by running statistics" if encoder["standardize"] else ""
        branches.append(
            f"{encoder['backbone']}{cites} on {encoder['plane']} slices, {start}joined by soft and "
            f"cross attention ({encoder['num_heads']} heads) into y_sem{standardised}"
        )
    if kind != "slices":
        sizes = encoder["components"]
        grid = " × ".join(map(str, sizes["grid"]))
        what = "as the last part of y_sem" if branches else "as y_sem"
        branches.append(
            f"{sizes['count']} principal components of the training scans {what}, not trained "
            f"further: of intensities as ranks within the brain, at the {sizes['voxels']} voxels "
            f"of a grid of {grid} that differ most"
        )
    return "; ".join(branches)


def _others(config: dict[str, Any], cards: Cards) -> list[tuple[str, str]]:
    """A paragraph for each trained baseline."""
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
            found.append(("Voxel-space diffusion autoencoder", text + training_summary(card)))
        if name == "ldae_slices":
            text = (
                "As the LDAE, on the same autoencoder and diffusion model, with the encoder of "
                f"the paper: {_encoder(training_section(config, name)['encoder'], from_run=True)}."
            )
            found.append(("LDAE with the encoder of slices", text + training_summary(card)))
        if card["kind"] == "supervised":
            text = "The semantic encoder with a linear head, trained end to end on the label."
            heading = name.replace("_", " ").capitalize()
            found.append((f"{heading} (supervised encoder)", text + training_summary(card)))
    return found


def _software(versions: Mapping[str, str]) -> str:
    listed = listing([f"{name} {number}" for name, number in versions.items()])
    return (
        f"Networks by MONAI [@cardoso2022], statistics by scikit-learn [@pedregosa2011], the whole "
        f"run by Snakemake [@molder2021]. Versions: {listed}."
    )


def markdown(paragraphs: list[tuple[str, str]], notes: list[str]) -> str:
    """Text of methods.md: the paragraphs, with citations for pandoc, and the warnings.

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


def data(config: dict[str, Any], cards: dict[str, dict[str, Any]], index: pd.DataFrame) -> str:
    """The paragraph on the scans: their source, counts and splits."""
    splits = config["cohort"]["splits"]
    sizes = listing(
        [
            f"{count(len(part), 'scan')} of {count(part['participant_id'].nunique(), 'subject')} "
            f"({name})"
            for name in splits_of(index)
            if len(part := index[index["split"] == name])
        ]
    )
    return (
        f"The method is that of Lozupone et al. [@lozupone2026]. {_sources(config)} Subjects, not "
        "scans, were divided within each cohort and first known diagnosis, in the order of a hash "
        f"of their identifier (test fraction {splits['test_fraction']:g}, validation "
        f"{splits['val_fraction']:g} of the rest, seed {splits['seed']}): {sizes}."
        f"{_roles(config)}{_trained_on_others(cards, index)}"
    )


def _roles(config: dict[str, Any]) -> str:
    """Sentences on data sets that were not divided; empty without any."""
    roles = cohort_roles(config["cohort"])
    train, test = ([name for name, role in roles.items() if role == one] for one in OF_ROLE)
    text = f" All subjects of {listing(train)} were training subjects." if train else ""
    if test:
        text += (
            f" {listing(test)} served as external test data alone: nothing was fitted to it or "
            "chosen by it. Differences to the cohort's own test set are between two groups of "
            "people; both were resampled."
        )
    return text


def _trained_on_others(cards: dict[str, dict[str, Any]], index: pd.DataFrame) -> str:
    """Two sentences if a model was trained on other scans than those of ``index``, else empty."""
    if not trained_on_other_scans(cards, index):
        return ""
    return (
        " These are the scans there are now. Models are not trained again for scans that come or "
        "go; what each has learnt from is said with it."
    )


def _sources(config: dict[str, Any]) -> str:
    """The source of the scans, in one or two sentences."""
    cohort = config["cohort"]
    if cohort["preprocessed_dir"]:
        of = "synthetic cohort" if "synthetic" in config else "cohort"
        main = (
            f"The scans are those of the {of} {cohort['name']}, which came preprocessed: "
            "skull-stripped and in the template's space."
        )
    elif cohort["study"]:
        main = (
            f"The scans are those of {cohort['name']}, converted to BIDS [@gorgolewski2016] with "
            "Clinica [@routier2021]."
        )
    elif cohort["bids_dir"]:
        main = f"The scans are those of the BIDS data set {cohort['name']}."
    else:
        what = (
            "a synthetic ADNI download (image folders of DICOM series and study tables with known "
            "truth)"
            if "synthetic" in config
            else "ADNI's T1-weighted images and study tables"
        )
        main = (
            f"The scans are those of {what}, converted to BIDS [@gorgolewski2016] with Clinica "
            "[@routier2021]."
        )
    ready = preprocessed_cohorts(cohort)
    beside = [
        name
        + (", which came preprocessed" if name in ready else "")
        + (", which Clinica converted" if "study" in cohort["beside"][name] else "")
        for name in sorted(cohort["beside"])
    ]
    return f"{main} Beside it: the BIDS data set(s) {listing(beside)}." if beside else main


def preprocessing(config: dict[str, Any]) -> str:
    """The paragraph on preprocessing."""
    cfg, volumes = config["preprocess"], config["volumes"]
    elsewhere = preprocessed_cohorts(config["cohort"])
    if len(elsewhere) > len(config["cohort"]["beside"]):
        return (
            "Bias correction, brain extraction and registration were done elsewhere, before this "
            "workflow. Each scan was checked to be a brain in the space of "
            f"{cfg['template']['name']} [@fonov2009; @fonov2011] and brought {_grid(volumes)} "
            f"{_quality(cfg['qc'])} Intensities were scaled to 0 to 1 per scan."
        )
    given = (
        f" The scans of {listing(sorted(elsewhere))} came preprocessed; they were checked to be "
        "brains in that space and brought onto the grid."
        if elsewhere
        else ""
    )
    n4 = cfg["n4"]
    extraction = cfg["brain_extraction"]
    threshold = extraction["threshold"]
    mask = "as a soft mask" if threshold is None else f"cut at {threshold:g}"
    inside = ", inside the brain mask, which was found first" if n4["mask"] == "brain" else ""
    return (
        f"N4 bias correction (shrink factor {n4['shrink_factor']}, iterations "
        f"{' × '.join(map(str, n4['iterations']))}{inside}), brain extraction by "
        f"{EXTRACTION.get(extraction['method'], extraction['method'])}, its probability {mask}, "
        f"and {cfg['registration']['type'].lower()} registration to {cfg['template']['name']} "
        f"[@fonov2009; @fonov2011] with ANTs [@tustison2021], estimated at "
        f"{cfg['registration']['estimate_spacing']:g} mm and applied once {_grid(volumes)}{given} "
        f"{_quality(cfg['qc'])} Intensities were scaled to 0 to 1 per scan."
    )


def _grid(volumes: dict[str, Any]) -> str:
    """End of a sentence: the grid of the volume store and the interpolation onto it."""
    smooth = ", after a Gaussian against aliasing" if volumes["antialias"] else ""
    return (
        f"({volumes['interpolation']} interpolation{smooth}) onto a grid of "
        f"{volumes['spacing']:g} mm with {' × '.join(map(str, volumes['shape']))} voxels."
    )


def _quality(qc: dict[str, float | None]) -> str:
    """A sentence on the QC bounds that exclude scans; a bound of None is off."""
    bounds = []
    for key, bound in qc.items():
        limit, measure = key.split("_", 1)
        if bound is not None:
            bounds.append(f"{measure.replace('_', ' ')} {'<' if limit == 'min' else '>'} {bound:g}")
    if not bounds:
        return "No scan was excluded by its quality measures."
    return (
        f"Scans were excluded by their quality measures ({', '.join(bounds)}) unless a person "
        "decided otherwise."
    )


def training_summary(card: dict[str, Any]) -> str:
    """A sentence on the training of a model; published weights have no record of theirs."""
    if card.get("published"):
        return " The weights are those that the authors published; nothing was trained here."
    machine, metrics = card["machine"], card.get("metrics") or {}
    kept = f"epoch {card['epoch']} of {card['epochs']} ({count(card['steps'], 'step')}) was kept"
    scores = ", ".join(
        f"validation {name.removeprefix('val_').replace('_', ' ')} {number(float(value))}"
        for name, value in metrics.items()
    )
    return (
        f" Trained{training_scan_counts(card)} with Adam (learning rate {rates(card['config'])}, "
        f"effective batch {card['config']['batch_size']}) on {machine['device']} "
        f"in {machine['precision']}, seed {card['seed']}; {kept}{f'; {scores}' if scores else ''}."
        f"{augmentation(card['config'])}"
    )


def augmentation(cfg: Mapping[str, Any]) -> str:
    """A sentence on what the encoder saw in training; empty if it saw the scans as they are."""
    section = cfg.get("augmentation")
    if section is None:
        return ""
    changes = []
    if section["probability"] > 0:
        names = {
            "rotation": "rotation up to {:g}°",
            "translation": "translation up to {:g} mm",
            "scaling": "scaling by up to {:g}",
            "contrast": "contrast up to a power of {:g}",
            "bias_field": "bias field with coefficients up to {:g}",
            "noise": "noise up to {:g}",
        }
        said = {**section, "contrast": 1 + section["contrast"]}
        changes = [text.format(said[key]) for key, text in names.items() if section[key] > 0]
    if section["flip"] > 0:
        changes.append(f"left and right exchanged with probability {section['flip']:g}")
    chance = f", each with probability {section['probability']:g}" if changes else ""
    return f" The encoder saw the scans augmented{chance}: {listing(changes)}." if changes else ""


def rates(cfg: Mapping[str, Any]) -> str:
    """Learning rates of a stage, in words; older cards without the keys: one, constant."""
    own, decay = cfg.get("encoder_learning_rate"), cfg.get("decay", "none")
    encoder = f" and {own:g} for the encoder" if own is not None else ""
    return f"{cfg['learning_rate']:g}{encoder}{', falling by a cosine' * (decay == 'cosine')}"


def training_scan_counts(card: dict[str, Any]) -> str:
    """Number of training scans, in words; empty for older cards, which lack it."""
    if "scans" not in card:
        return ""
    scans = card["scans"]
    return f" on {count(scans['train'], 'scan')} ({scans['val']:,} for selection)"
