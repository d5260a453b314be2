"""Planted targets: what the probes found of them, beside what the best reader can find.

Two readers have an expected score. The true volumes (``oracle``) hold all that a label was made of,
so that their score is expected to be that of the noiseless truth. Of y_sem (``ldae``) it is that of
its reading of the noiseless truth, which a probe of the truth itself gives. Noise has the score of
chance.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from scipy.stats import kstest

from ldae.errors import require
from ldae.evaluation.metrics.bootstrap import ClusterBootstrap, Statistic
from ldae.evaluation.metrics.classification import auroc, macro, pearson
from ldae.evaluation.metrics.concordance import concordance, survival_concordance
from ldae.evaluation.probes.features import TEST, TRAINING
from ldae.evaluation.probes.linear import fit_classifier, fit_regressor
from ldae.evaluation.probes.statistics import DISCRIMINATION
from ldae.evaluation.probes.summary import FROZEN
from ldae.ground_truth.planted_labels import group_scores, noise_labels, related_labels
from ldae.ground_truth.planted_relations import GROUPS, NOISE, RELATED
from ldae.seeds import derive_seed

ORACLE, LDAE = "oracle", "ldae"
REDRAWS = 50  # of the noise of labels: the mean of their scores is the expected one
NULL_DRAWS = 200  # of the labels that are pure noise
NULL_RESAMPLES = 400  # of the people, for the p value of each
ALPHA = 0.05
FOUND = ["value", "ci_low", "ci_high", "p", "p_holm", "n_scans", "n_subjects"]


def reading_score(target: str, labels: pd.DataFrame, reading: pd.DataFrame) -> Statistic:
    """Score of a reading of the noiseless values, by the target's kind.

    Args:
        target: One of :data:`~ldae.ground_truth.planted_relations.RELATED`.
        labels: Labels of N visits (:func:`~ldae.ground_truth.planted_labels.related_labels`).
        reading: Their noiseless values, or what was read of them.

    Returns:
        The score of :data:`~ldae.evaluation.probes.statistics.DISCRIMINATION`.
    """
    loss = reading["loss"].to_numpy()
    if target == "planted_group":
        odds = group_scores(reading)
        share = np.exp(odds - odds.max(axis=1, keepdims=True))
        share /= share.sum(axis=1, keepdims=True)
        group = labels["group"].to_numpy()
        return macro([auroc(group == one, share[:, k]) for k, one in enumerate(GROUPS)])
    if target == "planted_event":
        return survival_concordance(labels["months"].to_numpy(), labels["event"].to_numpy(), loss)
    column = labels[RELATED[target][1][0]].to_numpy()
    score = {"planted_number": pearson, "planted_level": concordance}.get(target)
    return score(column, loss) if score else auroc(column == 1, loss)


def expected_scores(truth: pd.DataFrame, reading: pd.DataFrame, seed: int) -> dict[str, float]:
    """Mean score of a reading over redraws of the noise of the labels, by target.

    Args:
        truth: Noiseless values of N visits.
        reading: What was read of them; ``truth`` itself for the best reader.
        seed: Of the redraws.
    """
    once = np.ones((1, len(truth)))
    found: dict[str, list[float]] = {name: [] for name in RELATED}
    for draw in range(REDRAWS):
        noise = np.random.default_rng(derive_seed(seed, "planted", "redraw", draw))
        labels = related_labels(truth, noise)
        for name, scores in found.items():
            scores.append(float(reading_score(name, labels, reading)(once)[0]))
    return {name: float(np.mean(scores)) for name, scores in found.items()}


def read_values(
    x: np.ndarray, values: pd.DataFrame, table: pd.DataFrame, folds: int
) -> pd.DataFrame:
    """What a code tells of the noiseless values of the test scans: ridge regressions of each.

    Args:
        x: (N, d) codes.
        values: Noiseless values of the N scans.
        table: participant_id and split of the N scans.
        folds: Inner folds (``evaluation.probes.cv_folds``).
    """
    training = table["split"].isin(TRAINING).to_numpy()
    test = (table["split"] == TEST).to_numpy()
    people = table.loc[training, "participant_id"].to_numpy()
    return pd.DataFrame(
        {
            name: fit_regressor(x[training], column[training], people, folds).predict(x[test])
            for name, column in ((name, values[name].to_numpy()) for name in values)
        }
    )


def target_rows(
    targets: pd.DataFrame, expected: dict[str, dict[str, float]]
) -> Iterator[dict[str, object]]:
    """Rows of the planted targets: of the two readers with an expected score, and noise of all.

    Args:
        targets: ``tables/targets.tsv``.
        expected: Scores by system and target, from :func:`expected_scores`.

    Returns:
        Rows; of a target that the probes refuse one with their note, and without a value.

    Raises:
        UserError: a planted target is not among the targets, or a system has no score of it.
    """
    frozen = targets[targets["split"] == FROZEN]
    for name, (kind, _, relation) in {**RELATED, **NOISE}.items():
        metric, chance = DISCRIMINATION[kind]
        about = {"part": "target" if name in RELATED else "noise", "planted": name}
        about |= {"relation": relation, "metric": metric, "chance": chance}
        mine = frozen[(frozen["target"] == name) & (frozen["metric"] == metric)]
        if len(mine) and mine["value"].isna().all():
            yield about | {"system": LDAE, "note": mine["note"].iloc[0]}
            continue
        mine = mine[mine["value"].notna()]
        systems = expected if name in RELATED else mine["system"].tolist()
        lacking = sorted(set(systems) - set(mine["system"])) or ([] if len(mine) else [LDAE])
        require(
            not lacking,
            f"The table of targets has no score of {', '.join(lacking)} for {name}: evaluation."
            f"targets must have every planted target, of kind {kind} and from the file of "
            "evaluation.planted (config/proof.yaml shows them).",
        )
        for system in systems:
            row = mine[mine["system"] == system].iloc[0]
            known = expected[system][name] if name in RELATED else chance
            yield about | {"system": system, "expected": known} | row[FOUND].to_dict()


def null_rows(
    x: np.ndarray, table: pd.DataFrame, folds: int, seed: int
) -> Iterator[dict[str, object]]:
    """Whether p values of labels that are pure noise are uniform: a row for each kind of noise.

    Each draw is a new label of all people, a probe of y_sem, and the p value of its score on the
    test scans. ``value`` is the share below 0.05, ``p`` that of Kolmogorov and Smirnov's test.

    Args:
        x: (N, d) codes.
        table: participant_id and split of the N scans.
        folds: Inner folds.
        seed: Of labels, folds and resamples.
    """
    training = table["split"].isin(TRAINING).to_numpy()
    test = (table["split"] == TEST).to_numpy()
    people = table["participant_id"].to_numpy()
    found: dict[str, list[float]] = {name: [] for name in NOISE}
    for place in range(NULL_DRAWS):
        number = derive_seed(seed, "planted", "null", place)
        labels = noise_labels(people, np.random.default_rng(number))
        bootstrap = ClusterBootstrap(people[test], NULL_RESAMPLES, number)
        noise, coin = labels["noise"].to_numpy(), labels["coin"].to_numpy() == 1
        regressor = fit_regressor(x[training], noise[training], people[training], folds)
        score = pearson(noise[test], regressor.predict(x[test]))
        found["planted_noise"].append(bootstrap.draws(score).two_sided_p(0.0))
        classifier = fit_classifier(
            x[training], coin[training], people[training], folds, number % 2**32
        )
        score = auroc(coin[test], classifier.predict_proba(x[test])[:, 1])
        found["planted_coin"].append(bootstrap.draws(score).two_sided_p(0.5))
    for name, p in found.items():
        yield {
            "part": "null",
            "planted": name,
            "relation": f"{NULL_DRAWS} draws",
            "system": LDAE,
            "metric": "p_below_0.05",
            "expected": ALPHA,
            "value": float(np.mean(np.array(p) < ALPHA)),
            "p": float(kstest(p, "uniform").pvalue),
            "n_scans": int(test.sum()),
            "n_subjects": len(set(people[test])),
        }
