from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from morphoscope.data.store import Store
from morphoscope.labels.scheme import Classes
from morphoscope.report.run_report import write_report
from morphoscope.runs.run import Run, open_run

VOID = {"meta", "img", "br", "link", "hr", "input"}


class Outline(HTMLParser):
    """Checks that elements nest, and collects headings, words, ids and addresses."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href", "action", "data"):
                self.addresses.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open or "pre" in self.open:
            return
        self.words += data + " "
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


def outline(page: Path) -> Outline:
    return Outline(page.read_text(encoding="utf-8"))


def copied(run: Run, folder: Path) -> Run:
    shutil.copytree(run.path, folder / run.name, ignore=shutil.ignore_patterns("figures", "report.html"))
    return open_run(folder / run.name)


@pytest.fixture(scope="module")
def classes_page(classes_run: Run, classes_store: Store) -> Path:
    return write_report(classes_run, classes_store)


@pytest.fixture(scope="module")
def votes_page(votes_run: Run, votes_store: Store) -> Path:
    return write_report(votes_run, votes_store)


def test_sections_of_classes(classes_page: Path) -> None:
    assert outline(classes_page).headings == [
        "The data",
        "Example galaxies",
        "Augmented images",
        "Training",
        "Results",
        "Confusion matrix",
        "Class by class",
        "Calibration",
        "Most confidently wrong",
        "Model and recipe",
        "Environment",
        "How to reproduce",
        "Notes",
    ]


def test_sections_of_votes(votes_page: Path) -> None:
    assert outline(votes_page).headings == [
        "The data",
        "Example galaxies",
        "Augmented images",
        "Training",
        "Results",
        "Answer by answer",
        "Predicted against true fractions",
        "The worst galaxies",
        "Model and recipe",
        "Environment",
        "How to reproduce",
        "Notes",
    ]


@pytest.mark.parametrize("which", ["classes_page", "votes_page"])
def test_one_file_stands_alone(which: str, request: pytest.FixtureRequest) -> None:
    page: Path = request.getfixturevalue(which)
    text = page.read_text(encoding="utf-8")
    found = outline(page)
    assert len(found.ids) == len(set(found.ids))
    for address in found.addresses:
        assert address.startswith(("data:image/jpeg;base64,", "#"))
        if address.startswith("#"):
            assert address[1:] in found.ids
    for reference in re.findall(r"url\(([^)]*)\)", text):
        assert reference[1:] in found.ids
    assert "<script" not in text
    assert "@import" not in text
    assert str(page.parent.parent) not in text, "no paths of this machine"


@pytest.mark.parametrize("which", ["classes_page", "votes_page"])
def test_nothing_unsaid_slips_into_the_words(which: str, request: pytest.FixtureRequest) -> None:
    words = outline(request.getfixturevalue(which)).words
    assert not re.search(r"\b(nan|NaN|None|null|inf|undefined)\b", words)


def test_the_numbers_are_those_of_the_run(classes_page: Path, classes_run: Run) -> None:
    test = classes_run.metrics()["test"]
    words = outline(classes_page).words
    assert f"{100 * test['accuracy']['value']:.1f}\u00a0% " in words
    assert f"accuracy on {test['n']} galaxies held out for the test" in words
    for row in test["per_class"]:
        assert f"{row['f1']:.3f}" in words
    assert "212 images/s" in words
    assert "“data.split" not in words
    assert "augment.size" in words
    assert "Edge-on & <thin>" in words, "names are text, whatever they hold"


def test_every_figure_also_stands_alone(classes_page: Path, votes_page: Path) -> None:
    named = {"class_counts", "class_examples", "augmented", "training_curves"}
    for page, more in (
        (classes_page, {"confusion_matrix", "reliability", "most_wrong"}),
        (votes_page, {"votes_per_answer", "votes_scatter", "worst_votes"}),
    ):
        pictures = list((page.parent / "figures").glob("*.png"))
        expected = (named if page is classes_page else named - {"class_counts"}) | more
        assert {picture.stem for picture in pictures} == expected
        for picture in pictures:
            with Image.open(picture) as image:
                assert image.info["dpi"][0] >= 200
    assert not list(classes_page.parent.rglob(".*partial*"))


def test_written_twice_it_is_the_same(votes_run: Run, votes_store: Store, votes_page: Path) -> None:
    before = votes_page.read_bytes()
    write_report(votes_run, votes_store)
    assert votes_page.read_bytes() == before


@pytest.mark.usefixtures("undrawn_here")
def test_without_the_store_it_says_so(classes_run: Run, tmp_path: Path) -> None:
    page = write_report(copied(classes_run, tmp_path))
    found = outline(page)
    assert "The store was not found" in found.words
    assert "data:image" not in "".join(found.addresses)
    assert "Example galaxies" not in found.headings
    assert "Confusion matrix" in found.headings


@pytest.mark.usefixtures("undrawn_here")
def test_with_another_store_it_shows_no_picture_of_it(
    classes_run: Run, make_store: Callable[..., Store], tmp_path: Path
) -> None:
    other = make_store(classes_run.scheme, 30, name="another")
    found = outline(write_report(copied(classes_run, tmp_path), other))
    assert "no images of galaxies: " in found.words
    assert "data:image" not in "".join(found.addresses)


@pytest.mark.usefixtures("undrawn_here")
def test_predictions_of_other_galaxies_show_no_picture(
    classes_run: Run, classes_store: Store, tmp_path: Path
) -> None:
    run = copied(classes_run, tmp_path)
    table = run.predictions()
    others = pa.array([f"another {name}" for name in table["id"].to_pylist()])
    pq.write_table(table.set_column(0, "id", others), run.path / "predictions.parquet")
    found = outline(write_report(run, classes_store))
    assert "does not hold the galaxies of this run's predictions" in found.words
    assert "data:image" not in "".join(found.addresses)


@pytest.mark.usefixtures("undrawn_here")
def test_two_classes_one_epoch_few_galaxies_and_nulls(
    make_run: Callable[..., Run], make_store: Callable[..., Store]
) -> None:
    names = ("A spiral whose arms wind clockwise as seen from here, or so it was said at the time", "E")
    store = make_store(Classes(name="two", classes=names), 20)
    run = make_run(store, epochs=1)
    metrics = run.metrics()
    for entry in metrics["test"].values():
        if isinstance(entry, dict):
            entry.update(value=None, low=None, high=None)
    for row in metrics["test"]["per_class"]:
        row.update(precision=None, recall=None, f1=None, recall_low=None, recall_high=None)
    (run.path / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    found = outline(write_report(run, store))
    assert names[0] in found.words
    assert not re.search(r"\b(nan|None|null)\b", found.words)


@pytest.mark.usefixtures("undrawn_here")
def test_a_bare_run_still_has_a_page(classes_run: Run, tmp_path: Path) -> None:
    run = copied(classes_run, tmp_path)
    for name in ("metrics.json", "predictions.parquet", "history.csv", "environment.json"):
        (run.path / name).unlink()
    words = outline(write_report(run)).words
    assert "Nothing was measured on held-out galaxies" in words
    assert "no history" in words
    assert "no environment.json" in words


@pytest.mark.usefixtures("undrawn_here")
def test_a_run_of_defaults_says_so(classes_run: Run, tmp_path: Path) -> None:
    run = copied(classes_run, tmp_path)
    plain = replace(run, recipe=type(run.recipe)())
    (run.path / "predictions.parquet").unlink()
    (run.path / "metrics.json").unlink()
    assert "Every field has its default" in outline(write_report(plain)).words


@pytest.mark.usefixtures("undrawn_here")
@pytest.mark.parametrize(
    ("kind", "measured", "sections"),
    [
        ("classes", ("confusion", "per_class"), {"Confusion matrix", "Class by class"}),
        ("votes", ("per_answer",), {"Answer by answer", "Predicted against true fractions"}),
    ],
)
def test_what_was_not_kept_has_no_section(
    kind: str, measured: tuple[str, ...], sections: set[str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    run = copied(request.getfixturevalue(f"{kind}_run"), tmp_path)
    metrics = run.metrics()
    for name in measured:
        del metrics["test"][name]
    (run.path / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    (run.path / "predictions.parquet").unlink()
    found = outline(write_report(run))
    assert "Results" in found.headings
    assert not (sections | {"Most confidently wrong", "The worst galaxies"}) & set(found.headings)


@pytest.mark.usefixtures("undrawn_here")
def test_votes_with_questions_are_shown_by_question(votes_run: Run, tmp_path: Path) -> None:
    run = copied(votes_run, tmp_path)
    metrics = run.metrics()
    question = {"name": "Is there a bar?", "rmse": 0.06, "low": 0.05, "high": 0.07, "answers": ["bar"]}
    metrics["test"]["per_question"] = [question]
    (run.path / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    found = outline(write_report(run))  # without the store there are no pictures of the worst galaxies
    assert "Question by question" in found.headings
    assert "The worst galaxies" not in found.headings
    assert (run.path / "figures" / "votes_per_question.png").is_file()
