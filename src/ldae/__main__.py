"""Command line ``ldae`` or ``python -m ldae``: apply the trained models to your own scans.

encode, reconstruct, manipulate and interpolate take scans that are preprocessed already (brain
extracted, in the template's space, such as results/preproc/**/*_desc-brain_T1w.nii.gz); apply takes
a raw head.
"""

import argparse
import json
import logging
import sys
from pathlib import Path

from ldae.errors import exit_status

NIFTI = "written: NIfTI (.nii.gz)"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--models", type=Path, default=Path("results/models"), help="folder of the trained models"
    )
    common.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    common.add_argument("--threads", type=int, default=1, help="CPU threads")
    decoding = argparse.ArgumentParser(add_help=False)
    decoding.add_argument(
        "--steps", type=int, help="steps of the solver (default: the evaluation's)"
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
    raw.add_argument("head", type=Path, help="raw T1-weighted NIfTI")
    raw.add_argument("--alpha", type=float, default=1.5, help="strength of the counterfactual")
    raw.add_argument("--despite-qc", action="store_true", help="continue if the scan fails the QC")
    raw.add_argument(
        "--brain-weights",
        type=Path,
        help="folder of the brain extraction's weights (default: the folder that the run used)",
    )
    raw.add_argument("--out", type=Path, required=True, help="folder to write")
    return top


def run(given: argparse.Namespace) -> dict:
    """Run one command; returns what to print."""
    from ldae.application import commands
    from ldae.application.bundle import Bundle

    bundle = Bundle.load(given.models, given.device, given.threads)
    steps = getattr(given, "steps", None) or bundle.settings["ddim_steps"]
    if given.command == "encode":
        y_sem = commands.encode(bundle, given.scans, given.out)
        return {"written": str(given.out), "scans": len(y_sem), "dimensions": y_sem.shape[1]}
    if given.command == "reconstruct":
        score = commands.reconstruct(bundle, given.scan, given.out, steps)
        return {"written": str(given.out), "ssim": round(score, 4)}
    if given.command == "manipulate":
        before, after = commands.manipulate(bundle, given.scan, given.alpha, given.out, steps)
        return {"written": str(given.out), "logit_before": before, "logit_after": after}
    if given.command == "interpolate":
        scans = given.first, given.second
        commands.interpolate(bundle, *scans, given.position, given.out, steps)
        return {"written": str(given.out)}
    from ldae.application.raw_head import apply

    quality, weights = given.despite_qc, given.brain_weights
    return apply(bundle, given.head, given.out, given.alpha, steps, quality, weights)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    given = parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    return exit_status(lambda: print(json.dumps(run(given), indent=2)))


if __name__ == "__main__":
    sys.exit(main())
