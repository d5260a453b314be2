"""Series of volumes under one slider: manipulation, time between visits, steps T, and noise.

They are generators of requests (:mod:`ldae.explorer.batching`), and append to a person what came.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ldae.diffusion.interpolation import lerp, slerp
from ldae.evaluation.metrics.image import brain_mask, ssim
from ldae.explorer.batching import Decode, Invert, Task
from ldae.explorer.readings import Reader, Readings, plain
from ldae.explorer.stack_coding import ALONE, Stack
from ldae.inference.ldae_system import LdaeSystem
from ldae.seeds import fixed_noise

POSITIONS = 7  # between two visits, with both of them


@dataclass(frozen=True)
class CodedScan:
    """A scan with its codes.

    Attributes:
        scan_id: Its name, which its noise is drawn from.
        x: The scan, (1, 1, X, Y, Z) in [0, 1].
        y: y_sem, (1, d), and
        z_0: its latent, (1, C, *S), both on the device.
    """

    scan_id: str
    x: Tensor
    y: Tensor
    z_0: Tensor

    @classmethod
    def of(cls, system: LdaeSystem, scan_id: str, x: Tensor, y: Tensor | None = None):
        """Encode a scan; ``y`` is its y_sem (1, d) where it is known."""
        y = system.y_sem(x) if y is None else system.compute.move(y)
        return cls(scan_id, x, y, system.encode_z(x))


@dataclass(frozen=True)
class Series:
    """Volumes under one slider, and what was read from them.

    Attributes:
        key: ``manipulation``, ``visits``, ``reconstruction`` or ``variation``.
        axis: Name of the position, with its unit.
        positions: Place of every frame on the axis.
        labels: Text of every position.
        frames: Places of the frames in the person's stack.
        reference: Position that changes are measured from, where the slider starts.
        readings: Values of every frame.
        more: What only this kind has, ready for JSON.
    """

    key: str
    axis: str
    positions: Sequence[float]
    labels: Sequence[str]
    frames: Sequence[int]
    reference: int
    readings: Readings
    more: dict[str, Any] = field(default_factory=dict)

    def content(self) -> dict[str, Any]:
        """The series for the page's JSON."""
        return {
            "key": self.key,
            "axis": self.axis,
            "positions": plain(self.positions),
            "labels": list(self.labels),
            "frames": list(self.frames),
            "reference": self.reference,
            "decoded": {name: plain(v) for name, v in self.readings.decoded.items()},
            "asked": {name: plain(v) for name, v in self.readings.asked.items()},
            **self.more,
        }


@dataclass(frozen=True)
class Unmoved:
    """A scan decoded from its own codes, which other series show too.

    Attributes:
        place: Its place in the stack.
        image: The volume, (1, 1, X, Y, Z).
        settings: Solver and steps that it was decoded with.
    """

    place: int
    image: Tensor
    settings: tuple[str, int]


