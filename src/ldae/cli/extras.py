"""Parts of the installation: which extra of the package brings a package that is missing."""

from collections.abc import Iterator
from contextlib import contextmanager

from ldae.errors import UserError

# Import name -> package, and the extra of pyproject.toml that has it.
EXTRAS = {
    "PIL": ("pillow", "preprocess"),
    "ants": ("antspyx", "preprocess"),
    "cc3d": ("connected-components-3d", "preprocess"),
    "deepbet": ("deepbet", "preprocess"),
    "fill_voids": ("fill-voids", "preprocess"),
    "skimage": ("scikit-image", "preprocess"),
    "antspynet": ("antspynet", "antspynet"),
    "keras": ("keras", "antspynet"),
    "bids": ("pybids", "workflow"),
    "captum": ("captum", "workflow"),
    "h5py": ("h5py", "workflow"),
    "lpips": ("lpips", "workflow"),
    "markupsafe": ("markupsafe", "workflow"),
    "matplotlib": ("matplotlib", "workflow"),
    "packaging": ("packaging", "workflow"),
    "tensorboardX": ("tensorboardx", "workflow"),
}


@contextmanager
def explained() -> Iterator[None]:
    """Turn the lack of a package of an extra into a sentence; other missing modules are defects.

    Raises:
        UserError: a package of :data:`EXTRAS` is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in EXTRAS:
            raise
        package, extra = EXTRAS[name]
        raise UserError(
            f"The Python package {package}, which this command needs, is not installed: run `pip "
            f'install {package}`, or install ldae with all of this part, `pip install "PATH[{extra}'
            ']"`, where PATH is the folder or wheel that it came from.'
        ) from error
