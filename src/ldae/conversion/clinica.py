"""Clinica's ADNI converter: its link tree of images, its command line, its errors and output list.

Clinica reads the images from a flat tree of symbolic links, with lower-case extensions and without
images that cannot be converted.
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

# Clinica treats a file as DICOM if its extension contains these letters, in lower case.
_SUFFIX = {"dicom": ".dcm", "nifti": ".nii"}
EXPECTED_COLUMNS = [
    "Subject_ID", "VISCODE", "Visit", "Sequence", "Scan_Date", "Image_ID", "Field_Strength",
    "Original", "Path",
]  # fmt: skip
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_PATH = re.compile(r"(?:/[^\s'\",:;()]+)+/?")
_FULL = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT))
_LONGEST = 300  # characters of an error in a table


def make_link_tree(images: str | Path, index: pd.DataFrame, view: str | Path) -> None:
    """Link images into ``view/<PTID>/<image>/``, where Clinica looks for them.

    Args:
        images: The image folder.
        index: Rows of the image index to link: image_id, subject_id, path, format.
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
    """The name with the extension by which Clinica recognises this format."""
    zipped = ".gz" if name.lower().endswith(".gz") else ""
    return name[: len(name) - len(zipped)].rpartition(".")[0] + _SUFFIX[kind] + zipped


def find_tools(folder: str | None) -> dict[str, str]:
    """Environment variables for Clinica, with ``folder`` first on PATH if it is given.

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
    """Versions of Clinica and dcm2niix.

    Clinica's is read from its package metadata: ``clinica --version`` takes 2 s.
    """
    clinica = Path(shutil.which("clinica", path=environment["PATH"]))
    found = clinica.resolve().parents[1].glob("lib/python*/site-packages/clinica-*.dist-info")
    names = [path.name.removeprefix("clinica-").removesuffix(".dist-info") for path in found]
    if len(names) != 1:
        names = [_output([str(clinica), "--version"], environment).split()[-1]]
    dcm2niix = shutil.which("dcm2niix", path=environment["PATH"])
    return {
        "Clinica": names[0],
        "dcm2niix": _output([dcm2niix, "--version"], environment).split()[-1],
    }


def _output(command: list[str], environment: dict[str, str]) -> str:
    """Standard output of a command, whatever its status: ``dcm2niix --version`` exits with 3."""
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
    """Convert ``subjects`` (PTIDs) into the new folder ``bids``; Clinica's output is logged.

    Args:
        images: Link tree from :func:`make_link_tree`.
        tables: Folder of study tables in Clinica's form.
        subjects: PTIDs to convert.
        bids: BIDS folder to make.
        jobs: Parallel conversions, limited to the number of processors.
        environment: From :func:`find_tools`.

    Returns:
        None, or the last line of Clinica's error without paths if it did not finish. Finishing
        proves little: Clinica only warns of a scan that it could not convert.

    Raises:
        UserError: Clinica or dcm2niix reports a full disk or an exhausted quota.
    """
    folder = bids.parent
    # Without a sorted list Clinica follows the order of the directory.
    (folder / "subjects.txt").write_text("".join(f"{name}\n" for name in sorted(subjects)))
    arguments = ["adni-to-bids", str(images), str(tables), str(bids), "-m", "T1"]
    arguments += ["-np", str(processes(jobs)), "-sl", str(folder / "subjects.txt")]
    return run_converter(arguments, folder, expected_path(bids), environment)


def processes(jobs: int) -> int:
    """Number of processes for ``-np``: Clinica refuses more than there are processors."""
    return min(jobs, len(os.sched_getaffinity(0)))


def run_converter(
    arguments: list[str], folder: Path, written: Path, environment: dict[str, str]
) -> str | None:
    """Run ``clinica convert`` with ``arguments`` in ``folder``; its output is logged.

    Args:
        arguments: Name of the converter, and its arguments.
        folder: Working folder, also for Clinica's own log.
        written: A file that a converter writes which did its work.
        environment: From :func:`find_tools`.

    Returns:
        None, or the last line of Clinica's error without paths if it did not finish.

    Raises:
        UserError: Clinica or dcm2niix reports a full disk or an exhausted quota.
    """
    done = subprocess.run(
        ["clinica", "convert", *arguments],
        env=environment | {"CLINICA_LOGGING_DIR": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    output, error = _COLOUR.sub("", done.stdout).strip(), _COLOUR.sub("", done.stderr).strip()
    logging.getLogger(__name__).info("Clinica, exit %d:\n%s\n%s", done.returncode, output, error)
    full = next((words for words in _FULL if words in output or words in error), None)
    require(
        full is None,
        f"Clinica could not write to {folder} or the folder of temporary files: {full}. Make room "
        "and run again.",
    )
    if done.returncode == 0 and written.is_file():
        return None
    if done.returncode < 0:
        return f"it was killed by signal {-done.returncode}"
    lines = (error or output).splitlines() or [f"it ended with status {done.returncode}"]
    return _PATH.sub("[path]", lines[-1].strip())[:_LONGEST]


def expected_path(bids: Path) -> Path:
    """Path of Clinica's list of the scans that it chose, written before it converts any."""
    return bids / "conversion_info" / "v0" / "t1_paths.tsv"


def read_expected(bids: Path) -> pd.DataFrame:
    """Read the list of scans that Clinica chose; empty if it stopped before it had chosen.

    Returns:
        Clinica's columns (a missing Path is ``""``), scan_id (``sub-ADNI002S0413_ses-M006``) and
        image_id (``I40001``).

    Raises:
        UserError: the list lacks one of ``EXPECTED_COLUMNS``.
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
