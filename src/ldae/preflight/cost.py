"""Cost estimate: GPU-hours and wall time by stage, from measurements or else from references.

1. Stages that have run: the benchmarks of these results. Trainings: the epochs of the existing
   model, if its settings, volumes and device were the same.
2. The paper's GPU-hours (Tables 2-5, A100s, 10,340 scans of Table 1, 0.9 x 0.99 of them trained
   on), in proportion to scans and epochs, for networks and volumes of the paper's size alone.
3. CPU seconds a scan, measured on heads of 1 mm (config/config.yaml for N4; 176 x 256 x 256 voxels
   for the conversion; deepbet and the affine at 2 mm).

Nothing was measured for other stages; they have no estimate.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ldae.files import read_json, read_table
from ldae.nets.shapes import latent_shape
from ldae.orchestration.job_usage import job_usage_table
from ldae.preflight.plan import Plan
from ldae.preflight.report import OK, Finding, some
from ldae.preflight.run_facts import Facts
from ldae.preflight.scans import Counts
from ldae.training.settings import training_section

TOPIC = "cost"
PAPER_SCANS = 10_340 * 0.9 * 0.99
# Training -> GPU-hours and epochs in the paper.
PAPER = {
    "autoencoder": (72 * 1, 20),
    "ldm": (18 * 2, 500),
    "ldae": (48 * 2, 200),
    "dae": (7 * 24 * 2, 140),
}
# The settings that determine the cost of a step, with the paper's values.
PAPER_SIZE = {
    "volumes": {"shape": [128, 160, 128]},
    "autoencoder": {"channels": [64, 128, 128, 128], "num_res_blocks": 2},
    "ldm": {"base_channels": 256, "channel_mult": [1, 2, 3], "num_res_blocks": 2},
    "dae": {"shape": [112, 128, 112], "base_channels": 64, "channel_mult": [1, 2, 4, 4]},
}
BACKBONE = "convnext_small"
TRAININGS = (*PAPER, "ldae_slices", "supervised_diagnosis", "supervised_age")
# Keys of a training's section that do not change the time of an epoch.
IGNORED = ("epochs", "learning_rate", "ema_decay", "pretrained", "sample_every", "sample_steps")


@dataclass(frozen=True)
class Stage:
    """Cost of a rule's jobs: seconds in all (None: unknown), jobs at a time, GPUs a job, source."""

    rule: str
    seconds: float | None
    parallel: int
    gpus: int
    source: str


def estimate(facts: Facts, plan: Plan, counts: Counts | None) -> list[Finding]:
    """Time of the planned jobs: of each stage of a minute or more, and in all.

    Args:
        facts: Facts about the run.
        plan: Its jobs; without any there is no finding.
        counts: Size of the cohort; None: unknown.
    """
    if plan.fault is not None or not plan.jobs:
        return []
    measured = _measured(facts)
    stages = [_stage(facts, rule, n, counts, measured) for rule, n in plan.jobs.items()]
    known = [stage for stage in stages if stage.seconds is not None]
    known.sort(key=lambda stage: -stage.seconds / stage.parallel)
    main = [stage for stage in known if stage.seconds >= 60]
    found = [Finding(OK, TOPIC, _sentence(stage)) for stage in main]
    unknown = [stage.rule for stage in stages if stage.seconds is None]
    unknown = [rule for rule in unknown if not rule.startswith("figure")]  # seconds each
    wall = sum(stage.seconds / stage.parallel for stage in known)
    gpu = sum(stage.gpus * stage.seconds for stage in known) / 3600
    text = f"all stages with an estimate: {_time(wall)} one after the other, "
    text += f"{gpu:,.3g} GPU-hours (estimate"
    text += ", without waiting in the queue)" if facts.slurm else ")"
    if known:
        found.append(Finding(OK, TOPIC, text))
    if unknown:
        text = f"no estimate, nothing was measured at this size: {some(unknown, 30)}"
        found.append(Finding(OK, TOPIC, text))
    return found


def _measured(facts: Facts) -> pd.DataFrame:
    """Job usage in these results, indexed by rule; no row for a rule that has not run."""
    return job_usage_table(
        facts.results / "benchmarks", facts.results / "models", facts.requests
    ).set_index("rule")


