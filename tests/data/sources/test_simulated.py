from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from morphoscope.data.sources.simulated import block_of, simulate
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.labels.galaxy10 import COUNTS, GALAXY10
from morphoscope.labels.tree import GALAXY_ZOO_2
from morphoscope.simulation.galaxy import TRUTH
from morphoscope.simulation.rows import COMPONENTS, Plan, class_of, render_rows
from morphoscope.simulation.survey import DECALS, SURVEYS
from morphoscope.simulation.votes import chance_column, count_column


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    return simulate(tmp_path_factory.mktemp("stores") / "ten", 20, 48, seed=3)


def test_store_has_labels_truth_and_scale(store):
    assert store.images.shape == (20, 48, 48, 3)
    assert store.scheme == GALAXY10
    assert store.meta.pixel_scale == pytest.approx(256 * 0.262 / 48)
    assert set(TRUTH) <= set(store.table.column_names)
    names = [GALAXY10.classes[label] for label in store.targets()]
    assert names == store.column("morphology").tolist()
    assert np.isnan(store.column("ra")).all()
    assert len(np.unique(store.column("id"))) == 20
    assert len(np.unique(store.column("sky_group"))) == 20
    # no two rows share their random numbers, nor their pixels
    assert len(np.unique(store.column("position_angle"))) == 20
    assert len(np.unique(store.column("pixel_hash"))) == 20


def test_equal_proportions_give_as_many_of_every_class(store):
    assert np.bincount(store.targets(), minlength=10).tolist() == [2] * 10


def test_galaxy10_proportions_are_within_one_in_a_block():
    plan = Plan((DECALS,), 32, 5, "galaxy10", block_of("galaxy10"))
    counts = np.bincount([class_of(plan, row) for row in range(2 * len(plan.block))], minlength=10)
    expected = np.array(COUNTS) / sum(COUNTS) * 2 * len(plan.block)
    assert np.abs(counts - expected).max() < 2
    assert counts.sum() == 2 * len(plan.block)


@pytest.mark.slow
def test_other_count_and_workers_give_the_same_galaxies(store, tmp_path: Path):
    again = simulate(tmp_path / "again", 18, 48, seed=3, workers=2)
    assert np.array_equal(again.images, store.images[:18])
    wanted = store.table.slice(0, 18).drop_columns("sky_group")
    assert again.table.drop_columns("sky_group").equals(wanted) or _same(again.table, wanted)
    other = simulate(tmp_path / "other", 2, 48, seed=4)
    assert not np.array_equal(other.images, store.images[:2])


def _same(left, right) -> bool:
    """Equality of tables in which NaN equals NaN."""
    for name in right.column_names:
        a, b = (table.column(name).to_numpy(zero_copy_only=False) for table in (left, right))
        numbers = a.dtype.kind == "f"
        if not np.array_equal(a, b, equal_nan=numbers):
            return False
    return True


def test_votes_obey_the_tree(tmp_path: Path):
    store = simulate(tmp_path / "votes", 20, 32, scheme="votes", seed=1)
    fractions = store.targets().astype(np.float64)
    assert fractions.shape == (20, 37)
    assert np.abs(GALAXY_ZOO_2.sum_errors(fractions)).max() < 1e-6
    assert store.column("volunteers").min() >= 30
    counts = np.stack([store.column(count_column(answer)) for answer in GALAXY_ZOO_2.columns], 1)
    assert counts[:, :3].sum(axis=1).tolist() == store.column("volunteers").tolist()
    shares = counts[:, :3] / counts[:, :3].sum(axis=1, keepdims=True)
    assert np.abs(shares - fractions[:, :3]).max() < 1e-6
    featured = fractions[:, 1]
    classes = store.column("morphology")
    smooth = np.isin(classes, GALAXY10.classes[2:4])
    spiral = np.isin(classes, GALAXY10.classes[5:8])
    assert featured[spiral].min() > featured[smooth].max()


def test_counts_are_those_that_fractions_were_made_of(tmp_path: Path):
    fractions = simulate(tmp_path / "votes", 6, 16, scheme="votes", seed=1)
    store = simulate(tmp_path / "counts", 6, 16, scheme="vote-counts", seed=1)
    counts = np.stack([fractions.column(count_column(answer)) for answer in GALAXY_ZOO_2.columns], 1)
    assert np.array_equal(store.targets(), counts)
    scheme = store.need_scheme()
    chances = np.stack([store.column(chance_column(name)) for name in scheme.output_names], 1)
    sums = np.add.reduceat(chances, [piece.start for piece in GALAXY_ZOO_2.slices], axis=1)
    assert sums == pytest.approx(1, abs=1e-5)


