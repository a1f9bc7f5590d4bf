from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from PIL import Image

from morphoscope import cli
from morphoscope.catalogue.active_learning import SCHEMA, k_centre, label_next
from morphoscope.catalogue.formats.write import target_of, write_catalogue
from morphoscope.data.sources.table import ingest_table
from morphoscope.errors import MorphoscopeError, UsageError

COUNT = 12
ENTROPY = np.linspace(0.0, 1.1, COUNT)[np.random.default_rng(1).permutation(COUNT)].astype(np.float32)
DISAGREEMENT = np.roll(ENTROPY, 5)
FEATURES = np.random.default_rng(2).normal(size=(COUNT, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labelling") / "images"
    folder.mkdir()
    for row in range(COUNT):
        Image.fromarray(np.full((8, 8, 3), 20 * row, np.uint8)).save(folder / f"g{row}.png")
    return folder


def catalogue(folder: Path, images: Path, *, ending: str = ".parquet", without: tuple[str, ...] = ()) -> Path:
    spiral = 0.5 + 0.5 * np.exp(-ENTROPY)
    table = pa.table(
        {
            "id": [f"g{row}" for row in range(COUNT)],
            "source": [f"g{row}.png" for row in range(COUNT)],
            "ra": np.arange(COUNT, dtype=float),
            "dec": pa.array([None, *map(float, range(1, COUNT))], pa.float64()),
            "p_Barred_Spiral": spiral.astype(np.float32),
            "p_Smooth": (1 - spiral).astype(np.float32),
            "entropy": ENTROPY,
            "mutual_information": DISAGREEMENT,
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(FEATURES.ravel()), 3),
        }
    )
    table = table.drop_columns([*without, *([] if ending == ".parquet" else ["embedding"])])
    out = folder / f"catalogue{ending}"
    write_catalogue(target_of(out), table, {"source": str(images)})
    return out


def new_ids(table: pa.Table, number: int = 1) -> list[str]:
    return [row["id"] for row in table.to_pylist() if row["round"] == number]


def ordered(scores: np.ndarray) -> list[str]:
    return [f"g{row}" for row in np.argsort(-scores)]


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".fits", ".vot"])
def test_the_least_certain_come_first_in_any_format(tmp_path: Path, images: Path, ending: str) -> None:
    found = label_next(catalogue(tmp_path, images, ending=ending), 4, by="entropy")
    assert (found.round, found.new, found.by) == (1, 4, "entropy")
    assert new_ids(found.table) == ordered(ENTROPY)[:4]
    first = found.table.to_pylist()[0]
    row = int(np.argmax(ENTROPY))
    assert first["score"] == pytest.approx(ENTROPY[row])
    assert first["ra"] == row
    assert first["reason"].startswith("entropy 1.100 nats: Barred Spiral 0.67 or Smooth 0.33")
    assert first["label"] is None
    if ending != ".csv":
        assert first["path"] == str((images / f"g{row}.png").resolve())


def test_disagreement_is_the_default_where_the_catalogue_has_it(tmp_path: Path, images: Path) -> None:
    found = label_next(catalogue(tmp_path, images), 3)
    assert found.by == "bald"
    assert new_ids(found.table) == ordered(DISAGREEMENT)[:3]
    assert label_next(catalogue(tmp_path, images, without=("mutual_information",)), 3).by == "entropy"


def test_a_core_set_takes_the_farthest_from_all_taken_before(tmp_path: Path, images: Path) -> None:
    made = catalogue(tmp_path, images)
    known = tmp_path / "known.csv"
    known.write_text("id,label\ng3,spiral\ng7,smooth\nfrom-elsewhere,smooth\n")
    found = label_next(made, 4, by="coreset", labelled=known)
    taken = [3, 7]
    for _ in range(4):  # by brute force
        distances = np.linalg.norm(FEATURES[:, None] - FEATURES[taken], axis=2).min(axis=1)
        taken.append(int(np.argmax(distances)))
    assert new_ids(found.table) == [f"g{row}" for row in taken[2:]]
    assert found.table.to_pylist()[3]["score"] == pytest.approx(
        np.linalg.norm(FEATURES[taken[2]] - FEATURES[[3, 7]], axis=1).min(), rel=1e-4
    )


def test_without_labels_a_core_set_begins_in_the_middle() -> None:
    features = np.array([[0.0], [10.0], [4.0], [5.5]])
    chosen, distances = k_centre(features, np.empty((0, 1)), 9)
    assert chosen.tolist() == [3, 0, 1, 2]
    assert distances.tolist() == pytest.approx([0.625, 5.5, 4.5, 1.5])


