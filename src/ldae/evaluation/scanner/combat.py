"""ComBat: removal of the offsets and scales of sites, fitted on training scans alone.

Johnson, Li and Rabinovic (Biostatistics 2007); Fortin et al. (NeuroImage 2018) for imaging. It is
written here because no kept library fits: neuroHarmonize 2.5 and neuroCombat ask for NumPy below 2,
and combatlearn 2.3 brings numba, plotly and umap. A test holds the numbers of neuroCombat 0.2.12.

A feature is modelled as ``mean + covariates + offset of the site + scale of the site * noise``.
Offsets and scales are shrunk over the features by empirical Bayes, so that a small site borrows
from what is common to its features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ldae.errors import require

TOLERANCE = 1e-4  # largest relative change of a converged offset or scale
STEPS = 1000  # of the iteration; it takes some ten
LEAST_SCANS = 2  # of a site: one has no scale
FEWEST_FEATURES = 3  # below it nothing is shrunk: a prior over features needs some


@dataclass(frozen=True)
class ComBat:
    """Fitted harmonisation of d features.

    Attributes:
        sites: Names of the K sites.
        mean: (d,) of all training scans, weighted by the sites' scans.
        slopes: (c, d) of the covariates.
        scale: (d,) SD of the residuals of all training scans; 0 for a constant feature.
        offsets, scales: (K, d) of each site, in units of ``scale``.
    """

    sites: tuple[str, ...]
    mean: np.ndarray
    slopes: np.ndarray
    scale: np.ndarray
    offsets: np.ndarray
    scales: np.ndarray

    def apply(self, x: np.ndarray, site: Sequence[str], covariates: np.ndarray) -> np.ndarray:
        """Features (N, d) without the effects of their sites.

        Args:
            x: (N, d) features.
            site: Site of each scan, one of :attr:`sites`.
            covariates: (N, c) in the order of :meth:`fit`.

        Raises:
            UserError: a site was not fitted.
        """
        member = _members(self.sites, site)
        expected = self.mean + covariates @ self.slopes
        varies = self.scale > 0
        unit = np.where(varies, self.scale, 1.0)
        standard = (x - expected) / unit
        standard = (standard - self.offsets[member]) / self.scales[member]
        return np.where(varies, standard * unit + expected, x)

    @classmethod
    def fit(cls, x: np.ndarray, site: Sequence[str], covariates: np.ndarray) -> "ComBat":
        """Fit to training scans.

        Args:
            x: (N, d) features.
            site: Site of each scan; each has two scans or more.
            covariates: (N, c) numbers whose effects are no site's, such as age; c may be 0. Never
                what is predicted afterwards: its effect on a test scan would be known.

        Raises:
            UserError: a site has fewer than two scans, or covariates tell the site.
        """
        sites = tuple(sorted(set(site)))
        member = _members(sites, site)
        counts = np.bincount(member, minlength=len(sites))
        fewest = int(counts.argmin())
        require(
            counts[fewest] >= LEAST_SCANS,
            f"ComBat needs {LEAST_SCANS} training scans of every site; {sites[fewest]} has "
            f"{counts[fewest]}. Leave it out, or raise evaluation.scanner.min_subjects.",
        )
        require(
            is_estimable(site, covariates),
            "The covariates of ComBat tell the site of every training scan, so that the effects of "
            "the two cannot be told apart. Leave one out of evaluation.scanner.covariates.",
        )
        design = np.hstack([np.eye(len(sites))[member], covariates])
        fitted, *_ = np.linalg.lstsq(design, x, rcond=None)
        mean = counts / len(x) @ fitted[: len(sites)]
        slopes = fitted[len(sites) :]
        residual = x - design @ fitted
        spread = np.sqrt(np.mean(residual**2, axis=0))
        scale = np.where(spread > 1e-12 * np.maximum(1.0, np.abs(x).max(axis=0)), spread, 0.0)
        varies = scale > 0
        standard = (x - mean - covariates @ slopes)[:, varies] / scale[varies]
        offsets = np.zeros((len(sites), x.shape[1]))
        scales = np.ones_like(offsets)
        for place in range(len(sites)):
            offsets[place, varies], scales[place, varies] = _site(standard[member == place])
        return cls(sites, mean, slopes, scale, offsets, scales)


def is_estimable(site: Sequence[str], covariates: np.ndarray) -> bool:
    """Whether effects of the sites (N,) and of covariates (N, c) can be told apart.

    They cannot where all people of a site, and no others, are men, or where a covariate does not
    vary: ComBat would then keep the site's effect as one of the covariate.
    """
    centred = covariates - covariates.mean(axis=0)
    spread = centred.std(axis=0)
    if (spread == 0).any():
        return False
    names, member = np.unique(np.asarray(site, dtype=str), return_inverse=True)
    design = np.hstack([np.eye(len(names))[member], centred / spread])
    return bool(np.linalg.matrix_rank(design) == design.shape[1])


def _members(sites: tuple[str, ...], site: Sequence[str]) -> np.ndarray:
    """Place (N,) of each scan's site.

    Raises:
        UserError: a site is not among them.
    """
    places = {name: place for place, name in enumerate(sites)}
    unknown = sorted(set(site) - places.keys())
    require(
        not unknown,
        f"ComBat was not fitted to {', '.join(unknown)}: a site without training scans cannot be "
        "harmonised. Leave its scans out.",
    )
    return np.array([places[name] for name in site])


def _site(standard: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offset and scale (d,) of one site's standardised features (n, d), shrunk over features."""
    count, features = standard.shape
    offset, variance = standard.mean(axis=0), standard.var(axis=0, ddof=1)
    if features < FEWEST_FEATURES:
        return offset, np.sqrt(np.where(variance > 0, variance, 1.0))
    centre, width = offset.mean(), offset.var(ddof=1)
    middle, around = variance.mean(), variance.var(ddof=1)
    if not (width > 0 and around > 0):
        return offset, np.sqrt(np.where(variance > 0, variance, 1.0))
    # Inverse gamma prior of the variances, by its moments.
    shape = (2 * around + middle**2) / around
    rate = (middle * around + middle**3) / around
    squares = (standard**2).sum(axis=0)
    found, spread = offset, variance
    for _ in range(STEPS):
        moved = (width * count * offset + spread * centre) / (width * count + spread)
        rest = squares - 2 * moved * count * offset + count * moved**2
        widened = (rest / 2 + rate) / (count / 2 + shape - 1)
        change = max(_change(moved, found), _change(widened, spread))
        found, spread = moved, widened
        if change < TOLERANCE:
            break
    return found, np.sqrt(spread)


def _change(new: np.ndarray, old: np.ndarray) -> float:
    return float(np.max(np.abs(new - old) / np.maximum(np.abs(old), 1e-12)))
