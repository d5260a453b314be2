"""The only importer of ANTsPy: fixes what makes its results repeatable before ITK starts.

ITK reads the number of threads when its first filter runs, and ``ants.registration`` ignores its
``random_seed`` argument in favour of the environment. With one thread and a seed the same input
gives the same bytes; with two threads or without a seed it does not.
"""

import os

os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
os.environ["ANTS_RANDOM_SEED"] = "1"

import ants

__all__ = ["ants"]
