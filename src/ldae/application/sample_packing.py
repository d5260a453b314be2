"""Packing of the sample in the package (:mod:`ldae.application.sample`) from a finished run."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import torch
from jinja2 import Environment, StrictUndefined

from ldae.application.bundle import AGE, CLASSIFIER, SYNTHETIC, TEMPLATE, Bundle, write_bundle
from ldae.application.commands import read_volume
from ldae.application.manipulated import Strength
from ldae.application.raw_head import apply, prepare, preprocess
from ldae.application.sample import CARD, HEAD_NAME, PAGE, VISITS
from ldae.compute import versions
from ldae.errors import UserError, require
from ldae.evaluation.normative.curves import FILE as CURVES
from ldae.files import atomic_folder, sha256, write_json, write_table
from ldae.inference.ldae_system import LdaeSystem
from ldae.models.storage import load_card, load_state, save_model
from ldae.preprocess._ants import ants
from ldae.preprocess.image_io import affine, write_image
from ldae.preprocess.resampling import at_spacing, target_grid
from ldae.source_commit import source_commit
from ldae.synthetic.bases import load_base
from ldae.synthetic.heads import Anatomy, apply_atrophy
from ldae.synthetic.scanner import PROTOCOLS, acquire
from ldae.synthetic.subjects import draw_subject, subject_generator

MAX_BYTES = 5_000_000
PAGE_TEMPLATE = "sample_page.md.j2"
TEMPLATE_SPACING = 2.0  # mm; the template at 1 mm takes 1.8 MB
VISIT_COUNT = 3
BRIGHTEST = 99.9  # percentile of the voxels that becomes 255
# Largest changes of the head's outputs by packing: reconstruction (0 to 1; mean over voxels), logit
# of the diagnosis, age (years). Another template registers a little otherwise.
MAX_CHANGE = {
    "rounding": {"reconstruction": 0.001, "logit": 0.05, "age": 0.2},
    "template": {"reconstruction": 0.01, "logit": 0.5, "age": 2.0},
}
ROUNDED = "weights rounded to half precision (float16) to take less space"


def write_sample(
    out: str | Path,
    models: str | Path,
    settings: Mapping[str, Any],
    configuration: Mapping[str, Any],
    command: str,
) -> dict[str, Any]:
    """Pack a finished run's models with a synthetic subject whom they have not seen.

    Args:
        out: Folder to write; an earlier sample there is replaced.
        models: Folder of the run's models, with their application bundle.
        settings: config["sample"]: ``seed`` and ``subject`` of the head, its ``spacing`` (mm).
        configuration: The whole configuration of the run, for the card.
        command: Command that makes this sample, for the card.

    Returns:
        The card.

    Raises:
        UserError: the models have seen others than synthetic brains, need a download, or change too
            much by packing; the subject may be one of the cohort; or the sample is too large.
    """
    bundle = Bundle.load(models, "cpu", 1)
    _require_packable(bundle, settings, configuration)
    with atomic_folder(out, CARD) as work:
        packed = pack_models(bundle, work / "models")
        visits = _write_visits(packed, settings, work)
        findings = apply(
            packed,
            prepare(packed, work / HEAD_NAME, work / "findings"),
            work / "findings",
            Strength(bundle.settings["alpha"]),
            bundle.settings["ddim_steps"],
        )
        shutil.rmtree(work / "findings")
        card = {
            "notice": SYNTHETIC,
            "command": command,
            "commit": _commit(),
            "versions": versions(),
            "subject": dict(settings),
            "truth": visits[0],
            "findings": {key: value for key, value in findings.items() if key != "notice"},
            "changes_by_packing": _changes(bundle, packed, work, visits[0]["file"]),
            "configuration": dict(configuration),
        }
        names = sorted(path.relative_to(work) for path in work.rglob("*") if path.is_file())
        card["files"] = {str(name): sha256(work / name) for name in names}
        write_json(card, work / CARD)
        (work / PAGE).write_text(_page(card, work))
        size = sum(path.stat().st_size for path in work.rglob("*") if path.is_file())
        require(
            size <= MAX_BYTES,
            f"The sample takes {size / 1e6:.2f} MB, at most {MAX_BYTES / 1e6:g} are allowed: train "
            "a narrower denoiser (ldm.base_channels).",
        )
    return card


def _require_packable(
    bundle: Bundle, settings: Mapping[str, Any], configuration: Mapping[str, Any]
) -> None:
    preprocessing, volumes = bundle.settings["preprocess"], bundle.settings["volumes"]
    require(
        bundle.settings["synthetic"],
        f"The models in {bundle.models} were not trained on synthetic brains alone: they do not "
        "belong into the package.",
    )
    require(
        settings["seed"] != configuration["synthetic"]["seed"],
        "sample.seed is the cohort's synthetic.seed: the models may have seen this subject. Set "
        "another seed.",
    )
    require(
        preprocessing["brain_extraction"]["method"] == "deepbet",
        "The sample must need no download: set preprocess.brain_extraction.method to deepbet.",
    )
    finest = min(volumes["spacing"], preprocessing["registration"]["estimate_spacing"])
    require(
        finest >= TEMPLATE_SPACING,
        f"The sample's template has {TEMPLATE_SPACING:g} mm: volumes.spacing and "
        f"preprocess.registration.estimate_spacing must not be finer, but one is {finest:g} mm.",
    )


def pack_models(bundle: Bundle, folder: Path) -> Bundle:
    """Write models in half precision, probes, curves and a coarser template; returns the bundle."""
    renamed = {}  # SHA-256 of a model -> SHA-256 of its rounded copy
    for stage in LdaeSystem.stages:
        card = load_card(bundle.models / stage)
        state = {
            key: tensor.half() if tensor.is_floating_point() else tensor
            for key, tensor in load_state(bundle.models / stage).items()
        }
        require(
            all(bool(torch.isfinite(tensor).all()) for tensor in state.values()),
            f"A weight of {bundle.models / stage} is too large for half precision.",
        )
        links = [key for key in card if key.endswith("_sha256") and card[key] in renamed]
        based_on = {key: renamed[card[key]] for key in links}
        written = save_model(folder / stage, state, {**card, **based_on}, [SYNTHETIC, ROUNDED])
        renamed[card["sha256"]] = written["sha256"]
    template = folder / "template"
    paths = {key: str(template / name) for key, name in TEMPLATE.items()}
    _write_template(bundle, paths)
    preprocessing = bundle.settings["preprocess"]
    paths["name"] = preprocessing["template"]["name"]
    own = ("models", "files")  # keys that write_bundle adds
    settings = {key: value for key, value in bundle.settings.items() if key not in own}
    write_bundle(
        folder / "application",
        {stage: folder / stage for stage in LdaeSystem.stages},
        bundle.folder / CLASSIFIER,
        bundle.folder / AGE,
        bundle.training,
        settings | {"preprocess": preprocessing | {"template": paths}},
    )
    shutil.rmtree(template)
    curves = bundle.folder / CURVES
    if curves.is_file():
        shutil.copyfile(curves, folder / "application" / CURVES)
    return Bundle.load(folder, "cpu", 1)


def _write_template(bundle: Bundle, paths: Mapping[str, str]) -> None:
    """Write the template's brain and mask at ``TEMPLATE_SPACING``, in 8 bits."""
    template = bundle.preprocessing()["template"]
    image, mask = (ants.image_read(template[key]) for key in TEMPLATE)
    brain = image * (mask > 0.5)
    spacing = bundle.settings["volumes"]["spacing"]
    coarse, coarse_mask = (at_spacing(each, TEMPLATE_SPACING) for each in (brain, mask))
    grids = [target_grid(each, spacing) for each in (brain, coarse)]
    require(
        grids[0].shape == grids[1].shape and np.allclose(grids[0].origin, grids[1].origin),
        f"The template at {TEMPLATE_SPACING:g} mm gives another grid of {spacing:g} mm.",
    )
    for path, values in (
        (paths["image"], _in_8_bits(coarse.numpy(), 100)),
        (paths["mask"], (coarse_mask.numpy() >= 0.5).astype(np.uint8)),
    ):
        Path(path).parent.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(values, affine(coarse)), path)


