"""What is explored: a run's test galaxies, a catalogue, or a store, as one table with pictures.

Whatever it was, its table has the columns ``row``, ``id`` and ``source``; where they are known ``predicted``,
``probability``, a probability for each class, ``truth``, ``correct``, ``entropy``, ``set`` and ``set_size``.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from morphoscope.catalogue.columns import EMBEDDING
from morphoscope.catalogue.formats.convert import parquet_parts
from morphoscope.catalogue.formats.write import read_provenance
from morphoscope.data.store import STANDARD_COLUMNS, Store, StoreMeta, open_store
from morphoscope.errors import MorphoscopeError, UsageError, reason_of
from morphoscope.explorer.picture_places import open_pictures
from morphoscope.explorer.pictures import Known, NoPictures, Pictures, StorePictures, rows_of_ids
from morphoscope.explorer.table import ROW, GalaxyTable
from morphoscope.explorer.table_pictures import own_pictures
from morphoscope.images.known_columns import ID_NAMES, IMAGE_NAMES, found_column
from morphoscope.images.table_parquet import ParquetTable
from morphoscope.images.tables import column_names, is_table_name, iterate_table, read_table
from morphoscope.inference.calibration import calibration_of, views_of_recipe
from morphoscope.inference.preprocess import bands_asked
from morphoscope.labels.classes import probability_column
from morphoscope.labels.scheme import Scheme, VoteCounts
from morphoscope.metrics.conformal import SEPARATOR, Sets, least_probabilities
from morphoscope.packaged import DEFAULT, run_folder
from morphoscope.runs.run import Run, open_run

pc: Any = pyarrow.compute  # its functions are created at import, unknown to type checkers

PIECE = 1 << 16  # rows read at a time
COVERAGE = 0.9  # of a run's prediction sets
_TECHNICAL = ("pixel_hash", "mask_hash", "sky_group")
_DESCRIPTIONS = {
    "id": ("identifier of the galaxy", ""),
    "source": ("where its image comes from", ""),
    "ra": ("right ascension", "deg"),
    "dec": ("declination", "deg"),
    "predicted": ("most probable class", ""),
    "probability": ("probability of the predicted class", ""),
    "entropy": ("entropy of the class probabilities, in nats", ""),
    "truth": ("class of the label", ""),
    "correct": ("whether the predicted class is the label's", ""),
    "set_size": ("number of classes in the prediction set", ""),
}
Descriptions = dict[str, tuple[str, str]]


@dataclass
class Subject:
    """What is explored.

    Attributes:
        kind: "run", "catalogue" or "store".
        path: of it.
        table: its galaxies.
        pictures: of them.
        run: for maps and predictions; None: there is none.
        scheme: what its columns mean; None: unknown.
        provenance: name → text.
        embedded: the catalogue with features; None: it has none.
    """

    kind: Literal["run", "catalogue", "store"]
    path: Path
    table: GalaxyTable
    pictures: Pictures
    run: Run | None = None
    scheme: Scheme | None = None
    provenance: dict[str, str] = field(default_factory=dict)
    embedded: Path | None = None

    @property
    def name(self) -> str:
        """The name of its folder or file."""
        return self.path.resolve().name

    @functools.cached_property  # finding them may read a column of the whole table
    def classes(self) -> tuple[str, ...]:
        """The classes, most usual order; empty where galaxies have none."""
        known = self.scheme.class_names if self.scheme is not None else None
        if known is not None:
            return known
        for name in ("predicted", "truth"):
            if self.table.kinds.get(name) == "text":
                found = self.table.query(
                    f"SELECT DISTINCT {self.table.need(name)} FROM galaxies "
                    f"WHERE {self.table.need(name)} IS NOT NULL ORDER BY 1 LIMIT 65"
                )
                if 1 < len(found) <= 64:
                    return tuple(str(value[0]) for value in found)
        return ()

    def close(self) -> None:
        """Remove the temporary files."""
        self.table.close()


def open_subject(
    source: Path | str, *, catalogue: Path | str | None = None, images: Path | str | None = None
) -> Subject:
    """Open a run, a catalogue or a store to look at.

    Args:
        source: a run's folder or ``default``; a catalogue of any format; or a store's folder.
        catalogue: made with the run; None: the run's own test galaxies.
        images: a folder, an archive, a table, an HDF5 file or a store with the galaxies' pictures; None: as
            the catalogue or the run says.

    Raises:
        UsageError: nothing of the kind is there.
        MorphoscopeError: it is damaged.
    """
    path = run_folder(source)
    if (path / "run.yaml").is_file():
        run = open_run(path)
        if catalogue is None:
            return _of_run(run, images)
        return _of_catalogue(Path(catalogue), images, run)
    if catalogue is not None:
        raise UsageError(f"--catalogue goes with a run, and {source} is none; give the catalogue alone")
    if (path / "store.yaml").is_file():
        if images is not None:
            raise UsageError("--images is for catalogues and runs; a store has its own images")
        return _of_store(open_store(path))
    if not path.exists():
        raise UsageError(f"{source} does not exist; a run, a catalogue or a store was expected")
    return _of_catalogue(path, images, None)


# A run: its test galaxies.


def _of_run(run: Run, images: Path | str | None) -> Subject:
    found = run.predictions() if (run.path / "predictions.parquet").is_file() else None
    store = _store_of(run, images)
    facts = {
        "run": run.name,
        "recipe": run.recipe.name,
        "weights_sha256": run.header.weights_sha256,
        "stretch": run.header.store.stretch,
        "bands": ",".join(bands_asked((), run.header.store)),
        "shown": ",".join(run.header.store.shown),
        "source": run.header.store.path,
    }
    if found is None:
        table = GalaxyTable([_without_predictions(store)] if store is not None else [], _DESCRIPTIONS)
        pictures: Pictures = StorePictures(store) if store is not None else NoPictures(_nothing_to_show(run))
        return Subject("run", run.path, table, pictures, run, run.scheme, facts)
    rows = found["row"].to_numpy() if "row" in found.column_names else None
    columns, descriptions = _predictions(run, found)
    if store is not None and (rows is None or not _same_galaxies(found, rows, store)):
        rows = _rows_in(found["id"], store)
    if store is not None and rows is not None:
        known = pa.array(np.maximum(rows, 0))
        for name in ("ra", "dec"):
            columns[name] = store.table[name].take(known)
    plain = {
        name: found[name] for name in ("id", "source") if name in found.column_names
    }  # in this order, before the others
    table = GalaxyTable([pa.table(plain | columns)], {**_DESCRIPTIONS, **descriptions})
    if store is None:
        path = run.header.store.path
        where = (
            f"the store {path} is not there any more" if path else "the run does not say where its store is"
        )
        pictures = NoPictures(f"{where}; --images says where its galaxies are now")
        if images is not None:
            known = Known(*(found[name].cast(pa.string()) for name in ("id", "source")))
            pictures, _ = open_pictures(images, {}, run.path, known)
    else:
        pictures = StorePictures(store, None if rows is None else np.asarray(rows))
    return Subject("run", run.path, table, pictures, run, run.scheme, facts)


def _nothing_to_show(run: Run) -> str:
    return f"the run '{run.name}' has no test galaxies; give a catalogue with --catalogue, or drop an image"


def _store_of(run: Run, images: Path | str | None) -> Store | None:
    """The store that a person named, or else the training's, if it is still there."""
    if images is not None:
        return open_store(images) if (Path(images) / "store.yaml").is_file() else None
    with contextlib.suppress(MorphoscopeError):
        return run.store()
    return None


