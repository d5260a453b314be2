"""Methods text on the evaluation: one paragraph, with marks for citations."""

from collections.abc import Iterable
from typing import Any

import pandas as pd

from ldae.evaluation.probes.target_table import DIAGNOSIS, SURVIVAL, Target, target_table
from ldae.labels import count, listing
from ldae.systems import lower_first

# Values of config["evaluation"], within a sentence.
LPIPS_SLICES = {
    "fixed_slices": "fixed axial slices",
    "fake_3d": "half of the slices of each plane",
}
SOLVERS = {
    "ddim": "DDIM [@song2021]",
    "ddim_refined": "DDIM [@song2021] whose inversion is corrected once a step",
    "multistep": "a second-order multistep solver for noise predictions [@lu2022]",
    "angle": "a second-order multistep solver in the angle of signal and noise",
    "midpoint": "an exactly invertible midpoint rule [@wang2024belm]",
}


def evaluation(config: dict[str, Any], index: pd.DataFrame) -> str:
    """The paragraph.

    Args:
        config: The configuration.
        index: Scans of the volume store, whose names of subjects may tell sites.
    """
    cfg = config["evaluation"]
    moves, visits = cfg["manipulation"], cfg["interpolation"]
    solver, seen = SOLVERS[cfg["solver"]], "no stage saw"
    if any(config["published"].values()):
        seen = "no probe saw; whether the published models did is not known"
    return " ".join(
        [
            f"All numbers are of test subjects that {seen}. {solver[0].upper()}{solver[1:]} "
            f"with {listing(cfg['ddim_steps'])} steps, guidance coefficient {cfg['guidance']}, "
            "latents not clamped. SSIM [@wang2004] with a Gaussian window over the whole volume "
            f"and within the brain, MSE, LPIPS [@zhang2018] ({cfg['lpips']['net']}) over "
            f"{LPIPS_SLICES[cfg['lpips']['protocol']]}.{_start_noise(cfg['start_noise'])}",
            _probing(cfg, index) + _scanner(cfg),
            f"Manipulation ({moves['mode']} y_sem, α = "
            f"{listing([f'{a:g}' for a in moves['alphas']])}, {_steps(moves)}) is "
            "judged by fluid and grey matter in the template's regions, by the probes of the "
            "decoded image and by SSIM elsewhere; controls are a direction that keeps the age "
            "probe's output and random directions of the same length. Visits between two known "
            f"ones are interpolated, and those after two extrapolated, for {visits['subjects']} "
            f"test subjects at most with {visits['min_visits']} visits or more "
            f"({_steps(visits)}).{_saliency(cfg['saliency'])}{_normative(cfg)}"
            f"{_few_labels(cfg['fine_tuning'])} "
            f"Intervals: central 95 % of {cfg['bootstrap']:,} resamples of whole subjects.",
        ]
    )


def _start_noise(cfg: dict[str, Any]) -> str:
    """Sentence on the noise that y_sem alone is decoded from; empty for the paper's."""
    if cfg["kind"] == "zero":
        return " What is decoded from y_sem alone starts at z_T = 0, not at a draw."
    shared = cfg["kind"] == "shared"
    if cfg["draws"] == 1:
        same = " What is decoded from y_sem alone starts at one noise for all scans."
        return same if shared else ""
    which = ", the same for all scans" if shared else ""
    return f" What is decoded from y_sem alone is the mean over {cfg['draws']} noises{which}."


def _saliency(cfg: dict[str, Any] | None) -> str:
    """Sentences on the saliency maps; empty where they are off."""
    if cfg is None:
        return ""
    reference = {"average": "an average training brain", "empty": "an empty volume"}
    return (
        " What the diagnosis is read from was mapped by integrated gradients "
        f"[@sundararajan2017] ({cfg['steps']} points) and by occlusion of cubes of "
        f"{cfg['block']:g} mm, both against {reference[cfg['reference']]} [@kokhlikyan2020], for "
        f"{cfg['max_scans']} test scans of each class at most; the maps were compared with those "
        f"of {count(cfg['draws'], 'draw')} of random weights [@adebayo2018]."
    )


