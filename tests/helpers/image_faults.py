"""Faults of real downloads, each applied to one image of a synthetic download."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
from pydicom.uid import generate_uid


@dataclass(frozen=True)
class Image:
    """One image on disk: a DICOM series' folder or a NIfTI file; the folder of study tables."""

    subject: str
    image_id: str
    path: Path
    tables: Path

    @property
    def slices(self) -> list[Path]:
        """The DICOM files, in the order of acquisition."""
        number = lambda path: int(path.name.split("_S")[-2].rsplit("_", 1)[1])  # noqa: E731
        return sorted(self.path.glob("*.dcm"), key=number)

    def edit_headers(self, change: Callable[[pydicom.Dataset, int], None]) -> None:
        """Rewrite every slice after ``change(header, slice index)``."""
        for index, path in enumerate(self.slices):
            header = pydicom.dcmread(path)
            change(header, index)
            header.save_as(path, enforce_file_format=True)

    def edit_voxels(self, change: Callable[[np.ndarray], np.ndarray], dtype=np.float32) -> None:
        """Rewrite the NIfTI image with other voxels."""
        image = nib.load(self.path)
        voxels = change(image.get_fdata(dtype=np.float32)).astype(dtype)
        nib.save(nib.Nifti1Image(voxels, image.affine), self.path)

    def edit_table(self, name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
        """Rewrite a study table."""
        path = self.tables / f"{name}.csv"
        change(pd.read_csv(path, dtype=str, keep_default_na=False)).to_csv(path, index=False)


@dataclass(frozen=True)
class Fault:
    """Damage to one image and its expected row of the ledger.

    Attributes:
        kind: What the image must be: ``dicom``, ``3t`` (DICOM of 3 tesla), ``3t later`` (of a
            visit after baseline, which is matched by its date) or ``nifti``.
        stage: Stage that excludes the image; None: the image is used.
        words: Part of the reason.
        all_images: The damage affects all images of the subject, who has no other fault.
    """

    kind: str
    damage: Callable[[Image], None]
    stage: str | None
    words: str = ""
    all_images: bool = False


def truncate(path: Path) -> None:
    """Cut a file in half, as an interrupted download does."""
    os.truncate(path, path.stat().st_size // 2)


def _truncated_slice(image: Image) -> None:
    truncate(image.slices[len(image.slices) // 2])


def _missing_slice(image: Image) -> None:
    image.slices[len(image.slices) // 2].unlink()


def _duplicated_slice(image: Image) -> None:
    slices = image.slices
    copy = slices[5].name.replace(f"_{6}_S", f"_{len(slices) + 1}_S")
    assert copy != slices[5].name
    shutil.copy(slices[5], image.path / copy)


def _mixed_series(image: Image) -> None:
    other = generate_uid(entropy_srcs=["another series"])

    def change(header: pydicom.Dataset, index: int) -> None:
        if index % 2:
            header.SeriesInstanceUID = other

    image.edit_headers(change)


def _turned_slice(image: Image) -> None:
    def change(header: pydicom.Dataset, index: int) -> None:
        if index == 3:
            header.ImageOrientationPatient = [*header.ImageOrientationPatient[3:], 1, 0, 0]

    image.edit_headers(change)


def _zero_spacing(image: Image) -> None:
    def change(header: pydicom.Dataset, index: int) -> None:
        header.PixelSpacing = [0.0, 0.0]

    image.edit_headers(change)


def _anisotropic(image: Image) -> None:
    def change(header: pydicom.Dataset, index: int) -> None:
        first = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
        normal = np.cross(*first)
        position = np.array(header.ImagePositionPatient, float)
        header.ImagePositionPatient = (position + 25.0 * index * normal).tolist()

    image.edit_headers(change)


def _other_patient(image: Image) -> None:
    def change(header: pydicom.Dataset, index: int) -> None:
        header.PatientID = "123_S_4567"

    image.edit_headers(change)


def _localiser(image: Image) -> None:
    for path in image.slices[5:]:
        path.unlink()


def _constant_series(image: Image) -> None:
    def change(header: pydicom.Dataset, index: int) -> None:
        header.PixelData = b"\x10\x00" * (header.Rows * header.Columns)

    image.edit_headers(change)


def _noise(image: Image) -> None:
    rng = np.random.default_rng(1)

    def change(header: pydicom.Dataset, index: int) -> None:
        values = rng.integers(0, 400, header.Rows * header.Columns, dtype=np.uint16)
        header.PixelData = values.astype("<u2").tobytes()

    image.edit_headers(change)


def _dangling_link(image: Image) -> None:
    path = image.slices[7]
    path.unlink()
    path.symlink_to("/nowhere/at/all.dcm")


def _upper_case(image: Image) -> None:
    for path in image.slices:
        path.rename(path.with_suffix(".DCM"))


def _metadata_beside(image: Image) -> None:
    (image.path.parent / f"ADNI_{image.subject}_MPRAGE_{image.image_id}.xml").write_text("<x/>")


def _one_level_deeper(image: Image) -> None:
    subject = next(folder for folder in image.path.parents if folder.name == image.subject)
    target = subject.parent / "ADNI" / image.subject
    target.parent.mkdir(exist_ok=True)
    subject.rename(target)


def _empty_file(image: Image) -> None:
    image.path.write_bytes(b"")


def _truncated_nifti(image: Image) -> None:
    truncate(image.path)


def _nan(image: Image) -> None:
    def change(voxels: np.ndarray) -> np.ndarray:
        voxels[5:9] = np.nan
        return voxels

    image.edit_voxels(change)


def _constant(image: Image) -> None:
    image.edit_voxels(lambda voxels: np.full_like(voxels, 7))


def _four_dimensional(image: Image) -> None:
    image.edit_voxels(lambda voxels: np.stack([voxels, voxels], axis=-1))


def _not_listed(image: Image) -> None:
    number = image.image_id.removeprefix("I")
    image.edit_table("MPRAGEMETA", lambda table: table[table["ImageUID"] != number])


def _far_from_any_examination(image: Image) -> None:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[table["ImageUID"] == image.image_id.removeprefix("I"), "ScanDate"] = "2035-01-02"
        return table

    image.edit_table("MPRAGEMETA", change)


def _failed_adni_qc(image: Image) -> None:
    meta = pd.read_csv(image.tables / "MPRAGEMETA.csv", dtype=str)
    series = meta.loc[meta["ImageUID"] == image.image_id.removeprefix("I"), "SeriesID"].iloc[0]

    def change(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[table["LONIUID"] == f"S{series}", "PASS"] = "0"
        return table

    image.edit_table("MRIQUALITY", change)


def _rejected_by_mayo(image: Image) -> None:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        rows = table["loni_image"] == image.image_id
        assert rows.any()
        table.loc[rows, ["series_quality", "series_selected"]] = ["4", "0"]
        return table

    image.edit_table("MAYOADIRL_MRI_IMAGEQC_05_07_15", change)


def _no_examination(image: Image) -> None:
    image.edit_table("ADNIMERGE", lambda table: table[table["PTID"] != image.subject])


def _no_diagnosis(image: Image) -> None:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[table["PTID"] == image.subject, "DX"] = ""
        return table

    image.edit_table("ADNIMERGE", change)


def _adni4(image: Image) -> None:
    def change(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[table["PTID"] == image.subject, ["ORIGPROT", "COLPROT"]] = "ADNI4"
        return table

    image.edit_table("ADNIMERGE", change)


def _no_identifier(image: Image) -> None:
    for path in image.slices:
        path.rename(path.with_name(path.name.split("_I9")[0] + ".dcm"))


FAULTS = {
    "truncated slice": Fault("dicom", _truncated_slice, "file"),
    "missing slice": Fault("dicom", _missing_slice, "file", "slice"),
    "duplicated slice": Fault("dicom", _duplicated_slice, "file", "slice"),
    "mixed series": Fault("dicom", _mixed_series, "file", "series"),
    "wrong orientation": Fault("dicom", _turned_slice, "file", "orientation"),
    "zero spacing": Fault("dicom", _zero_spacing, "file", "spacing"),
    "huge anisotropy": Fault("dicom", _anisotropic, "file"),
    "wrong subject id": Fault("dicom", _other_patient, "file", "subject"),
    "2-D localiser": Fault("dicom", _localiser, "file", "slices"),
    "constant series": Fault("dicom", _constant_series, "conversion", "constant"),
    "unreadable file": Fault("dicom", _dangling_link, "file"),
    "no identifier in the name": Fault("dicom", _no_identifier, "file"),
    "noise instead of a head": Fault("dicom", _noise, "qc", "ncc"),
    "empty file": Fault("nifti", _empty_file, "file"),
    "truncated image": Fault("nifti", _truncated_nifti, "file"),
    "voxels that are not numbers": Fault("nifti", _nan, "file"),
    "constant image": Fault("nifti", _constant, "file", "constant"),
    "4-D image": Fault("nifti", _four_dimensional, "file"),
    "image in no table": Fault("dicom", _not_listed, "metadata", "MPRAGEMETA"),
    "scan without examination": Fault(
        "3t later", _far_from_any_examination, "metadata", "examination"
    ),
    "failed ADNI's check": Fault("nifti", _failed_adni_qc, "adni_qc", "MRIQUALITY"),
    "rejected by the Mayo Clinic": Fault("3t", _rejected_by_mayo, "adni_qc", "Mayo"),
    "subject without examination": Fault("dicom", _no_examination, "metadata", "ADNIMERGE", True),
    "unsupported study": Fault("dicom", _adni4, "metadata", "ADNI4", True),
    "upper-case extension": Fault("dicom", _upper_case, None),
    "metadata beside the image": Fault("dicom", _metadata_beside, None),
    "subject in a folder below": Fault("dicom", _one_level_deeper, None, all_images=True),
    "no diagnosis": Fault("dicom", _no_diagnosis, None, all_images=True),
}
