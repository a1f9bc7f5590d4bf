"""``FILE.json`` next to ``FILE.onnx``: how to preprocess images and what the outputs mean.

The first part is for people and other programs; ``recipe``, ``store``, ``scheme`` and ``calibration`` let
Morphoscope itself predict without the run.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from morphoscope import files
from morphoscope.augment.cpu import views
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.files import write_json
from morphoscope.images.bands import band_name
from morphoscope.inference.calibration import AS_NEEDED, CalibrationFile, read_calibration, views_of_recipe
from morphoscope.inference.engine.interface import INPUT
from morphoscope.inference.ood import FILE as REFERENCE
from morphoscope.inference.ood import read_distribution
from morphoscope.labels.scheme import Scheme
from morphoscope.recipes import Recipe
from morphoscope.runs.run import Run, StoreFacts, check_sides, portable_recipe, portable_store
from morphoscope.versioned import read_document, understood

FORMAT_VERSION = 3  # 2: calibrations that mix, and the feature distribution; 3: other bands than RGB


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Steps(_Part):
    """Preprocessing steps from an image to the network's input, in this order."""

    channels: str = "red, green, blue"
    stored_crop: int | None = Field(
        description="1. centre crop of the original, pixels; null: the largest square; images that have "
        "stored_side already are taken as they are"
    )
    stored_side: int = Field(description="2. scaled to this side, pixels; 8 bits a channel")
    stretch: str = Field(description="how FITS values became grey levels before that")
    crop: int | None = Field(description="3. centre crop of the stored image, pixels; null: all of it")
    size: int = Field(description="4. scaled to this side, the network's input")
    border: str = Field(description="what lies outside the image: constant is black")
    resampling: str = (
        "averaged over blocks of whole pixels while a reduction of two or more is left, then bilinear; pixel "
        "centres are whole numbers, the middle of the image stays the middle"
    )
    values: str = "grey levels 0 to 255 as float32; the normalisation is inside the network"
    views: list[dict[str, float | bool]] = Field(
        description="the probabilities are the mean over these: turned counter-clockwise by an angle in "
        "degrees about the middle in step 4, mirrored, the side of the crop in step 3 times zoom"
    )
    sure: float | None = Field(
        default=None,
        description="where the first view gives a class at least this probability, it alone; features are of "
        "the first view then; null: every image gets all views",
    )


class Preparation(_Part):
    """The content of ``FILE.json``."""

    kind: Literal["morphoscope-onnx"] = "morphoscope-onnx"
    format_version: int = FORMAT_VERSION
    name: str = Field(description="name of the run")
    onnx: str = Field(description="the file it belongs to")
    onnx_sha256: str
    weights_sha256: str = Field(description="of the run's weights.safetensors")
    input: dict[str, Any]
    outputs: dict[str, dict[str, Any]]
    names: tuple[str, ...] = Field(
        description="classes or answers to the questions, in the order of the outputs"
    )
    images: Steps
    parity: dict[str, Any] = Field(description="largest difference from the run's own network")
    versions: dict[str, str]
    created: str = Field(default="", description="when the run was made")
    start: str = ""
    parameters: int = 0
    scheme: Scheme
    store: StoreFacts
    recipe: Recipe
    calibration: CalibrationFile | None = Field(description="by the number of views; see docs/catalogues.md")
    reference: str | None = Field(
        default=None,
        description="distribution of the training galaxies' features, reference.safetensors of the run in "
        "base64: for OOD scores, and for a calibration that needs them",
    )


def sidecar(onnx: Path) -> Path:
    """``model.json`` next to ``model.onnx``."""
    return onnx.with_suffix(".json")


def preparation_of(
    run: Run, onnx: Path, *, features: int, parity: dict[str, Any], versions: dict[str, str], digest: str
) -> Preparation:
    """Describe how to use a run's network without the run.

    Args:
        run: the run.
        onnx: the file that will be written.
        features: D, the length of the network's features.
        parity: what was compared, and the largest difference.
        versions: of the packages that wrote the file.
        digest: SHA-256 of the ONNX file.
    """
    recipe, facts, scheme = run.recipe, run.header.store, run.scheme
    side, channels = recipe.augment.size, facts.image_shape[2]
    meaning = scheme.output_meaning
    measured, bands = facts.dtype != "uint8", ", ".join(map(band_name, facts.bands))
    other = {} if facts.pictures else {"channels": bands or f"{channels} channels"}
    if measured:
        other["values"] = "as measured, as float32; the stretch and the normalisation are inside the network"
    return Preparation(
        format_version=2 if facts.pictures else FORMAT_VERSION,
        name=run.name,
        onnx=onnx.name,
        onnx_sha256=digest,
        weights_sha256=run.header.weights_sha256 or files.sha256_of(run.path / "weights.safetensors"),
        input={
            "name": INPUT,
            "type": "float32",
            "shape": ["galaxies", channels, side, side],
            "layout": "NCHW",
            **({} if measured else {"range": [0, 255]}),
        },
        outputs={
            "probabilities": {
                "shape": ["galaxies", scheme.outputs],
                "meaning": f"{meaning}, before calibration",
            },
            "logits": {
                "shape": ["galaxies", scheme.outputs],
                "meaning": "what the probabilities are computed from",
            },
            "features": {"shape": ["galaxies", features], "meaning": "pooled features before the head"},
        },
        names=scheme.output_names,
        images=Steps(
            stored_crop=facts.crop,
            stored_side=facts.image_shape[0],
            stretch=facts.stretch,
            crop=recipe.augment.crop,
            size=side,
            border="sky: the median of each band" if measured else recipe.augment.border,
            **other,
            views=[view._asdict() for view in views(recipe.augment, recipe.evaluation.views)],
            sure=recipe.evaluation.sure if views_of_recipe(run) == AS_NEEDED else None,
        ),
        parity=parity,
        versions=versions,
        created=run.header.created,
        start=run.header.start,
        parameters=run.header.parameters,
        scheme=scheme,
        store=portable_store(facts),
        recipe=portable_recipe(recipe),
        calibration=read_calibration(run),
        reference=_reference(run),
    )


def _reference(run: Run) -> str | None:
    path = run.path / REFERENCE
    return base64.b64encode(path.read_bytes()).decode() if read_distribution(run) is not None else None


def write_preparation(path: Path, preparation: Preparation) -> None:
    """Write it as JSON, atomically."""
    write_json(path, preparation.model_dump(mode="json"))


def read_preparation(onnx: Path) -> Preparation:
    """Read the JSON next to an ONNX file.

    Raises:
        UsageError: there is no such file, or no JSON next to it.
        MorphoscopeError: it is damaged, from a newer program, or belongs to another ONNX file.
    """
    path = sidecar(onnx)
    if not onnx.is_file():
        raise UsageError(f"{onnx} does not exist; make one with 'morphoscope export RUN --onnx {onnx}'")
    if not path.is_file():
        raise UsageError(
            f"{path} is missing: it lies beside {onnx.name} and says how images are prepared; copy both, or "
            "make both with 'morphoscope export'"
        )
    preparation = understood(
        Preparation, read_document(path), json.loads, path, "the description of an ONNX file"
    )
    check_sides(preparation.store, path)
    if files.sha256_of(onnx) != preparation.onnx_sha256:
        raise MorphoscopeError(
            f"{onnx} is not the file that {path.name} describes (its checksum differs); export the run again"
        )
    return preparation
