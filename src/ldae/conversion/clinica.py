"""The folder of links in which Clinica sees the images: flat, lower case, without bad ones.

Running Clinica's converter and reading what it says: which scans it chose, and its errors.
"""

import errno
import logging
import os
import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd

from ldae.conversion.download import image_files
from ldae.errors import require

# Clinica takes a file for DICOM if its extension holds these letters, in lower case.
_SUFFIX = {"dicom": ".dcm", "nifti": ".nii"}


def make_view(images: str | Path, index: pd.DataFrame, view: str | Path) -> None:
    """Link images into ``view/<PTID>/<image>/``, where Clinica looks for them.

    Args:
        images: The image folder.
        index: Rows of the index of images to show: image_id, subject_id, path, format.
        view: Folder to make.
    """
    images, view = Path(images).resolve(), Path(view)
    view.mkdir(parents=True)
    for row in index.itertuples():
        folder = view / row.subject_id / row.image_id
        folder.mkdir(parents=True)
        for path in image_files(images, row.path, row.image_id):
            (folder / _shown_name(path.name, row.format)).symlink_to(path)


def _shown_name(name: str, kind: str) -> str:
    """The name with the extension that Clinica knows for this format."""
    zipped = ".gz" if name.lower().endswith(".gz") else ""
    return name[: len(name) - len(zipped)].rpartition(".")[0] + _SUFFIX[kind] + zipped


EXPECTED_COLUMNS = [
    "Subject_ID", "VISCODE", "Visit", "Sequence", "Scan_Date", "Image_ID", "Field_Strength",
    "Original", "Path",
]  # fmt: skip
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_PATH = re.compile(r"(?:/[^\s'\",:;()]+)+/?")
_FULL = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT))
_LONGEST = 300  # characters of an error in a table


def find_tools(folder: str | None) -> dict[str, str]:
    """The environment for Clinica, with ``folder`` first on PATH if there is one.

    Raises:
        UserError: ``clinica`` or ``dcm2niix`` is not found.
    """
    path = os.environ.get("PATH", "")
    if folder:
        path = os.pathsep.join([str(Path(folder).resolve()), path])
    missing = [name for name in ("clinica", "dcm2niix") if shutil.which(name, path=path) is None]
    require(
        not missing,
        f"{' and '.join(missing)} cannot be found in {folder or 'PATH'}. Run `make env`, or "
        "set software.clinica_bin to the folder that has both.",
    )
    return os.environ | {"PATH": path}


def versions(environment: dict[str, str]) -> dict[str, str]:
    """Versions of Clinica and dcm2niix. Clinica's is that of its package: asking it takes 2 s."""
    clinica = Path(shutil.which("clinica", path=environment["PATH"]))
    found = clinica.resolve().parents[1].glob("lib/python*/site-packages/clinica-*.dist-info")
    names = [path.name.removeprefix("clinica-").removesuffix(".dist-info") for path in found]
    if len(names) != 1:
        names = [_say([str(clinica), "--version"], environment).split()[-1]]
    dcm2niix = shutil.which("dcm2niix", path=environment["PATH"])
    return {"Clinica": names[0], "dcm2niix": _say([dcm2niix, "--version"], environment).split()[-1]}


def _say(command: list[str], environment: dict[str, str]) -> str:
    """What a program prints; dcm2niix exits with 3 when it is asked for its version."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def convert(
    images: Path,
    tables: Path,
    subjects: list[str],
    bids: Path,
    jobs: int,
    environment: dict[str, str],
) -> str | None:
    """Convert ``subjects`` (PTIDs) into the new folder ``bids``; all that Clinica says is logged.

    Returns:
        None, or the last line of Clinica's error without paths if it did not finish. That it
        finished says little: a scan that it could not convert is a warning.

    Raises:
        UserError: Clinica or dcm2niix says that the disk, or the quota, is full.
    """
    folder = bids.parent
    # Without a sorted list Clinica follows the order of the directory.
    (folder / "subjects.txt").write_text("".join(f"{name}\n" for name in sorted(subjects)))
    jobs = min(jobs, len(os.sched_getaffinity(0)))  # it refuses more than there are processors
    command = ["clinica", "convert", "adni-to-bids", str(images), str(tables), str(bids)]
    command += ["-m", "T1", "-np", str(jobs), "-sl", str(folder / "subjects.txt")]
    done = subprocess.run(
        command,
        env=environment | {"CLINICA_LOGGING_DIR": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    spoken, error = _COLOUR.sub("", done.stdout).strip(), _COLOUR.sub("", done.stderr).strip()
    logging.getLogger(__name__).info("Clinica, exit %d:\n%s\n%s", done.returncode, spoken, error)
    full = next((words for words in _FULL if words in spoken or words in error), None)
    require(
        full is None,
        f"Clinica could not write to {folder} or the folder of temporary files: {full}. Make room "
        "and run again.",
    )
    if done.returncode == 0 and expected_path(bids).is_file():
        return None
    if done.returncode < 0:
        return f"it was killed by signal {-done.returncode}"
    lines = (error or spoken).splitlines() or [f"it ended with status {done.returncode}"]
    return _PATH.sub("[path]", lines[-1].strip())[:_LONGEST]


def expected_path(bids: Path) -> Path:
    """Clinica's list of the scans it chose, written before it converts any."""
    return bids / "conversion_info" / "v0" / "t1_paths.tsv"


def read_expected(bids: Path) -> pd.DataFrame:
    """The scans Clinica chose, with scan_id and image_id; empty if it did not come to choose.

    Missing paths are ``""``. Raises :class:`UserError` if the list lacks columns.
    """
    path = expected_path(bids)
    if not path.is_file():
        return pd.DataFrame(columns=[*EXPECTED_COLUMNS, "scan_id", "image_id"])
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    missing = [name for name in EXPECTED_COLUMNS if name not in table.columns]
    require(not missing, f"Clinica's list of scans lacks the column(s) {', '.join(missing)}.")
    months = table["VISCODE"].replace({"bl": "m0"}).str[1:].astype(int)
    table["scan_id"] = [
        f"sub-ADNI{subject.replace('_', '')}_ses-M{month:03d}"
        for subject, month in zip(table["Subject_ID"], months, strict=True)
    ]
    table["image_id"] = "I" + table["Image_ID"]
    return table
