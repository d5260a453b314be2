"""Proof page (Markdown): every threshold, its value in the runs of several seeds, and a verdict."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ldae.errors import require
from ldae.files import atomic, read_json, read_table
from ldae.labels import count, interval, listing, number
from ldae.report.proof_encoders import encoder_section
from ldae.report.proof_planted import ABOUT, PLANTED, planted_thresholds
from ldae.report.proof_thresholds import (
    CARD,
    HISTORY,
    INDEX,
    LATER,
    SHOWN_FIGURES,
    TABLES,
    Threshold,
    thresholds,
)
from ldae.report.tables.probes import without_paper_probe
from ldae.report.tables.table import markdown_table, row_of
from ldae.systems import system

MET, NOT_MET = "met", "**not met**"
# Columns of the LDAE's training history that the page shows: label and decimals. All are measured
# on validation scans.
SHOWN = {
    "val_loss": ("weighted loss, guided by y_sem", 3),
    "val_loss_frozen": ("weighted loss, frozen LDM alone", 3),
    "val_ssim": ("SSIM of decodes from y_sem and fixed noise", 3),
    "val_y_spread": ("spread of y_sem: SD between subjects over root mean square", 2),
    "val_y_rank": ("effective rank of y_sem between subjects", 1),
    "val_probe_auroc": ("probe: AUROC of AD against CN", 2),
    "val_probe_age_r": ("probe: r with the age", 2),
}


def build_proof(
    runs: Mapping[int, str | Path],
    page: str | Path,
    images: str | Path,
    configuration: str | Path,
    command: str,
    alpha: float,
) -> None:
    """Write the page and copy the first seed's figures.

    Args:
        runs: Results folder of the finished run of each seed.
        page: Markdown file to write.
        images: Folder to copy the figures to, below the page's folder; its content is removed
            first.
        configuration: File with the settings of the runs, shown verbatim.
        command: The one command that reproduces the page.
        alpha: Strength at which manipulation is judged (``evaluation.manipulation.alpha``).

    Raises:
        UserError: a run lacks a table, the first run lacks a figure, or the runs differ in their
            scans or splits.
    """
    folders = {seed: Path(folder) for seed, folder in runs.items()}
    tables = {
        seed: {name: read_table(folder / "tables" / f"{name}.tsv") for name in TABLES}
        for seed, folder in folders.items()
    }
    cards = {seed: read_json(folder / CARD) for seed, folder in folders.items()}
    histories = {
        seed: read_table(folder / HISTORY, ("epoch", "val_loss"))
        for seed, folder in folders.items()
    }
    index = read_table(next(iter(folders.values())) / INDEX, ("participant_id", "split"))
    require(
        len({(card["data"], card["split"]) for card in cards.values()}) == 1,
        "The runs of the proof do not have the same scans and splits; delete the results of those "
        f"that are out of date and run `{command}`.",
    )
    found = {
        seed: [*thresholds(one, alpha), *planted_thresholds(one["planted"])]
        for seed, one in tables.items()
    }
    copied = _copy(next(iter(folders.values())) / "figures", Path(images), Path(page).parent)
    parts = [
        _opening(found, index, command),
        _verdicts(found),
        _systems(tables),
        encoder_section(folders, tables),
        _visits(tables),
        _diagnosis(histories),
        *copied,
        _run(tables, cards, Path(configuration), command),
    ]
    with atomic(page) as temporary:
        temporary.write_text("\n\n".join(filter(None, parts)) + "\n")


def _opening(found: Mapping[int, list[Threshold]], index: pd.DataFrame, command: str) -> str:
    first = next(iter(found.values()))
    met = {name: [0, 0] for name in ("first", "later", "planted")}
    for place, row in enumerate(first):
        kind = "later" if row.group in LATER else "planted" if row.group in PLANTED else "first"
        counts = met[kind]
        counts[0] += all(rows[place].met for rows in found.values())
        counts[1] += 1
    test = index[index["split"] == "test"]
    return (
        "# The proof: on a cohort whose truth is known\n\n"
        f"This page is made by the workflow: `{command}`. Do not edit it.\n\n"
        "The cohort is synthetic: deformed real heads, in which anatomy, pose, contrast, coil and "
        "noise vary more than atrophy does, and age, diagnosis and atrophy are related but not the "
        "same. It shows whether the method was implemented right and works, not how good it is on "
        f"patients. {count(len(index), 'scan')} of "
        f"{count(index['participant_id'].nunique(), 'subject')}; all numbers are of "
        f"{count(len(test), 'scan')} of {count(test['participant_id'].nunique(), 'test subject')} "
        f"that no choice was made on. Seeds {listing([str(seed) for seed in found])}; brackets are "
        "95 % intervals over subjects.\n\n"
        f"**{met['first'][0]} of {met['first'][1]} thresholds are met with every seed**, and "
        f"{met['later'][0]} of {met['later'][1]} that were set later, on corrected averages of "
        "visits, on the solvers and on the true volumes. Beside them "
        f"{met['planted'][0]} of {met['planted'][1]} are met that test the evaluation, not the "
        "models: labels and sites that were planted must be found, or refused, with the right "
        "interval."
    )


def _verdicts(found: Mapping[int, list[Threshold]]) -> str:
    """The thresholds, one table for each group."""
    parts = ["## Thresholds"]
    first = next(iter(found.values()))
    columns = ["threshold", "criterion", *(f"seed {seed}" for seed in found), "verdict"]
    for group in dict.fromkeys(row.group for row in first):
        rows = []
        for place, row in enumerate(first):
            if row.group != group:
                continue
            same = [rows_[place] for rows_ in found.values()]
            cells = [interval(one.value, one.low, one.high, _digits(same)) for one in same]
            met = sum(one.met for one in same)
            verdict = MET if met == len(same) else NOT_MET if met == 0 else f"{met} of {len(same)}"
            rows.append([row.text, row.criterion, *cells, verdict])
        about = [ABOUT[group]] if group in ABOUT else []
        parts += [f"### {group}", *about, markdown_table(columns, rows)]
    return "\n\n".join(parts)


def _digits(rows: Sequence[Threshold]) -> int:
    """Decimals for one threshold over seeds: 3, or 5 if an estimate is below 0.01.

    They are 4 where an estimate that misses its bound would round to the bound.
    """
    if any(not row.met and row.criterion == f"at least {round(row.value, 3):g}" for row in rows):
        return 4
    sizes = [abs(row.value) for row in rows if row.value == row.value and row.value]
    return 3 if not sizes or min(sizes) >= 0.01 else 5


def _systems(tables: Mapping[int, Mapping[str, pd.DataFrame]]) -> str:
    """Probes of every system: AUROC of AD/CN, MAE of the age, r with the true atrophy."""
    first = next(iter(tables.values()))
    probes = first["probes"]
    names = list(dict.fromkeys(probes.loc[probes["target"] == "diagnosis", "system"]))
    measures = (
        ("AD/CN: AUROC", "probes", dict(target="diagnosis", metric="auroc"), "value", 3),
        ("age: MAE, years", "probes", dict(target="age", metric="mae"), "value", 2),
        (
            "true atrophy: r",
            "truth",
            dict(prediction="atrophy_probe", truth="atrophy", reference=None),
            "r",
            3,
        ),
    )
    rows = []
    for name in names:
        cells = []
        for _, table, where, column, digits in measures:
            values = []
            for one in tables.values():
                found = one[table]
                if table == "probes":
                    found = without_paper_probe(found)
                row = row_of(found, system=name, **where)
                values.append(number(float(row[column]) if row is not None else None, digits))
            cells.append(" / ".join(values))
        rows.append([system(name).label, *cells])
    heads = ["system", *(measure[0] for measure in measures)]
    seeds = " / ".join(map(str, tables))
    return f"## All systems\n\nTest subjects, seeds {seeds}.\n\n{markdown_table(heads, rows)}"


def _visits(tables: Mapping[int, Mapping[str, pd.DataFrame]]) -> str:
    """SSIM of interpolated visits by method, and whether the LDAE is the best with every seed."""
    rows, best = [], []
    first = next(iter(tables.values()))["interpolation"]
    methods = list(dict.fromkeys(first.loc[first["grouping"] == "overall", "method"]))
    found = {
        seed: {
            method: row_of(one["interpolation"], grouping="overall", method=method, metric="ssim")
            for method in methods
        }
        for seed, one in tables.items()
    }
    for method in methods:
        cells = [
            interval(float(row["value"]), float(row["ci_low"]), float(row["ci_high"]))
            for row in (one[method] for one in found.values())
        ]
        rows.append([system(method).label, *cells])
    for one in found.values():
        best.append(max(one, key=lambda method: float(one[method]["value"])))
    beaten = [
        f"seed {seed} ({system(name).label})"
        for seed, name in zip(found, best, strict=True)
        if name != "ldae"
    ]
    text = "The LDAE is the best with every seed."
    if beaten:
        text = f"Another method than the LDAE is the best with {listing(beaten)}."
    heads = ["method", *(f"SSIM, seed {seed}" for seed in tables)]
    return f"## Interpolated visits\n\n{text}\n\n{markdown_table(heads, rows)}"


def _diagnosis(histories: Mapping[int, pd.DataFrame]) -> str:
    """Validation measures of every seed's LDAE, after the first and the last validated epoch."""
    ends = {
        seed: each.dropna(subset="val_loss").iloc[[0, -1]].reindex(columns=["epoch", *SHOWN])
        for seed, each in histories.items()
    }
    rows = [
        [text, *(" → ".join(number(end, digits) for end in each[name]) for each in ends.values())]
        for name, (text, digits) in SHOWN.items()
    ]
    epochs = " → ".join(map(str, next(iter(ends.values()))["epoch"]))
    heads = ["on validation scans", *(f"seed {seed}" for seed in ends)]
    return (
        f"## Diagnosis of the training\n\nThe LDAE after epoch {epochs}. A code that is used "
        "lowers the frozen LDM's loss; one that collapses loses spread and rank.\n\n"
        f"{markdown_table(heads, rows)}"
    )


