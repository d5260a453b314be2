"""MLflow: a run in the files below ``<tracking>/mlflow``, or on the server that the user names.

The server is that of ``MLFLOW_TRACKING_URI``, the experiment that of ``MLFLOW_EXPERIMENT_NAME``.
Only MLflow's client is used: its functions that start a run by themselves would tell the user's
name, the script and the repository.
"""

import logging
import os
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock
from PIL import Image

from ldae.errors import UserError
from ldae.models.storage import CARD
from ldae.training.distributed.signals import Interrupted
from ldae.training.run_identity import flatten
from ldae.training.trackers.runs import PROJECT, RunTracker

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

# Largest numbers of points and of settings that a server takes at a time.
MOST_POINTS, MOST_SETTINGS = 1000, 100
log = logging.getLogger(__name__)


class MlflowRun(RunTracker):
    """A run of MLflow; its id stays the same when the training continues.

    A server that fails later does not stop the training: a warning says so, and points are sent
    again with the next.
    """

    name = "mlflow"

    def start(self, known: str | None) -> str:
        """Begin or continue the run.

        Raises:
            UserError: the server cannot be reached, or refuses.
        """
        files = (self.folder / "mlflow").resolve()
        place = os.environ.get("MLFLOW_TRACKING_URI") or files.as_uri()
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        # Seven attempts in five minutes else, at every epoch while a server is down.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        here = place == files.as_uri()
        if here:
            files.parent.mkdir(parents=True, exist_ok=True)
            os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        self.waiting: list[Metric] = []
        try:
            self.client = MlflowClient(tracking_uri=place)
            if known:
                self.client.update_run(known, status="RUNNING")
                run_id = known
            else:
                # Two trainings that begin at a time would make two experiments of one name.
                with FileLock(files.with_name("mlflow.lock")) if here else nullcontext():
                    experiment = experiment_id(self.client)
                run_id = self.client.create_run(experiment, run_name=self.stage).info.run_id
                self.describe(run_id)
        except (MlflowException, OSError) as error:
            raise UserError(
                f"MLflow refuses the run of {self.stage} ({error}). Check MLFLOW_TRACKING_URI; "
                f"without it the run is kept in {files}."
                + (f" If its run is gone, delete {self.file} to begin another." if known else "")
            ) from error
        log.info("%s: run %s of MLflow", self.stage, run_id)
        return run_id

    def describe(self, run_id: str) -> None:
        """Log the settings as MLflow's parameters."""
        from mlflow.entities import Param

        settings = [Param(key, str(value)) for key, value in flatten(self.told).items()]
        for first in range(0, len(settings), MOST_SETTINGS):
            some = settings[first : first + MOST_SETTINGS]
            self.client.log_batch(run_id, params=some)

    def points(self, values: dict[str, float], step: int) -> None:
        """Keep them until the epoch ends."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.waiting += [Metric(name, float(value), now, step) for name, value in values.items()]
        if len(self.waiting) >= MOST_POINTS:
            self.flush()

    def flush(self) -> None:
        """Send the points that wait; those that cannot be sent wait for the next time."""
        while self.waiting:
            some = self.waiting[:MOST_POINTS]
            if not self.sent("points", self.client.log_batch, self.run_id, some):
                return
            del self.waiting[:MOST_POINTS]

    def picture(self, image: Image.Image, path: Path, step: int) -> None:
        """Log the PNG as an artifact."""
        self.sent(path.name, self.client.log_artifact, self.run_id, str(path), "samples")

    def saved(self) -> None:
        """Log the card as an artifact."""
        self.sent("card", self.client.log_text, self.run_id, self.card(), CARD)

    def close(self, error: BaseException | None) -> None:
        """Give the run its end: done, interrupted (killed) or failed."""
        if not self.run_id:
            return
        self.flush()
        stopped = "KILLED" if isinstance(error, Interrupted) else "FAILED"
        status = "FINISHED" if error is None else stopped
        self.sent("end", self.client.set_terminated, self.run_id, status)


def experiment_id(client: "MlflowClient") -> str:
    """Id of the experiment, made if absent."""
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
    found = client.get_experiment_by_name(name)
    return found.experiment_id if found else client.create_experiment(name)