@dataclass
class Person:
    """A person's volumes and series, while they are computed.

    Attributes:
        reader: The instruments, whose system decodes.
        scan: The scan that is shown.
        stack: All volumes; the first one is the scan.
        series: What has been computed, in the order of the page.
        unmoved: The scan decoded with the settings of the manipulation, which comes first.
    """

    reader: Reader
    scan: CodedScan
    stack: Stack = field(default_factory=Stack)
    series: list[Series] = field(default_factory=list)
    unmoved: Unmoved | None = None
    _inverted: dict[tuple[str, str, int], Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stack.add(self.scan.x[0, 0].cpu().numpy())

    def z_T(
        self, solver: str, steps: int, scan: CodedScan | None = None
    ) -> Generator[Invert, Tensor, Tensor]:
        """Stochastic code (1, C, *S) of a scan, the shown one for None; inverted once."""
        scan = scan or self.scan
        key = (scan.scan_id, solver, steps)
        if key not in self._inverted:
            self._inverted[key] = yield Invert(solver, steps, scan.z_0, scan.y)
        return self._inverted[key]

    def add_frames(
        self,
        images: Tensor,
        order: Sequence[int],
        resembled: Callable[[int], int],
        first: int = ALONE,
    ) -> list[int]:
        """Append volumes to the stack.

        Args:
            images: (F, 1, X, Y, Z).
            order: Positions in the order in which they are appended.
            resembled: The earlier position that a position's volume resembles; itself if none.
            first: Place in the stack that a volume resembles which resembles none of these.

        Returns:
            Places in the stack, by position.
        """
        places: dict[int, int] = {}
        for position in order:
            after = places.get(resembled(position), first)
            places[position] = self.stack.add(images[position, 0].numpy(), after)
        return [places[position] for position in range(len(images))]


def outwards(count: int, start: int) -> list[int]:
    """Positions 0 to ``count`` - 1 from ``start`` upwards, then from it downwards."""
    return [*range(start, count), *range(start - 1, -1, -1)]


def towards(start: int) -> Callable[[int], int]:
    """The neighbour of a position on the way to ``start``, which has itself."""
    return lambda position: position - int(np.sign(position - start))


def signed_alphas(alphas: Sequence[float]) -> list[float]:
    """The configured strengths to both sides, ascending, with 0."""
    sizes = {abs(float(alpha)) for alpha in alphas} | {0.0}
    return sorted({sign * size for size in sizes for sign in (-1, 1)})


def add_manipulation(
    person: Person,
    alphas: Sequence[float],
    settings: Mapping[str, Any],
    logit_range: np.ndarray,
    labels: Sequence[str] | None = None,
) -> Task:
    """Move y_sem along the classifier's direction, with z_T fixed (section 5.4.1).

    Positive alpha leads to the classifier's positive class, AD.

    Args:
        person: Receives the series.
        alphas: Ascending, with 0.
        settings: ``evaluation.manipulation``: ``mode``, ``solver``, ``ddim_steps``.
        logit_range: Smallest and largest logit of the training codes; ``more.seen`` has the alphas
            that lead there.
        labels: Text of every alpha; None: its number.
    """
    reader, scan = person.reader, person.scan
    solver, steps = settings["solver"], settings["ddim_steps"]
    count, start = len(alphas), alphas.index(0.0)
    moved = reader.direction.move(scan.y.expand(count, -1), torch.tensor(alphas), settings["mode"])
    z_T = yield from person.z_T(solver, steps)
    images = yield Decode(solver, steps, z_T.expand(count, *z_T.shape[1:]), moved)
    frames = person.add_frames(images, outwards(count, start), towards(start))
    unmoved = images[start : start + 1]
    person.unmoved = Unmoved(frames[start], unmoved, (solver, steps))
    readings = reader(images, moved, base=unmoved)
    first, last = readings.asked["logit"][[0, -1]]
    slope = (last - first) / (alphas[-1] - alphas[0])
    seen = [alphas[0] + (logit - first) / slope for logit in logit_range]
    person.series.append(
        Series(
            "manipulation",
            "α",
            alphas,
            labels or [f"{alpha:+g}" if alpha else "0" for alpha in alphas],
            frames,
            start,
            readings,
            {"seen": plain(seen)},
        )
    )


def add_visits(
    person: Person,
    first: CodedScan,
    last: CodedScan,
    months: Sequence[float],
    cfg: Mapping[str, Any],
) -> Task:
    """Positions in time between two visits: LERP of y_sem, SLERP of z_T (section 5.5).

    Args:
        person: Receives the series.
        first, last: The two visits.
        months: Their months.
        cfg: ``evaluation.interpolation``: ``solver``, ``ddim_steps``.
    """
    solver, steps = cfg["solver"], cfg["ddim_steps"]
    fraction = torch.linspace(0, 1, POSITIONS, dtype=torch.float64)
    ends = []
    for visit in (first, last):
        ends.append((yield from person.z_T(solver, steps, visit)))
    z_T = slerp(*(z.expand(POSITIONS, *z.shape[1:]) for z in ends), fraction)
    y = lerp(*(visit.y.expand(POSITIONS, -1) for visit in (first, last)), fraction)
    unmoved = person.unmoved
    if first is person.scan and unmoved.settings == (solver, steps):  # the first volume is there
        later = yield Decode(solver, steps, z_T[1:], y[1:])
        places = person.add_frames(later, range(len(later)), towards(0), unmoved.place)
        images, frames = torch.cat([unmoved.image, later]), [unmoved.place, *places]
    else:
        images = yield Decode(solver, steps, z_T, y)
        frames = person.add_frames(images, range(POSITIONS), towards(0), unmoved.place)
    start, end = months
    times = [start + (end - start) * float(part) for part in fraction]
    labels = [f"month {time:.0f}" for time in times]
    readings = person.reader(images, y)
    person.series.append(Series("visits", "month", times, labels, frames, 0, readings))


def add_reconstruction(person: Person, cfg: Mapping[str, Any]) -> Task:
    """The scan, the autoencoder's reconstruction, and the LDAE's at every number of steps T.

    Args:
        person: Receives the series.
        cfg: Section ``evaluation``: ``solver``, ``ddim_steps``.
    """
    scan, solver = person.scan, cfg["solver"]
    steps = sorted(cfg["ddim_steps"])
    images = [scan.x.cpu(), person.reader.system.image(scan.z_0).cpu()]
    for T in steps:
        z_T = yield from person.z_T(solver, T)
        images.append((yield Decode(solver, T, z_T, scan.y)))
    stacked = torch.cat(images)
    made = stacked[1:]
    places = person.add_frames(made, range(len(made)), towards(0), person.unmoved.place)
    asked = scan.y.expand(len(stacked), -1)
    original = scan.x.expand_as(stacked).cpu()
    scores = ssim(original, stacked, brain_mask(original))[0]
    person.series.append(
        Series(
            "reconstruction",
            "image",
            list(range(len(stacked))),
            ["scan", "autoencoder", *(f"T = {T}" for T in steps)],
            [0, *places],
            0,
            person.reader(stacked, asked),
            {"ssim": plain(scores.numpy()), "is_list": True},
        )
    )


def add_variations(
    person: Person, samples: int, settings: Mapping[str, Any], noise_seed: int
) -> Task:
    """One y_sem with several stochastic codes: what the semantic code leaves open (Figure 4).

    Args:
        person: Receives the series.
        samples: Number of codes drawn as noise, beside the scan's own.
        settings: ``solver``, ``ddim_steps``.
        noise_seed: ``evaluation.noise_seed``; number 0 is the noise of the tables where
            ``evaluation.start_noise`` is the paper's.
    """
    scan, system = person.scan, person.reader.system
    solver, steps = settings["solver"], settings["ddim_steps"]
    place, own = person.unmoved.place, person.unmoved.image
    shape = scan.z_0.shape[1:]
    noise = torch.cat(
        [fixed_noise([scan.scan_id], shape, noise_seed, number) for number in range(samples)]
    )
    y = scan.y.expand(samples, -1)
    drawn = yield Decode(solver, steps, system.compute.move(noise), y)
    images = torch.cat([own, drawn])
    places = [place, *person.add_frames(drawn, range(samples), lambda i: i, place)]
    person.series.append(
        Series(
            "variation",
            "noise",
            list(range(len(images))),
            ["own z_T", *(f"noise {number + 1}" for number in range(samples))],
            places,
            0,
            person.reader(images, scan.y.expand(len(images), -1)),
            {"is_list": True},
        )
    )
