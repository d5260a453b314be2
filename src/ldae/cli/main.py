"""Command line ``ldae``: its list of commands, loaded one at a time, and its exit status."""

import difflib
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version

import click

from ldae.cli.extras import explained
from ldae.errors import UserError, exit_status

# Command -> module below ldae.cli that defines it. A command loads only its own module.
COMMANDS = {
    "apply": "apply",
    "encode": "scans",
    "reconstruct": "scans",
    "manipulate": "scans",
    "interpolate": "scans",
    "generate": "scans",
    "real": "real",
    "share": "share",
    "config": "settings",
    "check-download": "download",
    "resources": "resources",
    "convert-weights": "weights",
    "synthetic": "synthetic",
    "qc": "quality",
    "retry": "workflow",
    "times": "workflow",
    "verify": "stores",
}
HELP = {
    "apply": "Diagnosis, age and counterfactual of raw heads.",
    "encode": "Semantic codes y_sem of preprocessed scans.",
    "reconstruct": "Scans decoded from their own y_sem and z_T.",
    "manipulate": "Scans moved along the diagnosis direction.",
    "interpolate": "The scan between two visits of a person.",
    "generate": "New volumes, drawn from noise.",
    "real": "How preprocessing and models do on real heads, on one page.",
    "share": "Trained models as a folder for others, or on a model hub.",
    "config": "The configuration of a run, merged and checked.",
    "check-download": "Check the study tables and images of an ADNI download.",
    "resources": "List, stage and check the workflow's external files.",
    "convert-weights": "Convert the authors' published weights.",
    "synthetic": "Make a synthetic cohort with known truth.",
    "qc": "Rate the quality of scans in a browser.",
    "retry": "Reset failed scans, so that the next run tries them again.",
    "times": "Write the times of a finished run's rules to a table.",
    "verify": "Compare every array of a store with its checksum.",
}
CONTINUE = "What is finished is kept. To continue, give the same command again."
EPILOG = """\b
Try it without any data:
  ldae apply --sample
"""


class LazyGroup(click.Group):
    """Commands whose modules are imported when they are called: `--help` loads no network."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = import_module(f"ldae.cli.{COMMANDS[name]}")
        return getattr(module, name.replace("-", "_"))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with the closest name where there is no such command."""
        close = difflib.get_close_matches(args[0], COMMANDS, n=1)
        if args[0] not in COMMANDS and close:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {close[0]}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(HELP.items()))


@click.command(cls=LazyGroup, epilog=EPILOG, no_args_is_help=True)
@click.version_option(version("ldae-workflow"), prog_name="ldae")
def ldae() -> None:
    """Apply trained Latent Diffusion Autoencoders to your scans, and tools of the workflow.

    `ldae COMMAND --help` has the options and examples of each. Exit status: 0; 1 after an error; 2
    for options that cannot be; 3 where some of several scans failed; 130 after Ctrl-C, 143 after
    SIGTERM.
    """


class Terminated(BaseException):
    """SIGTERM: the end that a cluster, a container or `kill` asks for. Work is saved on its way."""


@contextmanager
def _termination(owner: int) -> Iterator[None]:
    """Raise :class:`Terminated` at SIGTERM in this process; its children end as by default."""

    def stop(number: int, frame: object) -> None:
        if os.getpid() == owner:
            raise Terminated
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("ldae.progress").setLevel(logging.INFO)
    for library in ("monai", "huggingface_hub"):
        logging.getLogger(library).setLevel(logging.ERROR)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.simplefilter("ignore")
    with _termination(os.getpid()):
        return exit_status(lambda: _run(arguments))


def _run(arguments: list[str] | None) -> int | None:
    try:
        with explained():
            return ldae.main(args=arguments, prog_name="ldae", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        where = getattr(error, "ctx", None)
        more = f" (`{where.command_path} --help`)" if where else ""
        click.echo(f"error: {error.format_message()}{more}", err=True)
        return error.exit_code
    except OSError as error:
        raise UserError(f"{error.filename or 'A file'}: {error.strerror or error}.") from error
    except click.Abort as stopped:  # Ctrl-C; click takes the end of a file for one, too
        if isinstance(stopped.__cause__, EOFError):
            raise stopped.__cause__ from None
        click.echo(f"Stopped. {CONTINUE}", err=True)
        return 128 + signal.SIGINT
    except Terminated:
        click.echo(f"Stopped by SIGTERM. {CONTINUE}", err=True)
        return 128 + signal.SIGTERM
