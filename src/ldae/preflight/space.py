"""Check of disk space: bytes and number of files that the run will write, against those free.

Bytes a scan are measured if scans are there already; else they follow from the sizes of images
(``head voxels x bytes a voxel``). The bytes a voxel below were measured on the 134 scans of the
demo (2 mm, compressed). Outputs that the plan does not make need nothing.
"""

import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ldae.nets.shapes import latent_shape
from ldae.preflight.parameters import parameters
from ldae.preflight.paths import existing
from ldae.preflight.plan import Plan
from ldae.preflight.report import ERROR, OK, WARNING, Finding
from ldae.preflight.run_facts import Facts
from ldae.preflight.scans import Counts

TOPIC = "space"
HEAD_MM3 = 176 * 256 * 256  # field of view of ADNI's 3-D scans, which have voxels of about 1 mm
TEMPLATE_MM3 = 193 * 229 * 193
BIDS, N4, BRAIN, REGISTERED = 1.43, 1.84, 0.30, 1.12  # bytes a voxel
PAGE = 270_000  # bytes a scan: QC picture, tables, transform
FILES = {"bids": 3 + 2 + 2, "preproc": 11 + 2, "latents": 1}  # files and folders a scan
OTHER_FILES = 5000  # the workflow's own records, logs, tables, figures
SAMPLED = 50  # sessions whose size is measured
SPARE = 1.2  # less free space than this multiple of the need is a warning
# Bytes a trained parameter: weights, their average and Adam's two moments, of two checkpoints, with
# the weights of the best epoch that each names. They stay until the run ends.
CHECKPOINT, MODEL = 2 * (4 * 4 + 4), 4


@dataclass(frozen=True)
class Output:
    """A part of the results that the run writes.

    Attributes:
        name: Its name in the report.
        rules: Rules that write it; it needs nothing if none of them is in the plan.
        bytes: Size when complete.
        there: Bytes of it that exist already.
        how: How ``bytes`` was estimated.
        files: Number of files and folders when complete.
        fraction: Fraction of the files that exist already.
    """

    name: str
    rules: tuple[str, ...]
    bytes: float
    there: float
    how: str
    files: int = 0
    fraction: float = 0.0

    def needed(self, plan: Plan) -> bool:
        """Whether the plan writes it; True without a plan."""
        return plan.fault is not None or any(rule in plan.jobs for rule in self.rules)


def check_space(facts: Facts, plan: Plan, counts: Counts | None) -> list[Finding]:
    """Compare the bytes and files that the plan writes with those free.

    Args:
        facts: Facts about the run.
        plan: Its jobs.
        counts: Size of the cohort; None: unknown, and the space cannot be estimated.
    """
    if counts is None:
        text = "The space cannot be estimated: the number of scans is not known"
        return [Finding(WARNING, TOPIC, text, "Correct the errors under paths.")]
    parts = [*_studies(facts, counts), *_scans(facts, counts), *_stores(facts, counts.scans)]
    if facts.container is None:  # outside it no PyTorch counts parameters
        parts.append(_models(facts, plan))
    found = [
        Finding(OK, TOPIC, f"{part.name}: {size(part.bytes)} ({part.how}){_left(part, plan)}")
        for part in parts
    ]
    parts = [part for part in parts if part.needed(plan)]
    place = existing(facts.results)
    need = sum(max(0.0, part.bytes - part.there) for part in parts)
    free = shutil.disk_usage(place).free
    text = f"{size(need)} are still needed below {facts.results}, {size(free)} are free"
    remedy = "Free some, set paths.results to a larger disk, or volumes.dtype: uint8."
    found.append(Finding(_level(need, free), TOPIC, text, "" if free >= SPARE * need else remedy))
    files = sum(part.files * (1 - part.fraction) for part in parts)
    return [*found, _files(place, round(files) + OTHER_FILES * bool(parts))]


def _level(need: float, free: float) -> str:
    return ERROR if need > free else WARNING if SPARE * need > free else OK


def _left(part: Output, plan: Plan) -> str:
    if not part.needed(plan):
        return "; not in the plan"
    return f"; {size(part.there)} of it are there" if part.there else ""


def size(number: float) -> str:
    """``1.5 GB``; 1 GB is 1e9 bytes."""
    for unit, power in (("TB", 12), ("GB", 9), ("MB", 6)):
        if number >= 10**power:
            return f"{number / 10**power:.3g} {unit}"
    return f"{number / 1000:.0f} kB"


def _studies(facts: Facts, counts: Counts) -> list[Output]:
    """Estimate the BIDS data sets that Clinica makes of the downloads of other studies."""
    if not counts.converted:
        return []
    measured = [_measured(facts.results / "studies" / name) for name in facts.studies]
    sessions = sum(number for number, _ in measured)
    each, how = BIDS * HEAD_MM3, "from the size of images"
    if sessions:
        each = sum(number * mean for number, mean in measured) / sessions
        how = "measured on some of those there"
    text = f"{counts.converted:,} scans of {size(each)}, {how}"
    there = min(sessions, counts.converted)
    files = counts.converted * FILES["bids"]
    return [
        Output("results/studies", ("convert_study",), counts.converted * each, there * each, text,
             files, there / counts.converted)
    ]  # fmt: skip


