"""Command line of the synthetic cohorts: ``python -m ldae.synthetic --out DIR [--kind KIND]``."""

import argparse
import logging
import sys
from pathlib import Path

from ldae.errors import exit_status
from ldae.synthetic.download import KIND as DOWNLOAD
from ldae.synthetic.download import make_download
from ldae.synthetic.preprocessed import KIND as PREPROCESSED
from ldae.synthetic.preprocessed import make_preprocessed
from ldae.synthetic.tables import FORMS


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m ldae.synthetic",
        description="Make a synthetic cohort with known truth: an ADNI download, or preprocessed "
        "scans in template space.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--subjects", type=int, default=40, help="number of subjects")
    parser.add_argument(
        "--visits", type=int, default=3, help="visits of a subject (preprocessed: at most)"
    )
    parser.add_argument("--spacing", type=float, default=2.0, help="voxel edge in mm")
    parser.add_argument("--seed", type=int, default=1, help="seed of all random choices")
    parser.add_argument(
        "--kind", choices=(DOWNLOAD, PREPROCESSED), default=DOWNLOAD, help="kind of cohort"
    )
    parser.add_argument(
        "--tables", choices=FORMS, default="clinica", help="form of a download's study tables"
    )
    parser.add_argument(
        "--template", default="MNI152NLin2009cSym", help="space in file names of preprocessed scans"
    )
    parser.add_argument(
        "--variation", type=float, default=1.0, help="preprocessed: of shape, pose and contrast"
    )
    parser.add_argument("--jobs", type=int, default=1, help="parallel processes")
    given = vars(parser.parse_args(arguments))
    make, others = {
        DOWNLOAD: (make_download, ("template", "variation")),
        PREPROCESSED: (make_preprocessed, ("tables",)),
    }[given.pop("kind")]
    for other in others:
        del given[other]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    return exit_status(lambda: make(**given))


if __name__ == "__main__":
    sys.exit(main())
