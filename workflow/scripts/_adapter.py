"""What every script of the workflow shares: a log file with tracebacks and one-sentence errors."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ldae.errors import UserError


@contextmanager
def job(snakemake) -> Iterator[None]:
    """Log to the rule's log file; show a user's error as one sentence, anything else in full."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if snakemake.log:
        handlers.append(logging.FileHandler(snakemake.log[0], mode="w"))
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
