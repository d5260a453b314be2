"""QC page of the cohort: every scan's picture and measures, trouble first, rated by key.

The page is a small HTML file. The scans are beside it in parts of ``PART``, which the page loads
one after the other, so that a large cohort's first scan is shown at once.
"""

import json
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from ldae.cohort.ratings import RATING_COLUMNS, agreement, decisions_of
from ldae.derivatives import QC, lost_scans, scan_files
from ldae.errors import require
from ldae.files import atomic, digest, read_json, write_json, write_table
from ldae.labels import count, number
from ldae.preprocess.qc_bounds import MEASURES, Measure, limits, outlyingness, shown_measures
from ldae.preprocess.qc_layout import PLANES, SLICES

FILES = "scans/files.json"  # beside the page: the raters' files, for `ldae qc`
OUTLIER_Z = 3.5  # robust SDs from which a scan is an outlier (Iglewicz and Hoaglin 1993)
PART = 500  # scans in a part of the page
DIGITS = 5  # significant, of a measure
TEMPLATES = Path(__file__).parent
STEP_NAMES = {
    "n4": "bias field correction",
    "brain": "brain extraction",
    "registration": "registration",
    "pack": "packing",
}
# Word on a scan's card, by its index there. Failed: in a step, or outside a bound.
WORDS = ("ok", "look", "failed")
OKAY, LOOK, FAILED = range(3)


def write_page(
    scans: pd.DataFrame,
    manifests: Mapping[str, pd.DataFrame],
    preproc_dir: str | Path,
    ratings: Mapping[str, pd.DataFrame],
    files: Sequence[str],
    rule: str,
    duplicates: pd.DataFrame,
    page: str | Path,
    table: str | Path,
    cfg: Mapping[str, Any],
    cohorts: Sequence[str],
    mriqc: pd.DataFrame | None = None,
) -> None:
    """Write the QC table and the HTML page of all scans.

    Args:
        scans: Rows of scans.tsv.
        manifests: From :func:`ldae.derivatives.read_manifests`.
        preproc_dir: Folder of the preprocessing.
        ratings: From :func:`ldae.cohort.ratings.read_all_ratings`, shown on the page.
        files: Paths of the raters' files, in the order of ``ratings``.
        rule: config["cohort"]["disagreement"].
        duplicates: duplicates.tsv (scan_id, duplicate_of, reason), listed on the page.
        page: HTML file to write; it links to the scans' pictures by relative paths. The parts are
            written to the folder ``scans`` beside it; ``template.webp``, the template's picture, is
            expected there.
        table: measures.tsv to write: scan_id, status, step, reason, the measures, worst, z, and
            MRIQC's measures.
        cfg: config["preprocess"].
        cohorts: Names of the cohorts. With the template they tell this run from others in the
            browser's storage.
        mriqc: MRIQC's measures (scan_id, ``mriqc_*``), if there are any.

    Raises:
        UserError: a scan is in no manifest.
    """
    known = gather(scans, manifests, preproc_dir, cfg["template"]["name"])
    if mriqc is not None:
        known = known.merge(mriqc, on="scan_id", how="left")
    write_table(known.drop(columns="picture").replace("", None), table)
    measures = [
        measure
        for measure in shown_measures(known.columns, cfg["qc"])
        if known[measure.key].notna().any()
    ]
    page = Path(page)
    records = _records(known, measures, cfg["qc"], _by_scan(ratings))
    _write_parts(records, page.parent / "scans")
    write_json(list(files), page.parent / FILES)
    listed = set(known["scan_id"])
    about = {
        "run": digest([*cohorts, cfg["template"]["name"]]),
        "parts": math.ceil(len(records) / PART),
        "part": PART,
        "scans": len(records),
        "preproc": Path(os.path.relpath(preproc_dir, page.parent)).as_posix(),
        "columns": RATING_COLUMNS,
        "slices": SLICES,
        "planes": PLANES,
        "words": WORDS,
        "measures": [_about_measure(measure, known, cfg["qc"]) for measure in measures],
        "raters": [
            {"name": rater, "file": Path(file).name, "others": _others(table, listed)}
            for (rater, table), file in zip(ratings.items(), files, strict=True)
        ],
    }
    words = [record[1] for record in records]
    text = (
        _environment()
        .get_template("qc_page.html.j2")
        .render(
            about=json.dumps(about, ensure_ascii=False).replace("<", "\\u003c"),
            duplicates=duplicates.to_dict("records"),
            measures=about["measures"],
            counts=[words.count(index) for index in range(len(WORDS))],
            swapped=int((known["asymmetry"] < 0).sum()),
            limit=OUTLIER_Z,
            agreement=_agreement(ratings),
            decided=len(decisions_of(ratings, rule)),
            files=list(files),
            rule=rule,
        )
    )
    with atomic(page) as temporary:
        temporary.write_text(text)


