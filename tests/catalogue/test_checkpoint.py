"""Parts of an unfinished catalogue that are damaged, foreign, out of date or of an older version."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import shutil
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from morphoscope.catalogue import checkpoint
from morphoscope.catalogue.checkpoint import Journal, partial_folder
from morphoscope.catalogue.formats.write import read_provenance
from morphoscope.catalogue.predict import Summary, predict_catalogue
from morphoscope.catalogue.request import CatalogueRequest
from morphoscope.errors import MorphoscopeError, UsageError

Save = Callable[..., Path]
Resume = Callable[..., Summary]


class _Stopped(RuntimeError):
    pass


@pytest.fixture
def images(tmp_path: Path, save: Save) -> Path:
    """Twelve images; the fifth cannot be read."""
    for number in range(12):
        save(tmp_path / "in" / f"{number:02}.png", 20 * number)
    (tmp_path / "in" / "04.png").write_text("no image")
    return tmp_path / "in"


@pytest.fixture
def out(tmp_path: Path, images: Path, predictor, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalogue that was interrupted after three parts of three readable galaxies."""
    place, whole, calls = tmp_path / "c.csv", predictor.probabilities, []

    def probabilities(images: list) -> object:
        calls.append(len(images))
        if len(calls) > 3:
            raise _Stopped
        return whole(images)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "PART_SECONDS", 0.0)
        patch.setattr(predictor, "probabilities", probabilities)
        with pytest.raises(_Stopped):
            predict_catalogue(predictor, CatalogueRequest(images, place, batch=3))
    assert [(part.start, part.stop) for part in _journal(place)._found()] == [(0, 3), (3, 7), (7, 10)]
    return place


@pytest.fixture
def resume(out: Path, images: Path, predictor) -> Resume:
    def resumed(**options: object) -> Summary:
        predictor.sizes.clear()
        return predict_catalogue(predictor, CatalogueRequest(images, out, batch=3, resume=True, **options))

    return resumed


@pytest.fixture
def wanted(tmp_path: Path, out: Path, images: Path, predictor) -> str:
    """What an uninterrupted catalogue holds."""
    predict_catalogue(predictor, CatalogueRequest(images, tmp_path / "whole.csv", batch=3))
    return (tmp_path / "whole.csv").read_text()


def _journal(out: Path) -> Journal:
    return Journal(out, pq.read_schema(next(partial_folder(out).glob("*.parquet"))), {})


def _parts(out: Path) -> list[Path]:
    return sorted(partial_folder(out).glob("*.parquet"))


def test_a_parts_name_has_its_checksum(out: Path):
    for part in _parts(out):
        assert part.name.split(".")[1] == f"{zlib.crc32(part.read_bytes()):08x}"


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_part_is_predicted_again(seed: int, out: Path, resume: Resume, wanted: str, capsys):
    draw = random.Random(seed)
    number = draw.randrange(3)
    part = _parts(out)[number]
    content = bytearray(part.read_bytes())
    if seed % 4 == 0:
        content = content[: draw.randrange(len(content))]
    else:
        for _ in range(draw.choice([1, 1, 40])):
            content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    part.write_bytes(content)
    summary = resume()
    assert (summary.resumed, summary.predicted, summary.unreadable) == ([0, 3, 6][number], 11, 1)
    assert f"galaxies from the {[1, 4, 8][number]}th on are predicted again" in capsys.readouterr().err
    assert out.read_text() == wanted
    assert not partial_folder(out).exists()


def test_a_part_that_says_less_than_it_must_is_predicted_again(out: Path, resume: Resume, wanted: str):
    """Its checksum holds, but it was written by something else."""
    part = _parts(out)[1]
    table = pq.read_table(part)
    facts = json.loads(table.schema.metadata[b"morphoscope.part"])
    del facts["failures"]
    pq.write_table(table.replace_schema_metadata({"morphoscope.part": json.dumps(facts)}), part)
    part.rename(part.with_name(f"000000003-000000007.{zlib.crc32(part.read_bytes()):08x}.parquet"))
    assert resume().resumed == 3
    assert out.read_text() == wanted


