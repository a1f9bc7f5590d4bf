"""The page in a real Chromium: each view, keys, phone width, dark, and no request to anybody else.

They need a Chromium (``apt-get install chromium``) and are skipped without one; the check of accessibility
fetches axe-core from npm, and is skipped where that cannot be had.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from browser_helpers import serious_findings, until
from PIL import Image

from morphoscope.data.store import Store

pytest.importorskip("playwright")
pytestmark = pytest.mark.slow
VIEWS = ("gallery", "galaxy/7", "charts", "label", "classify", "compare")


@pytest.fixture(scope="module")
def address(run, store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The explorer of a run with a catalogue, labels, features and a second catalogue."""
    import morphoscope as ms

    folder = tmp_path_factory.mktemp("browser")
    ms.load(run.path).catalogue(store.path, folder / "drawn.parquet", embeddings=True)
    table = pq.read_table(folder / "drawn.parquet", columns=["id", "predicted", "probability"])
    other = np.roll(table["predicted"].to_numpy(zero_copy_only=False), 1)
    pq.write_table(table.set_column(1, "predicted", pa.array(other)), folder / "other.parquet")
    with ms.explore(
        run.path,
        catalogue=folder / "drawn.parquet",
        compare=folder / "other.parquet",
        labels=folder / "l.sqlite",
    ) as running:
        yield running.address


@pytest.fixture
def open_page(watched: Callable, address: str) -> Callable:
    """Opens a view of the run's explorer."""

    def opened(view: str, **options):
        watched.refusals = opened.refusals  # type: ignore[attr-defined]
        return watched(f"{address}#{view}", **options)

    opened.refusals = False  # type: ignore[attr-defined]
    return opened


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_view_on_a_desk_and_on_a_phone(open_page: Callable, view: str, dark: bool):
    for phone in (False, True):
        page = open_page(view, dark=dark, phone=phone)
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert wide <= 0, f"{view} is {wide} px wider than the screen"
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, background[4:-1].split(","))) < 150) == dark
        assert page.locator("nav a[aria-current=page]").count() == 1


PLACE = "document.activeElement.closest('.tile')?.getAttribute('aria-posinset')"


def test_the_gallery_is_filtered_and_says_what_is_wrong(open_page: Callable):
    open_page.refusals = True
    page = open_page("gallery")
    assert page.locator(".tile").count() >= 20
    page.wait_for_selector(".tile img")
    page.fill("#filter", "p_Edge-on > 2")
    page.press("#filter", "Enter")
    page.wait_for_selector("#filter-problem:has-text('There is no column')")
    page.fill("#filter", "row < 7")
    page.press("#filter", "Enter")
    until(page, "document.querySelectorAll('.tile').length === 7")
    assert "7 of 150" in page.locator(".count").inner_text()
    assert "filter=row" in page.url
    page.reload()
    until(page, "document.querySelectorAll('.tile').length === 7")
    page.fill("#filter", "row < 0")
    page.press("#filter", "Enter")
    page.wait_for_selector("text=No galaxy passes this filter")


def test_the_gallery_by_keys(open_page: Callable):
    page = open_page("gallery?sort=probability")
    page.wait_for_selector(".tile a[data-id]")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    at = page.evaluate("Number(document.activeElement.closest('.tile').getAttribute('aria-posinset'))")
    columns = page.evaluate(
        "new Set([...document.querySelectorAll('.tile')].map((t) => t.getBoundingClientRect().x)).size"
    )
    assert at == 2 + columns
    page.keyboard.press("End")
    until(page, f"{PLACE} === '150'")
    page.keyboard.press("Home")
    until(page, f"{PLACE} === '1'")
    page.keyboard.press("x")
    page.wait_for_selector("text=1 galaxy selected")
    page.keyboard.press("Enter")
    page.wait_for_selector(".galaxy h1")
    page.wait_for_selector("text=1 of 150")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("text=2 of 150")
    page.keyboard.press("Escape")
    page.wait_for_selector(".tile")
    page.keyboard.press("?")
    page.wait_for_selector("dialog[open]")
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "filter"


def test_one_galaxy_with_a_map(open_page: Callable):
    page = open_page("galaxy/4")
    assert page.locator(".galaxy h1").inner_text() == "g4"
    page.wait_for_selector(".strip img")
    links = page.locator(".links a").evaluate_all("(all) => all.map((a) => [a.rel, a.target, a.href])")
    assert all(rel == "noopener noreferrer" and target == "_blank" for rel, target, _ in links)
    before = page.locator(".stage canvas").screenshot()
    page.keyboard.press("m")
    page.wait_for_selector("text=/What speaks for|tells nothing/")
    page.fill("input[aria-label='Opacity of the map']", "1")
    assert page.locator(".stage canvas").screenshot() != before
    assert page.locator("b", has_text="Spiral").count() == 0 or "<b>" in page.content()
    assert "<b>Spiral</b>" in page.locator(".answers").inner_text()  # a name is never markup


