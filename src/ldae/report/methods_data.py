"""The methods section's paragraphs on the scans: where they are from, what was done to them."""

from typing import Any

import pandas as pd

from ldae.labels import count, listing
from ldae.report.warnings import learnt_from_others

EXTRACTION = {"antspynet": "ANTsPyNet [@tustison2021]", "deepbet": "deepbet [@fisch2024]"}


def data(config: dict[str, Any], cards: dict[str, dict[str, Any]], index: pd.DataFrame) -> str:
    """The scans, where they are from, and how they were divided."""
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
        f"The method is that of Lozupone et al. [@lozupone2026]. {_sources(config)} Subjects, not "
        "scans, were divided within each cohort and first known diagnosis, in the order of a hash "
        f"of their identifier (test fraction {splits['test_fraction']:g}, validation "
        f"{splits['val_fraction']:g} of the rest, seed {splits['seed']}): {sizes}."
        f"{_then(cards, index)}"
    )


def _then(cards: dict[str, dict[str, Any]], index: pd.DataFrame) -> str:
    """Where the models have learnt from other scans than these, a sentence that says so."""
    if not learnt_from_others(cards, index):
        return ""
    return (
        " These are the scans there are now. Models are not trained again for scans that come or "
        "go; what each has learnt from is said with it."
    )


def _sources(config: dict[str, Any]) -> str:
    """Where the scans come from, in a sentence or two."""
    cohort = config["cohort"]
    if cohort["preprocessed_dir"]:
        of = "synthetic cohort" if "synthetic" in config else "cohort"
        main = (
            f"The scans are those of the {of} {cohort['name']}, which came preprocessed: "
            "skull-stripped and in the template's space."
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
    if not cohort["beside"]:
        return main
    return f"{main} Beside it: the BIDS data set(s) {listing(sorted(cohort['beside']))}."


def preprocessing(config: dict[str, Any]) -> str:
    """What was done to each scan before any model saw it."""
    cfg, volumes = config["preprocess"], config["volumes"]
    if config["cohort"]["preprocessed_dir"]:
        return (
            "Bias correction, brain extraction and registration were done elsewhere, before this "
            "workflow. Each scan was checked to be a brain in the space of "
            f"{cfg['template']['name']} [@fonov2009; @fonov2011] and brought {_grid(volumes)} "
            f"{_quality(cfg['qc'])} Intensities were scaled to 0 to 1 per scan."
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
        f"{cfg['registration']['estimate_spacing']:g} mm and applied once {_grid(volumes)} "
        f"{_quality(cfg['qc'])} Intensities were scaled to 0 to 1 per scan."
    )


def _grid(volumes: dict[str, Any]) -> str:
    """The store's grid and how scans come onto it; ends the sentence."""
    smooth = ", after a Gaussian against aliasing" if volumes["antialias"] else ""
    return (
        f"({volumes['interpolation']} interpolation{smooth}) onto a grid of "
        f"{volumes['spacing']:g} mm with {' × '.join(map(str, volumes['shape']))} voxels."
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