@pytest.mark.parametrize("damaged", [False, True])
def test_parts_of_an_older_version_have_no_checksums(damaged: bool, out: Path, resume: Resume, wanted: str):
    for part in _parts(out):
        table = pq.read_table(part)
        facts = json.loads(table.schema.metadata[b"morphoscope.part"])
        del facts["stamps"]
        pq.write_table(table.replace_schema_metadata({"morphoscope.part": json.dumps(facts)}), part)
        part.rename(part.with_name(part.name.split(".")[0] + ".parquet"))
    place = partial_folder(out) / "request.json"
    begun = json.loads(place.read_text())
    del begun["checksums"]
    place.write_text(json.dumps(begun))
    if damaged:
        content = _parts(out)[2].read_bytes()
        _parts(out)[2].write_bytes(content[: len(content) // 2])
    assert resume().resumed == (6 if damaged else 9)
    assert out.read_text() == wanted


@pytest.mark.parametrize("content", ["[]", '{"run"', "null", "[" * 100_000, '{"checksums": 3}', "\udcff"])
def test_a_damaged_request_is_one_sentence(content: str, out: Path, resume: Resume):
    place = partial_folder(out) / "request.json"
    place.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(MorphoscopeError, match=r"request.json cannot be read; start again with --overwrite"):
        resume()
    assert len(_parts(out)) == 3


def test_a_damaged_note_about_the_catalogue_in_place_is_no_obstacle(out: Path, resume: Resume, wanted: str):
    (partial_folder(out) / "placed.json").write_text("[" * 100_000)
    assert resume().predicted == 11
    assert out.read_text() == wanted


def test_a_link_to_somebodys_folder_is_refused(
    tmp_path: Path, images: Path, predictor, capsys: pytest.CaptureFixture[str]
):
    theirs, out = tmp_path / "theirs", tmp_path / "c.parquet"
    theirs.mkdir()
    (theirs / "request.json").write_text("mine")
    (theirs / "thesis.tex").write_text("mine")
    partial_folder(out).symlink_to(theirs)
    for options in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(UsageError, match=r"\.c\.parquet\.partial is a link"):
            predict_catalogue(predictor, CatalogueRequest(images, out, **options))
    assert {path.name: path.read_text() for path in theirs.iterdir()} == {
        "request.json": "mine",
        "thesis.tex": "mine",
    }
    assert predictor.sizes == []


def _file(path: Path) -> None:
    path.write_text("mine")


def _folder(path: Path) -> None:
    path.mkdir()
    (path / "deep.txt").write_text("mine")


def _link(path: Path) -> None:
    path.symlink_to(path.parent.parent / "in")


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("thesis.tex", _file),
        ("1-2.parquet", _file),
        ("data", _folder),
        ("request.json", _folder),
        ("result", _link),
        ("lock", _link),
        ("000000000-000000009.parquet", _link),
        ("000000000-000000009.parquet", os.mkfifo),
    ],
)
def test_a_folder_with_anything_else_in_it_is_refused_and_untouched(
    name: str, make: Callable[[Path], None], tmp_path: Path, images: Path, predictor
):
    out = tmp_path / "c.parquet"
    partial_folder(out).mkdir()
    make(partial_folder(out) / name)
    for options in ({}, {"resume": True}, {"overwrite": True}):
        with pytest.raises(
            UsageError, match=f"holds '{name}', which is not part of an interrupted catalogue"
        ):
            predict_catalogue(predictor, CatalogueRequest(images, out, **options))
    assert [path.name for path in partial_folder(out).iterdir()] == [name]
    assert len(list(images.iterdir())) == 12


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path, images: Path, predictor):
    out = tmp_path / "c.parquet"
    partial_folder(out).write_text("mine")
    with pytest.raises(UsageError, match="is a file; remove it"):
        predict_catalogue(predictor, CatalogueRequest(images, out))
    assert partial_folder(out).read_text() == "mine"


def test_what_comes_into_the_folder_meanwhile_is_not_deleted(
    tmp_path: Path, images: Path, predictor, monkeypatch: pytest.MonkeyPatch
):
    out, whole = tmp_path / "c.parquet", predictor.probabilities

    def probabilities(images: list) -> object:
        (partial_folder(out) / "thesis.tex").write_text("mine")
        return whole(images)

    monkeypatch.setattr(predictor, "probabilities", probabilities)
    assert predict_catalogue(predictor, CatalogueRequest(images, out)).predicted == 11
    assert (partial_folder(out) / "thesis.tex").read_text() == "mine"


def test_an_image_that_changed_since_is_predicted_again(
    out: Path, images: Path, resume: Resume, save: Save, capsys: pytest.CaptureFixture[str]
):
    save(images / "05.png", 250)
    summary = resume()
    assert summary.resumed == 3
    said = capsys.readouterr().err
    assert "image files among galaxies 4 to 7 have changed since they were predicted" in said
    assert "continuing after 3 galaxies" in said
    with open(out, newline="") as file:
        rows = {row["id"]: row["predicted"] for row in csv.DictReader(file)}
    assert (rows["05"], len(rows)) == ("In-between Bright", 11)


def test_a_time_of_modification_is_enough_to_look_again(out: Path, images: Path, resume: Resume, wanted: str):
    os.utime(images / "09.png", ns=(1, 1))
    assert resume().resumed == 6
    assert out.read_text() == wanted


