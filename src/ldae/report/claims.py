"""Claims on a run: reconstruction, guidance, probes and external test sets.

What the proof asks (:mod:`ldae.report.proof_thresholds`), the report asks too, by the same bounds.
Claims on manipulated scans are in :mod:`ldae.report.manipulation_claims`, those on predicted visits
in :mod:`ldae.report.visit_claims`.
"""

import math

import pandas as pd

from ldae.labels import interval, number
from ldae.report.manipulation_claims import manipulation_claims, truth_claims
from ldae.report.proof_thresholds import AGE_RIVALS, ORACLE_FRACTION, RIVALS, VOLUME_CORRELATION
from ldae.report.saliency_claims import saliency_claims
from ldae.report.tables.probes import without_paper_probe
from ldae.report.tables.table import row_of
from ldae.report.verdicts import Claim, Criterion, claim_of
from ldae.report.visit_claims import visit_claims
from ldae.systems import metric, phrase, system

ABOVE_ZERO, BELOW_ZERO = Criterion(), Criterion(above=False)
AUTOENCODER_SSIM, ROUND_TRIP_SSIM, DECODED_SSIM = 0.85, 0.99, 0.8  # bounds for the paper's grid
# Target of the probes: metric, whether higher is better, baselines of the proof, word, decimals.
COMPARED = (
    ("diagnosis", "auroc", True, RIVALS, 3),
    ("age", "mae", False, AGE_RIVALS, 2),
)


def claims(tables: dict[str, pd.DataFrame], alpha: float, full_size: bool = True) -> list[Claim]:
    """All claims that the tables decide, in the order of the report.

    Args:
        tables: ``reconstruction``, ``reconstruction_controls``, ``guidance_differences``,
            ``probes``, ``probes_differences``, ``manipulation``, ``interpolation``,
            ``interpolation_differences``.
            Optional: ``reconstruction_volumes``, ``manipulation_trends``,
            ``extrapolation_differences``, ``visit_correction``, ``saliency_checks``; for external
            test sets ``reconstruction_external`` and ``probes_external``; for synthetic cohorts
            ``truth``, ``decoded_volumes`` and ``counterfactual_differences``.
        alpha: Strength at which manipulation is judged; if the table lacks it, the nearest one.
        full_size: Whether the volumes have the paper's grid or a finer one.
    """
    found = _reconstruction(tables["reconstruction"], tables["reconstruction_controls"], full_size)
    if "reconstruction_volumes" in tables:
        found += _decoded_volumes(tables["reconstruction_volumes"])
    found += _guidance(tables["guidance_differences"])
    found += _probes(tables["probes"], tables["probes_differences"])
    found += manipulation_claims(
        tables["manipulation"],
        tables.get("manipulation_trends"),
        tables.get("counterfactual_differences"),
        alpha,
    )
    found += visit_claims(
        tables["interpolation"],
        tables["interpolation_differences"],
        tables.get("extrapolation_differences"),
        tables.get("visit_correction"),
    )
    if "saliency_checks" in tables:
        found += saliency_claims(tables["saliency_checks"])
    if "truth" in tables:
        found += truth_claims(tables["truth"])
    if "decoded_volumes" in tables:
        found += _true_volumes(tables["decoded_volumes"])
    if "reconstruction_external" in tables and "probes_external" in tables:
        found += external_claims(
            tables["reconstruction_external"], tables["probes_external"], full_size
        )
    return found


