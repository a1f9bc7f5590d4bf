"""The page in a real Chromium for each kind of label: votes on their tree, measurements, two catalogues.

As in ``test_browser.py``: skipped without a Chromium, and no page asks anybody but the explorer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from browser_helpers import serious_findings, too_wide, until
from numbers_helpers import COUNT, SCHEMES, write

from morphoscope.data.store import Store

KINDS = ("classes", *SCHEMES)
BOTH = pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])


@pytest.fixture(scope="module")
def addresses(
    catalogue: Path, store: Store, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], str]]:
    """The explorer of a kind of label: a catalogue and a second one of most of its galaxies."""
    import morphoscope as ms

    running: dict = {}

    def address(kind: str) -> str:
        if kind not in running:
            folder = tmp_path_factory.mktemp("kind")
            if kind == "classes":
                first, table = catalogue, pq.read_table(catalogue, columns=["id", "predicted", "probability"])
                other = np.roll(table["predicted"].to_numpy(zero_copy_only=False)[:140], 1)
                second = folder / "second.parquet"
                pq.write_table(table.slice(0, 140).set_column(1, "predicted", pa.array(other)), second)
            else:
                first = write(kind, folder / "first.parquet")
                second = write(kind, folder / "second.parquet", 2, np.arange(7, COUNT))
            running[kind] = ms.explore(
                first, images=store.path, compare=second, labels=folder / "labels.sqlite"
            )
        return running[kind].address

    yield address
    for each in running.values():
        each.stop()


@pytest.fixture
def open_kind(watched: Callable, addresses: Callable[[str], str]) -> Callable:
    """Opens a view of the explorer of a kind of label."""
    return lambda kind, view, **options: watched(f"{addresses(kind)}#{view}", **options)


def chosen(page) -> str:
    """The filter in the gallery that was opened, once its galaxies are there."""
    page.wait_for_selector(".tile")
    return page.input_value("#filter")


def test_the_page_opens_and_asks_nobody_else(open_kind: Callable):
    """The quick one, which every change has to pass."""
    page = open_kind("classes", "gallery")
    page.wait_for_selector(".tile img")
    assert page.locator(".count").inner_text() == "150 galaxies"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_selector(".galaxy h1:has-text('g1')")
    assert too_wide(page) == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["vote counts", "vote fractions"])
@BOTH
def test_votes_on_their_tree(open_kind: Callable, kind: str, dark: bool):
    questions = SCHEMES[kind].decision_tree.questions  # type: ignore[attr-defined]
    for phone in (False, True):
        page = open_kind(kind, "galaxy/7?sort=row", dark=dark, phone=phone)
        shown = page.locator(".tree .question")
        assert shown.count() == len(questions)
        titles = shown.locator("h3").evaluate_all("(all) => all.map((each) => each.firstChild.textContent)")
        assert sorted(titles) == sorted(question.text for question in questions)
        assert page.locator(".tree .answers li").count() == sum(len(each.answers) for each in questions)
        lines = page.locator(".tree .track line").count()  # three an answer: an interval and its ends
        assert lines == (3 * page.locator(".tree .answers li").count() if kind == "vote counts" else 0)
        # A question further down the tree stands further to the right.
        left = shown.evaluate_all(
            "(all) => all.map((each) => [Number(each.style.getPropertyValue('--depth')), "
            "each.querySelector('.answers').getBoundingClientRect().left])"
        )
        depths = sorted({depth for depth, _ in left})
        assert depths[0] == 0
        assert len(depths) > 2
        places = [min(x for depth, x in left if depth == each) for each in depths]
        assert places == sorted(set(places))
        assert too_wide(page) == 0
    first = page.locator(".tree .amount").all_inner_texts()
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(".galaxy h1:has-text('g8')")
    assert page.locator(".tree .amount").all_inner_texts() != first
    page.keyboard.press("Escape")
    page.wait_for_selector(".tile")


@pytest.mark.slow
@BOTH
def test_measurements_with_their_errors(open_kind: Callable, dark: bool):
    for phone in (False, True):
        page = open_kind("measurements", "galaxy/5", dark=dark, phone=phone)
        shown = page.locator(".measurements li")
        assert shown.locator(".name").all_inner_texts() == ["radius", "redshift"]
        amounts = shown.locator(".amount").all_inner_texts()
        assert all("±" in amount for amount in amounts)
        assert amounts[0].endswith("arcsec")
        assert shown.locator(".track circle").count() == 2
        assert shown.locator(".track line").count() == 2
        # Nothing of a row covers another part of it.
        for row in shown.all():
            name, track, amount = (
                row.locator(each).bounding_box() for each in (".name", ".track", ".amount")
            )
            assert track["width"] > 40
            if phone:  # the track stands below the others
                assert name["x"] + name["width"] <= amount["x"] + 1
                assert track["y"] >= name["y"] + name["height"] - 1
            else:
                assert name["x"] + name["width"] <= track["x"] + 1
                assert track["x"] + track["width"] <= amount["x"] + 1
        assert too_wide(page) == 0
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(".galaxy h1:has-text('g6')")
    assert shown.locator(".amount").all_inner_texts() != amounts


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@BOTH
def test_two_catalogues_side_by_side(open_kind: Callable, kind: str, dark: bool):
    there, away = (140, 10) if kind == "classes" else (COUNT - 7, 7)
    for phone in (True, False):
        page = open_kind(kind, "compare", dark=dark, phone=phone)
        figures = page.locator(".figures").first.inner_text()
        assert str(there) in figures
        assert str(away) in figures
        assert "here alone" in figures
        assert ("same path through the tree" in figures) == (kind in ("vote counts", "vote fractions"))
        assert too_wide(page) == 0
    alone = page.locator(".figures a", has_text=str(away)).last
    alone.focus()
    page.keyboard.press("Enter")
    assert "is null" in chosen(page)
    assert page.locator(".count b").inner_text() == str(away)


@pytest.mark.slow
def test_a_cell_of_two_catalogues_of_classes_opens_its_galaxies(open_kind: Callable):
    page = open_kind("classes", "compare")
    cell = page.locator(".matrix td a").first
    count = cell.inner_text()
    cell.focus()
    page.keyboard.press("Enter")
    assert "other_predicted" in chosen(page)
    assert page.locator(".count b").inner_text() == count


@pytest.mark.slow
@pytest.mark.parametrize("kind", SCHEMES)
def test_a_quantity_of_two_catalogues(open_kind: Callable, kind: str):
    page = open_kind(kind, "compare")
    page.wait_for_selector(".pair svg.plot image")
    choice = page.locator("select[aria-label='Quantity']")
    names = choice.locator("option").all_inner_texts()
    if kind == "measurements":
        assert names == ["radius", "redshift"]
    choice.focus()
    page.keyboard.press("ArrowDown")
    until(
        page,
        f"document.querySelector('.pair svg.plot').getAttribute('aria-label').startsWith('{names[1]} in')",
    )
    assert "quantity=" in page.url  # the address shows the same to somebody else
    page.reload()
    page.wait_for_selector(".pair svg.plot image")
    assert choice.input_value() == names[1]
    box = page.locator(".pair svg.plot").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.1)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.8, steps=5)
    page.mouse.up()
    assert f"{names[1]} between" in chosen(page).replace('"', "")
    assert 0 < int(page.locator(".count b").inner_text()) <= COUNT - 7
    page.go_back()
    link = page.locator(".differences a").first
    link.focus()
    page.keyboard.press("Enter")
    assert "diff_" in chosen(page)
    assert "sort=diff_" in page.url


@pytest.mark.slow
def test_votes_are_labelled_question_by_question(open_kind: Callable):
    page = open_kind("vote counts", "label")
    questions = SCHEMES["vote counts"].decision_tree.questions  # type: ignore[attr-defined]
    choice = page.locator("select[aria-label='Question']")
    assert choice.locator("option").count() == len(questions)
    page.fill("input[aria-label='Your name']", "Ada")
    page.keyboard.press("Tab")
    choice.select_option(label=questions[1].text)
    page.wait_for_selector(f"h1.asked:has-text('{questions[1].text[:20]}')")
    assert page.locator(".choices-to-label button").count() == len(questions[1].answers)
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("2")
    page.wait_for_selector("text=/Labels so far: 1 galaxy/")


@pytest.mark.slow
def test_the_map_of_features_by_umap(
    watched: Callable, catalogue: Path, stand_in: Callable, monkeypatch: pytest.MonkeyPatch
):
    import morphoscope as ms

    with monkeypatch.context() as without:
        without.setattr("morphoscope.extras.installed", lambda package: package != "umap")
        with ms.explore(catalogue) as running:
            watched.refusals = True  # type: ignore[attr-defined]
            page = watched(f"{running.address}#charts")
            page.locator("select[aria-label='Map of features by']").select_option("umap")
            page.wait_for_selector(".problem:has-text(\"pip install 'morphoscope[umap]'\")")
            assert page.locator("svg[aria-label^='Map of the sky']").count() == 1  # the others stay
    stand_in(seconds=2)
    with ms.explore(catalogue) as running:
        page = watched(f"{running.address}#charts")
        choice = page.locator("select[aria-label='Map of features by']")
        choice.focus()
        page.keyboard.press("ArrowDown")
        page.wait_for_selector("text=/… \\d+ s so far/")
        plot = page.locator("svg[aria-label*='umap_x']")
        plot.wait_for(timeout=120_000)  # a process starts
        assert "map=umap" in page.url
        page.reload()
        plot.wait_for()
        assert choice.input_value() == "umap"
        plot.scroll_into_view_if_needed()
        box = plot.bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.1)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.95, box["y"] + box["height"] * 0.8, steps=5)
        page.mouse.up()
        assert chosen(page).startswith("umap_x between")
        assert 0 < int(page.locator(".count b").inner_text()) < 150


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@BOTH
def test_axe_has_no_serious_findings(open_kind: Callable, axe: str, kind: str, dark: bool):
    found = {}
    views = ["gallery", "galaxy/7", "charts", "compare", "label"]
    for view in views[:-1] if kind == "measurements" else views:  # of which none is chosen by a key
        for phone in (False, True):
            page = open_kind(kind, view, dark=dark, phone=phone)
            page.wait_for_timeout(700)
            found[view, phone] = serious_findings(page, axe)
            page.close()
    assert {at: findings for at, findings in found.items() if findings} == {}


@pytest.mark.slow
@BOTH
def test_axe_has_no_serious_findings_in_a_map_by_umap(
    watched: Callable, axe: str, catalogue: Path, stand_in: Callable, dark: bool
):
    import morphoscope as ms

    stand_in(seconds=6)
    with ms.explore(catalogue, feature_map="umap") as running:
        page = watched(f"{running.address}#charts", dark=dark)
        page.wait_for_selector("progress")
        assert serious_findings(page, axe) == []
        page.locator("svg[aria-label*='umap_x']").wait_for(timeout=120_000)
        for each in (page, watched(f"{running.address}#charts", dark=dark, phone=True)):
            each.locator("svg[aria-label*='umap_x'] image").wait_for()
            assert serious_findings(each, axe) == []
            assert too_wide(each) == 0


@pytest.mark.slow
@BOTH
def test_axe_has_no_serious_findings_without_umap(
    watched: Callable, open_kind: Callable, axe: str, dark: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("morphoscope.extras.installed", lambda package: package != "umap")
    watched.refusals = True  # type: ignore[attr-defined]
    page = open_kind("classes", "charts?map=umap", dark=dark)
    page.wait_for_selector(".problem:has-text(\"pip install 'morphoscope[umap]'\")")
    assert serious_findings(page, axe) == []
