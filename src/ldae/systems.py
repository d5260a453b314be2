"""Registry of the compared systems and of the metrics: labels, order, digits, direction.

Tables name both by their keys here (columns ``system``, ``method``, ``reference``, ``metric``).
:func:`system` and :func:`metric` look a key up; colours are in :mod:`ldae.figures.style`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class System:
    """A system: a trained model, a baseline or a control.

    Attributes:
        label: Name in figures and tables.
        phrase: Name within a sentence, with its article; empty: the label.
        stages: Trainings that make it, in order, without the autoencoder of the latent systems.
        rival: Whether the LDAE is expected to be better. A floor or a ceiling is no rival.
    """

    label: str
    phrase: str = ""
    stages: tuple[str, ...] = ()
    rival: bool = True


# In the order of tables.
SYSTEMS = {
    "autoencoder": System("AutoencoderKL", stages=("autoencoder",)),
    "lddim": System("LDDIM", stages=("ldm",)),
    "ldae": System("LDAE", stages=("ldm", "ldae")),
    # Where the LDAE has an encoder of components: the same with the paper's encoder.
    "ldae_slices": System(
        "LDAE, slices", "the LDAE with the encoder of slices", ("ldm", "ldae_slices")
    ),
    "dae": System("DAE", "the voxel-space DAE", stages=("dae",)),
    "dae_own_grid": System("DAE at its own resolution"),
    # Its encoder was trained on the labels, in the paper as well.
    "supervised": System("Supervised encoder", "a supervised encoder", rival=False),
    "untrained": System("Untrained encoder", "an untrained encoder"),
    "latents_pca": System("PCA of AE latents", "PCA of the AE latents"),
    "volumes": System("Tissue volumes", "tissue volumes"),
    "oracle": System("True volumes (oracle)", "the true volumes", rival=False),
    "age_sex": System("Age and sex"),
    "sex": System("Sex", rival=False),
    "age": System("Age", rival=False),
    "mean_age": System("Mean training age", "the mean training age"),
    "training_mean": System("Mean of training scans", "the mean of the training scans"),
    "nearest_visit": System("Nearest visit", "the nearest visit"),
    "voxel_average": System("Voxel average", "a voxel average"),
    "latent_lerp": System("Latent LERP"),
    "ldae_last_noise": System("LDAE, last visit's noise", "the LDAE with the last visit's noise"),
    "ldae_corrected": System("LDAE, corrected average", "the average corrected by the LDAE"),
    "last_visit": System("Last visit", "the last visit"),
    "mean_visits": System("Mean of visits", "the mean of the visits so far"),
    "population_change": System("Population's change", "the mean and the population's change"),
    "voxel_linear": System("Voxels, linear", "linear voxels"),
    "latent_linear": System("Latents, linear", "linear latents"),
}


@dataclass(frozen=True)
class Metric:
    """A metric of systems.

    Attributes:
        label: Name in figures and tables.
        higher_is_better: Whether a higher value is better, or a lower one.
        digits: Decimals in tables.
        to_autoencoder: Whether it compares with the autoencoder's reconstruction instead of the
            original.
    """

    label: str
    higher_is_better: bool = True
    digits: int = 3
    to_autoencoder: bool = False

    def improves(self, difference):
        """Whether a difference, or each one of an array, is an improvement."""
        return difference > 0 if self.higher_is_better else difference < 0


METRICS = {
    # of images
    "ssim": Metric("SSIM"),
    "ssim_brain": Metric("SSIM in the brain"),
    "ssim_to_ae": Metric("SSIM to the AE reconstruction", to_autoencoder=True),
    "mse": Metric("MSE", higher_is_better=False, digits=4),
    "mse_to_ae": Metric("MSE to the AE reconstruction", False, digits=4, to_autoencoder=True),
    "lpips": Metric("LPIPS", higher_is_better=False),
    # of measured volumes in predicted visits
    "ventricle_error": Metric("Error of the ventricles (ml)", False, 2, to_autoencoder=True),
    "hippocampus_error": Metric("Error of the hippocampi (ml)", False, 2, to_autoencoder=True),
    # of the noise estimate
    "loss": Metric("loss", higher_is_better=False, digits=4),
    "weighted_loss": Metric("weighted loss", higher_is_better=False, digits=4),
    # of probes
    "auroc": Metric("AUROC"),
    "balanced_accuracy": Metric("Balanced accuracy"),
    "accuracy": Metric("Accuracy"),
    "mcc": Metric("MCC"),
    "average_precision": Metric("Average precision"),
    "sensitivity": Metric("Sensitivity"),
    "specificity": Metric("Specificity"),
    "macro_f1": Metric("Macro F1"),
    "macro_auroc": Metric("Macro AUROC"),
    "mae": Metric("MAE", higher_is_better=False, digits=2),
    "mae_corrected": Metric("MAE, bias corrected", higher_is_better=False, digits=2),
    "rmse": Metric("RMSE", higher_is_better=False, digits=2),
    "r2": Metric("R²", digits=2),
    "correlation": Metric("Correlation"),
    "concordance": Metric("Concordance"),
    "brier": Metric("Brier score", higher_is_better=False),
    "calibration_slope": Metric("Calibration slope", digits=2),
    "calibration_intercept": Metric("Observed less predicted share"),
    "net_benefit": Metric("Net benefit"),
    # of manipulated scans
    "change_ventricle_ml": Metric("Ventricles (ml)", digits=2),
    "change_hippocampus_ml": Metric("Hippocampi (ml)", digits=2),
    "change_logit_asked": Metric("AD logit asked", digits=2),
    "change_logit_decoded": Metric("AD logit decoded", digits=2),
    "change_age_decoded": Metric("Age decoded (years)"),
    "sex_kept": Metric("Sex probe as before"),
    "ssim_elsewhere": Metric("SSIM elsewhere"),
    "change_correlation": Metric("Correlation of changes"),
}
CLASS_METRICS = {"precision": "Precision", "recall": "Recall", "f1": "F1"}


@dataclass(frozen=True)
class Target:
    """A target of the linear probes.

    Attributes:
        label: Name in tables.
        headline: Key of the metric that stands for it where there is room for one.
    """

    label: str
    headline: str


# In the order of tables.
TARGETS = {
    "diagnosis": Target("AD against CN", "auroc"),
    "age": Target("Age", "mae"),
    "groups": Target("CN, MCI, AD", "balanced_accuracy"),
    "conversion": Target("MCI to AD", "auroc"),
}


# Methods of saliency maps, by their names in tables.
ATTRIBUTIONS = {"integrated_gradients": "Integrated gradients", "occlusion": "Occlusion"}


def system(name: str) -> System:
    """A system by its key; the label of an unknown one is its key without underscores."""
    return SYSTEMS.get(name) or System(name.replace("_", " "))


def is_baseline(name: str) -> bool:
    """Whether a system is one that the LDAE is expected to be better than, and not the LDAE."""
    return name != "ldae" and system(name).rival


def table_position(name: str) -> int:
    """Position of a system in the order of tables; unknown ones come last."""
    return [*SYSTEMS, name].index(name)


def phrase(name: str) -> str:
    """Name of a system within a sentence."""
    return system(name).phrase or lower_first(system(name).label)


def metric(name: str) -> Metric:
    """A metric by its key: ``ssim``, ``lpips_alex`` (a network), ``recall_cn`` (a class)."""
    if name in METRICS:
        return METRICS[name]
    family, _, rest = name.partition("_")
    if family == "lpips":
        net, _, protocol = rest.partition("_")
        planes = ", three planes" if protocol else ""
        return Metric(f"LPIPS ({net}{planes})", METRICS["lpips"].higher_is_better)
    if family in CLASS_METRICS:
        return Metric(f"{CLASS_METRICS[family]} ({rest.upper()})")
    return Metric(name.replace("_", " "))


def is_lpips(name: str) -> bool:
    """Whether a metric is LPIPS, of any network."""
    return name.partition("_")[0] == "lpips"


def comparable_with_paper(name: str) -> bool:
    """Whether the paper's values may stand beside a metric: LPIPS only as in the authors' code."""
    return not is_lpips(name) or name == "lpips_squeeze_fake3d"


def lower_first(text: str) -> str:
    """The text with a lower-case first letter, unless it starts with an acronym or a symbol."""
    kept = text[:2].isupper() and not text.startswith("A ")  # the article
    return text if kept else text[:1].lower() + text[1:]
