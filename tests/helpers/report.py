"""Small report: the results of :mod:`helpers.results`, with a picture for every figure."""

from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from helpers.results import make_results
from ldae.figures.registry import FIGURES
from ldae.files import write_table
from ldae.report.build import build

ASKED = {"autoencoder": {"gpu": 2, "threads": 8, "mem_mb": 48000, "runtime": 5760}}


def outputs(folder: Path) -> dict[str, Path]:
    """Paths of the files that the report is written to."""
    names = {"html": "report.html", "summary": "summary.md", "methods": "methods.md"}
    names["references"] = "references.bib"
    return {key: folder / name for key, name in names.items()} | {"resources": folder / "took.tsv"}


def write(folder: Path, config: dict, out: Path, **more: Any) -> str:
    """Build the report with the arguments of its rule; returns the page."""
    tables = sorted(path.stem for path in (folder / "tables").glob("*.tsv"))
    figures = list(FIGURES)
    if not config["evaluation"]["truth"]:
        tables, figures = (
            [name for name in names if not name.startswith(("truth", "counterfactual"))]
            for names in (tables, figures)
        )
    given = {"tables": tables, "figures": figures, "asked": ASKED} | more
    build(folder, config, outputs(out), **given)
    return outputs(out)["html"].read_text()


def make_report(folder: Path) -> tuple[Path, dict, str]:
    """Write results and their report below them; returns folder, configuration and page."""
    _, config = make_results(folder)
    (folder / "figures").mkdir()
    for number, name in enumerate(FIGURES):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"figures/{name}.png")
        caption = f"Title of {name}\n\nBody of {name} with y_sem & <numbers>.\n"
        (folder / f"figures/{name}.caption.txt").write_text(caption)
        (folder / f"figures/{name}.result.txt").write_text(f"Result of\n{name}: 0.83.\n")
        (folder / f"figures/{name}.pdf").write_bytes(b"%PDF")
    write_table(pd.DataFrame({"new_thing": [1.5, None], "empty": None}), folder / "tables/new.tsv")
    config["paths"]["images"] = "/data/secret/ADNI"
    return folder, config, write(folder, config, folder / "report")
