"""Any number of bands from FITS to a catalogue and an ONNX file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.io import fits

import morphoscope as ms
from morphoscope.data.sources.folder import ingest_folder
from morphoscope.data.store import Store
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.recipes import Augment, Data, Evaluation, Model, Optimiser, Recipe, Training
from morphoscope.runs.run import Run, open_run

TINY = Recipe(
    name="tiny",
    data=Data(validation=0.25, test=0.25),
    augment=Augment(size=32, noise=4.0, brightness=0.1, channel_shift=5.0, channel_gain=0.1),
    model=Model(name="test_resnet", pretrained=False),
    optimiser=Optimiser(lr=3e-3),
    training=Training(epochs=1, batch=8, precision="fp32"),
    evaluation=Evaluation(batch=32),
)
FIVE = ("g", "r", "i", "z", "y")


def cubes(bands: tuple[str, ...], count: int, ratio: float, seed: int) -> list[np.ndarray]:
    """Discs on a sky whose level and noise differ from band to band, as measured, (B, 40, 40)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:40, :40] - 20.0
    disc = np.exp(-np.hypot(x, y / ratio) / 2.5)
    number = np.arange(1, len(bands) + 1)[:, None, None]
    return [
        (120 * number * disc + 10 * number + rng.normal(0, number, (len(bands), 40, 40))).astype("f4")
        for _ in range(count)
    ]


def write_galaxy(place: Path, cube_BHW: np.ndarray, bands: tuple[str, ...], form: str) -> None:
    if form == "cube":
        fits.PrimaryHDU(cube_BHW).writeto(place.with_suffix(".fits"))
    elif form == "extensions":
        parts = [fits.ImageHDU(plane, name=band) for plane, band in zip(cube_BHW, bands, strict=True)]
        fits.HDUList([fits.PrimaryHDU(), *parts]).writeto(place.with_suffix(".fits"))
    else:
        for plane, band in zip(cube_BHW, bands, strict=True):
            fits.PrimaryHDU(plane).writeto(place.with_name(f"{place.name}-{band}.fits"))


def galaxies(folder: Path, bands: tuple[str, ...], form: str, count: int = 8) -> Path:
    """A folder of two classes of galaxies."""
    for label, ratio in (("edge-on", 0.3), ("round", 1.0)):
        (folder / label).mkdir(parents=True)
        for number, cube in enumerate(cubes(bands, count, ratio, seed=len(label))):
            write_galaxy(folder / label / f"{label[0]}{number}", cube, bands, form)
    return folder


def trained(store: Store, out: Path) -> Run:
    from morphoscope.training.fit import fit

    return fit(TINY, store, out, progress=False)


@pytest.fixture(scope="module")
def two_bands(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Store, Run]:
    place = tmp_path_factory.mktemp("bands")
    images = galaxies(place / "images", ("g", "i"), "extensions")
    store = ingest_folder(images, place / "store", bands="g,i", stretch="values")
    return images, store, trained(store, place / "run")


def test_two_bands_from_fits_to_the_network(two_bands: tuple[Path, Store, Run]) -> None:
    images, store, run = two_bands
    assert store.images.shape == (16, 40, 40, 2)
    assert (store.images.dtype, store.meta.bands, store.meta.stretch) == (np.float32, ("i", "g"), "values")
    with fits.open(images / "edge-on" / "e0.fits") as units:
        np.testing.assert_array_equal(store.images[0][::-1, :, 0], units["i"].data)
        np.testing.assert_array_equal(store.images[0][::-1, :, 1], units["g"].data)
    facts = run.header.store
    assert (facts.bands, facts.dtype, facts.image_shape) == (("i", "g"), "float32", (40, 40, 2))
    network = run.network()
    # The sky of band i is at 20 ± 2, of g at 10 ± 1; the discs add a little to the medians.
    np.testing.assert_allclose(network.stretch.sky.ravel(), [20, 10], atol=1.5)  # type: ignore[union-attr]
    np.testing.assert_allclose(network.stretch.noise.ravel(), [2, 1], rtol=0.5)  # type: ignore[union-attr]


def test_files_arrays_and_stores_are_predicted_alike(
    two_bands: tuple[Path, Store, Run], tmp_path: Path
) -> None:
    images, store, run = two_bands
    loaded = ms.load(run.path, engine="torch")
    expected = loaded.predict([store.images[row] for row in range(len(store))])
    assert np.ptp(expected[:, 0]) > 1e-4
    np.testing.assert_allclose(loaded.predict(str(store.path)), expected, atol=1e-6)
    np.testing.assert_allclose(loaded.predict(str(images)), expected, atol=1e-6)
    # Another order of the planes: they are found by name.
    turned = ingest_folder(
        galaxies(tmp_path / "images", ("i", "g"), "files"), tmp_path / "other", bands="i,g", stretch="values"
    )
    assert turned.meta.bands == ("i", "g")
    loaded.catalogue(str(images), tmp_path / "out.parquet", bands="i,g")
    table = pq.read_table(tmp_path / "out.parquet")
    said = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    assert any("i,g" in value for value in said.values())
    np.testing.assert_allclose(table["p_round"].to_numpy(), expected[:, 1], atol=1e-5)


