"""Similarity search: the galaxies of a catalogue whose features are nearest to those of a given one.

The catalogue is read in blocks, so memory does not grow with its length.

Shape letters: N galaxies of a block, D features.
"""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from morphoscope.catalogue.columns import EMBEDDING
from morphoscope.catalogue.formats.convert import parquet_parts
from morphoscope.catalogue.formats.table_schema import vectors
from morphoscope.errors import MorphoscopeError, UsageError, reason_of
from morphoscope.images.decode import read_image
from morphoscope.images.parquet_size import check_declared, rows_at_a_time
from morphoscope.images.planes import picture_of

if TYPE_CHECKING:
    from morphoscope.runs.run import Run

PIECE = 4096  # rows read at a time
_PLACE = ("id", "source", "ra", "dec")
_PREFIX = "morphoscope."


@dataclass(frozen=True)
class Neighbour:
    """A galaxy of a catalogue.

    Attributes:
        row: in the catalogue, from 0.
        similarity: cosine similarity of its features and those it was compared with, −1 to 1.
        values: id, source, ra, dec (None if unknown) and, for classes, predicted.
    """

    row: int
    similarity: float
    values: Mapping[str, Any]

    @property
    def document(self) -> dict[str, Any]:
        """As JSON values."""
        return {**self.values, "similarity": self.similarity, "row": self.row}


class EmbeddedCatalogue:
    """A catalogue with features: Parquet, a folder of Parquet files, or HATS.

    Args:
        path: as ``morphoscope predict --embeddings`` wrote it.

    Raises:
        UsageError: there is no such catalogue, it is not Parquet, or it has no features.
        MorphoscopeError: it cannot be read.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.parts = _parts(self.path)
        schema = _schema(self.parts[0])
        if EMBEDDING not in schema.names or not pa.types.is_fixed_size_list(schema.field(EMBEDDING).type):
            raise UsageError(
                f"{self.path} has no column '{EMBEDDING}'; make the catalogue with 'morphoscope predict ... "
                "--embeddings'"
            )
        self.width: int = schema.field(EMBEDDING).type.list_size
        self._columns = [name for name in (*_PLACE, "predicted") if name in schema.names]
        metadata = schema.metadata or {}
        self.provenance = {
            name.decode().removeprefix(_PREFIX): value.decode()
            for name, value in metadata.items()
            if name.startswith(_PREFIX.encode())
        }

    def find(self, name: str) -> tuple[int, np.ndarray] | None:
        """Row and features (D,) of the galaxy with this id, or else this source; None if there is none.

        Raises:
            UsageError: there are several.
        """
        found: dict[str, list[tuple[int, str]]] = {"id": [], "source": []}
        for start, table in self._pieces(["id", "source"]):
            for column, rows in found.items():
                texts = table[column].cast(pa.string()).to_numpy()  # ids may be integers
                for index in np.flatnonzero(texts == name):
                    rows.append((start + int(index), table["source"][int(index)].as_py()))
        rows = found["id"] or found["source"]
        if not rows:
            return None
        if len(rows) > 1:
            sources = ", ".join(source for _, source in rows[:3])
            raise UsageError(
                f"{self.path}: {len(rows)} galaxies are called '{name}' ({sources}); give a source"
            )
        row = rows[0][0]
        for start, table in self._pieces([EMBEDDING]):
            if start <= row < start + table.num_rows:
                return row, _features(table.slice(row - start, 1))[0]
        raise MorphoscopeError(f"{self.path} changed while it was read; run the command again")

    def nearest(
        self, features_D: np.ndarray, count: int, *, without: int | None = None, sources: Container[str] = ()
    ) -> list[Neighbour]:
        """The galaxies with the most similar features, most similar first.

        Args:
            features_D: features to compare with.
            count: number of galaxies; fewer if the catalogue has no more.
            without: a row to leave out, such as the galaxy itself.
            sources: galaxies with these sources are left out.
        """
        wanted = _unit(np.asarray(features_D, np.float32)[None])[0]
        best: list[tuple[float, int, dict[str, Any]]] = []
        for start, table in self._pieces([*self._columns, EMBEDDING]):
            similarity_N = _unit(_features(table)) @ wanted
            # One more per block than requested: the galaxy itself may be among them.
            for index in np.argsort(-similarity_N, kind="stable")[: count + 1]:
                values = {name: table[name][int(index)].as_py() for name in self._columns}
                if start + index == without or str(values.get("source")) in sources:
                    continue
                heapq.heappush(best, (float(similarity_N[index]), -(start + int(index)), values))
                if len(best) > count:
                    heapq.heappop(best)
        ordered = sorted(best, key=lambda entry: entry[:2], reverse=True)
        return [Neighbour(-row, similarity, values) for similarity, row, values in ordered]

    def features(self) -> Iterator[tuple[int, np.ndarray]]:
        """The features of all galaxies in blocks: the number of the first row, and (N, D) float32."""
        for start, table in self._pieces([EMBEDDING]):
            yield start, _features(table)

    def features_of(self, rows: np.ndarray) -> np.ndarray:
        """The features of some rows, (N, D) float32.

        Args:
            rows: (N,) ascending row numbers.
        """
        features_ND = np.empty((len(rows), self.width), np.float32)
        for start, table in self._pieces([EMBEDDING]):
            first, end = np.searchsorted(rows, [start, start + table.num_rows])
            if end > first:
                features_ND[first:end] = _features(table)[rows[first:end] - start]
        return features_ND

    def _pieces(self, columns: list[str]) -> Iterator[tuple[int, pa.Table]]:
        start = 0
        for part in self.parts:
            with _opened(part) as file:
                check_declared(file, part)
                rows = rows_at_a_time(file, part, PIECE, columns)
                for batch in file.iter_batches(rows, columns=columns, use_threads=False):
                    batch.validate(full=True)
                    yield start, pa.Table.from_batches([batch])
                    start += batch.num_rows


def galaxies_like(
    catalogue: EmbeddedCatalogue,
    to: str | Path | np.ndarray,
    count: int,
    *,
    run: Run,
    embed: Callable[[np.ndarray, int | None], np.ndarray],
) -> list[Neighbour]:
    """The galaxies of a catalogue most similar to one of its own, or to an image.

    Args:
        catalogue: with features.
        to: id or source of one of its galaxies, which is left out; an image file; or (H, W, 3) uint8.
        count: number of galaxies.
        run: the run that made the catalogue.
        embed: computes the features (D,) of an image, averaged over a number of views, with that run.

    Raises:
        UsageError: the catalogue was made with another network, or there is no such galaxy.
    """
    if count < 1:
        raise UsageError(f"--count {count}: at least 1 galaxy was expected")
    _check_same_network(catalogue, run)
    provenance = catalogue.provenance
    views = _feature_views(provenance)
    if isinstance(to, np.ndarray):
        return catalogue.nearest(embed(to, views), count)
    found = catalogue.find(str(to))
    if found is not None:
        return catalogue.nearest(found[1], count, without=found[0])
    if not Path(to).is_file():
        raise UsageError(
            f"--to {to}: {catalogue.path} has no galaxy of this id or source, and no image is there"
        )
    bands = [band for band in provenance.get("bands", "").split(",") if band]
    image = read_image(Path(to), stretch=provenance.get("stretch", "lupton"), bands=bands)
    return catalogue.nearest(embed(image, views), count, sources=_names_of_image(catalogue, Path(to)))


def _feature_views(provenance: Mapping[str, str]) -> int | None:
    """The number of views that a catalogue's features are the mean of; None: it does not say."""
    if "sure" in provenance:  # not every galaxy got all views, and the features are of the first
        return 1
    return int(provenance["views"]) if "views" in provenance else None


