"""HTML page of the explorer: one file with viewer, volumes and numbers; it loads nothing else."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from ldae.evaluation.metrics.image import BRAIN_LEVEL
from ldae.evaluation.metrics.volumes import FLUID, TISSUE, VENTRICLES
from ldae.explorer.readings import MEASURES
from ldae.explorer.stack_coding import packed
from ldae.files import atomic

WEB, VENDOR = Path(__file__).with_name("web"), Path(__file__).with_name("vendor")
VIEWER = "niivue.umd.js"
SCRIPTS = (
    "stack.js",
    "nifti.js",
    "overlays.js",
    "viewer.js",
    "plain_viewer.js",
    "charts.js",
    "code_map.js",
    "explorer.js",
)
MEGABYTE = 1_000_000


def overhead() -> int:
    """Bytes of the page without any volume and number."""
    return len(packed(_viewer())) + sum(path.stat().st_size for path in WEB.iterdir())


def grid(affine: np.ndarray) -> dict[str, Any]:
    """What the page needs to know of the volumes' grid.

    Args:
        affine: (4, 4) voxel to RAS mm, diagonal in its first three rows.

    Returns:
        ``affine``, its first three rows; ``box``, first and last voxel of the ventricles' region on
        each axis; ``fluid``, the intensity relative to the brain's median below which a voxel there
        is fluid; ``brain``, the intensity above which a voxel is brain.
    """
    first, edges = affine[:3, 3], np.diag(affine)[:3]
    low, high = np.array(VENTRICLES).T
    box = np.stack([np.ceil((low - first) / edges), np.ceil((high - first) / edges) - 1])
    return {
        "affine": affine[:3].tolist(),
        "box": box.astype(int).tolist(),
        "fluid": (FLUID + TISSUE) / 2,
        "brain": BRAIN_LEVEL,
    }


def measures(positive: str) -> list[dict[str, Any]]:
    """Labels of the measures, for the page's JSON; ``positive`` is the classifier's class."""
    return [
        {
            "key": key,
            "label": measure.label.format(positive=positive),
            "unit": measure.unit,
            "digits": measure.digits,
            "asked": measure.is_asked,
        }
        for key, measure in MEASURES.items()
    ]


def write_page(
    path: str | Path,
    title: str,
    about: Sequence[str],
    content: dict[str, Any],
    stacks: Sequence[dict[str, Any]],
    links: Sequence[tuple[str, str]] = (),
) -> int:
    """Write the page, whole or not at all.

    Args:
        path: HTML file to write.
        title: Heading.
        about: Paragraphs on what is shown, and what it does not say.
        content: Everything that the scripts read but the volumes.
        stacks: Coded volumes of each person.
        links: Text and address of pages beside it.

    Returns:
        Size of the page in bytes.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(WEB),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("explore.html.j2").render(
        title=title,
        about=about,
        links=links,
        content=_json(content),
        stacks=[_json(stack) for stack in stacks],
        style=Markup((WEB / "explore.css").read_text(encoding="utf-8")),
        scripts=Markup("\n".join((WEB / name).read_text(encoding="utf-8") for name in SCRIPTS)),
        viewer=packed(_viewer()),
        licence=(VENDOR / "LICENSE").read_text(encoding="utf-8"),
    )
    with atomic(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return len(page.encode())


def _viewer() -> bytes:
    return (VENDOR / VIEWER).read_bytes()


def _json(content: Any) -> Markup:
    """JSON that may stand in a script element: no tag can begin in it."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    return Markup(text.replace("<", "\\u003c"))
