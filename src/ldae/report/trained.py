"""How a model was trained, as sentences."""

from collections.abc import Mapping
from typing import Any

from ldae.figures.text import count, number


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
        f" Trained with Adam (learning rate {rates(card['config'])}, effective batch "
        f"{card['config']['batch_size']}) on {machine['device']} in {machine['precision']}, seed "
        f"{card['seed']}; {kept}{f'; {scores}' if scores else ''}."
    )


def rates(cfg: Mapping[str, Any]) -> str:
    """The learning rates of a stage; cards from before there was a choice have one, constant."""
    own, decay = cfg.get("encoder_learning_rate"), cfg.get("decay", "none")
    encoder = f" and {own:g} for the encoder" if own is not None else ""
    return f"{cfg['learning_rate']:g}{encoder}{', falling by a cosine' * (decay == 'cosine')}"
