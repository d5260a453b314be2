"""One HTML file that tells a reader who was not there what was done and what came out."""

import base64
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import yaml
from markupsafe import Markup, escape

from ldae import __version__
from ldae.errors import UserError, require
from ldae.figures.registry import FIGURES
from ldae.figures.text import count
from ldae.files import atomic, read_json, read_table
from ldae.report import cohort
from ldae.report import tables as make
from ldae.report.claims import claims, tally
from ldae.report.methods import is_published, methods, warnings
from ldae.report.references import ADNI, REFERENCES
from ldae.report.resources import resources, software, training_table

STAGES = ("autoencoder", "ldm", "ldae")
TABLES = (
    "cohort",
    "flow",
    "reconstruction",
    "reconstruction_controls",
    "guidance_differences",
    "probes",
    "probes_differences",
    "manipulation",
    "interpolation",
    "interpolation_differences",
)
SECTIONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("cohort", "Cohort", ("cohort_flow",)),
    ("quality", "Quality of preprocessing", ("cohort_qc",)),
    ("training", "Training", ("training_curves",)),
    (
        "reconstruction",
        "Reconstruction",
        ("figure3_reconstruction", "ddim_steps", "guidance", "figure4_variation"),
    ),
    ("representation", "What y_sem represents", ("figure5_lda", "probes")),
    (
        "manipulation",
        "Manipulation",
        ("figure6_progression", "figure7_manipulation", "manipulation_dose"),
    ),
    ("interpolation", "Missing visits", ("figure8_interpolation", "figure9_interpolation_example")),
    ("truth", "Against the known truth", ("truth",)),
)
SYMBOLS = {
    "y_sem": "<i>y</i><sub>sem</sub>",
    "z_T": "<i>z</i><sub><i>T</i></sub>",
    "z_0": "<i>z</i><sub>0</sub>",
}


@dataclass(frozen=True)
class Picture:
    """A figure in the report: number (here and in the paper), caption, the PNG as a data URI."""

    name: str
    number: int
    paper: str
    title: str
    body: str
    uri: str


@dataclass(frozen=True)
class Section:
    """A part of the report."""

    key: str
    title: str
    pictures: list[Picture]
    tables: list[make.Table]


def build(results: str | Path, config: dict[str, Any], out: str | Path) -> None:
    """Write the report.

    It is made of the tables, figures, captions, model cards, histories and benchmarks below
    ``results``; nothing is computed anew but the verdicts, and nothing per subject is shown but
    what the figures show.

    Args:
        results: ``paths.results``: reads tables/*.tsv, figures/*.{png,caption.txt},
            models/*/{model.json,history.tsv}, cache/volumes/index.tsv, benchmarks/**/*.tsv.
            Published models have no history, and the report no section about training.
        config: The whole configuration of the run, as Snakemake holds it.
        out: The HTML file.

    Raises:
        UserError: a table, figure or model card is missing.
    """
    results = Path(results)
    synthetic_truth = bool(config["evaluation"]["truth"])
    names = [*TABLES, *(["truth"] if synthetic_truth else [])]
    tables = {name: read_table(results / "tables" / f"{name}.tsv") for name in names}
    cards = {stage: _card(results / "models" / stage / "model.json") for stage in STAGES}
    trained = [stage for stage in STAGES if not is_published(cards[stage])]
    histories = {stage: read_table(results / "models" / stage / "history.tsv") for stage in trained}
    index = read_table(results / "cache/volumes/index.tsv", ("participant_id", "split"))
    content = _tables(tables, cards, histories)
    sections, number = [], 0
    for key, title, figures in SECTIONS:
        if (key == "truth" and not synthetic_truth) or (key == "training" and not trained):
            continue
        pictures = []
        for name in figures:
            number += 1
            pictures.append(picture(results / "figures", name, number))
        sections.append(Section(key, title, pictures, content[key]))
    found = claims(tables, float(config["evaluation"]["manipulation"]["alpha"]))
    page = _template().render(
        title="Latent Diffusion Autoencoders: report of a run",
        lead=_lead(config, index, cards),
        warnings=warnings(config, index, is_published(cards["ldae"])),
        claims=found,
        tally=tally(found),
        sections=sections,
        methods=methods(config, cards, index),
        resources=resources(results / "benchmarks"),
        software=software() | _trained_with(cards["ldae"]),
        config=yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=True),
        references=REFERENCES,
        adni=ADNI,
        version=__version__,
    )
    with atomic(out) as path:
        path.write_text(page, encoding="utf-8")


