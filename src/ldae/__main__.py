"""Command line ``ldae`` or ``python -m ldae``: apply the trained models to your own scans.

encode, reconstruct, manipulate and interpolate take scans that are preprocessed already (brain
extracted, in the template's space, such as results/preproc/**/*_desc-brain_T1w.nii.gz); apply takes
a raw head. `ldae apply --sample` needs neither scan nor models: both are in the package, synthetic.
"""

import argparse
import json
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ldae.errors import exit_status, require

if TYPE_CHECKING:
    from ldae.application.bundle import Bundle

NIFTI = "written: NIfTI (.nii.gz)"
SOLVERS = ("ddim", "ddim_refined", "multistep", "midpoint")  # named here: --help loads no torch


def parser() -> argparse.ArgumentParser:
    """The command line."""
    common = argparse.ArgumentParser(add_help=False)
    models = common.add_mutually_exclusive_group()
    models.add_argument(
        "--models", type=Path, default=Path("results/models"), help="folder of the trained models"
    )
    models.add_argument(
        "--sample",
        action="store_true",
        help="the models in the package, trained on synthetic brains: they have seen no patient",
    )
    common.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    common.add_argument("--threads", type=int, default=1, help="CPU threads")
    decoding = argparse.ArgumentParser(add_help=False)
    decoding.add_argument(
        "--steps", type=int, help="steps of the solver (default: the evaluation's)"
    )
    decoding.add_argument(
        "--solver", choices=SOLVERS, help="solver of the diffusion (default: the evaluation's)"
    )
    top = argparse.ArgumentParser(
        prog="ldae",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", required=True)

    def command(name: str, text: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=text,
            description=text,
            parents=[common, *parents],
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )

    encode = command("encode", "semantic codes y_sem of scans")
    encode.add_argument("scans", type=Path, nargs="+")
    encode.add_argument("--out", type=Path, required=True, help="written: npz (scan_id, y_sem)")
    reconstruct = command("reconstruct", "a scan decoded from its own y_sem and z_T", decoding)
    reconstruct.add_argument("scan", type=Path)
    reconstruct.add_argument("--out", type=Path, required=True, help=NIFTI)
    manipulate = command("manipulate", "a scan moved along the diagnosis direction", decoding)
    manipulate.add_argument("scan", type=Path)
    manipulate.add_argument(
        "--alpha", type=float, required=True, help="strength; positive towards AD, negative to CN"
    )
    manipulate.add_argument("--out", type=Path, required=True, help=NIFTI)
    interpolate = command("interpolate", "the scan between two visits", decoding)
    interpolate.add_argument("first", type=Path)
    interpolate.add_argument("second", type=Path)
    interpolate.add_argument(
        "--position", type=float, default=0.5, help="0 is the first scan, 1 the second"
    )
    interpolate.add_argument("--out", type=Path, required=True, help=NIFTI)
    raw = command("apply", "age, diagnosis and counterfactual of a raw head", decoding)
    raw.add_argument("head", type=Path, nargs="?", help="raw T1-weighted NIfTI; --sample has one")
    raw.add_argument(
        "--alpha", type=float, help="strength of the counterfactual (default: the evaluation's)"
    )
    raw.add_argument("--despite-qc", action="store_true", help="continue if the scan fails the QC")
    raw.add_argument(
        "--brain-weights",
        type=Path,
        help="folder of the brain extraction's weights (default: the folder that the run used)",
    )
    raw.add_argument("--out", type=Path, default=Path("findings"), help="folder to write")
    return top


def run(given: argparse.Namespace) -> dict:
    """Run one command; returns what to print.

    Raises:
        UserError: a file is missing or does not fit; see the functions of ``application/``.
    """
    from ldae.application.bundle import Bundle
    from ldae.application.sample import MODELS

    models = MODELS if given.sample else given.models
    bundle = Bundle.load(models, given.device, given.threads)
    if getattr(given, "solver", None):
        bundle = replace(bundle, settings=bundle.settings | {"solver": given.solver})
    return {"notice": bundle.notice, **_results(bundle, given), "written": str(given.out)}


def _results(bundle: "Bundle", given: argparse.Namespace) -> dict:
    """Write the files of one command; returns its numbers."""
    from ldae.application import commands

    steps = getattr(given, "steps", None) or bundle.settings["ddim_steps"]
    if given.command == "encode":
        y_sem = commands.encode(bundle, given.scans, given.out)
        return {"scans": len(y_sem), "dimensions": y_sem.shape[1]}
    if given.command == "reconstruct":
        score = commands.reconstruct(bundle, given.scan, given.out, steps)
        return {"ssim": round(score, 4)}
    if given.command == "manipulate":
        before, after = commands.manipulate(bundle, given.scan, given.alpha, given.out, steps)
        return {"logit_before": before, "logit_after": after}
    if given.command == "interpolate":
        scans = given.first, given.second
        commands.interpolate(bundle, *scans, given.position, given.out, steps)
        return {}
    from ldae.application.raw_head import apply
    from ldae.application.sample import HEAD

    require(
        given.head is not None or given.sample,
        "Which head? Name a raw T1-weighted NIfTI, or try `ldae apply --sample`.",
    )
    alpha = bundle.settings["alpha"] if given.alpha is None else given.alpha
    quality, weights = given.despite_qc, given.brain_weights
    return apply(bundle, given.head or HEAD, given.out, alpha, steps, quality, weights)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    given = parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    return exit_status(lambda: print(json.dumps(run(given), indent=2)))


if __name__ == "__main__":
    sys.exit(main())
