"""Planted labels: values of every visit with a known relation to the true volumes, and pure noise.

A reader of codes is asked for them as for any column of a user's table. What the best reader can
reach is known: the label is a function of the truth and of noise of a stated size. The cohort's
truth, its scans and all that models are trained on stay as they are.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ldae.files import write_table
from ldae.ground_truth.planted_relations import (
    CASE_SLOPE,
    CUTS,
    ELSE,
    EVEN,
    FOLLOW_UP,
    GROUP_SLOPE,
    GROUPS,
    HAZARD,
    HAZARD_SLOPE,
    NOISE_SD,
    SHARE_AT_B,
    SITES,
    SKEWED,
)
from ldae.ground_truth.truth import VISIT, read_truth
from ldae.seeds import derive_seed

SIGNALS = ("ventricles", "hippocampi", "loss")


def signals(truth: pd.DataFrame) -> pd.DataFrame:
    """Noiseless values of every visit, each with mean 0 and SD 1 over all visits.

    Args:
        truth: ventricle_ml and hippocampus_ml of N visits.

    Returns:
        N rows: ``ventricles`` (logarithm, since volumes differ by factors), ``hippocampi`` (turned:
        the smaller, the higher), and ``loss``, their sum: the tissue loss that labels are made of.
    """
    large = _standard(np.log(truth["ventricle_ml"].to_numpy(float)))
    small = _standard(-truth["hippocampus_ml"].to_numpy(float))
    return pd.DataFrame(
        dict(zip(SIGNALS, (large, small, _standard(large + small)), strict=True)),
        index=truth.index,
    )


def _standard(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / values.std()


def group_scores(values: pd.DataFrame) -> np.ndarray:
    """Log-odds (N, 3) of :data:`GROUPS`, up to a constant of each visit."""
    large, small = values["ventricles"].to_numpy(), values["hippocampi"].to_numpy()
    return np.column_stack([np.zeros(len(values)), GROUP_SLOPE * large, GROUP_SLOPE * small])


def related_labels(values: pd.DataFrame, draw: np.random.Generator) -> pd.DataFrame:
    """Labels of every visit that follow its noiseless values, with noise drawn for each visit.

    Args:
        values: From :func:`signals`.
        draw: Of the noise.

    Returns:
        N rows: number, case (1 or 0), group (of :data:`GROUPS`), level (0 to 3), months and event
        (1, or 0 for a time that was observed without one).
    """
    loss, size = values["loss"].to_numpy(), len(values)
    number = loss + NOISE_SD * draw.normal(size=size)
    case = draw.random(size) < 1 / (1 + np.exp(-CASE_SLOPE * loss))
    group = np.argmax(group_scores(values) + draw.gumbel(size=(size, len(GROUPS))), axis=1)
    level = np.digitize(loss + NOISE_SD * draw.normal(size=size), CUTS)
    months = draw.exponential(1 / (HAZARD * np.exp(HAZARD_SLOPE * loss)))
    observed = draw.uniform(*FOLLOW_UP, size=size)
    return pd.DataFrame(
        {
            "number": number,
            "case": case.astype(int),
            "group": np.array(GROUPS)[group],
            "level": level,
            "months": np.minimum(months, observed),
            "event": (months <= observed).astype(int),
        },
        index=values.index,
    )


def noise_labels(people: Sequence[str], draw: np.random.Generator) -> pd.DataFrame:
    """Labels that no scan can tell: one value for all visits of a person.

    A probe that knows a person again, or an interval that takes scans for people, would find some.

    Args:
        people: Participant of each of N visits.
        draw: Of the values.

    Returns:
        N rows: noise (a number of SD 1) and coin (1 or 0).
    """
    names, member = np.unique(np.asarray(people, dtype=str), return_inverse=True)
    noise, coin = draw.normal(size=len(names)), draw.integers(0, 2, len(names))
    return pd.DataFrame({"noise": noise[member], "coin": coin[member]})


def sites(truth: pd.DataFrame, draw: np.random.Generator) -> pd.DataFrame:
    """Site of each person: by a coin (``even``), and by the diagnosis at the first visit.

    Args:
        truth: participant_id and diagnosis of N visits, those of a person in their order.
        draw: Of the sites.

    Returns:
        N rows: columns ``even`` and ``skewed``, each A or B, and ``share_at_b``, the probability
        with which the person was put at the skewed column's B.
    """
    first = truth.drop_duplicates("participant_id").set_index("participant_id")["diagnosis"]
    skewed = first.map(SHARE_AT_B).fillna(ELSE)
    found = {"share_at_b": truth["participant_id"].map(skewed).to_numpy()}
    for column, share in {EVEN: skewed * 0 + ELSE, SKEWED: skewed}.items():
        at_b = pd.Series(draw.random(len(share)) < share.to_numpy(), share.index)
        found[column] = np.where(truth["participant_id"].map(at_b), SITES[1], SITES[0])
    return pd.DataFrame(found, index=truth.index)


def write_planted_labels(truth: Sequence[str | Path], out: str | Path, seed: int) -> None:
    """Write the planted labels of every visit of a synthetic cohort.

    Args:
        truth: truth.tsv of each cohort.
        out: TSV to write: participant_id, session_id, and the columns of :func:`signals`,
            :func:`related_labels`, :func:`noise_labels` and :func:`sites`.
        seed: Of all draws.

    Raises:
        UserError: the truth lacks a column, or has two rows for a visit.
    """
    known = read_truth(truth, ["diagnosis"]).sort_values(VISIT, ignore_index=True)
    values = signals(known)
    drawn = [
        values,
        related_labels(values, _draw(seed, "related")),
        noise_labels(known["participant_id"], _draw(seed, "noise")),
        sites(known, _draw(seed, "sites")),
    ]
    write_table(pd.concat([known[VISIT], *drawn], axis=1), out)


def _draw(seed: int, name: str) -> np.random.Generator:
    return np.random.default_rng(derive_seed(seed, "planted", name))
