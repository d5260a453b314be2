"""Choice of the tracker that ``training.tracker`` names, and the package that it needs."""

from importlib.util import find_spec
from typing import TYPE_CHECKING

from ldae.errors import require

if TYPE_CHECKING:
    from ldae.training.objectives.base import Objective
    from ldae.training.settings import Settings
    from ldae.training.trackers.base import Tracker

TENSORBOARD, WANDB, MLFLOW = "tensorboard", "wandb", "mlflow"
# Tracker -> the package to install, whose module has the tracker's name; TensorBoard's is always
# there.
PACKAGES = {WANDB: "wandb", MLFLOW: "mlflow-skinny"}
TRACKERS = (TENSORBOARD, *PACKAGES)


def missing_package(tracker: str) -> str | None:
    """The package that a tracker lacks here; None: it lacks none."""
    package = PACKAGES.get(tracker)
    if package is None:
        return None
    found = find_spec(tracker)
    # A folder of that name in the working directory has no origin.
    return None if found is not None and found.origin else package


def require_tracker(tracker: str) -> None:
    """Refuse a tracker whose package is not installed.

    Raises:
        UserError: there is no such tracker, or its package is missing.
    """
    require(
        tracker in TRACKERS,
        f"training.tracker is {tracker!r}; allowed are {', '.join(TRACKERS)}.",
    )
    package = missing_package(tracker)
    require(
        package is None,
        f"training.tracker is {tracker}, but the Python package {package} is not installed where "
        f"trainings run: run `make env TRACKER={tracker}`, or set training.tracker to "
        f"{TENSORBOARD}.",
    )


def make_tracker(settings: "Settings", objective: "Objective") -> "Tracker":
    """The tracker of a training.

    Args:
        settings: Settings of the training, with the sizes that ``auto`` has become.
        objective: Its objective: with the settings it says which checkpoints are its own.
    """
    from pathlib import Path

    from ldae.training.run_identity import run_folder, training_identity

    if settings.tracker == TENSORBOARD:
        from ldae.training.trackers.tensorboard import TensorBoard

        return TensorBoard(settings.out_dir, settings.stage)
    identity = training_identity(objective, settings)
    checkpoints = run_folder(Path(settings.run_dir), identity, first=False)
    if settings.tracker == WANDB:
        from ldae.training.trackers.weights_and_biases import WandbRun

        return WandbRun(settings, checkpoints)
    from ldae.training.trackers.mlflow_runs import MlflowRun

    return MlflowRun(settings, checkpoints)
