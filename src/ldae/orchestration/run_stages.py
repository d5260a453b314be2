"""Stages of a run: the rules of the workflow in groups, with the names that people know them by."""

import re
from collections.abc import Iterable

# Title, and the rules of the stage as a regular expression, in the order of the run. Without a
# title: targets, and records of no second each; they are counted, but not shown.
STAGES: tuple[tuple[str, str], ...] = (
    ("Synthetic ADNI download", r"synthetic(_\w+)?"),
    ("Weights and templates", "resources?|resources_list"),
    (
        "DICOM to BIDS",
        "study_tables|check_download|downloaded_scans|clinica_batch|convert_study|import_bids|bids"
        "|conversion_check",
    ),
    ("Scan table and splits", "scans|splits|decisions|acquisitions"),
    ("Bias field correction (N4)", "n4"),
    ("Brain extraction", "brain_extraction"),
    ("Registration to the template", "registration|preprocessed_input"),
    ("Volume store", "volume_shard|volumes"),
    ("Quality control and ledger", "mriqc|template_picture|qc|ledger"),
    ("Published weights", "published"),
    ("Autoencoder (stage 1)", "autoencoder"),
    ("Latents", "latent_shard|latents"),
    ("Latent diffusion model (stage 2)", "ldm"),
    ("LDAE (stage 3)", "ldae"),
    ("Voxel-space DAE", "dae"),
    ("Supervised encoders", r"supervised_(?!predictions)\w+"),
    ("Embeddings (y_sem)", r"embeddings(_\w+)?"),
    ("Reconstruction", r"code_shard|(reconstruction|inference)(_\w+)?|guidance|volume_correlation"),
    (
        "Probes of diagnosis, age and other targets",
        r"tissue_volumes|latents_pca|probe_\w+|(probes|targets)(_external)?|supervised_predictions_\w+",
    ),
    ("Scanner and fairness", "scanner|confounding|fairness"),
    ("Manipulation", "manipulation|examples"),
    ("Missing visits", "interpolation"),
    ("Solvers against network calls", "solvers"),
    (
        "Against the known truth",
        "true_volumes|truth|decoded_volumes|planted(_labels)?|counterfactual(_volumes)?",
    ),
    ("What the diagnosis is read from", "saliency"),
    ("Against healthy people of that age", "normative"),
    ("Fine-tuning with few labels", "fine_tune|fine_tuning"),
    ("Figures and tables", r"tables_paper|figure\d*_\w+"),
    ("Explorer", "explore"),
    ("Report", "report|model_card|application|proof"),
    ("Preflight check", "check"),
    ("Reset of scans", "retry|redo"),
    ("", "all|cohort|preprocess|evaluate|figures|training_settings|store_ready"),
)
_PATTERNS = [(title, re.compile(rules)) for title, rules in STAGES]


def stage_of(rule: str) -> str:
    """Title of the stage that a rule belongs to; empty if it is not shown.

    A rule that no stage names, such as a user's own, is a stage with its own name.
    """
    for title, pattern in _PATTERNS:
        if pattern.fullmatch(rule):
            return title
    return rule


def in_order(titles: Iterable[str]) -> list[str]:
    """Titles of stages in the order of the run; those that no stage names come last."""
    places = {title: place for place, (title, _) in enumerate(STAGES)}
    return sorted(titles, key=lambda title: places.get(title, len(places)))
