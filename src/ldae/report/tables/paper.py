"""Tables 5, 6 and 7 of the paper: our estimate [95 % interval] beside the published value.

A system that the run did not train has no column or row. A value that the paper does not state is a
dash.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ldae.evaluation.published_values import cost_value, latent_size, paper_tables
from ldae.evaluation.reconstruction_tables import summary_table
from ldae.files import read_table, write_table
from ldae.labels import ABSENT, listing, number
from ldae.models.storage import load_card
from ldae.report.tables.external import External
from ldae.report.tables.probes import threshold_failure, without_paper_probe
from ldae.report.tables.results import VARIANTS
from ldae.report.tables.table import Table, cell, write
from ldae.systems import (
    SYSTEMS,
    TARGETS,
    comparable_with_paper,
    is_lpips,
    metric,
    system,
    table_position,
)

CONTROLS = ("wrong_y_sem", "mean_y_sem")
PROBES = {"regularised": "Regularised", "paper": "Section 4.2"}
UNITS = ((86400, "days"), (3600, "hours"), (60, "minutes"), (1, "seconds"))
Stages = dict[str, tuple[dict[str, Any], pd.DataFrame | None]]


def _paper(name: str) -> str:
    return f"{name}, paper"


def _label(name: str) -> str:
    return system(name).label


def table5(
    sizes: pd.DataFrame, timings: pd.DataFrame, stages: Stages, means: pd.DataFrame
) -> Table:
    """Cost and quality of the systems: a row a quantity, a column a system, the paper's beside it.

    Args:
        sizes, timings: Tables of :mod:`ldae.evaluation.cost`, of all systems.
        stages: Model card and training history (None: published weights) by stage.
        means: :func:`ldae.evaluation.reconstruction_tables.summary_table` of all systems.
    """
    shown = [name for name in SYSTEMS if name in set(sizes["system"])]
    steps = int(timings["T"].dropna().max())
    lpips = next(filter(is_lpips, means["metric"]), None)
    best = means[means["T"].isna() | (means["T"] == steps)]
    best = best[best["variant"].isin(["reconstruction", "encoded"])]
    rows: dict[str, list[str]] = {}

    def add(words: str, ours: dict[str, str], key: str) -> None:
        cells = [words]
        for name in shown:
            cells += [ours.get(name, ABSENT), cost_value(name, key) or ABSENT]
        rows[words] = cells

    first = sizes.drop_duplicates("system").set_index("system")
    trained = [name for name in shown if all(stage in stages for stage in system(name).stages)]
    add("Input resolution", {name: first.at[name, "resolution"] for name in shown}, "resolution")
    count = {name: f"{first.at[name, 'parameters'] / 1e6:.2f}M" for name in shown}
    add("Parameters", count, "parameters")
    add("Training", {name: _training(system(name).stages, stages) for name in trained}, "training")
    last = {name: stages[system(name).stages[-1]][0] for name in trained}
    add("Training hardware", {name: _hardware(card) for name, card in last.items()}, "hardware")
    for variant, words, key in (
        ("y_sem", f"Seconds a scan, from y_sem alone, T = {steps}", ""),
        ("encoded", f"Seconds a scan, encoded z_T, T = {steps}", "inference"),
    ):
        mine = timings[timings["variant"].isin([variant, "reconstruction"])]
        found = {row["system"]: _seconds(row) for row in mine.to_dict("records")}
        add(words, found, key)
    device = timings.drop_duplicates("system").set_index("system")["device_name"]
    add("Inference hardware", dict(device), "")
    for words, key, name in ((f"SSIM, T = {steps}", "ssim", "ssim"), ("LPIPS", "lpips", lpips)):
        mine = best[best["metric"] == name]
        words = words if key == "ssim" else f"{metric(lpips or 'lpips').label}, T = {steps}"
        published = key if name and comparable_with_paper(name) else ""
        add(words, {row["system"]: cell(row, name=key) for _, row in mine.iterrows()}, published)
    columns = ["Quantity"]
    for name in shown:
        columns += [system(name).label, _paper(system(name).label)]
    return Table(
        "Table 5: size, training, speed and reconstruction of the systems",
        columns,
        list(rows.values()),
        "Parameters of LDDIM and LDAE without the autoencoder. Training: recorded seconds of all "
        "epochs; the LDAE's include the LDDIM it builds on. Seconds: mean ± SD over "
        f"{int(timings['n_scans'].min())} test scans one by one, after a warm-up, all networks, "
        "without reading. The autoencoder has no T; the paper's T is 100. Its columns: Table 5, "
        f"for autoencoder and LDDIM Tables 2, 3 and 6. {_size(means)}",
    )


def _size(means: pd.DataFrame) -> str:
    """Number of scans and subjects; if systems differ in it, each number names its systems."""
    names = means.assign(system=means["system"].str.removesuffix("_own_grid").map(_label))
    counts = names.drop_duplicates("system").groupby(["n_scans", "n_subjects"], sort=False)
    parts = [
        f"{int(scans):,} scans of {int(subjects):,} test subjects"
        + (f" ({listing(part['system'].tolist())})" if counts.ngroups > 1 else "")
        for (scans, subjects), part in counts
    ]
    return f"Quality: estimate [95 % interval over subjects], {'; '.join(parts)}."


def _training(names: tuple[str, ...], stages: Stages) -> str:
    histories = [stages[name][1] for name in names]
    if any(history is None for history in histories):
        return "published weights"
    epochs = "+".join(str(int(history["epoch"].max())) for history in histories)
    seconds = sum(float(history["seconds"].sum()) for history in histories)
    scale, unit = next((s, u) for s, u in UNITS if seconds >= s or s == 1)
    return f"{epochs} epochs / {seconds / scale:.1f} {unit}"


def _hardware(card: dict[str, Any]) -> str:
    if "machine" not in card:
        return ABSENT
    processes = card.get("config", {}).get("processes", 1)
    return f"{processes} × {card['machine']['device_name']}"


def _seconds(row: dict[str, Any]) -> str:
    shown = number(row["seconds"], 2)
    return shown if pd.isna(row["seconds_sd"]) else f"{shown} ± {number(row['seconds_sd'], 2)}"


def table6(means: pd.DataFrame, sizes: pd.DataFrame, external: External | None = None) -> Table:
    """Quality of reconstruction: a row a system, variant and T.

    Args:
        means: :func:`ldae.evaluation.reconstruction_tables.summary_table` of all systems.
        sizes: Table of :mod:`ldae.evaluation.cost`, of all systems.
        external: The same on external test sets, whose rows follow.
    """
    lpips = [name for name in means["metric"].drop_duplicates() if is_lpips(name)]
    measures = ["ssim", "ssim_brain", *lpips, "mse"]
    columns = ["Model", "From", "Latent dim.", "Latent dim., paper", "T"]
    for name in measures:
        columns.append(metric(name).label)
        if _published(name):
            columns.append(_paper(metric(name).label))
    windows = ", ".join(f"{int(one)}" for one in means["ssim_window"].drop_duplicates())
    rows = _table6_rows(means, "value", measures, sizes)
    note = (
        f"{_size(means)} SSIM window: {windows} voxels. The paper's 5,120 latent dimensions are "
        "those of one of the three channels."
    )
    if lpips and not any(map(comparable_with_paper, lpips)):
        note += (
            " LPIPS without the paper's values: they are of another network, other slices and "
            "another scale of intensities."
        )
    own = Table("Table 6: reconstruction of test scans", columns, rows, note)
    if external is None:
        return own
    return external.beside(own, lambda part, name: _table6_rows(part, name, measures, sizes))


def _published(name: str) -> bool:
    """Whether a measure has the paper's values beside it."""
    return name != "ssim_brain" and comparable_with_paper(name)


