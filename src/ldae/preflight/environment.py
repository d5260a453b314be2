"""Check of the environment: pinned packages, Clinica and dcm2niix, PyTorch's build, GPUs."""

import re
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ldae.preflight.report import ERROR, OK, WARNING, Finding, some
from ldae.preflight.run_facts import Facts
from ldae.training.settings import stage_of
from ldae.training.trackers.choice import PACKAGES, TENSORBOARD, missing_package

TOPIC = "environment"
LOCKS = ("envs/torch.txt", "envs/ldae.lock.txt")
CONDA = "envs/ldae.yaml"
CLINICA_LOCK = "envs/clinica.lock.txt"
AGAIN = "Install the environment again: make env"
TRAININGS = ("autoencoder", "ldm", "ldae")


def check_environment(facts: Facts) -> list[Finding]:
    """Findings about the installed software and GPUs; in a container none of it can be checked."""
    if facts.container is not None:
        text = f"jobs run in {facts.container}: its packages cannot be checked from outside"
        return [Finding(OK, TOPIC, text), *_tracker(facts)]
    return [*_packages(facts), *_clinica(facts), *_torch(facts), *_tracker(facts)]


def pins(lock: Path) -> dict[str, str]:
    """Version of each package that a lock file pins."""
    return dict(re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;#]+)", lock.read_text(), re.MULTILINE))


def _packages(facts: Facts) -> list[Finding]:
    wanted = {name: v for lock in LOCKS for name, v in pins(facts.root / lock).items()}
    missing, other = [], []
    for name, pinned in wanted.items():
        try:
            here = version(name)
        except PackageNotFoundError:
            missing.append(f"{name} {pinned}")
            continue
        if here.split("+")[0] != pinned:
            other.append(f"{name} {here} instead of {pinned}")
    found = []
    if missing:
        text = f"{len(missing)} pinned packages are not installed: {some(missing)}"
        # Conda environments of rules lack the tools that only the caller needs.
        found.append(Finding(WARNING if facts.conda else ERROR, TOPIC, text, AGAIN))
    if other:
        text = f"{len(other)} packages differ from their pinned versions: {some(other)}"
        found.append(Finding(WARNING, TOPIC, text, f"Results may differ. {AGAIN}"))
    if not found:
        text = f"{len(wanted)} Python packages at their pinned versions"
        found.append(Finding(OK, TOPIC, text))
    return found


def _clinica(facts: Facts) -> list[Finding]:
    if not (facts.from_download or facts.studies):
        return []
    folder = facts.config["software"]["clinica_bin"]
    if folder is None and facts.conda:
        return [Finding(OK, TOPIC, "Clinica and dcm2niix: conda installs them for their rule")]
    pinned = pins(facts.root / CLINICA_LOCK)
    return [_program(facts, name, folder, pinned[name]) for name in ("clinica", "dcm2niix")]


def _program(facts: Facts, name: str, folder: str | None, pinned: str) -> Finding:
    path = shutil.which(name, path=None if folder is None else str(facts.root / folder))
    if path is None:
        where = "on PATH" if folder is None else f"in software.clinica_bin, {folder}"
        remedy = f"{AGAIN}; or set software.clinica_bin to its folder."
        return Finding(ERROR, TOPIC, f"{name} is not found {where}", remedy)
    try:
        done = subprocess.run(
            [path, "--version"], text=True, timeout=60, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        said = done.stdout.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding(ERROR, TOPIC, f"{path} does not run: {error}", AGAIN)
    match = re.search(r"v?(\d+\.\d+[\w.]*)\s*$", said)
    if match is None:
        last = said.splitlines()[-1] if said else "nothing"
        return Finding(ERROR, TOPIC, f"{path} --version says: {last}", AGAIN)
    if match[1] == pinned:
        return Finding(OK, TOPIC, f"{name} {match[1]}: {path}")
    text = f"{name} {match[1]} instead of {pinned}: {path}"
    return Finding(WARNING, TOPIC, text, f"The conversion is tested with that version. {AGAIN}")


def _torch(facts: Facts) -> list[Finding]:
    try:
        import torch
    except ImportError as error:
        return [Finding(ERROR, TOPIC, f"PyTorch cannot be imported: {error}", AGAIN)]
    name = f"PyTorch {torch.__version__}"
    device = facts.config["device"]
    if device == "cpu":
        return [Finding(OK, TOPIC, f"{name}; device: cpu, no GPU is used")]
    if torch.version.cuda is None:
        remedy = "make env TORCH=cuda (docs/install.md), or set device: cpu."
        return [Finding(ERROR, TOPIC, f"{name} is built without CUDA, but device is cuda", remedy)]
    name += f" (CUDA {torch.version.cuda})"
    if not torch.cuda.is_available():
        if facts.slurm:
            text = f"{name}; no GPU is visible here, which is fine: jobs ask Slurm for them"
            return [Finding(OK, TOPIC, text)]
        remedy = "Run where nvidia-smi lists a GPU, or by --profile slurm, or set device: cpu."
        return [Finding(ERROR, TOPIC, f"{name}; device is cuda, but no GPU is visible", remedy)]
    return _gpus(facts, name, torch)


def _tracker(facts: Facts) -> list[Finding]:
    """The package of ``training.tracker``, where the trainings will run."""
    tracker = facts.config["training"]["tracker"]
    if tracker == TENSORBOARD:
        return []
    name, package = f"training.tracker: {tracker}", PACKAGES[tracker]
    away = f"Or set training.tracker to {TENSORBOARD}."
    if facts.container is not None:
        text = f"{name} needs the Python package {package} in the image, which cannot be checked"
        return [Finding(WARNING, TOPIC, text, f"Add it to the image. {away}")]
    if facts.conda:
        if f"- {package}==" in (facts.root / CONDA).read_text():
            return [Finding(OK, TOPIC, f"{name}: conda installs {package}")]
        text = f"{name} needs the Python package {package}, which {CONDA} lacks"
        return [Finding(ERROR, TOPIC, text, f"Add it to pip's list there, ==VERSION. {away}")]
    if missing_package(tracker) is not None:
        text = f"{name} needs the Python package {package}, which is not installed"
        return [Finding(ERROR, TOPIC, text, f"make env TRACKER={tracker}. {away}")]
    return [Finding(OK, TOPIC, f"{name}: {package} {version(package)}")]


def _gpus(facts: Facts, name: str, torch) -> list[Finding]:
    here = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    listed = some(f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GiB" for gpu in here)
    found = [Finding(OK, TOPIC, f"{name}; {len(here)} GPUs are visible: {listed}")]
    if facts.slurm:
        return found
    for stage in dict.fromkeys(map(stage_of, (*TRAININGS, *facts.config["baselines"]))):
        cfg = facts.config[stage]
        if cfg["processes"] > len(here):
            text = f"{stage}.processes is {cfg['processes']}, but {len(here)} GPUs are visible"
            found.append(Finding(ERROR, TOPIC, text, f"Set {stage}.processes to {len(here)}."))
        if cfg["precision"] == "bf16" and not torch.cuda.is_bf16_supported():
            text = f"{stage}.precision is bf16, which this GPU does not support"
            found.append(Finding(ERROR, TOPIC, text, f"Set {stage}.precision to fp16 or fp32."))
    return found