def _in_8_bits(values: np.ndarray, percentile: float) -> np.ndarray:
    """Scale intensities so that ``percentile`` becomes 255; uint8."""
    factor = 255 / np.percentile(values, percentile)
    return np.clip(np.round(values * factor), 0, 255).astype(np.uint8)


def _write_visits(bundle: Bundle, settings: Mapping[str, Any], work: Path) -> list[dict[str, Any]]:
    """Scan the subject at each visit; write the first head and the preprocessed visits.

    Returns:
        The rows of ``visits.tsv``, which is written too.
    """
    seed, index = settings["seed"], settings["subject"]
    subject = draw_subject(seed, index, VISIT_COUNT)
    anatomy = Anatomy.draw(load_base(subject.base), subject_generator(seed, index, 2))
    volumes, rows = bundle.settings["volumes"], []
    for visit in subject.visits:
        head = apply_atrophy(anatomy, visit.atrophy)
        rng = subject_generator(seed, index, 3, visit.number)
        scan = acquire(head, PROTOCOLS[subject.phase], settings["spacing"], rng)
        raw = work / "preproc" / f"month{visit.months}.nii.gz"
        raw.parent.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(_in_8_bits(scan.array, BRIGHTEST), scan.affine), raw)
        if visit.number == 0:
            shutil.copyfile(raw, work / HEAD_NAME)
        files, _ = preprocess(raw, raw.parent, bundle.preprocessing(), volumes, despite_qc=False)
        name = f"visit-month{visit.months:02d}.nii.gz"
        write_image(ants.image_read(str(files.registered_brain)), work / name)
        rows.append(
            {
                "file": name,
                "months": visit.months,
                "age": visit.age,
                "diagnosis": visit.diagnosis,
                **{key: round(value, 2) for key, value in head.truth().items()},
            }
        )
    shutil.rmtree(work / "preproc")
    write_table(pd.DataFrame(rows), work / VISITS)
    return rows


