"""The kinds of stores by their names."""

from ldae.data.latent_store import LatentStore
from ldae.data.store import Store
from ldae.data.volume_store import VolumeStore

KINDS: dict[str, type[Store]] = {kind.made_by: kind for kind in (VolumeStore, LatentStore)}
