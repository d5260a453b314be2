"""Options that several commands share, checked before anything is computed."""

import gc
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ldae.errors import require

if TYPE_CHECKING:
    from ldae.application.batch import Batch
    from ldae.application.bundle import Bundle
    from ldae.application.inputs import InputScan
    from ldae.application.manipulated import Strength

SOLVERS = ("ddim", "ddim_refined", "multistep", "angle", "midpoint")  # here: --help loads no torch
MOST_STEPS = 1000  # of the noise schedule
SOME_FAILED = 3  # exit status where some of several scans failed


class Finite(click.ParamType):
    """A number; within bounds, if they are given. Python takes "nan" and "inf" for numbers too."""

    name = "number"

    def __init__(self, low: float = -math.inf, high: float = math.inf):
        self.low, self.high = low, high

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        try:
            number = float(value)
        except ValueError:
            self.fail(f"{value!r} is no number.", param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not finite.", param, ctx)
        if not self.low <= number <= self.high:
            self.fail(f"{value} is not between {self.low:g} and {self.high:g}.", param, ctx)
        return number

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """The range, for the help."""
        has_low, has_high = self.low > -math.inf, self.high < math.inf
        if has_low and has_high:
            return f"NUMBER [{self.low:g}<=x<={self.high:g}]"
        if has_low or has_high:
            return f"NUMBER [x{'>=' if has_low else '<='}{self.low if has_low else self.high:g}]"
        return "NUMBER"


class Output(click.ParamType):
    """A file to write, whose name ends as its content needs, or a folder; both must be possible.

    Args:
        suffixes: Endings of a file.
        folder: A name without any ending is a folder.
    """

    name = "path"

    def __init__(self, *suffixes: str, folder: bool = False):
        self.suffixes, self.folder = suffixes, folder

    def convert(self, value: Any, param: Any, ctx: Any) -> Path:
        path, endings = Path(value), " or ".join(self.suffixes)
        is_file = path.name.endswith(self.suffixes) if self.suffixes else False
        if not is_file and not self.folder:
            self.fail(f"{value} must end in {endings}.", param, ctx)
        if not is_file and self.suffixes and path.suffix and not path.is_dir():
            self.fail(f"{value} must end in {endings}, or be a folder.", param, ctx)
        if path.exists() and path.is_dir() == is_file:
            self.fail(f"{value} is {'a folder' if is_file else 'a file'}.", param, ctx)
        parent = next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())
        if parent.is_file() and parent != path.absolute():
            self.fail(f"{parent} is a file, so {value} cannot be below it.", param, ctx)
        if not os.access(parent, os.W_OK):
            self.fail(f"{parent} cannot be written to.", param, ctx)
        return path


PATH = click.Path(path_type=Path)


def models(command: Callable) -> Callable:
    """Options that choose the models and where they run."""
    for option in reversed(
        (
            click.option(
                "--models",
                type=PATH,
                default="results/models",
                show_default=True,
                help="Folder of the trained models.",
            ),
            click.option(
                "--model",
                "shared",
                metavar="WHERE",
                help="A shared model: its folder, or ORG/NAME[@REVISION] of a model hub.",
            ),
            click.option(
                "--sample",
                is_flag=True,
                help="The models in the package, trained on synthetic brains: no patient seen.",
            ),
            click.option(
                "--device",
                type=click.Choice(["cpu", "cuda"]),
                default="cpu",
                show_default=True,
                help="Where the networks run; cuda: the first GPU that is seen.",
            ),
            click.option(
                "--threads",
                type=click.IntRange(1),
                default=1,
                show_default=True,
                help="CPU threads.",
            ),
        )
    ):
        command = option(command)
    return command


def decoding(command: Callable) -> Callable:
    """Options of the diffusion's solver."""
    for option in (
        click.option(
            "--solver", type=click.Choice(SOLVERS), help="Solver of the diffusion; else the run's."
        ),
        click.option(
            "--steps", type=click.IntRange(1, MOST_STEPS), help="Its steps; else the run's."
        ),
    ):
        command = option(command)
    return command