def test_an_image_that_can_be_read_by_now_is_predicted(out: Path, images: Path, resume: Resume, save: Save):
    save(images / "04.png", 80)
    summary = resume()
    assert (summary.resumed, summary.predicted, summary.unreadable) == (3, 12, 0)


def test_rows_of_images_that_are_gone_stay(tmp_path: Path, images: Path, predictor, save: Save, monkeypatch):
    """A table still names them, and they were predicted."""
    table, out = tmp_path / "t.csv", tmp_path / "c.csv"
    table.write_text("id,image\n" + "".join(f"g{n},in/{n:02}.png\n" for n in range(12)))
    whole, calls = predictor.probabilities, []

    def probabilities(images: list) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise _Stopped
        return whole(images)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "PART_SECONDS", 0.0)
        patch.setattr(predictor, "probabilities", probabilities)
        with pytest.raises(_Stopped):
            predict_catalogue(predictor, CatalogueRequest(table, out, batch=3))
    (images / "01.png").unlink()
    summary = predict_catalogue(predictor, CatalogueRequest(table, out, batch=3, resume=True))
    assert (summary.resumed, summary.predicted) == (6, 11)


def test_a_calibration_that_changed_since_is_refused(
    tmp_path: Path, images: Path, predictor, monkeypatch: pytest.MonkeyPatch
):
    run, out = tmp_path / "run-7", tmp_path / "c.csv"
    run.mkdir()
    (run / "calibration.json").write_text("{}")
    monkeypatch.setattr(predictor.run, "path", run)
    monkeypatch.setattr(checkpoint, "PART_SECONDS", 0.0)
    whole = predictor.probabilities

    def probabilities(images: list) -> object:
        if predictor.sizes:
            raise _Stopped
        return whole(images)

    with monkeypatch.context() as patch:
        patch.setattr(predictor, "probabilities", probabilities)
        with pytest.raises(_Stopped):
            predict_catalogue(predictor, CatalogueRequest(images, out, batch=3))
    (run / "calibration.json").write_text('{"temperature": 2}')
    with pytest.raises(UsageError, match=r"calibration\.json of run 'run-7' has changed since"):
        predict_catalogue(predictor, CatalogueRequest(images, out, batch=3, resume=True))
    (run / "calibration.json").write_text("{}")
    assert predict_catalogue(predictor, CatalogueRequest(images, out, batch=3, resume=True)).resumed == 3


def test_a_part_that_is_damaged_while_the_catalogue_is_assembled_is_one_sentence(
    out: Path, resume: Resume, wanted: str, monkeypatch: pytest.MonkeyPatch
):
    tables = Journal.tables

    def damaging(self: Journal) -> object:
        content = self.parts[1].path.read_bytes()
        self.parts[1].path.write_bytes(content[:-1] + b"x")
        return tables(self)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "tables", damaging)
        with pytest.raises(MorphoscopeError, match="is damaged: its checksum is not the one in its name"):
            resume()
    assert resume().resumed == 3
    assert out.read_text() == wanted


def test_names_that_are_not_utf8_are_listed_as_unreadable(tmp_path: Path, images: Path, predictor):
    place = os.fsencode(images)
    shutil.copy(images / "03.png", place + b"/caf\xe9.png")
    os.rename(images, os.fsencode(tmp_path) + b"/gal\xe1xias")
    source = os.fsdecode(os.fsencode(tmp_path) + b"/gal\xe1xias")
    summary = predict_catalogue(predictor, CatalogueRequest(source, tmp_path / "c.parquet", batch=3))
    assert (summary.predicted, summary.unreadable) == (11, 2)
    with open(tmp_path / "c.unreadable.csv", newline="", encoding="utf-8") as file:
        listed = {row["id"]: row["reason"] for row in csv.DictReader(file)}
    assert listed["caf\\xe9"] == "the file's name is not UTF-8; rename it"
    assert read_provenance(tmp_path / "c.parquet")["source"].endswith("gal\\xe1xias")
    assert pq.read_table(tmp_path / "c.parquet").num_rows == 11


def test_ids_that_are_half_a_character_are_listed_as_unreadable(tmp_path: Path, images: Path, predictor):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(images / "03.png", "one.png")
        described = json.dumps({"id": "\ud800"}).encode()
        member = tarfile.TarInfo("one.json")
        member.size = len(described)
        archive.addfile(member, io.BytesIO(described))
        archive.add(images / "05.png", "two.png")
    summary = predict_catalogue(predictor, CatalogueRequest(tmp_path / "a.tar", tmp_path / "c.fits"))
    assert (summary.predicted, summary.unreadable) == (1, 1)
    assert "its name is not UTF-8" in (tmp_path / "c.unreadable.csv").read_text()