NOTE_THE_SCALE_BAR = """() => {
  const { fillText, lineTo } = CanvasRenderingContext2D.prototype;
  let ends = [];
  window.bar = {};
  CanvasRenderingContext2D.prototype.lineTo = function (x, y) {
    ends.push(x);
    return lineTo.call(this, x, y);
  };
  CanvasRenderingContext2D.prototype.fillText = function (text, ...at) {
    const value = parseFloat(text);
    if (value) window.bar = { unit: text.replace(/^[\\d.]+/, ""), per: (ends[1] - ends[0]) / value };
    ends = [];
    return fillText.call(this, text, ...at);
  };
}"""


def across(page) -> tuple[str, float]:
    """By the scale bar: its unit, and how much the stage shows from left to right."""
    page.click("button[aria-label='Whole image']")  # draws
    bar = page.evaluate("window.bar")
    return bar["unit"], page.locator(".stage").evaluate("(each) => each.clientWidth") / bar["per"]


def test_the_scale_bar_is_of_the_original_also_with_a_map(open_page: Callable, store: Store):
    page = open_page("galaxy/4")
    page.evaluate(NOTE_THE_SCALE_BAR)
    assert across(page) == ("″", pytest.approx(40 * 0.262))
    page.keyboard.press("m")
    page.wait_for_selector("text=/What speaks for|tells nothing/")
    assert across(page) == ("″", pytest.approx(36 * 0.262))  # the run's crop
    page.keyboard.press("m")
    page.wait_for_timeout(300)
    assert across(page) == ("″", pytest.approx(40 * 0.262))
    # A dropped image, larger than what is kept of it.
    page = open_page("classify")
    page.evaluate(NOTE_THE_SCALE_BAR)
    file = io.BytesIO()
    Image.fromarray(np.kron(store.images[3], np.ones((50, 50, 1), np.uint8))).save(file, "PNG")
    page.set_input_files(
        "input[type=file]", {"name": "large.png", "mimeType": "image/png", "buffer": file.getvalue()}
    )
    page.wait_for_selector(".found >> text=/What speaks for|tells nothing/")
    assert across(page) == (" px", pytest.approx(2000 * 36 / 40, rel=0.01))
    page.select_option("select[aria-label='Map']", "")
    page.wait_for_timeout(300)
    assert across(page) == (" px", pytest.approx(2000))


def test_another_stretch_of_the_fluxes_takes_the_map_away(watched: Callable, run, tmp_path: Path):
    """A map is of what the network saw, which is a part of the picture and of the catalogue's stretch."""
    from astropy.io import fits

    import morphoscope as ms

    y, x = np.mgrid[:96, :96] - 47.5
    light = 100 * np.exp(-np.hypot(x, y) / 4) + np.random.default_rng(0).normal(0, 1, (96, 96))
    (tmp_path / "in").mkdir()
    fits.PrimaryHDU(light.astype(np.float32)).writeto(tmp_path / "in" / "one.fits")
    catalogue = tmp_path / "of-fits.parquet"
    ms.load(run.path).catalogue(tmp_path / "in", catalogue, scale="auto", quality="off")
    with ms.explore(run.path, catalogue=catalogue, images=tmp_path / "in") as running:
        page = watched(f"{running.address}#galaxy/0")
        page.evaluate(NOTE_THE_SCALE_BAR)
        flux = page.locator("select[aria-label='Stretch of the fluxes']")
        flux.select_option("asinh")
        page.wait_for_load_state("networkidle")
        alone = page.locator(".stage canvas").screenshot()
        page.keyboard.press("m")
        page.wait_for_selector("text=/What speaks for|tells nothing/")
        assert across(page)[1] < 96
        flux.select_option("linear")
        flux.select_option("asinh")
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(300)
        assert page.input_value("select[aria-label='Map']") == ""
        assert across(page) == (" px", pytest.approx(96))
        assert page.locator(".stage canvas").screenshot() == alone


def test_names_of_classes_and_the_way_on_are_whole_on_a_phone(open_page: Callable):
    page = open_page("galaxy/4?sort=row", phone=True)
    page.wait_for_selector("a[aria-label='Next galaxy']:visible")
    page.evaluate("document.querySelector('.galaxy h1').textContent = '587724242843336905'")
    page.evaluate("document.querySelector('.answers .name').textContent = 'In-between Round Smooth'")
    tops = page.locator(".galaxy-top a:visible").evaluate_all(
        "(all) => all.map((each) => Math.round(each.getBoundingClientRect().top))"
    )
    assert len(tops) == 3
    assert len(set(tops)) == 1  # the gallery, the galaxy before, the galaxy after
    cut = page.locator(".answers .name").evaluate_all(
        "(all) => all.filter((each) => each.scrollWidth > each.clientWidth).map((each) => each.textContent)"
    )
    assert cut == []


