"""Synthetic cohorts with known truth, for demonstrations, proofs and tests.

``make_download`` makes an ADNI download, ``make_preprocessed`` a larger and more varied cohort of
brains in template space (:mod:`ldae.synthetic.population`). Below them: ``synthetic_anatomy`` draws
a subject on a base head, ``shrink`` gives it the atrophy asked for (the same subject at any other
atrophy is its counterfactual), ``acquire`` scans it.
"""

from ldae.synthetic.download import make_download
from ldae.synthetic.heads import Anatomy, Atrophy, Head, shrink, synthetic_anatomy
from ldae.synthetic.preprocessed import make_preprocessed
from ldae.synthetic.scanner import PROTOCOLS, Scan, acquire

__all__ = [
    "PROTOCOLS",
    "Anatomy",
    "Atrophy",
    "Head",
    "Scan",
    "acquire",
    "make_download",
    "make_preprocessed",
    "shrink",
    "synthetic_anatomy",
]