def _reconstruction(table: pd.DataFrame, controls: pd.DataFrame, full_size: bool) -> list[Claim]:
    steps = int(table["T"].max())
    autoencoder = row_of(table, system="autoencoder", metric="ssim")
    paper = float(autoencoder["paper"]) if autoencoder is not None else math.nan
    gap = controls[(controls["T"] == steps) & (controls["metric"] == "ssim")]
    last = table[table["T"] == steps]
    encoded = row_of(last, system="ldae", variant="encoded", metric="ssim_to_ae")
    own = row_of(last, system="ldae", variant="y_sem", metric="ssim")
    where = ("reconstruction", "reconstruction")
    return (
        claim_of(
            "reconstruction",
            "reconstruction_controls",
            "Decoding from the scan's own y_sem is closer to it than from another subject's",
            f"SSIM decoded from own less another subject's y_sem, from the same z_T, T = {steps}",
            row_of(gap, comparison="y_sem - wrong_y_sem"),
            ABOVE_ZERO,
            brief="difference of SSIM {found}",
            opposite="Decoding from the scan's own y_sem is farther from it than from another "
            "subject's",
        )
        + claim_of(
            "reconstruction",
            "reconstruction_controls",
            "y_sem gives a better image than an average code",
            f"SSIM decoded from own less the mean y_sem, from the same z_T, T = {steps}",
            row_of(gap, comparison="y_sem - mean_y_sem"),
            ABOVE_ZERO,
        )
        + claim_of(
            *where,
            "The autoencoder reproduces unseen scans",
            "SSIM to the original",
            autoencoder,
            _quality(AUTOENCODER_SSIM, full_size),
            "value",
            paper=paper,
            aside="the autoencoder alone reaches SSIM {found}; {asked} is asked for",
        )
        + claim_of(
            *where,
            "Inverting and decoding by DDIM loses next to nothing",
            f"SSIM of LDAE with encoded z_T to the autoencoder's reconstruction, T = {steps}",
            encoded,
            _quality(ROUND_TRIP_SSIM, full_size),
            "value",
        )
        + claim_of(
            *where,
            "y_sem alone gives back most of the scan",
            f"SSIM to the original, T = {steps}",
            own,
            _quality(DECODED_SSIM, full_size),
            "value",
            paper=float(own["paper"]) if own is not None else math.nan,
        )
    )


def _quality(bound: float, full_size: bool) -> Criterion:
    """Criterion of an image quality, which a run on a coarser grid cannot refute."""
    return Criterion(bound, of_size=not full_size)


def _decoded_volumes(table: pd.DataFrame) -> list[Claim]:
    where = ("reconstruction", "reconstruction_volumes")
    return _ventricles(table, where, "the scan's", "the scan's")


def _true_volumes(table: pd.DataFrame) -> list[Claim]:
    return _ventricles(table, ("truth", "decoded_volumes"), "the person's true", "the true one")


def _ventricles(
    table: pd.DataFrame, where: tuple[str, str], whose: str, reference: str
) -> list[Claim]:
    """Claim that ventricles decoded from y_sem follow those of the table's reference."""
    decoded = table[(table["system"] == "ldae") & (table["variant"] == "y_sem")]
    steps = decoded["T"].max()
    return claim_of(
        *where,
        f"An image decoded from y_sem has {whose} ventricle volume",
        f"correlation of its ventricle volume with {reference}, T = {steps:g}",
        row_of(decoded[decoded["T"] == steps], measure="ventricle_ml"),
        Criterion(VOLUME_CORRELATION),
        "r",
        2,
    )


def _guidance(table: pd.DataFrame) -> list[Claim]:
    overall = table[(table["quartile"].astype(str) == "all") & (table["metric"] == "weighted_loss")]
    where = ("reconstruction", "guidance_differences")
    return claim_of(
        *where,
        "Guidance by y_sem improves the noise estimate on unseen subjects",
        "weighted loss, own y_sem less no guidance",
        row_of(overall, system="right_y_sem", reference="ldm"),
        BELOW_ZERO,
        digits=4,
    ) + claim_of(
        *where,
        "It has to be the right y_sem",
        "weighted loss, own less another subject's y_sem",
        row_of(overall, system="right_y_sem", reference="wrong_y_sem"),
        BELOW_ZERO,
        digits=4,
    )


