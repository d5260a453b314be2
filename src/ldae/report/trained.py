"""How a model was trained, as sentences."""

from collections.abc import Mapping
from typing import Any

from ldae.labels import count, number


def trained(card: dict[str, Any]) -> str:
    """How the weights came about; published ones carry no record of their training."""
    if card.get("published"):
        return " The weights are those that the authors published; nothing was trained here."
    machine, metrics = card["machine"], card.get("metrics") or {}
    kept = f"epoch {card['epoch']} of {card['epochs']} ({count(card['steps'], 'step')}) was kept"
    scores = ", ".join(
        f"validation {name.removeprefix('val_').replace('_', ' ')} {number(float(value))}"
        for name, value in metrics.items()
    )
    return (
        f" Trained{learnt_from(card)} with Adam (learning rate {rates(card['config'])}, "
        f"effective batch {card['config']['batch_size']}) on {machine['device']} "
        f"in {machine['precision']}, seed {card['seed']}; {kept}{f'; {scores}' if scores else ''}."
    )


def rates(cfg: Mapping[str, Any]) -> str:
    """The learning rates of a stage; cards from before there was a choice have one, constant."""
    own, decay = cfg.get("encoder_learning_rate"), cfg.get("decay", "none")
    encoder = f" and {own:g} for the encoder" if own is not None else ""
    return f"{cfg['learning_rate']:g}{encoder}{', falling by a cosine' * (decay == 'cosine')}"


def learnt_from(card: dict[str, Any]) -> str:
    """How many scans a model has learnt from; cards of earlier versions do not say so."""
    if "scans" not in card:
        return ""
    scans = card["scans"]
    return f" on {count(scans['train'], 'scan')} ({scans['val']:,} for selection)"
