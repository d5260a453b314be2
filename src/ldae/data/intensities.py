"""Intensities in [0, 1] and the number format they are stored in."""

import numpy as np
import torch

STEPS = {"uint8": 255}  # stored value of an intensity of 1, where it is not 1


def to_stored(volume: np.ndarray, dtype: str) -> np.ndarray:
    """A float32 volume in the format ``dtype``: float16, float32, or uint8 in steps of 1/255."""
    steps = STEPS.get(dtype)
    return (volume if steps is None else np.rint(volume * steps)).astype(dtype)


def from_stored(array: np.ndarray) -> torch.Tensor:
    """A float32 copy of a stored volume."""
    # torch widens float16 four times as fast as numpy does.
    volume = torch.from_numpy(np.array(array)).float()
    steps = STEPS.get(str(array.dtype))
    return volume if steps is None else volume.div_(steps)
