"""Maps of the features by UMAP: made in a process beside the server, kept, and refused without the extra."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from morphoscope.errors import UsageError
from morphoscope.explorer import feature_maps, umap_process
from morphoscope.explorer.neighbours import selection
from morphoscope.explorer.umap_process import umap_places
from morphoscope.extras import MissingExtra


def made(client, **asked: object) -> tuple[dict, list[dict]]:
    """The map once it is made, and what was said before."""
    said = []
    for _ in range(600):
        answer = client.get("/api/charts/features", params={"method": "umap", **asked})
        document = answer.json()
        if "progress" not in document:
            return document, said
        said.append(document["progress"])
        time.sleep(0.1)
    raise AssertionError(f"no map was made: {said[-1]}")


def test_without_the_extra_one_sentence_says_how_to_get_it(
    client, client_of: Callable, catalogue: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("morphoscope.extras.installed", lambda package: package != "umap")
    answer = client.get("/api/charts/features", params={"method": "umap"})
    assert answer.status_code == 422
    assert answer.json()["error"] == (
        "a map by UMAP needs umap, which is not installed; install with: pip install 'morphoscope[umap]'"
    )
    assert client.get("/api/charts/features").json()["total"] == 150  # the other map is there
    with pytest.raises(MissingExtra, match=r"morphoscope\[umap\]"):
        client_of(catalogue, feature_map="umap")


@pytest.mark.parametrize(
    ("method", "sentence"), [("tsne", "no map by 'tsne'"), ("umpa", "did you mean 'umap'")]
)
def test_maps_that_there_are_not(client, client_of: Callable, catalogue: Path, method: str, sentence: str):
    answer = client.get("/api/charts/features", params={"method": method})
    assert answer.status_code == 400
    assert sentence in answer.json()["error"]
    with pytest.raises(UsageError, match=sentence):
        client_of(catalogue, feature_map=method)


def test_a_map_is_made_beside_the_server_and_its_columns_are_like_others(
    client_of: Callable, catalogue: Path, stand_in: Callable
):
    stand_in(seconds=0.5)
    client = client_of(catalogue, feature_map="umap")
    assert client.get("/api/subject").json()["featureMap"] == "umap"
    early = client.get("/api/page", params={"filter": "umap_x > 0"})
    assert early.status_code == 422
    assert "is being made" in early.json()["error"]
    found, said = made(client)
    assert {"Arranging 150 galaxies"} <= {each["what"] for each in said}
    assert all(each["seconds"] >= 0 for each in said)
    assert found["total"] == len(found["points"]) == 150
    x = sorted(point[1] for point in found["points"])
    some = client.get("/api/page", params={"filter": f"umap_x >= {x[100]}", "sort": "umap_y"}).json()
    assert some["total"] == pytest.approx(50, abs=1)
    names = [column["name"] for column in client.get("/api/subject").json()["columns"]]
    assert {"umap_x", "umap_y"} <= set(names)
    both = client.get("/api/charts/features").json()  # by principal components, beside it
    assert both["total"] == 150
    assert both["points"] != found["points"]


@pytest.mark.slow  # three processes
def test_a_map_is_kept_for_the_next_time(client_of: Callable, catalogue: Path, stand_in: Callable):
    stand_in()
    first, _ = made(client_of(catalogue))
    stand_in(fails=True)  # it would say so if it were asked again
    again, _ = made(client_of(catalogue))
    assert again["points"] == first["points"]


def test_a_map_that_cannot_be_made_says_why(client_of: Callable, catalogue: Path, stand_in: Callable):
    stand_in(fails=True)
    found, _ = made(client_of(catalogue))
    assert found == {"error": "UMAP failed (the stand-in fails)"}


def test_the_process_ends_with_the_explorer(client_of: Callable, catalogue: Path, stand_in: Callable):
    from morphoscope.explorer.server import Request
    from morphoscope.explorer.state import State

    stand_in(seconds=60)
    state = State.open(Request(catalogue, feature_map="umap"))
    for _ in range(300):
        if state.feature_maps._process is not None:
            break
        time.sleep(0.1)
    process = state.feature_maps._process
    assert process is not None
    assert process.poll() is None
    state.close()
    assert process.poll() is not None
    assert not state.subject.table.folder.exists()


def test_a_filter_by_principal_components_makes_them_first(client_of: Callable, catalogue: Path):
    """Somebody else's address names them before anybody here has looked at the map."""
    client = client_of(catalogue)
    assert client.get("/api/page", params={"filter": "feature_x > 0"}).json()["total"] > 10
    assert client.get("/api/page", params={"sort": "feature_y", "count": 3}).status_code == 200


def blobs(count: int) -> np.ndarray:
    """Two groups, far apart."""
    rng = np.random.default_rng(0)
    return (rng.normal(0, 0.1, (count, 6)) + np.eye(6)[np.arange(count) % 2] + 0.2).astype(np.float32)


def in_blocks(features_ND: np.ndarray) -> Callable:
    return lambda: ((at, features_ND[at : at + 32]) for at in range(0, len(features_ND), 32))


def in_silence(*_: object) -> None:
    pass