def _table6_rows(
    means: pd.DataFrame, column: str, measures: list[str], sizes: pd.DataFrame
) -> list[list[str]]:
    """Rows of Table 6 with the estimates in ``column``; without published values if it has none."""
    dims = sizes.set_index(["system", "variant"])["latent_dim"]
    counts = sizes.drop_duplicates("system").set_index("system")["parameters"]
    rows = []
    kept = means[~means["variant"].isin(CONTROLS)]
    for (name, variant, steps), part in kept.groupby(
        ["system", "variant", "T"], sort=False, dropna=False
    ):
        found = part.set_index("metric")
        model = name.removesuffix("_own_grid")
        size, latent = counts.get(model), latent_size(model, variant)
        cells = [
            system(name).label + (f" ({size / 1e6:.1f}M)" if size is not None else ""),
            VARIANTS.get(variant, variant) or "reconstruction",
            f"{int(dims[model, variant]):,}" if (model, variant) in dims.index else ABSENT,
            f"{latent:,}" if latent else ABSENT,
            ABSENT if pd.isna(steps) else f"{int(steps)}",
        ]
        for key in measures:
            cells.append(cell(found.loc[key], column, key) if key in found.index else ABSENT)
            if _published(key):
                cells.append(number(found["paper"].get(key)) if "paper" in found else ABSENT)
        rows.append(cells)
    return rows


