"""Store of stochastic codes z_T: a scan's inversion by one solver and number of steps, made once.

Reconstruction, manipulation, interpolation, counterfactuals, examples and the study of solvers read
it. Shards of the scans are inverted by separate jobs (:mod:`ldae.inference.codes`). Below
``cache/codes``, beside the latents, lie

    shards/shard-<n>.json    names, SHA-256 and models of a shard's codes
    rows/<digest>/<solver>-<T>[-unconditional]/<checksum of the volume>.npy

A digest stands for the models, the guidance and the code that inverts. So a killed job continues
where it stopped, and with other models nothing is mistaken for theirs.
"""

import logging
from collections.abc import Iterable, Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ldae.errors import require
from ldae.files import read_json

HOW_TO_MAKE = "Make them again: --forcerun code_shard."
log = logging.getLogger(__name__)


class Inversion(NamedTuple):
    """How a scan is inverted.

    Attributes:
        solver: Name of the solver.
        steps: Number of steps T.
        guided: Whether by the scan's y_sem; otherwise by the unconditional model.
    """

    solver: str
    steps: int
    guided: bool

    @property
    def key(self) -> str:
        """Name in files and cards."""
        return f"{self.solver}-{self.steps}" + ("" if self.guided else "-unconditional")


class CodeStore:
    """Stored codes of all shards, read by scan.

    Args:
        cards: Cards of all shards.

    Raises:
        UserError: the cards are of different models.
    """

    def __init__(self, cards: Iterable[str | Path]):
        self.files: dict[tuple[str, str], tuple[Path, str]] = {}
        self.cards: list[dict[str, Any]] = []
        for path in map(Path, cards):
            card = read_json(path)
            self.cards.append(card)
            rows = path.parents[1] / card["rows"]
            for key, codes in card["codes"].items():
                for scan, (name, checksum) in codes.items():
                    self.files[key, scan] = rows / key / name, checksum
        require(
            len({(card["models"], card["guidance"]) for card in self.cards}) == 1,
            f"The shards of stored codes are of different models. {HOW_TO_MAKE}",
        )

    def require_volumes(self, volumes: str) -> None:
        """Raise :class:`UserError` unless the codes are of the volume store with this hash."""
        require(
            {card["volumes"] for card in self.cards} == {volumes},
            f"The stored codes are of other volumes. {HOW_TO_MAKE}",
        )

    def require_models(self, models: str, guidance: str) -> None:
        """Raise :class:`UserError` unless the codes are of these models and this guidance."""
        card = self.cards[0]
        require(
            (card["models"], card["guidance"]) == (models, guidance),
            f"The stored codes are of other models or another guidance. {HOW_TO_MAKE}",
        )

    def read(self, inversion: Inversion, scan_ids: Sequence[str]) -> Tensor | None:
        """Codes (B, C, *S) of scans in the order given; None if one of them is not stored.

        Raises:
            UserError: a file is missing or has changed.
        """
        wanted = [(inversion.key, scan) for scan in scan_ids]
        if any(key not in self.files for key in wanted):
            return None
        return torch.stack([load_code(*self.files[key]) for key in wanted])


def load_code(file: Path, checksum: str) -> Tensor:
    """The code (C, *S) in a file; raise :class:`UserError` if it is missing or has changed."""
    content = file.read_bytes() if file.is_file() else b""
    require(
        sha256(content).hexdigest() == checksum,
        f"The stored code {file} is missing or damaged. {HOW_TO_MAKE}",
    )
    return torch.from_numpy(np.load(BytesIO(content)))
