"""Tables of reconstruction, guidance, solvers and ground truth, laid out side by side.

Each function turns a long TSV table of ``results/tables`` into a printed one.
"""

import pandas as pd

from ldae.labels import ABSENT, interval, number
from ldae.report.tables.table import Table, cell
from ldae.systems import metric, system

VARIANTS = {
    "reconstruction": "",
    "encoded": "encoded z_T",
    "y_sem": "y_sem alone",
    "wrong_y_sem": "another subject's y_sem alone",
    "mean_y_sem": "mean y_sem alone",
    "resized": "resized and back, no model",
}

VOLUMES = {"ventricle_ml": "Ventricles", "hippocampus_ml": "Hippocampi"}


def _metrics(table: pd.DataFrame) -> list[str]:
    return list(table["metric"].drop_duplicates())


def reconstruction(table: pd.DataFrame) -> Table:
    """Table 6: a row a system, variant and T; a column a metric; the paper's value after a bar."""
    metrics = [name for name in _metrics(table) if not metric(name).to_autoencoder]
    rows = []
    for (name, variant, steps), part in table.groupby(
        ["system", "variant", "T"], sort=False, dropna=False
    ):
        found = part.set_index("metric")
        rows.append(
            [
                system(name).label,
                VARIANTS.get(variant, variant),
                ABSENT if pd.isna(steps) else f"{steps:g}",
            ]
            + [_beside(found.loc[key], key) for key in metrics]
        )
    size = table.iloc[0]
    return Table(
        "Reconstruction of test scans (Table 6)",
        ["System", "From", "T", *(metric(name).label for name in metrics)],
        rows,
        f"{int(size['n_scans']):,} scans of {int(size['n_subjects']):,} test subjects against the "
        "original; estimate [95 % interval]; after the bar the paper's value on ADNI at full "
        f"size. SSIM window: {int(size['ssim_window'])} voxels.",
    )


def _beside(row: pd.Series, name: str) -> str:
    text = cell(row, name=name)
    return f"{text} | {number(row['paper'])}" if pd.notna(row.get("paper")) else text


def reconstruction_volumes(table: pd.DataFrame) -> Table:
    """Correlation of volumes in decoded images with those in the scans: a row a system and T."""
    return _volumes(table, "Volumes in decoded images against those in the scans")


def decoded_volumes(table: pd.DataFrame) -> Table:
    """The same with the true volumes; first the volumes that are measured in the scans."""
    return _volumes(table, "Volumes in decoded images against the true ones")


def _volumes(table: pd.DataFrame, title: str) -> Table:
    rows = []
    for (name, variant, steps), part in table.groupby(
        ["system", "variant", "T"], sort=False, dropna=False
    ):
        found = part.set_index("measure")
        cells = [
            interval(*map(float, found.loc[key, ["r", "ci_low", "ci_high"]]), 2) for key in VOLUMES
        ]
        steps = ABSENT if pd.isna(steps) else f"{steps:g}"
        rows.append([system(name).label, VARIANTS.get(variant, variant) or ABSENT, steps, *cells])
    size = table.iloc[0]
    return Table(
        title,
        ["System", "From", "T", *VOLUMES.values()],
        rows,
        f"Correlation [95 % interval] over {int(size['n_scans']):,} scans of "
        f"{int(size['n_subjects']):,} test subjects.",
    )


def reconstruction_controls(table: pd.DataFrame) -> Table:
    """Paired differences between codes in reconstruction, by T."""
    metrics = [name for name in _metrics(table) if not metric(name).to_autoencoder]
    rows = []
    for (name, steps), part in table.groupby(["comparison", "T"], sort=False):
        found = part.set_index("metric")
        better = found.loc["ssim"]
        rows.append(
            [name.replace(" - ", " − "), f"{steps:g}"]
            + [cell(found.loc[key], "difference", key) for key in metrics]
            + [f"{int(better['n_better']):,} of {int(better['n_scans']):,}"]
        )
    return Table(
        "What the codes contribute: paired differences",
        ["First − second", "T", *(metric(name).label for name in metrics), "Higher SSIM"],
        rows,
        "Scan by scan, from the same z_T.",
    )


