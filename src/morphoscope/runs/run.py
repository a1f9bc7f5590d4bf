"""The run: a folder with everything a training produced, readable without pickle.

::

    run.yaml              the header: label scheme, the store's images, state, versions
    recipe.yaml           the resolved recipe; can be run again
    split.json            training, validation and test galaxies
    weights.safetensors   the network
    onnx/                 the same as graphs, in fp32 and 8 bits, and of which weights they are
    history.csv           one row per epoch
    calibration.json      corrections of the predictions, fitted to the validation galaxies
    reference.safetensors the distribution of the training galaxies' features
    metrics.json          test and validation results
    predictions.parquet   one row per test galaxy
    environment.json      versions, hardware, seed, git revision, duration
    figures/ report.html tensorboard/
    resume/               only while the training is unfinished
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import yaml
from pydantic import BaseModel, ConfigDict, Field

from morphoscope import files
from morphoscope.data.splits.file import Split, load_split
from morphoscope.data.store import Store, open_store
from morphoscope.errors import MorphoscopeError, UsageError, reason_of
from morphoscope.images.central_source import typical_size
from morphoscope.images.limits import check_pixels
from morphoscope.images.parquet_size import read_whole
from morphoscope.images.planes import picture_of
from morphoscope.labels.scheme import Scheme
from morphoscope.models.hub import HubBackbone, portable_name
from morphoscope.packaged import DEFAULT, run_folder
from morphoscope.recipes import Recipe
from morphoscope.versioned import LARGEST_YAML, load_yaml, read_document, understood

if TYPE_CHECKING:
    from morphoscope.models.network import Network
    from morphoscope.models.values import Planes

FORMAT_VERSION = 2  # 2: bands, and values in single precision
SIZED = 256  # training galaxies whose sizes are measured
HISTORY_COLUMNS = (
    "epoch",
    "seconds",
    "lr",
    "train_loss",
    "train_metric",
    "validation_loss",
    "validation_metric",
)


Side = Annotated[int, Field(ge=1, le=1 << 16)]  # of an image, pixels


class StoreFacts(BaseModel):
    """Facts about the store that a run was trained on."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    path: str = Field(description="folder of the store at the time; it may have moved")
    source: str = ""
    count: int = 0
    image_shape: tuple[Side, Side, Annotated[int, Field(ge=1, le=1024)]]
    dtype: Literal["uint8", "float32"] = Field(
        default="uint8", description="grey levels, or values as measured"
    )
    bands: tuple[str, ...] = Field(default=(), description="of the channels; empty: red, green, blue")
    bands_given: tuple[str, ...] = Field(
        default=(), description="the same in the order of --bands, that of planes without names"
    )
    shown: tuple[str, ...] = Field(
        default=(), max_length=3, description="bands that pictures for people show, red first; empty: any"
    )
    crop: Side | None = None
    size: Side | None = None
    pixel_scale: float | None = None
    stretch: str = "as-served"
    galaxies: str = Field(default="", description="SHA-256 of its ids, labels and pixel hashes")
    galaxy_size: float | None = Field(
        default=None,
        description="median size of its galaxies as a share of the side; see images/central_source.py",
    )

    @property
    def planes(self) -> Planes:
        """The channels, for a network whose sky and noise come with its weights."""
        from morphoscope.models.values import Planes

        return Planes.unmeasured(self.image_shape[2], self.dtype)

    @property
    def pictures(self) -> bool:
        """Whether the images are red, green and blue in grey levels."""
        return self.dtype == "uint8" and self.image_shape[2] == 3 and not self.bands


def check_sides(facts: StoreFacts, where: Path) -> None:
    """Refuse a run whose images would not fit into memory, before one is made.

    Raises:
        MorphoscopeError: it was trained on, or crops, larger ones than an image may be.
    """
    for side in filter(None, (facts.crop, facts.size)):
        check_pixels((side, side), f"{where}: the run")
    check_pixels(facts.image_shape[:2], f"{where}: the run")


