"""Builder of the report: one HTML file that says what a run did and what it found.

A summary in plain sentences, the methods text, its references and the table of job usage are
written beside it.
"""

import math
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ldae import __version__
from ldae.errors import require
from ldae.evaluation.published_values import cost_value
from ldae.files import atomic, read_json, read_table, write_table
from ldae.orchestration.job_usage import job_usage_table, set_resources_yaml
from ldae.report.citations import bibtex, cited, printed
from ldae.report.claims import claims
from ldae.report.methods import markdown, methods
from ldae.report.page import plain, render
from ldae.report.references import ADNI
from ldae.report.run_facts import cautions, grounds, run_facts
from ldae.report.sections import SHOWN_IN, ShownTable, proofs, questions, sections
from ldae.report.summary import sentences, tally
from ldae.report.tables import cohort
from ldae.report.tables.job_usage import resources, software, training_table
from ldae.report.tables.registry import printed_tables
from ldae.report.tables.table import Table
from ldae.report.verdicts import OPEN, OPPOSITE, SHOWN
from ldae.report.warnings import changed_scans_warning, warnings
from ldae.source_commit import source_commit

STAGES = ("autoencoder", "ldm", "ldae")
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
# Pages that the report links to where the run made them: what they show.
PAGES = {
    "report/explore.html": "Explorer",
    "qc/index.html": "Quality of every scan",
}
CLASSES = {SHOWN: "shown", OPEN: "open", OPPOSITE: "opposite"}  # of verdicts, in the page


