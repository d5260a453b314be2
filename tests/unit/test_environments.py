"""The lock files and the conda files state the same versions."""

import re
from pathlib import Path

import pytest

ENVS = Path(__file__).parents[2] / "envs"


def pins(name: str) -> dict[str, str]:
    """Package versions pinned with == in a file of envs/."""
    found = re.findall(r"^[\s-]*([A-Za-z0-9._-]+)==(\S+)$", (ENVS / name).read_text(), re.M)
    return {package.lower().replace("_", "-"): version for package, version in found}


@pytest.mark.parametrize(
    ("conda", "locks"),
    [("ldae.yaml", ["torch.txt", "ldae.lock.txt"]), ("clinica.yaml", ["clinica.lock.txt"])],
)
def test_conda_pins_equal_lock_pins(conda, locks):
    locked = {name: version for lock in locks for name, version in pins(lock).items()}
    in_conda = pins(conda)
    assert len(in_conda) > 20
    assert {name: locked.get(name) for name in in_conda} == in_conda
