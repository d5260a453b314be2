"""Linear discriminant projection of y_sem (Figure 5)."""

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.preprocessing import StandardScaler

from ldae.evaluation.probes.features import TRAINING, ProbeData
from ldae.evaluation.probes.scores import COMPARED


def lda_projection(data: ProbeData, system: str = COMPARED) -> pd.DataFrame:
    """Linear discriminant projection of y_sem (Figure 5), fitted on training scans.

    Two classes give one discriminant axis, ``ld1``. Its covariance is shrunk (Ledoit and Wolf),
    because y_sem may have more dimensions than there are scans. ``ld2`` is the first principal
    component of the standardised y_sem after ``ld1`` is projected out; it only spreads the points.
    Only test scans show the separation of the classes, because the training scans were fitted.

    Returns:
        scan_id, participant_id, split, diagnosis, ld1, ld2.
    """
    training = data.table["split"].isin(TRAINING).to_numpy()
    y = StandardScaler().fit(data.features[system][training]).transform(data.features[system])
    lda = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto", n_components=1)
    lda.fit(y[training], data.table.loc[training, "diagnosis"])
    axis = lda.scalings_[:, 0] / np.linalg.norm(lda.scalings_[:, 0])
    residual = y - np.outer(y @ axis, axis)
    pca = PCA(1, svd_solver="full").fit(residual[training])
    shown = data.table[["scan_id", "participant_id", "split", "diagnosis"]]
    return shown.assign(ld1=lda.transform(y)[:, 0], ld2=pca.transform(residual)[:, 0])