def _changes(bundle: Bundle, packed: Bundle, work: Path, visit: str) -> dict[str, Any]:
    """Changes of the outputs for the head by packing: by rounded weights, by the coarser template.

    Raises:
        UserError: one is larger than ``MAX_CHANGE``.
    """
    volumes, folder = bundle.settings["volumes"], work / "full"
    head = work / HEAD_NAME
    files, _ = preprocess(head, folder, bundle.preprocessing(), volumes, despite_qc=False)
    as_trained = _outputs(bundle, files.registered_brain)
    shutil.rmtree(folder)
    coarser, rounded = _outputs(bundle, work / visit), _outputs(packed, work / visit)
    changes = {"rounding": _change(coarser, rounded), "template": _change(as_trained, coarser)}
    for reason, change in changes.items():
        for key, most in MAX_CHANGE[reason].items():
            require(
                change[key] <= most,
                f"The {reason} changes the {key} of the head by {change[key]:.3g}, more than "
                f"{most:g}: the sample would not show the models that were trained.",
            )
    return changes


def _outputs(bundle: Bundle, scan: Path) -> dict[str, torch.Tensor]:
    """Reconstruction (0 to 1), logit of the diagnosis and age (years) of a preprocessed scan."""
    system, steps = bundle.system, bundle.settings["ddim_steps"]
    x, _ = read_volume(scan, bundle.settings["volumes"])
    y = system.y_sem(x)
    z_T = system.encode_zT(system.encode_z(x), y, steps)
    reconstruction = system.image(system.decode(z_T, y, steps))
    return {
        "reconstruction": reconstruction,
        "logit": bundle.direction()(y),
        "age": bundle.age()(y),
    }


def _change(before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]) -> dict:
    """Mean absolute difference of each output, two significant digits."""
    means = {key: float((before[key] - after[key]).abs().mean()) for key in before}
    return {key: float(f"{mean:.2g}") for key, mean in means.items()}


def _commit() -> str:
    """Commit of the source; with ``-dirty`` if files other than the sample differ from it."""
    commit = source_commit(but=["src/ldae/sample"])
    if commit is None:
        raise UserError(
            f"{Path(__file__).parent} is in no git checkout; the card names its commit."
        )
    return commit


def _page(card: Mapping[str, Any], folder: Path) -> str:
    """The card to read, in Markdown."""
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    template = environment.from_string(Path(__file__).with_name(PAGE_TEMPLATE).read_text())
    return template.render(
        **card,
        bytes={name: (folder / name).stat().st_size for name in card["files"]},
        card_name=CARD,
        head_name=HEAD_NAME,
        visits_name=VISITS,
        visits=VISIT_COUNT,
        template_spacing=TEMPLATE_SPACING,
    )
