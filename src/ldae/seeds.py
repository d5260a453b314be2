"""Random draws that depend on names alone: seeds, generators, the fixed noise of a scan."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed that depends on every part, such as (seed, stage, step)."""
    text = "/".join(map(str, parts)).encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "little") >> 1


def generator(*parts: int | str) -> torch.Generator:
    """A CPU generator seeded by ``derive_seed``; draws are the same on every device."""
    return torch.Generator().manual_seed(derive_seed(*parts))


def fixed_noise(
    scan_ids: Sequence[str], shape: Sequence[int], seed: int, sample: int = 0
) -> Tensor:
    """z_T ~ N(0, I) that depends on (seed, scan, sample) alone, not on batches: (B, *shape)."""
    return torch.stack(
        [
            torch.randn(tuple(shape), generator=generator(seed, "z_T", scan, sample))
            for scan in scan_ids
        ]
    )
