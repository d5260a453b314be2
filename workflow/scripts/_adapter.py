"""What every script of the workflow shares: a log file with tracebacks and one-sentence errors."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ldae.errors import UserError


@contextmanager
def job(snakemake) -> Iterator[None]:
    """Log to the rule's log file; show a user's error as one sentence, anything else in full."""
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
    """The folder that the first of ``files`` lies in: stores and models are folders."""
    return Path(files if isinstance(files, str) else files[0]).parent


def load_system(snakemake):
    """The trained models that an evaluation rule names as inputs: the DAE's, or the LDAE's
    three."""
    device, threads = snakemake.config["device"], snakemake.threads
    if snakemake.input.get("dae"):
        from ldae.inference.dae_system import DaeSystem

        return DaeSystem.load(folder(snakemake.input.dae), device, threads)
    from ldae.inference.ldae_system import LdaeSystem

    stages = ("autoencoder", "ldm", "ldae")
    folders = [folder(snakemake.input[stage]) for stage in stages]
    return LdaeSystem.load(*folders, snakemake.params.settings, device, threads)
