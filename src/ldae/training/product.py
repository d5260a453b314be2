"""What a stage leaves behind: the model folder with its card, and the history."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ldae import __version__
from ldae.data.store import Store
from ldae.modelfile import save_model
from ldae.training.checkpoint import Run
from ldae.training.compute import versions
from ldae.training.history import write_history
from ldae.training.loop import Trained
from ldae.training.objective import Objective


def save_trained(
    out_dir: Path,
    objective: Objective,
    run: Run,
    trained: Trained,
    store: Store,
    **more: Any,
) -> None:
    """Write history.tsv and the model with its card into ``out_dir``.

    Args:
        out_dir: The model folder.
        objective: The stage that was trained.
        run: Its settings.
        trained: Its outcome.
        store: The store it was trained on; its sum and split go into the card.
        more: Further entries of the card: the architecture, upstream sums, the latent scale.
    """
    out_dir = Path(out_dir)
    write_history(trained.history, out_dir / "history.tsv")
    card: Mapping[str, Any] = {
        "kind": objective.stage,
        "config": run.cfg,
        "data": store.sum,
        "split": store.split_hash,
        "epoch": trained.epoch,
        "epochs": len(trained.history),
        "steps": trained.steps,
        "metrics": trained.metrics,
        "seed": run.seed,
        "fingerprint": run.fingerprint,
        "machine": objective.compute.describe(),
        "versions": {"ldae": __version__, **versions()},
        **more,
    }
    save_model(out_dir, trained.state, dict(card))