def write_tables(
    scans: Sequence[str | Path],
    sizes: Sequence[str | Path],
    timings: Sequence[str | Path],
    models: Sequence[str | Path],
    probes: str | Path,
    outputs: dict[str, dict[str, str | Path]],
    numbers: str | Path,
    resamples: int,
    seed: int,
    external: Mapping[str, str | Path] | None = None,
    reference: str = "",
) -> None:
    """Write Tables 5, 6 and 7 as TSV, Markdown and LaTeX, and the numbers of Table 6.

    Args:
        scans: Per-scan tables of the reconstruction, of all systems.
        sizes, timings: Tables of :mod:`ldae.evaluation.cost`, of all systems.
        models: Model folders named after their stage, with ``history.tsv`` unless published.
        probes: Scores of the probes.
        outputs: For ``table5``, ``table6`` and ``table7`` the paths that
            :func:`ldae.report.tables.table.write` takes.
        numbers: Where to write Table 6 as numbers, a row a system, variant, T and metric (TSV).
        resamples, seed: Of the bootstrap intervals.
        external: Tables of external test sets by name: ``reconstruction_external`` and
            ``probes_external``, each with its ``_differences``. None or empty: there are none.
        reference: Name of the main cohort, which the rows of external test sets name.

    Raises:
        UserError: a table or a model is missing.
    """
    means = summary_table(_joined(scans), resamples, seed)
    write_table(means, numbers)
    size = _joined(sizes)
    stages: Stages = {}
    for folder in map(Path, models):
        card = load_card(folder)
        history = None if card.get("published") else read_table(folder / "history.tsv")
        stages[folder.name] = card, history
    write(table5(size, _joined(timings), stages, means), outputs["table5"])
    outside = [
        External.read(external or {}, name, reference)
        for name in ("reconstruction_external", "probes_external")
    ]
    write(table6(means, size, outside[0]), outputs["table6"])
    write(table7(read_table(probes), outside[1]), outputs["table7"])


def _joined(paths: Sequence[str | Path]) -> pd.DataFrame:
    return pd.concat([read_table(path) for path in paths], ignore_index=True)


def table7(probes: pd.DataFrame, external: External | None = None) -> Table:
    """Probes: a row a target, probe and measure; a column a system, with the paper's beside it.

    Args:
        probes: Scores of the probes.
        external: The same on external test sets, whose rows follow.
    """
    published = set(paper_tables()["probes"]["rows"])
    found = list(probes["system"].drop_duplicates())
    systems = sorted(found, key=table_position)
    columns = ["Target", "Probe", "Measure"]
    for name in systems:
        columns += [
            system(name).label,
            *([_paper(system(name).label)] if name in published else []),
        ]
    notes = []
    for target in TARGETS:
        words = TARGETS[target].label
        of_target = probes[probes["target"] == target]
        if of_target.empty:
            continue
        one = of_target.iloc[0]
        size = f"{int(one['n_scans']):,} scans of {int(one['n_subjects']):,} test subjects"
        why = of_target["note"].dropna()
        notes.append(f"{words}: {size}{f' ({why.iloc[0]})' if len(why) else ''}.")
    rows = _table7_rows(probes, "value", systems, published)
    note = (
        "Estimate [95 % interval over subjects]. Regularised: penalty chosen by inner "
        "cross-validation over subjects. Section 4.2: the paper's optimisers and epochs, mean over "
        "seeds. The paper's recall, precision and F1 are those of CN. A bias is corrected only "
        "where predictions follow age. " + " ".join([*notes, *_failed(probes)])
    )
    own = Table("Table 7: probes of frozen codes", columns, rows, note)
    if external is None:
        return own
    return external.beside(own, lambda part, name: _table7_rows(part, name, systems, published))


def _failed(probes: pd.DataFrame) -> list[str]:
    """A sentence on each way in which thresholds of a two-class target failed, with its systems.

    Args:
        probes: Scores of the probes.
    """
    found = []
    for target in ("diagnosis", "conversion"):
        mine = without_paper_probe(probes[probes["target"] == target])
        systems: dict[str, list[str]] = {}
        for name, part in mine.groupby("system", sort=False):
            why = threshold_failure(part.set_index("metric")["value"])
            if why:
                systems.setdefault(why, []).append(_label(name))
        found += [
            f"{TARGETS[target].label}, threshold {why}: {listing(names)}."
            for why, names in systems.items()
        ]
    return found


def _table7_rows(
    probes: pd.DataFrame, column: str, systems: list[str], published: set[str]
) -> list[list[str]]:
    """Rows of Table 7 with the estimates in ``column``; without published values if it has none."""
    rows = []
    for target in TARGETS:
        words = TARGETS[target].label
        of_target = probes[probes["target"] == target]
        for probe, label in PROBES.items():
            # Systems that predict without a probe ("none") are repeated beside either probe.
            mine = of_target[of_target["probe"].isin([probe, "none"])]
            if (mine["probe"] == "none").all():
                continue
            for key, part in mine.groupby("metric", sort=False):
                found = part.set_index("system")
                cells = [words, label, metric(key).label]
                for name in systems:
                    known = name in found.index
                    cells.append(cell(found.loc[name], column, key) if known else ABSENT)
                    if name in published:
                        digits = 2 if target == "age" else 3
                        stated = known and "paper" in found
                        cells.append(number(found.loc[name, "paper"], digits) if stated else ABSENT)
                rows.append(cells)
    return rows
