"""Prints which torch `make env` is to install where none is asked for: a file of envs/.

The build with CUDA where a GPU is seen, else the one for CPUs, which is gigabytes smaller. Not
every package index has both, so pip tries first, by a dry run. What it cannot get is said on
stderr, and the file is the one that takes any build. This runs before anything is installed.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

BUILDS = {"cpu": "torch for CPUs", "cuda": "torch with CUDA"}
OTHER = {"cpu": "cuda", "cuda": "cpu"}
INSTEAD = {  # what another build than the right one means
    "cpu": "The one with CUDA works as well, and brings some GB of libraries.",
    "cuda": "With the one for CPUs nothing runs on the GPU.",
}


def gpu_is_seen(devices: Path = Path("/dev")) -> bool:
    """Whether ``nvidia-smi`` lists a GPU, or there is a device file of one.

    Not asked is /proc/driver/nvidia: a container has the host's, with or without a GPU of its own.
    """
    if any(devices.glob("nvidia[0-9]*")):
        return True
    program = shutil.which("nvidia-smi")
    if program is None:
        return False
    listed = subprocess.run([program, "-L"], capture_output=True, text=True, check=False)
    return listed.returncode == 0 and "GPU " in listed.stdout


def pip_objection(file: str) -> str:
    """What pip says if it cannot install a requirements file here, on one line; else empty."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--no-deps"]
    command += ["--ignore-installed", "-r", file]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    if tried.returncode == 0:
        return ""
    errors = re.findall(r"^ERROR: (.*?)(?: \(from .*)?$", tried.stderr, re.M)
    return errors[0].rstrip(".") if errors else f"exit status {tried.returncode}"


def choose(gpu: bool) -> tuple[str, str]:
    """The requirements file, relative to the project's root, and a sentence that says why.

    Args:
        gpu: Whether a GPU is seen.
    """
    build = "cuda" if gpu else "cpu"
    seen = f"{'A' if gpu else 'No'} GPU is seen"
    file = f"envs/torch-{build}.txt"
    objection = pip_objection(file)
    if not objection:
        return file, f"{seen}: {BUILDS[build]}. For the other: make env TORCH={OTHER[build]}"
    return "envs/torch.txt", (
        f"{seen}, but pip cannot get {BUILDS[build]} ({objection}). It takes the build that "
        f"it has. {INSTEAD[build]} How to get the right one: docs/install.md"
    )


if __name__ == "__main__":
    chosen, why = choose(gpu_is_seen())
    print(why, file=sys.stderr)
    print(chosen)
