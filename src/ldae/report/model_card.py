"""Model card of a run (MODEL_CARD.md): its models, their scores, intended uses and limits."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ldae import __version__
from ldae.cohort.splits import EXTERNAL, splits_of
from ldae.files import atomic, read_table
from ldae.labels import ABSENT, count, number
from ldae.models.card import CITATION
from ldae.report.build import read_cards
from ldae.report.citations import printed
from ldae.report.page import without_paths
from ldae.report.references import ADNI, bibliography
from ldae.report.tables.probes import probes as probe_table
from ldae.report.tables.table import Table, cell, markdown_table
from ldae.report.warnings import changed_scans_warning, warnings
from ldae.systems import metric
from ldae.training.network_keys import OF_TRAINING

SPLITS = {"train": "training", "val": "validation", "test": "test", EXTERNAL: "external test"}
INTENDED = (
    "Research on representations of T1-weighted brain MRI: encoding, reconstructing, varying, "
    "interpolating and manipulating scans like those the models were trained on, preprocessed as "
    "by this workflow (`ldae --help`).",
    "Comparison with other methods on the same frozen split of subjects.",
)
# Keys of a stage's section that do not shape the network.
TRAINING = OF_TRAINING | {"adversarial", "draws", "perceptual", "slice_batch"}
NOT_INTENDED = (
    "Diagnosis, prognosis or any decision about a person: no output is a medical finding.",
    "Scans of other sequences, of children, with lesions or tumours, or preprocessed otherwise: "
    "nothing is known of what the models make of them.",
    "Decoded, interpolated and manipulated images as evidence: they show what the models have "
    "learnt, and may add or leave out anatomy.",
)


def write_model_card(results: str | Path, config: dict[str, Any], out: str | Path) -> None:
    """Write the card.

    Args:
        results: ``paths.results``: reads models/*/{model.json,scans.tsv},
            cache/volumes/index.tsv, tables/reconstruction.tsv and tables/probes.tsv.
        config: The whole configuration of the run.
        out: The Markdown file.

    Raises:
        UserError: a model or table is missing.
    """
    results = Path(results)
    cards = read_cards(results / "models")
    index = read_table(results / "cache/volumes/index.tsv", ("participant_id", "split"))
    reconstruction = read_table(results / "tables/reconstruction.tsv")
    probes = read_table(results / "tables/probes.tsv")
    flags = warnings(config, index, cards) + changed_scans_warning(cards, results / "models", index)
    parts = [
        "# Model card",
        _summary(config, cards),
        "## Intended use\n\n" + _bullets(INTENDED),
        "## Not intended\n\n" + _bullets(NOT_INTENDED),
        "## Models\n\n" + _models(cards),
        "## Training\n\n" + _training(cards),
        "## Data\n\n" + _data(config, index, cards),
        "## How good: reconstruction\n\n" + _reconstruction(reconstruction),
        *(
            f"## How good: {title}\n\n" + _probes(probes, target)
            for target, title in (("diagnosis", "diagnosis"), ("age", "age"))
            if (probes["target"] == target).any()
        ),
        "## Limits and flags\n\n" + _bullets([one.text for one in flags]),
        "## Citation\n\n" + _citation(cards),
    ]
    with atomic(out) as path:
        path.write_text(without_paths("\n\n".join(parts)) + "\n", encoding="utf-8")


def _summary(config: dict[str, Any], cards: dict[str, dict[str, Any]]) -> str:
    shape = " × ".join(map(str, config["volumes"]["shape"]))
    published = [name for name, card in cards.items() if card.get("published")]
    origin = (
        f"Weights of {', '.join(published)}: published by the authors, converted."
        if published
        else "Trained by this workflow."
    )
    return (
        "Latent diffusion autoencoder of brain MRI (Lozupone et al. 2026): an autoencoder "
        "compresses a volume, a diffusion model learns the latents, and a semantic encoder with a "
        f"gradient estimator turns a scan into a vector (y_sem) and back. Volumes of {shape} "
        f"voxels at {config['volumes']['spacing']:g} mm, intensities 0 to 1, brain extracted, in "
        f"the space of {config['preprocess']['template']['name']}. {origin} Code: ldae-workflow "
        f"{__version__}."
    )


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines) or "None known."


def _models(cards: dict[str, dict[str, Any]]) -> str:
    rows = [[name, card["kind"], f"`{card['sha256']}`"] for name, card in cards.items()]
    parts = [markdown_table(["Model", "Kind", "SHA-256 of model.safetensors"], rows)]
    parts += [f"**{name}**: {_shape(card['architecture'])}." for name, card in cards.items()]
    return "\n\n".join(parts)


def _shape(architecture: dict[str, Any], above: str = "") -> str:
    """Settings that shape the network, as ``key value``; those of the training are left out."""
    found = []
    for key, value in architecture.items():
        if isinstance(value, dict) and value and key not in TRAINING:
            found.append(_shape(value, f"{above}{key}."))
        elif key not in TRAINING and value != {}:
            found.append(f"{above}{key} {value}")
    return "; ".join(found)


def _training(cards: dict[str, dict[str, Any]]) -> str:
    rows = []
    for name, card in cards.items():
        if card.get("published"):
            rows.append([name, "published weights", *[ABSENT] * 5])
            continue
        machine, settings = card.get("machine", {}), card.get("config", {})
        scores = ", ".join(
            f"{key} {number(float(value))}" for key, value in (card.get("metrics") or {}).items()
        )
        why = machine.get("precision_reason")
        precision = f"{machine.get('precision', ABSENT)}{f' ({why})' if why else ''}"
        rate, size = settings.get("learning_rate"), settings.get("batch_size")
        rows.append(
            [
                name,
                f"{card.get('epoch', ABSENT)} of {card.get('epochs', ABSENT)}",
                card.get("steps", ABSENT),
                ABSENT if rate is None else f"{rate:g} / {size}",
                card.get("seed", ABSENT),
                f"{machine.get('device_name', ABSENT)}, {precision}",
                scores or ABSENT,
            ]
        )
    columns = ["Model", "Epoch kept", "Steps", "Learning rate / batch", "Seed", "Machine"]
    return markdown_table([*columns, "Validation"], rows)


def _data(config: dict[str, Any], index: pd.DataFrame, cards: dict[str, dict[str, Any]]) -> str:
    splits = config["cohort"]["splits"]
    rows = []
    for split in splits_of(index):
        title, part = SPLITS[split], index[index["split"] == split]
        groups = part["diagnosis"].value_counts().sort_index()
        ages = part["age"].dropna()
        rows.append(
            [
                title,
                f"{part['participant_id'].nunique():,}",
                f"{len(part):,}",
                ", ".join(f"{name} {amount:,}" for name, amount in groups.items()) or ABSENT,
                f"{ages.mean():.1f} ± {ages.std():.1f}" if len(ages) > 1 else ABSENT,
            ]
        )
    kind = "a synthetic download" if "synthetic" in config else config["cohort"]["name"]
    exposure = (
        "what the published weights have seen of them is not known"
        if any(card.get("published") for card in cards.values())
        else "no test subject was seen in training or model selection"
    )
    trained = [
        f"{name} on {count(scans['train'], 'scan')} and {scans['val']:,} for selection"
        for name, card in cards.items()
        if (scans := card.get("scans"))
    ]
    note = (
        f"Cohort: {kind}. Subjects, never scans, were divided (test fraction "
        f"{splits['test_fraction']:g}, seed {splits['seed']}); {exposure}."
    )
    if trained:
        note += (
            f" The table is of the {count(len(index), 'scan')} there are now. The models were "
            f"trained on those there were then: {', '.join(trained)} (scans.tsv beside each)."
        )
    columns = ["Split", "Subjects", "Scans", "Diagnoses (scans)", "Age (mean ± SD)"]
    return f"{markdown_table(columns, rows)}\n\n{note}"


def _reconstruction(table: pd.DataFrame) -> str:
    """Every system and variant at its largest number of DDIM steps."""
    last = table.groupby(["system", "variant"], dropna=False)["T"].transform("max")
    mine = table[(table["T"] == last) | table["T"].isna()]
    names = [key for key in mine["metric"].drop_duplicates() if not metric(key).to_autoencoder]
    rows = []
    for (name, variant), part in mine.groupby(["system", "variant"], sort=False, dropna=False):
        found = {row["metric"]: row for _, row in part.iterrows()}
        steps = part["T"].iloc[0]
        rows.append(
            [
                name,
                ABSENT if pd.isna(variant) else variant,
                ABSENT if pd.isna(steps) else f"{steps:g}",
                *(cell(found[key], name=key) if key in found else ABSENT for key in names),
            ]
        )
    size = mine.iloc[0]
    columns = ["System", "From", "DDIM steps", *(metric(name).label for name in names)]
    return (
        f"{markdown_table(columns, rows)}\n\nEstimate [95 % interval, subjects resampled] on "
        f"{count(int(size['n_scans']), 'scan')} of "
        f"{count(int(size['n_subjects']), 'test subject')}."
    )


def _probes(table: pd.DataFrame, target: str) -> str:
    made: Table = probe_table(table, target)
    return f"{markdown_table(made.columns, made.rows)}\n\n{made.note}"


def _citation(cards: dict[str, dict[str, Any]]) -> str:
    cites = dict.fromkeys(card.get("citation", CITATION) for card in cards.values())
    paper = printed(bibliography().entries["lozupone2026"])
    return "\n\n".join([*cites, f"In full: {paper}", ADNI])
