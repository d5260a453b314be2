"""Weights & Biases: a run in ``<tracking>/wandb``, on this disk alone unless the user asks.

Without ``WANDB_MODE=online`` nothing leaves the machine; ``wandb sync`` uploads a run later.
Project and team are those of ``WANDB_PROJECT`` and ``WANDB_ENTITY``.
"""

import logging
import os
import secrets
from pathlib import Path

from PIL import Image

from ldae.errors import UserError, require
from ldae.models.storage import CARD
from ldae.training.distributed.signals import EXIT_CODE, Interrupted
from ldae.training.trackers.runs import PROJECT, RunTracker

ONLINE, OFFLINE = "online", "offline"
log = logging.getLogger(__name__)


class WandbRun(RunTracker):
    """A run of Weights & Biases; its id stays the same when the training continues.

    Offline, each continuation writes a folder of its own with the same id.
    """

    name = "wandb"

    def start(self, known: str | None) -> str:
        """Begin or continue the run.

        Raises:
            UserError: the mode is neither online nor offline; or W&B refuses, as without a key.
        """
        mode = os.environ.get("WANDB_MODE", OFFLINE)
        require(
            mode in (ONLINE, OFFLINE),
            f"WANDB_MODE is {mode!r}; allowed are {ONLINE} and {OFFLINE} (without it: {OFFLINE}).",
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        # Reports of W&B's own errors hold names and paths of this machine.
        os.environ["WANDB_ERROR_REPORTING"] = "false"
        for variable in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR"):  # else below the user's home
            os.environ.setdefault(variable, str(self.folder.resolve()))
        import wandb

        try:
            self.run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                id=known or secrets.token_hex(4),
                name=self.stage,
                job_type="training",
                dir=str(self.folder),
                mode=mode,
                resume="allow",
                config=self.told,
                settings=wandb.Settings(
                    host="",
                    username="",
                    email="",
                    program="ldae",
                    x_executable="python",
                    console="off",
                    quiet=True,
                    save_code=False,
                    disable_git=True,
                    x_disable_meta=True,
                    x_disable_stats=True,
                    x_disable_machine_info=True,
                    x_save_requirements=False,
                ),
            )
        except wandb.errors.Error as error:
            raise UserError(
                f"Weights & Biases refuses the run of {self.stage} ({error}). Log in with `wandb "
                "login`, or leave WANDB_MODE=online away: the run is then kept in "
                f"{self.folder / 'wandb'}."
            ) from error
        log.info("%s: run %s of W&B, %s", self.stage, self.run.id, mode)
        return self.run.id

    def points(self, values: dict[str, float], step: int) -> None:
        """Log them; a process of W&B writes or sends them."""
        self.sent("points", self.run.log, values, step=step)

    def picture(self, image: Image.Image, path: Path, step: int) -> None:
        """Log the picture."""
        import wandb

        self.sent(path.name, self.run.log, {"samples": wandb.Image(image)}, step=step)

    def saved(self) -> None:
        """Log the card as an artifact."""
        import wandb

        artifact = wandb.Artifact(f"{self.stage}-card", type="model-card")
        with artifact.new_file(CARD, mode="w") as stream:
            stream.write(self.card())
        self.sent("card", self.run.log_artifact, artifact)

    def close(self, error: BaseException | None) -> None:
        """Finish the run: done, interrupted or failed."""
        if not self.run_id:
            return
        code = EXIT_CODE if isinstance(error, Interrupted) else int(error is not None)
        self.sent("end", self.run.finish, exit_code=code)