def gather(
    scans: pd.DataFrame,
    manifests: Mapping[str, pd.DataFrame],
    preproc_dir: str | Path,
    template: str,
) -> pd.DataFrame:
    """Table of all scans: failed ones first, then those outside the bounds, then by outlyingness.

    Returns:
        scan_id, status, step, reason, the measures of ``MEASURES`` (missing where the scan was not
        registered), worst and z of :func:`~ldae.preprocess.qc_bounds.outlyingness`, picture (its
        checksum; "" where there is none).

    Raises:
        UserError: a scan is in no manifest.
    """
    last = manifests["registration"][["scan_id"]]
    table = last.merge(lost_scans(manifests), on="scan_id", how="left")
    table["status"] = table["step"].map(lambda step: "qc" if step == "qc" else "failed")
    table.loc[table["step"].isna(), "status"] = "ok"
    table = table[["scan_id", "status", "step", "reason"]].astype(object).fillna("")
    absent = sorted(set(scans["scan_id"]) - set(table["scan_id"]))
    require(
        not absent,
        f"{len(absent)} scan(s) are in no manifest of the preprocessing, first {absent[:1]}: run "
        "the target `preprocess` again.",
    )
    files = {file.scan_id: file for file in scan_files(scans, preproc_dir, template)}
    table = table[table["scan_id"].isin(files)].reset_index(drop=True)
    done = table["status"] != "failed"
    found = [
        read_json(files[scan_id].measures) if ok else {}
        for scan_id, ok in zip(table["scan_id"], done, strict=True)
    ]
    measured = pd.DataFrame(found, columns=[measure.key for measure in MEASURES], dtype=float)
    table = pd.concat([table, measured], axis=1)
    table = table.join(outlyingness(table[done])) if done.any() else table.assign(worst=None, z=0.0)
    table["picture"] = [values["picture"] if values else "" for values in found]
    order = table["status"].map({"failed": 0, "qc": 1, "ok": 2})
    return (
        table.assign(order=order, z=table["z"].round(2))
        .sort_values(["order", "z", "scan_id"], ascending=[True, False, True], ignore_index=True)
        .drop(columns="order")
    )


def _records(
    known: pd.DataFrame,
    measures: Sequence[Measure],
    bounds: Mapping[str, Any],
    ratings: Mapping[str, list[list[Any]]],
) -> list[list[Any]]:
    """Rows of the page's parts, as ``qc_page.js.j2`` reads them.

    Each is scan_id, index of its word, sentence, index of the worst measure, z, checksum of the
    picture, whether left and right may be swapped, measures, ratings.
    """
    places = {measure.key: place for place, measure in enumerate(measures)}
    medians = {measure.key: known[measure.key].median() for measure in measures}
    records = []
    for row in known.to_dict("records"):
        failed = row["status"] == "failed"
        far = not failed and row["z"] >= OUTLIER_Z
        word = FAILED if failed or row["status"] == QC else LOOK if far else OKAY
        values = [None if pd.isna(row[m.key]) else _short(row[m.key]) for m in measures]
        records.append(
            [
                row["scan_id"],
                word,
                _sentence(row, measures, bounds, medians, far),
                None if failed else places.get(row["worst"]),
                None if failed else row["z"],
                row["picture"],
                int(not failed and row["asymmetry"] < 0),
                values,
                ratings.get(row["scan_id"], []),
            ]
        )
    return records


def _sentence(
    row: Mapping[str, Any],
    measures: Sequence[Measure],
    bounds: Mapping[str, Any],
    medians: Mapping[str, float],
    far: bool,
) -> str:
    """What is the matter with a scan; "" if nothing is."""
    if row["status"] == "failed":
        return f"Failed in {STEP_NAMES[row['step']]}: {row['reason']}"
    if row["status"] == QC:
        for measure in measures:
            value, (low, high) = row[measure.key], limits(measure, bounds)
            for bound, side in ((low, "below"), (high, "above")):
                if bound is not None and (value < bound if side == "below" else value > bound):
                    return f"{measure.label}: {value:.4g} is {side} the bound {bound:g}"
        return row["reason"]
    if far:
        (worst,) = (measure for measure in measures if measure.key == row["worst"])
        return (
            f"{worst.label}: {row[worst.key]:.4g} is {number(row['z'], 1)} robust standard "
            f"deviations from the median {medians[worst.key]:.4g}"
        )
    return ""


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _about_measure(
    measure: Measure, known: pd.DataFrame, bounds: Mapping[str, Any]
) -> dict[str, Any]:
    low, high = limits(measure, bounds)
    ends = [("at least", low), ("at most", high)]
    return {
        "label": measure.label,
        "worse": measure.worse,
        "median": _short(known[measure.key].median()),
        "bounds": ", ".join(f"{side} {bound:g}" for side, bound in ends if bound is not None),
    }


def _by_scan(ratings: Mapping[str, pd.DataFrame]) -> dict[str, list[list[Any]]]:
    """By scan: index of the rater and the columns of the rating but the scan."""
    found: dict[str, list[list[Any]]] = {}
    for index, table in enumerate(ratings.values()):
        for scan_id, *rest in table[RATING_COLUMNS].itertuples(index=False):
            found.setdefault(scan_id, []).append([index, *rest])
    return found


def _others(ratings: pd.DataFrame, listed: set[str]) -> list[list[str]]:
    """Ratings of scans that the page does not list, such as duplicates: the download keeps them."""
    return ratings.loc[~ratings["scan_id"].isin(listed), RATING_COLUMNS].values.tolist()


def _agreement(ratings: Mapping[str, pd.DataFrame]) -> list[dict[str, str]]:
    """Rows of the page's table of agreement."""
    return [
        {
            "pair": f"{row.rater} and {row.other}",
            "scans": count(row.scans, "scan"),
            "agreed": f"{row.agreed:,}",
            "kappa": number(row.kappa, 2),
        }
        for row in agreement(ratings).itertuples()
    ]


def _write_parts(records: Sequence[list[Any]], folder: Path) -> None:
    """Write the parts of the page: scripts, since a page opened as a file may read nothing else."""
    if folder.is_dir():
        shutil.rmtree(folder)
    for start in range(0, len(records), PART):
        rows = ",\n".join(
            json.dumps(record, ensure_ascii=False, separators=(",", ":"))
            for record in records[start : start + PART]
        )
        name = start // PART + 1
        with atomic(folder / f"{name}.js") as temporary:
            temporary.write_text(f"addScans({name}, [\n{rows}\n]);\n")


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
