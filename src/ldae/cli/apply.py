"""Command ``ldae apply``: raw heads to findings."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ldae.cli import options
from ldae.cli.options import Output

if TYPE_CHECKING:
    from ldae.application.inputs import InputScan
    from ldae.application.normative import Person


@click.command()
@options.several("[HEADS...]")
@options.strength("away from the predicted class", required=False)
@click.option(
    "--page", is_flag=True, help="Write explore.html as well: the head, moved by a slider."
)
@click.option("--age", help="Years of the person in the head; with --sex: percentiles for both.")
@click.option("--sex", help="Sex of the person: F or M.")
@click.option("--despite-qc", is_flag=True, help="Go on where a scan fails the quality check.")
@options.brain_weights
@click.option(
    "--out",
    type=Output(folder=True),
    default="applied",
    show_default=True,
    help="written: a folder; of several heads, a folder each in it.",
)
@options.force
@options.decoding
@options.models
def apply(
    given,
    labels,
    alpha,
    sd,
    page,
    age,
    sex,
    despite_qc,
    brain_weights,
    out,
    force,
    steps,
    solver,
    **chosen,
) -> int:
    """Preprocess raw heads as in training; write diagnosis, age and a counterfactual of each.

    HEADS are raw T1-weighted NIfTI files, a folder of them, a BIDS data set, a folder with the
    DICOM of one examination, or a CSV or TSV with a column `path`. The counterfactual is moved away
    from the predicted class. With age and sex, of several heads in columns of the table, the
    findings have percentiles among healthy people. The same command again does what is missing.

    \b
    Examples:
      ldae apply --sample
      ldae apply --sample --page
      ldae apply head.nii.gz --models models --age 74 --sex F --out applied
      ldae apply dicom/002_S_0413 --out applied
      ldae apply bids --participant-label 01 --participant-label 02
    """
    from dataclasses import replace

    from ldae.application.inputs import HEAD, find_scans
    from ldae.application.normative import Person
    from ldae.application.sample import HEAD as SAMPLE

    strength = options.chosen_strength(alpha, sd, required=False)
    if strength.value <= 0:
        raise click.UsageError(
            f"{'--alpha' if alpha is not None else '--sd'} must be above 0: the counterfactual "
            "leads away from the predicted class, whichever it is."
        )
    if not given and not chosen["sample"]:
        raise click.UsageError(
            "Which head? Name a raw T1-weighted NIfTI, or try `ldae apply --sample`."
        )
    scans = find_scans(given or (SAMPLE,), HEAD, labels)
    if person := Person.of(age, sex, "--age, --sex"):
        if len(scans) > 1:
            raise click.UsageError(
                f"--age and --sex are of one head, and there are {len(scans)}: name the heads in a "
                "CSV or TSV with the columns path, age and sex."
            )
        scans = [replace(scans[0], age=str(person.age), sex=person.sex)]
    if len(scans) == 1 and scans[0].path.is_file() and not force:
        from ldae.application.volume_check import require_head

        require_head(scans[0].path)  # before the networks' packages are loaded: they take seconds
    with options.uncollected():
        bundle = options.load(**chosen, solver=solver)
        from ldae.application.raw_head import FINDINGS, PAGE, prepare
        from ldae.application.raw_head import apply as apply_to
        from ldae.evaluation.normative.curves import FILE as CURVES
        from ldae.files import sha256

    steps = steps or bundle.settings["ddim_steps"]

    def work(scan: "InputScan", folder: Path) -> dict[str, Any]:
        person = _person(scan)
        head = prepare(bundle, scan.path, folder, despite_qc, brain_weights, force)
        findings = apply_to(bundle, head, folder, strength, steps, force, person)
        if not page:
            return findings
        from ldae.explorer.own_head import write_head_page

        return findings | {"page": str(write_head_page(bundle, head, folder, steps))}

    if len(scans) == 1 and (not given or given == (scans[0].path,)):
        options.show(bundle, work(scans[0], out), out)
        return 0
    from ldae.application.many_heads import apply_to_many

    settings = {
        "command": "apply",
        "bundle": bundle.fingerprint,
        "steps": steps,
        "strength": vars(strength),
        "force": [force, despite_qc],
    }
    curves = bundle.folder / CURVES
    if curves.is_file():
        settings["curves"] = sha256(curves)
    written = (FINDINGS, PAGE) if page else (FINDINGS,)
    batch = apply_to_many(scans, out, settings, work, written, _is_of)
    options.show(bundle, batch.summary, out)
    return options.exit_status(batch)


def _person(scan: "InputScan") -> "Person | None":
    """The person in a scan, as options or a table give it; None where a table has one alone.

    Tables of heads often have ages and no sexes. Such a head has no percentiles.
    """
    from ldae.application.normative import Person

    if scan.age is None or scan.sex is None:
        return None
    return Person.of(scan.age, scan.sex, scan.scan_id)


def _is_of(scan: "InputScan", folder: Path) -> bool:
    """Whether the findings in a folder were made for the age and sex that are given now."""
    from ldae.application.raw_head import FINDINGS
    from ldae.files import read_json

    made_for = read_json(folder / FINDINGS).get("normative", {})
    person = _person(scan)
    now = vars(person) if person else {"age": None, "sex": None}
    return now == {key: made_for.get(key) for key in now}