def test_planes_in_another_order_are_found_by_name(
    two_bands: tuple[Path, Store, Run], tmp_path: Path
) -> None:
    from dataclasses import replace

    from morphoscope.inference.preprocess import store_in_order

    _, store, run = two_bands
    backwards = replace(
        store,
        images=np.ascontiguousarray(np.asarray(store.images)[..., ::-1]),
        meta=store.meta.model_copy(update={"bands": ("g", "i")}),
    )
    np.testing.assert_array_equal(store_in_order(backwards, run.header.store).images[3], store.images[3])
    without = replace(backwards, meta=store.meta.model_copy(update={"bands": ("g", "z")}))
    with pytest.raises(UsageError, match="lacks the band i: it has g, z, and the run was trained on i, g"):
        store_in_order(without, run.header.store)


def test_planes_without_names_are_read_in_the_order_of_the_ingest(tmp_path: Path) -> None:
    from morphoscope.inference.preprocess import bands_asked
    from morphoscope.runs.run import store_facts

    images = galaxies(tmp_path / "images", FIVE, "cube", count=1)
    store = ingest_folder(images, tmp_path / "store", bands=FIVE)
    facts = store_facts(store)
    assert (facts.bands, facts.bands_given) == (FIVE[::-1], FIVE)
    assert bands_asked((), facts) == bands_asked(FIVE, facts) == FIVE
    assert bands_asked(FIVE[::-1], facts) == FIVE[::-1]
    assert bands_asked(("u", *FIVE), facts) == FIVE
    path = images / "round" / "r0.fits"
    again = ms.read_image(path, stretch="values", bands=bands_asked((), facts))
    np.testing.assert_array_equal(again, store.images[1])
    np.testing.assert_array_equal(again[::-1, :, 4], fits.getdata(path)[0])  # g, the first plane


def test_sources_of_a_mosaic_are_detected_in_its_bands(
    two_bands: tuple[Path, Store, Run], tmp_path: Path
) -> None:
    _, _, run = two_bands
    y, x = np.mgrid[:160, :200]
    discs = sum(np.exp(-np.hypot(x - at[0], y - at[1]) / 4) for at in ((50, 40), (140, 110)))
    noise = np.random.default_rng(1).normal(0, 1, (2, 160, 200))
    sky = [(100 * (band + 1) * discs + 10 * (band + 1) + noise[band]).astype("f4") for band in (0, 1)]
    parts = [fits.ImageHDU(plane, name=band) for plane, band in zip(sky, ("g", "i"), strict=True)]
    fits.HDUList([fits.PrimaryHDU(), *parts]).writeto(tmp_path / "sky.fits")
    loaded = ms.load(run.path, engine="torch")
    picture = tmp_path / "sky.png"
    found = loaded.sky(tmp_path / "sky.fits", tmp_path / "found.parquet", drawn=picture)
    assert found.num_rows == 2
    assert sorted(np.round(found["x"].to_numpy())) == [50, 140]
    assert picture.stat().st_size > 1000
    said = pq.read_table(tmp_path / "found.parquet").schema.metadata
    assert any(b"i, g as measured" in value for value in said.values())
    with pytest.raises(UsageError, match="so --detect needs a FITS mosaic with them, not a picture"):
        loaded.sky(np.zeros((90, 90, 3), np.uint8), tmp_path / "none.parquet")


def test_maps_in_the_page_show_what_the_network_saw(two_bands: tuple[Path, Store, Run]) -> None:
    from morphoscope.explorer.network import Network
    from morphoscope.explorer.pictures import FilePictures, Place, Rendering, StorePictures

    images, store, run = two_bands
    network, place = Network(run), Place(0, "e0", "edge-on/e0.fits")
    assert network.why_no_maps == ""
    files = FilePictures(images, Rendering("values", ("g", "i")))
    for pictures in (StorePictures(store), files):
        seen = network.seen(pictures, place)
        np.testing.assert_array_equal(seen, store.images[0])
        found = network.map(seen, "gradcam", "predicted")
        assert found.image.shape == (32, 32, 3)
        assert pictures.load(place).dtype == np.uint8
    with pytest.raises(MorphoscopeError, match=r"has pictures, and the network takes the bands i, g"):
        FilePictures(images).planes(place, ("i", "g"))