class Header(BaseModel):
    """The content of ``run.yaml``."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format_version: int = FORMAT_VERSION
    kind: Literal["morphoscope-run"] = "morphoscope-run"
    state: Literal["training", "finished"] = "training"
    scheme: Scheme
    store: StoreFacts
    parameters: int = 0
    start: str = Field(default="", description="source of the starting weights")
    backbone: HubBackbone | None = Field(default=None, description="of a backbone from a hub")
    best_epoch: int | None = None
    weights_sha256: str = ""
    program_version: str = ""
    created: str = ""


@dataclass(frozen=True)
class Run:
    """An opened run folder."""

    path: Path
    recipe: Recipe
    header: Header

    @property
    def scheme(self) -> Scheme:
        """What the outputs mean."""
        return self.header.scheme

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.resolve().name

    def network(self) -> Network:
        """The trained network, in evaluation mode, on the CPU.

        Raises:
            MorphoscopeError: the weights are missing, damaged, not those that the training wrote, or of
                another network than the recipe's.
        """
        from morphoscope.models.build import trained_network

        path = self.path / "weights.safetensors"
        if not path.is_file():
            raise MorphoscopeError(f"{path} is missing; the run cannot be used without its weights")
        if self.header.weights_sha256 and files.sha256_of(path) != self.header.weights_sha256:
            raise MorphoscopeError(
                f"{path} is not the file that the training wrote (its checksum differs); "
                "restore it from a copy"
            )
        return trained_network(
            self.recipe.model,
            self.scheme.outputs,
            path,
            image_size=self.recipe.augment.size,
            hub=self.header.backbone,
            planes=self.header.store.planes,
        )

    def history(self) -> dict[str, np.ndarray]:
        """One value per epoch: epoch, seconds, lr, and loss and metric of training and validation.

        Raises:
            MorphoscopeError: ``history.csv`` is damaged.
        """
        return read_history(self.path / "history.csv")

    def metrics(self) -> dict[str, Any]:
        """Test and validation results; empty before the first evaluation."""
        return self._json("metrics.json")

    @contextlib.contextmanager
    def reading_results(self) -> Iterator[None]:
        """Within it, results that an evaluation cannot have written are a sentence about the file.

        Raises:
            MorphoscopeError: a number is missing, or something else stands in its place.
        """
        try:
            yield
        except (KeyError, TypeError, AttributeError, ValueError, IndexError, ArithmeticError) as error:
            raise MorphoscopeError(
                f"{self.path}: metrics.json or environment.json is damaged ({type(error).__name__}: "
                f"{reason_of(error)}); make it again with 'morphoscope evaluate "
                f"{self.path}'"
            ) from error

    def environment(self) -> dict[str, Any]:
        """Versions, hardware, seed, git revision, duration."""
        return self._json("environment.json")

    def predictions(self) -> pa.Table:
        """One row per test galaxy: id, truth, prediction.

        Raises:
            MorphoscopeError: the run has not been evaluated, or the file is damaged.
        """
        path = self.path / "predictions.parquet"
        if not path.is_file():
            raise MorphoscopeError(
                f"{self.path} has no predictions yet; run 'morphoscope evaluate {self.path}'"
            )
        try:
            return read_whole(path)
        except (OSError, pa.ArrowException, ValueError) as error:
            raise MorphoscopeError(
                f"{path} is damaged ({reason_of(error)}); make it again with 'morphoscope "
                f"evaluate {self.path}'"
            ) from error

    def split(self, store: Store) -> Split:
        """The split this run was trained with."""
        return load_split(self.path / "split.json", store)

    def store(self) -> Store:
        """The store this run was trained on, if it has not moved.

        Raises:
            UsageError: it is gone, or the run was published without its location.
        """
        if not self.header.store.path:
            raise UsageError(
                f"{self.path} does not record where its training galaxies are (published runs do not); give "
                "the store with --store"
            )
        return open_store(self.header.store.path)

    def content_of(self, name: str) -> bytes | str | None:
        """The content of one of the run's small files; None where there is none."""
        path = self.path / name
        return read_document(path) if path.is_file() else None

    def _json(self, name: str) -> dict[str, Any]:
        try:
            content = self.content_of(name)
            values = {} if content is None else json.loads(content)
        except (ValueError, RecursionError) as error:  # ValueError: not JSON, or not UTF-8
            raise MorphoscopeError(f"{self.path / name} is damaged: it is not JSON") from error
        if not isinstance(values, dict):
            raise MorphoscopeError(f"{self.path / name} is damaged: a JSON object was expected")
        return values


def open_run(path: Path | str, *, unfinished: bool = False) -> Run:
    """Open a run folder.

    Args:
        path: the folder, or ``default`` for the packaged network.
        unfinished: also accept a training that has not ended.

    Raises:
        UsageError: there is no run at ``path``.
        MorphoscopeError: it is damaged, unfinished, or was made by a newer program.
    """
    path = run_folder(path)
    header_file = path / "run.yaml"
    if not header_file.is_file():
        what = "is not a run: it has no run.yaml" if path.exists() else "does not exist"
        raise UsageError(
            f"{path} {what}. Make a run with 'morphoscope train', or use the packaged one: '{DEFAULT}'"
        )
    content = read_document(header_file, LARGEST_YAML)
    header = understood(Header, content, load_yaml, header_file, "the header of a run")
    check_sides(header.store, header_file)
    run = Run(path, Recipe.from_yaml(path / "recipe.yaml"), header)
    if header.state != "finished" and not unfinished:
        raise MorphoscopeError(
            f"{path} is an unfinished training; continue it with "
            f"'morphoscope train ... --out {path} --resume'"
        )
    return run


