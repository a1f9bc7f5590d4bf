"""Archives of the Virtual Observatory (``--survey sia2:ADDRESS``): which image is taken, how its cutout is
had, and what is said if there is none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from astropy.io import fits
from astropy.wcs import WCS
from cutout_server import FAULTS, CutoutServer, Sky
from sia2_archive import Archive, Tile
from typer.testing import CliRunner

from morphoscope import cli, extras
from morphoscope.cutouts.client import Patience, is_public
from morphoscope.cutouts.services import Frame, find_service
from morphoscope.cutouts.trim import square_of
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.extras import MissingExtra

pytest.importorskip("pyvo")
Fetch = Callable[..., Any]
Positions = Callable[..., Path]
CALM = Patience(pause=0.02, read=20.0)  # on a busy machine an answer may take a second
GREEN, RED, INFRARED = (400e-9, 550e-9), (560e-9, 700e-9), (700e-9, 850e-9)


@pytest.fixture
def ask(server: CutoutServer, fetch: Fetch, positions: Positions, tmp_path: Path) -> Callable[..., Any]:
    """Fetches cutouts of 20″ from the archive, and returns the rows of the manifest."""

    def asked(count: int = 1, out: str = "out", **options: Any) -> list[dict[str, Any]]:
        options = {"kind": "fits", "arcsec": 20.0, "pixels": None, "patience": CALM, **options}
        done = fetch(positions(count), out, survey=server.archive.service, **options)
        return pq.read_table(done.manifest).to_pylist()

    return asked


def _image(folder: Path, row: dict[str, Any], column: str = "file") -> tuple[np.ndarray, fits.Header]:
    with fits.open(folder / row[column]) as units:
        return units[0].data.astype(float), units[0].header


def _centre(header: fits.Header, ra: float, dec: float = 2.5) -> tuple[float, float]:
    x, y = WCS(header).all_world2pix([[ra, dec]], 0)[0]
    return x, y


@pytest.mark.parametrize(
    ("links", "requests"),
    [("datalink", 3), ("service", 3), ("soda", 2), ("file", 2)],
    ids=lambda value: str(value),
)
def test_each_way_to_a_cutout_gives_the_same_square_round_the_galaxy(
    server: CutoutServer, ask: Callable[..., Any], tmp_path: Path, links: str, requests: int
):
    server.archive.links = links
    (row,) = ask()
    assert (row["status"], row["arcsec"], row["pixels"]) == ("fetched", 20.0, None)
    assert len(server.requests) == requests
    image, header = _image(tmp_path / "out", row)
    tile = server.archive.tiles[0]
    x, y = (round(at) for at in tile.wcs.all_world2pix([[150.0, 2.5]], 0)[0])
    assert image.shape == (40, 40)  # 20″ of 0.5″
    at = _centre(header, 150.0)
    assert at == pytest.approx((19.5, 19.5), abs=0.51)
    left, top = round(x - at[0]), round(y - at[1])
    assert np.array_equal(image, tile.data()[top : top + 40, left : left + 40])
    assert header["PUBDID"] == "ivo://example.org/archive?one-r"
    assert (header["FILTER"], header["MAGZERO"]) == ("r", 25.0)


def test_positions_without_images_are_outside_and_a_whole_image_is_fetched_once(
    server: CutoutServer, ask: Callable[..., Any]
):
    server.archive.links = "file"
    rows = ask(12)  # the image reaches to 150.0478
    assert Counter(row["status"] for row in rows) == {"fetched": 5, "outside": 7}
    assert rows[-1]["reason"] == "the survey has no image here: the archive lists none"
    assert sum("/files/" in asked.path for asked in server.requests) == 1
    before = len(server.requests)
    ask(12)
    assert len(server.requests) == before


def test_a_server_with_a_query_of_its_own_cuts_its_images_out(
    server: CutoutServer, ask: Callable[..., Any], tmp_path: Path
):
    server.archive.links, server.archive.folder = "file", "ibe/data/allwise"
    server.archive.tiles = [Tile("large-r", estimate=1_200_000)]
    image, header = _image(tmp_path / "out", ask()[0])
    assert image.shape == (40, 40)
    assert np.isfinite(image).all()
    assert _centre(header, 150.0) == pytest.approx((19.5, 19.5), abs=0.51)
    query = server.requests[-1].query
    assert query == {"center": "150.0000000,2.5000000", "size": "0.005944444", "gzip": "false"}


def test_a_query_asks_for_what_its_address_says_and_no_more(
    server: CutoutServer, fetch: Fetch, positions: Positions
):
    server.sky.archive.tiles = [Tile("raw-r", calibration=0, exposure=900.0), Tile("good-r")]
    service = f"{server.archive.service}?CALIB=0&maxrec=7"
    fetch(positions(1), survey=service, kind="fits", arcsec=20.0)
    query = server.requests[0].query
    assert query == {"CALIB": "0", "maxrec": "7", "POS": "CIRCLE 150.0 2.5 0.0002778", "DPTYPE": "image"}
    assert "raw-r" in server.requests[1].query["ID"]


def test_cutouts_are_asked_for_by_whichever_parameter_the_archive_takes(
    server: CutoutServer, ask: Callable[..., Any]
):
    server.archive.parameters = ("ID", "POS", "BAND")
    assert ask()[0]["status"] == "fetched"
    assert server.requests[-1].query["POS"] == "CIRCLE 150.0000000 2.5000000 0.0039284"
    server.archive.parameters = ("ID", "BAND")
    row = ask(out="without")[0]
    assert row["reason"] == "the archive cuts its image out, but not round a position (no CIRCLE, no POS)"


def test_a_region_of_the_archives_own_is_not_asked_for_beside_ours(
    server: CutoutServer, ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
):
    real = Archive.answer

    def answer(archive: Archive, path: str, query: dict[str, str]) -> tuple[int, bytes, str]:
        status, content, kind = real(archive, path, query)
        return status, content.replace(b'xtype="interval" value=""', b'xtype="interval" value="1 2"'), kind

    monkeypatch.setattr(Archive, "answer", answer)
    assert ask()[0]["status"] == "fetched"
    assert set(server.requests[-1].query) == {"ID", "CIRCLE"}


def test_each_band_is_the_image_in_whose_middle_it_lies(
    server: CutoutServer, ask: Callable[..., Any], tmp_path: Path
):
    wide = Tile("white", band=(350e-9, 1000e-9), exposure=9000.0, calibration=3)
    bands = {"i": INFRARED, "g": GREEN, "r": RED}
    server.archive.tiles = [wide, *(Tile(f"one-{name}", band=band) for name, band in bands.items())]
    (row,) = ask(bands=("g", "r", "i@770"))
    assert [_image(tmp_path / "out", row, f"file_{band}")[1]["FILTER"] for band in ("g", "r", "i@770")] == [
        "g",
        "r",
        "i",
    ]
    assert sum("sia2" in asked.path for asked in server.requests) == 1
    (row,) = ask(out="more", bands=("g", "z"))
    assert (row["status"], row["reason"]) == (
        "outside",
        "the survey has no image in z here: the archive lists none",
    )
    with pytest.raises(
        UsageError, match="the wavelength of mine is not known, by which an archive finds its"
    ):
        ask(out="wrong", bands=("mine",))


def test_calibrated_comes_before_raw_then_the_longest_exposure_and_what_is_not_said_last(
    server: CutoutServer, ask: Callable[..., Any], tmp_path: Path
):
    tiles = [
        Tile("silent-a", exposure=None, band=None),
        Tile("raw-b", calibration=1, exposure=9000.0),
        Tile("short-c", exposure=20.0),
        Tile("long-d", exposure=300.0),
    ]
    taken = []
    for number in range(4):
        server.archive.tiles = tiles
        (row,) = ask(out=str(number))
        taken.append(_image(tmp_path / str(number), row)[1]["FILTER"])
        tiles = [tile for tile in tiles if not tile.name.endswith(taken[-1])]
    assert taken == ["d", "c", "a", "b"]


def test_an_image_with_gaps_gives_way_to_one_without(
    server: CutoutServer, ask: Callable[..., Any], tmp_path: Path
):
    x = round(Tile("").wcs.all_world2pix([[150.0, 2.5]], 0)[0][0])
    gap, whole, empty = (
        Tile("gap-r", blank=x + 5, exposure=900.0),
        Tile("whole-r", brightness=50.0),
        Tile("empty-r", blank=0, exposure=9000.0),
    )
    server.archive.tiles = [whole, gap]
    assert _image(tmp_path / "out", ask()[0])[1]["PUBDID"].endswith("whole-r")
    server.archive.tiles = [gap, empty]
    image, header = _image(tmp_path / "gap", ask(out="gap")[0])
    assert header["PUBDID"].endswith("gap-r")
    assert 0.3 < np.isnan(image).mean() < 0.45
    server.archive.tiles = [empty]
    assert (
        ask(out="empty")[0]["reason"] == "the survey has no image here: the FITS file has no measured pixel"
    )


@pytest.mark.parametrize("links", ["datalink", "file"])
def test_at_the_edge_of_an_image_the_galaxy_stays_in_the_middle(
    server: CutoutServer, ask: Callable[..., Any], tmp_path: Path, links: str
):
    server.archive.links = links
    server.archive.tiles = [Tile("edge-r", ra=150.0 - 98 / 3600)]  # 2″ of sky to the east
    image, header = _image(tmp_path / "out", ask()[0])
    assert image.shape == (40, 40)
    assert np.isnan(image[:, :15]).all()
    assert np.isfinite(image[:, 17:]).all()
    assert _centre(header, 150.0) == pytest.approx((19.5, 19.5), abs=0.51)
    assert np.unravel_index(np.nanargmax(image), image.shape) == pytest.approx((19.5, 19.5), abs=1)


@pytest.mark.parametrize(
    ("tile", "masked"),
    [
        (Tile("turned-r", angle=30.0), False),
        (Tile("round-r"), True),
        (Tile("many-r", extensions=4), False),
        (Tile("packed-r", packed=True), False),
        (Tile("packed-r", packed=True, extensions=2), False),
    ],
    ids=["turned", "blank outside the circle", "of several extensions", "packed", "packed and several"],
)
def test_files_of_all_kinds_give_whole_squares(
    server: CutoutServer, ask: Callable[..., Any], tmp_path: Path, tile: Tile, masked: bool
):
    server.archive.tiles, server.archive.masked = [tile], masked
    image, header = _image(tmp_path / "out", ask()[0])
    assert image.shape == (40, 40)
    assert np.isfinite(image).all()
    assert _centre(header, 150.0) == pytest.approx((19.5, 19.5), abs=0.51)
    assert np.unravel_index(image.argmax(), image.shape) == pytest.approx((19.5, 19.5), abs=1.5)


def test_a_whole_image_that_is_too_large_is_not_fetched(server: CutoutServer, ask: Callable[..., Any]):
    server.archive.tiles = [Tile("large-r", estimate=1_200_000)]
    server.archive.parameters = ()
    for links, requests in (("datalink", 2), ("file", 1)):
        server.archive.links = links
        before = len(server.requests)
        (row,) = ask(out=links)
        assert row["status"] == "failed"
        assert row["reason"] == (
            "the archive cuts nothing out of its image, and the whole has 1,200 MB, more than the 268 MB "
            "that are fetched"
        )
        assert len(server.requests) == before + requests


def test_what_the_archive_says_is_the_reason(server: CutoutServer, ask: Callable[..., Any]):
    server.archive.query_error = "UsageFault: no such collection"
    assert ask()[0]["reason"] == "the service says 'UsageFault: no such collection'"
    assert len(server.requests) == 1  # asking again would not help
    server.archive.query_error, server.archive.link_error = "", "NotFoundFault: moved to tape"
    assert ask(out="links")[0]["reason"] == (
        "the archive links to neither a cutout of its image nor the whole as FITS: 'NotFoundFault: moved to "
        "tape'"
    )


def test_with_answers_that_go_wrong_every_galaxy_is_there_and_limits_hold(
    server: CutoutServer, fetch: Fetch, positions: Positions, tmp_path: Path
):
    server.sky = Sky(
        fault=lambda place, attempt: (
            FAULTS[round((place[0] - 150) * 100)] if place[0] > 100 and not attempt else ""
        ),
        seconds=0.01,
        archive=Archive([Tile("wide-r", ra=150.035, scale=1.0)]),
    )
    services = server.table(tmp_path / "limits.yaml", connections=2, rate=40.0)
    request = {"kind": "fits", "arcsec": 20.0, "service": services, "patience": CALM}
    done = fetch(positions(8), survey=server.archive.service, **request)
    assert done.counts == {"fetched": 8}
    least = 8 * 3 + 2 * 8  # each query and each cutout went wrong once
    assert least <= len(server.requests) <= least + 4  # a connection that was closed may be tried in vain
    assert server.most_under_way <= 2
    assert server.most_in_a_second() <= 41


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html><html><title>Down</title></html>", "sent a web page in place of a list of images"),
        (b"nothing", "sent something that is no list of images"),
        (
            b'<!DOCTYPE VOTABLE [<!ENTITY a "b">]><VOTABLE/>',
            "sent something that is no list of images (it: declares elements or entities of its own",
        ),
        (
            b'<VOTABLE><RESOURCE><TABLE nrows="999999999"><FIELD name="a" datatype="double"/></TABLE>',
            "sent something that is no list of images (it: declares 999,999,999 rows of 8 bytes",
        ),
        (
            b'<VOTABLE><RESOURCE><TABLE><FIELD name="a" datatype="int"/><DATA><BINARY><STREAM '
            b'href="http://example.org/"/></BINARY></DATA></TABLE></RESOURCE></VOTABLE>',
            "sent something that is no list of images (it: has its data at 'http://example.org/'",
        ),
    ],
)
def test_an_answer_that_is_no_list_of_images_is_one_sentence(
    server: CutoutServer,
    ask: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
    words: str,
):
    monkeypatch.setattr(Archive, "answer", lambda *_: (200, content, "text/xml"))
    row = ask(patience=Patience(attempts=2, pause=0.01))[0]
    assert row["status"] == "failed"
    assert words in row["reason"]


def test_addresses_at_hosts_of_this_machine_are_not_followed(server: CutoutServer, ask: Callable[..., Any]):
    server.archive.elsewhere = f"http://localhost:{server.port}"
    assert ask()[0]["reason"] == ("the service names an address at 'localhost', which is none of its hosts")
    assert len(server.requests) == 1
    private = (
        "localhost",
        "a.localhost",
        "nas.local",
        "127.0.0.1",
        "10.1.2.3",
        "::1",
        "169.254.1.1",
        "0x7f.1",
        "1.0x7f",
    )
    assert not any(map(is_public, (*private, "", "intranet")))
    assert all(map(is_public, ("ws-uv.canfar.net", "archive.eso.org.", "8.8.8.8")))


@pytest.mark.parametrize(
    "survey", ["sia2", "sia2:", "sia2:ws.cadc.ca/query", "sia2:ftp://a.org/", "sia2:https://a b.org/"]
)
def test_an_address_was_expected(fetch: Fetch, positions: Positions, survey: str):
    with pytest.raises(
        UsageError, match=re.escape(f"--survey {survey}: the address of an archive's queries")
    ):
        fetch(positions(1), survey=survey, kind="fits")


def test_pictures_in_colour_are_not_to_be_had(server: CutoutServer, ask: Callable[..., Any]):
    with pytest.raises(UsageError, match="has no jpg files, only fits; pass --format fits"):
        ask(kind="jpg")


def test_a_table_of_ones_own_has_archives_with_their_limits(tmp_path: Path):
    form = {"protocol": "sia2", "address": "https://a.org/sia2?X={X}", "pixels": [1, 900], "resampled": False}
    mine = {"title": "mine", "scale": 0.2, "arcsec": 30, "bands": "gri", "connections": 1, "rate": 1}
    mine |= {"formats": {"fits": form}, "hosts": ["a.org"]}
    text = yaml.safe_dump({"format_version": 1, "services": {"mine": mine}})
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(
        MorphoscopeError, match="an archive's images have no index, their own pixels, and a file"
    ):
        find_service("mine", tmp_path / "mine.yaml")
    (tmp_path / "own.yaml").write_text(
        text.replace("resampled: false", "resampled: false\n        per_band: true")
    )
    service = find_service("mine", tmp_path / "own.yaml")
    assert service.chosen_bands("fits", ("r",)) == ("r",)
    with pytest.raises(UsageError, match="mine has no band 'z'"):
        service.chosen_bands("fits", ("z",))


def test_without_pyvo_one_sentence_says_how_to_install_it(
    ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(extras, "installed", lambda package: package != "pyvo")
    with pytest.raises(MissingExtra, match=r"needs pyvo, which is not installed; .*'morphoscope\[cutouts\]'"):
        ask()


def test_the_side_is_measured_from_a_wide_cutout(server: CutoutServer, ask: Callable[..., Any]):
    server.archive.tiles = [Tile("wide-r", ra=150.0, pixels=800)]
    (row,) = ask(arcsec="measured")
    assert 5 < row["galaxy_arcsec"] < 40
    assert row["arcsec"] == pytest.approx(row["galaxy_arcsec"] / 0.4, abs=0.01)


@pytest.mark.parametrize("bands", [None, "r", "g,r,i"])
def test_positions_become_a_catalogue(
    server: CutoutServer, positions: Positions, tmp_path: Path, bands: str | None
):
    finer = replace(Tile("one-g", band=GREEN), scale=0.25, pixels=800)  # the bands have pixels of their own
    server.archive.tiles = [
        finer,
        Tile("one-r", band=RED, exposure=900.0),
        Tile("one-i", band=INFRARED, angle=20.0),
    ]
    out = tmp_path / "catalogue.parquet"
    words = ["predict", "default", "--positions", str(positions(6)), "--survey", server.archive.service]
    words += [
        "--service",
        str(server.table(tmp_path / "services.yaml")),
        "--cutout-arcsec",
        "20",
        "--out",
        str(out),
    ]
    result = CliRunner().invoke(cli.app, [*words, *(("--bands", bands) if bands else ())])
    rows = pq.read_table(out).to_pylist()
    assert result.exit_code == 1, result.output  # one is outside
    assert [row["probability"] is not None for row in rows] == [True] * 5 + [False]
    assert rows[5]["quality"].startswith("outside:")


def test_a_square_of_more_pixels_than_allowed_is_refused_before_it_is_made():
    with pytest.raises(MorphoscopeError, match=r"100″ are 200 pixels of this image, more than the 150"):
        square_of(Tile("one-r").file(), Frame(150.02, 2.5, 100.0, 1), 150)
