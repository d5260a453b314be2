"""Faults of single files and tables, each with the sentence that its reader answers.

They need no run: a file is made and given to the module that reads it. The faults that only a run
shows are in ``tests/helpers/image_faults.py``.
"""

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from helpers.fault_readers import AFFINE, VOXELS, put_scan

BALL = sum((np.indices(VOXELS.shape)[axis] - 12) ** 2 for axis in range(3)) < 100
GRID = "lies on another grid"
NO_PLACE = "place in space is not defined"
CUT = "cannot be read (cut off or damaged)"
NO_NUMBER = "no finite number"


@dataclass(frozen=True)
class FileFault:
    """A damaged file.

    Attributes:
        kind: What it is a fault of; names the reader, a key of
            ``fault_readers.READERS``.
        make: Writes the file at the path given, or something else in its place.
        words: Part of each of the sentences.
    """

    kind: str
    make: Callable[[Path], object]
    words: str


def image(values: np.ndarray, affine: np.ndarray = AFFINE) -> Callable[[Path], object]:
    """Write an image with these voxels and matrix."""
    return lambda path: nib.save(nib.Nifti1Image(values, affine), path)


def header(*edits: tuple[int, bytes]) -> Callable[[Path], object]:
    """Write a good image whose header has other bytes at these offsets."""

    def make(path: Path) -> None:
        content = bytearray(nib.Nifti1Image(VOXELS, AFFINE).to_bytes())
        for offset, value in edits:
            content[offset : offset + len(value)] = value
        path.write_bytes(gzip.compress(content))

    return make


def compressed(change: Callable[[bytearray], object]) -> Callable[[Path], object]:
    """Write a good compressed image whose bytes are changed after the compression."""

    def make(path: Path) -> None:
        content = bytearray(gzip.compress(nib.Nifti1Image(VOXELS, AFFINE).to_bytes()))
        change(content)
        path.write_bytes(content)

    return make


def floats(*values: float) -> bytes:
    return np.array(values, "<f4").tobytes()


def shorts(*values: int) -> bytes:
    return np.array(values, "<i2").tobytes()


def table(text: str) -> Callable[[Path], object]:
    """Write a table whose fields are separated by bars here, by tabs in the file."""
    return lambda path: path.write_text(text.replace("|", "\t") + "\n")