def brain_weights(command: Callable) -> Callable:
    """Option ``--brain-weights`` of commands that preprocess raw heads."""
    return click.option(
        "--brain-weights",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Folder of the brain extraction's weights; else the folder that the run used.",
    )(command)


def several(kind: str) -> Callable[[Callable], Callable]:
    """Argument SCANS, and the choice of participants of a BIDS data set."""

    def add(command: Callable) -> Callable:
        command = click.option(
            "--participant-label",
            "labels",
            multiple=True,
            help="Only this participant of a BIDS data set; repeat it for several.",
        )(command)
        return click.argument("given", nargs=-1, type=PATH, metavar=kind)(command)

    return add


def strength(positive: str, required: bool) -> Callable[[Callable], Callable]:
    """Options --alpha and --sd, of which one may be given; ``positive`` says where they lead."""
    default = "" if required else " Default: --sd 1."

    def add(command: Callable) -> Callable:
        command = click.option(
            "--sd",
            type=Finite(),
            help=f"Strength in standard deviations of the training codes; positive: {positive}."
            + default,
        )(command)
        return click.option(
            "--alpha", type=Finite(), help=f"Strength as in the paper; positive: {positive}."
        )(command)

    return add


force = click.option("--force", is_flag=True, help="Go on where a check would refuse.")


def chosen_strength(alpha: float | None, sd: float | None, required: bool) -> "Strength":
    """The strength of --alpha or --sd.

    Raises:
        click.UsageError: both are given, or none where one is required.
    """
    from ldae.application.manipulated import Strength

    if alpha is not None and sd is not None:
        raise click.UsageError("Give --alpha or --sd, not both.")
    if alpha is None and sd is None:
        if required:
            raise click.UsageError("How far? Give --sd (such as 1) or --alpha.")
        return Strength(1.0, in_sd=True)
    return Strength(alpha) if sd is None else Strength(sd, in_sd=True)


def exit_status(batch: "Batch") -> int:
    """Exit status of a batch: 0, 1 where all scans failed, 3 where some did."""
    failed = len(batch.failed)
    return 0 if not failed else 1 if failed == len(batch.scans) else SOME_FAILED


def require_other(out: Path, scans: Sequence["InputScan"]) -> None:
    """Refuse an output that is one of the scans.

    Raises:
        UserError: it is.
    """
    require(
        out.resolve() not in {scan.path.resolve() for scan in scans},
        f"--out {out} is the input scan itself: name another file.",
    )


def load(
    models: Path,
    shared: str | None,
    sample: bool,
    device: str,
    threads: int,
    solver: str | None = None,
) -> "Bundle":
    """The bundle of the models chosen.

    Raises:
        click.UsageError: two of --models, --model and --sample are given.
        UserError: there are no such models.
    """
    from dataclasses import replace

    source = click.get_current_context().get_parameter_source("models")
    if sum((sample, shared is not None, source is not ParameterSource.DEFAULT)) > 1:
        raise click.UsageError("Give one of --models, --model and --sample.")

    from ldae.application.bundle import Bundle
    from ldae.application.sample import MODELS

    folder: Path = MODELS if sample else models
    if shared is not None:
        folder = Path(shared)
        if not folder.is_dir():
            from ldae.resources.hub import fetch_repository

            folder, _ = fetch_repository(shared, ["models/**"])
    bundle = Bundle.load(folder, device, threads)
    if solver:
        bundle = replace(bundle, settings=bundle.settings | {"solver": solver})
    return bundle


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collection of what is made meanwhile, nor at the end of the process.

    Modules and networks stay until then: to look for garbage in a million of their objects takes a
    fifth of the time of a short command, and finds none.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def show(bundle: "Bundle", results: dict[str, Any], out: Path) -> None:
    """Print results as JSON on stdout, and their warnings on stderr."""
    shown = {"notice": bundle.notice, "models": bundle.settings["models"], **results}
    for text in _warnings(results):
        click.echo(f"warning: {text}", err=True)
    click.echo(json.dumps({**shown, "written": str(out)}, indent=2))


def _warnings(results: dict[str, Any]) -> list[str]:
    found: Sequence[str] = results.get("warnings", [])
    inner = (value for value in results.values() if isinstance(value, dict))
    return [*found, *(text for each in inner for text in _warnings(each))]
