"""Commands on preprocessed scans: encode, reconstruct, manipulate, interpolate; and generate."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ldae.application.inputs import NIFTI
from ldae.cli import options
from ldae.cli.options import PATH, Finite, Output
from ldae.errors import require

if TYPE_CHECKING:
    from ldae.application.bundle import Bundle
    from ldae.application.inputs import InputScan

SEVERAL = "written: NIfTI (.nii.gz) of one scan, or a folder for several."


def _find(given: tuple[Path, ...], labels: tuple[str, ...]) -> list["InputScan"]:
    from ldae.application.inputs import BRAIN, find_scans

    if not given:
        raise click.UsageError("Which scans? Name files, a folder, a BIDS data set or a table.")
    return find_scans(given, BRAIN, labels)


def _each(
    bundle: "Bundle",
    scans: list["InputScan"],
    out: Path,
    settings: Mapping[str, Any],
    work: Callable[[Path, Path], dict[str, Any]],
) -> int:
    """Work on one scan, into the file ``out``, or on several, into the folder ``out``."""
    from ldae.application.batch import Batch

    options.require_other(out, scans)
    if len(scans) == 1 and out.name.endswith(NIFTI):
        options.show(bundle, work(scans[0].path, out), out)
        return 0
    if out.name.endswith(NIFTI):
        raise click.UsageError(f"--out {out} is one file, but there are {len(scans)} scans.")

    def written(scan: "InputScan") -> Path:
        return out / f"{scan.scan_id}_desc-{settings['command']}_T1w.nii.gz"

    out.mkdir(parents=True, exist_ok=True)
    batch = Batch(
        scans,
        out / "scans.tsv",
        {"bundle": bundle.fingerprint, **settings},
        is_kept=lambda scan: written(scan).is_file(),
        discard=lambda scan: written(scan).unlink(missing_ok=True),
    )
    batch.run(lambda scan: work(scan.path, written(scan)), settings["command"])
    options.show(bundle, batch.summary, out)
    return options.exit_status(batch)


@click.command()
@options.several("SCANS...")
@click.option("--out", type=Output(".npz"), required=True, help="written: npz (scan_id, y_sem).")
@options.force
@options.models
def encode(given, labels, out, force, **chosen) -> int:
    """Write the semantic codes y_sem of preprocessed scans.

    SCANS are extracted brains in the template's space (*_space-*_desc-brain_T1w.nii.gz): files, a
    folder, a BIDS data set, or a CSV or TSV with a column `path`. The table beside OUT has a row a
    scan: the reason of a failure, the percentile of the scan's novelty, and its asymmetry, which is
    negative where left and right may be swapped. The same command again encodes what is missing.

    \b
    Examples:
      ldae encode results/preproc --out codes.npz
      ldae encode scans.csv --models models --device cuda --out codes.npz
    """
    with options.uncollected():
        scans, bundle = _find(given, labels), options.load(**chosen)
        from ldae.application.commands import Encoding  # after faults are found: it loads torch

        encoding = Encoding(bundle, out, force)
        encoding.load()
    batch = encoding.run(scans)
    if len(scans) == 1 and batch.failed:
        raise click.ClickException(batch.rows[scans[0].scan_id]["reason"])
    dimensions = len(next(iter(encoding.codes.values()))) if encoding.codes else 0
    found = {**batch.summary, "dimensions": dimensions}
    if len(scans) == 1:
        row = batch.rows[scans[0].scan_id]  # of text, where an earlier command has made it
        shown = ("novelty_percentile", "asymmetry")
        found |= {key: float(row[key]) for key in shown if key in row}
    options.show(bundle, found, out)
    return options.exit_status(batch)


@click.command()
@options.several("SCANS...")
@click.option("--out", type=Output(*NIFTI, folder=True), required=True, help=SEVERAL)
@options.force
@options.decoding
@options.models
def reconstruct(given, labels, out, force, steps, solver, **chosen) -> int:
    """Decode scans from their own y_sem and z_T, and measure the SSIM.

    \b
    Examples:
      ldae reconstruct brain.nii.gz --out reconstruction.nii.gz
      ldae reconstruct results/preproc --participant-label 01 --out reconstructions
    """
    with options.uncollected():
        scans, bundle = _find(given, labels), options.load(**chosen, solver=solver)
        from ldae.application import commands

    steps = steps or bundle.settings["ddim_steps"]
    settings = {"command": "reconstruction", "steps": steps, "force": force}

    def work(scan: Path, path: Path) -> dict[str, Any]:
        return commands.reconstruct(bundle, scan, path, steps, force)

    return _each(bundle, scans, out, settings, work)


@click.command()
@options.several("SCANS...")
@options.strength("towards AD", required=True)
@click.option("--out", type=Output(*NIFTI, folder=True), required=True, help=SEVERAL)
@options.force
@options.decoding
@options.models
def manipulate(given, labels, alpha, sd, out, force, steps, solver, **chosen) -> int:
    """Move scans along the diagnosis direction and decode them.

    The classifier's logit of the decoded volume, encoded again, says whether the change arrived.

    \b
    Examples:
      ldae manipulate brain.nii.gz --sd 1 --out towards_ad.nii.gz
      ldae manipulate brain.nii.gz --alpha -0.1 --out towards_cn.nii.gz
    """
    strength = options.chosen_strength(alpha, sd, required=True)
    with options.uncollected():
        scans, bundle = _find(given, labels), options.load(**chosen, solver=solver)
        from ldae.application import commands

    steps = steps or bundle.settings["ddim_steps"]
    settings = {
        "command": "manipulation",
        "steps": steps,
        "force": force,
        "strength": vars(strength),
    }

    def work(scan: Path, path: Path) -> dict[str, Any]:
        return commands.manipulate(bundle, scan, strength, path, steps, force)

    return _each(bundle, scans, out, settings, work)


@click.command()
@click.argument("first", type=PATH)
@click.argument("second", type=PATH)
@click.option(
    "--position",
    type=Finite(0, 1),
    default=0.5,
    show_default=True,
    help="0 is the first scan, 1 the second.",
)
@click.option("--out", type=Output(*NIFTI), required=True, help="written: NIfTI (.nii.gz).")
@options.force
@options.decoding
@options.models
def interpolate(first, second, position, out, force, steps, solver, **chosen) -> int:
    """Make the scan between two visits of a person.

    \b
    Example:
      ldae interpolate visit1.nii.gz visit3.nii.gz --position 0.5 --out visit2.nii.gz
    """
    from ldae.application.inputs import BRAIN, find_scans

    pair = []
    for path in (first, second):
        scans = find_scans([path], BRAIN)
        require(len(scans) == 1, f"{path} has {len(scans)} scans: name one.")
        pair += scans
    options.require_other(out, pair)
    with options.uncollected():
        bundle = options.load(**chosen, solver=solver)
        from ldae.application import commands

    steps = steps or bundle.settings["ddim_steps"]
    found = commands.interpolate(bundle, *pair, position, out, steps, force)
    options.show(bundle, found, out)
    return 0


@click.command()
@click.option("--count", type=click.IntRange(1), default=1, show_default=True, help="How many.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the noise.")
@click.option(
    "--out", type=Output(folder=True), required=True, help="written: folder of NIfTI (.nii.gz)."
)
@options.decoding
@options.models
def generate(count, seed, out, steps, solver, **chosen) -> int:
    """Draw new volumes from noise, by the unconditional latent diffusion model.

    \b
    Example:
      ldae generate --count 4 --seed 1 --steps 50 --out generated
    """
    with options.uncollected():
        bundle = options.load(**chosen, solver=solver)
        from ldae.application import commands

    names = commands.generate(bundle, count, seed, out, steps or bundle.settings["ddim_steps"])
    options.show(bundle, {"volumes": names}, out)
    return 0
