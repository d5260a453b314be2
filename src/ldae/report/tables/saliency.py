"""Tables of saliency: regions of the maps, checks of the maps, attention over slices."""

import pandas as pd

from ldae.labels import ABSENT, interval, number
from ldae.report.tables.table import Table
from ldae.systems import ATTRIBUTIONS

LEVELS = {
    "trained": "none: as trained",
    "image": "no network: the scan less the reference",
    "probe": "the probe",
    "attention": "and what combines the slices",
    "components": "and the linear branch, at its voxels",
    "all": "and the rest: all weights",
}
MEASURES = {
    "likeness": "Likeness to the trained map",
    "truth_correlation": "r with the true change",
    "pointing": "Peak where most changes",
}
SETS = {"tissue": "MNI's tissues", "region": "Template's regions", "atlas": "Atlas"}
MOST_LABELS = 20  # rows of an atlas in the printed table; the file has all


def level_label(level: str) -> str:
    """Words for the layers that are random at a level, each with those of the rows before."""
    return LEVELS.get(level, f"and {level.replace('backbone', 'stage')} from the backbone's end")


def checks(table: pd.DataFrame) -> Table:
    """Scores of the maps by random layers, from ``saliency_checks.tsv``."""
    own = table[table["reference"].isna()]
    present = [name for name in MEASURES if name in set(own["measure"])]
    known = "truth_correlation" in present
    rows = []
    for (method, level), part in own.groupby(["method", "level"], sort=False):
        found = part.set_index("measure")
        cells = [_cell(found.loc[name]) if name in found.index else ABSENT for name in present]
        if known:
            gap = table[(table["method"] == method) & (table["reference"] == level)]
            gap = gap[gap["measure"] == "truth_correlation"]
            cells.append(_cell(gap.iloc[0]) if len(gap) else ABSENT)
        rows.append([ATTRIBUTIONS.get(method, method), level_label(level), *cells])
    more = ["r as trained less this"] if known else []
    size = own.iloc[0]
    truth = (
        " The true change is that of each voxel when the same brain is made with the other "
        "diagnosis; a peak hits if it lies in the tenth of the voxels that change most, by chance "
        "one in ten."
        if known
        else ""
    )
    return Table(
        "Saliency maps with random weights",
        ["Method", "Random", *(MEASURES[name] for name in present), *more],
        rows,
        f"{int(size['n_scans']):,} scans of {int(size['n_subjects']):,} test subjects. Likeness: "
        "rank correlation of the sizes of the maps over the brain's voxels; near 1 a map would not "
        f"depend on what was learnt.{truth}",
    )


def regions(table: pd.DataFrame) -> Table:
    """Concentration of the maps by region, from ``saliency_regions.tsv``: columns class, method."""
    mine = table[table["measure"] == "concentration"]
    columns = list(mine[["diagnosis", "method"]].drop_duplicates().itertuples(index=False))
    rows = []
    for kind, part in mine.groupby("set", sort=False):
        by_region = list(part.groupby("region", sort=False))
        by_region.sort(key=lambda one: -one[1]["value"].max() if kind == "atlas" else 0)
        for name, cells in by_region[:MOST_LABELS]:
            found = cells.set_index(["diagnosis", "method"])
            rows.append([SETS.get(kind, kind), name, *(_cell(found.loc[key]) for key in columns)])
    headings = [f"{diagnosis}, {ATTRIBUTIONS.get(method, method)}" for diagnosis, method in columns]
    return Table(
        "Saliency by region",
        ["Regions", "Region", *headings],
        rows,
        "Share of the size of the brain's attribution over the region's share of the brain's "
        "volume: 1 where a region counts no more than its volume. Shares and parts of the logit "
        "are in the file.",
    )


def attention(table: pd.DataFrame) -> Table:
    """Where the encoder's attention lies, from ``slice_attention.tsv``."""
    count = table["slice"].nunique()
    rows = []
    for (diagnosis, kind), part in table.groupby(["diagnosis", "weights"], sort=False):
        top = part.loc[part["value"].idxmax()]
        falling = part["value"].sort_values(ascending=False).cumsum()
        half = int((falling < 0.5).sum()) + 1
        words = {"heads": "mean of the heads", "summary": "average that asks"}[kind]
        place = f"{top['mm']:.0f}".replace("-", "−")
        rows.append([diagnosis, words, place, _cell(top), f"{half} of {count}"])
    return Table(
        "Attention over slices",
        ["Class", "Weights", "Slice with the most (mm)", "Its weight", "Slices with half of it"],
        rows,
        f"With equal weights each slice has {number(1 / count)}. Weights say what was looked at, "
        "not what was decided by.",
    )


def _cell(row: pd.Series) -> str:
    return interval(*(float(row[key]) for key in ("value", "ci_low", "ci_high")), 2)