def _copy(source: Path, images: Path, page: Path) -> list[str]:
    """Copy the figures; return the Markdown of each with what it shows and its caption."""
    shutil.rmtree(images, ignore_errors=True)
    images.mkdir(parents=True)
    parts = []
    for name, heading in SHOWN_FIGURES.items():
        file = source / f"{name}.png"
        caption, result = (source / f"{name}.{kind}.txt" for kind in ("caption", "result"))
        require(
            file.is_file() and caption.is_file() and result.is_file(),
            f"The figure {file} or its caption is missing: this run of the proof is not finished. "
            "Finish it first.",
        )
        shutil.copyfile(file, images / file.name)
        place = (images / file.name).relative_to(page).as_posix()
        text = " ".join(caption.read_text().split("\n", 1)[1].split())
        shown = result.read_text().strip()
        parts.append(f"## {heading}\n\n![{heading}]({place})\n\n{shown}\n\n{text}")
    return parts


def _run(
    tables: Mapping[int, Mapping[str, pd.DataFrame]],
    cards: Mapping[int, dict],
    configuration: Path,
    command: str,
) -> str:
    """Machine, time and settings of the runs, and the command that makes the page again."""
    rows, spent = [], []
    for seed, card in cards.items():
        took, machine = tables[seed]["resources"], card["machine"]
        spent += [(took["seconds"].sum() / 3600, took["cpu_hours"].sum())]
        hours = [number(each, 2) for each in spent[-1]]
        where = f"{machine['device']} ({machine['device_name']}), {machine['threads']} threads, "
        rows.append([str(seed), where + machine["precision"], *hours])
    rows.append(["all", "", *(number(sum(each), 2) for each in zip(*spent, strict=True))])
    heads = ["seed", "machine", "hours of all jobs", "CPU hours"]
    versions = next(iter(cards.values()))["versions"]
    listed = ", ".join(f"{name} {number_}" for name, number_ in versions.items())
    return (
        f"## How it was run\n\n{markdown_table(heads, rows)}\n\n{listed}. "
        "The jobs of the seeds ran side by side; making the cohort counts for the seed whose run "
        f"made it. `{command}` makes all of it again; an interrupted run goes on where it was. On "
        "top of `config/config.yaml`:\n\n"
        f"```yaml\n{configuration.read_text().rstrip()}\n```"
    )
