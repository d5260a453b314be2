"""Whether the scans that models have learnt from still look as they did."""

from pathlib import Path
from typing import Any

import pandas as pd

from ldae.data.thumbnails import LOOK, altered
from ldae.files import read_table
from ldae.labels import count


def altered_scans(cards: dict[str, dict[str, Any]], models: Path, index: pd.DataFrame) -> list[str]:
    """A warning where they do not, which a reader of any number must know.

    Args:
        cards: ``model.json`` by model.
        models: Folder of the models: ``<model>/scans.tsv`` is read where the card counts scans. It
            knows no looks where the model has learnt from latents.
        index: ``index.tsv`` of the volume store.
    """
    found = []
    for name, card in cards.items():
        seen = read_table(models / name / "scans.tsv") if "scans" in card else pd.DataFrame()
        if LOOK in seen:
            here, changed = altered(seen, index)
            if changed:
                found.append(f"{name} ({len(changed):,} of {count(here, 'scan')})")
    if not found:
        return []
    return [
        "Scans that these models have learnt from look otherwise now, as after another "
        f"preprocessing, and the models were not trained again: {'; '.join(found)}."
    ]
