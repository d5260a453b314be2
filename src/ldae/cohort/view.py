"""The folder of links in which Clinica sees the images: flat, lower case, without bad ones."""

from pathlib import Path

import pandas as pd

from ldae.cohort.names import image_files

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
