from __future__ import annotations

import json

import numpy as np
import pytest

from morphoscope.data.splits.split import load_split, make_split
from morphoscope.errors import MorphoscopeError, UsageError

LABELS = np.repeat([0, 1, 2, -1], [120, 60, 30, 10])


@pytest.fixture
def store(table_store):
    return table_store(LABELS, ra=np.arange(220.0))


@pytest.mark.parametrize("name", ["sky-grouped", "ng", "fu"])
def test_a_saved_split_comes_back_whole(store, tmp_path, name: str) -> None:
    split = make_split(store, name, seed=7)
    split.save(tmp_path / "split.json")
    again = load_split(tmp_path / "split.json", store)
    assert (again.name, again.seed, again.count) == (name, 7, 220)
    assert again.fingerprint == split.fingerprint
    for part in ("train", "validation", "test"):
        assert getattr(again, part).tolist() == getattr(split, part).tolist()
        assert getattr(again, part).dtype == np.int64


def test_the_file_is_small_and_tells_its_sizes(store, tmp_path) -> None:
    split = make_split(store)
    split.save(tmp_path / "split.json")
    text = (tmp_path / "split.json").read_text(encoding="utf-8")
    assert len(text) < 1000
    assert json.loads(text)["sizes"] == {"train": 147, "validation": 21, "test": 42}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["split.json"]


def test_the_same_split_gives_the_same_bytes(store, tmp_path) -> None:
    for name in "ab":
        make_split(store, seed=3).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_an_edited_split_is_refused(store, tmp_path) -> None:
    path = tmp_path / "split.json"
    make_split(store).save(path)
    text = path.read_text(encoding="utf-8")
    line = json.loads(text)["galaxies"][0]
    place = line.index("s")
    path.write_text(text.replace(line, line[:place] + "t" + line[place + 1 :]), encoding="utf-8")
    with pytest.raises(MorphoscopeError, match=r"split\.json: the split was edited or damaged"):
        load_split(path, store)


def test_a_split_of_other_galaxies_is_refused(store, table_store, tmp_path) -> None:
    path = tmp_path / "split.json"
    make_split(store).save(path)
    longer = table_store(np.append(LABELS, 0), ra=np.arange(221.0), name="longer")
    elsewhere = table_store(LABELS, ra=np.arange(220.0) + 0.5, name="elsewhere")
    for other, count in ((longer, 221), (elsewhere, 220)):
        with pytest.raises(UsageError, match=f"220 other galaxies; the {count} of {other.path}"):
            load_split(path, other)


def test_new_labels_and_pixels_keep_the_split(store, table_store, tmp_path) -> None:
    make_split(store).save(tmp_path / "split.json")
    relabelled = table_store(LABELS[::-1].copy(), ra=np.arange(220.0), pixels=["same"] * 220)
    assert load_split(tmp_path / "split.json", relabelled).count == 220


@pytest.mark.parametrize("text", ["", "{", "\x00\x01"])
def test_a_file_that_is_no_json_is_refused(store, tmp_path, text: str) -> None:
    path = tmp_path / "split.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(MorphoscopeError, match=r"split\.json is damaged: a split file"):
        load_split(path, store)


def test_other_files_and_no_file_are_refused(store, tmp_path) -> None:
    with pytest.raises(UsageError, match="the split file cannot be read"):
        load_split(tmp_path / "absent.json", store)
    (tmp_path / "other.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(UsageError, match=r"other\.json is not a split file"):
        load_split(tmp_path / "other.json", store)


def test_missing_parts_and_newer_formats_are_refused(store, tmp_path) -> None:
    path = tmp_path / "split.json"
    make_split(store).save(path)
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | {"format_version": 99}), encoding="utf-8")
    with pytest.raises(MorphoscopeError, match="format 99, made by a newer morphoscope"):
        load_split(path, store)
    del content["sha256"]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(MorphoscopeError, match="not a complete split file"):
        load_split(path, store)
