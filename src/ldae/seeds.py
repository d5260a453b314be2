"""Random draws that depend on names alone: seeds, generators, the fixed noise of a scan.

torch is imported inside the functions: the workflow's rules import modules that use this one, and
shall not load torch.
"""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from names and numbers such as (seed, stage, step)."""
    text = "/".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little") >> 1


def generator(*parts: int | str) -> "torch.Generator":
    """A CPU generator seeded by :func:`derive_seed`; the draws do not depend on the device."""
    import torch

    return torch.Generator().manual_seed(derive_seed(*parts))


def fixed_noise(
    scan_ids: Sequence[str], shape: Sequence[int], seed: int, sample: int = 0
) -> "torch.Tensor":
    """z_T ~ N(0, I), (B, *shape) float32 on the CPU, one draw per scan.

    It depends on (seed, scan, sample) alone, not on the batch.
    """
    import torch

    return torch.stack(
        [
            torch.randn(tuple(shape), generator=generator(seed, "z_T", scan, sample))
            for scan in scan_ids
        ]
    )
