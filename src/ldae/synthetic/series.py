"""Writers of scans in the layout of ADNI's archive: DICOM series and processed NIfTI."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import nibabel as nib
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from ldae.synthetic.scanner import Scan

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Series:
    """Identity and header values of a series.

    Attributes:
        age: Years.
        description: Series description as in the study tables (``MP-RAGE``).
        time: Start of the acquisition.
        series, image: ADNI's numbers behind ``S`` and ``I`` in file names.
        field_strength: Tesla.
    """

    ptid: str
    sex: str
    age: float
    description: str
    time: datetime
    study: int
    series: int
    image: int
    field_strength: float

    @property
    def words(self) -> str:
        """The description as ADNI writes it in paths."""
        return "".join(c if c.isalnum() or c == "-" else "_" for c in self.description)

    def folder(self, images: Path) -> Path:
        """``images/<PTID>/<description>/<date and time>/I<image>``."""
        moment = self.time.strftime("%Y-%m-%d_%H_%M_%S.0")
        return images / self.ptid / self.words / moment / f"I{self.image}"


def write_dicom(scan: Scan, series: Series, images: Path) -> Path:
    """Write one DICOM file per slice; returns the folder.

    Slices, rows and columns of ``scan.array`` become DICOM's slices, rows and columns; positions
    and directions follow ``scan.affine`` (DICOM PS3.3 C.7.6.2.1.1).
    """
    folder = series.folder(images)
    folder.mkdir(parents=True)
    geometry = RAS_TO_LPS @ scan.affine[:3, :3]
    edges = np.linalg.norm(geometry, axis=0)
    directions = geometry / edges  # columns: along slices, rows downwards, columns rightwards
    origin = RAS_TO_LPS @ scan.affine[:3, 3]
    slices, rows, columns = scan.array.shape

    header = FileMetaDataset()
    header.MediaStorageSOPClassUID = MRImageStorage
    header.TransferSyntaxUID = ExplicitVRLittleEndian
    common = Dataset()
    common.file_meta = header
    common.SOPClassUID = MRImageStorage
    common.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    common.StudyDate = common.SeriesDate = common.AcquisitionDate = series.time.strftime("%Y%m%d")
    common.StudyTime = common.SeriesTime = common.AcquisitionTime = series.time.strftime("%H%M%S")
    common.Modality = "MR"
    common.Manufacturer = "SYNTHETIC"
    common.InstitutionName = "Synthetic site, no real person"
    common.SeriesDescription = common.ProtocolName = series.description
    common.PatientName = "SYNTHETIC^NOT A PERSON"
    common.PatientID = series.ptid
    common.PatientSex = series.sex[0]
    common.PatientAge = f"{int(series.age):03d}Y"
    common.ScanningSequence = ["GR", "IR"]
    common.MRAcquisitionType = "3D"
    common.SliceThickness = common.SpacingBetweenSlices = float(edges[0])
    common.RepetitionTime, common.EchoTime, common.InversionTime = 2300.0, 3.0, 900.0
    common.FlipAngle = 9.0
    common.MagneticFieldStrength = series.field_strength
    common.PatientPosition = "HFS"
    common.StudyInstanceUID = generate_uid(entropy_srcs=["study", str(series.study)])
    common.SeriesInstanceUID = generate_uid(entropy_srcs=["series", str(series.image)])
    common.FrameOfReferenceUID = generate_uid(entropy_srcs=["frame", str(series.study)])
    common.StudyID, common.SeriesNumber, common.AcquisitionNumber = str(series.study), 2, 1
    common.ImageOrientationPatient = [*directions[:, 2].tolist(), *directions[:, 1].tolist()]
    common.PixelSpacing = [float(edges[1]), float(edges[2])]
    common.Rows, common.Columns = rows, columns
    common.SamplesPerPixel, common.PhotometricInterpretation = 1, "MONOCHROME2"
    common.BitsAllocated, common.BitsStored, common.HighBit = 16, 12, 11
    common.PixelRepresentation = 0

    stamp = series.time.strftime("%Y%m%d%H%M%S")
    for k in range(slices):
        uid = generate_uid(entropy_srcs=["image", str(series.image), str(k)])
        header.MediaStorageSOPInstanceUID = common.SOPInstanceUID = uid
        common.InstanceNumber = k + 1
        common.ImagePositionPatient = (origin + k * geometry[:, 0]).tolist()
        common.PixelData = scan.array[k].astype("<u2").tobytes()
        name = (
            f"ADNI_{series.ptid}_MR_{series.words}_br_raw_{stamp}{k:03d}_{k + 1}"
            f"_S{series.series}_I{series.image}.dcm"
        )
        common.save_as(folder / name, enforce_file_format=True)
    return folder


def write_nifti(scan: Scan, series: Series, images: Path) -> Path:
    """Write one uncompressed NIfTI like ADNI's processed scans; returns the folder."""
    folder = series.folder(images)
    folder.mkdir(parents=True)
    image = nib.Nifti1Image(scan.array.astype(np.int16), scan.affine)
    stamp = series.time.strftime("%Y%m%d%H%M%S")
    numbers = f"S{series.series}_I{series.image}"
    name = f"ADNI_{series.ptid}_MR_{series.words}_Br_{stamp}000_{numbers}.nii"
    nib.save(image, folder / name)
    return folder
