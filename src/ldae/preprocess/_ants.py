"""Import of ANTsPy with repeatable results: one thread and a fixed seed, set before ITK starts.

The preprocessing imports ANTsPy only from here. ITK reads the number of threads when its first
filter runs. ``ants.registration`` ignores its argument ``random_seed`` and reads the environment.
With one thread and a seed the same input gives the same bytes; with two threads or without a seed
it does not.
"""

import os

os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
os.environ["ANTS_RANDOM_SEED"] = "1"

import ants

__all__ = ["ants"]
