"""Command ``ldae check-download``: an ADNI download before its conversion."""

import click

from ldae.cli.options import PATH


@click.command()
@click.option("--images", type=PATH, required=True, help="ADNI's images, unpacked.")
@click.option("--tables", type=PATH, required=True, help="ADNI's study tables (CSV).")
@click.option("--out", type=PATH, required=True, help="written: folder of the findings.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
def check_download(images, tables, out, jobs) -> None:
    """Check the study tables and every image of an ADNI download.

    \b
    Example:
      ldae check-download --images ADNI --tables tables --out findings
    """
    from ldae.conversion.clinica_tables import read_clinica_tables
    from ldae.conversion.downloaded_scans import (
        CLINICA,
        by_reason,
        choose_downloaded,
        mark_passed_over,
        write_choice,
    )
    from ldae.conversion.plan import plan_conversion
    from ldae.conversion.prepare_tables import prepare_tables
    from ldae.files import write_table

    prepare_tables(tables, out / "tables", out / "tables.tsv", out / "held_back.tsv")
    index = plan_conversion(images, out / "tables", out / "held_back.tsv", 1, jobs)
    choice = choose_downloaded(index, read_clinica_tables(out / "tables"), CLINICA)
    index = mark_passed_over(index, choice.passed_over)
    write_table(index, out / "images.tsv")
    write_choice(choice, out / "images_to_download.tsv", out / "passed_over.tsv")
    counts = index["status"].fillna("may be converted").value_counts()
    click.echo(f"{len(index)} images, listed in {out / 'images.tsv'}:")
    for status, number in counts.items():
        click.echo(f"{number:8d}  {status}")
    taken = choice.visits["taken"].notna().sum()
    click.echo(f"{len(choice.visits)} visits, of which {taken} will be converted")
    for reason, visits in by_reason(choice.visits).items():
        click.echo(f"{len(visits):8d}  {reason}: see {out / 'images_to_download.tsv'}")
