"""Tables of votes as surveys publish them: column spellings, totals, images by id, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest

from morphoscope.data.sources.vote_columns import find_columns, votes_of, votes_of_fractions
from morphoscope.data.sources.votes import ingest_votes
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.labels.tree import GALAXY_ZOO_2
from morphoscope.labels.tree_files import FileAnswer, FileQuestion, TreeFile, tree_file, tree_names
from morphoscope.simulation.sampling import draw_galaxy
from morphoscope.simulation.votes import draw_votes

COUNT = 6
OWN = (
    "kind: morphoscope-tree\nformat_version: 1\nname: rings\ntitle: Rings\ntags: [-x]\nquestions:\n"
    "- key: ring\n  columns: [t01_ring]\n"
    "  answers: [{key: yes, next: kind, columns: [a1_yes]}, {key: no, columns: [a2_no]}]\n"
    "- key: kind\n  columns: [t02_kind]\n"
    "  answers: [{key: inner, columns: [a1_in]}, {key: outer, columns: [a2_out]}]\n"
)
YES, NO = np.array([4, 1, 0, 6, 2, 3]), np.array([1, 4, 5, 0, 3, 2])
INNER = np.array([3, 0, 0, 2, 1, 3])
VOTES = np.stack([YES, NO, INNER, YES - INNER], axis=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rings.yaml").write_text(OWN, encoding="utf-8")
    images = tmp_path / "images" / "part"
    images.mkdir(parents=True)
    for number in range(COUNT):
        cv2.imwrite(str(images / f"g{number}.png"), np.full((8, 8, 3), 40 * number, np.uint8))
    return tmp_path


def written(folder: Path, columns: dict[str, Any], name: str = "votes.csv") -> Path:
    table = pa.table({"id": [f"g{number}" for number in range(COUNT)]} | columns)
    (pc.write_csv if name.endswith("csv") else pq.write_table)(table, folder / name)
    return folder / name


def made(folder: Path, columns: dict[str, Any], **options: Any) -> Any:
    table = written(folder, columns)
    return ingest_votes(
        table,
        folder / "s",
        tree=str(folder / "rings.yaml"),
        images=folder / "images",
        overwrite=True,
        **options,
    )


def modern(total: str = "total-votes") -> dict[str, Any]:
    return {
        "ring-x_yes": YES,
        "ring-x_no": NO,
        f"ring-x_{total}": YES + NO,
        "kind-x_inner": INNER,
        "kind-x_outer": YES - INNER,
        f"kind-x_{total}": YES,
    }


def numbered() -> dict[str, Any]:
    names = ("t01_ring_a1_yes_count", "t01_ring_a2_no_count", "t02_kind_a1_in_count", "t02_kind_a2_out_count")
    return dict(zip(names, VOTES.T, strict=True)) | {"t01_ring_a1_yes_flag": [0] * COUNT}


def with_fractions(digits: int = 3) -> dict[str, Any]:
    with np.errstate(invalid="ignore"):
        kind = np.round(INNER / YES, digits)
    return {
        "Ring_Yes_fraction": np.round(YES / (YES + NO), digits),
        "Ring_No_fraction": np.round(NO / (YES + NO), digits),
        "ring_count": YES + NO,
        "kind_inner_frac": kind,
        "kind_outer_frac": np.round(1 - kind, digits),
        "kind_count": YES,
    }


@pytest.mark.parametrize("columns", [modern, numbered, with_fractions, lambda: modern("total")])
def test_every_spelling_gives_the_same_votes(folder: Path, columns: Callable[[], dict[str, Any]]) -> None:
    store = made(folder, columns())
    scheme = store.need_scheme()
    assert scheme.output_names == ("ring_yes", "ring_no", "kind_inner", "kind_outer")
    assert np.array_equal(store.targets(), VOTES)
    assert store.column("id").tolist() == [f"g{number}" for number in range(COUNT)]
    assert [int(image.mean()) for image in store.images] == [40 * number for number in range(COUNT)]
    assert scheme.model_dump()["volunteers"] == 5


def test_what_was_not_mapped_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = {name: values for name, values in numbered().items() if "kind" not in name}
    columns |= {"t01_ring_a1_yes_weight": YES}
    store = made(folder, columns)
    said = capsys.readouterr().err
    assert store.need_scheme().output_names == ("ring_yes", "ring_no")
    assert "2 answers to 1 questions of the tree 'rings', from counts" in said
    assert "it has no votes for kind; these questions are left out" in said
    assert (
        "columns seem to be about votes too and are not read: t01_ring_a1_yes_flag, t01_ring_a1_yes_weight"
        in said
    )


def test_galaxies_without_an_image_are_left_out_and_counted(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "images" / "part" / "g2.png").unlink()
    store = made(folder, modern())
    assert len(store) == COUNT - 1
    assert np.array_equal(store.targets(), np.delete(VOTES, 2, axis=0))
    assert "1 of 6 galaxies have no image" in capsys.readouterr().err


def test_a_column_of_image_files_is_used(folder: Path) -> None:
    files = [f"part/g{COUNT - 1 - number}.png" for number in range(COUNT)]
    store = made(folder, modern() | {"filename": files, "ra": [1.0] * COUNT, "dec": [2.0] * COUNT})
    assert [int(image.mean()) for image in store.images] == [200, 160, 120, 80, 40, 0]
    assert store.column("ra").tolist() == [1.0] * COUNT


def test_debiased_fractions_keep_the_total(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = modern() | {
        "ring-x_yes_debiased": np.clip(YES / (YES + NO) + 0.11, 0, 1),
        "ring-x_no_debiased": np.clip(NO / (YES + NO) - 0.11, 0, 1),
    }
    store = made(folder, columns, values="debiased", without=["kind"])
    votes = store.targets()
    assert np.array_equal(votes.sum(axis=1), YES + NO)
    assert votes[0].tolist() == [5, 0]  # 4.55 and 0.45 votes
    assert "(debiased, rounded to whole votes)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"ring-x_total-votes": [5, 5, 5, 6, 5, 9]},
            "galaxy g5: the answers to 'ring' have 5 votes together and",
        ),
        ({"ring-x_yes": [-1, 6, 0, 6, 2, 3]}, "galaxy g0: 'ring-x_yes' is -1; a whole number"),
        (
            {"ring-x_yes": [0.8, 0.2, 0, 1, 0.4, 0.6]},
            "galaxy g0: 'ring-x_yes' is 0.8; a whole number of votes",
        ),
        ({"ring-x_yes": ["4", "", "0", "6", "2", "3"]}, r"galaxy g1: 'ring-x_yes' is empty \(NaN\)"),
        (
            {"ring-x_yes": [""] * COUNT, "ring-x_no": [""] * COUNT},
            "question 'ring' has no votes in the whole",
        ),
        ({"ring-x_yes": ["four", "1", "0", "6", "2", "3"]}, "'four'; a number was expected"),
        ({"id": ["g0"] * COUNT}, "'id' is g0 in rows 1 and 2"),
    ],
)
def test_bad_tables_are_one_sentence_before_anything_is_written(
    folder: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(MorphoscopeError, match=message) as refused:
        made(folder, modern() | change)
    assert "\n" not in str(refused.value)
    assert not (folder / "s").exists()


def test_fractions_that_are_no_votes_are_refused(folder: Path) -> None:
    columns = with_fractions()
    columns["Ring_Yes_fraction"] = columns["Ring_Yes_fraction"] * 0.9
    with pytest.raises(
        MorphoscopeError, match=r"'Ring_Yes_fraction' of 5 votes is 3\.60 votes; a whole number"
    ):
        made(folder, columns)
    columns["Ring_Yes_fraction"] = [1.5] * COUNT
    with pytest.raises(MorphoscopeError, match=r"is 1\.5 with 5 votes; a fraction from 0 to 1"):
        made(folder, columns)
    with pytest.raises(UsageError, match="'ring' has fractions and neither counts nor a column of its total"):
        made(folder, {name: values for name, values in with_fractions().items() if name != "ring_count"})


def test_more_votes_than_answers_lead_to_are_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(folder, modern() | {"kind-x_outer": YES - INNER + 2, "kind-x_total-votes": YES + 2})
    assert "more votes on" not in capsys.readouterr().err  # as few as real tables have
    outer = YES - INNER + np.array([0, 0, 9, 0, 9, 0])
    store = made(folder, modern() | {"kind-x_outer": outer, "kind-x_total-votes": INNER + outer})
    assert "more votes on 'kind' than on the answers that lead to it: 2 of 6, the first g2 with 9 and 0" in (
        capsys.readouterr().err
    )
    assert store.targets()[:, 3].tolist() == outer.tolist()


def test_wrong_names_are_said(folder: Path) -> None:
    part = {name: values for name, values in modern().items() if name != "ring-x_no"}
    with pytest.raises(UsageError, match="there is 'ring-x_yes' and no column for the answer 'no' to 'ring'"):
        made(folder, part)
    with pytest.raises(UsageError, match=r"no column belongs to the tree 'rings' \('ring_yes' would"):
        made(folder, {"flux": [1.0] * COUNT})
    with pytest.raises(UsageError, match=r"--without knd: no question of 'rings' \(did you mean 'kind'"):
        made(folder, modern(), without=["knd"])
    with pytest.raises(UsageError, match="--values debaised"):
        made(folder, modern(), values="debaised")
    with pytest.raises(UsageError, match="'ring' has no weighted votes"):
        made(folder, modern(), values="weighted")
    for image in (folder / "images" / "part").iterdir():
        image.rename(image.with_name(f"x{image.name}"))
    with pytest.raises(UsageError, match="no image is called like one of the 6 galaxies"):
        made(folder, modern())


PUBLIC = {  # tree → the columns of a public table, as its readers have them
    "gz2": "t01_smooth_or_features_a02_features_or_disk_count",
    "gz-candels": "t04_clump_configuration_a2_cluster_or_irregular_frac",
    "gz-decals-dr5": "merging_minor-disturbance",
    "gz-desi": "bar-dr8_weak",
    "gz-euclid": "artifact-euclid_ghost",
    "gz-hubble": "t16_clumps_count_a05_more_than_4_fraction",
    "gz-ukidss": "bulge-shape-ukidss_no-bulge",
}


@pytest.mark.parametrize("name", tree_names())
def test_a_table_in_every_spelling_of_a_tree_is_found(name: str) -> None:
    file = tree_file(name)
    rng = np.random.default_rng(0)
    for spelling in range(max(len(file.question_stems(question)) for question in file.questions)):
        table: dict[str, np.ndarray] = {}
        for question in file.questions:
            _add(table, file, question, spelling, rng)
        columns = find_columns(file, list(table), "t.csv")
        assert not columns.left_out
        votes = votes_of(columns, table.__getitem__, list(range(20)), "t.csv")
        assert votes.shape == (20, len(file.tree().columns))
        assert votes.sum() == sum(values.sum() for key, values in table.items() if not key.endswith("_total"))


def _add(
    table: dict[str, np.ndarray],
    file: TreeFile,
    question: FileQuestion,
    spelling: int,
    rng: np.random.Generator,
) -> None:
    stems = file.question_stems(question)
    stem = stems[min(spelling, len(stems) - 1)]

    def column(answer: FileAnswer) -> str:
        names = [one for one in file.answer_stems(question, answer) if one.startswith(f"{stem}_")]
        return f"{names[-1]}_count"

    votes = {column(answer): rng.integers(1, 9, 20).astype(float) for answer in question.answers}
    table |= votes
    table[f"{stem}_total"] = np.sum(list(votes.values()), axis=0)


@pytest.mark.parametrize(("name", "column"), PUBLIC.items())
def test_columns_of_public_tables_are_known(name: str, column: str) -> None:
    file = tree_file(name)
    stems = {stem for q in file.questions for a in q.answers for stem in file.answer_stems(q, a)}
    bare = column.replace("-", "_").removesuffix("_count").removesuffix("_fraction").removesuffix("_frac")
    assert bare in stems


def test_votes_come_back_from_their_fractions() -> None:
    rng = np.random.default_rng(3)
    drawn = [
        draw_votes(draw_galaxy(kind, rng), 4.0, rng)
        for kind in ("Barred Spiral", "Merging")
        for _ in range(8)
    ]
    fractions = np.stack([votes.fractions_K for votes in drawn])
    found = votes_of_fractions(GALAXY_ZOO_2, fractions, np.array([votes.volunteers for votes in drawn]))
    assert np.array_equal(found, np.stack([votes.counts_K for votes in drawn]))
    halved = votes_of_fractions(GALAXY_ZOO_2, fractions, 7)
    assert halved[:, :3].sum(axis=1).tolist() == [7] * 16
    assert (
        halved[:, 3:5].sum(axis=1) == halved[:, 1]
    ).all()  # those who saw features are asked the next question
