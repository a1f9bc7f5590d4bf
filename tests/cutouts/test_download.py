"""A folder of cutouts: every row accounted for, nothing fetched twice, whatever the service answers."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from cutout_server import FAULTS, CutoutServer, Sky, fits_file, serving

from morphoscope.catalogue import open_input
from morphoscope.cutouts import CutoutRequest, fetch_cutouts
from morphoscope.cutouts.check import check_image
from morphoscope.cutouts.client import Patience, Unsuitable
from morphoscope.data.sources.table import ingest_table
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.images.decode import read_image

Fetch = Callable[..., Any]
Positions = Callable[..., Path]


def _manifest(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder / "manifest.parquet").to_pylist()


def _row(position: tuple[float, float]) -> int:
    """The number of a galaxy of the table."""
    return round((position[0] - 150) * 100)


SERVICES = [
    ("legacy-dr10", "jpg"),
    ("legacy-dr10", "fits"),
    ("sdss", "jpg"),
    ("ps1", "jpg"),
    ("ps1", "fits"),
    ("hsc", "jpg"),
    ("hsc", "fits"),
    ("euclid-q1", "jpg"),
    ("euclid-q1", "fits"),
    ("hips:CDS/P/DSS2/color", "jpg"),
    ("hips:CDS/P/DSS2/red", "fits"),
]


@pytest.mark.parametrize(("survey", "kind"), SERVICES)
def test_each_service_is_asked_as_it_is_documented_and_outside_is_told_from_failed(
    server: CutoutServer, fetch: Fetch, positions: Positions, tmp_path: Path, survey: str, kind: str
):
    server.sky = Sky(
        outside=lambda place: _row(place) == 1, fault=lambda place, _: "missing" if _row(place) == 2 else ""
    )
    if survey == "hsc" and kind == "fits":  # where 404 means outside
        server.sky.fault = lambda place, _: "page" if _row(place) == 2 else ""
    done = fetch(positions(4), survey=survey, kind=kind, arcsec=20.0)
    assert done.counts == {"fetched": 2, "outside": 1, "failed": 1}
    rows = _manifest(tmp_path / "out")
    assert [row["status"] for row in rows] == ["fetched", "outside", "failed", "fetched"]
    assert rows[1]["reason"].startswith("the survey has no image here")
    assert rows[2]["reason"].startswith("the service ")
    names = [name for name in rows[0] if name.startswith("file")]
    for name in names:
        path = tmp_path / "out" / rows[0][name]
        if kind == "fits":
            assert fits.getdata(path).shape[-1] == rows[0]["pixels"] + (survey == "hsc")
        else:
            assert read_image(path).shape == (64, 64, 3)
    assert len(names) == (3 if (survey, kind) in (("ps1", "fits"), ("hsc", "fits")) else 1)


def test_a_colour_of_pan_starrs_goes_from_red_to_blue(
    server: CutoutServer, fetch: Fetch, positions: Positions
):
    fetch(positions(1), survey="ps1", arcsec=16.0, bands=("y", "g", "i"))
    query = server.requests[-1].query
    assert [query[colour].split(".")[-3] for colour in ("red", "green", "blue")] == ["y", "i", "g"]
    assert (query["size"], query["output_size"]) == ("64", "64")


def test_what_a_cutout_shows_is_what_was_asked_for(server: CutoutServer, fetch: Fetch, positions: Positions):
    fetch(positions(1), arcsec=30.0, pixels=100)
    query = server.requests[-1].query
    assert (query["size"], query["layer"]) == ("100", "ls-dr10")
    assert float(query["pixscale"]) * 100 == pytest.approx(30.0)
    fetch(positions(1), "hips", survey="hips:CDS/P/DSS2/color", arcsec=36.0)
    assert float(server.requests[-1].query["fov"]) == pytest.approx(0.01)


def test_sizes_come_from_a_column_and_further_columns_are_kept(fetch: Fetch, tmp_path: Path):
    table = tmp_path / "own.csv"
    table.write_text("name,RA,Dec,size,class\n7,10.5,-2,20,spiral\n8,11,3,40,edge-on\n9,12,3,,round\n")
    done = fetch(table, size_column="size", keep_columns=("class",))
    assert done.counts == {"fetched": 2, "invalid": 1}
    rows = _manifest(tmp_path / "out")
    assert [row["arcsec"] for row in rows] == [20.0, 40.0, None]
    assert [row["id"] for row in rows] == [7, 8, 9]
    assert [row["class"] for row in rows] == ["spiral", "edge-on", "round"]
    assert rows[2]["reason"] == "size is missing; arcsec above 0 were expected"
    assert rows[0]["file"] == "images/010/010.5000000-02.0000000_20.00.jpg"


def test_the_side_is_measured_from_a_wide_cutout(
    server: CutoutServer, fetch: Fetch, positions: Positions, tmp_path: Path
):
    table, seen = positions(1), {}
    for diameter in (8.0, 24.0):
        server.sky.diameter = diameter
        fetch(table, f"d{diameter:g}", arcsec="measured", pixels=128)
        seen[diameter] = _manifest(tmp_path / f"d{diameter:g}")[0]
    assert seen[8.0]["arcsec"] < seen[24.0]["arcsec"]
    for row in seen.values():
        assert row["arcsec"] == pytest.approx(row["galaxy_arcsec"] / 0.4, abs=0.01)
    server.sky.diameter = 500.0  # fills the first cutout, of 134 arcsec
    fetch(table, "large", arcsec="measured", pixels=128)
    assert _manifest(tmp_path / "large")[0]["arcsec"] > 134.2


def test_ingest_and_predict_read_the_manifest_with_coordinates(
    server: CutoutServer, fetch: Fetch, tmp_path: Path
):
    table = tmp_path / "own.csv"
    rows = [f"{row},{10 + row},{row},{'spiral' if row % 2 else 'round'}" for row in range(6)]
    table.write_text("objid,ra,dec,class\n" + "\n".join(rows))
    server.sky.outside = lambda place: place[1] == 5
    fetch(table, keep_columns=("class",))
    manifest = tmp_path / "out" / "manifest.parquet"
    images = open_input(manifest)
    items = list(images.items)
    assert (images.count, images.integer_ids) == (6, True)
    assert [item.coordinates for item in items][2] == {"ra": 12.0, "dec": 2.0}
    assert items[2].load().shape == (64, 64, 3)
    store = ingest_table(manifest, tmp_path / "store", label_column="class")
    assert len(store) == 5
    assert store.column("ra").tolist() == [10.0, 11.0, 12.0, 13.0, 14.0]


def _shaky(place: tuple[float, float], attempt: int) -> str:
    """A tenth of the positions goes wrong at first, in eight ways; every fiftieth for good."""
    row = _row(place)
    if row % 50 == 49:
        return "page"
    return FAULTS[row // 10 % 8] if row % 10 == 3 and attempt == 0 else ""


def _outcomes(folder: Path) -> tuple[list[dict[str, Any]], dict[str, bytes]]:
    rows = _manifest(folder)
    for row in rows:
        row.pop("fetched_at")
    files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.jpg")}
    return rows, files


def test_with_faults_and_a_kill_every_galaxy_is_there_once_and_the_service_is_not_pressed(tmp_path: Path):
    count, sky = 100, Sky(fault=_shaky, outside=lambda place: _row(place) % 20 == 7)
    table = tmp_path / "positions.csv"
    rows = [f"g{row},{150 + row / 100:.2f},2.5" for row in range(count)]
    table.write_text("id,ra,dec\n" + "\n".join(rows))
    options = {"survey": "legacy-dr10", "pixels": 64, "patience": Patience(pause=0.02, read=2.0)}
    with serving(sky) as server:
        services = server.table(tmp_path / "services.yaml", connections=3, rate=60.0)
        whole = fetch_cutouts(CutoutRequest(table, tmp_path / "whole", service=services, **options))
        assert whole.counts == {"fetched": 93, "outside": 5, "failed": 2}
        assert server.most_under_way <= 3
        assert server.most_in_a_second() <= 61
    with serving(sky) as server:
        services = server.table(tmp_path / "services2.yaml", connections=3, rate=60.0)
        command = [
            sys.executable,
            "-m",
            "morphoscope",
            "data",
            "cutouts",
            str(table),
            str(tmp_path / "killed"),
        ]
        command += ["--survey", "legacy-dr10", "--pixels", "64", "--service", str(services)]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while len(server.requests) < 40 and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        before = len(list((tmp_path / "killed").rglob("*.jpg")))
        assert 0 < before < 93
        resumed = fetch_cutouts(CutoutRequest(table, tmp_path / "killed", service=services, **options))
        assert resumed.asked <= count - before + 3
        asked = server.positions()
    assert _outcomes(tmp_path / "killed") == _outcomes(tmp_path / "whole")
    for place, times in asked.items():  # one request, one more after a fault, and one after the kill
        assert times <= 2 + (_row(place) % 10 == 3) or _row(place) % 50 == 49, place


def test_what_is_there_is_not_fetched_again_but_failures_are(
    server: CutoutServer, fetch: Fetch, positions: Positions, tmp_path: Path
):
    table = positions(10)
    server.sky = Sky(
        fault=lambda place, _: "missing" if _row(place) < 2 else "", outside=lambda place: _row(place) == 5
    )
    assert fetch(table).counts == {"fetched": 7, "outside": 1, "failed": 2}
    asked = len(server.requests)
    server.sky.fault = lambda place, attempt: ""
    assert fetch(table).counts == {"fetched": 9, "outside": 1}
    assert len(server.requests) == asked + 2
    (tmp_path / "out" / _manifest(tmp_path / "out")[3]["file"]).write_bytes(b"half")
    assert fetch(positions(12, "more.csv")).counts == {"fetched": 11, "outside": 1}
    assert len(server.requests) == asked + 2 + 3  # the damaged one, and the two new ones
    with open(tmp_path / "out" / "journal.jsonl", "ab") as journal:
        journal.write(b'{"key": "150.00')  # a kill in the middle of a line
    assert fetch(table).asked == 0


def test_ten_thousand_rows_of_one_galaxy_are_one_request(
    server: CutoutServer, fetch: Fetch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    table = tmp_path / "same.csv"
    table.write_text("id,ra,dec\n" + "".join(f"{row},150.1,2.2\n" for row in range(10_000)))
    assert fetch(table).counts == {"fetched": 10_000}
    assert len(server.requests) == 1
    assert "10000 rows have 1 different positions; each is fetched once" in capsys.readouterr().err
    assert len({row["file"] for row in _manifest(tmp_path / "out")}) == 1


def test_hours_are_read_as_hours_where_the_table_says_so_and_remarked_upon_where_not(
    server: CutoutServer, fetch: Fetch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    hours = tmp_path / "hours.csv"
    hours.write_text("id,RA (hours),dec\n1,10,2\n")
    fetch(hours)
    assert server.requests[-1].query["ra"] == "150.0000000"
    bare = tmp_path / "bare.csv"
    bare.write_text("id,ra,dec\n" + "".join(f"{row},{row},{3 * row - 30}\n" for row in range(24)))
    fetch(bare, "bare")
    assert "taken for degrees; if they are hours, call the column 'ra_hours'" in capsys.readouterr().err


def test_rows_without_a_position_are_listed_and_the_rest_is_fetched(fetch: Fetch, tmp_path: Path):
    table = tmp_path / "holes.csv"
    table.write_text("id,ra,dec\na,150.1,2.2\nb,nan,2.2\nc,150.1,95\nd,here,2\n")
    assert fetch(table).counts == {"fetched": 1, "invalid": 3}
    reasons = [row["reason"] for row in _manifest(tmp_path / "out")]
    assert reasons[0] is None
    assert reasons[1:] == [
        f"{cell}; degrees were expected" for cell in ("ra is missing", "dec is '95'", "ra is 'here'")
    ]


WRONG = [
    ("id,x,y\n1,2,3\n", {}, "columns 'ra' and 'dec' in degrees were expected"),
    ("id,ra,dec\n1,nan,nan\n", {}, "none of 1 rows has a position"),
    ("id,ra,dec\n1,2,3\n", {"survey": "legacy"}, "no such service (did you mean 'legacy-dr10'?)"),
    ("id,ra,dec\n1,2,3\n", {"survey": "hips:../x"}, "the identifier of a HiPS was expected"),
    ("id,ra,dec\n1,2,3\n", {"survey": "sdss", "kind": "fits"}, "has no fits files, only jpg"),
    ("id,ra,dec\n1,2,3\n", {"survey": "sdss", "pixels": 32}, "serves jpg images of 64 to 2048 pixels"),
    ("id,ra,dec\n1,2,3\n", {"arcsec": "wide"}, "arcsec or 'measured' were expected"),
    ("id,ra,dec\n1,2,3\n", {"arcsec": -3.0}, "arcsec above 0 were expected"),
    ("id,ra,dec\n1,2,3\n", {"size_column": "r"}, "has no column 'r'"),
    ("id,ra,dec\n1,2,3\n", {"bands": ("g", "q", "z"), "kind": "fits"}, "has no band 'q'"),
    ("id,ra,dec\n1,2,3\n", {"bands": ("g", "r", "z")}, "have fixed bands"),
    ("id,ra,dec,status\n1,2,3,x\n", {"keep_columns": ("status",)}, "has a column of this name already"),
]


@pytest.mark.parametrize(("table", "options", "words"), WRONG)
def test_a_wrong_request_is_one_sentence_before_anything_is_asked(
    server: CutoutServer, fetch: Fetch, tmp_path: Path, table: str, options: dict[str, Any], words: str
):
    (tmp_path / "t.csv").write_text(table)
    with pytest.raises(UsageError, match=re.escape(words)) as error:
        fetch(tmp_path / "t.csv", **options)
    assert "\n" not in str(error.value)
    assert not server.requests
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_left_alone(fetch: Fetch, positions: Positions, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("")
    with pytest.raises(UsageError, match=r"holds 'thesis.tex' and no cutouts.yaml"):
        fetch(positions(1))
    fetch(positions(1), "mine")
    with pytest.raises(UsageError, match=r"holds other cutouts \(pixels was '64' and is '128' now\)"):
        fetch(positions(1), "mine", pixels=128)


@pytest.mark.parametrize("name", ["cutouts.yaml", "journal.jsonl", "lock", "images", "images/150"])
def test_nothing_is_written_through_a_link_in_a_folder_of_cutouts(
    fetch: Fetch, positions: Positions, tmp_path: Path, name: str
):
    """A folder from a stranger may have links in it."""
    fetch(positions(1))
    inside, elsewhere = tmp_path / "out" / name, tmp_path / "elsewhere"
    if inside.is_dir():
        inside.rename(elsewhere)
        before = sorted(elsewhere.rglob("*"))
    else:
        elsewhere.write_bytes(b"mine, and no line's end")
        inside.unlink()
        before = elsewhere.read_bytes()
    inside.symlink_to(elsewhere)
    with pytest.raises(UsageError, match=rf"{name} is a link; a folder of cutouts keeps its files in itself"):
        fetch(positions(3))
    assert before == (sorted(elsewhere.rglob("*")) if elsewhere.is_dir() else elsewhere.read_bytes())


@pytest.mark.parametrize(
    "damage", ['"sizes": [1e999]', '"arcsec": "wide"', '"names": 3', '"sizes": ' + "[" * 9999]
)
def test_a_damaged_line_of_the_journal_is_asked_for_again(
    fetch: Fetch, positions: Positions, tmp_path: Path, damage: str
):
    fetch(positions(2))
    journal = tmp_path / "out" / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text(lines[0].rstrip("\n}") + f", {damage}}}\n" + lines[1])
    assert fetch(positions(2)).asked == 1
    assert fetch(positions(2)).asked == 0


@pytest.mark.parametrize("version", [".inf", "none", "[1]"])
def test_a_header_whose_version_is_no_number_is_damaged(
    fetch: Fetch, positions: Positions, tmp_path: Path, version: str
):
    fetch(positions(1))
    (tmp_path / "out" / "cutouts.yaml").write_text(f"format_version: {version}\n")
    with pytest.raises(MorphoscopeError, match=r"cutouts\.yaml is damaged"):
        fetch(positions(1))


@pytest.mark.parametrize("name", ["cutouts.yaml", "journal.jsonl", "lock"])
def test_something_else_in_place_of_a_file_of_the_folder_is_said(
    fetch: Fetch, positions: Positions, tmp_path: Path, name: str
):
    fetch(positions(1))
    (tmp_path / "out" / name).unlink()
    os.mkfifo(tmp_path / "out" / name)  # of which reading would never end
    with pytest.raises(UsageError, match=f"{name} is not what a folder of cutouts has there"):
        fetch(positions(2))


def test_a_disk_that_is_full_is_said_and_leaves_no_half_image(
    fetch: Fetch, positions: Positions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write = Path.write_bytes

    def half(path: Path, content: bytes) -> int:
        if path.suffix == ".part" and len(list((tmp_path / "out").rglob("*.jpg"))) > 2:
            write(path, content[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", half)
        with pytest.raises(MorphoscopeError, match=r"the disk is full; what was fetched is kept\. Free some"):
            fetch(positions(9))
    assert not list((tmp_path / "out").rglob(".*"))
    assert fetch(positions(9)).counts == {"fetched": 9}


def test_two_processes_do_not_write_one_folder(fetch: Fetch, positions: Positions, tmp_path: Path):
    import fcntl

    fetch(positions(1))
    with open(tmp_path / "out" / "lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another process is fetching into this folder; wait for it"):
            fetch(positions(1))


def test_a_service_that_is_down_is_left_in_one_sentence_and_what_was_fetched_stays(
    server: CutoutServer, fetch: Fetch, positions: Positions, tmp_path: Path
):
    table = positions(40)
    server.sky.fault = lambda place, _: "reset" if _row(place) >= 10 else ""
    with pytest.raises(
        MorphoscopeError, match=r"the service broke off its answer, 5 attempts; 10 of 40 cutouts"
    ):
        fetch(table)
    rows = _manifest(tmp_path / "out")
    assert {row["status"] for row in rows} == {"fetched", "failed", "pending"}
    asked = len(server.requests)
    assert asked < 10 + 5 * (10 + 4 * 4 + 4)  # and not 5 times each
    server.sky.fault = lambda place, attempt: ""
    assert fetch(table).counts == {"fetched": 40}


def test_without_a_network_there_is_one_sentence(fetch: Fetch, positions: Positions, tmp_path: Path):
    table = tmp_path / "services.yaml"
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:9", table.read_text())
    (tmp_path / "nobody.yaml").write_text(text)
    with pytest.raises(MorphoscopeError, match=r"the service cannot be reached, 5 attempts; 0 of 30 cutouts"):
        fetch(positions(30), service=tmp_path / "nobody.yaml")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("elsewhere", "redirects to 'localhost', which is none of its hosts"),
        ("endless", "redirects without end"),
        ("huge", "sends more than"),
        ("slow", "does not answer in time"),
        ("page", "sent a web page in place of the image ('Maintenance')"),
        ("other size", "sent 48 × 48 pixels in place of 64 × 64"),
    ],
)
def test_answers_that_stay_wrong_have_their_reason(
    server: CutoutServer, fetch: Fetch, positions: Positions, tmp_path: Path, fault: str, words: str
):
    server.sky.fault = lambda place, attempt: fault
    fetch(positions(2), patience=Patience(attempts=2, pause=0.01, read=1.0))
    assert words in _manifest(tmp_path / "out")[0]["reason"]


@pytest.mark.parametrize("missing", [2880, 2880 + 100, 8 * 2880])
def test_a_fits_file_that_ends_early_is_half_a_file(missing: int):
    content = fits_file(128)
    assert check_image(content, "fits", 128, exact=True) is content
    with pytest.raises(Unsuitable, match="half a FITS file"):
        check_image(content[:-missing], "fits", 128, exact=True)


def test_that_images_keep_their_own_pixels_is_said(
    fetch: Fetch, positions: Positions, capsys: pytest.CaptureFixture[str]
):
    fetch(positions(1), survey="ps1", kind="fits", pixels=64, arcsec=10.0)
    assert "--pixels 64: the fits images of ps1 keep their own pixels" in capsys.readouterr().err


def test_a_service_that_asks_for_a_long_pause_is_left(
    server: CutoutServer, fetch: Fetch, positions: Positions
):
    server.sky.fault = lambda place, attempt: "tomorrow"
    with pytest.raises(MorphoscopeError, match=r"asks for a pause of 120 minutes \(status 503\); 0 of 2"):
        fetch(positions(2))


def test_retry_after_is_obeyed_with_any_status_that_may_pass(
    server: CutoutServer, fetch: Fetch, positions: Positions, tmp_path: Path
):
    server.sky.fault = lambda place, attempt: "gateway" if attempt == 0 else ""
    assert fetch(positions(1)).counts == {"fetched": 1}
    first, second = (asked.at for asked in server.requests)
    assert second - first >= 0.95
    server.sky.fault = lambda place, attempt: "never"
    fetch(positions(1), "never")
    assert _manifest(tmp_path / "never")[0]["reason"] == "the service returned status 501"
    assert len(server.requests) == 3  # it will not pass


def test_an_account_is_asked_for_in_one_sentence_and_netrc_has_it(
    server: CutoutServer, fetch: Fetch, positions: Positions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    server.sky.password = "open sesame"
    with pytest.raises(MorphoscopeError, match=r"needs an account; register at https://\S+ and put its name"):
        fetch(positions(3), survey="hsc", kind="fits")
    (tmp_path / "netrc").write_text('machine 127.0.0.1 login me password "open sesame"\n')
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert fetch(positions(3), survey="hsc", kind="fits").counts == {"fetched": 3}


def test_names_are_resolved(server: CutoutServer, fetch: Fetch, tmp_path: Path):
    server.sky.names = {"NGC 1300": (49.920815, -19.411114)}
    done = fetch(None, names=("NGC 1300",))
    row = _manifest(tmp_path / "out")[0]
    assert (done.counts, row["id"]) == ({"fetched": 1}, "NGC 1300")
    assert np.allclose([row["ra"], row["dec"]], [49.920815, -19.411114])
    with pytest.raises(UsageError, match="no object of this name is known to CDS Sesame"):
        fetch(None, "none", names=("NGC 0",))
