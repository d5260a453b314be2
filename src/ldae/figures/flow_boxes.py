"""Boxes, arrows and labels of a flow chart, in millimetres from the upper left corner."""

from dataclasses import dataclass

from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyBboxPatch
from matplotlib.textpath import text_to_path

from ldae.figures.style import BAND, DIM, FILL, GREY, INCH, INK, SHADES, TINT, new_figure

LINE, PAD, GAP = 3.5, 1.8, 5.0  # mm: a line of text, padding of a box, distance between boxes
NORMAL, SMALL = 7.0, 6.0  # points


@dataclass(frozen=True)
class Text:
    """A line of text in a box; ``indent`` in mm."""

    text: str
    bold: bool = False
    small: bool = False
    indent: float = 0.0


def items(texts: list[str], width: float, indent: float = 0.0) -> list[Text]:
    """Small lines of ``texts`` with a dot between, in a box ``width`` mm wide.

    Lines are broken between texts; a text longer than a line is broken between words.
    """
    room = width - 2 * PAD - indent
    lines: list[str] = []
    for text in texts:
        if lines and small_width(f"{lines[-1]} · {text}") <= room:
            lines[-1] += f" · {text}"
            continue
        lines.append("")
        for word in text.split():
            longer = f"{lines[-1]} {word}".strip()
            if lines[-1] and small_width(longer) > room:
                lines.append(word)
            else:
                lines[-1] = longer
    return [Text(line, small=True, indent=indent) for line in lines]


def small_width(text: str) -> float:
    """Width of small text in mm, plus 6 % because a bitmap rounds the width of each letter up."""
    points, _, _ = text_to_path.get_text_width_height_descent(
        text, FontProperties(size=SMALL), ismath=False
    )
    return 1.06 * points / 72 * INCH


def box_height(lines: list[Text]) -> float:
    """Height in mm of a box that holds ``lines``."""
    return sum(map(_size, lines)) + 2 * PAD


def _size(line: Text) -> float:
    return 0.86 * LINE if line.small else LINE


class Sheet:
    """A figure of ``width`` x ``height`` mm to draw boxes on."""

    def __init__(self, width: float, height: float):
        self.figure = new_figure(width, height)
        self._ax = self.figure.add_axes([0, 0, 1, 1])
        self._ax.set(xlim=(0, width), ylim=(height, 0))
        self._ax.axis("off")

    def box(
        self,
        x: float,
        y: float,
        width: float,
        lines: list[Text],
        align: str = "center",
        strong: bool = False,
        loss: bool = False,
        dashed: bool = False,
        height: float | None = None,
    ) -> None:
        """A box with its upper left corner at ``x``, ``y``; as high as its text, or ``height``."""
        size = box_height(lines)
        height = size if height is None else height
        fill = TINT if strong else "white" if loss or dashed else FILL
        edge = SHADES[1] if strong else GREY
        self._frame(x, y, width, height, fill, edge, "--" if dashed else "-")
        at, top = x + width / 2 if align == "center" else x + PAD, y + PAD
        for line in lines:
            self._ax.text(
                at + line.indent,
                top + _size(line) / 2,
                line.text,
                ha=align,
                va="center_baseline",
                fontsize=SMALL if line.small else NORMAL,
                color=DIM if line.small else INK,
                fontweight="bold" if line.bold else "normal",
            )
            top += _size(line)

    def phase(self, x: float, y: float, height: float, text: str) -> None:
        """A band 5 mm wide with a label written upwards; omitted if the label does not fit."""
        if height < 1.3 * len(text) + 2:
            return
        self._frame(x, y, 5.0, height, BAND, BAND, "-")
        self._ax.text(
            x + 2.5,
            y + height / 2,
            text,
            rotation=90,
            ha="center",
            va="center",
            fontsize=6.5,
            fontweight="bold",
            color=SHADES[1],
        )

    def line(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """A plain line."""
        self._ax.plot(*zip(start, end, strict=True), color=INK, lw=0.8, solid_capstyle="butt")

    def arrow(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """A line with a head at ``end``."""
        style = {"arrowstyle": "-|>", "lw": 0.8, "color": INK, "mutation_scale": 7}
        style |= {"shrinkA": 0, "shrinkB": 0}
        self._ax.annotate("", xy=end, xytext=start, arrowprops=style)

    def _frame(
        self, x: float, y: float, width: float, height: float, fill: str, edge: str, style: str
    ) -> None:
        self._ax.add_patch(
            FancyBboxPatch(
                (x, y),
                width,
                height,
                boxstyle="round,pad=0,rounding_size=0.8",
                facecolor=fill,
                edgecolor=edge,
                lw=0.7,
                ls=style,
            )
        )
