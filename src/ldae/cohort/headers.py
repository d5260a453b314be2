"""What a DICOM header says of the acquisition, in BIDS's names and units; nothing of the person."""

import re
from pathlib import Path
from typing import Any

import pydicom

# BIDS's name -> DICOM keyword, factor to BIDS's unit (DICOM has milliseconds, BIDS seconds).
_NUMBERS = {
    "MagneticFieldStrength": ("MagneticFieldStrength", 1.0),
    "RepetitionTime": ("RepetitionTime", 1e-3),
    "EchoTime": ("EchoTime", 1e-3),
    "InversionTime": ("InversionTime", 1e-3),
    "FlipAngle": ("FlipAngle", 1.0),
    "SliceThickness": ("SliceThickness", 1.0),
    "PixelBandwidth": ("PixelBandwidth", 1.0),
}
_CODES = {
    "Manufacturer": "Manufacturer",
    "ManufacturersModelName": "ManufacturerModelName",
    "MRAcquisitionType": "MRAcquisitionType",
    "ScanningSequence": "ScanningSequence",
    "SequenceVariant": "SequenceVariant",
}
_CODE = re.compile(r"[A-Za-z0-9 ._/+()-]{1,40}")
_LARGEST = 1e5  # of any of these numbers; a larger one is a mistake of the header


def acquisition(path: str | Path) -> dict[str, Any]:
    """Read the technical tags of one readable DICOM file.

    Returns:
        Times in seconds, angles in degrees, field strength in tesla, thickness in mm, bandwidth in
        Hz, names and codes of the scanner and the sequence; what the header lacks is left out.
    """
    keywords = [keyword for keyword, _ in _NUMBERS.values()] + list(_CODES.values())
    header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=keywords)
    found: dict[str, Any] = {}
    for name, keyword in _CODES.items():
        value = header.get(keyword) or ""
        text = value if isinstance(value, str) else "_".join(value)
        if _CODE.fullmatch(text):
            found[name] = text.strip()
    for name, (keyword, factor) in _NUMBERS.items():
        try:
            number = float(header.get(keyword))
        except (TypeError, ValueError):  # absent, empty, or several values
            continue
        if 0 < number < _LARGEST:
            found[name] = round(number * factor, 9)
    return found
