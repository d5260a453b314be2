"""Sections of the report: which figures and tables each of them shows, and which stand open."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ldae.figures.registry import FIGURES
from ldae.report.pictures import Picture, picture
from ldae.report.tables.registry import PAPER_TABLES
from ldae.report.tables.table import Table
from ldae.report.verdicts import QUESTIONS, Claim

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
            "reconstruction_systems",
            "reconstruction_external",
            "reconstruction_external_differences",
            "reconstruction_controls",
            "reconstruction_volumes",
            "guidance_differences",
            "guidance",
            "solvers",
            "solvers_differences",
            "inference",
            "inference_dae",
        ),
    ),
    (
        "representation",
        "What y_sem represents",
        (
            "probes",
            "probes_differences",
            "table7",
            "probes_external",
            "probes_external_differences",
        ),
    ),
    (
        "targets",
        "Targets of the probes",
        (
            "targets",
            "targets_differences",
            "targets_calibration",
            "targets_external",
            "targets_external_differences",
        ),
    ),
    (
        "scanner",
        "Scanner, site and fairness",
        ("scanner", "scanner_cost", "confounding", "confounding_counts", "fairness"),
    ),
    ("normative", "Against healthy people of the same age and sex", ("normative",)),
    ("fine_tuning", "Few labels", ("fine_tuning",)),
    ("manipulation", "Manipulation", ("manipulation_trends", "manipulation")),
    (
        "interpolation",
        "Missing visits",
        (
            "interpolation_differences",
            "interpolation",
            "extrapolation_differences",
            "extrapolation",
            "visit_correction",
        ),
    ),
    (
        "saliency",
        "What the diagnosis is read from",
        ("saliency_checks", "saliency_regions", "slice_attention"),
    ),
    (
        "truth",
        "Against the known truth",
        (
            "truth",
            "decoded_volumes",
            "planted",
            "counterfactual_differences",
            "counterfactual",
        ),
    ),
)
# Tables that stand open; a reader opens the others.
OPEN_TABLES = frozenset({"cohort", "probes", "interpolation_differences"})
# Figures of details, which a reader opens.
FOLDED_FIGURES = frozenset(
    {
        "guidance",
        "solvers",
        "figure4_variation",
        "figure7_manipulation",
        "counterfactual",
        "counterfactual_example",
    }
)
# Question of the claims: its section, and the figure that shows it best.
SHOWN_IN = {
    "reconstruction": ("reconstruction", "ddim_steps"),
    "diagnosis": ("representation", "probes"),
    "age": ("representation", "probes"),
    "manipulation": ("manipulation", "manipulation_dose"),
    "visits": ("interpolation", "figure8_interpolation"),
    "saliency": ("saliency", "saliency_checks"),
    "truth": ("truth", "truth"),
    "external": ("representation", "probes"),
}
FORMS = ("tsv", "md", "tex")


@dataclass(frozen=True)
class ShownTable:
    """A table in the report.

    Attributes:
        table: The table.
        anchor: Its id in the page.
        opened: Whether it stands open.
        files: Its files: form and address, relative to the report.
    """

    table: Table
    anchor: str
    opened: bool = False
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """A section of the report.

    Attributes:
        key: Its id in the page.
        title: Its heading.
        pictures, tables: In their order.
        verdicts: Number of the section's claims by verdict.
        sources: Files of its tables, below the results folder.
    """

    key: str
    title: str
    pictures: list[Picture] = field(default_factory=list)
    tables: list[ShownTable] = field(default_factory=list)
    verdicts: Mapping[str, int] = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)


def sections(
    results: Path,
    figures: Sequence[str],
    tables: Mapping[str, list[Table]],
    extra_tables: Mapping[str, list[ShownTable]],
    claims: Sequence[Claim],
) -> list[Section]:
    """Every figure and table in its section; those without one in a last section.

    Args:
        results: Folder of the results.
        figures: Names of the figures.
        tables: Printed tables by the name of their file below tables/.
        extra_tables: By section, tables of other files.
        claims: All claims, which are counted by section.
    """
    left_figures, left_tables = dict.fromkeys(figures), dict.fromkeys(tables)
    found, number = [], 0
    for key, title, names in SECTIONS:
        pictures = []
        for name, figure in FIGURES.items():
            if figure.section == key and name in left_figures:
                left_figures.pop(name)
                number += 1
                folded = name in FOLDED_FIGURES
                pictures.append(picture(results / "figures", name, number, folded))
        made = [name for name in names if name in left_tables]
        for name in made:
            left_tables.pop(name)
        shown = [*extra_tables.get(key, []), *_shown(results, made, tables)]
        mine = Counter(one.verdict for one in claims if SHOWN_IN[one.question][0] == key)
        if pictures or shown:
            found.append(Section(key, title, pictures, shown, mine, _sources(made)))
    if left_figures or left_tables:
        pictures = [
            picture(results / "figures", name, number + k) for k, name in enumerate(left_figures, 1)
        ]
        title = "Further figures and tables" if left_figures else "Further tables"
        shown = _shown(results, left_tables, tables)
        found.append(Section("further", title, pictures, shown, {}, _sources(left_tables)))
    return found


def _sources(names: Iterable[str]) -> list[str]:
    return [f"tables/{name}.tsv" for name in names]


def _shown(
    results: Path, names: Iterable[str], tables: Mapping[str, list[Table]]
) -> list[ShownTable]:
    """The printed tables of some files, with the address of each file."""
    found = []
    for name in names:
        there = [form for form in FORMS if (results / f"tables/{name}.{form}").is_file()]
        files = {form.upper(): f"../tables/{name}.{form}" for form in there}
        for place, table in enumerate(tables[name]):
            anchor = table_anchor(name) + (f"-{place + 1}" if place else "")
            found.append(ShownTable(table, anchor, name in OPEN_TABLES, files))
    return found


def table_anchor(name: str) -> str:
    """Id of a table in the page, by the name of its file."""
    return f"table-{name}"


def proofs(claims: Sequence[Claim], tables: Mapping[str, list[Table]]) -> dict[str, str]:
    """By the table that decides a claim, the id of the printed table that shows it.

    A table whose numbers one of the paper's tables repeats is shown there.

    Args:
        claims: The claims.
        tables: Printed tables by the name of their file.
    """
    found = {}
    for name in dict.fromkeys(one.table for one in claims):
        if tables.get(name):
            found[name] = table_anchor(name)
            continue
        repeating = (paper for paper, others in PAPER_TABLES.items() if name in others)
        found[name] = table_anchor(next(paper for paper in repeating if paper in tables))
    return found


def questions(claims: Sequence[Claim]) -> dict[str, str]:
    """Titles of the questions that any claim belongs to, in their order."""
    asked = {one.question for one in claims}
    return {key: title for key, title in QUESTIONS.items() if key in asked}