def _time(seconds: float) -> str:
    """``40 min``, ``7.5 h``, ``3.1 days``."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            number = seconds / length
            return f"{number:.0f} {unit}" if number >= 10 else f"{number:.2g} {unit}"
    return f"{seconds:.0f} s"


def _sentence(stage: Stage) -> str:
    text = f"{stage.rule}: {_time(stage.seconds / stage.parallel)}"
    if stage.gpus:
        text += f", {stage.gpus * stage.seconds / 3600:,.3g} GPU-hours"
    return f"{text} ({stage.source})"


def _stage(
    facts: Facts, rule: str, jobs: int, counts: Counts | None, measured: pd.DataFrame
) -> Stage:
    """Cost of ``jobs`` jobs of a rule, by the first source in the module's list that applies."""
    about = facts.requests.get(rule, {})
    gpus = about.get("gpu") or 0
    parallel = facts.slots
    if not facts.slurm:
        parallel = 1 if gpus else max(1, facts.slots // max(1, about.get("threads") or 1))
    parallel = min(jobs, parallel)
    if (seconds := _by_epochs(facts, rule, counts)) is not None:
        return Stage(rule, seconds, 1, gpus, "by the epochs of the model that is there")
    if rule in measured.index and rule not in TRAININGS:
        seconds = jobs * measured.loc[rule, "seconds"] / measured.loc[rule, "jobs"]
        return Stage(rule, float(seconds), parallel, gpus, "measured in these results")
    if rule in TRAININGS:
        return _paper(facts, rule, gpus, counts)
    each, source = _reference(facts.config).get(rule, (None, ""))
    if each is None or counts is None:
        return Stage(rule, None, parallel, gpus, "")
    fraction = jobs / max(jobs, _all_jobs(facts, rule))
    text = f"estimate: {each:g} CPU-s a scan, {source}"
    return Stage(rule, each * counts.raw * fraction, parallel, gpus, text)


def _all_jobs(facts: Facts, rule: str) -> int:
    """Number of a per-scan rule's jobs when none is done: batches, or shards."""
    if rule == "clinica_batch":
        return facts.config["cohort"]["batches"]
    return facts.config["preprocess"]["shards"]


def _by_epochs(facts: Facts, rule: str, counts: Counts | None) -> float | None:
    """Seconds of a training, by the mean epoch of the existing model, in proportion to the scans.

    None if there is no such model, or its settings, volumes or device were different.
    """
    folder = facts.results / f"models/{rule}"
    files = (folder / "history.tsv", folder / "model.json")
    if rule not in TRAININGS or not all(path.is_file() for path in files):
        return None
    card, cfg = read_json(folder / "model.json"), facts.config
    now, then = training_section(cfg, rule), card["config"]
    trained_on = card.get("scans", {}).get("train")
    keys = (now.keys() | then.keys()) - set(IGNORED)
    same = all(now.get(key) == then.get(key) for key in keys) and _same_volumes(facts, rule, card)
    if not (same and trained_on and counts and card["machine"]["device"] == cfg["device"]):
        return None
    epochs = read_table(folder / "history.tsv", ["seconds"])["seconds"]
    return float(epochs.mean() * now["epochs"] * _training_scans(cfg, counts) / trained_on)


def _same_volumes(facts: Facts, rule: str, card: Mapping[str, Any]) -> bool:
    """Whether the volumes (stage 2: latents) of a model's card have the present shape."""
    shape = list(facts.config["volumes"]["shape"])
    if rule == "ldm":
        shape = list(latent_shape(shape, facts.config["autoencoder"]))
    return card.get("form", {}).get("shape", [])[-3:] == shape[-3:]


def _training_scans(cfg: Mapping[str, Any], counts: Counts) -> float:
    """Expected number of training scans, by the fractions of the splits."""
    splits = cfg["cohort"]["splits"]
    return counts.scans * (1 - splits["test_fraction"]) * (1 - splits["val_fraction"])


def _paper(facts: Facts, rule: str, gpus: int, counts: Counts | None) -> Stage:
    """Cost of a training by the paper's GPU-hours; unknown on CPUs and for other sizes."""
    cfg = facts.config
    if rule not in PAPER or counts is None or not gpus or not _paper_size(cfg, rule):
        return Stage(rule, None, 1, gpus, "")
    hours, epochs = PAPER[rule]
    scans = _training_scans(cfg, counts)
    hours *= scans / PAPER_SCANS * cfg[rule]["epochs"] / epochs
    text = f"estimate: the paper's A100 hours, for {scans:,.0f} scans; not measured here"
    return Stage(rule, hours * 3600 / gpus, 1, gpus, text)


def _paper_size(cfg: Mapping[str, Any], rule: str) -> bool:
    """Whether a training's networks and volumes are of the paper's size."""
    sections = {"autoencoder": ("volumes", "autoencoder"), "dae": ("dae",)}
    sections = sections.get(rule, ("volumes", "autoencoder", "ldm"))
    same = all(cfg[name][key] == v for name in sections for key, v in PAPER_SIZE[name].items())
    encoder = cfg["ldae"]["encoder"]
    if rule == "ldae" and encoder["kind"] != "slices":
        return False
    return same and (rule in ("autoencoder", "ldm") or encoder["backbone"] == BACKBONE)


def _reference(cfg: Mapping[str, Any]) -> dict[str, tuple[float | None, str]]:
    """CPU seconds a 1 mm scan by rule (None: not measured for this method), and their source."""
    n4, brain = cfg["preprocess"]["n4"], cfg["preprocess"]["brain_extraction"]["method"]
    inside = n4["mask"] == "brain"
    by_shrink = {4: None if inside else 85.0, 8: 3.0 if inside else 9.0}
    affine = {2.0: 5.0, 3.0: 1.0}.get(cfg["preprocess"]["registration"]["estimate_spacing"])
    where = "measured on one core with heads of 1 mm"
    return {
        "clinica_batch": (0.8, where),
        "n4": (by_shrink.get(n4["shrink_factor"]), where),
        "brain_extraction": (4.0 if brain == "deepbet" else None, where),
        "registration": (affine, f"{where}, of the affine alone"),
    }
