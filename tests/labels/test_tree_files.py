"""Decision trees as files: what the packaged ones say, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.labels.tree import GALAXY_ZOO_2
from morphoscope.labels.tree_files import VoteTree, decision_tree, tree_file, tree_names

HEAD = "kind: morphoscope-tree\nformat_version: 1\nname: mine\ntitle: Mine\nquestions:\n"


def written(path: Path, questions: str) -> str:
    file = path / "mine.yaml"
    file.write_text(HEAD + questions, encoding="utf-8")
    return str(file)


def paths(tree: VoteTree, fractions: dict[str, float], key: str | None) -> Iterator[tuple[list[str], float]]:
    """Every way through the tree from a question on, with its probability."""
    if key is None:
        yield [], 1.0
        return
    question = next(each for each in tree.questions if each.key == key)
    for answer in question.answers:
        name = f"{key}_{answer.key}"
        for further, chance in paths(tree, fractions, answer.next):
            yield [name, *further], fractions[name] * chance


@pytest.mark.parametrize("name", tree_names())
def test_fractions_of_all_are_sums_over_all_ways_through_the_tree(name: str) -> None:
    tree = tree_file(name).tree()
    sums = decision_tree(tree)
    conditional_NK = np.random.default_rng(0).uniform(0.2, 1, (1, len(tree.columns)))
    for piece in sums.slices:
        conditional_NK[:, piece] /= conditional_NK[:, piece].sum()
    found = dict.fromkeys(tree.columns, 0.0)
    fractions = dict(zip(tree.columns, conditional_NK[0].tolist(), strict=True))
    for way, chance in paths(tree, fractions, tree.questions[0].key):
        for column in way:
            found[column] += chance
    np.testing.assert_allclose(sums.cumulative(conditional_NK)[0], list(found.values()), rtol=1e-9)


def test_every_packaged_tree_says_where_it_comes_from() -> None:
    assert {"gz2", "gz-decals-dr12", "gz-decals-dr5", "gz-desi", "gz-hubble", "gz-candels"} <= set(
        tree_names()
    )
    assert {"gz-ukidss", "gz-cosmic-dawn", "gz-euclid", "gz-jwst-ceers", "gz-rings"} <= set(tree_names())
    for name in tree_names():
        file = tree_file(name)
        assert file.name == name
        assert file.sources
        assert file.verified_with
    assert [name for name in tree_names() if not tree_file(name).verified] == ["gz-hubble"]


def test_counts_of_galaxy_zoo_2_are_in_the_order_of_the_challenge() -> None:
    tree = decision_tree(tree_file("gz2").tree())
    assert [len(q.answers) for q in tree.questions] == [len(q.answers) for q in GALAXY_ZOO_2.questions]
    keys = [question.key for question in tree.questions]
    leads = [None if a.next is None else keys.index(a.next) + 1 for a in tree.answers]
    assert leads == [None if a.next is None else int(a.next[1:]) for a in GALAXY_ZOO_2.answers]


def test_an_own_tree_is_read(tmp_path: Path) -> None:
    text = "- key: ring\n  next: kind\n  answers: [{key: yes}, {key: no, next: null}]\n"
    text += "- key: kind\n  answers: [{key: 1, columns: [first]}, {key: 2}]\n"
    tree = tree_file(written(tmp_path, text)).tree()
    assert tree.columns == ("ring_yes", "ring_no", "kind_1", "kind_2")
    assert [answer.next for answer in tree.questions[0].answers] == ["kind", None]


TWO = "answers: [{key: yes}, {key: no}]"


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        ("- key: a\n  next: b\n  " + TWO + "\n- key: b\n  next: a\n  " + TWO, "has a cycle: a → b → a"),
        (
            "- {key: a, " + TWO + "}\n- {key: b, next: c, " + TWO + "}\n- {key: c, next: b, " + TWO + "}",
            "has a cycle: b → c → b",
        ),
        ("- {key: a, next: bb, " + TWO + "}", "'yes' to 'a' leads to 'bb', which is no question of the tree"),
        ("- {key: a, " + TWO + "}\n- {key: b, " + TWO + "}", "no answer leads to the question 'b'"),
        ("- {key: a, answers: [{key: yes}, {key: yes}]}", "answer to 'a' 'yes' is there twice"),
        ("- {key: a, answers: [{key: yes}]}", "questions.0.answers: 1 found, at least 2 expected"),
        ("".join(f"- {{key: a{n}, {TWO}}}\n" for n in range(201)), "more than 200 found"),
        (
            "- {key: a, answers: [" + ", ".join(f"{{key: {n}}}" for n in range(201)) + "]}",
            "more than 200 found",
        ),
        (
            "- {key: a_b, " + TWO + "}",
            "questions.0.key: 'a_b' was found; lower-case words and numbers",
        ),
        ("- {key: a, txt: b, " + TWO + "}", "questions.0.txt: there is no such field"),
        (
            "- {key: a, answers: [{key: b}, {key: c, columns: [b]}]}",
            "the column 'a_b' could be 'a_b' or 'a_c'",
        ),
    ],
)
def test_a_tree_that_does_not_hold_together_is_refused(tmp_path: Path, questions: str, message: str) -> None:
    with pytest.raises(MorphoscopeError, match=message) as refused:
        tree_file(written(tmp_path, questions + "\n"))
    assert "\n" not in str(refused.value)
    assert "mine.yaml: " in str(refused.value)
    assert "Value error" not in str(refused.value)


def test_an_unknown_tree_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="did you mean 'gz-euclid'"):
        tree_file("gz-euclide")
    with pytest.raises(UsageError, match="no such file"):
        tree_file(str(tmp_path / "none.yaml"))
    (tmp_path / "other.yaml").write_text("a: 1\n", encoding="utf-8")
    with pytest.raises(MorphoscopeError, match=r"other\.yaml: this is not a decision tree"):
        tree_file(str(tmp_path / "other.yaml"))


def test_a_question_can_be_left_out() -> None:
    tree = tree_file("gz2").tree().without(["odd-feature", "spiral-winding"])
    by_key = {question.key: question for question in tree.questions}
    assert by_key["something-odd"].answers[0].next is None
    assert by_key["has-spiral-arms"].answers[0].next == "spiral-arm-count"
    with pytest.raises(UsageError, match="the first question, 'smooth-or-featured', cannot be left out"):
        tree.without(["smooth-or-featured"])
    with pytest.raises(
        UsageError, match="'disk-edge-on' cannot be left out, since its answers lead to different"
    ):
        tree.without(["disk-edge-on"])


def test_the_tree_in_the_docs_is_one(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "vote-counts.md"
    (text,) = [block for block in page.read_text(encoding="utf-8").split("```") if block.startswith("yaml\n")]
    (tmp_path / "my-tree.yaml").write_text(text.removeprefix("yaml\n"), encoding="utf-8")
    tree = tree_file(str(tmp_path / "my-tree.yaml")).tree()
    assert tree.columns == ("ring_yes", "ring_no", "ring-kind_inner", "ring-kind_outer")
