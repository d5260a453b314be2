"""Builder of the report: one HTML file that says what a run did and what it found.

A summary in plain sentences, the methods text, its references and the table of job usage are
written beside it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ldae import __version__
from ldae.cohort.splits import EXTERNAL
from ldae.errors import require
from ldae.figures.registry import FIGURES
from ldae.files import atomic, read_json, read_table, write_table
from ldae.labels import count
from ldae.orchestration.job_usage import job_usage_table, set_resources_yaml
from ldae.report.citations import bibtex, cited, printed
from ldae.report.claims import claims
from ldae.report.methods import markdown, methods
from ldae.report.page import Section, picture, plain, render
from ldae.report.references import ADNI
from ldae.report.summary import sentences, tally
from ldae.report.tables import cohort
from ldae.report.tables.job_usage import resources, software, training_table
from ldae.report.tables.registry import printed_tables
from ldae.report.tables.table import Table
from ldae.report.warnings import changed_scans_warning, warnings

STAGES = ("autoencoder", "ldm", "ldae")
# Key, title, tables. Only tables that the run made are shown. Figures name their section in
# ldae.figures.registry.
SECTIONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("cohort", "Cohort", ("cohort", "flow")),
    ("quality", "Quality of preprocessing", ()),
    ("training", "Training", ()),
    (
        "reconstruction",
        "Reconstruction",
        (
            "table5",
            "table6",
            "reconstruction",
            "reconstruction_external",
            "reconstruction_external_differences",
            "reconstruction_controls",
            "guidance_differences",
            "solvers",
            "solvers_differences",
        ),
    ),
    (
        "representation",
        "What y_sem represents",
        (
            "table7",
            "probes",
            "probes_differences",
            "probes_external",
            "probes_external_differences",
        ),
    ),
    ("manipulation", "Manipulation", ("manipulation", "manipulation_trends")),
    (
        "interpolation",
        "Missing visits",
        (
            "interpolation",
            "interpolation_differences",
            "extrapolation",
            "extrapolation_differences",
        ),
    ),
    (
        "truth",
        "Against the known truth",
        ("truth", "counterfactual", "counterfactual_differences"),
    ),
)
# Tables that every report needs, most of them for the verdicts on the claims.
NEEDED = (
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
MEASURES = "qc/measures.tsv"
STUDY_TABLES = "cohort/tables.tsv"


def build(
    results: str | Path,
    config: dict[str, Any],
    outputs: Mapping[str, str | Path],
    tables: Sequence[str],
    figures: Sequence[str],
    asked: Mapping[str, Mapping[str, int]],
) -> None:
    """Write the report, its summary, methods text with references, and the usage of rules' jobs.

    The report shows the tables, figures, captions, model cards, histories and benchmarks below
    ``results``. It computes only the verdicts on the claims. Of single scans it shows the outliers
    of preprocessing and what the figures show.

    Args:
        results: ``paths.results``: reads tables/*.{tsv,md}, figures/*.{png,caption.txt},
            models/*/{model.json,history.tsv,scans.tsv}, cache/volumes/index.tsv,
            qc/measures.tsv, cohort/tables.tsv (of a download), benchmarks/**/*.tsv.
        config: The whole, merged configuration of the run.
        outputs: Where to write ``html``, ``summary`` and ``methods`` (Markdown), ``references``
            (BibTeX) and ``resources`` (TSV).
        tables, figures: Names of all tables and figures that the run made. Those that no section
            names come last.
        asked: By rule, the resources that its jobs request (see
            :func:`ldae.orchestration.job_usage.job_usage_table`).

    Raises:
        UserError: a table, figure or model card is missing.
    """
    results = Path(results)
    names = dict.fromkeys([*NEEDED, *tables])
    contents = {name: read_table(results / "tables" / f"{name}.tsv") for name in names}
    cards = read_cards(results / "models")
    histories = {
        stage: read_table(results / "models" / stage / "history.tsv")
        for stage, card in cards.items()
        if not card.get("published")
    }
    index = read_table(results / "cache/volumes/index.tsv", ("participant_id", "split"))
    measures = read_table(results / MEASURES, ("scan_id", "status", "worst", "z"))
    forms = printed_tables(results / "tables", contents)
    extra_tables = {
        "quality": [
            cohort.measures(measures, config["preprocess"]["qc"]),
            cohort.outliers(measures),
        ],
        "training": [training_table(cards, histories)],
    }
    if (results / STUDY_TABLES).is_file():  # of a download from ADNI
        extra_tables["cohort"] = [cohort.repairs(read_table(results / STUDY_TABLES))]
    versions = {"ldae-workflow": __version__, **software(), **_trained_with(cards["ldae"])}
    paragraphs = methods(config, cards, index, versions)
    notes = warnings(config, index, cards) + changed_scans_warning(cards, results / "models", index)
    references = cited(text for _, text in paragraphs)
    took = job_usage_table(results / "benchmarks", results / "models", asked)
    found = claims(contents, float(config["evaluation"]["manipulation"]["alpha"]))
    summary = sentences(found)
    page = render(
        references,
        printed={reference.key: printed(reference) for reference in references},
        title="Latent Diffusion Autoencoders: report of a run",
        lead=_lead(config, index, cards),
        warnings=notes,
        claims=found,
        summary=summary,
        tally=tally(found),
        sections=_sections(results / "figures", figures, forms, extra_tables),
        methods=paragraphs,
        resources=resources(took),
        requests=set_resources_yaml(took),
        software=versions,
        config=yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True),
        adni=ADNI,
    )
    write_table(took, outputs["resources"])
    for key, text in (
        ("methods", markdown(paragraphs, notes)),
        ("references", bibtex(references)),
        ("summary", "".join(f"- {sentence}\n" for sentence in summary)),
        ("html", page),
    ):
        with atomic(outputs[key]) as path:
            path.write_text(text, encoding="utf-8")


def _sections(
    folder: Path,
    figures: Sequence[str],
    tables: Mapping[str, list[Table]],
    extra_tables: Mapping[str, list[Table]],
) -> list[Section]:
    """Every figure and table in its section; those without one in a last section.

    Args:
        folder: Of the figures.
        figures: Their names.
        tables: Printed tables by the name of their file.
        extra_tables: By section, tables that have no file below tables/.
    """
    remaining_figures, remaining_tables = dict.fromkeys(figures), dict.fromkeys(tables)
    sections, number = [], 0
    for key, title, names in SECTIONS:
        pictures = []
        for name, figure in FIGURES.items():
            if figure.section == key and name in remaining_figures:
                remaining_figures.pop(name)
                number += 1
                pictures.append(picture(folder, name, number))
        made = [name for name in names if name in remaining_tables]
        for name in made:
            remaining_tables.pop(name)
        sources = [f"tables/{name}.tsv" for name in made] + [MEASURES] * (key == "quality")
        printed = [*extra_tables.get(key, []), *(table for name in made for table in tables[name])]
        if pictures or printed:
            sections.append(Section(key, title, pictures, printed, sources))
    if remaining_figures or remaining_tables:
        pictures = [
            picture(folder, name, number + k) for k, name in enumerate(remaining_figures, 1)
        ]
        printed = [table for name in remaining_tables for table in tables[name]]
        sources = [f"tables/{name}.tsv" for name in remaining_tables]
        title = "Further figures and tables" if remaining_figures else "Further tables"
        sections.append(Section("further", title, pictures, printed, sources))
    return sections


def read_cards(models: Path) -> dict[str, dict[str, Any]]:
    """``model.json`` by model: the three stages first, then all other models by name.

    Raises:
        UserError: a model of one of the three stages is missing.
    """
    for stage in STAGES:
        path = models / stage / "model.json"
        require(path.is_file(), f"The report needs {path}. Run `snakemake ldae` first.")
    others = sorted(path.parent.name for path in models.glob("*/model.json"))
    names = dict.fromkeys([*STAGES, *others])
    return {name: read_json(models / name / "model.json") for name in names}


def _lead(config: dict[str, Any], index: pd.DataFrame, cards: dict[str, dict[str, Any]]) -> str:
    test = index[index["split"] == "test"]
    outside = index[index["split"] == EXTERNAL]
    apart = (
        f", {count(len(outside), 'scan')} of "
        f"{count(outside['participant_id'].nunique(), 'subject')} of external test sets"
        if len(outside)
        else ""
    )
    kind = "synthetic cohort" if "synthetic" in config else f"{config['cohort']['name']} cohort"
    shape = " × ".join(map(str, config["volumes"]["shape"]))
    machine = cards["ldae"].get("machine")
    trained = (
        f"trained on {machine['device']} ({machine['device_name']})"
        if machine
        else "the authors' published weights"
    )
    return (
        f"{count(len(index), 'scan')} of {count(index['participant_id'].nunique(), 'subject')} "
        f"({kind}), {count(len(test), 'scan')} of "
        f"{count(test['participant_id'].nunique(), 'subject')} held out for testing{apart}; "
        f"volumes of {shape} voxels at {config['volumes']['spacing']:g} mm; {trained}."
    )


def _trained_with(card: dict[str, Any]) -> dict[str, str]:
    """Versions of the packages that a model was trained with, without this package."""
    return {name: number for name, number in card["versions"].items() if name != "ldae"}
