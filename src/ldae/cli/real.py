"""Command ``ldae real``: what the models do on real heads, on one page."""

import click

from ldae.cli import options
from ldae.cli.options import PATH, Output


@click.command()
@click.argument("heads", type=PATH)
@click.option(
    "--out",
    type=Output(folder=True),
    default="results/real",
    show_default=True,
    help="written: findings of each head, scans.tsv, heads.tsv. It has images of the heads.",
)
@click.option(
    "--page",
    type=Output(".md"),
    help="written: the page, without a name or an image; else real.md in the folder.",
)
@options.brain_weights
@click.option("--steps", type=click.IntRange(1, options.MOST_STEPS), help="Else the run's.")
@options.models
def real(heads, out, page, brain_weights, steps, **chosen) -> int:
    """Measure masks, registration, reconstruction, novelty, age and ventricles of real heads.

    HEADS is a folder of raw T1-weighted heads, or one with a table heads.tsv: path, and where they
    are known scan_id, age, segmentation, ventricle_ml, source. The same command again does what is
    missing.

    \b
    Examples:
      ldae real heads --sample
      ldae real heads --models results/models --page real.md
    """
    from ldae.application.inputs import InputScan
    from ldae.application.known_heads import KnownHead, find_heads
    from ldae.application.real_page import numbers, require_free, write_real_page
    from ldae.application.sample import HEAD, sample_visits
    from ldae.files import write_table

    page = page or out / "real.md"
    require_free(page)  # faults are found before networks are loaded
    scans, known = find_heads(heads)
    with options.uncollected():
        bundle = options.load(**chosen)
        from ldae.application.real_heads import measure_heads

    steps = steps or bundle.settings["ddim_steps"]
    measured, batch = measure_heads(bundle, scans, known, out, steps, brain_weights)
    places = {scan.scan_id: place for place, scan in enumerate(scans, start=1)}
    measured.insert(0, "number", measured["scan_id"].map(places))
    synthetic = InputScan("synthetic", HEAD, None)
    about = {"synthetic": KnownHead(age=float(sample_visits().loc[0, "age"]))}
    reference, _ = measure_heads(
        bundle, [synthetic], about, out / "reference", steps, brain_weights
    )
    reference.insert(0, "number", "synthetic")
    write_table(numbers(measured), out / "heads.tsv")
    failed = [places[name] for name in batch.failed]
    sources = [known[scan.scan_id].source for scan in scans]
    command = "make real REAL=FOLDER"
    write_real_page(page, bundle, measured, reference, failed, sources, steps, command)
    options.show(bundle, batch.summary, page)
    return options.exit_status(batch)
