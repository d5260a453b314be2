"""A synthetic ADNI download with known truth, for demonstrations and tests.

``make_download`` makes a whole download. Below it: ``synthetic_anatomy`` draws a subject on a base
head, ``shrink`` gives it the atrophy asked for (the same subject at any other atrophy is its
counterfactual), ``acquire`` scans it.
"""

from ldae.synthetic.download import make_download
from ldae.synthetic.heads import Anatomy, Atrophy, Head, shrink, synthetic_anatomy
from ldae.synthetic.scanner import PROTOCOLS, Scan, acquire

__all__ = [
    "PROTOCOLS",
    "Anatomy",
    "Atrophy",
    "Head",
    "Scan",
    "acquire",
    "make_download",
    "shrink",
    "synthetic_anatomy",
]