def _same_galaxies(found: pa.Table, rows: np.ndarray, store: Store) -> bool:
    if len(rows) and (rows.min() < 0 or rows.max() >= len(store)):
        return False
    there = store.table["id"].take(pa.array(rows)).cast(pa.string())
    return there.equals(found["id"].cast(pa.string()))


def _rows_in(ids: pa.ChunkedArray, store: Store) -> np.ndarray:
    found = rows_of_ids(ids, store.table["id"])
    return np.arange(len(store)) if found is None else found


def _predictions(run: Run, found: pa.Table) -> tuple[dict[str, Any], Descriptions]:
    """Columns of a run's predictions as a catalogue has them, and what they are."""
    scheme = run.scheme
    described = {column.name: (column.description, column.unit) for column in scheme.catalogue_columns()}
    classes = scheme.class_names
    if classes is not None:
        names = [probability_column(name) for name in classes]
        probabilities_NK = np.stack([found[name].to_numpy() for name in names], axis=1)
        sets = prediction_sets(run, classes)
        columns: dict[str, Any] = dict(scheme.catalogue_values(probabilities_NK, sets))
        columns["truth"] = _named(found["label"], classes)
        columns["correct"] = pc.equal(columns["truth"], columns["predicted"])
        if sets is not None:
            columns["set_size"] = set_sizes(columns["set"])
            described["set"] = (f"prediction set, coverage {sets.description}", "")
        return columns, described
    outputs = scheme.outputs_in(found.column_names)
    if outputs is None:
        return {name: found[name] for name in found.column_names if name not in ("id", "source")}, {}
    truth_NK, predictions_NK = scheme.read_predictions(found, outputs)
    columns = dict(scheme.catalogue_values(np.asarray(predictions_NK), None))
    truths = np.asarray(truth_NK)
    if truths.shape == (len(found), scheme.outputs):
        what = "votes" if isinstance(scheme, VoteCounts) else "label"
        for k, name in enumerate(scheme.output_names):
            columns[f"t_{name}"] = pa.array(truths[:, k])
            described[f"t_{name}"] = (f"{what}, measured", "")
    return columns, described


