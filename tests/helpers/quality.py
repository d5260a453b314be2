"""Page of quality: a small cohort to write it from, and its cards as tables of Python."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image, ImageDraw

from helpers.heads import scan_table
from ldae.application.quality_server import QualityServer
from ldae.cohort.ratings import ANY, RATING_COLUMNS
from ldae.derivatives import scan_files
from ldae.files import sha256, write_json
from ldae.preprocess.qc_bounds import MEASURES
from ldae.preprocess.qc_page import WORDS

GOOD = {
    "ncc": 0.7, "dice": 0.95, "brain_ml": 1400, "affine_determinant": 0.7, "snr": 16, "cnr": 1.6,
    "residual_bias": 0.02, "fov_cut": 0.0, "border": 0.0, "asymmetry": 0.2,
}  # fmt: skip
BOUNDS = {key: None for measure in MEASURES for key in measure.bounds}
FIELDS = ("scan_id", "word", "text", "worst", "z", "picture", "swapped", "values", "ratings")


def quality_cohort(folder: Path) -> dict[str, Any]:
    """Arguments of write_page: A and B good (B an outlier), C outside the bounds, D failed."""
    scans = scan_table("A", "B", "C", "D")
    rows = [("ok", ""), ("ok", ""), ("qc", "QC: dice 0.5 is below min_dice 0.9"), ("skipped", "x")]
    registration = scans[["scan_id"]].assign(
        status=[status for status, _ in rows], reason=[reason for _, reason in rows]
    )
    n4 = registration.assign(status=["ok"] * 3 + ["failed"], reason=["", "", "", "<bad> header"])
    files = scan_files(scans, folder / "preproc", "T")
    changed = {"A": {"snr": 15.9}, "B": {"snr": 3.0}, "C": {"dice": 0.5, "snr": 16.1}}
    for number, (file, name) in enumerate(zip(files, "ABCD", strict=True)):
        picture = draw_picture(file.picture, number)
        write_json(
            {"scan_id": file.scan_id, **GOOD, **changed.get(name, {}), "picture": picture},
            file.measures,
        )
    return {
        "scans": scans,
        "manifests": {
            "n4": n4,
            "brain": registration,
            "registration": registration,
            "pack": registration.assign(status="ok"),
        },
        "preproc_dir": folder / "preproc",
        "ratings": {"exclude": ratings_table([("sub-A_ses-M000", "exclude", "moved")])},
        "files": ["config/exclude.tsv"],
        "rule": ANY,
        "duplicates": pd.DataFrame(
            [("sub-A_ses-M012", "sub-A_ses-M000", "The same <voxels>.")],
            columns=["scan_id", "duplicate_of", "reason"],
        ),
        "page": folder / "qc/index.html",
        "table": folder / "qc/measures.tsv",
        "cfg": {"template": {"name": "T"}, "qc": {**BOUNDS, "min_dice": 0.9}},
        "cohorts": ["ADNI"],
    }


def draw_picture(path: Path, number: int, size: tuple[int, int] = (70, 60)) -> str:
    """A picture with a number in it, in place of a scan's; returns its checksum."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", size, (60, 60, 60))
    ImageDraw.Draw(picture).text((5, 5), str(number), (255, 255, 255))
    picture.save(path)
    return sha256(path)[:16]


def ratings_table(rows: list[tuple[str, ...]]) -> pd.DataFrame:
    """Ratings of one rater: scan_id, verdict, reason and what else is given."""
    width = len(RATING_COLUMNS)
    filled = [[*row, *[""] * (width - len(row))] for row in rows]
    return pd.DataFrame(filled, columns=RATING_COLUMNS, dtype=object)


def cards(folder: Path) -> list[dict[str, Any]]:
    """Cards of the page in ``folder``, in their order, with words in place of their numbers."""
    parts = sorted((folder / "scans").glob("*.js"), key=lambda path: int(path.stem))
    found = []
    for number, path in enumerate(parts, 1):
        text = path.read_text().strip()
        start = f"addScans({number}, "
        assert text.startswith(start) and text.endswith(");")
        for record in json.loads(text[len(start) : -2]):
            card = dict(zip(FIELDS, record, strict=True))
            found.append(card | {"word": WORDS[card["word"]]})
    return found


@contextmanager
def running_server(results: Path, file: Path) -> Iterator[QualityServer]:
    """The server of a page that is made, for the rater anna, in a thread."""
    server = QualityServer(results, file, "anna")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
