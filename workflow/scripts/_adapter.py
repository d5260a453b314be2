"""Adapter of all scripts of the workflow: log file with tracebacks, one-sentence user errors."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from ldae.errors import UserError


@contextmanager
def job(snakemake) -> Iterator[None]:
    """Log to the rule's log file: a UserError as one sentence, any other error with traceback."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if snakemake.log:
        handlers.append(logging.FileHandler(snakemake.log[0]))
    logging.basicConfig(
        level=logging.INFO, handlers=handlers, format="%(asctime)s %(levelname)s %(message)s"
    )
    logging.captureWarnings(True)
    try:
        yield
    except UserError as error:
        logging.error("%s: %s", snakemake.rule, error)
        sys.exit(1)
    except Exception:
        logging.exception("%s failed", snakemake.rule)
        raise


def folder(files) -> Path:
    """The folder of the first of ``files``: a store or a model is a folder."""
    return Path(files if isinstance(files, str) else files[0]).parent


def definition(entry):
    """The definition that a param names as `module:name`."""
    module, _, name = entry.partition(":")
    return getattr(import_module(f"ldae.{module}"), name)


def load_system(snakemake):
    """The trained system of an evaluation rule, from the models among its inputs."""
    system = definition(snakemake.params.system)
    models = {stage: folder(snakemake.input[stage]) for stage in system.stages}
    device, threads = snakemake.config["device"], snakemake.threads
    return system.load(models, snakemake.params.settings, device, threads)


def load_system_and_settings(snakemake):
    """The system of :func:`load_system`, and the rule's settings with a batch size that fits.

    Inversions of scans are read from the store of codes, if it is among the rule's inputs.
    """
    from ldae.inference.memory import fitting_settings

    system = load_system(snakemake)
    if snakemake.input.get("codes"):
        from ldae.inference.code_store import CodeStore

        cards = snakemake.input.codes
        system = system.with_codes(CodeStore([cards] if isinstance(cards, str) else cards))
    return system, fitting_settings(system, snakemake.params.settings)
