"""timm, imported where a network of it is built: with torchvision it takes as long as torch."""

from functools import cache
from types import ModuleType


@cache
def timm() -> ModuleType:
    """The module ``timm``, imported beside a CPU build of torch as well."""
    import ldae.nets._torchvision  # noqa: F401

    # isort: split
    import timm

    return timm
