"""Inversions and decodes of several people in common batches.

A network's call costs nearly as much for one code as for several. Each person's computation is
therefore a generator that yields what it needs (:class:`Invert`, :class:`Decode`) and is sent the
result. :func:`run_together` takes what all of them need at a time, and computes it at once.
"""

from collections.abc import Generator, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ldae.inference.ldae_system import LdaeSystem


@dataclass(frozen=True)
class Invert:
    """Stochastic codes wanted of latents.

    Attributes:
        solver, steps: Solver and its steps.
        z_0: Latents, (N, C, *S).
        y: Their semantic codes, (N, d).
    """

    solver: str
    steps: int
    z_0: Tensor
    y: Tensor

    def compute(self, system: LdaeSystem, batch_size: int) -> Tensor:
        """z_T of all latents, on their device."""
        parts = zip(self.z_0.split(batch_size), self.y.split(batch_size), strict=True)
        return torch.cat([system.encode_zT(z_0, y, self.steps) for z_0, y in parts])


@dataclass(frozen=True)
class Decode:
    """Volumes wanted of codes.

    Attributes:
        solver, steps: Solver and its steps.
        z_T: Stochastic codes, (N, C, *S), or noise shaped like latents.
        y: Semantic codes, (N, d).
    """

    solver: str
    steps: int
    z_T: Tensor
    y: Tensor

    def compute(self, system: LdaeSystem, batch_size: int) -> Tensor:
        """Volumes (N, 1, X, Y, Z) in [0, 1] of all codes, on the CPU."""
        return system.images(self.z_T, self.y, self.steps, batch_size)


Request = Invert | Decode
Task = Generator[Request, Tensor, None]


def run_together(system: LdaeSystem, tasks: Iterable[Task], batch_size: int) -> None:
    """Run tasks to their ends; requests with the same settings are computed together.

    Args:
        system: The trained models.
        tasks: Generators of requests; each is sent the tensor of its request, (N, ...).
        batch_size: Codes that pass the networks at a time.
    """
    waiting = [(task, request) for task in tasks if (request := next(task, None)) is not None]
    while waiting:
        kind = _kind(waiting[0][1])
        now = [(task, request) for task, request in waiting if _kind(request) == kind]
        later = [(task, request) for task, request in waiting if _kind(request) != kind]
        requests = [request for _, request in now]
        names = ("z_0", "y") if kind[0] is Invert else ("z_T", "y")
        joined = (torch.cat([getattr(one, name) for one in requests]) for name in names)
        found = kind[0](*kind[1:3], *joined).compute(system.with_solver(kind[1]), batch_size)
        parts = found.split([len(request.y) for request in requests])
        for (task, _), part in zip(now, parts, strict=True):
            try:
                later.append((task, task.send(part)))
            except StopIteration:
                continue
        waiting = later


def _kind(request: Request) -> tuple:
    """What must agree for two requests to be computed together; a code may have several states."""
    channels = request.z_T.shape[1] if isinstance(request, Decode) else 0
    return type(request), request.solver, request.steps, channels
