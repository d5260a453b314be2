"""Checks of the configuration that need more than one key: baselines, encoders, systems."""

from collections.abc import Mapping
from typing import Any

from ldae.errors import require
from ldae.systems import SYSTEMS, TARGETS

# Inputs of the rules with embeddings that are no system, and a system of decision curves.
TAKEN = (
    "acquisitions", "age_predictions", "dates", "diagnosis_predictions", "latents", "pca",
    "predictions", "study_tables", "table", "treat_all", "truth", "visits", "volumes",
)  # fmt: skip
# Systems with probes, beside the encoders of others; ldae_slices, dae and oracle only where they
# are made.
PROBED = (
    "ldae", "ldae_slices", "untrained", "dae", "latents_pca", "volumes", "oracle", "age_sex", "sex",
    "age",
)  # fmt: skip


def check_external_encoders(encoders: Mapping[str, Any]) -> None:
    """Check names of others' encoders, and that those of a library name their network.

    Raises:
        UserError: a name is taken by a system or a table of the probes, or a network is missing.
    """
    for name, about in encoders.items():
        key = f"evaluation.external_encoders.{name}"
        require(
            name not in SYSTEMS
            and name not in TAKEN
            and name not in TARGETS
            and not hasattr(list, name)
            and not hasattr(dict, name),
            f"{key}: the name is taken. Give the encoder another one.",
        )
        needed = about["kind"] != "torchscript"
        require(
            needed == ("network" in about) and (needed or "arguments" not in about),
            f"{key}: kind {about['kind']} needs its network."
            if needed
            else f"{key}: a torchscript file holds its network; leave network and arguments out.",
        )


def check_baselines(config: Mapping[str, Any]) -> None:
    """Check that no baseline is the LDAE itself.

    Raises:
        UserError: ``ldae_slices`` is asked for beside an LDAE whose encoder is that of slices.
    """
    require(
        "ldae_slices" not in config["baselines"] or config["ldae"]["encoder"]["kind"] != "slices",
        "baselines: ldae_slices is the LDAE with the paper's encoder of slices, which "
        "ldae.encoder.kind: slices makes the LDAE itself. Leave it out, or set ldae.encoder.kind "
        "to components or both.",
    )


def start_model(config: Mapping[str, Any]) -> str | None:
    """Name of the model whose branch of slices fine-tuning starts from; None: there is none.

    It is the LDAE, or beside a linear one the baseline ``ldae_slices``.
    """
    published = any(config["published"].values())
    if published or config["ldae"]["encoder"]["kind"] != "components":
        return "ldae"
    return "ldae_slices" if "ldae_slices" in config["baselines"] else None


def check_fine_tuning(config: Mapping[str, Any]) -> None:
    """Check that what ``evaluation.fine_tuning`` starts from can be there.

    Raises:
        UserError: no LDAE has a branch of slices, or there are no ImageNet weights.
    """
    starts, encoder = config["evaluation"]["fine_tuning"]["starts"], config["ldae"]["encoder"]
    require(
        "ldae" not in starts or start_model(config) is not None,
        "evaluation.fine_tuning.starts names ldae, but ldae.encoder.kind is components, of which "
        "nothing learns on: the linear probes say what its code tells. Set the kind to slices or "
        "both, add ldae_slices to baselines, or leave ldae out.",
    )
    require(
        "imagenet" not in starts or encoder["pretrained"] is not None,
        "evaluation.fine_tuning.starts names imagenet, but ldae.encoder.pretrained is null. Name "
        "the weights there (docs/pretrained.md), or leave imagenet out.",
    )


def check_planted(evaluation: Mapping[str, Any]) -> None:
    """Check that labels are planted only where there is a truth to make them of.

    Args:
        evaluation: Section ``evaluation`` of the configuration.

    Raises:
        UserError: the truth, or the settings of the scanner, are off.
    """
    lacking = [name for name in ("truth", "scanner") if not evaluation[name]]
    require(
        not evaluation["planted"] or not lacking,
        f"evaluation.planted needs evaluation.{' and evaluation.'.join(lacking)}, which this "
        "configuration leaves out: labels are made of a synthetic cohort's truth, and planted "
        "sites are asked for as scanners are. Set it, or set evaluation.planted to null.",
    )


def check_split_systems(evaluation: Mapping[str, Any]) -> None:
    """Check the names of the systems that get rows for other splits, scanners and groups.

    Args:
        evaluation: Section ``evaluation`` of the configuration.

    Raises:
        UserError: a name is of no system with a probe.
    """
    known = [*PROBED, *evaluation["external_encoders"]]
    for section in ("target_splits", "scanner", "fairness"):
        named = (evaluation[section] or {}).get("systems", [])
        lost = [name for name in named if name not in known]
        require(
            not lost,
            f"evaluation.{section}.systems names {', '.join(lost)}, which the probes do not have; "
            f"the systems are {', '.join(known)}.",
        )


def check_start_noise(settings: Mapping[str, Any]) -> None:
    """Check section ``evaluation.start_noise``.

    Raises:
        UserError: several draws are asked for of no noise.
    """
    require(
        settings["kind"] != "zero" or settings["draws"] == 1,
        "evaluation.start_noise: kind zero draws nothing. Set draws: 1, or kind: scan or shared.",
    )