def data(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def labelled(subject: str, session: str) -> Callable[[Path], object]:
    """A data set with one good image, and one of a subject or session of this label."""

    def make(path: Path) -> None:
        put_scan(path, "sub-A", "ses-M000")
        put_scan(path, subject, session)

    return make


def series(change: Callable[[Dataset, int], object]) -> Callable[[Path], object]:
    """Write a series of 24 slices into a folder, each header after ``change(header, number)``."""

    def make(path: Path) -> None:
        path.mkdir()
        for number in range(24):
            slice_ = Dataset()
            slice_.file_meta = FileMetaDataset()
            slice_.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            slice_.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
            slice_.SOPInstanceUID, slice_.SeriesInstanceUID = f"1.2.{number + 1}", "1.3"
            slice_.PatientID, slice_.Rows, slice_.Columns = "002_S_0413", 8, 8
            slice_.SamplesPerPixel, slice_.BitsAllocated, slice_.BitsStored = 1, 16, 16
            slice_.HighBit, slice_.PixelRepresentation = 15, 0
            slice_.PhotometricInterpretation, slice_.PixelSpacing = "MONOCHROME2", [1.0, 1.0]
            slice_.ImagePositionPatient = [0.0, 0.0, 1.2 * number]
            slice_.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
            slice_.PixelData = bytes(range(128))
            change(slice_, number)
            slice_.save_as(path / f"{number:03d}.dcm", enforce_file_format=True)

    return make


def tag(number: int, **values: object) -> Callable[[Dataset, int], object]:
    """A change for :func:`series`: these values in slice ``number``."""
    return lambda header, at: at == number and [setattr(header, *item) for item in values.items()]


def without(name: str) -> Callable[[Dataset, int], object]:
    """A change for :func:`series`: no slice has this tag."""
    return lambda header, at: delattr(header, name)


def foreign(content: bytes) -> Callable[[Path], object]:
    """A series with one more file, which is no DICOM."""

    def make(path: Path) -> None:
        series(lambda header, at: None)(path)
        (path / "999.dcm").write_bytes(content)

    return make


def requests(**about: object) -> Callable[[Path], object]:
    """Write the requests of a rule."""
    return lambda path: path.write_text(json.dumps(about))


def flip(content: bytearray) -> None:
    content[-6] ^= 255  # of the sum at the end


def blank(content: bytearray) -> None:
    content[4000:4040] = bytes(40)


def halve(content: bytearray) -> None:
    del content[len(content) // 2 :]


QFORM = (252, shorts(1, 0))  # the codes: the qform alone
COLOURS = np.zeros(VOXELS.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
TABLE = "participant_id|sex\nsub-A|M"
VISITS = "participant_id|session_id|months|age|diagnosis\nsub-A|ses-A|0|70|CN\nsub-A|ses-B|12|71|CN"
SPLITS = "participant_id|split\nsub-A|train"

FILE_FAULTS: dict[str, FileFault] = {
    # what is downloaded
    "gzip stream cut": FileFault("image", compressed(halve), CUT),
    "gzip stream with another sum": FileFault("image", compressed(flip), CUT),
    "gzip stream with zeros inside": FileFault("image", compressed(blank), CUT),
    "plain bytes named .gz": FileFault("image", data(VOXELS.tobytes()), "not compressed by gzip"),
    "page of a website": FileFault(
        "image", data(gzip.compress(b"<html>Log in</html>" * 40)), "not NIfTI-1"
    ),
    "file without bytes": FileFault("image", data(b""), "the file is empty"),
    "link to itself": FileFault("image", lambda path: path.symlink_to(path.name), "symbolic links"),
    "link to nothing": FileFault("image", lambda path: path.symlink_to("/nowhere"), "No such file"),
    "folder in place of a file": FileFault("image", lambda path: path.mkdir(), "Is a directory"),
    "NIfTI-2": FileFault(
        "image", lambda path: nib.save(nib.Nifti2Image(VOXELS, AFFINE), path), "not NIfTI-1"
    ),
    # numbers and shape
    "4-D with two volumes": FileFault("image", image(np.stack([VOXELS] * 2, -1)), "3-D"),
    "2-D slice": FileFault("image", image(VOXELS[:, :, 0]), "3-D"),
    "constant head": FileFault("image", image(np.full_like(VOXELS, 7)), "all voxels"),
    "infinite voxel": FileFault(
        "image", image(np.where(VOXELS.max() == VOXELS, np.inf, VOXELS).astype("f4")), "not finite"
    ),
    "complex numbers": FileFault("image", image(VOXELS.astype("c8")), "complex numbers"),
    "colours": FileFault("image", image(COLOURS), "colours"),
    "axis of length zero": FileFault(
        "image", header((40, shorts(3, 24, 0, 26, 1, 1, 1, 1))), "not 3-D"
    ),
    "axis of negative length": FileFault(
        "image", header((40, shorts(3, 24, -28, 26, 1, 1, 1, 1))), "not 3-D"
    ),
    "more voxels than the file has": FileFault(
        "image", header((40, shorts(3, 32000, 32000, 32000, 1, 1, 1, 1))), CUT
    ),
    "nine axes": FileFault("image", header((40, shorts(9, 24, 28, 26, 1, 1, 1, 1))), "not 3-D"),
    "unknown type of voxels": FileFault("image", header((70, shorts(1234))), "voxels (1234)"),
    "no type of voxels": FileFault("image", header((70, shorts(0))), "voxels (0)"),
    "intercept that is no number": FileFault("image", header((112, floats(1, np.nan))), NO_NUMBER),
    "slope beyond float32": FileFault("image", header((112, floats(3e38, 0))), "not finite"),
    "voxels beyond the end": FileFault("image", header((108, floats(1e9))), CUT),
    "voxels begin inside the header": FileFault("image", header((108, floats(0))), "byte 0"),
    "voxels begin in the header's last bytes": FileFault(
        "image", header((108, floats(350))), "byte 350"
    ),
    "header whose voxels are in another file": FileFault(
        "image", header((344, b"ni1\0")), "not NIfTI-1"
    ),
    "voxels begin before the file": FileFault("image", header((108, floats(-100))), "byte -100"),
    # orientation and field of view
    "voxel edge zero": FileFault("image", header((76, floats(1, 0, 1, 1)), QFORM), "0 x 1 x 1 mm"),
    "voxel edge negative": FileFault(
        "image", header((76, floats(1, -1, 1, 1)), QFORM), "-1 x 1 x 1 mm"
    ),
    "voxel edge not a number": FileFault(
        "image", header((76, floats(1, np.nan, 1, 1)), QFORM), "nan x 1 x 1 mm"
    ),
    "voxel edge of a kilometre": FileFault(
        "image", image(VOXELS, np.diag([1e6, 1, 1, 1])), "1e+06 x 1 x 1 mm"
    ),
    "matrix in metres": FileFault("image", image(VOXELS, AFFINE / 1000), "0.001 x 0.0011 x"),
    "quaternion not a number": FileFault(
        "image", header(QFORM, (256, floats(np.nan, 0, 0))), NO_PLACE
    ),
    "quaternion too long": FileFault("image", header(QFORM, (256, floats(1, 1, 1))), NO_PLACE),
    "matrix not a number": FileFault("image", header((280, floats(np.nan))), NO_PLACE),
    "place infinite": FileFault("image", header((292, floats(np.inf))), NO_PLACE),
    "both codes zero": FileFault(
        "image", header((252, shorts(0, 0))), "left and right are unknown"
    ),
    # masks
    "mask of another shape": FileFault("mask", image(VOXELS[1:]), GRID),
    "mask moved": FileFault("mask", image(BALL.astype("u1"), AFFINE + np.eye(4, k=3) * 5), GRID),
    "mask without a place": FileFault(
        "mask", header((252, shorts(1, 0)), (268, floats(np.nan))), NO_PLACE
    ),
    "empty mask": FileFault("mask", image(np.zeros(VOXELS.shape, "u1")), "brain mask is empty"),
    "mask of ones": FileFault("mask", image(np.ones(VOXELS.shape, "u1")), "covers 100%"),
    "mask that links to nothing": FileFault(
        "mask", lambda path: path.symlink_to("/nowhere"), "of the brain mask: the image cannot"
    ),
    "mask cut off": FileFault("mask", compressed(halve), CUT),
    "mask of colours": FileFault("mask", image(COLOURS), "colours"),
    "mask of one slice": FileFault("mask", image(VOXELS[:, :, 0]), GRID),
    # tables
    "UTF-16": FileFault("participants", data("participant_id\tsex".encode("utf-16")), "not UTF-8"),
    "UTF-16 without mark": FileFault(
        "participants", data("participant_id\tsex".encode("utf-16-le")), "zero bytes"
    ),
    "Latin-1": FileFault("participants", data("participant_id\tü".encode("latin-1")), "not UTF-8"),
    "semicolons": FileFault("participants", table(TABLE.replace("|", ";")), "by semicolons"),
    "commas": FileFault("participants", table(TABLE.replace("|", ",")), "by commas"),
    "column twice": FileFault(
        "participants", table("participant_id|sex|sex\nsub-A|M|F"), "sex twice, with different"
    ),
    "header alone": FileFault("participants", table("participant_id|sex"), "no row for any scan's"),
    "empty table": FileFault("participants", table(""), "it is empty"),
    "page in place of a table": FileFault("participants", data(b"<html>"), "lacks the column(s)"),
    "participant twice": FileFault("participants", table(TABLE + "\nsub-A|F"), "1 subject twice"),
    "other participants": FileFault(
        "participants", table(TABLE.replace("A", "Z")), "no row for any scan's subject"
    ),
    "more values than columns": FileFault("participants", table(TABLE + "|x"), "more values than"),
    "quotation mark not closed": FileFault(
        "participants", table(TABLE.replace("|M", '|"M')), "quotation mark"
    ),
    "sex in numbers": FileFault("participants", table(TABLE.replace("|M", "|1")), "sex: '1'"),
    "table that links to nothing": FileFault(
        "participants", lambda path: path.symlink_to("/nowhere"), "a link to nothing"
    ),
    "folder in place of a table": FileFault("participants", lambda path: path.mkdir(), "a folder"),
    "other sessions": FileFault(
        "sessions", table(VISITS.replace("ses-", "ses-9")), "no row for any scan's subject and"
    ),
    "session twice": FileFault("sessions", table(VISITS.replace("ses-B", "ses-A")), "A A"),
    "age in months": FileFault(
        "sessions", table(VISITS.replace("70", "840").replace("71", "852")), "age: '840', '852'"
    ),
    "age with a comma": FileFault("sessions", table(VISITS.replace("70", "70,5")), "age: '70,5'"),
    "age infinite": FileFault("sessions", table(VISITS.replace("70", "inf")), "age: 'inf'"),
    "months negative": FileFault("sessions", table(VISITS.replace("|12|", "|-12|")), "'-12'"),
    "diagnosis of other words": FileFault(
        "sessions", table(VISITS.replace("CN", "Control")), "diagnosis: 'Control'"
    ),
    "31 February": FileFault(
        "sessions",
        table("participant_id|session_id|acq_time\nsub-A|ses-A|2011-02-31\nsub-A|ses-B|2012-01-05"),
        "months since baseline are not known",
    ),
    # choice of T1w
    "subject's label with underscore": FileFault(
        "label", labelled("sub-A_B", "ses-M000"), "does not allow the label sub-A_B"
    ),
    "session's label with hyphen": FileFault(
        "label", labelled("sub-B", "ses-M0-1"), "does not allow the label ses-M0-1"
    ),
    # DICOM
    "DICOM without pixels": FileFault("series", series(without("PixelData")), "24 of 24 files are"),
    "DICOM without rows": FileFault("series", series(without("Rows")), "cannot be read (no DICOM"),
    "DICOM without positions": FileFault(
        "series", series(without("ImagePositionPatient")), "no position"
    ),
    "position not a number": FileFault(
        "series", series(tag(3, ImagePositionPatient=["nan", "0", "0"])), "no position"
    ),
    "spacing negative": FileFault(
        "series", series(tag(3, PixelSpacing=[-1.0, 1.0])), "absent or zero"
    ),
    "slices of another size": FileFault("series", series(tag(3, Rows=4)), "rows and columns"),
    "PDF in a series": FileFault("series", foreign(b"%PDF-1.4" + bytes(900)), "no DICOM"),
    "empty file in a series": FileFault("series", foreign(b""), "1 of 25 files cannot be read"),
    # decisions and splits
    "decisions with a path of Windows": FileFault(
        "decisions", table("scan_id|reason\nC:\\data\\sub-A.nii|bad"), "C:\\data\\sub-A.nii"
    ),
    "decision twice": FileFault(
        "decisions", table("scan_id|reason\n" + "sub-A_ses-M000|bad\n" * 2), "twice"
    ),
    "decision without reason": FileFault(
        "decisions", table("scan_id|reason\nsub-A_ses-M000|"), "no reason"
    ),
    "decision of another word": FileFault(
        "decisions", table("scan_id|verdict|reason\nsub-A_ses-M000|drop|bad"), "verdict other than"
    ),
    "splits in UTF-16": FileFault("splits", data("participant_id".encode("utf-16")), "not UTF-8"),
    "splits without bytes": FileFault("splits", data(b""), "it is empty"),
    "splits with semicolons": FileFault("splits", table(SPLITS.replace("|", ";")), "semicolons"),
    "splits with more values": FileFault("splits", table(SPLITS + "|x"), "more values than"),
    "split of another word": FileFault("splits", table(SPLITS + "ing"), "not train, val, test"),
    "subject in two splits": FileFault("splits", table(SPLITS + "\nsub-A|test"), "sub-A twice"),
    # words of Slurm
    "unknown partition": FileFault("slurm", requests(slurm_partition="gpux"), "no partition gpux"),
    "one of two partitions unknown": FileFault(
        "slurm", requests(slurm_partition="gpu,gpux"), "no partition gpux"
    ),
    "partition in capitals": FileFault("slurm", requests(slurm_partition="GPU"), "partition GPU"),
    "partition with sinfo's star": FileFault(
        "slurm", requests(slurm_partition="p*"), "no partition p*"
    ),
    "partition that sinfo does not describe": FileFault(
        "slurm", requests(slurm_partition="q"), "no partition q"
    ),
    "GPU without a number": FileFault("slurm", requests(gres="gpu"), "no GPUs a node, 1 asked"),
    "GPU by its type alone": FileFault("slurm", requests(gres="gpu:a100"), "no GPUs a node, 1"),
    "two nodes with gpu": FileFault(
        "slurm", requests(slurm_partition="gpu", nodes=2, gpu=1), "nodes: 2 with gpu: 1"
    ),
    "longer than the partition allows": FileFault(
        "slurm", requests(runtime=99999), "partition p allows 1440 minutes"
    ),
}
