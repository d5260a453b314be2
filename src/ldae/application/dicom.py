"""Raw heads that come as a folder of DICOM files: converted by dcm2niix, and one series chosen."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import pandas as pd

from ldae.conversion.download import DICOM_MARK
from ldae.conversion.t1w_preference import never_taken
from ldae.errors import UserError, require
from ldae.files import atomic_folder, read_json, write_table

SERIES = "series.tsv"
# Stands between the examination's number and the name of a series; dcm2niix makes one "_" of two.
BETWEEN = "_series-"
# T1-weighted 3-D sequences by their vendors' names.
_T1W = re.compile(r"mp[-_ ]?rage|spgr|bravo|tfe|tfl|t1|mp2rage", re.IGNORECASE)
_OTHER = re.compile(r"t2|flair|scout|loc|survey|calib|pd|dwi|dti|bold|swi|b0", re.IGNORECASE)
MIN_SLICES, MAX_VOXEL_MM = 60, 3.0  # of a 3-D head


def is_dicom_folder(folder: Path) -> bool:
    """Whether a folder holds DICOM files, at any depth, by the mark at their start."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            with path.open("rb") as stream:
                if stream.read(132)[128:] == DICOM_MARK:
                    return True
    return False


def convert(folder: Path, out: Path) -> Path:
    """Convert the series of a folder and choose its plain T1-weighted head.

    Args:
        folder: DICOM files of one examination, at any depth.
        out: Folder to write: NIfTI and JSON of every series, and ``series.tsv``, which says why one
            was chosen and the others were not. A finished one is read again.

    Returns:
        The chosen NIfTI.

    Raises:
        UserError: dcm2niix is not installed or fails, the files are of several examinations, or no
            series is a T1-weighted head.
    """
    if not (out / SERIES).is_file():
        with atomic_folder(out, SERIES) as work:
            _dcm2niix(folder, work)
            _take_off_study(folder, work)
            write_table(_series(work), work / SERIES)
    table = _series(out)
    chosen = table[table["reason"] == "chosen"]
    require(
        len(chosen) == 1,
        f"{folder} has no T1-weighted head among its {len(table)} series: {out / SERIES} says why. "
        "Convert the series that you mean and name its NIfTI.",
    )
    return out / f"{chosen['series'].iloc[0]}.nii.gz"


def _dcm2niix(folder: Path, out: Path) -> None:
    """Run dcm2niix of PATH, or of the environment beside this one (``make env``)."""
    beside = Path(sys.prefix).parent / "clinica/bin/dcm2niix"
    program = shutil.which("dcm2niix") or (str(beside) if beside.is_file() else None)
    if program is None:
        raise UserError(
            "dcm2niix, which converts DICOM, is not on PATH: install it (`pip install dcm2niix`), "
            "or name a NIfTI."
        )
    options = ["-z", "y", "-b", "y", "-ba", "y", "-f", f"%k{BETWEEN}%s_%d", "-o", str(out)]
    done = subprocess.run(
        [program, *options, str(folder)], capture_output=True, text=True, check=False
    )
    require(
        done.returncode == 0,
        f"dcm2niix could not convert {folder}: {(done.stdout or done.stderr).strip()[-300:]}",
    )


def _take_off_study(folder: Path, out: Path) -> None:
    """Take the number of the examination off the names of the files.

    Raises:
        UserError: the files are of several examinations.
    """
    paths = sorted(out.iterdir())
    studies = {path.name.partition(BETWEEN)[0] for path in paths}
    require(
        len(studies) < 2,
        f"{folder} holds {len(studies)} examinations: name the folder of one.",
    )
    for path in paths:
        path.rename(out / path.name.partition(BETWEEN)[2])


def _series(folder: Path) -> pd.DataFrame:
    """Table of the series: series (file name), slices, voxel (mm), reason; the best is ``chosen``.

    Of several T1-weighted heads the one with the smallest voxels is chosen, then the first.
    """
    rows = [_row(path) for path in sorted(folder.glob("*.nii.gz"))]
    columns = ["series", "slices", "voxel", "reason"]
    table = pd.DataFrame(rows, columns=columns)
    fitting = table[table["reason"] == ""].sort_values("voxel", kind="stable")
    if len(fitting):
        table.loc[fitting.index, "reason"] = "another series has smaller voxels, or comes first"
        table.loc[fitting.index[0], "reason"] = "chosen"
    return table


def _row(path: Path) -> tuple[str, int, float, str]:
    name = path.name.removesuffix(".nii.gz")
    sidecar = path.with_name(f"{name}.json")
    about = read_json(sidecar) if sidecar.is_file() else {}
    image = nib.load(path)
    slices, voxel = min(image.shape[:3]), float(max(image.header.get_zooms()[:3]))
    return name, slices, round(voxel, 3), _fault(name, about, image.ndim, slices, voxel)


def _fault(name: str, about: dict[str, Any], axes: int, slices: int, voxel: float) -> str:
    """Why a series is no plain T1-weighted head; empty where it is one."""
    described = " ".join(
        [name, *(str(about.get(key, "")) for key in ("SeriesDescription", "ProtocolName"))]
    )
    if reason := never_taken({}, about):
        return reason
    if axes != 3:
        return f"It has {axes} axes: it is no single volume."
    if slices < MIN_SLICES or voxel > MAX_VOXEL_MM:
        return f"It is no 3-D head: {slices} slices, voxels up to {voxel:.3g} mm."
    if not _T1W.search(described) or _OTHER.search(described):
        return "Its description names no T1-weighted sequence."
    return ""
