"""BIDS derivatives: description files of the preprocessed data set, removal of withdrawn scans."""

import logging
import os
import shutil
from collections.abc import Collection, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ldae import __version__
from ldae.derivatives import BIDS_VERSION
from ldae.files import atomic, write_json

log = logging.getLogger(__name__)
README = """Made by the LDAE workflow from the T1-weighted images of the source data set.

desc-n4        head without its bias field, native grid
desc-brain     brain and brain mask, native grid; with space-<template>: on the template's grid
desc-qc        quality measures and picture of the scan (what they mean: docs/qc.md)
xfm            affine from the head to the template, ITK's format
manifests/     what each step did to each scan; quarantine.tsv: scans set aside, and why
"""
README_PREPROCESSED = """\
Brains that came preprocessed, checked and put on the grid by the LDAE workflow.

space-<template>_desc-brain    brain and brain mask on the template's grid
desc-qc        quality measures and picture of the scan (what they mean: docs/qc.md)
manifests/     what each step did to each scan; quarantine.tsv: scans set aside, and why
"""
NO_BIDS_NAME = ("manifests", "manifests/**", "quarantine.tsv", "*_desc-qc.*", "*_xfm.*")
PACKAGES = {"antspynet": ("antspyx", "antspynet"), "deepbet": ("antspyx", "deepbet")}


def describe_dataset(
    preproc_dir: str | Path, bids_dir: str | Path, cfg: Mapping[str, Any], raw: bool = True
) -> None:
    """Write dataset_description.json, README, .bidsignore and the sidecars common to all images.

    Args:
        preproc_dir: Folder of the derivatives.
        bids_dir: The raw data set they were made from.
        cfg: config["preprocess"].
        raw: Whether there are raw heads; all other scans were preprocessed elsewhere, so N4 and
            brain extraction of this workflow were not applied to them.
    """
    folder = Path(preproc_dir)
    packages = PACKAGES[cfg["brain_extraction"]["method"]] if raw else ("antspyx",)
    write_json(
        {
            "Name": "T1-weighted brains on the template's grid",
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": "derivative",
            "License": "as the source data set",
            "GeneratedBy": [
                {"Name": "ldae-workflow", "Version": __version__},
                *({"Name": name, "Version": version(name)} for name in packages),
            ],
            "SourceDatasets": [{"URL": Path(os.path.relpath(bids_dir, folder)).as_posix()}],
        },
        folder / "dataset_description.json",
    )
    # By the inheritance principle of BIDS these hold for all images with these entities.
    for name, content in {
        **({"desc-n4_T1w": {"SkullStripped": False}} if raw else {}),
        "desc-brain_T1w": {"SkullStripped": True},
        "desc-brain_mask": {"Type": "Brain"},
    }.items():
        write_json(content, folder / f"{name}.json")
    ignored = "".join(f"{pattern}\n" for pattern in NO_BIDS_NAME)
    readme = README if raw else README_PREPROCESSED
    for name, text in {"README": readme, ".bidsignore": ignored}.items():
        with atomic(folder / name) as temporary:
            temporary.write_text(text)


def remove_withdrawn(preproc_dir: str | Path, scan_ids: Collection[str]) -> list[str]:
    """Delete the derivatives of scans that the cohort no longer has, such as withdrawn ones.

    Only folders ``sub-*/ses-*`` are considered; symbolic links are kept.

    Args:
        preproc_dir: Folder of the derivatives.
        scan_ids: Scans of the manifests; the folders of all other scans are deleted.

    Returns:
        The scans whose folders were deleted.
    """
    removed = []
    for folder in sorted(Path(preproc_dir).glob("sub-*/ses-*")):
        subject, scan_id = folder.parent, f"{folder.parent.name}_{folder.name}"
        linked = folder.is_symlink() or subject.is_symlink()
        if scan_id in scan_ids or linked or not folder.is_dir():
            continue
        shutil.rmtree(folder)
        removed.append(scan_id)
        if not any(subject.iterdir()):
            subject.rmdir()
    if removed:
        log.info(
            "deleted the derivatives of %d scan(s) that the cohort no longer has", len(removed)
        )
    return removed
