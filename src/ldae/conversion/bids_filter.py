"""BIDS filter of a data set: entities that its T1-weighted images must have, as pybids names them.

The form is that of a section of fMRIPrep's ``--bids-filter-file``: ``{acquisition: mprage}``; a
list: one of these; ``null``: the image has no such entity; ``"*"``: it has one, whatever its value.
"""

from collections.abc import Mapping
from typing import Any

from bids.layout import BIDSLayout, Query

IMAGES = {"suffix": "T1w", "extension": [".nii.gz", ".nii"]}
ANY = "*"


def filtered_out(layout: BIDSLayout, bids_filter: Mapping[str, Any], key: str) -> dict[str, str]:
    """T1-weighted images that a filter leaves out.

    Args:
        layout: The data set.
        bids_filter: Entity (pybids's name) to a value, a list of values, null, or ``"*"``.
        key: Key of the configuration that reasons name.

    Returns:
        By absolute path of the image: the reason, a sentence that names the first entity that does
        not match.
    """
    out: dict[str, str] = {}
    images = layout.get(**IMAGES)
    for name, wanted in bids_filter.items():
        query = IMAGES | {name: Query.ANY if wanted == ANY else wanted}
        kept = {image.path for image in layout.get(**query)}
        for image in images:
            if image.path not in kept:
                about = f"its {name} is {image.entities.get(name, 'absent')}, not {_words(wanted)}"
                out.setdefault(image.path, f"Left out by {key}.bids_filter: {about}.")
    return out


def _words(wanted: Any) -> str:
    values = wanted if isinstance(wanted, list) else [wanted]
    names = {None: "absent", ANY: "any"}
    return " or ".join(str(names.get(value, value)) for value in values)