def test_bands_can_be_exported_and_come_back(two_bands: tuple[Path, Store, Run], tmp_path: Path) -> None:
    import h5py

    from morphoscope.data.export import export_folders, export_hdf5

    _, store, _ = two_bands
    export_folders(store, tmp_path / "folders")
    again = ingest_folder(tmp_path / "folders", tmp_path / "again", bands="g,i", stretch="values")
    np.testing.assert_array_equal(again.images, store.images)
    assert again.targets().tolist() == store.targets().tolist()
    with h5py.File(export_hdf5(store, tmp_path / "store.h5")) as file:
        np.testing.assert_array_equal(file["images"][()], store.images)
        assert file["images"].attrs["bands"].tolist() == ["i", "g"]


def test_pictures_show_the_bands_that_were_chosen(tmp_path: Path) -> None:
    from morphoscope.images.planes import picture_of, shown_bands
    from morphoscope.runs.run import store_facts

    images = galaxies(tmp_path / "images", FIVE, "cube", count=1)
    store = ingest_folder(images, tmp_path / "store", bands=FIVE, show="z,r,g")
    assert store.meta.shown == ("z", "r", "g")
    facts = store_facts(store)
    assert shown_bands(facts) == "z, r, g as red, green and blue"
    np.testing.assert_array_equal(store.pictures[0], picture_of(store.images[0][:, :, [1, 3, 4]]))
    with pytest.raises(UsageError, match=r"--show z,u: u is not among --bands"):
        ingest_folder(images, tmp_path / "other", bands=FIVE, show="z,u")
    with pytest.raises(UsageError, match="--show g chooses bands of planes, and --bands g,r,i make"):
        ingest_folder(images, tmp_path / "other", bands="g,r,i", show="g")


def test_other_images_are_one_sentence(two_bands: tuple[Path, Store, Run], tmp_path: Path) -> None:
    images, store, run = two_bands
    loaded = ms.load(run.path, engine="torch")
    with pytest.raises(UsageError, match=r"\(height, width, 2\) float32 \(i, g, in this order\)"):
        loaded.predict(np.zeros((40, 40, 3), np.uint8))
    with pytest.raises(UsageError, match="lacks the band i"):
        loaded.catalogue(str(images), tmp_path / "out.parquet", bands="g,z")
    with pytest.raises(UsageError, match="was trained on the bands i, g as measured"):
        loaded.catalogue(str(images), tmp_path / "out.parquet", stretch="asinh")
    with pytest.raises(UsageError, match="trained on colour pictures"):
        ms.load("default", engine="onnx").catalogue(str(store.path), tmp_path / "out.parquet")
    with pytest.raises(UsageError, match="trained on colour pictures"):
        ms.load("default", engine="onnx").catalogue(
            str(images), tmp_path / "out.parquet", bands="g,i", stretch="values"
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bands", "form", "stretch"),
    [
        (("r",), "cube", "values"),
        (("g", "i"), "files", "bands"),
        (FIVE, "cube", None),
        (FIVE, "files", "values"),
        (FIVE, "extensions", "bands"),
    ],
)
def test_from_fits_to_onnx(bands: tuple[str, ...], form: str, stretch: str | None, tmp_path: Path) -> None:
    images = galaxies(tmp_path / "images", bands, form, count=12)
    store = ingest_folder(images, tmp_path / "store", bands=bands, stretch=stretch)
    assert store.meta.bands == bands[::-1]
    assert store.meta.dtype == ("uint8" if stretch == "bands" else "float32")
    loaded = ms.train(TINY, store, tmp_path / "run", progress=False)
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    assert loaded.run.header.store.bands == bands[::-1]
    expected = ms.load(tmp_path / "run", engine="torch").predict(str(store.path))
    onnx = loaded.export(tmp_path / "network.onnx")
    said = json.loads(onnx.with_suffix(".json").read_text())
    assert said["images"]["channels"] == ", ".join(bands[::-1])
    assert said["input"]["shape"] == ["galaxies", len(bands), 32, 32]
    exported = ms.load(onnx)
    np.testing.assert_allclose(exported.predict(str(store.path)), expected, atol=1e-5)
    pattern = images / "round" / "{id}-{band}.fits" if form == "files" else images / "round"
    summary = exported.catalogue(str(pattern), tmp_path / "catalogue.parquet")
    assert (summary.predicted, summary.unreadable) == (12, 0)
    found = pq.read_table(tmp_path / "catalogue.parquet")["p_round"].to_numpy()
    np.testing.assert_allclose(np.sort(found), np.sort(expected[12:, 1]), atol=1e-5)


