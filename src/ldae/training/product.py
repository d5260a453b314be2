"""What a stage leaves behind: the model folder with its card, and the history."""

from pathlib import Path
from typing import Any

from ldae import __version__
from ldae.compute import Compute, versions
from ldae.data.store import Store
from ldae.models.storage import save_model
from ldae.models.training_scans import note_seen
from ldae.training.history import write_history
from ldae.training.loop import Trained
from ldae.training.settings import Settings


def save_trained(
    settings: Settings, trained: Trained, compute: Compute, store: Store, **more: Any
) -> None:
    """Write history.tsv, scans.tsv and the model with its card into ``settings.out_dir``.

    Args:
        settings: Of the stage that was trained.
        trained: Its outcome.
        compute: Where.
        store: The store it was trained on; its sum, split and scans go into the card.
        more: Further entries of the card: the architecture, upstream sums, the latent scale.
    """
    out_dir = Path(settings.out_dir)
    write_history(trained.history, out_dir / "history.tsv")
    card = {
        "kind": settings.stage,
        "config": settings.cfg,
        "data": store.sum,
        "split": store.split_hash,
        **note_seen(store, out_dir),
        "epoch": trained.epoch,
        "epochs": len(trained.history),
        "steps": trained.steps,
        "metrics": trained.metrics,
        "flags": trained.flags,
        "seed": settings.seed,
        "fingerprint": settings.fingerprint,
        "told": settings.told,
        "machine": compute.describe() | {"processes": settings.processes},
        "versions": {"ldae": __version__, **versions()},
        **more,
    }
    save_model(out_dir, trained.state, card)
