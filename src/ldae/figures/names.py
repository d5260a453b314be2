"""How systems and measures are called, coloured and marked, in figures and in the report."""

from ldae.figures.style import BLACK, BLUE, GREEN, GREY, ORANGE, PINK, RED, SKY

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
COLOURS = {
    "autoencoder": BLACK,
    "lddim": BLUE,
    "ldae": RED,
    "untrained": GREY,
    "latents_pca": BLUE,
    "volumes": PINK,
    "oracle": ORANGE,
    "dae": BLACK,
    "supervised": SKY,
    "age_sex": GREEN,
    "sex": GREEN,
    "mean_age": SKY,
    "nearest_visit": BLUE,
    "voxel_average": GREEN,
    "latent_lerp": PINK,
    "ldae_last_noise": ORANGE,
    "last_visit": BLUE,
    "voxel_linear": GREEN,
    "latent_linear": PINK,
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


def colour(name: str) -> str:
    """Colour of a system; grey if it has none of its own."""
    return COLOURS.get(name, GREY)


def metric(name: str) -> str:
    """Display name of a measure; ``lpips_alex`` becomes ``LPIPS (alex)``."""
    if name.startswith("lpips"):
        net = name.removeprefix("lpips").strip("_")
        return f"LPIPS ({net})" if net else "LPIPS"
    if name.startswith(("precision_", "recall_", "f1_")):
        measure, _, group = name.partition("_")
        return f"{measure[:1].upper()}{measure[1:]} ({group.upper()})"
    return METRICS.get(name, name.replace("_", " "))
