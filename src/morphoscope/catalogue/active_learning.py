"""Which galaxies of a catalogue to label next (active learning): those that would teach the network most.

==============  ===========================================================================================
``bald``         members of an ensemble, or samples of dropout, disagree most: the mutual information of the
                 label and the network (Houlsby et al. 2011, arXiv:1112.5745, eq. 2; Walmsley et al. 2020,
                 MNRAS 491, 1554, for galaxies)
``entropy``      the calibrated probabilities are least certain
``coreset``      features are farthest from those of all galaxies labelled or chosen so far: greedy k-centre
                 (Sener & Savarese 2018, arXiv:1708.00489, algorithm 1)
``random``       drawn at random, with which the others must be compared
==============  ===========================================================================================

The table it makes keeps the rounds: galaxies of earlier ones come first, with their labels.

Shape letters: N galaxies, D features.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from morphoscope.catalogue.columns import QUALITY
from morphoscope.catalogue.formats.convert import parquet_parts
from morphoscope.catalogue.formats.write import check_output, read_provenance, target_of, write_catalogue
from morphoscope.catalogue.no_image import has_no_image
from morphoscope.catalogue.similar import EmbeddedCatalogue
from morphoscope.errors import MorphoscopeError, UsageError, did_you_mean
from morphoscope.images.tables import column_names, iterate_table, numbers, read_table, texts
from morphoscope.labels.kind import Column
from morphoscope.progress import note

WAYS = ("bald", "entropy", "coreset", "random")
MOST = 200_000
"""Galaxies that a core set is chosen from; of more a random part is taken."""
ROUND, LABEL = "round", "label"
_PROBABILITY = "p_"
_NEEDS = {"bald": "mutual_information", "entropy": "entropy"}
_REMEDY = {
    "bald": "predict with several runs, or with --dropout-samples, to have it",
    "entropy": "make the catalogue with 'morphoscope predict'",
}
_COLUMNS = (
    Column("id", pa.string(), "identifier of the galaxy", ucd="meta.id;meta.main"),
    Column("path", pa.string(), "its image", ucd="meta.ref"),
    Column("ra", pa.float64(), "right ascension", "deg", "pos.eq.ra;meta.main"),
    Column("dec", pa.float64(), "declination", "deg", "pos.eq.dec;meta.main"),
    Column(LABEL, pa.string(), "the label, to be filled in; empty: not labelled", ucd="src.morph.type"),
    Column(ROUND, pa.int32(), "round in which it was chosen; 0: labelled before the first"),
    Column("rank", pa.int32(), "place within its round, from 1"),
    Column("score", pa.float64(), "what it was chosen by"),
    Column("reason", pa.string(), "why it was chosen"),
)
SCHEMA = pa.schema([column.field for column in _COLUMNS])
"""Columns of the table to label."""


@dataclass(frozen=True)
class Choice:
    """The next galaxies to label.

    Attributes:
        table: with :data:`SCHEMA`: earlier rounds first, then the new one, best first.
        round: number of the new one.
        new: how many are new.
        by: how they were chosen.
    """

    table: pa.Table
    round: int
    new: int
    by: str


@dataclass(frozen=True, eq=False)
class _Galaxies:
    """A catalogue's columns that matter here, (N,) each, and what it was made from.

    Those that are ``unseen`` have no image.
    """

    path: Path
    origin: Path
    ids: list[str]
    sources: list[str | None]
    ra: np.ndarray
    dec: np.ndarray
    scores: np.ndarray | None
    likely: list[str]
    unseen: list[bool]


def label_next(
    catalogue: Path | str,
    count: int = 50,
    *,
    by: str | None = None,
    labelled: Path | str | Sequence[Path | str] = (),
    out: Path | str | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> Choice:
    """Choose the galaxies of a catalogue to label next.

    Args:
        catalogue: as ``morphoscope predict`` writes it, in any format; for ``coreset`` Parquet or HATS with
            features (``--embeddings``).
        count: how many.
        by: one of :data:`WAYS`; None: "bald" if the catalogue has ``mutual_information``, else "entropy".
        labelled: tables of galaxies that are not asked for again, with a column ``id``: those of earlier
            rounds, or any others. Their rows come first in the new table, with ``label`` and ``round``.
        out: table to write: .csv for a spreadsheet, or another format of a catalogue; None: none.
        seed: for ``random``, and for drawing a part of a large catalogue.
        overwrite: replace a table that is there.

    Returns:
        The table, and the number of the round. Fewer galaxies than asked for if there are no more.

    Raises:
        UsageError: no such way, catalogue or column, or a count below 1.
        MorphoscopeError: a table cannot be read, or no galaxy is left to label.
    """
    if count < 1:
        raise UsageError(f"--count {count}: at least 1 galaxy was expected")
    if by is not None and by not in WAYS:
        raise UsageError(f"there is no way '{by}' to choose{did_you_mean(by, WAYS, 'ways')}")
    target = None if out is None else target_of(out)
    if target is not None:
        check_output(target, overwrite=overwrite)
    path = Path(catalogue)
    parts = _parts(path)
    by = by or ("bald" if _NEEDS["bald"] in column_names(parts[0]) else "entropy")
    galaxies = _read(path, parts, by)
    paths = [labelled] if isinstance(labelled, str | Path) else list(labelled)
    earlier = _earlier([Path(each) for each in paths], galaxies)
    known = set(earlier.column("id").to_pylist())
    candidates = _candidates(galaxies, known)
    if not len(candidates):
        raise MorphoscopeError(f"{path}: every galaxy is labelled or was asked for already")
    rows, scores = _chosen(galaxies, candidates, known, count, by, seed)
    number = max([0, *(value or 0 for value in earlier.column(ROUND).to_pylist())]) + 1
    table = pa.concat_tables([earlier, _new_rows(galaxies, rows, scores, by, number)])
    if target is not None:
        write_catalogue(target, table, {"program": "morphoscope", "catalogue": str(path), "chosen_by": by})
    return Choice(table, number, len(rows), by)


def _parts(path: Path) -> list[Path]:
    if path.is_dir() or path.suffix.lower() == ".parquet":
        return parquet_parts(path)
    if not path.is_file():
        raise UsageError(f"{path} does not exist; a catalogue was expected")
    return [path]


def _read(path: Path, parts: Sequence[Path], by: str) -> _Galaxies:
    there = column_names(parts[0])
    score = _NEEDS.get(by)
    if score is not None and score not in there:
        raise UsageError(f"{path} has no column '{score}', which --by {by} needs; {_REMEDY[by]}")
    if "id" not in there:
        raise UsageError(f"{path} has no column 'id'; a catalogue of 'morphoscope predict' was expected")
    probable = [name for name in there if name.startswith(_PROBABILITY)]
    named = ("id", "source", "ra", "dec", score, QUALITY.name, *probable)
    wanted = [name for name in named if name in there]
    ids: list[str] = []
    sources: list[str | None] = []
    likely: list[str] = []
    unseen: list[bool] = []
    values: dict[str, list[np.ndarray]] = {"ra": [], "dec": [], "score": []}
    for part in parts:
        for piece in iterate_table(part, [name for name in wanted if name], 65536):
            unknown = np.full(piece.num_rows, np.nan)
            ids += [name or "" for name in texts(piece, "id", str(part))]
            sources += texts(piece, "source") if "source" in there else [None] * piece.num_rows
            likely += _most_likely(piece, probable, str(part))
            quality = texts(piece, QUALITY.name) if QUALITY.name in there else [None] * piece.num_rows
            unseen += map(has_no_image, quality)
            for name in ("ra", "dec"):
                values[name].append(numbers(piece, name, str(part)) if name in there else unknown)
            values["score"].append(unknown if score is None else numbers(piece, score, str(part)))
    ra, dec, scores = (np.concatenate(values[name]) for name in ("ra", "dec", "score"))
    scores_N = None if score is None else scores
    return _Galaxies(path, _origin(path), ids, sources, ra, dec, scores_N, likely, unseen)


def _origin(path: Path) -> Path:
    """What the catalogue was made from, as it records it; the catalogue's own folder if it does not."""
    with contextlib.suppress(MorphoscopeError):  # a CSV records nothing
        return Path(read_provenance(path).get("source") or path.parent)
    return path.parent