def _named(labels: pa.ChunkedArray, classes: tuple[str, ...]) -> pa.Array:
    numbers = labels.to_numpy(zero_copy_only=False)
    return pa.array([classes[int(k)] if 0 <= k < len(classes) else None for k in numbers], pa.string())


def prediction_sets(run: Run, classes: tuple[str, ...]) -> Sets | None:
    """The thresholds of a run's prediction sets; None: it is not calibrated."""
    with contextlib.suppress(MorphoscopeError):
        found = calibration_of(run, views_of_recipe(run))
        if found is not None and found.scores is not None:
            least_K = least_probabilities(found.scores, classes, COVERAGE, per_class=False)
            return Sets(COVERAGE, False, least_K)
    return None


def set_sizes(sets: Any) -> Any:
    """How many classes each set has, which are separated by ``|``."""
    return pc.add(pc.count_substring(sets, pattern=SEPARATOR), 1)


# A store.


def _of_store(store: Store) -> Subject:
    table = GalaxyTable([_without_predictions(store)], _DESCRIPTIONS)
    facts = {"source": str(store.path), "stretch": store.meta.stretch, "made_from": store.meta.source}
    return Subject("store", store.path, table, StorePictures(store), None, store.scheme, facts)


def _without_predictions(store: Store) -> pa.Table:
    """A store's table, with its labels in words."""
    found, scheme = store.table, store.scheme
    columns = {name: found[name] for name in STANDARD_COLUMNS if name not in _TECHNICAL}
    classes = scheme.class_names if scheme is not None else None
    labels = scheme.columns if scheme is not None else ()
    if classes is not None and len(labels) == 1:
        columns["truth"] = _named(found[labels[0]], classes)
    rest = [n for n in found.column_names if n not in columns and n not in _TECHNICAL]
    for name in rest:
        if not (classes is not None and name in labels):
            columns[name] = found[name]
    return pa.table(columns)


# A catalogue.


def _of_catalogue(path: Path, images: Path | str | None, run: Run | None) -> Subject:
    provenance = _provenance(path)
    schema, pieces = _pieces(path)
    descriptions = _described(schema)
    table = GalaxyTable(_with_usual_columns(pieces), {**_DESCRIPTIONS, **descriptions})
    if not table.count:
        table.close()
        raise MorphoscopeError(f"{path}: the catalogue has no rows")
    try:
        pictures, store = _pictures_of(path, schema, table, images, provenance)
    except BaseException:
        table.close()
        raise
    scheme = run.scheme if run is not None else _scheme(provenance)
    if run is None:
        run = _packaged(provenance)
    elif provenance.get("weights_sha256", run.header.weights_sha256) != run.header.weights_sha256:
        raise UsageError(
            f"{path} was made with the run '{provenance.get('run', '?')}' and other weights than "
            f"'{run.name}' has; give its run, or the catalogue alone"
        )
    if store is not None and isinstance(pictures, StorePictures):
        _add_truth(table, store, pictures.store_rows)
    embedded = path if schema is not None and _has_features(schema) else None
    return Subject("catalogue", path, table, pictures, run, scheme, provenance, embedded)


def _pictures_of(
    path: Path,
    schema: pa.Schema | None,
    table: GalaxyTable,
    images: Path | str | None,
    provenance: dict[str, str],
) -> tuple[Pictures, Store | None]:
    """As a person says; or those that the catalogue itself contains; or as it says."""
    if images is None and schema is not None and any(map(_holds_bytes, schema)):
        parts = [path] if path.suffix.lower() == ".pq" else parquet_parts(path)
        own = own_pictures(parts, provenance.get("stretch", "lupton"))
        if own is not None:
            return own, None
    names = table.arrow(
        f"SELECT CAST(id AS VARCHAR) AS id, CAST(source AS VARCHAR) AS source FROM galaxies ORDER BY {ROW}"
    )
    return open_pictures(images, provenance, path.parent, Known(names["id"], names["source"]))


