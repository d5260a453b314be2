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
    from ldae.conversion.plan import plan_conversion
    from ldae.conversion.prepare_tables import prepare_tables
    from ldae.files import write_table

    prepare_tables(tables, out / "tables", out / "tables.tsv", out / "held_back.tsv")
    index = plan_conversion(images, out / "tables", out / "held_back.tsv", 1, jobs)
    write_table(index, out / "images.tsv")
    counts = index["status"].fillna("may be converted").value_counts()
    click.echo(f"{len(index)} images, listed in {out / 'images.tsv'}:")
    for status, number in counts.items():
        click.echo(f"{number:8d}  {status}")