def picture(folder: Path, name: str, number: int) -> Picture:
    """One figure with its caption, the PNG inline.

    Raises:
        UserError: the picture or its caption is missing.
    """
    if name not in FIGURES:
        raise UserError(f"There is no figure {name!r}; there are {', '.join(FIGURES)}.")
    png, caption = folder / f"{name}.png", folder / f"{name}.caption.txt"
    for path in (png, caption):
        require(path.is_file(), f"The report needs {path}. Run `snakemake figures` first.")
    title, _, body = caption.read_text(encoding="utf-8").partition("\n\n")
    data = base64.b64encode(png.read_bytes()).decode("ascii")
    paper = re.match(r"figure(\d+)_", name)
    return Picture(
        name,
        number,
        paper[1] if paper else "",
        title,
        body.strip(),
        f"data:image/png;base64,{data}",
    )


def _tables(
    tables: dict[str, pd.DataFrame],
    cards: dict[str, dict[str, Any]],
    histories: dict[str, pd.DataFrame],
) -> dict[str, list[make.Table]]:
    """Printed tables by section."""
    probes = tables["probes"]
    return {
        "cohort": [cohort.cohort(tables["cohort"]), cohort.flow(tables["flow"])],
        "quality": [],
        "training": [training_table(cards, histories)] if histories else [],
        "reconstruction": [
            make.reconstruction(tables["reconstruction"]),
            make.controls(tables["reconstruction_controls"]),
            make.guidance(tables["guidance_differences"]),
        ],
        "representation": [
            *(make.probes(probes, target) for target in ("diagnosis", "age")),
            make.differences(tables["probes_differences"]),
        ],
        "manipulation": [make.manipulation(tables["manipulation"])],
        "interpolation": [
            *make.interpolation(tables["interpolation"]),
            make.interpolation_differences(tables["interpolation_differences"]),
        ],
        "truth": [make.truth(tables["truth"])] if "truth" in tables else [],
    }


def _card(path: Path) -> dict[str, Any]:
    require(path.is_file(), f"The report needs {path}. Run `snakemake ldae` first.")
    return read_json(path)


def _lead(config: dict[str, Any], index: pd.DataFrame, cards: dict[str, dict[str, Any]]) -> str:
    test = index[index["split"] == "test"]
    kind = "synthetic cohort" if "synthetic" in config else "ADNI cohort"
    shape = " × ".join(map(str, config["volumes"]["shape"]))
    ldae = cards["ldae"]
    models = (
        "weights published by the authors, not trained here"
        if is_published(ldae)
        else f"trained on {ldae['machine']['device']} ({ldae['machine']['device_name']})"
    )
    return (
        f"{count(len(index), 'scan')} of {count(index['participant_id'].nunique(), 'subject')} "
        f"({kind}), {count(len(test), 'scan')} of "
        f"{count(test['participant_id'].nunique(), 'subject')} held out for testing; volumes of "
        f"{shape} voxels at {config['volumes']['spacing']:g} mm; {models}."
    )


def _trained_with(card: dict[str, Any]) -> dict[str, str]:
    """Versions that the models were trained with, our own apart."""
    return {name: number for name, number in card["versions"].items() if name != "ldae"}


def _plain(config: Any) -> Any:
    """The configuration as plain dicts and lists, for YAML."""
    if isinstance(config, dict):
        return {str(key): _plain(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [_plain(value) for value in config]
    return config if isinstance(config, str | int | float | bool | None) else str(config)


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"symbols": symbols, "estimate": estimate}
    return environment.get_template("report.html.j2")


def symbols(text: str) -> Markup:
    """Plain text with y_sem and z_T (also as mathtext) set as symbols."""
    plain = str(text).replace(r"$y_\mathrm{sem}$", "y_sem").replace("$z_T$", "z_T")
    found = str(escape(plain))
    for name, symbol in SYMBOLS.items():
        found = re.sub(rf"\b{name}\b", symbol, found)
    return Markup(found)  # escaped above; only the symbols' own tags are added


def estimate(text: str) -> Markup:
    """A cell with its interval in grey and the paper's value, after a bar, in colour."""
    found = str(symbols(text)).replace(" ± ", "&nbsp;±&nbsp;")
    found = re.sub(r"(\[[^\[\]]*\])", r'<span class="ci">\1</span>', found)
    found = re.sub(r" \| (\S+)$", r' <span class="paper">paper \1</span>', found)
    return Markup(found)
