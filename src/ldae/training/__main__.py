"""Command line of one training: ``python -m ldae.training settings.json``.

It is called by hand, by the launcher (`ldae.training.distributed.launch`), by torchrun or by srun.
The settings say how many processes train together.
"""

import argparse
import logging
import os
import sys
import time

from ldae.errors import UserError
from ldae.training.distributed.signals import EXIT_CODE, Interrupted
from ldae.training.settings import Settings

GRACE = 10.0  # seconds for the other tasks of srun to end


def main() -> None:
    """Read the arguments and train; exit with 0, 75 (interrupted, saved), or 1 (see the log)."""
    parser = argparse.ArgumentParser(prog="python -m ldae.training", description=__doc__)
    parser.add_argument("settings", help="JSON as training.settings.Settings.write makes it")
    parser.add_argument("--log", help="file to append the log to")
    parser.add_argument("--slurm-task", action="store_true", help="srun has started this process")
    parser.add_argument("--launcher", type=int, help="number of the process that started this")
    options = parser.parse_args()
    rank = int(os.environ.get("SLURM_PROCID" if options.slurm_task else "RANK", "0"))
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if options.log:
        handlers.append(logging.FileHandler(options.log))
    name = f" process {rank}" if rank else ""
    logging.basicConfig(
        level=logging.WARNING if rank else logging.INFO,
        handlers=handlers,
        format=f"%(asctime)s %(levelname)s{name} %(message)s",
    )
    logging.captureWarnings(True)
    try:
        from ldae.training.stages import run

        run(Settings.read(options.settings), options.log, options.slurm_task, options.launcher)
    except Interrupted:
        # All have saved. Only the first process returns 75, and last: srun ends a step at the first
        # task that does not return 0, and would report the others as killed.
        if options.slurm_task and not rank and os.environ["SLURM_NTASKS"] != "1":
            time.sleep(GRACE)
        end(0 if rank else EXIT_CODE)
    except UserError as error:
        logging.error("%s", error)
        end(1)
    except Exception:
        logging.exception("training failed")
        end(1)
    end(0)


def end(code: int) -> None:
    """End at once: the rest of a broken group of processes could wait for hours.

    An interrupted job may have seconds left, too few for a regular end of Python and torch. And
    threads of a group can fail during it, after a training that has written all it should.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
