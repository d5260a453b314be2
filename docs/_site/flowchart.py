"""Flow charts of the pages as SVG: the part of Mermaid's language that the pages use.

GitHub draws Mermaid itself. The theme of the site would load Mermaid from another machine, so the
site draws its charts at the build, in layers from top to bottom (or bottom to top).
"""

import html
import re
from dataclasses import dataclass, field
from itertools import pairwise

import networkx as nx

NODE = re.compile(r'(?P<name>\w+)(?:\[(?:\("(?P<store>[^"]*)"\)|(?P<label>[^\]]*))\])?')
ARROW = re.compile(r"\s*(?P<arrow>-->|~~~)\s*(?:\|(?P<text>[^|]*)\|\s*)?")
CHARACTER, LINE = 7.0, 17  # pixels of a character of 13 px, and from line to line
PADDING, GAP, RISE = 12, 26, 46  # pixels: in a box, between boxes of a layer, between layers
SWEEPS = 24  # passes over the layers that order and place the boxes
STYLE = (
    ".box{fill:var(--md-code-bg-color,#f5f5f5);stroke:currentColor;stroke-opacity:.45}"
    ".way{fill:none;stroke:currentColor;stroke-opacity:.55;stroke-width:1.3}"
    "text{font:13px sans-serif;fill:currentColor;text-anchor:middle}"
    ".said{font-size:12px;font-style:italic;opacity:.8}"
)


@dataclass
class Chart:
    """A chart as written.

    Attributes:
        upward: Whether arrows lead from the bottom to the top.
        labels: Lines of text in each box, by its name.
        graph: An edge for each arrow, with ``text`` and ``shown`` (false: it only orders layers).
    """

    upward: bool
    labels: dict[str, list[str]] = field(default_factory=dict)
    graph: nx.DiGraph = field(default_factory=nx.DiGraph)


def parse(source: str) -> Chart:
    """Read a chart.

    Raises:
        ValueError: a line is not of the part of the language that is known here.
    """
    first, *lines = [line.strip() for line in source.strip().splitlines()]
    direction = re.fullmatch(r"flowchart (TB|TD|BT)", first)
    if not direction:
        raise ValueError(f"a chart begins with flowchart TB or BT, not {first!r}")
    chart = Chart(direction[1] == "BT")
    for line in filter(None, lines):
        _read_line(chart, line)
    return chart


def _read_line(chart: Chart, line: str) -> None:
    """Add the boxes and arrows of a line: ``a[text] --> b & c ~~~ d``."""
    place, groups, arrows = 0, [[]], []
    while place < len(line):
        node = NODE.match(line, place)
        if not node:
            raise ValueError(f"no box at {line[place:]!r} in the chart's line {line!r}")
        label = node["store"] or node["label"]
        if label or node["name"] not in chart.labels:
            chart.labels[node["name"]] = re.split(r"<br */?>", label or node["name"])
        groups[-1].append(node["name"])
        place = node.end()
        if joint := re.compile(r"\s*&\s*").match(line, place):
            place = joint.end()
        elif arrow := ARROW.match(line, place):
            arrows.append(arrow)
            groups.append([])
            place = arrow.end()
        elif line[place:].strip():
            raise ValueError(f"no arrow at {line[place:]!r} in the chart's line {line!r}")
    for (tails, heads), arrow in zip(pairwise(groups), arrows, strict=True):
        shown = arrow["arrow"] == "-->"
        for edge in ((tail, head) for tail in tails for head in heads):
            if shown or not chart.graph.has_edge(*edge):
                chart.graph.add_edge(*edge, text=arrow["text"] or "", shown=shown)


def svg(source: str, title: str) -> str:
    """Draw a chart; its colours are those of the page around it."""
    chart = parse(source)
    layers = list(map(list, nx.topological_generations(chart.graph)))
    level = {name: height for height, names in enumerate(layers) for name in names}
    ways = _ways(chart, layers, level)
    width = {name: _width(chart.labels[name]) if name in chart.labels else 8 for name in level}
    column = _columns(layers, ways, width)
    rows = [max(len(chart.labels.get(name, [""])) for name in names) for names in layers]
    heights = [count * LINE + PADDING for count in rows]
    if chart.upward:
        heights.reverse()
    tops = [sum(heights[:n]) + n * RISE + 4 for n in range(len(heights))]
    middle = {}
    for name, height in level.items():
        row = len(layers) - 1 - height if chart.upward else height
        middle[name] = tops[row] + heights[row] / 2
    half = {name: (len(chart.labels.get(name, [])) * LINE + PADDING) / 2 for name in level}
    drawn = [_way(way, column, middle, half, chart, text) for way, text in ways]
    drawn += [_box(name, chart, column[name], middle[name], width[name]) for name in chart.labels]
    whole = max(column[name] + width[name] / 2 for name in level) + 4
    tall = tops[-1] + heights[-1] + 4
    return (
        f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {whole:.0f}'
        f' {tall:.0f}" style="max-width:{whole:.0f}px;width:100%">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style>"
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
        'markerHeight="8" orient="auto"><path d="M0,0L8,4L0,8z" fill="currentColor" '
        f'fill-opacity=".6"/></marker></defs>{"".join(drawn)}</svg>'
    )


