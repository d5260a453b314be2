"""Interface of trained systems: what reconstruction and cost need, whatever the networks."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any, NamedTuple, Self

from torch import Tensor, nn

from ldae.compute import Compute
from ldae.data.volume_store import VolumeStore
from ldae.diffusion.solvers import Solver, find_solver
from ldae.inference.start_noise import StartNoise

# Precision of autoencoders and denoisers. Codes, metrics and sampling stay fp32. So does the
# semantic encoder of the LDAE: the probes are fitted on embeddings that were made in fp32.
PRECISION = {"cuda": "bf16", "cpu": "fp32"}

# A system and the variant of its reconstruction, as tables name them.
Variant = tuple[str, str]


class Reconstruction(NamedTuple):
    """Reconstructed volumes of a batch.

    Attributes:
        system, variant: Their names in tables.
        steps: DDIM steps T; None where nothing is diffused.
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
    """Number of a system's parameters, and length of the code that it reconstructs a scan from."""

    parameters: int
    latent_dim: int


class TrainedSystem(ABC):
    """Trained networks on a device, with their noise schedule.

    Attributes:
        stages: Names of the trained models that it consists of.
        name: Name of the system in tables.
        compute: Device and precision.
        has_autoencoder: Whether reconstructions are compared with an autoencoder's as well.
        solver, solver_name: Solver of both directions of the diffusion; the paper's unless
            :meth:`with_solver` sets another.
    """

    stages: tuple[str, ...]
    name: str
    compute: Compute
    has_autoencoder: bool = False
    solver: Solver = find_solver("ddim")
    solver_name: str = "ddim"

    @classmethod
    @abstractmethod
    def load(
        cls,
        models: Mapping[str, str | Path],
        cfg: Mapping[str, Any],
        device: str,
        threads: int,
        precision: str | None = None,
    ) -> "TrainedSystem":
        """Restore the networks from their model folders.

        Args:
            models: Model folders by stage (:attr:`stages`).
            cfg: Section ``evaluation``.
            device: ``cuda`` or ``cpu``.
            threads: CPU threads.
            precision: Precision of autoencoder and denoiser, ``bf16`` (autocast) or ``fp32``; None:
                bf16 on cuda, fp32 on cpu.

        Raises:
            UserError: a model is missing, damaged or of another kind, or the models do not belong
                together.
        """

    def with_solver(self, name: str) -> Self:
        """The same system, and the same networks, with a solver of :data:`SOLVERS` by name."""
        other = copy(self)
        other.solver, other.solver_name = find_solver(name), name
        return other

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
        noise: StartNoise,
    ) -> Iterator[Reconstruction]:
        """Yield every reconstruction of a batch that Table 6 and its controls need.

        Args:
            x: Volumes (B, 1, X, Y, Z) of the store, on the device.
            codes: ``y_sem`` (B, d) of the volumes. Further codes by name are controls: they are
                decoded at the largest T alone.
            scan_ids: Scans of the volumes.
            steps: DDIM steps T, one value or more.
            noise: What decodes from y_sem alone start at.
        """

    @abstractmethod
    def runs(
        self, x: Tensor, scan_id: str, steps: int, noise: StartNoise
    ) -> dict[Variant, Callable[[], Tensor]]:
        """Whole computations from a volume (1, 1, X, Y, Z) on the device to its reconstruction.

        Args:
            x: The volume.
            scan_id: Its scan.
            steps: DDIM steps T.
            noise: What decodes from y_sem alone start at.
        """

    @property
    @abstractmethod
    def volume_shape(self) -> Sequence[int]:
        """Shape (X, Y, Z) of the volumes that it was trained for."""

    @abstractmethod
    def largest_calls(self, x: Tensor) -> dict[str, Callable[[], Tensor]]:
        """The calls of an evaluation that need the most memory, by name.

        Args:
            x: Volumes (B, 1, X, Y, Z) of :attr:`volume_shape`, on the device.
        """

    @abstractmethod
    def sizes(self, shape: Sequence[int]) -> dict[Variant, Size]:
        """Sizes for volumes of ``shape`` (X, Y, Z).

        Those of LDDIM and LDAE do not count the autoencoder, as in the paper.
        """

    def resolution(self, shape: Sequence[int]) -> Sequence[int]:
        """Shape (X, Y, Z) on which the networks work for volumes of ``shape`` (X, Y, Z)."""
        return shape


def parameters(*modules: nn.Module) -> int:
    """Number of parameters; those that modules share are counted once."""
    return sum({id(p): p.numel() for net in modules for p in net.parameters()}.values())
