"""Readers of packed files, rarer tables, half-scale JPEGs, graphs of runs and kept results."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from entry import Reader, hash_of
from of_images import (
    COLUMNS,
    GALAXY,
    _astropy_table,
    _csv,
    _fits,
    _read_image,
    _read_table,
)
from of_runs import RUN, _onnx_graph

# ---------------------------------------------------------------- packed


def _zstandard(content: bytes) -> bytes:
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as stream:
        stream.write(content)
    return out.getvalue().to_pybytes()


def _alone_in_a_zip(content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside", content)
    return out.getvalue()


def _packed(make: Callable[[Path], object], pack: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        make(path)
        path.write_bytes(pack(path.read_bytes()))

    return write


def _packed_table(form: str, pack: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        bare = path.parent / f"bare.{form.removeprefix('ascii.')}"
        _astropy_table(form)(bare)
        path.write_bytes(pack(bare.read_bytes()))
        bare.unlink()

    return write


# ---------------------------------------------------------------- tables


def _votable_of_fits(path: Path) -> None:
    """Rows as FITS inside the XML, as STILTS writes them."""
    inner = path.parent / "inner.fits"
    _astropy_table("fits")(inner)
    fields = "".join(
        f'<FIELD name="{name}" datatype="{"char" if isinstance(values[0], str) else "double"}"'
        f"{' arraysize=' + chr(34) + '*' + chr(34) if isinstance(values[0], str) else ''}/>"
        for name, values in COLUMNS.items()
    )
    stream = base64.b64encode(inner.read_bytes()).decode()
    path.write_text(
        '<?xml version="1.0"?>\n<VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE>'
        f'<TABLE>{fields}<DATA><FITS extnum="1"><STREAM encoding="base64">{stream}</STREAM></FITS></DATA>'
        "</TABLE></RESOURCE></VOTABLE>"
    )
    inner.unlink()


def _votable_of_strings(path: Path) -> None:
    rows = "".join(f"<TR><TD>g{number}</TD><TD>{number}.5</TD><TD>ab cd</TD></TR>" for number in range(6))
    path.write_text(
        '<?xml version="1.0"?>\n<VOTABLE version="1.3" xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE>'
        '<TABLE><FIELD name="id" datatype="char" arraysize="*"/><FIELD name="ra" datatype="double"/>'
        f'<FIELD name="words" datatype="char" arraysize="2x3"/><DATA><TABLEDATA>{rows}</TABLEDATA></DATA>'
        "</TABLE></RESOURCE></VOTABLE>"
    )


def _repeated_texts(path: Path) -> None:
    pq.write_table(pa.table({"id": ["x" * 3000] * 900, "ra": [1.5] * 900}), path, compression="zstd")


def _read_positions(path: Path) -> object:
    from morphoscope.images.positions import SourceColumns, SourceTable

    rows = list(SourceColumns.of(SourceTable(path, 10.0)).rows())
    return [(piece.ids, piece.ra, piece.dec, sorted(piece.reasons)) for piece in rows]


def _read_audit(path: Path) -> object:
    from morphoscope.data.audit import audit_path

    found = audit_path(path)
    return found["n"], found["with_coordinates"], [row["pairs"] for row in found["radii"]]


# ---------------------------------------------------------------- images


def _large_jpeg(path: Path) -> None:
    from PIL import Image

    Image.fromarray(GALAXY).resize((120, 144)).save(path, quality=90)


def _read_half_scale(path: Path) -> object:
    from morphoscope.images.decode import half_scale, read_image

    with half_scale(lambda height, width: min(height, width) >= 64) as half:
        return read_image(path), half.shape


def _read_plainly(path: Path) -> object:
    """A FITS image without astropy where that suffices, which astropy must read alike."""
    from morphoscope.errors import MorphoscopeError
    from morphoscope.images import fits_bands
    from morphoscope.images.decode import read_image

    def answer() -> tuple[object, ...]:
        found: dict[str, Any] = {}
        try:
            return read_image(path, found=found), found
        except MorphoscopeError as error:
            return ("refused", error)

    own = answer()
    with mock.patch.object(fits_bands, "plain_image", return_value=None):
        other = answer()
    refused = [isinstance(each[0], str) for each in (own, other)]
    same = refused[0] == refused[1] and (refused[0] or np.array_equal(own[0], other[0]))
    if not same:
        raise AssertionError(f"read plainly {own!r:.100}, by astropy {other!r:.100}")
    if isinstance(own[1], MorphoscopeError):
        raise own[1]
    return own


def _two_bands(path: Path) -> None:
    path.mkdir()
    for band in "gr":
        _fits("plane")(path / f"a-{band}.fits")


def _read_two_bands(path: Path) -> object:
    from morphoscope.images.fits import read_bands

    return read_bands([path / "a-r.fits", path / "a-g.fits"], bands=("r", "g"))


# ---------------------------------------------------------------- runs and what is kept


def _run_with_graph(path: Path) -> None:
    from morphoscope.inference.engine.preparation import preparation_of, write_preparation
    from morphoscope.runs.run import open_run

    shutil.copytree(RUN, path)
    (path / "onnx").mkdir()
    graph = _onnx_graph()
    (path / "onnx" / "network.onnx").write_bytes(graph)
    said = preparation_of(
        open_run(RUN), Path("network.onnx"), features=3, parity={}, versions={}, digest=hash_of(graph)
    )
    write_preparation(path / "onnx" / "network.json", said)


def _read_graph_of_run(path: Path) -> object:
    from morphoscope.inference.engine.graph import kept_graph
    from morphoscope.inference.engine.onnx_engine import OnnxEngine
    from morphoscope.runs.run import open_run

    with mock.patch.dict(os.environ, {"XDG_CACHE_HOME": str(path.parent / "cache")}):
        graph = kept_graph(open_run(path))
    return None if graph is None else OnnxEngine(graph)(np.full((1, 8, 8, 3), 7, np.uint8))


def _read_openvino(path: Path) -> object:
    from morphoscope.inference.engine.openvino_engine import OpenvinoEngine

    engine = OpenvinoEngine(path)
    return engine.feature_count, *engine(np.full((2, 8, 8, 3), 7, np.uint8))


def _engines(path: Path) -> None:
    path.write_text(json.dumps({"a": {"engine": "onnx", "onnx": "5 images/s"}, "b": {"engine": "torch"}}))


def _read_engines(path: Path) -> object:
    from morphoscope.inference.engine import choose

    with mock.patch.object(choose, "_path", return_value=path):
        known = choose.remembered("a")
    return known if known in ("onnx", "torch") else None


def _kept_scores(path: Path) -> None:
    path.mkdir()
    scores = {"of": {"views": 2, "weights": ""}, "scores": {"accuracy": 0.5}}
    (path / "views.json").write_text(json.dumps(scores))


def _read_kept_scores(path: Path) -> object:
    from morphoscope.runs.run import Header, Run
    from morphoscope.studies.extra_scores import kept

    header: Any = Header.model_construct(weights_sha256="")
    run = Run(path, None, header)  # type: ignore[arg-type]
    return kept(run, "views.json", {"views": 2}, lambda: {"accuracy": 0.25})


def _study(path: Path) -> None:
    path.write_text("study: yan\nstore: /s\nquick: true\nweights: null\nliteral: []\nsettings: []\n")


def _read_study(path: Path) -> object:
    from morphoscope.studies.run import _begun

    return _begun(path)


def _unfinished(path: Path) -> None:
    """What a training that was killed has in its folder, beside its store."""
    from morphoscope.runs.run import open_run, store_facts, write_header
    from morphoscope.training.folder import GALAXIES, RESUME, _galaxies

    shutil.copytree(
        RUN, path, ignore=shutil.ignore_patterns("*.safetensors", "metrics.json", "predictions.*", "cal*")
    )
    header, store = open_run(RUN).header, _store()
    told = {"state": "training", "store": store_facts(store), "scheme": store.need_scheme()}
    write_header(path, header.model_copy(update=told))
    (path / RESUME).mkdir()
    (path / RESUME / GALAXIES).write_text(json.dumps(_galaxies(store)))


def _store() -> Any:
    from of_runs import OLD

    from morphoscope.data.store import open_store

    return open_store(OLD / "store")


def _read_unfinished(path: Path) -> object:
    from morphoscope.recipes import Recipe
    from morphoscope.training.folder import claimed

    with claimed(path, Recipe.from_yaml(RUN / "recipe.yaml"), _store(), resume=True) as state:
        return state


READERS = (
    Reader("CSV, bzip2", "t.csv.bz2", _packed(_csv, bz2.compress), _read_table),
    Reader("CSV, xz", "t.csv.xz", _packed(_csv, lzma.compress), _read_table),
    Reader("CSV, Zstandard", "t.csv.zst", _packed(_csv, _zstandard), _read_table),
    Reader("CSV alone in a zip", "t.csv.zip", _packed(_csv, _alone_in_a_zip), _read_table),
    Reader("VOTable, gzip", "t.vot.gz", _packed_table("votable", gzip.compress), _read_table),
    Reader("FITS table, gzip", "t.fits.gz", _packed_table("fits", gzip.compress), _read_table),
    Reader("FITS image, xz", "a.fits.xz", _fits("plane", lzma.compress), _read_image),
    Reader("FITS image, Zstandard", "a.fits.zst", _fits("plane", _zstandard), _read_image),
    Reader("FITS image alone in a zip", "a.fits", _fits("plane", _alone_in_a_zip), _read_image),
    Reader("VOTable with FITS in it", "t.vot", _votable_of_fits, _read_table),
    Reader("VOTable, arrays of strings", "t.vot", _votable_of_strings, _read_table),
    Reader("Parquet of repeated texts", "t.parquet", _repeated_texts, _read_table),
    Reader("table of positions", "t.csv", _csv, _read_positions),
    Reader("positions in FITS", "t.fits", _astropy_table("fits"), _read_positions),
    Reader("audited table", "t.csv", _csv, _read_audit),
    Reader("JPEG at half scale", "a.jpg", _large_jpeg, _read_half_scale),
    Reader("plain FITS against astropy", "a.fits", _fits("plane"), _read_plainly),
    Reader("plain FITS of integers against astropy", "a.fits", _fits("integers"), _read_plainly),
    Reader("FITS bands in two files", "bands", _two_bands, _read_two_bands),
    Reader("graph of a run", "run", _run_with_graph, _read_graph_of_run),
    Reader(
        "ONNX graph in OpenVINO", "m.onnx", lambda path: path.write_bytes(_onnx_graph()), _read_openvino, 0.3
    ),
    Reader("measured engines", "engines.json", _engines, _read_engines),
    Reader("kept scores", "scores", _kept_scores, _read_kept_scores),
    Reader("begun study", "study.yaml", _study, _read_study),
    Reader("unfinished training", "run", _unfinished, _read_unfinished),
)
