from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from morphoscope.data.sources.galaxy_zoo import ingest_galaxy_zoo
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.labels.five_class import FIVE_CLASS
from morphoscope.labels.scheme import GALAXY_ZOO_2_VOTES
from morphoscope.labels.tree import GALAXY_ZOO_2

TRAINING, TEST, SOLUTIONS = "images_training_rev1", "images_test_rev1", "training_solutions_rev1"
IDS = (100008, 100023, 100053, 99, 100078)


def jpeg(galaxy: int) -> bytes:
    image = np.full((24, 24, 3), galaxy % 251, np.uint8)
    return cv2.imencode(".jpg", image)[1].tobytes()


def votes(galaxy: int) -> list[float]:
    """A galaxy whose votes obey the tree: everyone who is asked says the same."""
    conditional = np.zeros(37)
    for question, part in enumerate(GALAXY_ZOO_2.slices):
        conditional[part][(galaxy + question) % (part.stop - part.start)] = 1.0
    return GALAXY_ZOO_2.cumulative(conditional[None])[0].tolist()


def solutions(ids: tuple[int, ...] = IDS, **columns: float) -> str:
    lines = ["GalaxyID," + ",".join(GALAXY_ZOO_2.columns)]
    for galaxy in ids:
        row = dict(zip(GALAXY_ZOO_2.columns, votes(galaxy), strict=True)) | columns
        lines.append(",".join([str(galaxy), *(repr(value) for value in row.values())]))
    return "\n".join(lines) + "\n"


@pytest.fixture
def kaggle(tmp_path: Path) -> Path:
    root = tmp_path / "kaggle"
    for part, ids in ((TRAINING, IDS), (TEST, (200001, 200002))):
        (root / part).mkdir(parents=True)
        for galaxy in ids:
            (root / part / f"{galaxy}.jpg").write_bytes(jpeg(galaxy))
    (root / f"{SOLUTIONS}.csv").write_text(solutions())
    return root


def zip_parts(root: Path, where: Path, *, method: int = zipfile.ZIP_DEFLATED) -> Path:
    """The zip files that Kaggle serves, each with its folder inside."""
    where.mkdir()
    for part in (TRAINING, TEST):
        with zipfile.ZipFile(where / f"{part}.zip", "w", method) as file:
            file.writestr(f"{part}/", "")
            for path in sorted((root / part).iterdir()):
                file.write(path, f"{part}/{path.name}")
            file.writestr(f"__MACOSX/{part}/._{IDS[0]}.jpg", b"junk")
    with zipfile.ZipFile(where / f"{SOLUTIONS}.zip", "w", method) as file:
        file.write(root / f"{SOLUTIONS}.csv", f"{SOLUTIONS}.csv")
    return where


def assert_same(store, expected) -> None:
    assert sorted(store.column("id").tolist()) == sorted(expected.column("id").tolist())
    order = [store.column("id").tolist().index(galaxy) for galaxy in expected.column("id")]
    assert np.array_equal(store.images[order], expected.images)
    assert np.array_equal(store.targets()[order], expected.targets())


