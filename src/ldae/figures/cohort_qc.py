"""Quality of the preprocessing: distributions of QC measures, scans least like the template."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from PIL import Image

from ldae.errors import require
from ldae.figures.style import BLUE, GREY, PAGE, RED, Drawing, letter, new_figure
from ldae.files import read_json, read_table
from ldae.labels import count, number
from ldae.preprocess.qc_bounds import MEASURES
from ldae.preprocess.qc_layout import overview

INPUTS = {
    "manifests": "manifests of the registration, one a shard",
    "preproc": "folder of the preprocessed scans",
}
OPTIONAL: dict[str, str] = {}
DATA = "tsv"
SHOWN = 5  # histograms: as many as fit
COLUMNS, ROWS = 4, 3


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """Histograms of the measures above, QC pictures of the lowest correlations below."""
    measures = load_measures(inputs["manifests"], inputs["preproc"])
    shown = measures[measures["picture"].notna()].head(COLUMNS * ROWS)
    rows = max(1, -(-len(shown) // COLUMNS))
    left, gap, top = 9.0, 1.2, 42.0
    width = (PAGE - left - 3 - (COLUMNS - 1) * gap) / COLUMNS
    tall = width * 2 / 3
    height = top + rows * (tall + 4.0) + 2
    figure = new_figure(PAGE, height)
    grid = figure.add_gridspec(
        1,
        SHOWN,
        left=left / PAGE,
        right=1 - 3 / PAGE,
        top=1 - 6 / height,
        bottom=1 - 27 / height,
        wspace=0.28,
    )
    bounds = settings.get("qc") or {}
    taken = [measure for measure in MEASURES if measure.key in measures]
    for index, measure in enumerate(taken[:SHOWN]):
        ax = figure.add_subplot(grid[index])
        limits = [bounds[key] for key in measure.bounds if bounds.get(key) is not None]
        _histogram(ax, measures, measure.key, limits)
        ax.set_xlabel(measure.label)
        if index == 0:
            ax.set_ylabel("Scans")
            letter(ax, "a", dx=-8)
    for place, scan in enumerate(shown.itertuples()):
        row, column = divmod(place, COLUMNS)
        x = left + column * (width + gap)
        y = top + row * (tall + 4.0)
        ax = figure.add_axes([x / PAGE, 1 - (y + tall) / height, width / PAGE, tall / height])
        ax.imshow(
            _thumbnail(Path(scan.picture), round(width / 25.4 * settings.get("dpi", 200))),
            interpolation="nearest",
            aspect="auto",
        )
        ax.axis("off")
        failed = scan.status != "ok"
        ax.set_title(
            f"{scan.scan_id}: {number(scan.ncc, 2)}",
            loc="left",
            fontsize=5.5,
            pad=2,
            color=RED if failed else "black",
        )
        if place == 0:
            letter(ax, "b", dx=-8, dy=0)
    out = measures[measures["status"] != "ok"]
    lowest = f" (lowest {number(float(measures['ncc'].min()), 2)})" if len(measures) else ""
    body = (
        f"(a) Measures of {count(len(measures), 'registered scan')}; "
        f"{count(len(out), 'scan')} excluded, in the second colour"
        f"{'; dashed: the bounds that exclude' if bounds else ''}. Median "
        f"correlation with the template {number(float(measures['ncc'].median()), 2)}{lowest}, "
        f"median Dice {number(float(measures['dice'].median()), 2)}, median brain volume "
        f"{number(float(measures['brain_ml'].median()), 0)} ml. (b) The "
        f"{count(len(shown), 'scan')} least correlated with the template: native head with the "
        "brain mask's outline above, registered brain with the template's outline below; the "
        "number is the correlation. The subject's left is on the right in these pictures."
    )
    data = measures.drop(columns="picture")
    return Drawing(figure, data, "Quality of preprocessing", body)


def load_measures(manifests: str | list[str], preproc: str | Path) -> pd.DataFrame:
    """Measures of every registered scan, lowest correlation with the template first.

    Columns: scan_id, status, reason, those of ``MEASURES`` that were taken, picture (path or None).

    Raises:
        UserError: no scan of the manifests has a ``*_desc-qc.json``.
    """
    paths = [manifests] if isinstance(manifests, str | Path) else list(manifests)
    scans = pd.concat([read_table(path, ("scan_id", "status", "reason")) for path in paths])
    rows = []
    for scan in scans.itertuples():
        participant, session = scan.scan_id.split("_")[:2]
        stem = Path(preproc) / participant / session / "anat" / scan.scan_id
        measured = stem.with_name(f"{scan.scan_id}_desc-qc.json")
        # failed before registration: counted in the flow chart; files of earlier runs are ignored
        if scan.status == "skipped" or not measured.is_file():
            continue
        picture = stem.with_name(f"{scan.scan_id}_desc-qc.webp")
        values = read_json(measured)
        rows.append(
            {"scan_id": scan.scan_id, "status": scan.status, "reason": scan.reason}
            | {measure.key: values[measure.key] for measure in MEASURES if measure.key in values}
            | {"picture": str(picture) if picture.is_file() else None}
        )
    require(
        len(rows) > 0,
        f"No *_desc-qc.json was found under {preproc} for the scans of the manifests. "
        "Run `snakemake preprocess` first.",
    )
    return pd.DataFrame(rows).sort_values(["ncc", "scan_id"], ignore_index=True)


def _histogram(ax: Axes, table: pd.DataFrame, key: str, bounds: list[float]) -> None:
    table = table[table[key].notna()]  # scans that came preprocessed have no affine
    values = table[key].to_numpy(dtype=float)
    bins = np.histogram_bin_edges(values, bins=min(30, max(8, int(len(values) ** 0.5) + 4)))
    ok = (table["status"] == "ok").to_numpy()
    ax.hist([values[ok], values[~ok]], bins=bins, stacked=True, color=[BLUE, RED], lw=0)
    low, high = ax.get_xlim()
    for bound in bounds:
        if low - 0.5 * (high - low) <= bound <= high + 0.5 * (high - low):
            ax.axvline(bound, color=GREY, lw=0.9, ls=(0, (3, 2)))


def _thumbnail(path: Path, width: int) -> np.ndarray:
    """The middle slices of a scan's QC picture, ``width`` pixels wide."""
    with Image.open(path) as picture:
        cut = overview(picture)
        size = (width, max(1, round(width * cut.height / cut.width)))
        return np.asarray(cut.resize(size, Image.Resampling.LANCZOS))