def write_header(path: Path, header: Header) -> None:
    """Write ``run.yaml`` atomically."""
    if header.store.pictures:  # which earlier programs read as well
        header = header.model_copy(update={"format_version": 1})
    text = yaml.safe_dump(header.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    with files.atomic_file(path / "run.yaml") as partial:
        partial.write_text(text, encoding="utf-8")


def store_facts(store: Store) -> StoreFacts:
    """The facts about a store that a run records."""
    meta = store.meta
    return StoreFacts(
        name=store.path.resolve().name,
        path=str(store.path.resolve()),
        source=meta.source,
        count=len(store),
        image_shape=meta.image_shape,
        dtype=meta.dtype,
        bands=meta.bands,
        bands_given=meta.bands_given,
        shown=meta.shown,
        crop=meta.crop,
        size=meta.size,
        pixel_scale=meta.pixel_scale,
        stretch=meta.stretch,
    )


def galaxies_digest(store: Store) -> str:
    """SHA-256 of a store's ids, labels and pixel hashes, in the order of its rows."""
    digest = hashlib.sha256()
    for name in ("id", "pixel_hash", *store.need_scheme().columns):
        for value in store.table.column(name).cast(pa.string()).to_pylist():
            digest.update(f"{value}\n".encode())
    return digest.hexdigest()


def galaxy_size(store: Store) -> float | None:
    """The median size of a store's galaxies as shares of the side, of 256 of them; None if none is seen."""
    rows = np.unique(np.linspace(0, len(store) - 1, SIZED, dtype=int)) if len(store) else ()
    return typical_size(picture_of(np.asarray(store.images[int(row)])) for row in rows)


def write_history(path: Path, rows: list[dict[str, float]]) -> None:
    """Write ``history.csv`` atomically; values that were not measured are empty fields."""
    with files.atomic_file(path) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HISTORY_COLUMNS)
        for row in rows:
            writer.writerow([_field(row.get(name, math.nan)) for name in HISTORY_COLUMNS])


def read_history(path: Path) -> dict[str, np.ndarray]:
    """Columns of ``history.csv``; empty arrays when there is none yet.

    Raises:
        MorphoscopeError: the file is damaged.
    """
    rows: list[dict[str, str]] = []
    try:
        if path.is_file():
            rows = list(csv.DictReader(io.StringIO(read_document(path).decode(), newline="")))
        return {
            name: np.array([float(row[name]) if row[name] else math.nan for row in rows])
            for name in HISTORY_COLUMNS
        }
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise MorphoscopeError(
            f"{path} is damaged; a table with the columns {', '.join(HISTORY_COLUMNS)} was expected"
        ) from error


def _field(value: float) -> str:
    return "" if math.isnan(value) else repr(int(value) if float(value).is_integer() else float(value))


def portable_store(facts: StoreFacts) -> StoreFacts:
    """The facts about the training's store, without the folder it was in."""
    return facts.model_copy(update={"path": "", "source": last_part(facts.source)})


def portable_recipe(recipe: Recipe) -> Recipe:
    """The recipe, with the names alone of the files and folders it started from."""
    changes: dict[str, str] = {}
    for field in ("weights", "start"):
        value = getattr(recipe.model, field)
        if value:
            changes[f"model.{field}"] = last_part(value)
    changes["model.name"] = portable_name(recipe.model.name)
    return recipe.changed(changes)


def portable_values(values: Any) -> Any:
    """A JSON document, with the names alone of the files and folders in it."""
    if isinstance(values, dict):
        return {name: portable_values(value) for name, value in values.items()}
    if isinstance(values, list):
        return [portable_values(value) for value in values]
    return last_part(values) if isinstance(values, str) else values


def last_part(text: str) -> str:
    """The last name of an absolute path or of one from the home folder; other text as it is.

    >>> last_part("/data/me/weights.pth"), last_part("simulator"), last_part("Galaxy10.h5")
    ('weights.pth', 'simulator', 'Galaxy10.h5')
    """
    if PurePosixPath(text).is_absolute() or text.startswith(("~", "../", "./")):
        return PurePosixPath(text).name
    return PureWindowsPath(text).name if PureWindowsPath(text).is_absolute() else text