def _most_likely(piece: pa.Table, probable: Sequence[str], where: str) -> list[str]:
    """The two most probable classes of each galaxy, for people; empty for other kinds of label."""
    if len(probable) < 2:
        return [""] * piece.num_rows
    p_NK = np.stack([numbers(piece, name, where) for name in probable], axis=1)
    names = [name.removeprefix(_PROBABILITY).replace("_", " ") for name in probable]
    best_N2 = np.argsort(-np.nan_to_num(p_NK), axis=1, kind="stable")[:, :2]
    return [
        " or ".join(f"{names[k]} {p_K[k]:.2f}" for k in best)
        for best, p_K in zip(best_N2.tolist(), p_NK, strict=True)
    ]


def _earlier(tables: Sequence[Path], galaxies: _Galaxies) -> pa.Table:
    """The galaxies of earlier rounds, each once: a row with a label goes before one without."""
    rows: dict[str, dict[str, object]] = {}
    places = {name: row for row, name in enumerate(galaxies.ids)}
    for path in tables:
        there = column_names(path)
        if "id" not in there:
            raise UsageError(f"{path} has no column 'id', by which its galaxies are found in the catalogue")
        names = [name for name in SCHEMA.names if name in there]
        content = read_table(path, names, names=("id", LABEL))
        columns = {name: _as_declared(content, name, path) for name in names}
        for index, name in enumerate(columns["id"]):
            row = {column: cells[index] for column, cells in columns.items()}
            if name is None:
                raise MorphoscopeError(f"{path}: row {index + 1} has no 'id'")
            if str(name) in rows and not (row.get(LABEL) and not rows[str(name)].get(LABEL)):
                continue
            rows[str(name)] = _placed(row, galaxies, places.get(str(name)))
    content = {name: [row.get(name) for row in rows.values()] for name in SCHEMA.names}
    return pa.table(content, schema=SCHEMA)