@pytest.mark.parametrize(
    ("bands", "message"),
    [
        ("", None),
        ("g,r,i,z,y,j,h,k,w", "one to eight names|one to 8 names"),
        ("g,g", "named twice"),
        ("g,HSC-G", "named twice"),
        ("g,r,foo", "wavelength of foo is not known"),
    ],
)
def test_bands_that_cannot_be(bands: str, message: str | None, tmp_path: Path) -> None:
    galaxies(tmp_path / "images", ("g", "i"), "extensions", count=1)
    if message is None:
        assert ingest_folder(tmp_path / "images", tmp_path / "store", bands=bands).meta.bands == ()
        return
    with pytest.raises(UsageError, match=message):
        ingest_folder(tmp_path / "images", tmp_path / "store", bands=bands)


def test_files_with_other_bands_are_listed(tmp_path: Path) -> None:
    images = galaxies(tmp_path / "images", FIVE[:3], "cube", count=3)
    cube = cubes(FIVE[:2], 1, 1.0, seed=1)[0]
    fits.PrimaryHDU(cube).writeto(images / "round" / "r9.fits")
    store = ingest_folder(images, tmp_path / "store", bands="g,r,i", stretch="values")
    assert (len(store), store.meta.unreadable) == (6, 1)
    assert "2 planes" in (tmp_path / "store" / "unreadable.csv").read_text()
    with pytest.raises(MorphoscopeError, match="3 planes"):
        ingest_folder(images, tmp_path / "four", bands="g,r,i,z")
    with pytest.raises(UsageError, match="a picture with the stretch 'lupton' has one, two or three bands"):
        ingest_folder(images, tmp_path / "four", bands="g,r,i,z", stretch="lupton")
    with pytest.raises(UsageError, match="name them with --bands"):
        ingest_folder(images, tmp_path / "none", stretch="values")


@pytest.mark.parametrize("kind", ["f8", "i4", "i2", "u1"])
def test_numbers_of_any_type_become_single_precision(kind: str, tmp_path: Path) -> None:
    for label in ("a", "b"):
        (tmp_path / "images" / label).mkdir(parents=True)
        pixels = np.random.default_rng(3).integers(1, 90, (2, 30, 30)).astype(kind)
        fits.PrimaryHDU(pixels).writeto(tmp_path / "images" / label / f"{label}.fits")
    store = ingest_folder(tmp_path / "images", tmp_path / "store", bands="g,r", stretch="values")
    assert store.images.dtype == np.float32
    np.testing.assert_array_equal(store.images[0][::-1], np.moveaxis(pixels[::-1], 0, 2))


def test_pixels_without_data_get_the_sky_of_their_band(tmp_path: Path) -> None:
    cube = cubes(("g", "r"), 1, 1.0, seed=2)[0]
    cube[0, :5] = np.nan
    for label in ("a", "b"):
        (tmp_path / "images" / label).mkdir(parents=True)
        fits.PrimaryHDU(cube).writeto(tmp_path / "images" / label / f"{label}.fits")
    store = ingest_folder(tmp_path / "images", tmp_path / "store", bands="g,r", stretch="values")
    assert np.isfinite(store.images[0]).all()
    np.testing.assert_allclose(store.images[0][-5:, :, 1], 10, atol=1.0)  # g is the second plane
    assert store.images[0][-5:, :, 0].std() > 1  # r was measured there


def test_grey_pictures_are_one_band_where_asked(tmp_path: Path) -> None:
    from PIL import Image

    for label in ("a", "b"):
        (tmp_path / "images" / label).mkdir(parents=True)
        levels = np.random.default_rng(5).integers(0, 255, (20, 20), np.uint8)
        Image.fromarray(levels).save(tmp_path / "images" / label / "grey.png")
    assert ingest_folder(tmp_path / "images", tmp_path / "three").images.shape[3] == 3
    store = ingest_folder(tmp_path / "images", tmp_path / "one", bands="r")
    assert (store.images.shape, store.meta.bands) == ((2, 20, 20, 1), ("r",))
    np.testing.assert_array_equal(store.images[0][:, :, 0], levels)
    with pytest.raises(MorphoscopeError, match=r"has one band \(it is grey\), and --bands names 2"):
        ingest_folder(tmp_path / "images", tmp_path / "two", bands="g,r")
    with pytest.raises(MorphoscopeError, match="is a stretched picture"):
        ingest_folder(tmp_path / "images", tmp_path / "values", bands="r", stretch="values")


def test_older_stores_and_runs_keep_their_format(tmp_path: Path) -> None:
    from PIL import Image

    for label in ("a", "b"):
        (tmp_path / "images" / label).mkdir(parents=True)
        Image.new("RGB", (20, 20), (9, 8, 7)).save(tmp_path / "images" / label / "x.png")
    store = ingest_folder(tmp_path / "images", tmp_path / "store")
    assert (store.meta.format_version, store.meta.bands, store.meta.dtype) == (1, (), "uint8")
    assert open_run("default").header.store.pictures
