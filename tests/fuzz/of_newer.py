"""Readers of cutouts, matches, shapes, probes, cross-validated runs, clicks and the explorer."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from entry import Reader
from of_images import COLUMNS, _csv
from of_runs import OLD, RUN, _copy, _hats, _read_run

from morphoscope.errors import MorphoscopeError
from morphoscope.extras import installed

sys.path.append(str(Path(__file__).resolve().parents[1] / "helpers"))
from sia2_archive import Archive, Tile

_HEADER = {"survey": "legacy-dr10", "format": "jpg", "bands": "", "pixels": 64, "arcsec": "16.77"}


# ---------------------------------------------------------------- cutouts


def _read_targets(path: Path) -> object:
    from morphoscope.cutouts.services import find_service
    from morphoscope.cutouts.targets import CutoutRequest, Targets

    service = find_service("legacy-dr10", None)
    targets = Targets(CutoutRequest(path, path.parent / "out", "legacy-dr10", size_column="smooth"), service)
    targets.check()
    return [(piece.ids, list(targets.of(piece))) for piece in targets.rows()]


def _cutouts(path: Path) -> None:
    (path / "images").mkdir(parents=True)
    (path / "images" / "a.jpg").write_bytes(b"12345")
    (path / "cutouts.yaml").write_text(yaml.safe_dump({"format_version": 1, **_HEADER, "date": "2026"}))
    lines = [
        {"key": f"{number}", "status": "fetched", "names": [["", "images/a.jpg"]], "sizes": [5], "at": "x"}
        for number in range(4)
    ]
    lines.append({"key": "9", "status": "outside", "reason": "no data", "arcsec": 4.5})
    (path / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def _read_cutouts(path: Path) -> object:
    from morphoscope.cutouts.folder import CutoutFolder

    with CutoutFolder(path, _HEADER).opened() as folder:
        return [(key, *each.names, each.arcsec, folder.done(key)) for key, each in folder.outcomes.items()]


def _services(path: Path) -> None:
    from morphoscope.cutouts.services import TABLE

    shutil.copyfile(TABLE, path)


def _read_services(path: Path) -> object:
    from morphoscope.cutouts.services import find_service

    return [find_service(name, path).formats for name in ("legacy-dr10", "sdss", "ps1")]


def _in_one_sentence(check: Callable[[bytes], object]) -> Callable[[Path], object]:
    """What a service's answer is found to be; why it is unsuitable becomes a sentence about the service."""

    def read(path: Path) -> object:
        from morphoscope.cutouts.client import Unsuitable

        try:
            return check(path.read_bytes())
        except Unsuitable as error:
            raise MorphoscopeError(f"the service {error}") from error

    return read


def _square(content: bytes) -> object:
    from morphoscope.cutouts.services import Frame
    from morphoscope.cutouts.trim import square_of

    square = square_of(content, Frame(150.02, 2.5, 10.0, 1), 400)
    return square.pixels, square.known


def _tile(path: Path) -> None:
    path.write_bytes(Tile("one-r", pixels=60, extensions=2).file())


class _Client:
    """An archive of which one answer is damaged: that at the address with this ending."""

    service = SimpleNamespace(title="archive")

    def __init__(self, links: str, ending: str, content: bytes) -> None:
        self.archive, self.ending, self.content = _stand_in(links), ending, content

    def named(self, address: str, *, after: str) -> str:
        return address

    def get(self, address: str, check: Callable[[bytes], Any], **_: object) -> Any:
        parts = urlsplit(address)
        if parts.path.endswith(self.ending):
            return check(self.content)
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        return check(self.archive.answer(parts.path, query)[1])


def _stand_in(links: str) -> Archive:
    return Archive([Tile("one-r", pixels=60), Tile("two-g", pixels=60)], links, address="http://127.0.0.1")


def _answer(links: str, path: str) -> Callable[[Path], object]:
    query = {"POS": "CIRCLE 150.02 2.5 0.001", "DPTYPE": "image", "ID": "one-r"}
    return lambda place: place.write_bytes(_stand_in(links).answer(path, query)[1])


