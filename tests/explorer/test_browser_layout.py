"""The page in a real Chromium: names, numbers and menus are whole, at every width and size of text.

As in ``test_browser.py``: skipped without a Chromium, and no page asks anybody but the explorer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from browser_helpers import until
from numbers_helpers import write

from morphoscope.data.store import Store

pytestmark = pytest.mark.slow
LONG = "Unbarred Loose Spiral"


@pytest.fixture(scope="module")
def address(catalogue: Path, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The explorer of a catalogue, without a run."""
    import morphoscope as ms

    labels = tmp_path_factory.mktemp("layout") / "labels.sqlite"
    with ms.explore(catalogue, images=store.path, labels=labels) as running:
        yield running.address


@pytest.fixture
def open_table(watched: Callable, tmp_path: Path) -> Iterator[Callable]:
    """Opens a view of the explorer of a table of these columns."""
    import morphoscope as ms

    running = []

    def opened(columns: dict, view: str, **options):
        path = tmp_path / f"table{len(running)}.parquet"
        pq.write_table(pa.table(columns), path)
        running.append(ms.explore(path))
        return watched(f"{running[-1].address}#{view}", **options)

    yield opened
    for each in running:
        each.stop()


def test_keys_answer_after_the_mouse_has_touched_a_control(watched: Callable, address: str):
    page = watched(f"{address}#label?filter=row+%3C+10")
    page.fill("input[aria-label='Your name']", "Ada")
    page.press("input[aria-label='Your name']", "Tab")
    page.click("text=Show the prediction")
    page.keyboard.press("1")
    page.wait_for_selector("text=1 of 10 done")
    page.click("input[aria-label='Brightness']")
    page.keyboard.press("2")
    page.wait_for_selector("text=2 of 10 done")
    stretch = page.locator("select[aria-label='Stretch']")
    stretch.focus()
    stretch.select_option("square root")
    page.keyboard.press("3")
    page.wait_for_selector("text=3 of 10 done")
    assert stretch.input_value() == "square root"
    stretch.click()  # a list that is open looks for what is typed, and so does a field of text
    assert stretch.evaluate("(each) => each.matches(':open')")
    page.keyboard.press("u")
    page.keyboard.press("Escape")
    name = page.locator("input[aria-label='Your name']")
    name.press("1")
    page.wait_for_timeout(300)
    assert page.locator("text=3 of 10 done").count() == 1
    assert "1" in name.input_value()


@pytest.mark.parametrize("width", [340, 400, 780, 900, 1400])
@pytest.mark.parametrize("text", [16, 24])
def test_menus_are_within_the_window(watched: Callable, address: str, width: int, text: int):
    page = watched(f"{address}#gallery", width=width)
    page.evaluate(f"document.documentElement.style.fontSize = '{text}px'")
    for name in ("Share", "Columns"):
        menu = page.locator("details.menu", has=page.locator("summary", has_text=name))
        menu.locator("summary").click()
        page.wait_for_timeout(100)
        summary, sheet = menu.locator("summary").bounding_box(), menu.locator(".sheet").bounding_box()
        assert 0 <= sheet["x"] < sheet["x"] + sheet["width"] <= width
        assert 0 <= sheet["y"] - (summary["y"] + summary["height"]) < 8
        menu.locator("summary").click()


ROOM = """(select) => {
  const free = select.cloneNode(true);
  free.value = select.value;
  free.style.cssText = "position: absolute; field-sizing: content; width: auto; max-width: none";
  select.after(free);
  const room = select.offsetWidth - free.offsetWidth;
  free.remove();
  return room;
}"""


@pytest.mark.parametrize("width", [400, 1400])
def test_choices_above_the_gallery_can_be_read(watched: Callable, address: str, width: int):
    for view in ("gallery", "gallery?sort=out_of_distribution&right=wrong&cls=Round+Smooth"):
        page = watched(f"{address}#{view}", width=width)
        room = page.locator(".choices select").evaluate_all(f"(all) => all.map({ROOM})")
        assert len(room) == 3
        assert min(room) >= 0