def test_charts_lead_to_their_galaxies(open_page: Callable):
    page = open_page("charts")
    cell = page.locator(".matrix td a").first
    count = int(cell.inner_text())
    cell.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".tile")
    assert page.locator(".count b").inner_text() == str(count)
    page.go_back()
    page.wait_for_selector(".plot a")
    plot = page.locator("svg[aria-label^='Map of the sky']")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.3)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.6, steps=5)
    page.mouse.up()
    page.wait_for_selector(".tile")
    assert "ra between" in page.input_value("#filter")
    assert 0 < int(page.locator(".count b").inner_text()) < 150


def test_labelling_by_keys_survives_an_interruption(open_page: Callable):
    open_page.refusals = True
    page = open_page("label?filter=row+%3C+10")
    page.fill("input[aria-label='Your name']", "Ada")
    page.keyboard.press("Tab")
    page.evaluate("document.activeElement.blur()")
    for key in ("1", "2", "u", "s", "z", "3"):
        page.keyboard.press(key)
        page.wait_for_timeout(300)
    page.wait_for_selector("text=4 of 10 done")
    page.context.set_offline(True)
    page.keyboard.press("1")
    page.wait_for_selector("text=/1 not saved yet/")
    page.context.set_offline(False)
    page.wait_for_selector("text=/Saved in/")
    page.wait_for_selector("text=/Labels so far: 5 galaxies/")
    table = page.locator(".values.counts").inner_text().split()
    assert table[-4:] == ["Ada", "4", "1", "0"]
    page.reload()
    page.wait_for_selector("text=5 of 10 done")


def test_a_dropped_image_is_classified(open_page: Callable, store: Store):
    page = open_page("classify")
    file = io.BytesIO()
    Image.fromarray(store.images[3]).save(file, "PNG")
    page.set_input_files(
        "input[type=file]", {"name": "mine.png", "mimeType": "image/png", "buffer": file.getvalue()}
    )
    page.wait_for_selector(".found .answers")
    assert page.locator(".found h2").first.inner_text() == "mine.png"
    assert page.locator(".found .answers li").count() == 3
    page.wait_for_selector(".found .strip img")
    page.wait_for_selector(".found >> text=/What speaks for|tells nothing/")  # the map comes by itself


def test_a_million_galaxies_scroll_to_their_end(chromium, tmp_path: Path):
    import morphoscope as ms

    count = 1_000_000
    ids = pa.array(np.char.add("g", np.arange(count).astype(str)))
    pq.write_table(pa.table({"id": ids, "x": np.arange(count)}), tmp_path / "million.parquet")
    with ms.explore(tmp_path / "million.parquet") as running:
        page = chromium.new_page(viewport={"width": 390, "height": 844})
        page.set_default_timeout(60_000)
        page.goto(f"{running.address}#gallery")
        page.wait_for_selector(".tile a[data-id]")
        page.keyboard.press("End")
        page.wait_for_selector(".tile a[data-id=g999999]")
        assert page.locator(".tile").count() < 120
        page.mouse.move(200, 600)
        page.mouse.wheel(0, -500)
        page.wait_for_timeout(300)
        places = "[...document.querySelectorAll('.tile')].map((t) => Number(t.getAttribute('aria-posinset')))"
        assert min(page.evaluate(places)) > count - 100  # a small step stays a small step
        page.evaluate(
            "(() => { const s = document.querySelector('.scroller'); s.scrollTop = s.scrollHeight / 2 })()"
        )
        page.wait_for_timeout(300)
        assert 0.4 * count < np.median(page.evaluate(places)) < 0.6 * count
        page.evaluate("document.querySelector('.scroller').scrollTop = 0")
        page.wait_for_selector(".tile a[data-id=g0]")
        page.close()


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_has_no_serious_findings(open_page: Callable, axe: str, view: str, dark: bool):
    page = open_page(view, dark=dark)
    page.wait_for_timeout(700)
    assert serious_findings(page, axe) == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_has_no_serious_findings_in_what_opens(open_page: Callable, axe: str, dark: bool):
    open_page.refusals = True
    page = open_page("gallery", dark=dark)
    page.wait_for_selector(".tile img")
    page.keyboard.press("?")
    page.wait_for_selector("dialog[open]")
    found = {"keys": serious_findings(page, axe)}
    page.keyboard.press("Escape")
    for name in ("Share", "Columns"):
        menu = page.locator("details.menu", has=page.locator("summary", has_text=name))
        menu.locator("summary").click()
        menu.locator(".sheet").wait_for()
        found[name] = serious_findings(page, axe)
        menu.locator("summary").click()
    page.fill("#filter", "p_Edge-on > 2")
    page.press("#filter", "Enter")
    page.wait_for_selector("#filter-problem:has-text('There is no column')")
    found["a filter that is refused"] = serious_findings(page, axe)
    page.fill("#filter", "row < 0")
    page.press("#filter", "Enter")
    page.wait_for_selector("text=No galaxy passes this filter")
    found["nothing"] = serious_findings(page, axe)
    assert {at: findings for at, findings in found.items() if findings} == {}