def _of_archive(links: str, ending: str) -> Callable[[Path], object]:
    def files(content: bytes) -> object:
        from morphoscope.cutouts.services import Format, Frame
        from morphoscope.cutouts.sia2 import Sia2Images

        client = _Client(links, ending, content)
        address = "http://127.0.0.1/archive/sia2/query"
        form = Format(
            address=address, protocol="sia2", pixels=(1, 400), per_band=True, resampled=False, bands=""
        )
        found = Sia2Images(client, form, ()).files(Frame(150.02, 2.5, 10.0, 1))  # type: ignore[arg-type]
        return {band: len(file) for band, file in found.items()}

    return _in_one_sentence(files)


# ---------------------------------------------------------------- matches, shapes, lists to label


def _matched(path: Path) -> object:
    from morphoscope.catalogue.match import MatchRequest, match
    from morphoscope.images.tables import read_table

    left, out = path.parent / "left.csv", path.parent / "joined.csv"
    _csv(left)
    found = match(MatchRequest(left, path, out, radius=30.0, ways="all", all_rows=True, overwrite=True))
    return tuple(found), read_table(out)


def _fluxes(path: Path) -> None:
    from astropy.io import fits

    path.mkdir()
    y, x = np.mgrid[:48, :48] - 23.5
    light = 50 * np.exp(-np.hypot(x, 1.2 * y) / 3) + np.random.default_rng(0).normal(1, 0.05, (48, 48))
    planes = np.stack([light * factor for factor in (0.5, 1, 2)]).astype(np.float32)
    fits.writeto(
        path / "a.fits", planes, fits.Header({"BANDS": "grz", "BUNIT": "nanomaggy", "MAGZERO": 22.5})
    )


def _read_fluxes(path: Path) -> object:
    from morphoscope.catalogue.measure import MeasureRequest, measure_catalogue
    from morphoscope.images.tables import read_table
    from morphoscope.measurement import ShapeSettings

    out, settings = path.parent / "shapes.csv", ShapeSettings(seconds=60.0)
    measure_catalogue(MeasureRequest(path, out, settings=settings, workers=1, overwrite=True))
    return read_table(out)


def _to_label(path: Path) -> None:
    ids = ["g00001", "g00002", "other"]
    path.write_text("id,label,round\n" + "".join(f"{name},Spiral,1\n" for name in ids))


def _read_to_label(path: Path) -> object:
    from morphoscope.catalogue.active_learning import label_next

    return label_next(OLD / "galaxy10.parquet", 3, by="entropy", labelled=[path]).table


def _read_choice(path: Path) -> object:
    from morphoscope.catalogue.active_learning import label_next

    return [label_next(path, 3, by=by).table for by in ("entropy", "coreset")]


# ---------------------------------------------------------------- runs


