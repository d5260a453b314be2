"""Import repair for torchvision beside a CPU build of torch.

The only wheel of torchvision 0.28 is linked against CUDA. Beside a CPU build of torch its compiled
operators cannot be loaded, and ``import torchvision`` (so timm, lpips and torchmetrics as well)
fails with ``operator torchvision::nms does not exist``. Declaring the missing schemas lets the
import pass; everything but ``nms`` and image reading then works, and this project uses neither.

Import this module before timm, lpips, torchmetrics or torchvision. It does nothing where the import
works as it is, and raises every other error.
"""

import importlib
import sys

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_SYMPTOM = "operator torchvision::nms does not exist"


def _repair() -> torch.library.Library | None:
    """Import torchvision; declare its operators only if the import fails for lack of them."""
    try:
        importlib.import_module("torchvision")
        return None
    except RuntimeError as error:
        if _SYMPTOM not in str(error):
            raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    importlib.import_module("torchvision")
    return library


# Kept alive: the declarations vanish with the object.
_LIBRARY = _repair()
