from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from morphoscope.catalogue import similar
from morphoscope.catalogue.similar import EmbeddedCatalogue, galaxies_like, pictures_of
from morphoscope.errors import MorphoscopeError, UsageError

WIDTH = 6
RUN = cast(Any, SimpleNamespace(name="run", header=SimpleNamespace(weights_sha256="f" * 64)))


def _features(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, WIDTH)).astype(np.float16)


def _write(place: Path, features: np.ndarray, ids: list[Any] | None = None, **said: str) -> Path:
    count = len(features)
    kind = pa.list_(pa.float16(), WIDTH)
    flat = pa.array(features.reshape(-1), pa.float16())
    table = pa.table(
        {
            "id": ids or [f"g{row}" for row in range(count)],
            "source": [f"{row}.png" for row in range(count)],
            "ra": pa.array([None] * count, pa.float64()),
            "dec": pa.array([1.5] * count, pa.float64()),
            "predicted": ["Spiral"] * count,
            "embedding": pa.FixedSizeListArray.from_arrays(flat, type=kind),
        }
    )
    said = {"weights_sha256": "f" * 64, "views": "1", "source": str(place.parent)} | said
    metadata = {f"morphoscope.{name}": text for name, text in said.items()}
    pq.write_table(table.replace_schema_metadata(metadata), place, row_group_size=37)
    return place


def _none(image: np.ndarray, views: int | None) -> np.ndarray:
    raise AssertionError("no image was to be looked at")


def _cosines(features: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    features, wanted = features.astype(float), wanted.astype(float)
    return features @ wanted / np.linalg.norm(features, axis=1) / np.linalg.norm(wanted)


def test_neighbours_are_those_of_a_full_sort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(similar, "PIECE", 16)
    features = _features(200)
    opened = EmbeddedCatalogue(_write(tmp_path / "c.parquet", features))
    found = galaxies_like(opened, "g77", 12, run=RUN, embed=_none)
    cosines = _cosines(features, features[77])
    order = [row for row in np.argsort(-cosines) if row != 77][:12]
    assert [neighbour.row for neighbour in found] == order
    assert [neighbour.similarity for neighbour in found] == pytest.approx(cosines[order], abs=1e-5)
    first = found[0].values
    assert first == {
        "id": f"g{order[0]}",
        "source": f"{order[0]}.png",
        "ra": None,
        "dec": 1.5,
        "predicted": "Spiral",
    }
    assert len(galaxies_like(opened, "g77", 1000, run=RUN, embed=_none)) == 199


def test_a_galaxy_is_found_by_an_integer_id(tmp_path: Path):
    features = _features(5)
    opened = EmbeddedCatalogue(_write(tmp_path / "c.parquet", features, [2**60 + row for row in range(5)]))
    found = opened.find(str(2**60 + 3))
    assert found is not None
    assert found[0] == 3
    np.testing.assert_array_equal(found[1], features[3].astype(np.float32))


def test_a_folder_of_parts_is_one_catalogue(tmp_path: Path):
    features = _features(90)
    whole = EmbeddedCatalogue(_write(tmp_path / "c.parquet", features))
    (tmp_path / "parts").mkdir()
    for number, start in enumerate(range(0, 90, 40)):
        ids = [f"g{row}" for row in range(start, min(start + 40, 90))]
        _write(tmp_path / "parts" / f"part-{number:05d}.parquet", features[start : start + 40], ids)
    parts = EmbeddedCatalogue(tmp_path / "parts")
    one, other = (galaxies_like(opened, "g60", 5, run=RUN, embed=_none) for opened in (whole, parts))
    assert [(n.row, n.values["id"]) for n in one] == [(n.row, n.values["id"]) for n in other]


def test_an_image_is_compared_by_its_features_and_leaves_itself_out(tmp_path: Path):
    import cv2

    features = _features(30)
    opened = EmbeddedCatalogue(_write(tmp_path / "c.parquet", features, views="8"))
    cv2.imwrite(str(tmp_path / "4.png"), np.zeros((8, 8, 3), np.uint8))
    asked: list[int | None] = []

    def embed(image: np.ndarray, views: int | None) -> np.ndarray:
        asked.append(views)
        assert image.shape == (8, 8, 3)
        return features[4].astype(np.float32)

    found = galaxies_like(opened, tmp_path / "4.png", 3, run=RUN, embed=embed)
    assert asked == [8]  # as the catalogue
    assert 4 not in [neighbour.row for neighbour in found]
    in_memory = galaxies_like(opened, np.zeros((8, 8, 3), np.uint8), 3, run=RUN, embed=embed)
    assert in_memory[0].row == 4


def test_pictures_are_found_again_where_they_still_are(tmp_path: Path):
    import cv2

    opened = EmbeddedCatalogue(_write(tmp_path / "c.parquet", _features(5), ids=list("01234")))
    for row in (1, 2):
        cv2.imwrite(str(tmp_path / f"{row}.png"), np.full((8, 8, 3), 40 * row, np.uint8))
    neighbours = opened.nearest(np.ones(WIDTH), 5)
    pictures = dict(zip([n.values["id"] for n in neighbours], pictures_of(opened, neighbours), strict=True))
    assert {name for name, picture in pictures.items() if picture is not None} == {"1", "2"}
    assert pictures["2"] is not None
    assert pictures["2"].mean() == 80
    moved = EmbeddedCatalogue(_write(tmp_path / "d.parquet", _features(5), source="/nowhere"))
    assert pictures_of(moved, neighbours) == [None] * 5


def test_what_cannot_be_compared_is_refused(tmp_path: Path):
    opened = EmbeddedCatalogue(_write(tmp_path / "c.parquet", _features(5), ids=list("01133")))
    with pytest.raises(UsageError, match="2 galaxies are called '1'"):
        galaxies_like(opened, "1", 3, run=RUN, embed=_none)
    assert galaxies_like(opened, "2.png", 3, run=RUN, embed=_none)[0].row != 2
    with pytest.raises(UsageError, match="no galaxy of this id or source"):
        galaxies_like(opened, "x", 3, run=RUN, embed=_none)
    other = EmbeddedCatalogue(
        _write(tmp_path / "d.parquet", _features(5), weights_sha256="e" * 64, run="old")
    )
    with pytest.raises(UsageError, match="made with the run 'old' and other weights"):
        galaxies_like(other, "g1", 3, run=RUN, embed=_none)
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "bare.parquet")
    with pytest.raises(UsageError, match="--embeddings"):
        EmbeddedCatalogue(tmp_path / "bare.parquet")
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(MorphoscopeError, match="cannot be read as Parquet"):
        EmbeddedCatalogue(tmp_path / "text.parquet")
    for missing in ("none.parquet", "c.csv"):
        with pytest.raises(UsageError, match="expected"):
            EmbeddedCatalogue(tmp_path / missing)


