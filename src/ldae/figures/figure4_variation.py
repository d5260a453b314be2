"""Figure 4: reconstructions with one y_sem and several z_T, for one CN and one AD scan."""

from typing import Any

from ldae.figures import array_layouts, brain_slices
from ldae.figures.style import DIFFERENCE, Drawing
from ldae.labels import count, number, subject

INPUTS = {"arrays": "originals, encoded reconstructions and stochastic samples of two scans"}
OPTIONAL: dict[str, str] = {}
DATA = "npz"


def draw(inputs: dict[str, Any], settings: dict[str, Any]) -> Drawing:
    """One block of three planes a scan; columns original, encoded, samples, and their SD."""
    data = array_layouts.load(inputs["arrays"], "variation")
    original, encoded, samples = data["original"], data["encoded"], data["samples"]
    scans, drawn = samples.shape[:2]
    deviation = samples.std(axis=1)  # (N,X,Y,Z)
    spacing = array_layouts.spacing(data, settings)

    window = brain_slices.Window.around(original)
    width = max(window.size(plane)[0] for plane in brain_slices.PLANES)
    heights = [window.size(plane)[1] for plane in brain_slices.PLANES] * scans
    gaps = ([0.6, 0.6, 5.0] * scans)[: len(heights) - 1]
    columns = 2 + drawn + (drawn > 1)
    across = [0.6, 2.5, *[0.6] * (drawn - 1)] + ([2.5] if drawn > 1 else [])
    page = brain_slices.Mosaic(
        [width] * columns, heights, spacing, across, gaps, left=13, top=9, max_scale=0.18
    )
    low, high = brain_slices.intensity_limits(original)
    top = brain_slices.difference_limit(deviation)
    for scan in range(scans):
        volumes = [original[scan], encoded[scan], *samples[scan]]
        for offset, plane in enumerate(brain_slices.PLANES):
            row = 3 * scan + offset
            for column, volume in enumerate(volumes):
                page.show(row, column, window.slice(volume, plane), low, high)
            if drawn > 1:
                page.show(
                    row, columns - 1, window.slice(deviation[scan], plane), 0, top, DIFFERENCE
                )
            page.sides(row, 0, plane)
            page.row_label(row, plane.capitalize(), fontsize=6)
        name = f"{subject(data['scan_id'][scan])} ({data['diagnosis'][scan]})"
        page.row_label(3 * scan, name, 3, offset=6.0, fontsize=7.5)
        page.corner_letter(scan, 0, 3 * scan, offset=0.8 if scan else 1.0)
        page.scale_bar(3 * scan + 1, 0)
    labels = ["Original", "Encoded $z_T$", *(f"Sample {i + 1}" for i in range(drawn))]
    for column, label in enumerate([*labels, "SD of samples"][:columns]):
        page.column_label(column, label)
    page.bracket(2, drawn, offset=4.6)
    page.column_label(
        2,
        r"same $y_\mathrm{sem}$, new $z_T \sim \mathcal{N}(0, I)$",
        drawn,
        offset=5.0,
        fontsize=6.5,
    )
    if drawn > 1:
        page.colour_bar(0, 3, 0, top, DIFFERENCE, "SD over samples")

    encoded_mse = ((encoded - original) ** 2).reshape(scans, -1).mean(axis=1)
    sample_mse = ((samples - original[:, None]) ** 2).reshape(scans, -1).mean(axis=1)
    per_scan = "; ".join(
        f"{data['diagnosis'][i]}: {number(float(encoded_mse[i]), 4)} encoded, "
        f"{number(float(sample_mse[i]), 4)} sampled"
        for i in range(scans)
    )
    body = (
        f"{count(scans, 'test scan')}. Original; reconstruction from y_sem and the z_T that DDIM "
        f"inversion finds; {count(drawn, 'reconstruction')} with y_sem kept and z_T drawn anew. "
        + ("Last column: standard deviation over these, one scale. " if drawn > 1 else "")
        + f"Mean squared error to the original over the whole volume ({per_scan}). "
        + brain_slices.display_sentence(spacing)
    )
    drawn_data = page.pictures | {
        "scan_id": data["scan_id"],
    }
    title = "Reconstruction from the semantic code and a stochastic code"
    return Drawing(page.figure, drawn_data, title, body)