def _as_declared(content: pa.Table, name: str, path: Path) -> list[object]:
    kind = SCHEMA.field(name).type
    if pa.types.is_string(kind):
        return list(texts(content, name, str(path)))
    values = numbers(content, name, str(path))
    whole = pa.types.is_integer(kind)
    most = 2 ** (kind.bit_width - 1) - 1 if whole else np.inf
    if (large := np.isfinite(values) & (np.abs(values) > most)).any():
        raise MorphoscopeError(
            f"{path}: '{name}' is {values[large][0]:g} in row {np.flatnonzero(large)[0] + 1}; a number up to "
            f"{most:,} was expected"
        )
    return [None if not np.isfinite(value) else int(value) if whole else float(value) for value in values]


def _placed(row: dict[str, object], galaxies: _Galaxies, place: int | None) -> dict[str, object]:
    """A row of an earlier round with what the catalogue knows of the galaxy where the row is silent."""
    row = {**row, "id": str(row["id"]), ROUND: row.get(ROUND) or 0}
    if place is not None:
        for name, value in _place(galaxies, place).items():
            if row.get(name) is None:
                row[name] = value
    return row


def _place(galaxies: _Galaxies, row: int) -> dict[str, object]:
    ra, dec = (float(values[row]) for values in (galaxies.ra, galaxies.dec))
    return {
        "id": galaxies.ids[row],
        "path": _image_of(galaxies, row),
        "ra": ra if np.isfinite(ra) else None,
        "dec": dec if np.isfinite(dec) else None,
    }


def _image_of(galaxies: _Galaxies, row: int) -> str | None:
    """The galaxy's image as a path that is found from any folder, if the file is there."""
    source = galaxies.sources[row]
    if source is None:
        return None
    for base in (galaxies.origin, galaxies.origin.parent):
        if (base / source).is_file():
            return str((base / source).resolve())
    return source