def _holds_bytes(field: pa.Field) -> bool:
    kind = field.type
    return pa.types.is_struct(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _provenance(path: Path) -> dict[str, str]:
    try:
        return read_provenance(path)
    except UsageError:
        raise
    except MorphoscopeError:  # a CSV, or another program's table; reading its rows says what is wrong
        return {}


def _pieces(path: Path) -> tuple[pa.Schema | None, Iterator[pa.Table]]:
    """The schema of a Parquet catalogue, and the rows of a catalogue of any format."""
    if path.is_dir() or path.suffix.lower() in (".parquet", ".pq"):
        parts = [path] if path.suffix.lower() == ".pq" else parquet_parts(path)
        try:
            return pq.read_schema(parts[0]), _parquet(parts)
        except (pa.ArrowException, OSError) as error:
            raise MorphoscopeError(f"{parts[0]} cannot be read as Parquet ({reason_of(error)})") from error
    if not is_table_name(path.name):
        raise UsageError(
            f"{path}: a run, a store or a catalogue (.parquet, .fits, .vot, .ecsv, .csv, .hats) was expected"
        )
    if path.suffix.lower() == ".csv":
        return None, iterate_table(path, column_names(path), PIECE)
    return None, iter([read_table(path)])


def _parquet(parts: list[Path]) -> Iterator[pa.Table]:
    for part in parts:
        try:
            with pq.ParquetFile(part, pre_buffer=False) as file:
                table = ParquetTable.of(file, part)
                wanted = [name for name in table.names if not _is_left_out(table.types[name])]
                yield from table.pieces(wanted, PIECE)
        except (pa.ArrowException, OSError) as error:  # damaged pages are an OSError
            raise MorphoscopeError(f"{part} cannot be read as Parquet ({reason_of(error)})") from error


def _is_left_out(kind: pa.DataType) -> bool:
    """Vectors, and files such as images, which are read one by one."""
    return pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _with_usual_columns(pieces: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The pieces with ``id``, ``source`` and ``set_size``, under the names of other programs if need be.

    A galaxy without an id is called after its image, or "row 17" (from 1).
    """
    first = 0
    for piece in pieces:
        names = list(piece.column_names)
        for usual, others in (("id", ID_NAMES), ("source", IMAGE_NAMES)):
            if usual not in names and (other := found_column(names, others)) is not None:
                names[names.index(other)] = usual
        piece = piece.rename_columns(names)
        for usual in ("id", "source"):
            if usual not in piece.column_names:
                piece = piece.append_column(usual, pa.nulls(piece.num_rows, pa.string()))
        if piece["id"].null_count:
            numbers = [f"row {first + row + 1}" for row in range(piece.num_rows)]
            called = (piece["id"].cast(pa.string()), piece["source"].cast(pa.string()), pa.array(numbers))
            at = piece.column_names.index("id")
            piece = piece.set_column(at, "id", pc.coalesce(*called))
        if "set" in names and "set_size" not in names and pa.types.is_string(piece["set"].type):
            at = names.index("set") + 1
            piece = piece.add_column(at, "set_size", set_sizes(piece["set"]))
        first += piece.num_rows
        yield piece


def _described(schema: pa.Schema | None) -> Descriptions:
    found = {}
    for column in schema or ():
        metadata = column.metadata or {}
        said, unit = (metadata.get(key, b"").decode("utf-8", "replace") for key in (b"description", b"unit"))
        if said or unit:
            found[column.name] = (said, unit)
    return found


def _scheme(provenance: dict[str, str]) -> Scheme | None:
    with contextlib.suppress(KeyError, ValueError, TypeError, MorphoscopeError):
        return StoreMeta.model_validate({"scheme": json.loads(provenance["scheme"])}).scheme
    return None


def _packaged(provenance: dict[str, str]) -> Run | None:
    """The packaged network, if it made the catalogue."""
    with contextlib.suppress(MorphoscopeError):
        run = open_run(DEFAULT)
        if provenance.get("weights_sha256") == run.header.weights_sha256:
            return run
    return None


def _has_features(schema: pa.Schema) -> bool:
    return EMBEDDING in schema.names and pa.types.is_fixed_size_list(schema.field(EMBEDDING).type)


def _add_truth(table: GalaxyTable, store: Store, store_rows: np.ndarray | None) -> None:
    """Add the labels of the store that the catalogue's galaxies are from, if they are the same classes."""
    scheme = store.scheme
    classes = scheme.class_names if scheme is not None else None
    if scheme is None or classes is None or table.has("truth") or not table.has("predicted"):
        return
    rows = np.arange(table.count) if store_rows is None else store_rows
    labels = np.asarray(store.targets())[np.maximum(rows, 0)]
    names = np.array([*classes, None], dtype=object)
    labels = np.where((rows >= 0) & (labels >= 0), labels, len(classes))
    truth = pa.array(names[labels], pa.string())
    predicted = table.arrow(f"SELECT predicted FROM galaxies ORDER BY {ROW}")["predicted"]
    if not set(pc.unique(predicted).to_pylist()) <= {*classes, None}:
        return  # other classes: neither right nor wrong
    added = pa.table({ROW: np.arange(table.count), "truth": truth, "correct": pc.equal(truth, predicted)})
    table.add_columns(added, _DESCRIPTIONS)
