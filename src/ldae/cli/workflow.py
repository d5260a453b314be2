"""Commands ``ldae retry`` and ``ldae times``, on the results of a run."""

import click

from ldae.cli.options import PATH

TIMES = "profiles/demo/times.tsv"

RESULTS = click.option(
    "--results", type=PATH, default="results", show_default=True, help="paths.results of the run."
)


@click.command()
@RESULTS
@click.option("--scan", multiple=True, metavar="ID", help="Only this scan; repeat it for several.")
def retry(results, scan) -> None:
    """Reset failed scans and conversions, so that the next run tries them again.

    \b
    Example:
      ldae retry --scan sub-ADNI002S0413_ses-M000
    """
    from ldae.orchestration.rerun import reset_failed

    click.echo("\n".join(reset_failed(results, list(scan) or None)))


@click.command()
@RESULTS
@click.option("--out", type=PATH, default=TIMES, show_default=True, help="written: a TSV.")
def times(results, out) -> None:
    """Write the seconds of each rule's jobs in a finished run to a table."""
    from ldae.orchestration.run_times import record_times

    click.echo("\n".join(record_times(results, out)))