def _candidates(galaxies: _Galaxies, known: set[str]) -> np.ndarray:
    """Rows that may be asked for, ascending: each galaxy once, with an image, and none of those known."""
    seen, rows = set(known), []
    for row, name in enumerate(galaxies.ids):
        if name not in seen and not galaxies.unseen[row]:
            seen.add(name)
            rows.append(row)
    found = np.array(rows, np.int64)
    return found if galaxies.scores is None else found[np.isfinite(galaxies.scores[found])]


def _chosen(
    galaxies: _Galaxies, candidates: np.ndarray, known: set[str], count: int, by: str, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The rows to ask for, best first, and their scores (NaN for ``random``)."""
    random = np.random.default_rng(seed)
    if by == "random":
        rows = random.permutation(candidates)[:count]
        return rows, np.full(len(rows), np.nan)
    if by == "coreset":
        if len(candidates) > MOST:
            note(f"the core set is chosen from {MOST:,} of {len(candidates):,} galaxies, drawn at random")
            candidates = np.sort(random.permutation(candidates)[:MOST])
        labelled = np.array([row for row, name in enumerate(galaxies.ids) if name in known], np.int64)
        catalogue = EmbeddedCatalogue(galaxies.path)
        picked, distances = k_centre(
            catalogue.features_of(candidates), catalogue.features_of(labelled), count
        )
        return candidates[picked], distances
    assert galaxies.scores is not None
    rows = candidates[np.argsort(-galaxies.scores[candidates], kind="stable")[:count]]
    return rows, galaxies.scores[rows]


def k_centre(features_ND: np.ndarray, labelled_MD: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Greedy k-centre: one galaxy after another, each the farthest from all that are labelled or chosen.

    Args:
        features_ND: of the galaxies to choose from.
        labelled_MD: of those labelled; if there are none, the first choice is the galaxy nearest to the mean.
        count: how many; at most N.

    Returns:
        Indices of the chosen, and the distance of each, when it was chosen, to the nearest labelled or chosen
        one; of a first choice without labelled ones its distance to the mean.
    """
    features_ND = np.asarray(features_ND, np.float32)
    nearest_N = np.full(len(features_ND), np.inf, np.float32)
    for centre_D in np.asarray(labelled_MD, np.float32):
        nearest_N = np.minimum(nearest_N, np.linalg.norm(features_ND - centre_D, axis=1))
    chosen: list[int] = []
    distances: list[float] = []
    for _ in range(min(count, len(features_ND))):
        if not chosen and not len(labelled_MD):
            to_mean_N = np.linalg.norm(features_ND - features_ND.mean(axis=0), axis=1)
            index = int(np.argmin(to_mean_N))
            distances.append(float(to_mean_N[index]))
        else:
            index = int(np.argmax(nearest_N))
            distances.append(float(nearest_N[index]))
        chosen.append(index)
        nearest_N = np.minimum(nearest_N, np.linalg.norm(features_ND - features_ND[index], axis=1))
        nearest_N[index] = -np.inf
    return np.array(chosen, np.int64), np.array(distances)


_REASONS: dict[str, Callable[[float], str]] = {
    "bald": lambda score: f"the networks disagree by {score:.3f} nats",
    "entropy": lambda score: f"entropy {score:.3f} nats",
    "coreset": lambda score: f"{score:.3g} from the nearest galaxy labelled or chosen, in the features",
    "random": lambda score: "drawn at random",
}


def _new_rows(galaxies: _Galaxies, rows: np.ndarray, scores: np.ndarray, by: str, number: int) -> pa.Table:
    found = []
    for rank, (row, score) in enumerate(zip(rows.tolist(), scores.tolist(), strict=True), start=1):
        likely = galaxies.likely[row]
        found.append(
            {
                **_place(galaxies, row),
                LABEL: None,
                ROUND: number,
                "rank": rank,
                "score": score if np.isfinite(score) else None,
                "reason": _REASONS[by](score) + (f": {likely}" if likely else ""),
            }
        )
    return pa.table({name: [row[name] for row in found] for name in SCHEMA.names}, schema=SCHEMA)
