"""LDAE with the paper's encoder of slices, as a system beside an LDAE with another encoder."""

from ldae.inference.ldae_system import LdaeSystem


class LdaeSlicesSystem(LdaeSystem):
    """The LDAE with the paper's encoder of slices, beside one with another encoder.

    Both have the same autoencoder and LDM, whose own reconstructions are the other one's.
    """

    stages, name, with_parts = ("autoencoder", "ldm", "ldae_slices"), "ldae_slices", False