@pytest.fixture
def few_laid_out(monkeypatch: pytest.MonkeyPatch, stand_in: Callable) -> int:
    """Most galaxies are placed among others."""
    monkeypatch.setattr(umap_process, "LAID_OUT", 40)
    stand_in()
    return 40


def test_most_galaxies_are_placed_among_their_group(few_laid_out: int):
    said: list[tuple] = []
    features_ND = blobs(150)
    places_N2 = umap_places(in_blocks(features_ND), 150, lambda *each: said.append(each))
    assert places_N2.shape == (150, 2)
    assert np.isfinite(places_N2).all()
    laid_out_N = selection(150, few_laid_out)
    for group in (0, 1):  # within the group's part of the map, not between the groups
        of_group_N = np.arange(150) % 2 == group
        laid_out, placed = places_N2[of_group_N & laid_out_N], places_N2[of_group_N & ~laid_out_N]
        assert len(placed) > 40
        assert (placed >= laid_out.min(axis=0)).all()
        assert (placed <= laid_out.max(axis=0)).all()
    done = [done for what, done, of in said if what == "Placing the other galaxies" and of == 110]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, 110)
    assert ("Arranging 40 galaxies", 0, 0) in said


def test_the_same_features_give_the_same_map_however_they_are_read(few_laid_out: int):
    features_ND = blobs(150)
    first, again = (umap_places(in_blocks(features_ND), 150, in_silence) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    at_once = umap_places(lambda: [(0, features_ND)], 150, in_silence)
    np.testing.assert_allclose(at_once, first, atol=1e-5)


def test_a_galaxy_with_the_features_of_a_laid_out_one_lands_on_it(few_laid_out: int):
    laid_out_N = selection(150, few_laid_out)
    here, there = np.flatnonzero(laid_out_N)[7], np.flatnonzero(~laid_out_N)[-1]
    features_ND = blobs(150)
    features_ND[there] = 3 * features_ND[here]  # as similar as can be: only the direction counts
    places_N2 = umap_places(in_blocks(features_ND), 150, in_silence)
    np.testing.assert_array_equal(places_N2[there], places_N2[here])


def test_galaxies_without_features_are_one_place(few_laid_out: int):
    laid_out_N = selection(150, few_laid_out)
    features_ND = blobs(150)
    without = [*np.flatnonzero(laid_out_N)[:2], *np.flatnonzero(~laid_out_N)[:3]]
    features_ND[without] = 0
    places_N2 = umap_places(in_blocks(features_ND), 150, in_silence)
    assert np.isfinite(places_N2).all()
    assert np.ptp(places_N2[without], axis=0).max() < 1e-6


def test_a_map_of_just_those_that_are_laid_out(few_laid_out: int):
    said: list[tuple] = []
    places_N2 = umap_places(in_blocks(blobs(40)), 40, lambda *each: said.append(each))
    assert np.isfinite(places_N2).all()
    assert "Placing the other galaxies" not in {what for what, *_ in said}


def test_a_selection_of_a_periodic_catalogue_has_all_of_its_classes():
    chosen_N = selection(10_000, 500)
    assert chosen_N.sum() == 500
    np.testing.assert_array_equal(chosen_N, selection(10_000, 500))
    assert np.bincount(np.flatnonzero(chosen_N) % 20, minlength=20).min() > 5
    assert selection(400, 500).all()


def test_too_few_galaxies_for_a_map():
    from morphoscope.errors import MorphoscopeError

    with pytest.raises(MorphoscopeError, match="at least 10 galaxies, not 4"):
        umap_places(in_blocks(blobs(4)), 4, in_silence)


def test_a_damaged_map_that_was_kept_is_made_again(tmp_path: Path):
    path = tmp_path / "maps" / "a.npy"
    umap_process.keep(path, np.ones((5, 2), np.float32))
    assert umap_process.kept_places(path, 5) is not None
    assert umap_process.kept_places(path, 6) is None
    path.write_bytes(path.read_bytes()[:-3])
    assert umap_process.kept_places(path, 5) is None
    for number in range(umap_process.KEPT + 3):
        umap_process.keep(tmp_path / "maps" / f"{number}.npy", np.ones((5, 2), np.float32))
    assert len(list(path.parent.iterdir())) == umap_process.KEPT


@pytest.mark.slow  # its loops are compiled first
def test_umap_itself_keeps_groups_together(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("umap")
    monkeypatch.setattr(umap_process, "LAID_OUT", 70)
    features_ND = blobs(200)
    first, again = (umap_places(in_blocks(features_ND), 200, in_silence) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    centres_22 = np.array([first[k::2].mean(axis=0) for k in range(2)])
    nearest_N = np.linalg.norm(first[:, None] - centres_22, axis=2).argmin(axis=1)
    assert (nearest_N == np.arange(200) % 2).mean() > 0.98


def test_what_the_process_says_is_told_from_what_others_print():
    lines = ["a warning\n", '{"what": "Reading", "done": 1, "of": 2}\n', "[1]\n"]
    assert list(umap_process.lines_of(lines)) == [{"what": "Reading", "done": 1, "of": 2}]


def test_the_columns_of_each_map():
    assert set(feature_maps.COLUMNS) == set(feature_maps.METHODS)
