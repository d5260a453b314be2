"""What reconstruction, cost and embeddings need of a trained system, whatever its networks."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from ldae.compute import Compute
from ldae.data.volume_store import VolumeStore

# Of autoencoders and denoisers. Codes, metrics and sampling stay fp32, and so does the semantic
# encoder of the LDAE: the probes are fitted on embeddings that were made in fp32.
PRECISION = {"cuda": "bf16", "cpu": "fp32"}

# A system and the variant of its reconstruction, as tables name them.
Variant = tuple[str, str]


class Reconstruction(NamedTuple):
    """Reconstructed volumes of a batch.

    Attributes:
        system, variant: As tables name them.
        steps: T of DDIM; None where nothing is diffused.
        original, image: Volumes (B, 1, X, Y, Z) in [0, 1] on one grid.
        compressed: The autoencoder's reconstruction of the original; None: there is none.
    """

    system: str
    variant: str
    steps: int | None
    original: Tensor
    image: Tensor
    compressed: Tensor | None = None


class Size(NamedTuple):
    """Parameters of a system, and the numbers that a scan is reconstructed from."""

    parameters: int
    latent_dim: int


class TrainedSystem(ABC):
    """Trained networks on a device, with their noise schedule.

    Attributes:
        name: Of the system in tables.
        compute: Device and precision.
        has_autoencoder: Whether reconstructions are compared with an autoencoder's as well.
    """

    name: str
    compute: Compute
    has_autoencoder: bool = False

    @abstractmethod
    def volume_store(self, folder: str | Path) -> VolumeStore:
        """Open the volume store, whose test subjects no model may have been trained on.

        Raises:
            UserError: a model does not fit the store (:mod:`ldae.models.training_scans`).
        """

    @abstractmethod
    def y_sem(self, x: Tensor) -> Tensor:
        """Semantic code (B, d) of volumes (B, 1, X, Y, Z) of the store."""

    @abstractmethod
    def reconstructions(
        self,
        x: Tensor,
        codes: Mapping[str, Tensor],
        scan_ids: Sequence[str],
        steps: Sequence[int],
        noise_seed: int,
    ) -> Iterator[Reconstruction]:
        """Every reconstruction of a batch that Table 6 and its controls need.

        Args:
            x: Volumes (B, 1, X, Y, Z) of the store, on the device.
            codes: ``y_sem`` (B, d) of the volumes. Further codes by name are controls: they are
                decoded at the largest T alone.
            scan_ids: Of the volumes; the noise is fixed by scan.
            steps: T of DDIM.
            noise_seed: Of the fixed noise.
        """

    @abstractmethod
    def runs(
        self, x: Tensor, scan_id: str, steps: int, noise_seed: int
    ) -> dict[Variant, Callable[[], Tensor]]:
        """The whole way from a volume (1, 1, X, Y, Z) on the device to its reconstruction."""

    @abstractmethod
    def sizes(self, shape: Sequence[int]) -> dict[Variant, Size]:
        """Sizes for volumes of a shape; the autoencoder of LDDIM and LDAE apart, as in the
        paper."""

    def resolution(self, shape: Sequence[int]) -> Sequence[int]:
        """Shape of what the networks see of volumes of a shape."""
        return shape


def parameters(*modules: nn.Module) -> int:
    """Number of parameters, those that modules share counted once."""
    return sum({id(p): p.numel() for net in modules for p in net.parameters()}.values())