def guidance_differences(table: pd.DataFrame) -> Table:
    """Paired differences of the noise-prediction loss (Eq. 9), by quarter of the timesteps t."""
    mine = table[table["metric"] == "weighted_loss"].assign(
        quartile=table["quartile"].astype(str).str.removesuffix(".0")
    )
    quartiles = list(mine["quartile"].drop_duplicates())
    rows = []
    for (first, second), part in mine.groupby(["system", "reference"], sort=False):
        found = part.set_index("quartile")
        rows.append(
            [f"{_words(first)} − {_words(second)}"]
            + [cell(found.loc[key], "difference", "weighted_loss") for key in quartiles]
        )
    return Table(
        "Noise-prediction loss on unseen subjects",
        ["First − second", *(q if q == "all" else f"t in quarter {q}" for q in quartiles)],
        rows,
        "Weighted loss of Eq. 9; below zero the first is better.",
    )


def _words(name: str) -> str:
    return {
        "ldm": "no guidance",
        "right_y_sem": "own y_sem",
        "wrong_y_sem": "another's y_sem",
        "mean_y_sem": "mean y_sem",
    }.get(name, name)


SOLVER_COLUMNS = {
    ("reconstruction", "latent_rmse"): "Latent error (RMSE)",
    ("reconstruction", "ssim_to_ae"): "SSIM, reconstruction",
    ("interpolation", "ssim_to_ae"): "SSIM, missing visit",
    ("manipulation", "ventricle_ml"): "Ventricles, manipulated (ml)",
}


def solvers(table: pd.DataFrame) -> Table:
    """A row a solver and T; SSIM is to the autoencoder's reconstruction."""
    return _by_solver(
        table,
        "value",
        "Solvers of the diffusion: quality against calls of the network",
        "Error of z_0 (unit variance) after inversion and decoding; SSIM to the autoencoder's "
        "reconstruction. Calls: of the network, for the round trip of one scan.",
    )


def solver_differences(table: pd.DataFrame) -> Table:
    """The same less DDIM at the largest T, scan by scan."""
    return _by_solver(
        table,
        "difference",
        f"Solvers less DDIM at T = {table['T'].max()}, scan by scan",
        "Differences with 95 % intervals over subjects; errors and SSIM as in the table before.",
    )


def _by_solver(table: pd.DataFrame, column: str, title: str, note: str) -> Table:
    rows = []
    for (name, steps), part in table.groupby(["solver", "T"], sort=False):
        found = part.set_index(["experiment", "metric"])
        cells = [
            interval(*found.loc[key, [column, "ci_low", "ci_high"]], 4) for key in SOLVER_COLUMNS
        ]
        calls = part.loc[part["experiment"] == "reconstruction", "calls"].iloc[0]
        rows.append([name.replace("_", " "), str(steps), str(calls), *cells])
    return Table(title, ["Solver", "T", "Calls", *SOLVER_COLUMNS.values()], rows, note)


def truth(table: pd.DataFrame) -> Table:
    """Correlations of the probes with the truth of the synthetic cohort: a column a system."""
    own = table[table["reference"].isna()]
    systems = list(own["system"].drop_duplicates())
    rows = []
    for (probe, what), part in own.groupby(["prediction", "truth"], sort=False):
        found = part.set_index("system")
        cells = [
            interval(*map(float, found.loc[name, ["r", "ci_low", "ci_high"]]), 2)
            if name in found.index
            else ABSENT
            for name in systems
        ]
        rows.append([probe.replace("_", " "), what.replace("_", " "), *cells])
    return Table(
        "Correlation with the known truth of the synthetic cohort",
        ["Probe", "Truth", *(system(name).label for name in systems)],
        rows,
    )