def build(
    results: str | Path,
    config: dict[str, Any],
    outputs: Mapping[str, str | Path],
    tables: Sequence[str],
    figures: Sequence[str],
    asked: Mapping[str, Mapping[str, int]],
    pages: Sequence[str | Path] = (),
) -> None:
    """Write the report, its summary, methods text with references, and the usage of rules' jobs.

    The report shows the tables, figures, captions, model cards, histories and benchmarks below
    ``results``. It computes only the verdicts on the claims. Of single scans it shows the outliers
    of preprocessing and what the figures show.

    Args:
        results: ``paths.results``: reads tables/*.{tsv,md},
            figures/*.{png,caption.txt,result.txt}, models/*/{model.json,history.tsv,scans.tsv},
            cache/volumes/index.tsv, qc/measures.tsv, cohort/tables.tsv (of a download),
            benchmarks/**/*.tsv.
        config: The whole, merged configuration of the run.
        outputs: Where to write ``html``, ``summary`` and ``methods`` (Markdown), ``references``
            (BibTeX) and ``resources`` (TSV).
        tables, figures: Names of all tables and figures that the run made. Those that no section
            names come last.
        asked: By rule, the resources that its jobs request (see
            :func:`ldae.orchestration.job_usage.job_usage_table`).
        pages: Pages below ``results`` that the run made and the report links to, of ``PAGES``.

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
    forms = printed_tables(results / "tables", contents)
    versions = {"ldae-workflow": __version__, **software(), **_trained_with(cards["ldae"])}
    paragraphs = methods(config, cards, index, versions)
    notes = warnings(config, index, cards) + changed_scans_warning(cards, results / "models", index)
    references = cited(text for _, text in paragraphs)
    took = job_usage_table(results / "benchmarks", results / "models", asked)
    alpha = float(config["evaluation"]["manipulation"]["alpha"])
    found = claims(contents, alpha, full_size(config["volumes"]["shape"]))
    summary = sentences(found)
    published = any(card.get("published") for card in cards.values())
    parts = sections(
        results, figures, forms, _extra_tables(results, config, cards, histories), found
    )
    page = render(
        references,
        printed={reference.key: printed(reference) for reference in references},
        title="Latent Diffusion Autoencoders: report of a run",
        facts=run_facts(
            results.resolve().name,
            config,
            index,
            cards,
            took,
            source_commit(),
            datetime.now(UTC).date(),
        ),
        summary=summary,
        grounds=grounds(contents["flow"], index, config, published),
        cautions=cautions(notes, found),
        warnings=[note.text for note in notes],
        pages=_links(results, pages),
        claims=found,
        questions=questions(found),
        proofs=proofs(found, forms),
        shown_in={key: figure for key, (_, figure) in SHOWN_IN.items()},
        numbers={one.name: one.number for part in parts for one in part.pictures},
        tally=tally(found),
        classes=CLASSES,
        sections=parts,
        methods=paragraphs,
        resources=_usage(took),
        requests=set_resources_yaml(took),
        software=versions,
        config=yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True),
        adni=ADNI,
    )
    write_table(took, outputs["resources"])
    texts = [sentence.text for sentence in summary] + [tally(found)]
    for key, text in (
        ("methods", markdown(paragraphs, [note.text for note in notes])),
        ("references", bibtex(references)),
        ("summary", "".join(f"- {sentence}\n" for sentence in texts)),
        ("html", page),
    ):
        with atomic(outputs[key]) as path:
            path.write_text(text, encoding="utf-8")


def full_size(shape: Sequence[int]) -> bool:
    """Whether a grid has at least as many voxels as the paper's.

    Args:
        shape: Voxels along each axis.
    """
    paper = cost_value("autoencoder", "resolution")
    assert paper is not None  # published_values.json
    return math.prod(shape) >= math.prod(int(size) for size in paper.split(" × "))


def _extra_tables(
    results: Path,
    config: Mapping[str, Any],
    cards: dict[str, dict[str, Any]],
    histories: dict[str, pd.DataFrame],
) -> dict[str, list[ShownTable]]:
    """Tables of other files than those below tables/, by section."""
    measures = read_table(results / MEASURES, ("scan_id", "status", "worst", "z"))
    files = {"TSV": f"../{MEASURES}"}
    found = {
        "quality": [
            ShownTable(
                cohort.measures(measures, config["preprocess"]["qc"]), "measures", files=files
            ),
            ShownTable(cohort.outliers(measures), "outliers", files=files),
        ],
        "training": [ShownTable(training_table(cards, histories), "trainings")],
    }
    if (results / STUDY_TABLES).is_file():  # of a download from ADNI
        repairs = cohort.repairs(read_table(results / STUDY_TABLES))
        found["cohort"] = [ShownTable(repairs, "repairs", files={"TSV": f"../{STUDY_TABLES}"})]
    return found


def _usage(took: pd.DataFrame) -> ShownTable | None:
    """The table of job usage; None if nothing was recorded."""
    table: Table | None = resources(took)
    files = {"TSV": "../tables/resources.tsv"}
    return None if table is None else ShownTable(table, "usage", files=files)


def _links(results: Path, pages: Sequence[str | Path]) -> dict[str, str]:
    """Address relative to the report, and title, of each page that the run made.

    Raises:
        UserError: a page is not known.
    """
    found = {}
    for page in pages:
        name = Path(page).relative_to(results).as_posix()
        require(name in PAGES, f"There is no page {name!r}; known: {', '.join(PAGES)}.")
        found[os.path.relpath(name, "report")] = PAGES[name]
    return found


def read_cards(models: Path) -> dict[str, dict[str, Any]]:
    """``model.json`` by model: the three stages first, then all other models by name.

    Raises:
        UserError: a model of one of the three stages is missing.
    """
    for stage in STAGES:
        path = models / stage / "model.json"
        require(path.is_file(), f"The report needs {path}. Run the target `ldae` first.")
    others = sorted(path.parent.name for path in models.glob("*/model.json"))
    names = dict.fromkeys([*STAGES, *others])
    return {name: read_json(models / name / "model.json") for name in names}


def _trained_with(card: dict[str, Any]) -> dict[str, str]:
    """Versions of the packages that a model was trained with, without this package."""
    return {name: number for name, number in card["versions"].items() if name != "ldae"}