def _cross_validated(path: Path) -> None:
    """A run as ``train --folds`` leaves it, in what is read of it."""
    _copy(RUN)(path)
    recipe = yaml.safe_load((path / "recipe.yaml").read_text())
    recipe.setdefault("data", {})["folds"] = 2
    (path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    metrics = json.loads((path / "metrics.json").read_text())
    metrics |= {"folds": {"count": 2, "sizes": [20, 20], "scores": [0.5, 0.75]}, "validation": None}
    (path / "metrics.json").write_text(json.dumps(metrics))


_RUN: Any = SimpleNamespace(header=SimpleNamespace(weights_sha256="0" * 64))


def _fold(path: Path) -> None:
    from morphoscope.evaluation.cross_validate import FoldPredictions, _keep

    predictions_VNK = np.full((2, 6, 3), 1 / 3, np.float32)
    _keep(path, _RUN, FoldPredictions(np.arange(6), predictions_VNK, {1: np.ones(6)}))


def _read_fold(path: Path) -> object:
    from morphoscope.evaluation.cross_validate import _kept

    found = _kept(path, _RUN, np.arange(6))
    return None if found is None else (found.rows, found.predictions_VNK, found.distances)


_NEWEST = """\
data: {folds: 5, split_seed: 3}
augment: {size: 64, zoom: [0.9, 1.1]}
model: {name: hf-hub:astro/encoder, pretrained: false, hidden: [32, 16]}
training: {linear_probe: true, epochs: 1, label_smoothing: 0.0, ema: 0.0}
evaluation: {views: 4, calibrate: false}
"""


def _read_recipe_text(path: Path) -> object:
    from morphoscope.recipes import Recipe

    return Recipe.from_yaml(path).to_yaml()


# ---------------------------------------------------------------- the explorer


def _clicks(path: Path) -> None:
    from morphoscope.explorer.labels_file import Click, LabelFile

    labels = LabelFile(path)
    for number in range(8):
        labels.add(Click(f"token-{number:05d}", "Ada", "class", f"g{number}", "s", "answer", "round"))
    labels.close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")  # one file, which is damaged


def _read_clicks(path: Path) -> object:
    from morphoscope.explorer.labels_file import Click, LabelFile

    labels = LabelFile(path)
    try:
        before = [labels.standing("class"), labels.people(), labels.tokens(), labels.version()]
        added = labels.add(Click("token-later", "Bo", "class", "g1", "s", "unsure"))
        return [*map(repr, before), added, repr(labels.undo("token-undo", "Bo", "class"))]
    finally:
        labels.close()


def _explored(path: Path) -> object:
    from morphoscope.explorer.subject import open_subject

    subject = open_subject(path, catalogue=None, images=None)
    try:
        table = subject.table
        return table.count, list(table.kinds.items()), table.rows([0, 1])
    finally:
        subject.close()


def _queue(path: Path) -> object:
    from morphoscope.explorer.label_queue import queued_rows
    from morphoscope.explorer.table import GalaxyTable

    table = GalaxyTable(
        [pa.table({"id": list(map(str, COLUMNS["id"])), "source": ["s"] * len(COLUMNS["id"])})]
    )
    try:
        return queued_rows(path, table)
    finally:
        table.close()


def _joined_hats(path: Path) -> None:
    _hats(path)


def _parquet(path: Path) -> None:
    names: dict[str, object] = {name: COLUMNS[name] for name in ("id", "ra", "dec", "smooth")}
    pq.write_table(pa.table(names), path)


def _text(content: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(content)


_READERS = (
    Reader("positions of cutouts", "t.csv", _csv, _read_targets),
    Reader("positions of cutouts, Parquet", "t.parquet", _parquet, _read_targets),
    Reader("folder of cutouts", "cutouts", _cutouts, _read_cutouts),
    Reader("services of cutouts", "services.yaml", _services, _read_services, 0.4),
    Reader("file of an archive", "a.fits", _tile, _in_one_sentence(_square), 0.5),
    Reader(
        "images of an archive", "t.vot", _answer("soda", "/archive/sia2"), _of_archive("soda", "query"), 0.2
    ),
    Reader(
        "links of an archive",
        "t.vot",
        _answer("datalink", "/archive/links"),
        _of_archive("datalink", "links"),
        0.2,
    ),
    Reader("matched CSV", "t.csv", _csv, _matched),
    Reader("matched Parquet", "t.parquet", _parquet, _matched),
    Reader("matched HATS", "c.hats", _joined_hats, _matched),
    Reader("measured FITS", "images", _fluxes, _read_fluxes, 0.1),
    Reader("list of labels", "t.csv", _to_label, _read_to_label),
    Reader("catalogue to label from", "c.parquet", _copy(OLD / "galaxy10.parquet"), _read_choice),
    Reader("cross-validated run", "run", _cross_validated, _read_run),
    Reader("predictions of a fold", "1.safetensors", _fold, _read_fold),
    Reader("recipe of the newest fields", "recipe.yaml", _text(_NEWEST), _read_recipe_text),
    Reader("clicks of the explorer", "a.sqlite", _clicks, _read_clicks),
    Reader("explored catalogue", "c.parquet", _copy(OLD / "galaxy10.parquet"), _explored, 0.5),
    Reader("queue of the explorer", "t.csv", _csv, _queue, 0.5),
)
_NEED_PYVO = {"images of an archive", "links of an archive"}
READERS = tuple(each for each in _READERS if installed("pyvo") or each.name not in _NEED_PYVO)
