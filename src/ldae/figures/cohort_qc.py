"""Quality of the preprocessing: distributions of QC measures, scans least like the template."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from nibabel.processing import resample_from_to

from ldae.derivatives import ScanFiles
from ldae.errors import require
from ldae.figures import brain_slices
from ldae.figures.style import GREY, INK, SHADES, Drawing, letter
from ldae.files import read_json, read_table
from ldae.labels import count, number
from ldae.preprocess.qc_bounds import MEASURES

INPUTS = {
    "manifests": "manifests of the registration, one a shard",
    "preproc": "folder of the preprocessed scans",
    "mask": "the template's brain mask",
}
OPTIONAL: dict[str, str] = {}
DATA = "tsv"
SHOWN = 5  # histograms: as many as fit
COLUMNS, ROWS = 3, 4
HISTOGRAMS = (6.0, 27.0)  # mm from the top: upper and lower end
USED, EXCLUDED = SHADES[2], INK


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """Histograms of the measures above; below, the registered brains least like the template."""
    measures = load_measures(inputs["manifests"], inputs["preproc"], settings["template"])
    shown = measures[measures["brain"].notna()].head(COLUMNS * ROWS)
    require(
        len(shown) > 0,
        f"No registered brain of the manifests' scans lies below {inputs['preproc']}.",
    )
    page = _brains(shown, Path(inputs["mask"]))
    bounds = settings.get("qc") or {}
    _histograms(page, measures, bounds)

    out = measures[measures["status"] != "ok"]
    body = (
        "(a) Measures of every registered scan; dark: excluded"
        f"{'; dashed: the bounds that exclude' if bounds else ''}. (b) The "
        f"{count(len(shown), 'registered brain')} least correlated with the template, with the "
        "correlation; yellow: outline of the template's brain. "
        + brain_slices.display_sentence(page.spacing)
    )
    medians = {key: float(measures[key].median()) for key in ("ncc", "dice", "brain_ml")}
    result = (
        f"{len(out):,} of {count(len(measures), 'registered scan')} excluded. Correlation with the "
        f"template: median {number(medians['ncc'], 2)}, lowest "
        f"{number(float(measures['ncc'].min()), 2)}; median Dice {number(medians['dice'], 2)}; "
        f"median brain volume {number(medians['brain_ml'], 0)} ml."
    )
    data = measures.drop(columns="brain")
    return Drawing(page.figure, data, "Quality of preprocessing", body, result)


def load_measures(manifests: str | list[str], preproc: str | Path, template: str) -> pd.DataFrame:
    """Measures of every registered scan, lowest correlation with the template first.

    Args:
        manifests: Manifests of the registration.
        preproc: Folder of the preprocessed scans.
        template: Name of the template's space.

    Returns:
        scan_id, status, reason, those of ``MEASURES`` that were taken, brain (path of the
        registered brain, or None).

    Raises:
        UserError: no scan of the manifests has a ``*_desc-qc.json``.
    """
    paths = [manifests] if isinstance(manifests, str | Path) else list(manifests)
    scans = pd.concat([read_table(path, ("scan_id", "status", "reason")) for path in paths])
    rows = []
    for scan in scans.itertuples():
        participant, session = scan.scan_id.split("_")[:2]
        folder = Path(preproc) / participant / session / "anat"
        files = ScanFiles(scan.scan_id, Path(), folder, template)
        # failed before registration: counted in the flow chart; files of earlier runs are ignored
        if scan.status == "skipped" or not files.measures.is_file():
            continue
        values = read_json(files.measures)
        brain = files.registered_brain
        rows.append(
            {"scan_id": scan.scan_id, "status": scan.status, "reason": scan.reason}
            | {measure.key: values[measure.key] for measure in MEASURES if measure.key in values}
            | {"brain": str(brain) if brain.is_file() else None}
        )
    require(
        len(rows) > 0,
        f"No *_desc-qc.json was found under {preproc} for the scans of the manifests. "
        "Run the target `preprocess` first.",
    )
    return pd.DataFrame(rows).sort_values(["ncc", "scan_id"], ignore_index=True)


def _brains(shown: pd.DataFrame, mask: Path) -> brain_slices.Mosaic:
    """Panels of the brains in three planes each, with the outline of the template's brain."""
    images = [nib.as_closest_canonical(nib.load(path)) for path in shown["brain"]]
    volumes = np.stack([image.get_fdata(dtype=np.float32) for image in images])
    template = resample_from_to(nib.load(mask), images[0], order=1).get_fdata(dtype=np.float32)
    window = brain_slices.Window.around(np.concatenate([volumes, template[None]]))
    planes = brain_slices.PLANES
    columns, rows = min(COLUMNS, len(shown)), -(-len(shown) // COLUMNS)
    gaps = [0.3, 0.3, 2.0] * columns
    page = brain_slices.Mosaic(
        [window.size(plane)[0] for plane in planes] * columns,
        [max(window.size(plane)[1] for plane in planes)] * rows,
        float(images[0].header.get_zooms()[0]),
        gaps[: 3 * columns - 1],
        row_gaps=4.5,
        left=9,
        right=3,
        top=HISTOGRAMS[1] + 17,
    )
    for place, (scan, volume) in enumerate(zip(shown.itertuples(), volumes, strict=True)):
        row, first = place // COLUMNS, 3 * (place % COLUMNS)
        for offset, plane in enumerate(planes):
            picture = window.slice(volume, plane)
            page.show(row, first + offset, picture, *brain_slices.intensity_limits(volume))
            page.outline(row, first + offset, window.slice(template, plane))
            page.sides(row, first + offset, plane)
        words = f"{scan.scan_id}: {number(scan.ncc, 2)}"
        failed = scan.status != "ok"
        page.column_label(
            first,
            f"{words}, excluded" if failed else words,
            3,
            row=row,
            offset=0.6,
            fontsize=5.5,
            fontweight="bold" if failed else "normal",
        )
    page.scale_bar(0, 1)
    page.corner_letter(1, 0, offset=3.6)
    return page


def _histograms(page: brain_slices.Mosaic, table: pd.DataFrame, bounds: dict[str, Any]) -> None:
    top, bottom = (1 - end / page.height for end in HISTOGRAMS)
    grid = page.figure.add_gridspec(
        1, SHOWN, left=9 / page.width, right=1 - 3 / page.width, top=top, bottom=bottom, wspace=0.28
    )
    taken = [measure for measure in MEASURES if measure.key in table]
    for index, measure in enumerate(taken[:SHOWN]):
        ax = page.figure.add_subplot(grid[index])
        limits = [bounds[key] for key in measure.bounds if bounds.get(key) is not None]
        _histogram(ax, table, measure.key, limits)
        ax.set_xlabel(measure.label)
        if index == 0:
            ax.set_ylabel("Scans")
            letter(ax, "a", dx=0)


def _histogram(ax: Axes, table: pd.DataFrame, key: str, bounds: list[float]) -> None:
    table = table[table[key].notna()]  # scans that came preprocessed have no affine
    values = table[key].to_numpy(dtype=float)
    bins = np.histogram_bin_edges(values, bins=min(30, max(8, int(len(values) ** 0.5) + 4)))
    ok = (table["status"] == "ok").to_numpy()
    ax.hist([values[ok], values[~ok]], bins=bins, stacked=True, color=[USED, EXCLUDED], lw=0)
    low, high = ax.get_xlim()
    for bound in bounds:
        if low - 0.5 * (high - low) <= bound <= high + 0.5 * (high - low):
            ax.axvline(bound, color=GREY, lw=0.9, ls=(0, (3, 2)))