def _scanner(cfg: dict[str, Any]) -> str:
    """Sentences on scanner and groups; empty where both are off."""
    scanner, fairness = cfg["scanner"], cfg["fairness"]
    text = ""
    if scanner:
        columns = listing([name.replace("_", " ") for name in scanner["columns"]])
        text = (
            f" Whether codes tell {columns} was probed with {scanner['permutations']:,} "
            "permutations of labels between test subjects"
        )
        if scanner["harmonise"]:
            beside = scanner["covariates"]
            kept = f", with {listing(beside)} as covariates" if beside else ""
            text += (
                ", before and after ComBat [@johnson2007; @fortin2018] fitted on training "
                f"scans{kept} (never the target)"
            )
        text += "; association of targets with them is Cramér's V, p by permutation of subjects."
    if fairness:
        columns = listing([name.replace("_", " ") for name in fairness["columns"]])
        text += f" Headline scores are also given by {columns}."
    return text


def _normative(cfg: dict[str, Any]) -> str:
    """Sentences on the normative view; empty where it is off."""
    about = cfg["normative"]
    if about is None:
        return ""
    reference = cfg["targets"][DIAGNOSIS]["classes"][0]
    return (
        f" Test people were seen against centiles ({listing([f'{c:g}' for c in about['centiles']])}"
        f") of {reference} training people: quantile regressions [@koenker1978] on B-splines of "
        f"age (degree {about['degree']}, {about['knots']} knots) and sex, each person counted "
        "once, values at an age sorted [@chernozhukov2010]. What probes read of training people "
        "was read by probes fitted without them."
    )


def _few_labels(cfg: dict[str, Any]) -> str:
    """A sentence on the fine-tuning; empty where it is off."""
    starts = {
        "scratch": "from scratch",
        "imagenet": "from ImageNet weights",
        "ldae": "from the LDAE's encoder",
    }
    if not cfg["starts"]:
        return ""
    return (
        " Supervised encoders of the diagnosis were also trained "
        f"{listing([starts[one] for one in cfg['starts']])}, on {listing(cfg['people'])} people of "
        f"each class, for {cfg['least_steps']} steps at least; their last weights were tested."
    )


def _steps(cfg: dict[str, Any]) -> str:
    """Number of steps of an experiment, with its solver if that is not DDIM."""
    solver, steps = cfg["solver"], cfg["ddim_steps"]
    return f"{steps} DDIM steps" if solver == "ddim" else f"{steps} steps of {SOLVERS[solver]}"


def _has_sites(pattern: str | None, index: pd.DataFrame) -> bool:
    """Whether the names of subjects tell two sites or more, as the rows of sites need."""
    if not pattern:
        return False
    return index["participant_id"].str.extract(pattern, expand=False).nunique() > 1


def _probing(cfg: dict[str, Any], index: pd.DataFrame) -> str:
    probes, paper = cfg["probes"], cfg["probes"]["paper"]
    targets = target_table(cfg["targets"]).values()
    cox = "; survival targets by ridge Cox regression" if _has(targets, SURVIVAL) else ""
    splits = cfg["target_splits"]
    sites = ", each site left out once" if _has_sites(splits["site"], index) else ""
    beside = (
        f" Beside the frozen split: {splits['folds']}-fold cross-validation by subject (penalty "
        f"chosen within each fold){sites} and learning curves by number of training subjects."
        if splits["repeats"]
        else ""
    )
    return (
        "Probes [@pedregosa2011]: standardised logistic and ridge regression fitted on training "
        f"subjects, regularised by {probes['cv_folds']}-fold cross-validation over subjects; "
        f"targets are {listing([_described(target) for target in targets])}{cox}. p values are "
        "corrected by Holm's method for the number of targets. Those of section "
        f"4.2 beside them: {paper['classifier_epochs']:,} epochs of Adam, "
        f"{paper['regressor_epochs']:,} of SGD, learning rate {paper['learning_rate']:g}, on "
        f"{paper['train_fraction']:.0%} of the training subjects, {len(probes['seeds'])} seeds."
        f"{beside}"
    )


def _has(targets: Iterable[Target], kind: str) -> bool:
    return any(target.kind == kind for target in targets)


def _described(target: Target) -> str:
    """A target in words: its label and kind, and the time within which an event counts."""
    within = f" within {target.months:g} months" if target.months else ""
    return f"{lower_first(target.label)}{within} ({target.kind})"
