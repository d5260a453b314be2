"""Correction of the bias of predicted ages: too old for the young, too young for the old."""

import numpy as np

LEAST_SLOPE = 0.1  # below it a prediction knows too little of age for the line to be inverted


def corrected_age(predicted: np.ndarray, age: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """Predicted ages with their linear dependence on age inverted.

    The line ``prediction = a + b age`` is fitted on predictions of training scans by models that
    had not seen their subjects; a test prediction becomes ``(prediction - a)/b``. The test scan's
    own age is not used: the other usual correction adds ``age - (a + b age)`` to the prediction,
    which gives a part of the answer away and makes any error small (Butler et al., Human Brain
    Mapping 2021).

    Args:
        predicted: (N,) years, of test scans.
        age, held_out: (M,) true and predicted years of training scans.

    Returns:
        (N,) years; nan where b is below 0.1 or there are fewer than two ages.
    """
    if len(np.unique(age)) < 2:
        return np.full(len(predicted), np.nan)
    b, a = np.polyfit(age, held_out, 1)
    if b < LEAST_SLOPE:
        return np.full(len(predicted), np.nan)
    return (predicted - a) / b
