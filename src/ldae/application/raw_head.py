"""Raw head to findings, outside the workflow: preprocess, encode, classify, counterfactual."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ldae.application.bundle import Bundle
from ldae.application.commands import novelty, read_volume, write_volume
from ldae.application.dicom import convert
from ldae.application.inputs import InputScan
from ldae.application.manipulated import Manipulated, Strength
from ldae.application.normative import Person, head_measures, load_curves, normative_findings
from ldae.application.training_codes import novelty_warnings
from ldae.application.volume_check import require_head, side_warnings
from ldae.derivatives import ScanFiles, scan_files
from ldae.errors import UserError, require
from ldae.files import read_json, write_json
from ldae.preprocess.brain_extraction import run_brain_extraction
from ldae.preprocess.n4 import run_n4
from ldae.preprocess.registration import run_registration

STEPS = ("n4", "brain", "registration")
FINDINGS, PAGE = "findings.json", "explore.html"
VOLUMES = ("reconstruction.nii.gz", "counterfactual.nii.gz", "difference.nii.gz")


def run_all(
    scans: pd.DataFrame,
    bids_dir: str | Path,
    preproc_dir: str | Path,
    cfg: Mapping[str, Any],
    volumes_cfg: Mapping[str, Any],
) -> pd.DataFrame:
    """Run N4, brain extraction and registration, in the order that ``cfg["n4"]["mask"]`` sets.

    Args:
        scans: scan_id, participant_id, session_id, path (relative to ``bids_dir``).
        bids_dir: Folder of the heads.
        preproc_dir: Receives the derivatives and the manifests of the steps.
        cfg: config["preprocess"].
        volumes_cfg: config["volumes"].

    Returns:
        The manifest of the registration: scan_id, status, reason, seconds.

    Raises:
        UserError: a template or weight file is missing.
    """
    manifests = Path(preproc_dir) / "manifests"
    steps = [(run_n4, STEPS[0]), (run_brain_extraction, STEPS[1])]
    if cfg["n4"]["mask"] == "brain":
        steps.reverse()
    earlier = None
    for run, name in steps:
        manifest = manifests / name / "scan.tsv"
        run(scans, bids_dir, preproc_dir, manifest, cfg, earlier)
        earlier = manifest
    return run_registration(
        scans, preproc_dir, manifests / "registration/scan.tsv", cfg, volumes_cfg, earlier
    )


def preprocess(
    raw: Path, folder: Path, cfg: dict[str, Any], volumes: dict[str, Any], despite_qc: bool
) -> tuple[ScanFiles, str]:
    """Run N4, brain extraction and registration on one head, as in training.

    Steps that were done for the same file and settings are skipped.

    Args:
        raw: T1-weighted head, NIfTI.
        folder: Receives the derivatives, named like a BIDS subject's.
        cfg, volumes: Settings of the preprocessing and of the grid, from the bundle.
        despite_qc: Continue where the quality check rejects the scan.

    Returns:
        The derivatives, and the verdict of the quality check in words.

    Raises:
        UserError: a step failed, or the quality check rejected the scan; the message says why.
    """
    label = re.sub(r"[^A-Za-z0-9]", "", raw.name.split(".")[0]) or "scan"
    scan = {
        "scan_id": f"sub-{label}_ses-1",
        "participant_id": f"sub-{label}",
        "session_id": "ses-1",
        "path": raw.name,
    }
    scans = pd.DataFrame([scan])
    manifest = run_all(scans, raw.parent, folder, cfg, volumes)
    status, reason = manifest.loc[0, ["status", "reason"]]
    if status == "qc" and not despite_qc:
        raise UserError(
            f"{raw} did not pass the quality check ({reason}): look at the picture below {folder}. "
            "To use it nevertheless, give --despite-qc."
        )
    files = scan_files(scans, folder, cfg["template"]["name"])[0]
    if status not in ("ok", "qc"):
        for step in STEPS:  # the same command again tries them anew
            files.stamp(step).unlink(missing_ok=True)
        raise UserError(f"{raw} could not be preprocessed: {reason}.")
    return files, "passed" if status == "ok" else f"did not pass: {reason}"


def _quality(verdict: str, measures: Mapping[str, Any]) -> dict[str, Any]:
    """Verdict, measures, and a warning where the sides may be swapped."""
    found = {"verdict": verdict, **_rounded(measures)}
    warnings = side_warnings(found.get("asymmetry"))
    return {**found, "warnings": warnings} if warnings else found


def _rounded(measures: Mapping[str, Any]) -> dict[str, Any]:
    """QC measures to four significant digits, without the name of the scan and its attempts."""
    numbers = {key: value for key, value in measures.items() if isinstance(value, int | float)}
    return {key: float(f"{value:.4g}") for key, value in numbers.items()}


@dataclass(frozen=True)
class PreparedHead:
    """A raw head, preprocessed as in training.

    Attributes:
        name: Of its file or folder, without endings.
        content: Hash of the head (:meth:`InputScan.content`).
        files: Its derivatives.
        verdict: Of the quality check, in words.
    """

    name: str
    content: str
    files: ScanFiles
    verdict: str


def prepare(
    bundle: Bundle,
    raw: Path,
    out: Path,
    despite_qc: bool = False,
    brain_weights: Path | None = None,
    force: bool = False,
) -> PreparedHead:
    """Preprocess a raw head below ``out``; steps that are done are skipped.

    Args:
        bundle: The models.
        raw: T1-weighted head, NIfTI, or a folder with the DICOM of one examination.
        out: Folder to write; the derivatives and the QC picture lie in ``preproc/``.
        despite_qc: Continue where the quality check rejects the scan.
        brain_weights: See :meth:`ldae.application.bundle.Bundle.preprocessing`.
        force: Take a head without its skull.

    Raises:
        UserError: ``out`` has the findings of another head, the head, the template or the weights
            are missing, the skull has been removed already, a step of the preprocessing failed, or
            the quality check rejected the scan.
    """
    name = raw.name.split(".")[0]
    content = InputScan(raw.name, raw, None).content()
    findings_of = read_json(out / FINDINGS)["head"] if (out / FINDINGS).is_file() else content
    require(
        findings_of == content,
        f"{out} has the findings of another head: name another --out, or delete it.",
    )
    if raw.is_dir():
        raw = convert(raw, out / f"dicom-{content[-12:]}")
    if not force:
        require_head(raw)
    cfg, volumes = bundle.preprocessing(brain_weights), bundle.settings["volumes"]
    files, verdict = preprocess(raw, out / "preproc", cfg, volumes, despite_qc)
    return PreparedHead(name, content, files, verdict)


def apply(
    bundle: Bundle,
    head: PreparedHead,
    out: Path,
    strength: Strength,
    steps: int,
    force: bool = False,
    person: Person | None = None,
) -> dict[str, Any]:
    """Apply the models to a raw head and write all findings below ``out``.

    Writes ``reconstruction.nii.gz``, ``counterfactual.nii.gz`` (moved by ``strength`` away from the
    predicted class), ``difference.nii.gz`` (counterfactual minus reconstruction) and
    ``findings.json``.

    Args:
        bundle: The models.
        head: From :func:`prepare`, below the same ``out``.
        out: Folder to write.
        strength: Strength of the counterfactual.
        steps: Steps of the solver.
        force: Take a counterfactual far outside the training codes.
        person: Age and sex, for percentiles; None: not known.

    Returns:
        The content of ``findings.json``: notice (:attr:`Bundle.notice`), hash of the head
        (:meth:`InputScan.content`), classes, probability of
        the positive class, predicted class, age (years), how well the models read test subjects
        (``performance``), the percentile of the scan's novelty, with a warning where it is 100,
        the counterfactual
        (:meth:`Manipulated.report`), the verdict and measures of the QC, SHA-256 of the models;
        with a person also ``normative`` (:func:`ldae.application.normative.normative_findings`).

    Raises:
        UserError: the counterfactual lies far outside the training codes, or the bundle's curves
            were made for other probes.
    """
    curves = load_curves(bundle) if person else None
    files, settings = head.files, bundle.settings
    x, affine = read_volume(files.registered_brain, settings["volumes"])
    system, direction, age = bundle.system, bundle.direction(), bundle.age()
    y = system.y_sem(x)
    logit = float(direction(y))
    positive = logit > 0
    alpha = strength.alpha(direction, bundle) * (-1 if positive else 1)
    moved = direction.move(y, alpha, settings["mode"])
    change = Manipulated(bundle.training, alpha, logit, float(direction(moved)))
    change.require_seen(force)
    read_age = float(age(y))
    z_T = system.encode_zT(system.encode_z(x), y, steps)
    pair = system.image(system.decode(torch.cat([z_T, z_T]), torch.cat([y, moved]), steps))
    shown = pair[0, 0], pair[1, 0], pair[1, 0] - pair[0, 0]
    for volume, name in zip(shown, VOLUMES, strict=True):
        write_volume(volume, affine, out / name, bundle)
    percentile = novelty(bundle, y.cpu())
    warnings = novelty_warnings(percentile)
    findings = {
        "notice": bundle.notice,
        "head": head.content,
        "classes": list(direction.classes),
        f"probability_{direction.classes[1]}": round(1 / (1 + math.exp(-logit)), 2),
        "predicted": direction.classes[positive],
        "predicted_age": round(read_age),
        "performance": settings["performance"],
        "novelty_percentile": percentile,
        **({"warnings": warnings} if warnings else {}),
        "counterfactual": {
            "towards": direction.classes[not positive],
            **change.report(float(direction(system.y_sem(pair[1:])))),
        },
        "quality": _quality(head.verdict, read_json(files.measures)),
        "models": settings["models"],
    }
    if person:
        measures = head_measures(x, affine, logit, read_age)
        findings["normative"] = normative_findings(curves, person, measures)
    write_json(findings, out / FINDINGS)
    return findings
