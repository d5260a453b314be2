"""Which MCI scans were followed by AD in time: labels of the conversion probe."""

import numpy as np
import pandas as pd

FROM, TO = "MCI", "AD"


def conversion_labels(scans: pd.DataFrame, visits: pd.DataFrame, months: float) -> np.ndarray:
    """Label of every scan: 1 converts within ``months``, 0 does not, nan cannot be said.

    A scan counts if its visit's diagnosis is MCI and no earlier visit's was AD. It is positive if
    a later visit, at most ``months`` after it, has AD; negative if none has and a visit with a
    known diagnosis lies ``months`` or more after it. All else, follow-up too short above all, is
    nan. A conversion that is seen counts however short the follow-up, so among scans with short
    follow-up only converters stay: report it with the numbers.

    Args:
        scans: participant_id, months, diagnosis of the scans to label.
        visits: The same columns for every visit known, also those whose scan is not used.
        months: ``evaluation.probes.conversion_months``.

    Returns:
        (N,) float64 in the order of ``scans``.
    """
    known = visits[visits["diagnosis"].notna() & visits["months"].notna()]
    of = dict(tuple(known.groupby("participant_id")))
    labels = np.full(len(scans), np.nan)
    columns = zip(scans["participant_id"], scans["months"], scans["diagnosis"], strict=True)
    for place, (participant, month, diagnosis) in enumerate(columns):
        if diagnosis != FROM or participant not in of:
            continue
        own = of[participant]
        ill = own.loc[own["diagnosis"] == TO, "months"]
        if (ill <= month).any():
            continue
        if (ill <= month + months).any():
            labels[place] = 1
        elif own["months"].max() >= month + months:
            labels[place] = 0
    return labels
