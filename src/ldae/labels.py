"""How systems, measures, numbers and counts are written, in figures and in the report."""

import math
import re

SYSTEMS = {
    "autoencoder": "AutoencoderKL",
    "lddim": "LDDIM",
    "ldae": "LDAE",
    "dae": "DAE",
    "dae_own_grid": "DAE at its own resolution",
    "supervised": "Supervised encoder",
    "volumes": "Tissue volumes",
    "oracle": "True volumes (oracle)",
    "untrained": "Untrained encoder",
    "latents_pca": "PCA of AE latents",
    "age_sex": "Age and sex",
    "sex": "Sex",
    "mean_age": "Mean training age",
    "nearest_visit": "Nearest visit",
    "voxel_average": "Voxel average",
    "latent_lerp": "Latent LERP",
    "ldae_last_noise": "LDAE, last visit's noise",
    "last_visit": "Last visit",
    "voxel_linear": "Voxels, linear",
    "latent_linear": "Latents, linear",
}
WITHIN = {
    "untrained": "an untrained encoder",
    "latents_pca": "PCA of the AE latents",
    "volumes": "tissue volumes",
    "oracle": "the true volumes",
    "supervised": "a supervised encoder",
    "dae": "the voxel-space DAE",
    "mean_age": "the mean training age",
    "nearest_visit": "the nearest visit",
    "voxel_average": "a voxel average",
    "last_visit": "the last visit",
    "voxel_linear": "linear voxels",
    "latent_linear": "linear latents",
    "ldae_last_noise": "the LDAE with the last visit's noise",
}
METRICS = {
    "ssim": "SSIM",
    "ssim_brain": "SSIM in the brain",
    "ssim_to_ae": "SSIM to the AE reconstruction",
    "mse_to_ae": "MSE to the AE reconstruction",
    "mse": "MSE",
    "auroc": "AUROC",
    "balanced_accuracy": "Balanced accuracy",
    "accuracy": "Accuracy",
    "mcc": "MCC",
    "average_precision": "Average precision",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "mae": "MAE",
    "rmse": "RMSE",
    "r2": "R²",
    "mae_corrected": "MAE, bias corrected",
    "macro_f1": "Macro F1",
    "macro_auroc": "Macro AUROC",
}


def system(name: str) -> str:
    """Display name of a system; an unknown one is shown as it is, without underscores."""
    return SYSTEMS.get(name, name.replace("_", " "))


def inside(name: str) -> str:
    """Name of a system within a sentence: with its article, or lower case."""
    return WITHIN.get(name) or lower(system(name))


def lower(text: str) -> str:
    """The text with a lower-case first letter, unless it starts with an acronym."""
    return text if text[:2].isupper() else text[:1].lower() + text[1:]


def metric(name: str) -> str:
    """Display name of a measure; ``lpips_alex`` becomes ``LPIPS (alex)``."""
    if name.startswith("lpips"):
        net = name.removeprefix("lpips").strip("_")
        return f"LPIPS ({net})" if net else "LPIPS"
    if name.startswith(("precision_", "recall_", "f1_")):
        measure, _, group = name.partition("_")
        return f"{measure[:1].upper()}{measure[1:]} ({group.upper()})"
    return METRICS.get(name, name.replace("_", " "))


ABSENT = "–"


def number(value: float, digits: int = 3) -> str:
    """A number with ``digits`` decimals, more where it would show as zero: 0.0004, not 0.000."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ABSENT
    value = value or 0.0  # no negative zero
    if value and abs(value) < 0.5 * 10**-digits:
        return f"{value:.2g}".replace("-", "−")
    return f"{value:.{digits}f}".replace("-", "−")


def interval(estimate: float, low: float, high: float, digits: int = 3) -> str:
    """``estimate [low, high]``; the estimate alone where there is no interval."""
    shown = number(estimate, digits)
    if not all(isinstance(v, int | float) and math.isfinite(v) for v in (low, high)):
        return shown
    return f"{shown} [{number(low, digits)}, {number(high, digits)}]"


def count(amount: int, noun: str, plural: str | None = None) -> str:
    """``1 scan``, ``1,200 scans``."""
    return f"{amount:,} {noun if amount == 1 else plural or noun + 's'}"


def listing(words: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    words = [str(word) for word in words]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def subject(scan_id: str) -> str:
    """The participant of a scan: ``sub-ADNI002S0413`` of ``sub-ADNI002S0413_ses-M000``."""
    return re.split(r"_ses-", str(scan_id))[0]


def visit(scan_id: str) -> str:
    """``month 6`` of ``..._ses-M006``; empty where the id has no session."""
    found = re.search(r"_ses-M(\d+)", str(scan_id))
    return f"month {int(found[1])}" if found else ""
