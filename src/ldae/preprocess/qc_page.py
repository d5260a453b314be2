"""QC page of the cohort: every scan's picture and measures, outliers first."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd

from ldae.derivatives import lost_scans, scan_files
from ldae.errors import require
from ldae.files import atomic, read_json, write_table
from ldae.preprocess.qc_bounds import MEASURES, outlyingness, shown_measures

OUTLIER_Z = 3.5  # robust SDs from which a scan is an outlier (Iglewicz and Hoaglin 1993)
TEMPLATE = Path(__file__).with_name("qc_page.html.j2")


def write_page(
    scans: pd.DataFrame,
    manifests: Mapping[str, pd.DataFrame],
    preproc_dir: str | Path,
    decisions: pd.DataFrame,
    duplicates: pd.DataFrame,
    page: str | Path,
    table: str | Path,
    cfg: Mapping[str, Any],
    mriqc: pd.DataFrame | None = None,
) -> None:
    """Write the QC table and the HTML page of all scans.

    Args:
        scans: Rows of scans.tsv.
        manifests: From :func:`ldae.derivatives.read_manifests`.
        preproc_dir: Folder of the preprocessing.
        decisions: A rater's, from :func:`ldae.cohort.inclusion.read_decisions`, shown on the page.
        duplicates: duplicates.tsv (scan_id, duplicate_of, reason), listed on the page.
        page: HTML file to write; it links to the scans' pictures by relative paths.
        table: measures.tsv to write: scan_id, status, step, reason, the measures, worst, z, and
            MRIQC's measures.
        cfg: config["preprocess"].
        mriqc: MRIQC's measures (scan_id, ``mriqc_*``), if there are any.

    Raises:
        UserError: a scan is in no manifest.
    """
    known = gather(scans, manifests, preproc_dir, cfg["template"]["name"])
    if mriqc is not None:
        known = known.merge(mriqc, on="scan_id", how="left")
    write_table(known.drop(columns="picture").replace("", None), table)
    sentences = {
        row.scan_id: f"{row.verdict}: {row.reason}" for row in decisions.itertuples(index=False)
    }
    with atomic(page) as temporary:
        temporary.write_text(_html(known, sentences, duplicates, cfg["qc"], Path(page).parent))


def gather(
    scans: pd.DataFrame,
    manifests: Mapping[str, pd.DataFrame],
    preproc_dir: str | Path,
    template: str,
) -> pd.DataFrame:
    """Table of all scans: failed ones first, then those outside the bounds, then by outlyingness.

    Returns:
        scan_id, status, step, reason, the measures of ``MEASURES`` (missing where the scan was not
        registered), worst and z of :func:`~ldae.preprocess.qc_bounds.outlyingness`, picture (path).

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
        "`snakemake preprocess` again.",
    )
    files = {file.scan_id: file for file in scan_files(scans, preproc_dir, template)}
    table = table[table["scan_id"].isin(files)].reset_index(drop=True)
    done = table["status"] != "failed"
    measured = pd.DataFrame(
        [
            read_json(files[scan_id].measures) if ok else {}
            for scan_id, ok in zip(table["scan_id"], done, strict=True)
        ],
        columns=[measure.key for measure in MEASURES],
        dtype=float,
    )
    table = pd.concat([table, measured], axis=1)
    table = table.join(outlyingness(table[done])) if done.any() else table.assign(worst=None, z=0.0)
    table["picture"] = [
        str(files[scan_id].picture) if ok else None
        for scan_id, ok in zip(table["scan_id"], done, strict=True)
    ]
    order = table["status"].map({"failed": 0, "qc": 1, "ok": 2})
    return (
        table.assign(order=order, z=table["z"].round(2))
        .sort_values(["order", "z", "scan_id"], ascending=[True, False, True], ignore_index=True)
        .drop(columns="order")
    )


def _html(
    known: pd.DataFrame,
    decisions: Mapping[str, str],
    duplicates: pd.DataFrame,
    bounds: Mapping[str, Any],
    place: Path,
) -> str:
    shown, cards = shown_measures(known.columns, bounds), []
    for row in known.to_dict("records"):
        failed = row["status"] == "failed"
        reason = row["reason"] or ("" if failed else f"{row['worst']} is an outlier")
        cards.append(
            {
                **row,
                "failed": failed,
                "far": not failed and row["z"] >= OUTLIER_Z,
                "swapped": not failed and row["asymmetry"] < 0,
                "link": None if failed else Path(os.path.relpath(row["picture"], place)).as_posix(),
                "verdict": decisions.get(row["scan_id"]),
                "line": f"{row['scan_id']}\t{'keep' if row['status'] == 'qc' else 'exclude'}\t"
                f"{'looked at: fine' if row['status'] == 'qc' else reason}",
            }
        )
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(TEMPLATE.read_text()).render(
        cards=cards,
        duplicates=duplicates.to_dict("records"),
        measures=[measure for measure in shown if known[measure.key].notna().any()],
        medians={measure.key: known[measure.key].dropna().median() for measure in shown},
        bounds=bounds,
        counts=known["status"].value_counts().to_dict(),
        far=sum(card["far"] for card in cards),
        swapped=sum(card["swapped"] for card in cards),
        limit=OUTLIER_Z,
    )
