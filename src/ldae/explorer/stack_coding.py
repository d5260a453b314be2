"""Coding of a person's volumes in few bytes: rounded intensities, differences, gzip.

Intensities (0 to 255) are rounded to steps of 3, unless the coding is exact. Then a frame is
replaced by its difference from an earlier one that it resembles, where the difference exceeds the
tolerance; so a frame keeps the fine grain of the earlier one. A frame that resembles none is
replaced by differences of neighbouring voxels where they take fewer bytes. Differences wrap around
at 256, so that decoding is exact after the rounding; ``web/stack.js`` decodes in the browser.
"""

import base64
import gzip
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

COARSEST = 1  # tolerance of a frame that resembles none, steps of 1/255
WHITE = 255  # the largest intensity of an 8-bit volume
ALONE = -1  # in place of an earlier frame: the frame resembles none


@dataclass
class Stack:
    """Volumes of one person, 8 bits a voxel, each stored once.

    Attributes:
        frames: (X, Y, Z) uint8 each.
        after: For each frame the place of the earlier one that it resembles, or :data:`ALONE`.
    """

    frames: list[np.ndarray] = field(default_factory=list)
    after: list[int] = field(default_factory=list)

    def add(self, volume: np.ndarray, after: int = ALONE) -> int:
        """Append a volume (X, Y, Z) in [0, 1]; returns its place.

        Raises:
            ValueError: ``after`` is no earlier frame.
        """
        if not ALONE <= after < len(self.frames):
            raise ValueError(f"frame {len(self.frames)} cannot follow frame {after}")
        volume = np.asarray(volume, np.float32)
        self.frames.append(np.rint(volume.clip(0, 1) * WHITE).astype(np.uint8))
        self.after.append(after)
        return len(self.frames) - 1


def neighbour_differences(levels: np.ndarray) -> np.ndarray:
    """Differences along all three axes, modulo 256: what a smooth volume leaves is near 0."""
    for axis in range(3):
        levels = np.diff(levels, axis=axis, prepend=np.uint8(0))  # uint8 wraps around
    return levels


def encode(stack: Stack, tolerance: int) -> dict[str, Any]:
    """Code the frames of a stack.

    Args:
        stack: One frame or more, of one shape.
        tolerance: Largest error of a decoded voxel, in steps of 1/255 of the range.

    Returns:
        ``shape`` (X, Y, Z); ``step`` of the rounding; ``tolerance``; ``after``; ``smooth``, whether
        a frame holds differences of neighbours; ``data``, base64 of gzip of the frames, x fastest.
    """
    own = min(tolerance, COARSEST)
    step = 2 * own + 1
    levels: list[np.ndarray] = []
    coded, smooth = [], []
    for frame, after in zip(stack.frames, stack.after, strict=True):
        level = ((frame.astype(np.int16) + own) // step).astype(np.int16)
        if after == ALONE:
            plain, smoothed = level.astype(np.uint8), neighbour_differences(level.astype(np.uint8))
            smooth.append(_bytes(smoothed) < _bytes(plain))
            coded.append(_flat(smoothed if smooth[-1] else plain))
        else:
            change = level - levels[after]
            change[np.abs(change) * step + own <= tolerance] = 0
            level = levels[after] + change
            smooth.append(False)
            coded.append(_flat(change.astype(np.uint8)))
        levels.append(level)
    return {
        "shape": list(stack.frames[0].shape),
        "step": step,
        "tolerance": tolerance,
        "after": stack.after,
        "smooth": smooth,
        "data": packed(b"".join(coded)),
    }


def decode(coded: dict[str, Any]) -> np.ndarray:
    """The volumes of :func:`encode`, (F, X, Y, Z) uint8."""
    shape = tuple(coded["shape"])
    raw = np.frombuffer(gzip.decompress(base64.b64decode(coded["data"])), np.uint8)
    parts = raw.reshape(len(coded["after"]), *shape[::-1]).transpose(0, 3, 2, 1)
    levels: list[np.ndarray] = []
    for part, after, smooth in zip(parts, coded["after"], coded["smooth"], strict=True):
        if smooth:
            for axis in range(3):
                part = np.cumsum(part, axis=axis, dtype=np.uint8)
        levels.append(part if after == ALONE else part + levels[after])
    found = np.stack(levels).astype(np.uint16) * coded["step"]
    return found.clip(0, WHITE).astype(np.uint8)


def packed(content: bytes) -> str:
    """Base64 of gzip without a date: the same bytes for the same content."""
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode("ascii")


def encode_within(
    stacks: Sequence[Stack], most: int, tolerances: Sequence[int]
) -> tuple[list[dict[str, Any]], int]:
    """Code stacks with the smallest tolerance at which they take at most ``most`` characters.

    Args:
        stacks: Stacks of all people.
        most: Largest number of characters of all coded data together.
        tolerances: Ascending, one or more; the last is taken if none is enough.

    Returns:
        The coded stacks, and the tolerance.
    """
    for tolerance in tolerances:
        coded: list[dict[str, Any]] = []
        left = most
        for stack in stacks:
            coded.append(encode(stack, tolerance))
            left -= len(coded[-1]["data"])
            if left < 0 and tolerance != tolerances[-1]:
                break
        else:
            break
    return coded, tolerance


def _flat(levels: np.ndarray) -> bytes:
    """Bytes with x fastest, as in NIfTI."""
    return levels.tobytes(order="F")


def _bytes(levels: np.ndarray) -> int:
    return len(gzip.compress(_flat(levels), 1))