def _ways(chart: Chart, layers: list[list[str]], level: dict[str, int]) -> list:
    """Boxes and bends of each arrow, with its text; bends are added to the layers they cross."""
    ways = []
    for tail, head, about in chart.graph.edges(data=True):
        if not about["shown"]:
            continue
        bends = [f"{tail}>{head}@{n}" for n in range(level[tail] + 1, level[head])]
        for height, bend in enumerate(bends, level[tail] + 1):
            layers[height].append(bend)
            level[bend] = height
        ways.append(([tail, *bends, head], about["text"]))
    return ways


def _columns(layers: list[list[str]], ways: list, width: dict[str, float]) -> dict[str, float]:
    """Middle of each box and bend, in pixels: near those it is joined to, none over another."""
    joined = nx.Graph()
    joined.add_nodes_from(width)
    for way, _ in ways:
        joined.add_edges_from(pairwise(way))
    column: dict[str, float] = {}
    for names in layers:
        start = 0.0
        for name in names:
            column[name] = start + width[name] / 2
            start += width[name] + GAP
        for name in names:
            column[name] -= start / 2
    for sweep in range(SWEEPS):
        for names in layers if sweep % 2 else reversed(layers):
            wanted = {}
            for name in names:
                near = [column[other] for other in joined[name]]
                wanted[name] = sum(near) / len(near) if near else column[name]
            names.sort(key=wanted.__getitem__)
            column |= _spread(names, wanted, width)
    least = min(column[name] - width[name] / 2 for name in width)
    return {name: value - least + 4 for name, value in column.items()}


def _spread(names: list[str], wanted: dict[str, float], width: dict[str, float]) -> dict:
    """Places in this order, as near to those wanted as the boxes' widths allow."""
    right, left = {}, {}
    for place, order, sign in ((right, names, 1), (left, names[::-1], -1)):
        before = None
        for name in order:
            place[name] = wanted[name]
            if before is not None:
                apart = (width[name] + width[before]) / 2 + GAP
                place[name] = sign * max(sign * wanted[name], sign * place[before] + apart)
            before = name
    return {name: (right[name] + left[name]) / 2 for name in names}


def _width(lines: list[str]) -> float:
    return max(map(len, lines)) * CHARACTER + 2 * PADDING


def _way(way, column, middle, half, chart: Chart, text: str) -> str:
    """An arrow through its bends, and its text beside its first stretch."""
    sign = -1 if chart.upward else 1
    points = [(column[name], middle[name]) for name in way]
    points[0] = (points[0][0], points[0][1] + sign * half[way[0]])
    points[-1] = (points[-1][0], points[-1][1] - sign * half[way[-1]])
    path = f"M{points[0][0]:.1f},{points[0][1]:.1f}"
    for (x, y), (to_x, to_y) in pairwise(points):
        turn = (y + to_y) / 2
        path += f"C{x:.1f},{turn:.1f} {to_x:.1f},{turn:.1f} {to_x:.1f},{to_y:.1f}"
    line = f'<path class="way" d="{path}" marker-end="url(#head)"/>'
    if not text:
        return line
    (x, y), (to_x, to_y) = points[:2]
    words = re.split(r"<br */?>", text)
    side = 1 if to_x >= x else -1  # the outer one
    place = (x + to_x) / 2 + side * (max(map(len, words)) * CHARACTER / 2 + 4)
    start = (y + to_y) / 2 + 4 - (len(words) - 1) * LINE / 2
    return line + _text(words, place, start, "said")


def _box(name: str, chart: Chart, x: float, y: float, width: float) -> str:
    lines = chart.labels[name]
    height = len(lines) * LINE + PADDING
    box = (
        f'<rect class="box" x="{x - width / 2:.1f}" y="{y - height / 2:.1f}" width="{width:.1f}" '
        f'height="{height}" rx="6"/>'
    )
    return box + _text(lines, x, y + 4.5 - (len(lines) - 1) * LINE / 2, "name")


def _text(lines: list[str], x: float, y: float, kind: str) -> str:
    return "".join(
        f'<text class="{kind}" x="{x:.1f}" y="{y + n * LINE:.1f}">{html.escape(line)}</text>'
        for n, line in enumerate(lines)
    )