def test_sizes_show_the_same_field(store, tmp_path: Path):
    fine = simulate(tmp_path / "fine", 2, 96, seed=3)
    shrunk = fine.images.astype(float).reshape(2, 48, 2, 48, 2, 3).mean(axis=(2, 4))
    assert np.abs(shrunk - store.images[:2]).mean() < 1.0


def test_masks_are_kept_and_change_nothing_else(store, tmp_path: Path):
    masked = simulate(tmp_path / "masked", 4, 48, seed=3, masks=True, workers=1)
    assert np.array_equal(masked.images, store.images[:4])
    assert masked.masks is not None
    assert masked.masks.shape == (4, 48, 48)
    assert masked.meta.mask_components == COMPONENTS
    assert store.masks is None
    middle = masked.masks[:, 20:28, 20:28] & 0b11111  # bulge, disc, arms, bar, companion
    assert (middle > 0).mean() > 0.9


@pytest.mark.parametrize("survey", ["sdss", "euclid"])
def test_other_surveys_picture_the_same_galaxies(store, tmp_path: Path, survey: str):
    other = simulate(tmp_path / survey, 4, 48, seed=3, survey=survey)
    assert other.meta.stretch == survey
    assert other.column("morphology").tolist() == store.column("morphology")[:4].tolist()
    assert not np.array_equal(other.images, store.images[:4])
    smaller = other.column("half_light_radius") / store.column("half_light_radius")[:4]
    # Radii end at the frame, and frames differ: of steep profiles it cuts some light off.
    assert smaller == pytest.approx(1 / SURVEYS[survey].distance, rel=0.12)
    fainter = other.column("r_mag") - store.column("r_mag")[:4]
    assert fainter == pytest.approx(SURVEYS[survey].dimming, abs=1e-4)
    seen = SURVEYS[survey].view
    if seen:  # pictures of SDSS are scaled to their galaxies, by Petrosian radii with the PSF in them
        radius = other.column("pixel_scale") * 48 / seen
        blurred = np.hypot(other.column("light_radius_90"), SURVEYS[survey].seeing[1])
        assert (radius <= 1.05 * blurred).all()
        assert (radius >= 0.3 * blurred).all()
        assert np.ptp(radius) > 0.1
        assert other.meta.pixel_scale is None


def test_a_simulated_store_goes_through_galaxy10s_own_layout(store, tmp_path: Path):
    from morphoscope.data.export import export_hdf5
    from morphoscope.data.sources.galaxy10 import ingest_galaxy10

    back = ingest_galaxy10(export_hdf5(store, tmp_path / "simulated.h5"), tmp_path / "back")
    assert np.array_equal(back.images, store.images)
    assert back.targets().tolist() == store.targets().tolist()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"count": 0}, "count is 0"),
        ({"size": 4}, "size is 4"),
        ({"size": 5000}, "16 to 1024"),
        ({"seed": -1}, "seed is -1"),
        ({"workers": 0}, "workers is 0"),
        ({"scheme": "vote"}, "did you mean 'votes'"),
        ({"proportions": "same"}, "equal"),
        ({"survey": "euklid"}, "did you mean 'euclid'"),
    ],
)
def test_impossible_requests_are_refused(tmp_path: Path, changes: dict, words: str):
    request = {"count": 4, "size": 32} | changes
    with pytest.raises(UsageError, match=words):
        simulate(tmp_path / "out", **request)
    assert not list(tmp_path.iterdir())


def test_refuses_what_is_there_and_what_cannot_fit(store, tmp_path: Path):
    with pytest.raises(UsageError, match="exists already"):
        simulate(store.path, 1, 32)
    with pytest.raises(MorphoscopeError, match="B are needed"):
        simulate(tmp_path / "out", 10**10, 256)
    assert not list(tmp_path.iterdir())


def test_interruption_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(jobs, count):
        yield render_rows(next(jobs))
        raise KeyboardInterrupt

    monkeypatch.setattr("morphoscope.simulation.workers.render", interrupted)
    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path / "out", 40, 32)
    assert not list(tmp_path.iterdir())


def test_a_mixture_pictures_each_galaxy_as_its_own_survey_does(tmp_path: Path):
    mixed = simulate(tmp_path / "mixed", 12, 32, seed=3, survey="decals, sdss")
    names = mixed.table["survey"].to_pylist()
    assert set(names) == {"decals", "sdss"}
    assert (mixed.meta.stretch, mixed.meta.pixel_scale) == ("mixed", None)
    for survey in ("decals", "sdss"):
        alone = simulate(tmp_path / survey, 12, 32, seed=3, survey=survey)
        for row in (row for row in range(12) if names[row] == survey):
            assert np.array_equal(mixed.images[row], alone.images[row])