def _scans(facts: Facts, counts: Counts) -> list[Output]:
    """Estimate the BIDS data set and the derivatives of preprocessing."""
    spacing = facts.config["synthetic"]["spacing"] if facts.synthetic else 1.0
    scans, raw = counts.scans, counts.raw / counts.scans
    head = HEAD_MM3 / spacing**3
    grid = TEMPLATE_MM3 / facts.config["volumes"]["spacing"] ** 3
    expected = {
        "bids": BIDS * head * raw if facts.from_download else 0.0,  # of other data sets: links
        "preproc": (N4 + BRAIN) * head * raw + REGISTERED * grid + PAGE,
    }
    rules = {
        "bids": ("clinica_batch", "import_bids", "bids"),
        "preproc": ("n4", "brain_extraction", "registration", "preprocessed_input"),
    }
    found = []
    for name, each in expected.items():
        folder, how = facts.results / name, "from the size of images"
        sessions, mean = _measured(folder)
        if sessions:
            each, how = mean, f"measured on {min(sessions, SAMPLED)} of those there"
        how = f"{scans:,} scans of {size(each)}, {how}" if each else "links to its images"
        there, files = min(sessions, scans), scans * FILES[name]
        place = f"results/{name}"
        fraction = there / scans
        found.append(Output(place, rules[name], scans * each, there * each, how, files, fraction))
    return found


def _measured(folder: Path) -> tuple[int, float]:
    """Number of sessions in a BIDS folder, and the mean bytes of a sample of them."""
    if not folder.is_dir():
        return 0, 0.0
    sessions = sorted(
        session.path
        for subject in os.scandir(folder)
        if subject.name.startswith("sub-")
        for session in os.scandir(subject.path)
        if session.name.startswith("ses-")
    )
    sample = sessions[:: max(1, len(sessions) // SAMPLED)]
    sizes = [sum(f.lstat().st_size for f in Path(s).rglob("*") if f.is_file()) for s in sample]
    return len(sessions), float(np.mean(sizes)) if sizes else 0.0


def _stores(facts: Facts, scans: int) -> list[Output]:
    """Estimate the volume store and the latents: two moments, in a file a scan and in arrays."""
    cfg = facts.config
    shape, dtype = cfg["volumes"]["shape"], np.dtype(cfg["volumes"]["dtype"])
    latent = latent_shape(shape, cfg["autoencoder"])
    cache = facts.results / "cache"
    grid = "x".join(str(side) for side in shape)
    volumes = scans * math.prod(shape) * dtype.itemsize
    latents = scans * 2 * 2 * math.prod(latent) * 4
    sizes = f"{scans:,} latents of {'x'.join(map(str, latent))}, mean and SD, float32, twice"
    there = _sizes(cache / "latents")
    return [
        Output("results/cache/volumes", ("volume_shard",), volumes,
             _sizes(cache / "volumes/shards"), f"{scans:,} volumes of {grid} {dtype}"),
        Output("results/cache/latents", ("latent_shard", "latents"), latents, there, sizes,
             scans * FILES["latents"], min(1.0, there / latents)),
    ]  # fmt: skip


def _sizes(folder: Path, pattern: str = "*.npy") -> float:
    return float(sum(path.stat().st_size for path in folder.rglob(pattern) if path.is_file()))


def _models(facts: Facts, plan: Plan) -> Output:
    """Estimate the models, and the checkpoints of all trainings, which stay until the run ends."""
    numbers = parameters(facts.config)
    if plan.fault is None:
        numbers = {name: number for name, number in numbers.items() if name in plan.jobs}
    listed = ", ".join(f"{name} {number / 1e6:.3g} M" for name, number in numbers.items())
    need = {name: (CHECKPOINT + MODEL) * number for name, number in numbers.items()}
    runs = facts.results / "runs"
    there = sum(min(part, _sizes(runs / name, "*")) for name, part in need.items())
    how = f"trained parameters: {listed or 'none'}"
    return Output("models and checkpoints", tuple(numbers), sum(need.values()), there, how)


def _files(place: Path, need: int) -> Finding:
    """Compare the inodes needed with those free; a quota cannot be read here."""
    about = os.statvfs(place)
    text = f"about {need:,} files and folders will be written"
    if not about.f_files:
        return Finding(OK, TOPIC, text + "; the file system does not count them. Mind your quota")
    free = about.f_favail
    text += f", the file system has room for {free:,}; a quota of yours is not seen from here"
    remedy = "Set paths.results to another file system, or ask for more."
    return Finding(_level(need, free), TOPIC, text, "" if free >= SPARE * need else remedy)