def test_random_galaxies_depend_on_the_seed_alone(tmp_path: Path, images: Path) -> None:
    made = catalogue(tmp_path, images)
    draws = [new_ids(label_next(made, 5, by="random", seed=seed).table) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    assert len(set(draws[0])) == 5


def test_rounds_are_kept_and_come_back_as_a_store(tmp_path: Path, images: Path) -> None:
    made, first, second = catalogue(tmp_path, images), tmp_path / "1.csv", tmp_path / "2.csv"
    label_next(made, 4, by="entropy", out=first)
    rows = pyarrow.csv.read_csv(first).to_pylist()
    given = ["smooth", "spiral", "smooth", None]  # one could not be told
    for row, label in zip(rows, given, strict=True):
        row["label"] = label
    pyarrow.csv.write_csv(pa.Table.from_pylist(rows), first)
    found = label_next(made, 3, by="entropy", labelled=[first], out=second)
    assert (found.round, found.new) == (2, 3)
    assert [row["id"] for row in found.table.to_pylist()] == ordered(ENTROPY)[:7]
    assert found.table["round"].to_pylist() == [1] * 4 + [2] * 3
    assert found.table["label"].to_pylist() == [*given, None, None, None]
    assert found.table.schema.equals(SCHEMA)
    store = ingest_table(second, tmp_path / "store", label_column="label", id_column="id")
    assert len(store) == 7
    assert store.labelled().sum() == 3
    assert store.need_scheme().class_names == ("smooth", "spiral")


def test_a_label_given_later_replaces_an_empty_one(tmp_path: Path, images: Path) -> None:
    made = catalogue(tmp_path, images)
    (tmp_path / "asked.csv").write_text("id,round\ng1,1\ng2,1\n")
    (tmp_path / "mine.csv").write_text("id,label\ng2,smooth\n")
    found = label_next(made, 1, labelled=[tmp_path / "asked.csv", tmp_path / "mine.csv"])
    assert [(row["id"], row["label"]) for row in found.table.to_pylist()[:2]] == [
        ("g1", None),
        ("g2", "smooth"),
    ]
    assert found.table.to_pylist()[0]["path"] == str((images / "g1.png").resolve())


def test_a_galaxy_without_a_score_is_not_asked_for(tmp_path: Path) -> None:
    table = pa.table({"id": ["a", "b", "a"], "entropy": [float("nan"), 0.1, 0.5]})
    pq.write_table(table, tmp_path / "c.parquet")
    found = label_next(tmp_path / "c.parquet", 5, by="entropy")
    assert new_ids(found.table) == ["b"]  # the second a is no galaxy of its own


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"count": 0}, UsageError, "--count 0: at least 1 galaxy"),
        ({"by": "badl"}, UsageError, r"there is no way 'badl' to choose \(did you mean 'bald'\?\)"),
        (
            {"by": "bald"},
            UsageError,
            "no column 'mutual_information'.*several runs, or with --dropout-samples",
        ),
        ({"by": "coreset"}, UsageError, "no column 'embedding'"),
        ({"labelled": "none.csv"}, UsageError, "none.csv: no such file"),
    ],
)
def test_what_cannot_be_chosen_is_one_sentence(
    tmp_path: Path, images: Path, options: dict, error: type[MorphoscopeError], said: str
) -> None:
    made = catalogue(tmp_path, images, without=("mutual_information", "embedding"))
    with pytest.raises(error, match=said):
        label_next(made, **options)


def test_nothing_left_to_label_is_said(tmp_path: Path, images: Path) -> None:
    made, everything = catalogue(tmp_path, images), tmp_path / "all.csv"
    label_next(made, 99, out=everything)
    with pytest.raises(MorphoscopeError, match="every galaxy is labelled or was asked for"):
        label_next(made, labelled=everything)


def test_the_command_says_what_it_did(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made, out = catalogue(tmp_path, images), tmp_path / "next.csv"
    arguments = ["label-next", str(made), "--count", "2", "--by", "random", "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["morphoscope", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    assert "2 galaxies to label in round 1, by random" in capsys.readouterr().err
    assert out.read_text().splitlines()[0].replace('"', "") == "id,path,ra,dec,label,round,rank,score,reason"


def test_a_round_beyond_all_rounds_is_said(tmp_path: Path, images: Path) -> None:
    made = catalogue(tmp_path, images)
    (tmp_path / "asked.csv").write_text("id,round\ng0,1\ng1,1e30\n")
    with pytest.raises(MorphoscopeError, match=r"asked\.csv: 'round' is 1e\+30 in row 2; a number up to"):
        label_next(made, 1, by="entropy", labelled=[tmp_path / "asked.csv"])