def _check_same_network(catalogue: EmbeddedCatalogue, run: Run) -> None:
    made_with = catalogue.provenance.get("weights_sha256", "")
    if made_with and made_with != run.header.weights_sha256:
        raise UsageError(
            f"{catalogue.path} was made with the run '{catalogue.provenance.get('run', '?')}' and other "
            f"weights than '{run.name}' has; features of different networks cannot be compared"
        )


def _names_of_image(catalogue: EmbeddedCatalogue, image: Path) -> set[str]:
    """Sources under which the catalogue may list an image file."""
    names = {str(image), image.as_posix()}
    index = Path(catalogue.provenance.get("source", ""))
    base = index if index.is_dir() else index.parent
    if image.resolve().is_relative_to(base.resolve()):
        names.add(image.resolve().relative_to(base.resolve()).as_posix())
    return names


def pictures_of(catalogue: EmbeddedCatalogue, neighbours: Sequence[Neighbour]) -> list[np.ndarray | None]:
    """The galaxies' images, read from the catalogue's input; None for missing ones."""
    from morphoscope.catalogue.inputs.open import open_input

    wanted = {(str(n.values["id"]), n.values["source"]): index for index, n in enumerate(neighbours)}
    found: list[np.ndarray | None] = [None] * len(neighbours)
    provenance = catalogue.provenance
    try:
        for item in open_input(
            provenance.get("source", ""),
            stretch=provenance.get("stretch", "lupton"),
            bands=[band for band in provenance.get("bands", "").split(",") if band],
        ).items:
            index = wanted.pop((str(item.row.get("id")), item.source), None)
            if index is not None:
                with contextlib.suppress(MorphoscopeError):
                    found[index] = picture_of(item.load())
            if not wanted:
                break
    except MorphoscopeError:  # the folder, the table or the store has moved
        pass
    return found


def _parts(path: Path) -> list[Path]:
    if path.is_dir():
        return parquet_parts(path)
    if not path.is_file():
        raise UsageError(f"{path} does not exist; a catalogue made with --embeddings was expected")
    if path.suffix.lower() != ".parquet":
        raise UsageError(f"{path}: a Parquet catalogue was expected, made with --embeddings")
    return [path]


@contextlib.contextmanager
def _opened(part: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(part, pre_buffer=False) as file:
            yield file
    except (pa.ArrowException, OSError) as error:  # damaged pages are an OSError
        raise MorphoscopeError(f"{part} cannot be read as Parquet ({reason_of(error)})") from error


def _schema(part: Path) -> pa.Schema:
    with _opened(part) as file:
        return file.schema_arrow


def _features(table: pa.Table) -> np.ndarray:
    """The features of a table's rows, (N, D) float32; zeros, which are like nothing, for one without any."""
    column = table[EMBEDDING]
    features_ND = vectors(column).astype(np.float32)
    if column.null_count:
        features_ND[column.is_null().to_numpy()] = 0.0
    if not np.isfinite(features_ND).all():
        raise MorphoscopeError(f"the column '{EMBEDDING}' of the catalogue holds values that are not finite")
    return features_ND


def _unit(features_ND: np.ndarray) -> np.ndarray:
    """Features normalised to length 1; zero vectors stay zero and are similar to nothing."""
    return features_ND / np.maximum(np.linalg.norm(features_ND, axis=1, keepdims=True), 1e-12)