def _probes(table: pd.DataFrame, differences: pd.DataFrame) -> list[Claim]:
    table, differences = map(without_paper_probe, (table, differences))
    found = []
    for target, name, above, baselines, digits in COMPARED:
        mine = differences[(differences["target"] == target) & (differences["metric"] == name)]
        values = table[(table["target"] == target) & (table["metric"] == name)]
        found += _diagnosis(values) if target == "diagnosis" else _age(values, mine)
        for row in mine[mine["reference"] != "mean_age"].to_dict("records"):
            other = row["reference"]
            if not system(other).rival and other not in baselines:
                continue
            theirs = row_of(values, system=other)
            estimate = f" {number(theirs['value'], digits)}" if theirs is not None else ""
            found += claim_of(
                target,
                "probes_differences",
                f"For the {target}, y_sem beats {phrase(other)}",
                f"{metric(name).label}, LDAE less {phrase(other)}",
                pd.Series(row),
                Criterion(above=above),
                digits=digits,
                rival=f"{phrase(other)}{estimate}",
            )
        if target == "diagnosis":
            found += _oracle(values, mine)
    return found


def _diagnosis(values: pd.DataFrame) -> list[Claim]:
    auroc = row_of(values, system="ldae")
    return claim_of(
        "diagnosis",
        "probes",
        "y_sem tells AD from CN, linearly",
        "AUROC",
        auroc,
        Criterion(0.5),
        "value",
        paper=float(auroc["paper"]) if auroc is not None else math.nan,
        brief="AUROC {found}",
        opposite="y_sem ranks AD and CN the wrong way round, linearly",
    )


def _oracle(values: pd.DataFrame, differences: pd.DataFrame) -> list[Claim]:
    """The claim that the LDAE's AUROC is nearly that of the true volumes (synthetic cohorts)."""
    oracle = row_of(values, system="oracle")
    if oracle is None:
        return []
    margin = (1 - ORACLE_FRACTION) * float(oracle["value"])
    return claim_of(
        "diagnosis",
        "probes_differences",
        f"For the diagnosis, y_sem reaches {100 * ORACLE_FRACTION:g} % of {phrase('oracle')}",
        f"AUROC, LDAE less {phrase('oracle')}, which have {number(oracle['value'])}",
        row_of(differences, reference="oracle"),
        Criterion(-margin),
    )


def _age(values: pd.DataFrame, differences: pd.DataFrame) -> list[Claim]:
    mae = row_of(values, system="ldae")
    if mae is None:
        return []
    own = interval(mae["value"], mae["ci_low"], mae["ci_high"], 2)
    return claim_of(
        "age",
        "probes_differences",
        "y_sem predicts age better than guessing the mean age",
        f"MAE in years, LDAE less mean age (LDAE alone: {own}, paper {number(mae['paper'], 2)})",
        row_of(differences, reference="mean_age"),
        BELOW_ZERO,
        digits=2,
        brief=f"MAE {own} years, difference {{found}}",
        opposite="y_sem predicts age worse than guessing the mean age",
    )


def external_claims(
    reconstruction: pd.DataFrame, probes: pd.DataFrame, full_size: bool = True
) -> list[Claim]:
    """Claims on each external test set; a test set that was left out of a table has none.

    Args:
        reconstruction, probes: ``reconstruction_external.tsv`` and ``probes_external.tsv``.
        full_size: As for :func:`claims`.
    """
    found = []
    for cohort in reconstruction["cohort"].drop_duplicates():
        images = row_of(reconstruction, cohort=cohort, system="autoencoder", metric="ssim")
        about = {"target": "diagnosis", "probe": "regularised", "system": "ldae", "note": None}
        auroc = row_of(probes, cohort=cohort, metric="auroc", **about)
        found += claim_of(
            "external",
            "reconstruction_external",
            f"The autoencoder reproduces scans of the external test set {cohort}",
            "SSIM to the original",
            images,
            _quality(AUTOENCODER_SSIM, full_size),
            "value",
        ) + claim_of(
            "external",
            "probes_external",
            f"In the external test set {cohort}, y_sem tells AD from CN, linearly",
            "AUROC of the probe fitted on the training subjects",
            auroc,
            Criterion(0.5),
            "value",
        )
    return found