def test_votes_from_the_folder(kaggle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    store = ingest_galaxy_zoo(kaggle, tmp_path / "s")
    assert store.scheme == GALAXY_ZOO_2_VOTES
    assert sorted(store.column("id").tolist()) == sorted(str(galaxy) for galaxy in IDS)
    for row, galaxy in enumerate(store.column("id")):
        assert store.targets()[row] == pytest.approx(votes(int(galaxy)))
        assert abs(int(store.images[row, 0, 0, 0]) - int(galaxy) % 251) <= 1
    assert store.meta.pixel_scale is None
    assert capsys.readouterr().err == ""


def test_counts_as_if_some_volunteers_had_voted_so(kaggle: Path, tmp_path: Path):
    fractions = ingest_galaxy_zoo(kaggle, tmp_path / "s")
    store = ingest_galaxy_zoo(kaggle, tmp_path / "c", scheme="vote-counts", volunteers=40)
    scheme, counts = store.need_scheme(), store.targets()
    assert scheme.model_dump()["volunteers"] == 40
    asked = np.add.reduceat(counts, [piece.start for piece in GALAXY_ZOO_2.slices], axis=1)
    assert asked[:, 0].tolist() == [40] * len(store)
    assert set(asked.ravel()) == {0, 40}  # everyone says the same
    # Kaggle has the question about odd features sum to 1 even where nobody is asked
    expected = 40 * fractions.targets()
    unasked = counts[:, 2] == 40
    expected[unasked, 13:15] = 0
    expected[unasked, 18:25] = 0
    np.testing.assert_allclose(counts, expected, atol=1e-4)
    for options in (
        {"scheme": "vote-counts"},
        {"volunteers": 40},
        {"scheme": "vote-counts", "volunteers": 0},
    ):
        with pytest.raises(UsageError, match="--scheme vote-counts needs --volunteers N"):
            ingest_galaxy_zoo(kaggle, tmp_path / "d", **options)


def test_zip_files_give_the_same(kaggle: Path, tmp_path: Path):
    expected = ingest_galaxy_zoo(kaggle, tmp_path / "s")
    parts = zip_parts(kaggle, tmp_path / "zips")
    before = sorted(parts.iterdir())
    for number, source in enumerate((parts, parts / f"{TRAINING}.zip", kaggle / TRAINING)):
        assert_same(ingest_galaxy_zoo(source, tmp_path / f"s{number}"), expected)
    assert sorted(parts.iterdir()) == before  # nothing was unpacked


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("inner", ["zips", "folders"])
def test_the_outer_zip_gives_the_same(kaggle: Path, tmp_path: Path, method: int, inner: str):
    outer = tmp_path / "downloads" / "galaxy-zoo-the-galaxy-challenge.zip"
    outer.parent.mkdir()
    source = zip_parts(kaggle, tmp_path / "zips") if inner == "zips" else kaggle
    with zipfile.ZipFile(outer, "w", method) as file:
        for path in sorted(source.rglob("*")):
            if path.is_file():
                name = path.relative_to(source)
                # Kaggle's newer layout: folders of the same name inside each other.
                file.write(path, name if name.parent == Path() else name.parent / name)
    expected = ingest_galaxy_zoo(kaggle, tmp_path / "s")
    assert_same(ingest_galaxy_zoo(outer, tmp_path / "t"), expected)
    assert_same(ingest_galaxy_zoo(outer.parent, tmp_path / "u"), expected)


def test_test_images_make_a_store_without_labels(kaggle: Path, tmp_path: Path):
    parts = zip_parts(kaggle, tmp_path / "zips")
    alone = tmp_path / "alone"
    alone.mkdir()
    (kaggle / TEST).rename(alone / TEST)
    for number, source in enumerate((alone, alone / TEST, parts / f"{TEST}.zip")):
        store = ingest_galaxy_zoo(source, tmp_path / f"s{number}")
        assert store.scheme is None
        assert store.column("id").tolist() == ["200001", "200002"]
    store = ingest_galaxy_zoo(kaggle, tmp_path / "none", scheme="none")
    assert store.scheme is None
    assert len(store) == len(IDS)


def test_five_classes_from_votes(kaggle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    columns = dict.fromkeys(GALAXY_ZOO_2.columns, 0.0)
    answered = {
        100008: "1.1 7.1 6.2",
        100023: "1.2 2.1 9.1 6.2",
        100053: "1.2 2.2 3.2 4.1 10.1 11.1 5.1 6.2",
        99: "1.3 6.2",
    }
    rows = {g: {f"Class{answer}": 1 for answer in answers.split()} for g, answers in answered.items()}
    lines = ["GalaxyID," + ",".join(columns)]
    lines += [
        ",".join([str(galaxy), *(str(value) for value in (columns | row).values())])
        for galaxy, row in rows.items()
    ]
    (kaggle / f"{SOLUTIONS}.csv").write_text("\n".join(lines))
    store = ingest_galaxy_zoo(kaggle, tmp_path / "s", scheme="five-class")
    assert store.scheme == FIVE_CLASS
    found = dict(zip(store.column("id").tolist(), store.targets().tolist(), strict=True))
    assert found == {"100008": 0, "100023": 3, "100053": 4}
    said = capsys.readouterr().err
    assert "2 of 5 images have no label (1 galaxies of the table are in none of the classes)" in said
    kept = ingest_galaxy_zoo(kaggle, tmp_path / "t", scheme="five-class", unmatched="keep")
    assert sorted(kept.targets().tolist()) == [-1, -1, 0, 3, 4]


def test_five_classes_from_a_list(kaggle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    labels = tmp_path / "labels.csv"
    labels.write_text("GalaxyID,Label\n100008,4\n99,Edge-on\n5,1\n100023,\n")
    store = ingest_galaxy_zoo(kaggle, tmp_path / "s", scheme="five-class", labels=labels)
    found = dict(zip(store.column("id").tolist(), store.targets().tolist(), strict=True))
    assert found == {"100008": 4, "99": 3}
    said = capsys.readouterr().err
    assert "3 of 5 images have no label" in said
    assert "1 of 3 labels have no image; both are left out" in said
    assert store.meta.options["labels"] == "labels.csv"
    with pytest.raises(MorphoscopeError, match=r"3 of 5 images have no label.*for example galaxy"):
        ingest_galaxy_zoo(kaggle, tmp_path / "t", scheme="five-class", labels=labels, unmatched="error")
    labels.write_text("GalaxyID,Label\n100008,5\n")
    with pytest.raises(MorphoscopeError, match=r"labels\.csv: the Label of galaxy 100008 is '5'; 0 to 4"):
        ingest_galaxy_zoo(kaggle, tmp_path / "t", scheme="five-class", labels=labels)
    labels.write_text("GalaxyID,Label\n100008,1\n100008,2\n")
    with pytest.raises(MorphoscopeError, match="galaxy 100008 has more than one row"):
        ingest_galaxy_zoo(kaggle, tmp_path / "t", scheme="five-class", labels=labels)


def test_votes_that_break_the_tree_are_named(kaggle: Path, tmp_path: Path):
    (kaggle / f"{SOLUTIONS}.csv").write_text(solutions(**{"Class6.1": 0.5, "Class6.2": 0.4}))
    with pytest.raises(MorphoscopeError, match=r"training_solutions_rev1\.csv: .*100008.*Q6"):
        ingest_galaxy_zoo(kaggle, tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_bad_solutions_are_named(kaggle: Path, tmp_path: Path):
    path = kaggle / f"{SOLUTIONS}.csv"
    whole = path.read_text()
    path.write_text(whole.replace("Class7.2", "Klass7.2"))
    with pytest.raises(UsageError, match=r"has no column 'Class7\.2' \(did you mean"):
        ingest_galaxy_zoo(kaggle, tmp_path / "s")
    path.write_text(whole.replace("1.0", "many", 1))
    with pytest.raises(MorphoscopeError, match=r"row 1 of column 'Class\d+\.\d' is 'many'; a number"):
        ingest_galaxy_zoo(kaggle, tmp_path / "s")
    path.write_text("")
    with pytest.raises(MorphoscopeError, match="the table has no rows"):
        ingest_galaxy_zoo(kaggle, tmp_path / "s")
    path.write_text(solutions((1, 2, 3)))
    with pytest.raises(MorphoscopeError, match="none of the 5 images has one of the 3 labels"):
        ingest_galaxy_zoo(kaggle, tmp_path / "s")
    path.unlink()
    with pytest.raises(UsageError, match=r"has training images but no training_solutions_rev1\*"):
        ingest_galaxy_zoo(kaggle, tmp_path / "s")


def test_bad_sources_are_named(kaggle: Path, tmp_path: Path):
    with pytest.raises(UsageError, match=r"nowhere: no such folder or zip file"):
        ingest_galaxy_zoo(tmp_path / "nowhere", tmp_path / "s")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="has neither images_training_rev1 nor images_test_rev1"):
        ingest_galaxy_zoo(tmp_path / "empty", tmp_path / "s")
    with pytest.raises(UsageError, match=r"--scheme vote: unknown value \(did you mean 'votes'"):
        ingest_galaxy_zoo(kaggle, tmp_path / "s", scheme="vote")
    parts = zip_parts(kaggle, tmp_path / "zips")
    cut = parts / f"{TRAINING}.zip"
    cut.write_bytes(cut.read_bytes()[:-40])
    with pytest.raises(MorphoscopeError, match=r"images_training_rev1\.zip: is truncated or not a zip file"):
        ingest_galaxy_zoo(parts, tmp_path / "s")


def test_a_damaged_image_in_a_zip_is_listed(kaggle: Path, tmp_path: Path):
    parts = zip_parts(kaggle, tmp_path / "zips", method=zipfile.ZIP_STORED)
    path = parts / f"{TRAINING}.zip"
    content = path.read_bytes()
    image = jpeg(100053)
    assert image in content
    path.write_bytes(content.replace(image, bytes(len(image))))
    store = ingest_galaxy_zoo(parts, tmp_path / "s")
    assert len(store) == len(IDS) - 1
    assert "100053.jpg" in (tmp_path / "s" / "unreadable.csv").read_text()


@pytest.mark.slow
def test_the_real_five_classes(shared_data: Path, tmp_path: Path):
    source = shared_data / "galaxy_zoo_challenge"
    store = ingest_galaxy_zoo(
        source, tmp_path / "s", scheme="five-class", labels=source / "five_class_labels_27675.csv", size=16
    )
    assert len(store) == 2224
    assert np.bincount(store.targets()).tolist() == [535, 491, 42, 226, 930]


def test_the_real_votes_and_test_images(shared_data: Path, tmp_path: Path):
    source = shared_data / "galaxy_zoo_challenge"
    store = ingest_galaxy_zoo(source, tmp_path / "s", crop=212, size=16)
    assert len(store) == 168
    assert store.labelled().all()
    assert GALAXY_ZOO_2.sum_errors(store.targets().astype(float)).max() < 1e-3
    assert len(ingest_galaxy_zoo(source / TEST, tmp_path / "t", size=16)) == 200
