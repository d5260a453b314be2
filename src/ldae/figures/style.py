"""Common style of the figures: sizes in millimetres, fonts, colours, and files without dates.

Figures are built on :class:`matplotlib.figure.Figure` itself (never pyplot): no global state
remains, and two drawings in one process are independent.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from ldae.files import atomic

PAGE = 180.0  # mm: width of a figure across two columns
INCH = 25.4
BLACK, GREY, LIGHT, INK = "#000000", "#8A8A8A", "#E3E3E3", "#222222"


class Kind(NamedTuple):
    """A kind of systems that share a colour: its name in legends, and the colour."""

    label: str
    colour: str


# Colours of classes (of Okabe & Ito, 2008) and of kinds of systems. None means anything else, but
# black and grey also draw axes, reference lines and series that are neither (docs/figures.md). Each
# group stays apart with any colour vision: tests/unit/test_figure_colours.py measures it.
DIAGNOSIS = {"CN": "#0072B2", "MCI": "#CC79A7", "AD": "#D55E00"}
KINDS = {
    "ldae": Kind("LDAE", "#6A3D9A"),
    "autoencoder": Kind("Autoencoder", BLACK),
    "trained": Kind("Other trained model", "#8C510A"),
    "latents": Kind("AE latents", "#3BA3D0"),
    "voxels": Kind("Voxels and volumes", "#D99000"),
    "none": Kind("Nothing learnt, or no image", GREY),
    "truth": Kind("Known truth", "#005F40"),
}
KIND_OF_SYSTEM = {
    "autoencoder": "autoencoder",
    "lddim": "trained",
    "ldae": "ldae",
    "ldae_slices": "ldae",
    "dae": "trained",
    "dae_own_grid": "trained",
    "supervised": "trained",
    "untrained": "none",
    "latents_pca": "latents",
    "volumes": "voxels",
    "oracle": "truth",
    "age_sex": "none",
    "sex": "none",
    "age": "none",
    "mean_age": "none",
    "training_mean": "none",
    "nearest_visit": "none",
    "voxel_average": "voxels",
    "latent_lerp": "latents",
    "ldae_last_noise": "ldae",
    "ldae_corrected": "ldae",
    "last_visit": "none",
    "mean_visits": "voxels",
    "population_change": "latents",
    "voxel_linear": "voxels",
    "latent_linear": "latents",
}
LDAE = KINDS["ldae"].colour
# Shades from dark to light: steps of one quantity, or series that are no systems.
SHADES = ("#16263D", "#44617F", "#7D9BB8", "#B3C6D6")
FILL, TINT, BAND, DIM = "#F7F8FA", "#E4EDF5", "#DCE7F1", "#555555"  # of flow charts
BRIGHT = "#F0E442"  # on black pictures: outlines, frames of what failed
DIFFERENCE = "magma"  # absolute differences: perceptually uniform, dark at zero
SIGNED = "RdBu_r"  # signed differences: diverging about zero
BRAIN = "gray"
_RC = {
    "font.family": "DejaVu Sans",
    "mathtext.fontset": "dejavusans",
    "font.size": 7.0,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.0,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "legend.fontsize": 6.5,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "grid.color": LIGHT,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.0,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,
    "svg.hashsalt": "ldae",
    "image.composite_image": False,
}


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib settings of every figure; the user's own matplotlibrc is ignored."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        yield


def new_figure(width: float, height: float, layout: str | None = None) -> Figure:
    """An empty figure of ``width`` x ``height`` mm."""
    return Figure(figsize=(width / INCH, height / INCH), layout=layout)


def letter(ax: Axes, text: str, dx: float = -6.0, dy: float = 1.5) -> None:
    """Panel letter in bold, ``dx`` and ``dy`` mm off the upper left corner of ``ax``."""
    ax.annotate(
        text,
        xy=(0, 1),
        xycoords="axes fraction",
        xytext=(dx / INCH * 72, dy / INCH * 72),
        textcoords="offset points",
        fontsize=9,
        fontweight="bold",
        ha="left",
        va="bottom",
        annotation_clip=False,
    )


def log_steps(ax: Axes, ticks: Sequence[float]) -> None:
    """A logarithmic horizontal axis that is marked at ``ticks`` alone."""
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xticklabels([f"{tick:g}" for tick in ticks])


def save(figure: Figure, pdf: str | Path, png: str | Path, dpi: int) -> None:
    """Write ``figure`` as PDF and PNG, byte for byte the same whenever the data are the same.

    Dates, program versions and creators are left out of both files. The canvas is not cropped to
    its content, so a figure keeps the size it was made with.
    """
    with atomic(pdf) as path:
        empty = dict.fromkeys(("Creator", "Producer", "CreationDate"))
        FigureCanvasPdf(figure).print_figure(path, format="pdf", dpi=dpi, metadata=empty)
    with atomic(png) as path:
        FigureCanvasAgg(figure).print_figure(
            path, format="png", dpi=dpi, metadata={"Software": None}
        )


def kind_of(system: str) -> str:
    """Key in ``KINDS`` of a system; ``none`` for an unknown one."""
    return KIND_OF_SYSTEM.get(system, "none")


def system_colour(system: str) -> str:
    """Colour of a system: that of its kind."""
    return KINDS[kind_of(system)].colour


@dataclass
class Drawing:
    """A drawn figure, the data behind it, its caption and what it shows.

    Attributes:
        data: The plotted data: a table (written as TSV) or arrays by name (as NPZ).
        title, body: Of the caption: what is drawn and how to read it, at most 60 words together.
        result: What the figure shows, in one to three sentences with numbers of the data; for the
            text of the report, and for readers who do not see the picture.
    """

    figure: Figure
    data: pd.DataFrame | dict[str, np.ndarray]
    title: str
    body: str
    result: str

    @property
    def caption(self) -> str:
        """The caption as written to its file."""
        return f"{self.title}\n\n{self.body}\n"
