"""Registry of the printed tables: which function prints which table of a run.

The paper's tables are printed as they were written. A table without a function of its own is
printed column by column.
"""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from ldae.errors import require
from ldae.files import MISSING
from ldae.labels import ABSENT, interval
from ldae.report.tables import (
    cohort,
    fine_tuning,
    interpolation,
    manipulation,
    normative,
    planted,
    probes,
    saliency,
    scanner,
    targets,
)
from ldae.report.tables import results as make
from ldae.report.tables.table import Table

ROWS = 60
BOUNDS = ("ci_low", "ci_high")
# The paper's tables, written as text by ldae.report.tables.paper, with title and note in the
# Markdown beside the TSV. Each value names the tables that hold the same numbers; they are then not
# printed.
PAPER_TABLES = {
    "table5": (),
    "table6": (
        "reconstruction",
        "reconstruction_systems",
        "reconstruction_external",
        "reconstruction_external_differences",
    ),
    "table7": ("probes_external", "probes_external_differences"),
}
PRINTERS: dict[str, Callable[[pd.DataFrame], list[Table]]] = {
    "cohort": lambda table: [cohort.cohort(table)],
    "flow": lambda table: [cohort.flow(table)],
    "reconstruction": lambda table: [make.reconstruction(table)],
    "reconstruction_volumes": lambda table: [make.reconstruction_volumes(table)],
    "reconstruction_controls": lambda table: [make.reconstruction_controls(table)],
    "guidance_differences": lambda table: [make.guidance_differences(table)],
    "solvers": lambda table: [make.solvers(table)],
    "solvers_differences": lambda table: [make.solver_differences(table)],
    "probes": lambda table: [probes.by_system(table, target) for target in ("diagnosis", "age")],
    "probes_differences": lambda table: [probes.probe_differences(table)],
    "targets": lambda table: targets.targets(table),
    "targets_differences": lambda table: [targets.differences(table)],
    "targets_calibration": lambda table: [targets.calibration(table)],
    "scanner": lambda table: [scanner.told(table)],
    "scanner_cost": lambda table: [scanner.cost(table)],
    "confounding": lambda table: [scanner.confounding(table)],
    "confounding_counts": lambda table: scanner.counts(table),
    "fairness": lambda table: [scanner.fairness(table)],
    "targets_external": lambda table: [targets.external(table)],
    "targets_external_differences": lambda table: [targets.external_differences(table)],
    "normative": lambda table: normative.normative(table),
    "manipulation": lambda table: [manipulation.manipulation(table)],
    "manipulation_trends": lambda table: [manipulation.trends(table)],
    "counterfactual": lambda table: [manipulation.counterfactual(table)],
    "counterfactual_differences": lambda table: [manipulation.counterfactual_differences(table)],
    "interpolation": lambda table: interpolation.predicted_visits(
        table, "Interpolated visits", interpolation.PAPER
    ),
    "interpolation_differences": lambda table: [
        interpolation.predicted_visit_differences(table, "Interpolated visits")
    ],
    "extrapolation": lambda table: interpolation.predicted_visits(
        table, "The next visit, predicted from the two before it"
    ),
    "extrapolation_differences": lambda table: [
        interpolation.predicted_visit_differences(table, "The next visit")
    ],
    "visit_correction": lambda table: [interpolation.corrections(table)],
    "fine_tuning": lambda table: [fine_tuning.few_labels(table)],
    "saliency_checks": lambda table: [saliency.checks(table)],
    "saliency_regions": lambda table: [saliency.regions(table)],
    "slice_attention": lambda table: [saliency.attention(table)],
    "truth": lambda table: [make.truth(table)],
    "decoded_volumes": lambda table: [make.decoded_volumes(table)],
    "planted": lambda table: planted.planted(table),
}

# Titles of tables without a function of their own; others are called like their file.
TITLES = {
    "guidance": "Noise-prediction loss of every code",
    "inference": "Seconds of one reconstruction",
    "inference_dae": "Seconds of one reconstruction by the DAE",
}


def printed_tables(folder: Path, contents: Mapping[str, pd.DataFrame]) -> dict[str, list[Table]]:
    """The printed tables of every TSV table, in the order given.

    A table whose numbers one of the paper's tables repeats is not printed: its list is empty.

    Args:
        folder: Of the tables.
        contents: Content of each TSV table by name.

    Raises:
        UserError: the Markdown of one of the paper's tables is missing.
    """
    repeated = {one for name in contents for one in PAPER_TABLES.get(name, ())}
    found = {}
    for name, table in contents.items():
        if name in PAPER_TABLES:
            found[name] = [paper_table(folder, name)]
        elif name in repeated:
            found[name] = []
        else:
            found[name] = (
                PRINTERS[name](table) if name in PRINTERS else [column_by_column(name, table)]
            )
    return found


def paper_table(folder: Path, name: str) -> Table:
    """One of the paper's tables: cells from the TSV, title and note from the Markdown.

    Raises:
        UserError: the Markdown is missing.
    """
    text = folder / f"{name}.md"
    require(text.is_file(), f"The report needs {text}. Run the target `evaluate` first.")
    title, _, note = [*text.read_text(encoding="utf-8").strip().split("\n\n", 2), ""][:3]
    with (folder / f"{name}.tsv").open(newline="", encoding="utf-8") as stream:
        columns, *rows = csv.reader(stream, delimiter="\t")
    shown = [[ABSENT if cell == MISSING else cell for cell in row] for row in rows]
    return Table(title.strip("*"), columns, shown, note)


def column_by_column(name: str, table: pd.DataFrame) -> Table:
    """A table column by column, the first ``ROWS`` rows.

    The interval joins the estimate (``value``, ``difference`` or ``r``). Empty columns are dropped.

    Args:
        name: Of the file below tables/, without suffix.
        table: Its content.
    """
    filled = [column for column in table if table[column].notna().any()]
    merged = next((column for column in ("value", "difference", "r") if column in filled), None)
    if merged is None or not set(BOUNDS) <= set(filled):
        merged = None
    shown = [column for column in filled if merged is None or column not in BOUNDS]
    rows = []
    for _, row in table.head(ROWS).iterrows():
        cells = []
        for column in shown:
            if column == merged:
                cells.append(interval(*(float(row[key]) for key in (column, *BOUNDS))))
            else:
                cells.append(_cell(row[column]))
        rows.append(cells)
    cut = f"The first {ROWS} of {len(table):,} rows." if len(table) > ROWS else ""
    title = TITLES.get(name, name.replace("_", " "))
    columns = [column.replace("_", " ") for column in shown]
    return Table(title[:1].upper() + title[1:], columns, rows, cut)


def _cell(value) -> str:
    if pd.isna(value):
        return ABSENT
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) < 1e9 else f"{value:.4g}"
    return str(value)
