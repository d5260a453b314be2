"""BIDS sidecars: metadata of an image from its JSON files, by BIDS's inheritance principle.

pybids reads them too, but only by indexing the metadata of a whole data set, which takes minutes
where the files of its T1-weighted images take seconds.
"""

import json
import logging
import re
from functools import cache
from pathlib import Path
from typing import Any


class Sidecars:
    """JSON files of a data set; each folder is listed, and each file read, once.

    A JSON file holds for the images at or below its folder that have its suffix and all entities of
    its name. A nearer file overrides a farther one; in one folder, one with more entities.

    Args:
        root: The data set.
    """

    def __init__(self, root: Path):
        self._root, self._object = root, cache(_object)
        self._listed: dict[Path, list[tuple[int, Path, set[str]]]] = {}

    def __call__(self, image: Path) -> dict[str, Any]:
        """Metadata of an image. Files that are no JSON objects are left out, with a warning."""
        parts = set(_stem(image.name).split("_"))
        suffix = {part for part in parts if "-" not in part}
        found: dict[str, Any] = {}
        for folder in reversed(image.relative_to(self._root).parents):
            for _, path, wanted in self._jsons(self._root / folder):
                if suffix <= wanted <= parts:
                    found |= self._object(path)
        return found

    def _jsons(self, folder: Path) -> list[tuple[int, Path, set[str]]]:
        """Number of parts of each name, path and parts; fewest first."""
        if folder not in self._listed:
            names = ((path, _stem(path.name).split("_")) for path in folder.glob("*.json"))
            rows = [(len(parts), path, set(parts)) for path, parts in names]
            self._listed[folder] = sorted(rows, key=lambda row: row[:2])
        return self._listed[folder]


def _object(path: Path) -> dict[str, Any]:
    try:
        about = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, OSError):
        about = None
    if isinstance(about, dict):
        return about
    logging.warning("%s is not a JSON object and is left out", path)
    return {}


def _stem(name: str) -> str:
    return re.sub(r"\.(nii(\.gz)?|json)$", "", name)
