"""Cases of the fine-tuning experiment: start, what learns on, number of people of each class."""

from collections.abc import Mapping
from typing import Any, NamedTuple

SCRATCH, IMAGENET, LDAE = "scratch", "imagenet", "ldae"  # starts
WHOLE = "all"
# Names in tables and figures: of starts, and of what learns on.
STARTS = {SCRATCH: "From scratch", IMAGENET: "ImageNet", LDAE: "LDAE"}
WAYS = {"head": "head alone", "last_stage": "last stage", WHOLE: "all"}


class Case(NamedTuple):
    """A training of the experiment.

    Attributes:
        start: ``scratch``, ``imagenet`` or ``ldae``: the weights that the encoder begins with.
        trainable: ``head``, ``last_stage`` or ``all``: what of the network learns on.
        people: Of each class; ``all``.
    """

    start: str
    trainable: str
    people: int | str

    @property
    def name(self) -> str:
        """Name of its files, such as ``ldae-last_stage-30``."""
        return "-".join(map(str, self))

    @classmethod
    def of(cls, name: str) -> "Case":
        """The case of a name."""
        start, trainable, people = name.split("-")
        return cls(start, trainable, int(people) if people.isdigit() else people)


def cases(about: Mapping[str, Any]) -> list[Case]:
    """All cases of section ``evaluation.fine_tuning``, in the order of its table.

    An encoder from scratch has nothing to keep, so all of it learns.
    """
    ways = [
        (start, trainable)
        for start in about["starts"]
        for trainable in ((WHOLE,) if start == SCRATCH else about["trainable"])
    ]
    return [Case(*way, people) for people in about["people"] for way in ways]
