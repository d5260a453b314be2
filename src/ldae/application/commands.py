"""Commands on preprocessed scans: encode, reconstruct, manipulate, interpolate; and generate.

They read NIfTI in the template's space, resample it to the models' grid, and write NIfTI on that
grid. A volume that is no extracted brain in that space is refused before a network sees it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import nibabel as nib
import numpy as np
import torch
from torch import Tensor

from ldae.application.batch import Batch
from ldae.application.bundle import Bundle
from ldae.application.inputs import InputScan
from ldae.application.manipulated import Manipulated, Strength
from ldae.application.training_codes import NOVEL, novelty_warnings
from ldae.application.volume_check import side_warnings
from ldae.data.embeddings import load_embeddings
from ldae.data.volume_transform import StoreTransform
from ldae.diffusion.interpolation import lerp, slerp
from ldae.errors import UserError, require
from ldae.evaluation.metrics.image import brain_mask
from ldae.files import atomic, save_arrays
from ldae.inference.ldae_system import semantic_codes
from ldae.ssim import ssim

OF_LDAE = "LDAE, a research model's output"  # NIfTI's field holds 79 characters
OF_SYNTHETIC = f"{OF_LDAE}; trained on synthetic brains, no patient seen"


def read_volume(path: str | Path, volumes: Mapping[str, Any]) -> tuple[Tensor, np.ndarray]:
    """Read a preprocessed scan as the models do: (1, 1, X, Y, Z) float32 in [0, 1]; and its affine.

    Args:
        path: Brain-extracted scan in the template's space, as ``*_desc-brain_T1w.nii.gz``.
        volumes: config["volumes"] of the training: spacing, shape, interpolation.

    Raises:
        UserError: the file is missing or damaged, or the image has no contrast.
    """
    require(Path(path).is_file(), f"The scan {path} does not exist.")
    transform = StoreTransform(
        volumes["spacing"], [int(n) for n in volumes["shape"]], volumes["interpolation"]
    )
    volume, affine = transform(Path(path))
    return torch.from_numpy(volume)[None], affine


def read_brain(bundle: Bundle, path: Path, force: bool) -> tuple[Tensor, np.ndarray]:
    """:func:`read_volume` of a scan that must be an extracted brain in the template's space.

    Args:
        bundle: The models.
        path: The scan.
        force: Take it whatever it is.

    Raises:
        UserError: as :func:`read_volume`, or the volume is none (``TemplateCheck``).
    """
    x, affine = read_volume(path, bundle.settings["volumes"])
    if not force:
        bundle.template_check.require_brain(path, x[0, 0].numpy(), affine)
    return x, affine


def write_volume(volume: Tensor, affine: np.ndarray, path: str | Path, bundle: Bundle) -> None:
    """Write (X, Y, Z) float32 as NIfTI in mm, RAS; its header says what the models have seen."""
    image = nib.Nifti1Image(volume.cpu().numpy().astype(np.float32), affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = OF_SYNTHETIC if bundle.settings["synthetic"] else OF_LDAE
    with atomic(path) as temporary:
        nib.save(image, temporary)


class Encoding:
    """Semantic codes of many scans, in one npz that grows as they come.

    Its arrays: ``scan_id`` (N,), ``y_sem`` (N, d), ``model`` (SHA-256 of the LDAE), ``notice``.

    Args:
        bundle: The models.
        out: The npz to write. Codes of these models that it holds already stay.
        force: As in :func:`read_brain`.

    Raises:
        UserError: ``out`` is there and is no file of codes.
    """

    def __init__(self, bundle: Bundle, out: Path, force: bool):
        self.bundle, self.out, self.force = bundle, out, force
        self.model = bundle.settings["models"]["ldae"]
        self.codes: dict[str, np.ndarray] = {}
        if out.exists():
            try:
                with np.load(out) as earlier:
                    same = str(earlier["model"]) == self.model
            except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
                raise UserError(f"{out} is no file of codes: name another --out.") from error
            if same:
                self.codes = dict(zip(*load_embeddings(out), strict=True))

    def load(self) -> None:
        """Load what the first scan would load: encoder, template, distribution of the codes."""
        _ = self.bundle.encoder, self.bundle.template_check, self.bundle.training

    def __call__(self, scan: InputScan) -> dict[str, Any]:
        """Encode a scan; returns how it compares with the training scans (:func:`compared`)."""
        x, affine = read_brain(self.bundle, scan.path, self.force)
        y_sem = semantic_codes(self.bundle.encoder, x, self.bundle.compute).cpu().numpy()
        self.codes[scan.scan_id] = y_sem[0]
        return compared(self.bundle, x, affine, y_sem)

    def save(self) -> None:
        """Write the codes so far."""
        if not self.codes:
            self.out.unlink(missing_ok=True)
            return
        names, y_sem = list(self.codes), np.stack(list(self.codes.values()))
        notice = self.bundle.notice
        save_arrays(self.out, scan_id=names, y_sem=y_sem, model=self.model, notice=notice)

    def run(self, scans: list[InputScan]) -> Batch:
        """Encode all scans; the table is ``out`` with the suffix .tsv."""
        settings = {"command": "encode", "bundle": self.bundle.fingerprint, "force": self.force}
        batch = Batch(
            scans,
            self.out.with_suffix(".tsv"),
            settings,
            is_kept=lambda scan: scan.scan_id in self.codes,
            discard=lambda scan: self.codes.pop(scan.scan_id, None),
            save=self.save,
        )
        batch.run(self, "encode")
        first = [name for name in batch.rows if name in self.codes]
        self.codes = {name: self.codes[name] for name in dict.fromkeys([*first, *self.codes])}
        self.save()
        return batch


def novelty(bundle: Bundle, y_sem: Tensor | np.ndarray) -> float:
    """Percentile of a code's (1, d) distance from the training scans', to one decimal.

    It is not rounded up to 100, which says that no compared scan lies so far away.
    """
    percentile = float(bundle.training.novelty(np.asarray(y_sem))[0])
    return NOVEL if percentile >= NOVEL else min(round(percentile, 1), NOVEL - 0.1)


def compared(
    bundle: Bundle, x: Tensor, affine: np.ndarray, y_sem: Tensor | np.ndarray
) -> dict[str, Any]:
    """How a scan compares with those that the models were trained on.

    Args:
        bundle: The models.
        x, affine: From :func:`read_brain`.
        y_sem: (1, d), its code.

    Returns:
        novelty_percentile (:func:`novelty`); asymmetry, negative where left and right may be
        swapped, absent where the template is not in MNI space; warnings, a list of sentences
        on both.
    """
    sides = bundle.template_check.asymmetry(x[0, 0].numpy(), affine)
    percentile = novelty(bundle, y_sem)
    return {
        "novelty_percentile": percentile,
        **({} if sides is None else {"asymmetry": sides}),
        "warnings": [*novelty_warnings(percentile), *side_warnings(sides)],
    }


def reconstruct(
    bundle: Bundle, scan: Path, out: Path, steps: int, force: bool = False
) -> dict[str, Any]:
    """Write the scan decoded from its own y_sem and z_T; returns its SSIM, and :func:`compared`."""
    system = bundle.system
    x, affine = read_brain(bundle, scan, force)
    y = system.y_sem(x)
    decoded = system.image(system.decode(system.encode_zT(system.encode_z(x), y, steps), y, steps))
    write_volume(decoded[0, 0], affine, out, bundle)
    found = compared(bundle, x, affine, y.cpu())
    x = x.to(decoded.device)
    score = float(ssim(x, decoded, brain_mask(x))[0])
    return {"ssim": round(score, 4), **found}


def manipulate(
    bundle: Bundle, scan: Path, strength: Strength, out: Path, steps: int, force: bool = False
) -> dict[str, Any]:
    """Write the scan moved by ``strength`` towards the classifier's positive class (AD).

    Negative values move it towards the other class.

    Returns:
        What was asked for and what came (:meth:`Manipulated.report`), and :func:`compared`.

    Raises:
        UserError: the code would lie far outside what the models have seen, without ``force``.
    """
    system, direction = bundle.system, bundle.direction()
    x, affine = read_brain(bundle, scan, force)
    y = system.y_sem(x)
    alpha = strength.alpha(direction, bundle)
    moved = direction.move(y, alpha, bundle.settings["mode"])
    change = Manipulated(bundle.training, alpha, float(direction(y)), float(direction(moved)))
    change.require_seen(force)
    z_T = system.encode_zT(system.encode_z(x), y, steps)
    image = system.image(system.decode(z_T, moved, steps))
    write_volume(image[0, 0], affine, out, bundle)
    report = change.report(float(direction(system.y_sem(image))))
    found = compared(bundle, x, affine, y.cpu())
    return {**report, **found, "warnings": [*report["warnings"], *found["warnings"]]}


def interpolate(
    bundle: Bundle,
    first: InputScan,
    second: InputScan,
    position: float,
    out: Path,
    steps: int,
    force: bool = False,
) -> dict[str, Any]:
    """Write the scan at ``position`` (0: first, 1: second): LERP of y_sem, SLERP of z_T.

    Returns:
        :func:`compared` of both scans: a list of two values by key, and all warnings.

    Raises:
        UserError: the scans are of two people by their names, without ``force``, or they lie on
            different grids.
    """
    people = {scan.participant for scan in (first, second)} - {None}
    require(
        force or len(people) < 2,
        f"{first.path} and {second.path} are of two people ({' and '.join(sorted(people))}): "
        "interpolation is between two visits of one. To mix them nevertheless, give --force.",
    )
    system = bundle.system
    (x_a, affine), (x_b, other) = (read_brain(bundle, scan.path, force) for scan in (first, second))
    require(
        np.allclose(affine, other, atol=1e-3),
        f"{first.path} and {second.path} lie on different grids: register both to the template "
        "first.",
    )
    x = torch.cat([x_a, x_b])
    y = system.y_sem(x)
    z_T = system.encode_zT(system.encode_z(x), y, steps)
    y_t, z_t = lerp(y[:1], y[1:], position), slerp(z_T[:1], z_T[1:], position)
    write_volume(system.image(system.decode(z_t, y_t, steps))[0, 0], affine, out, bundle)
    codes = y.cpu().split(1)
    found = [
        compared(bundle, *each) for each in zip((x_a, x_b), (affine, other), codes, strict=True)
    ]
    said = [of.pop("warnings") for of in found]
    pairs = zip((first, second), said, strict=True)
    warnings = [f"{scan.path}: {text}" for scan, texts in pairs for text in texts]
    return {key: [of[key] for of in found] for key in found[0]} | {"warnings": warnings}


def generate(bundle: Bundle, count: int, seed: int, out: Path, steps: int) -> list[str]:
    """Write new volumes, drawn from noise by the unconditional LDM; returns their file names."""
    system, settings = bundle.system, bundle.settings
    affine = np.array(settings["affine"])
    shape = [int(n) for n in settings["volumes"]["shape"]]
    names = [f"generated-seed{seed}-{number:04d}" for number in range(1, count + 1)]
    for name in names:  # one at a time: the same volume whatever the count
        z_T = system.noise([name], shape, seed)
        image = system.image(system.decode(z_T, None, steps))
        write_volume(image[0, 0], affine, out / f"{name}.nii.gz", bundle)
    return [f"{name}.nii.gz" for name in names]
