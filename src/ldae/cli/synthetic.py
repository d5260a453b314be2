"""Command ``ldae synthetic``: a synthetic cohort with known truth."""

import logging

import click

from ldae.cli.options import PATH, Finite

DOWNLOAD, PREPROCESSED = "download", "preprocessed"
FORMS = ("clinica", "today")
# Named here: --help loads no other module of the library.
MOST_SUBJECTS = {DOWNLOAD: 800, PREPROCESSED: 5000}
MOST_VISITS = 5


@click.command()
@click.option("--out", type=PATH, required=True, help="written: a folder.")
@click.option(
    "--kind",
    type=click.Choice([DOWNLOAD, PREPROCESSED]),
    default=DOWNLOAD,
    show_default=True,
    help="An ADNI download, or preprocessed scans in template space.",
)
@click.option(
    "--subjects",
    type=click.IntRange(1, max(MOST_SUBJECTS.values())),
    default=40,
    show_default=True,
    help=f"At most {MOST_SUBJECTS[DOWNLOAD]} in a download.",
)
@click.option(
    "--visits",
    type=click.IntRange(1, MOST_VISITS),
    default=3,
    show_default=True,
    help="Visits of a subject (preprocessed: at most).",
)
@click.option(
    "--spacing", type=Finite(0.5, 6), default=2.0, show_default=True, help="Voxel edge in mm."
)
@click.option(
    "--seed", type=click.IntRange(0), default=1, show_default=True, help="Of all random choices."
)
@click.option(
    "--tables",
    type=click.Choice(FORMS),
    default=FORMS[0],
    show_default=True,
    help="Form of a download's study tables.",
)
@click.option(
    "--template",
    default="MNI152NLin2009cSym",
    show_default=True,
    help="Space in the file names of preprocessed scans.",
)
@click.option(
    "--variation",
    type=Finite(0, 1),
    default=1.0,
    show_default=True,
    help="Preprocessed: of shape, pose and contrast.",
)
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
def synthetic(kind, **given) -> None:
    """Make a synthetic cohort with known truth.

    \b
    Examples:
      ldae synthetic --out raw/mine --subjects 200 --visits 4 --spacing 1.5 --seed 7 --jobs 8
      ldae synthetic --kind preprocessed --out raw/more --subjects 500 --visits 5 --spacing 2.5
    """
    from ldae.synthetic import make_download, make_preprocessed

    logging.getLogger().setLevel(logging.INFO)
    make, others = {
        DOWNLOAD: (make_download, ("template", "variation")),
        PREPROCESSED: (make_preprocessed, ("tables",)),
    }[kind]
    for other in others:
        del given[other]
    make(**given)
