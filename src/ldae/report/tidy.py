"""Text that may leave the machine: no absolute paths."""

import re
from pathlib import PurePosixPath
from typing import Any

# A path of two parts or more; not a fraction, a date or a closing tag.
PATH = re.compile(r"(?<![\w.:/<~-])/(?:[\w.+@~-]+/)+[\w.+@~-]*")


def without_paths(text: str) -> str:
    """The text with every absolute path shortened to its last part: ``…/ADNI``."""
    return PATH.sub(lambda found: f"…/{PurePosixPath(found[0]).name}", str(text))


def plain(config: Any) -> Any:
    """The configuration as plain dicts and lists, for YAML, without absolute paths."""
    if isinstance(config, dict):
        return {str(key): plain(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return [plain(value) for value in config]
    if isinstance(config, bool | int | float | None):
        return config
    text = str(config)
    return f"…/{PurePosixPath(text).name}" if text.startswith("/") else without_paths(text)
