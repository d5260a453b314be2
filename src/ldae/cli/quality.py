"""Command ``ldae qc``: the page of quality, whose ratings are written to the file at once."""

import getpass

import click

from ldae.cli.options import PATH, Output


@click.command()
@click.argument("results", type=PATH, default="results")
@click.option(
    "--out",
    type=Output(".tsv"),
    help="written: your file of cohort.exclude; else the one that the run reads.",
)
@click.option("--rater", metavar="NAME", help="Who rates; else your user name.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    show_default=True,
    help="Of this machine; 0: any that is free.",
)
def qc(results, out, rater, port) -> None:
    """Rate scans in a browser; each rating is written to a file at once.

    RESULTS is the results folder of a run whose page of quality is made. Open the address that is
    printed. On a remote machine, give a port and open an ssh tunnel to it from yours:
    ssh -L 8765:127.0.0.1:8765 MACHINE. Ctrl-C ends it.

    \b
    Examples:
      ldae qc results
      ldae qc results --rater anna --out config/exclude-anna.tsv --port 8765
    """
    from ldae.application.quality_server import QualityServer, rating_file, require_page
    from ldae.locks import locked

    out = (out or rating_file(results)).resolve()
    require_page(results)

    with (
        locked(out.with_name(f".{out.name}.lock"), str(out), patience=0),
        QualityServer(results, out, rater or getpass.getuser(), port) as server,
    ):
        click.echo(f"Ratings of {server.ratings.rater} go to {out}. Open:\n{server.address}")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("Stopped.", err=True)
