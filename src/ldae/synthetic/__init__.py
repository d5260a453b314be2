"""Synthetic cohorts with known truth, for demonstrations, proofs and tests.

``make_download`` makes an ADNI download. ``make_preprocessed`` makes a larger and more varied
cohort of brains in template space (:mod:`ldae.synthetic.population`). Both draw an anatomy on a
base head and give it the atrophy asked for with ``shrink``; the same anatomy with another atrophy
is its counterfactual. ``synthetic_anatomy`` draws one subject, ``acquire`` scans a head.
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