@pytest.mark.parametrize("width", [400, 1000, 1400])
@pytest.mark.parametrize("text", [16, 24])
def test_captions_are_whole(watched: Callable, address: str, width: int, text: int):
    page = watched(f"{address}#gallery", width=width)
    page.evaluate(f"document.documentElement.style.fontSize = '{text}px'")
    page.set_viewport_size({"width": width + 4, "height": 860})
    until(page, "document.querySelectorAll('.tile .what').length > 4")
    page.evaluate(f"for (const each of document.querySelectorAll('.what')) each.textContent = '{LONG}'")
    cut = page.evaluate(
        """() => [...document.querySelectorAll(".tile:has(.what)")].filter((tile) => {
          const what = tile.querySelector(".what");
          const bottom = (each) => each.getBoundingClientRect().bottom;
          const below = Math.max(...[...tile.querySelectorAll(".id, .value")].map(bottom));
          const end = bottom(tile.querySelector("a"));
          const wide = what.scrollWidth > what.clientWidth + 1;
          return wide || what.scrollHeight > what.clientHeight + 1 || below > end;
        }).length"""
    )
    assert cut == 0


SIZES = """(all) => all.map((each) => {
  const svg = each.ownerSVGElement;
  const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
  return parseFloat(getComputedStyle(each).fontSize) * scale;
})"""


@pytest.mark.parametrize("width", [340, 400, 860, 1400])
def test_charts_have_text_of_a_size_to_read(
    watched: Callable, open_table: Callable, address: str, width: int, tmp_path: Path
):
    import morphoscope as ms

    lone = {"id": list("abc"), "x": [1.0, 2.0, 4.0]}
    first = write("measurements", tmp_path / "first.parquet")
    second = write("measurements", tmp_path / "second.parquet", 2)
    with ms.explore(first, compare=second) as running:
        for page in (
            watched(f"{address}#charts", width=width),
            open_table(lone, "charts", width=width),
            watched(f"{running.address}#compare", width=width),
        ):
            page.wait_for_selector("svg.plot text")
            sizes = page.locator("svg.plot text").evaluate_all(SIZES)
            assert 10 <= min(sizes) <= max(sizes) <= 16


def texts(page, chart: str, axis: str) -> list[str]:
    page.wait_for_selector(f"svg[aria-label^='{chart}']")
    return page.locator(f"svg[aria-label^='{chart}'] text.tick.{axis}").all_text_contents()


def test_ticks_of_a_small_field_can_be_told_apart(open_table: Callable):
    near = {"ra": [359.998, 0.001, 0.002], "dec": [-0.002, 0.0, 0.003]}
    for table in ({**near}, {"ra": [358.21, 358.22, 358.25], "dec": [12.3481, 12.3482, 12.3484]}):
        page = open_table({"id": list("abc"), **table}, "charts")
        for axis in ("middle", "end"):
            found = texts(page, "Map of the sky", axis)
            assert len(found) == len(set(found)) >= 2
            assert all("e" not in each for each in found)
        places = page.locator("svg[aria-label^='Map of the sky'] text.tick.middle").evaluate_all(
            "(all) => all.map((each) => each.getBoundingClientRect()).map((box) => [box.left, box.right])"
        )
        places.sort()
        assert all(right < left for (_, right), (left, _) in pairwise(places))  # none covers the next


def test_a_filter_drawn_over_a_small_field_is_as_fine_as_the_field(open_table: Callable):
    place = {"ra": [358.21001, 358.210025, 358.21009], "dec": [12.0, 12.00004, 12.00009]}
    page = open_table({"id": list("abc"), **place}, "charts?column=ra")
    bars = page.locator("svg[aria-label^='Histogram'] a")
    bars.first.wait_for()
    filters = bars.evaluate_all("(all) => all.map((each) => each.getAttribute('href'))")
    assert len(filters) == 3
    for each in filters:
        page.goto(page.url.split("#")[0] + each)
        page.wait_for_selector(".tile")
        until(page, "document.querySelector('.count b')?.textContent === '1'")


