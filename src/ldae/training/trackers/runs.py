"""Base of trackers that keep a training as a run of their own: one run, however often resumed.

The run's id stands beside the checkpoints, in ``<run_dir>/<digest>/<tracker>.json``, with the last
step and epoch that were drawn: what a training repeats after a kill is not drawn twice.

A run says nothing about the user, the machine's name or its folders. Of files, only the names are
told (:func:`without_paths`).
"""

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ldae.dependencies import with_flag
from ldae.files import read_json, write_json
from ldae.models.storage import CARD
from ldae.training.callbacks import Pictures
from ldae.training.settings import Settings
from ldae.training.state import Row
from ldae.training.trackers.base import Tracker

PROJECT = "ldae"  # default name of W&B's project and of MLflow's experiment
# A path from the root or from home, also within a sentence; not the end of an address of the web.
PATH = re.compile(r"(?<![\w.:/~])~?(?:/[\w.+@~-]+)+/?")

log = logging.getLogger(__name__)


class RunTracker(Tracker):
    """A run of a tracker. Subclasses give :attr:`name`, :meth:`start` and what a tracker does.

    Args:
        settings: Settings of the training.
        checkpoints: Folder of its checkpoints.
    """

    name: str  # as in training.tracker

    def __init__(self, settings: Settings, checkpoints: Path):
        super().__init__(settings.out_dir, settings.stage)
        self.folder = Path(settings.tracking or settings.out_dir)
        self.told = without_paths(
            {
                settings.stage: settings.cfg,
                "diffusion": settings.diffusion,
                "seed": settings.seed,
                "device": settings.device,
                "threads": settings.threads,
                "source": settings.fingerprint,
            }
        )
        self.file = checkpoints / f"{self.name}.json"
        self.run_id, self.last_step, self.last_epoch = "", 0, 0
        self.failing = False

    def start(self, known: str | None) -> str:
        """Begin a run, or continue the one of id ``known``; return its id.

        Raises:
            UserError: the tracker cannot be reached or refuses.
        """
        raise NotImplementedError

    def open(self, step: int) -> None:
        """Continue the run of these checkpoints; a training from step 0 is a run of its own."""
        known = read_json(self.file) if step and self.file.is_file() else None
        self.run_id = self.start(known["id"] if known else None)
        if known:
            self.last_step, self.last_epoch = known["step"], known["epoch"]
        self.note()

    def note(self) -> None:
        """Write the id, and what has been drawn, beside the checkpoints."""
        drawn = {"id": self.run_id, "step": self.last_step, "epoch": self.last_epoch}
        write_json(drawn, self.file)

    def step(self, step: int, values: dict[str, float]) -> None:
        """Add points, unless they were drawn before the training was killed."""
        if step > self.last_step:
            super().step(step, values)
            self.last_step = step

    def show(self, epoch: int, step: int, pictures: Pictures) -> None:
        """Keep a picture, unless it was kept before the training was killed."""
        if epoch > self.last_epoch:
            super().show(epoch, step, pictures)

    def epoch(self, row: Row) -> None:
        """Add points, unless they were drawn before the training was killed."""
        if row["epoch"] > self.last_epoch:
            super().epoch(row)
            self.last_epoch = int(row["epoch"])
            self.note()

    def end(self) -> None:
        """Hand on the last points; the run stays open for the card."""
        self.flush()
        if self.run_id:
            self.note()

    def sent(self, what: str, send: Callable[..., object], *given: Any, **named: Any) -> bool:
        """Call ``send`` with what is given; if it fails, return False.

        Weeks of training do not end because of their tracker: whatever it raises is a warning in
        the log, the first time until it works again.
        """
        try:
            send(*given, **named)
        except Exception as error:  # of the tracker's own many kinds, bare ones among them
            if not self.failing:
                log.warning("%s: %s did not take the %s: %s", self.stage, self.name, what, error)
            self.failing = True
            return False
        self.failing = False
        return True

    def card(self) -> str:
        """The model's card as JSON, without paths."""
        return json.dumps(without_paths(read_json(self.out_dir / CARD)), indent=2)


def without_paths(content: Any, key: str = "") -> Any:
    """JSON content with the name of a file or folder in place of its path.

    Args:
        content: Any JSON content.
        key: The key that it is the value of. The values of keys that name a file are taken for
            paths, relative ones too; elsewhere those from the root or from home are.
    """
    if isinstance(content, dict):
        return {name: without_paths(value, name) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [without_paths(value, key) for value in content]
    if not isinstance(content, str):
        return content
    if key in with_flag("names_file"):
        return Path(content).name
    return PATH.sub(lambda found: Path(found[0]).name, content)
