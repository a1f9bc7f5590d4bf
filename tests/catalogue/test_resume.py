"""An interrupted catalogue goes on where it stopped, and ends as if nothing had happened."""

from __future__ import annotations

import csv
import errno
import gc
import json
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from morphoscope.catalogue import checkpoint, pipeline
from morphoscope.catalogue.checkpoint import Journal, partial_folder
from morphoscope.catalogue.formats.write import Target, read_provenance, unreadable_path
from morphoscope.catalogue.predict import predict_catalogue
from morphoscope.catalogue.request import CatalogueRequest
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images import image_table as data_table

Save = Callable[..., Path]
KILLED = Path(__file__).with_name("killed.py")
KILLS = 10  # in each format, and half as many where the others are left out


@pytest.fixture
def listed(tmp_path: Path, save: Save) -> Path:
    """A table of 90 galaxies of 60 grey levels; every ninth cannot be read, nor the last 12."""
    for level in range(60):
        save(tmp_path / "images" / f"{level}.png", 4 * level)
    (tmp_path / "images" / "broken.png").write_text("no image")
    lines = ["id,ra,image"]
    for number in range(90):
        name = "broken" if number % 9 == 4 or number >= 78 else number % 60
        lines.append(f"größe {number},{number / 7 if number % 2 else ''},images/{name}.png")
    place = tmp_path / "t.csv"
    place.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return place


OTHERS = [pytest.param(ending, marks=pytest.mark.slow) for ending in (".csv", ".ecsv", ".fits", ".vot")]