def test_ticks_are_round_numbers_and_counts_whole(watched: Callable, address: str):
    page = watched(f"{address}#charts")
    found = page.evaluate(
        """async () => {
          const { among, ticks } = await import("/static/js/plots.js");
          const shown = (low, high, options) => {
            const { values, step } = ticks(low, high, options);
            return values.map((each) => among(each, step));
          };
          return [
            shown(-0.6, 0.6, { wanted: 7 }),
            shown(0, 2.08, { counts: true }),
            shown(0, 1.04, { counts: true }),
            shown(358.17, 358.31),
            shown(-3e-7, 3e-7),
            shown(0, 12000),
            shown(1e12, 5e12),
          ];
        }"""
    )
    assert found == [
        ["-0.6", "-0.4", "-0.2", "0", "0.2", "0.4", "0.6"],
        ["0", "1", "2"],
        ["0", "1"],
        ["358.20", "358.25", "358.30"],
        ["-2e-7", "0", "2e-7"],
        ["0", "5,000", "10,000"],
        ["1e+12", "2e+12", "3e+12", "4e+12", "5e+12"],
    ]


def test_one_galaxy_is_no_galaxies(watched: Callable, open_table: Callable, address: str):
    page = open_table({"id": ["a"], "x": [1.0]}, "charts")
    assert page.locator("#subject").inner_text().endswith("· 1 galaxy")
    assert page.locator(".count").inner_text() == "1 galaxy"
    page = watched(f"{address}#charts?filter=row+%3D+3")
    page.wait_for_selector("svg[aria-label^='Map of the sky'] image")
    page.wait_for_selector("svg[aria-label^='Reliability']")
    said = page.evaluate(
        """() => [...document.querySelectorAll("[aria-label], svg title")]
          .map((each) => each.getAttribute("aria-label") || each.textContent)
          .concat(document.body.innerText).join("\\n")"""
    )
    assert "1 galaxies" not in said
    assert "1 galaxy with coordinates" in said
    assert "1 galaxy with a probability" in said
    assert "1 galaxy: label " in said
    assert "1 galaxy, by the network's features" in said


def test_a_galaxy_says_what_classify_would_say_of_it(watched: Callable, open_table: Callable):
    table = {
        "id": ["a", "b"],
        "predicted": [None, "x"],
        "quality": ["too small; no data 3%", ""],
        "out_of_distribution": [1.4, 0.4],
        "set": ["x|y", "x"],
    }
    watched.refusals = True  # type: ignore[attr-defined]  # there are no pictures
    page = open_table(table, "galaxy/0")
    warned = page.locator(".verdict .chip.wrong").all_inner_texts()
    assert warned == ["out of distribution 1.4", "too small", "no data 3%"]
    assert page.locator("text=It is unlike the training's galaxies").count() == 1
    rows = page.locator("table.values tr").all_inner_texts()
    assert "set\tx, y" in rows
    assert "set\tx|y" not in rows
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("h1:has-text('b')")
    assert page.locator(".chip.wrong").count() == 0
    assert page.locator("text=It is unlike").count() == 0


def test_without_coordinates_there_is_no_sky_whatever_the_filter(open_table: Callable):
    nowhere = pa.nulls(2, pa.float64())
    for view in ("charts?column=x", "charts?column=x&filter=x+%3E+1"):
        page = open_table({"id": ["a", "b"], "ra": nowhere, "dec": nowhere, "x": [1.0, 2.0]}, view)
        page.wait_for_selector("svg.plot")
        assert page.locator("h2", has_text="Sky").count() == 0
    somewhere = {"id": ["a", "b"], "ra": [None, 1.0], "dec": [None, 1.0], "x": [2.0, 1.0]}
    page = open_table(somewhere, "charts?filter=x+%3E+1")
    page.wait_for_selector("text=None of these galaxies has coordinates")


def test_without_a_run_no_file_can_be_chosen_and_the_button_says_so(watched: Callable, address: str):
    page = watched(f"{address}#classify")
    button = page.locator("input[type=file]")
    assert button.is_disabled()
    opacity = button.evaluate("(each) => getComputedStyle(each, '::file-selector-button').opacity")
    assert float(opacity) < 1
