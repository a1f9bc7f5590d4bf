"""The run: a folder with everything a training gave, readable without any pickle.

::

    run.yaml              what it is: scheme, how images must look, state, versions
    recipe.yaml           the resolved recipe; can be run again
    split.json            which galaxies were trained on, validated on, held out
    weights.safetensors   the network
    history.csv           one row an epoch
    calibration.json      how the answers are corrected, fitted on the validation galaxies
    reference.safetensors what the training's galaxies look like to the network
    metrics.json          test and validation results
    predictions.parquet   every test galaxy
    environment.json      versions, hardware, seed, git revision, duration
    figures/ report.html tensorboard/
    resume/               only while the training is unfinished
"""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from pydantic import BaseModel, ConfigDict, Field

from morphoscope import files
from morphoscope.data.splits.file import Split, load_split
from morphoscope.data.store import Store, open_store
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.labels.scheme import Scheme
from morphoscope.models.hub import HubBackbone
from morphoscope.packaged import DEFAULT, run_folder
from morphoscope.recipes import Recipe
from morphoscope.versioned import understood

if TYPE_CHECKING:
    from morphoscope.models.network import Network

FORMAT_VERSION = 1
HISTORY_COLUMNS = (
    "epoch",
    "seconds",
    "lr",
    "train_loss",
    "train_metric",
    "validation_loss",
    "validation_metric",
)


class StoreFacts(BaseModel):
    """What a run remembers of the store it was trained on."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    path: str = Field(description="where the store was; it may have moved since")
    source: str = ""
    count: int = 0
    image_shape: tuple[int, int, int]
    crop: int | None = None
    size: int | None = None
    pixel_scale: float | None = None
    stretch: str = "as-served"


class Header(BaseModel):
    """What ``run.yaml`` says."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format_version: int = FORMAT_VERSION
    kind: Literal["morphoscope-run"] = "morphoscope-run"
    state: Literal["training", "finished"] = "training"
    scheme: Scheme
    store: StoreFacts
    parameters: int = 0
    start: str = Field(default="", description="where the first weights came from")
    backbone: HubBackbone | None = Field(default=None, description="of a backbone that came from a hub")
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
            MorphoscopeError: the weights are missing or are not those that the training wrote.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        from morphoscope.models.build import build

        place = self.path / "weights.safetensors"
        if not place.is_file():
            raise MorphoscopeError(f"{place} is missing; the run cannot be used without its weights")
        if self.header.weights_sha256 and files.sha256_of(place) != self.header.weights_sha256:
            raise MorphoscopeError(
                f"{place} is not the file that the training wrote (its checksum differs); "
                "restore it from a copy"
            )
        network, _ = build(
            self.recipe.model,
            self.scheme.outputs,
            image_size=self.recipe.augment.size,
            start=False,
            hub=self.header.backbone,
        )
        try:
            network.load_state_dict(load_file(place))
        except (RuntimeError, SafetensorError) as error:
            reason = str(error).splitlines()[0]
            raise MorphoscopeError(f"{place} does not fit the recipe's network ({reason})") from error
        return network.eval()

    def history(self) -> dict[str, np.ndarray]:
        """One value an epoch: epoch, seconds, lr, and loss and metric of training and validation."""
        return read_history(self.path / "history.csv")

    def metrics(self) -> dict[str, Any]:
        """Test and validation results; empty before the first evaluation."""
        return self._json("metrics.json")

    def environment(self) -> dict[str, Any]:
        """Versions, hardware, seed, git revision, duration."""
        return self._json("environment.json")

    def predictions(self) -> pa.Table:
        """Every test galaxy: id, truth, prediction.

        Raises:
            MorphoscopeError: the run has not been evaluated.
        """
        place = self.path / "predictions.parquet"
        if not place.is_file():
            raise MorphoscopeError(
                f"{self.path} has no predictions yet; run 'morphoscope evaluate {self.path}'"
            )
        return pq.read_table(place)

    def split(self, store: Store) -> Split:
        """The split this run was trained with."""
        return load_split(self.path / "split.json", store)

    def store(self) -> Store:
        """The store this run was trained on, if it is still where it was.

        Raises:
            UsageError: it is not there any more, or the run was published, which leaves its place out.
        """
        if not self.header.store.path:
            raise UsageError(
                f"{self.path} does not say where the galaxies of its training are, as published runs do not; "
                "give them with --store"
            )
        return open_store(self.header.store.path)

    def content_of(self, name: str) -> bytes | str | None:
        """What is in one of the run's small files; None where there is none."""
        place = self.path / name
        return place.read_bytes() if place.is_file() else None

    def _json(self, name: str) -> dict[str, Any]:
        try:
            content = self.content_of(name)
            return {} if content is None else json.loads(content)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise MorphoscopeError(f"{self.path / name} is damaged: it is not JSON") from error


def open_run(path: Path | str, *, unfinished: bool = False) -> Run:
    """Open a run folder.

    Args:
        path: the folder, or ``default`` for the network that the program brings along.
        unfinished: also accept a training that has not ended.

    Raises:
        UsageError: there is no run at ``path``.
        MorphoscopeError: it is damaged, unfinished, or was made by a newer program.
    """
    path = run_folder(path)
    place = path / "run.yaml"
    if not place.is_file():
        what = "is not a run: it has no run.yaml" if path.exists() else "does not exist"
        raise UsageError(
            f"{path} {what}. Make a run with 'morphoscope train', or use the packaged one: '{DEFAULT}'"
        )
    header = understood(Header, place.read_bytes(), yaml.safe_load, place, "the header of a run")
    run = Run(path, Recipe.from_yaml(path / "recipe.yaml"), header)
    if header.state != "finished" and not unfinished:
        raise MorphoscopeError(
            f"{path} is an unfinished training; continue it with "
            f"'morphoscope train ... --out {path} --resume'"
        )
    return run


def write_header(path: Path, header: Header) -> None:
    """Write ``run.yaml`` at one stroke."""
    text = yaml.safe_dump(header.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    with files.atomic_file(path / "run.yaml") as place:
        place.write_text(text, encoding="utf-8")


def store_facts(store: Store) -> StoreFacts:
    """What a run remembers of its store."""
    meta = store.meta
    return StoreFacts(
        name=store.path.resolve().name,
        path=str(store.path.resolve()),
        source=meta.source,
        count=len(store),
        image_shape=meta.image_shape,
        crop=meta.crop,
        size=meta.size,
        pixel_scale=meta.pixel_scale,
        stretch=meta.stretch,
    )


def write_history(place: Path, rows: list[dict[str, float]]) -> None:
    """Write ``history.csv`` at one stroke; what was not measured is an empty field."""
    with files.atomic_file(place) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HISTORY_COLUMNS)
        for row in rows:
            writer.writerow([_field(row.get(name, math.nan)) for name in HISTORY_COLUMNS])


def read_history(place: Path) -> dict[str, np.ndarray]:
    """Columns of ``history.csv``; empty arrays when there is none yet."""
    rows: list[dict[str, str]] = []
    if place.is_file():
        with open(place, newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    return {
        name: np.array([float(row[name]) if row[name] else math.nan for row in rows])
        for name in HISTORY_COLUMNS
    }


def _field(value: float) -> str:
    return "" if math.isnan(value) else repr(int(value) if float(value).is_integer() else float(value))