def test_memory_does_not_grow_with_the_catalogue(tmp_path: Path):
    import tracemalloc

    def peak(count: int) -> int:
        place = _write(tmp_path / f"{count}.parquet", _features(count))
        opened = EmbeddedCatalogue(place)
        tracemalloc.start()
        pa_before = pa.default_memory_pool().bytes_allocated()
        galaxies_like(opened, "g3", 5, run=RUN, embed=_none)
        python = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return python + pa.default_memory_pool().bytes_allocated() - pa_before

    few, many = peak(10_000), peak(40_000)
    assert many < 1.5 * few + 200_000


def test_what_cannot_be_searched_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    place = _write(tmp_path / "c.parquet", _features(5))
    opened = EmbeddedCatalogue(place)
    with pytest.raises(UsageError, match="--count 0: at least 1 galaxy"):
        galaxies_like(opened, "g1", 0, run=RUN, embed=_none)
    (tmp_path / "c.csv").write_text("id\n1\n")
    with pytest.raises(UsageError, match=r"c\.csv: a Parquet catalogue was expected, made with --embeddings"):
        EmbeddedCatalogue(tmp_path / "c.csv")
    features = _features(5)
    features[3, 2] = np.nan
    damaged = EmbeddedCatalogue(_write(tmp_path / "d.parquet", features))
    with pytest.raises(MorphoscopeError, match=r"the column 'embedding' .* holds values that are not finite"):
        damaged.nearest(np.ones(WIDTH), 2)
    pieces = opened._pieces
    monkeypatch.setattr(opened, "_pieces", lambda columns: pieces(columns) if "id" in columns else iter(()))
    with pytest.raises(MorphoscopeError, match="changed while it was read; run the command again"):
        opened.find("g1")


def test_an_image_from_elsewhere_leaves_nobody_out(tmp_path: Path):
    import cv2

    (tmp_path / "mine").mkdir()
    cv2.imwrite(str(tmp_path / "4.png"), np.zeros((8, 8, 3), np.uint8))
    features = _features(30)
    opened = EmbeddedCatalogue(_write(tmp_path / "mine" / "c.parquet", features))
    found = galaxies_like(opened, tmp_path / "4.png", 3, run=RUN, embed=lambda *_: features[4])
    assert found[0].row == 4  # its 4.png is another one
