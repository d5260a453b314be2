"""Synthetic cohorts with known truth, for demonstrations, proofs and tests.

``make_download`` makes an ADNI download. ``make_preprocessed`` makes a larger and more varied
cohort of brains in template space (:mod:`ldae.synthetic.population`). Both draw an anatomy on a
base head; ``apply_atrophy`` deforms it to the atrophy asked for. The same anatomy with another
atrophy is its counterfactual. ``synthetic_anatomy`` draws one subject, ``acquire`` scans a head.
"""

from ldae.synthetic.download import make_download
from ldae.synthetic.heads import Anatomy, Atrophy, Head, apply_atrophy, synthetic_anatomy
from ldae.synthetic.preprocessed import make_preprocessed
from ldae.synthetic.scanner import PROTOCOLS, Scan, acquire

__all__ = [
    "PROTOCOLS",
    "Anatomy",
    "Atrophy",
    "Head",
    "Scan",
    "acquire",
    "apply_atrophy",
    "make_download",
    "make_preprocessed",
    "synthetic_anatomy",
]
