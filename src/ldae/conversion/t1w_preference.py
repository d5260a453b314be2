"""Preference among the T1-weighted images of a session: which is taken, and which never are.

The table of docs/cohorts.md. Images that are no plain T1-weighted magnitude image of the native
brain are never taken unless the data set asks for them, also where a session has no other: contrast
agent brightens vessels and meninges, and phase, real and imaginary parts are no intensities. Of the
others, images that combine several echoes come before single ones, and plain reconstructions before
processed ones.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

# Entities by which images are refused unless asked for: pybids's name -> short name.
REFUSED_BY = {"ceagent": "ce", "part": "part", "inv": "inv"}
MAGNITUDE = ("", "mag")
# Keys of sidecars that say that contrast agent was given, and keywords of DICOM's tags (0018,1048)
# and (0018,0010), from which dcm2niix writes them.
CONTRAST = ("ContrastBolusIngredient", "ContrastBolusAgent")
_NONE = re.compile(
    r"|0|-|n|n/?a|false|unknown"
    r"|(no|non|none|without|w/?o)([ -]+(iv|contrast|agent|gad\w*|bolus|given|used|administered))*"
)


def never_taken(
    entities: Mapping[str, Any], about: Mapping[str, Any], asked: Collection[str] = ()
) -> str | None:
    """Reason why an image is never taken, a sentence; None: it may be.

    Args:
        entities: Entities of its name by their short names (``ce``, ``part``, ``inv``).
        about: Metadata of its sidecars.
        asked: Short names of entities that the data set asks for: their values refuse no image.
    """
    agent = str(entities.get("ce", ""))
    if agent and "ce" not in asked:
        return f"The scan was taken with contrast agent (ce-{agent})."
    if not agent and (key := contrast_key(about)):
        return f"The scan was taken with contrast agent ({key} in its sidecar)."
    if (part := str(entities.get("part", ""))) not in MAGNITUDE and "part" not in asked:
        return f"It is no magnitude image (part-{part})."
    if (inversion := str(entities.get("inv", ""))) != "" and "inv" not in asked:
        return f"It is one inversion of several (inv-{inversion}), no T1-weighted image."
    return None


def asked_for(bids_filter: Mapping[str, Any]) -> set[str]:
    """Short names of the entities of :data:`REFUSED_BY` that a data set's filter names."""
    return {REFUSED_BY[name] for name in REFUSED_BY.keys() & bids_filter.keys()}


def contrast_key(about: Mapping[str, Any]) -> str | None:
    """The first of :data:`CONTRAST` whose value names an agent; None: no agent was given.

    Args:
        about: Metadata of a sidecar, or values of a DICOM header by their keywords.
    """
    return next((key for key in CONTRAST if _is_given(about.get(key))), None)


def _is_given(value: Any) -> bool:
    words = value if isinstance(value, list) else [value]
    return any(word and not _NONE.fullmatch(str(word).strip().lower()) for word in words)


def rank(entities: Mapping[str, Any]) -> tuple:
    """Order of an image among those of its session; the lowest is taken.

    Combined echoes, then the first; no reconstruction named, then ``norm`` (corrected by the
    scanner), then others; the lowest run.
    """
    echo, rec = _number(entities.get("echo")), str(entities.get("rec", ""))
    return echo, {"": 0, "norm": 1}.get(rec.lower(), 2), _number(entities.get("run"))


def _number(value: Any) -> int:
    """Number of an entity such as ``01``; 0 where there is none."""
    found = re.search(r"\d+", str(value or ""))
    return int(found[0]) if found else 0


def entities_of(name: str) -> dict[str, str]:
    """Entities of a file name by their short names: ``{"sub": "01", "ce": "gad"}``."""
    return dict(part.split("-", 1) for part in name.split("_") if "-" in part)