@pytest.mark.parametrize("ending", [".parquet", *OTHERS])
def test_killed_at_any_moment_it_ends_with_the_same_bytes(tmp_path: Path, listed: Path, ending: str) -> None:
    out, kills = tmp_path / f"catalogue{ending}", KILLS // 2 if ending == ".parquet" else KILLS
    seed = sum(map(ord, ending))
    done = subprocess.run(
        [sys.executable, str(KILLED), str(out), str(seed), str(kills), str(listed)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["killed"] == kills
    assert out.read_bytes() == (tmp_path / f"whole{ending}").read_bytes()
    assert unreadable_path(out).read_bytes() == (tmp_path / "whole.unreadable.csv").read_bytes()
    assert not partial_folder(out).exists()
    left = {place.name for place in tmp_path.iterdir()}
    assert left == {
        "images",
        "t.csv",
        out.name,
        f"whole{ending}",
        "catalogue.unreadable.csv",
        "whole.unreadable.csv",
    }


class _Stopped(RuntimeError):
    pass


@pytest.fixture
def stop_after(predictor, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the network fail after some batches, or, with 0, no more."""
    whole = predictor.probabilities

    def stop(batches: int) -> None:
        left = batches

        def probabilities(images: list[np.ndarray]) -> np.ndarray:
            nonlocal left
            left -= 1
            if left < 0:
                raise _Stopped
            return whole(images)

        monkeypatch.setattr(predictor, "probabilities", probabilities if batches else whole)

    return stop


@pytest.fixture
def interrupted(
    tmp_path: Path,
    listed: Path,
    predictor,
    stop_after: Callable[[int], None],
    capsys: pytest.CaptureFixture[str],
) -> Path:
    """A catalogue whose network failed after 3 batches of 8."""
    out = tmp_path / "catalogue.parquet"
    stop_after(3)
    with pytest.raises(_Stopped):
        predict_catalogue(predictor, CatalogueRequest(listed, out, batch=8))
    stop_after(0)
    # 24 and 3 that could not be read
    assert "27 galaxies are done and kept; continue with --resume" in capsys.readouterr().err
    return out


def test_what_was_done_is_kept_and_not_done_again(
    interrupted: Path,
    tmp_path: Path,
    listed: Path,
    predictor,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert not interrupted.exists()
    assert not unreadable_path(interrupted).exists()
    read, load = [], data_table.read_image
    monkeypatch.setattr(
        data_table, "read_image", lambda source, **k: (read.append(source), load(source, **k))[1]
    )
    predictor.sizes.clear()
    summary = predict_catalogue(predictor, CatalogueRequest(listed, interrupted, batch=8, resume=True))
    assert len(read) == 90 - 27
    assert sum(predictor.sizes) == summary.predicted - summary.resumed
    assert (summary.resumed, summary.predicted, summary.unreadable) == (24, 69, 21)
    assert "continuing after 27 galaxies" in capsys.readouterr().err
    predict_catalogue(predictor, CatalogueRequest(listed, tmp_path / "whole.parquet", batch=8))
    assert pq.read_table(interrupted).equals(pq.read_table(tmp_path / "whole.parquet"))
    whole_list = (tmp_path / "whole.unreadable.csv").read_bytes()
    assert unreadable_path(interrupted).read_bytes() == whole_list
    assert whole_list.count(b"\n") == 22
    assert not partial_folder(interrupted).exists()


def test_provenance_is_that_of_the_beginning(interrupted: Path, listed: Path, predictor) -> None:
    begun = json.loads((partial_folder(interrupted) / "request.json").read_text())
    predict_catalogue(predictor, CatalogueRequest(listed, interrupted, batch=8, resume=True))
    assert begun.pop("checksums") == {}
    assert read_provenance(interrupted) == begun


def test_without_resume_it_says_how_to_go_on(interrupted: Path, listed: Path, predictor) -> None:
    with pytest.raises(
        UsageError, match=r"interrupted after 27 galaxies; continue it with --resume, or start again"
    ):
        predict_catalogue(predictor, CatalogueRequest(listed, interrupted))
    assert partial_folder(interrupted).exists()
    summary = predict_catalogue(predictor, CatalogueRequest(listed, interrupted, overwrite=True))
    assert (summary.resumed, summary.predicted) == (0, 69)


@pytest.mark.parametrize(
    ("engine", "number_format"),
    [
        ("torch 2", "fp32, channels_last on cpu"),
        ("ONNX Runtime 1", "fp32 on cpu"),
        ("a stand-in", "fp32 on cpu"),
    ],
)
def test_an_engine_that_agrees_to_rounding_continues(
    interrupted: Path, listed: Path, predictor, engine: str, number_format: str
) -> None:
    predictor.engine_description, predictor.precision_description = engine, number_format
    assert predict_catalogue(predictor, CatalogueRequest(listed, interrupted, batch=8, resume=True)).resumed
    both = "a stand-in" if engine == "a stand-in" else f"a stand-in, then {engine}"
    assert read_provenance(interrupted)["engine"] == both


@pytest.mark.parametrize("number_format", ["bf16 on cpu", "fp32 on cuda", "int8 (ONNX Runtime) on cpu"])
def test_an_engine_with_other_numbers_is_refused(
    interrupted: Path, listed: Path, predictor, number_format: str
) -> None:
    predictor.engine_description, predictor.precision_description = "another", number_format
    with pytest.raises(UsageError, match=r"\(number_format was 'fp32 on cpu' and is '.*' now\)"):
        predict_catalogue(predictor, CatalogueRequest(listed, interrupted, batch=8, resume=True))
    assert not interrupted.exists()


@pytest.mark.parametrize("options", [{"crop": 20}, {"source": "images"}])
def test_another_request_is_refused(
    interrupted: Path, listed: Path, predictor, options: dict, tmp_path: Path
) -> None:
    source = tmp_path / options.pop("source", listed.name)
    with pytest.raises(
        UsageError,
        match=r"options differ from those of the interrupted run \((crop|source) was '.*' and is '.*' now",
    ):
        predict_catalogue(predictor, CatalogueRequest(source, interrupted, resume=True, **options))
    assert not interrupted.exists()
    assert (
        predict_catalogue(predictor, CatalogueRequest(listed, interrupted, batch=8, resume=True)).resumed
        == 24
    )


def test_another_input_is_refused(interrupted: Path, listed: Path, predictor) -> None:
    lines = listed.read_text().splitlines(keepends=True)
    listed.write_text("".join([lines[0], *reversed(lines[1:])]))
    with pytest.raises(UsageError, match=r"has changed since .* its first 27 galaxies differ"):
        predict_catalogue(predictor, CatalogueRequest(listed, interrupted, batch=8, resume=True))
    listed.write_text("".join(lines[:10]))
    with pytest.raises(UsageError, match="has changed since"):
        predict_catalogue(predictor, CatalogueRequest(listed, interrupted, batch=8, resume=True))
    listed.write_text("".join(lines))
    assert (
        predict_catalogue(predictor, CatalogueRequest(listed, interrupted, batch=8, resume=True)).predicted
        == 69
    )


def test_a_second_process_is_kept_away(interrupted: Path, listed: Path, predictor) -> None:
    first = Journal(interrupted, pq.read_schema(next(partial_folder(interrupted).glob("*.parquet"))), {})
    first._take_lock()
    with pytest.raises(UsageError, match="another process is writing this catalogue"):
        predict_catalogue(predictor, CatalogueRequest(listed, interrupted, batch=8, resume=True))
    first.release()
    assert (
        predict_catalogue(predictor, CatalogueRequest(listed, interrupted, batch=8, resume=True)).predicted
        == 69
    )


def test_galaxies_of_a_damaged_part_are_done_again(
    tmp_path: Path,
    listed: Path,
    predictor,
    stop_after: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "c.parquet"
    monkeypatch.setattr(checkpoint, "PART_SECONDS", 0.0)
    stop_after(4)
    with pytest.raises(_Stopped):
        predict_catalogue(predictor, CatalogueRequest(listed, out, batch=8))
    stop_after(0)
    part = sorted(partial_folder(out).glob("*.parquet"))[1]
    part.write_bytes(part.read_bytes()[:100])
    summary = predict_catalogue(predictor, CatalogueRequest(listed, out, batch=8, resume=True))
    assert (summary.resumed, summary.predicted, summary.unreadable) == (8, 69, 21)
    assert "is damaged; galaxies from the 10th on are predicted again" in capsys.readouterr().err
    assert len(set(pq.read_table(out)["id"].to_pylist())) == 69


def test_a_kill_before_the_first_part_leaves_nothing_to_decide(
    tmp_path: Path, listed: Path, predictor
) -> None:
    out = tmp_path / "c.csv"
    partial_folder(out).mkdir()
    (partial_folder(out) / "request.json").write_text('{"run"')
    assert predict_catalogue(predictor, CatalogueRequest(listed, out)).predicted == 69
    assert not partial_folder(out).exists()


@pytest.mark.parametrize("where", ["part", "result"])
def test_a_full_disk_keeps_what_was_done(
    tmp_path: Path, listed: Path, predictor, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    out = tmp_path / "c.fits"
    monkeypatch.setattr(checkpoint, "PART_SECONDS", 0.0)
    calls, write = 0, pq.write_table

    def full(*arguments: Any, **options: Any) -> None:
        nonlocal calls
        calls += 1
        if where == "result" or calls > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(*((pq, "write_table") if where == "part" else (Target, "writer")), full)
        with pytest.raises(MorphoscopeError, match=r"the disk is full; what was done is kept.*--resume"):
            predict_catalogue(predictor, CatalogueRequest(listed, out, batch=8))
    parts = list(partial_folder(out).glob("*.parquet"))
    assert len(parts) == (2 if where == "part" else 9)
    assert {place.suffix for place in partial_folder(out).iterdir()} == {".parquet", ".json", ""}
    assert predict_catalogue(predictor, CatalogueRequest(listed, out, batch=8, resume=True)).predicted == 69


@pytest.mark.parametrize("sharded", [False, True])
def test_a_kill_after_the_catalogue_is_in_place(
    tmp_path: Path, listed: Path, predictor, monkeypatch: pytest.MonkeyPatch, sharded: bool
) -> None:
    """Its parts are still there, and the catalogue stands where nothing may be overwritten."""
    out = tmp_path / ("folder" if sharded else "c.parquet")

    def killed(self: Journal) -> None:
        self.release()
        raise _Stopped

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "discard", killed)
        with pytest.raises(_Stopped):
            predict_catalogue(predictor, CatalogueRequest(listed, out, batch=8))
    assert out.exists()
    assert partial_folder(out).exists()
    with pytest.raises(UsageError, match="exists already"):
        predict_catalogue(predictor, CatalogueRequest(listed, out, batch=8))
    summary = predict_catalogue(predictor, CatalogueRequest(listed, out, batch=8, resume=True))
    assert summary.resumed == summary.predicted == 69
    assert not partial_folder(out).exists()
    assert len(pq.read_table(out)) == 69


def test_another_catalogue_in_the_way_is_not_replaced(interrupted: Path, listed: Path, predictor) -> None:
    interrupted.write_text("someone else's")
    with pytest.raises(UsageError, match="exists already"):
        predict_catalogue(predictor, CatalogueRequest(listed, interrupted, batch=8, resume=True))
    assert interrupted.read_text() == "someone else's"


def test_many_unreadable_images_in_a_row_do_not_pile_up(
    tmp_path: Path, listed: Path, predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "MOST_FAILURES", 5)
    monkeypatch.setattr(checkpoint, "PART_SECONDS", 0.0)
    kept: list[int] = []
    add = Journal.add
    monkeypatch.setattr(
        Journal,
        "add",
        lambda self, table, batch: (kept.append(len(batch.failures)), add(self, table, batch)),
    )
    predict_catalogue(predictor, CatalogueRequest(listed, tmp_path / "c.csv", batch=40))
    assert max(kept) == 5
    with open(tmp_path / "c.unreadable.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    unreadable = [n for n in range(90) if n % 9 == 4 or n >= 78]
    assert [row["id"] for row in rows] == [f"größe {n}" for n in unreadable]
    with open(tmp_path / "c.csv", newline="", encoding="utf-8") as file:
        ids = [row["id"] for row in csv.DictReader(file)]
    assert ids == [f"größe {n}" for n in range(90) if n not in unreadable]


def test_rows_that_wait_hold_no_memory_of_the_network(tmp_path: Path) -> None:
    """Arrow takes numpy's arrays as they are; hundreds of them kept would leave the heap full of holes."""
    schema = pa.schema([("id", pa.string()), ("p", pa.float32())])
    rows = Journal(tmp_path / "c.parquet", schema, {})
    rows.open(resume=False, afresh=False)
    answers = np.arange(3, dtype=np.float32)
    kept = weakref.ref(answers)
    batch = pipeline.Batch(stop=3, digest="digest")
    rows.add(pa.table({"id": ["a", "b", "c"], "p": pa.array(answers)}, schema=schema), batch)
    del answers
    gc.collect()
    assert kept() is None
    rows.commit()
    (table,) = rows.tables()
    assert table.to_pydict() == {"id": ["a", "b", "c"], "p": [0.0, 1.0, 2.0]}
    rows.discard()
