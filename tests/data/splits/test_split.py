from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from morphoscope.data.splits.split import SPLITS, Split, keep_together, make_split
from morphoscope.data.store import Store, StoreMeta
from morphoscope.errors import MorphoscopeError, UsageError
from morphoscope.labels.five_class import FIVE_CLASS
from morphoscope.labels.galaxy10 import COUNTS, GALAXY10
from morphoscope.labels.scheme import GALAXY_ZOO_2_VOTES, Classes, VoteFractions

ARCSEC = 1 / 3600
GALAXY10_LABELS = np.repeat(np.arange(10), COUNTS)


def sizes(split: Split) -> tuple[int, int, int]:
    return len(split.train), len(split.validation), len(split.test)


def per_class(labels: np.ndarray, rows: np.ndarray) -> list[int]:
    return np.bincount(labels[rows], minlength=labels.max() + 1).tolist()


@pytest.fixture(scope="module")
def galaxy10(shared_data, table_store) -> Store:
    """The whole of Galaxy10 without its pixels: real coordinates, official classes, half-cutout groups."""
    path = shared_data / "galaxy10_decals" / "coordinates_17736.csv"
    ra, dec = np.genfromtxt(path, delimiter=",", skip_header=1).T
    return table_store(GALAXY10_LABELS, GALAXY10, ra=ra, dec=dec, radius=67.0)


@pytest.fixture(scope="module")
def challenge(table_store) -> Store:
    """61,578 galaxies with the challenge's plurality answers of question 1 (SPECIFICATION 4.1)."""
    first = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [34826, 26693, 59]))
    fractions = np.zeros((len(first), 37), np.float32)
    fractions[np.arange(len(first)), first] = 1
    return table_store(fractions, GALAXY_ZOO_2_VOTES)


@pytest.mark.parametrize("name", ["sky-grouped", "random", "cheng", "tong", "fu"])
def test_every_galaxy_of_galaxy10_is_in_one_part_in_proportion(galaxy10, name: str) -> None:
    split = make_split(galaxy10, name)
    assert split.count == sum(sizes(split)) == 17736
    every = np.concatenate([split.train, split.validation, split.test])
    assert len(np.unique(every)) == 17736
    for rows in (split.train, split.validation, split.test):
        assert rows.dtype == np.int64
        assert (np.diff(rows) > 0).all()
        if len(rows):
            shares = np.array(per_class(GALAXY10_LABELS, rows)) / COUNTS
            assert np.abs(shares - len(rows) / 17736).max() < 0.004


def test_the_default_split_parts_no_neighbours_of_galaxy10(galaxy10) -> None:
    split = make_split(galaxy10)
    assert split.name == "sky-grouped"
    assert sizes(split) == (12415, 1774, 3547)
    parts, groups = split.parts(), galaxy10.column("sky_group")
    assert len(np.unique(groups)) < 17600  # the real data has many pairs
    assert len(np.unique(np.stack([groups, parts]), axis=1).T) == len(np.unique(groups))
    random = make_split(galaxy10, "random").parts()
    assert len(np.unique(np.stack([groups, random]), axis=1).T) > len(np.unique(groups)) + 50


def test_chengs_shares(galaxy10) -> None:
    assert sizes(make_split(galaxy10, "cheng")) == (11351, 2838, 3547)


def test_fus_split_has_no_validation_and_2116_of_the_majority(galaxy10) -> None:
    split = make_split(galaxy10, "fu")
    assert sizes(split) == (14189, 0, 3547)
    assert max(per_class(GALAXY10_LABELS, split.train)) == 2116


def test_tongs_table_two_exactly(table_store) -> None:
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(5), [8436, 8069, 579, 3903, 7806]))
    split = make_split(table_store(labels, FIVE_CLASS), "tong")
    assert per_class(labels, split.train) == [6748, 6455, 463, 3122, 6244]
    assert per_class(labels, split.test) == [844, 807, 58, 390, 781]
    assert per_class(labels, split.validation) == [844, 807, 58, 391, 781]
    assert sizes(split) == (23032, 2881, 2880)


def test_ngs_published_counts(challenge) -> None:
    split = make_split(challenge, "ng")
    assert sizes(split) == (55420, 6158, 6158)
    assert split.validation.tolist() == split.test.tolist()
    first = GALAXY_ZOO_2_VOTES.strata(challenge.targets())
    assert per_class(first, split.train) == [31343, 24024, 53]
    assert per_class(first, split.validation) == [3483, 2669, 6]
    assert not set(split.train.tolist()) & set(split.test.tolist())


def test_ngs_seed_zero_is_scikit_learns_seed_one(challenge) -> None:
    from sklearn.model_selection import train_test_split

    first = GALAXY_ZOO_2_VOTES.strata(challenge.targets())
    train, held = train_test_split(np.arange(61578), test_size=0.1, random_state=1, stratify=first)
    split = make_split(challenge, "ng")
    assert split.train.tolist() == sorted(train.tolist())
    assert split.validation.tolist() == sorted(held.tolist())
    assert make_split(challenge, "ng", seed=1).test.tolist() != split.test.tolist()


def test_votes_are_split_by_the_plurality_of_the_first_question(challenge) -> None:
    split = make_split(challenge)
    first = GALAXY_ZOO_2_VOTES.strata(challenge.targets())
    assert per_class(first, split.test) == [6965, 5339, 12]
    assert sizes(split) == (43104, 6158, 12316)


@pytest.mark.parametrize("name", list(SPLITS))
def test_the_same_seed_gives_the_same_split(table_store, name: str) -> None:
    store = table_store(np.repeat([0, 1, 2], [100, 60, 30]))
    first, again, other = (make_split(store, name, seed=seed) for seed in (4, 4, 5))
    assert first.parts().tolist() == again.parts().tolist()
    assert first.parts().tolist() != other.parts().tolist()


def test_sky_neighbours_and_equal_pixels_stay_together_through_chains(table_store) -> None:
    # g0 ~ g1 on the sky, g1 = g2 in pixels, g2 ~ g3 on the sky: one group of four.
    ra = [10.0, 10.0 + 3 * ARCSEC, 50.0, 50.0 + 3 * ARCSEC, 90.0, np.nan]
    store = table_store(np.array([0, 1, 0, 1, 0, 1]), ra=np.array(ra), pixels=list("abbcde"))
    groups = keep_together(store)
    assert len(set(groups[:4].tolist())) == 1
    assert len(set(groups.tolist())) == 3
    crowd = table_store(
        np.tile([0, 1], 200), ra=np.repeat(np.arange(100.0), 4), pixels=[f"{row // 8}" for row in range(400)]
    )
    for seed in range(5):
        parts = make_split(crowd, seed=seed).parts().reshape(50, 8)
        assert (parts == parts[:, :1]).all()


def test_a_table_in_several_chunks_keeps_equal_pixels_together(table_store) -> None:
    # Every image comes twice, the second time in another chunk of the table.
    whole = table_store(np.tile([0, 1], 1200), pixels=[str(row % 1200) for row in range(2400)])
    pieces = pa.concat_tables([whole.table.slice(start, 800) for start in (0, 800, 1600)])
    assert pieces["pixel_hash"].num_chunks == 3
    store = Store(whole.path, whole.meta, whole.images, pieces)
    parts = make_split(store).parts()
    assert (parts[:1200] == parts[1200:]).all()
    parted = make_split(store, "random").parts()
    assert (parted[:1200] != parted[1200:]).any()


def test_unlabelled_galaxies_are_left_out(table_store) -> None:
    labels = np.tile([0, 1, -1], 40)
    split = make_split(table_store(labels))
    assert sum(sizes(split)) == 80
    assert (split.parts()[labels == -1] == 0).all()
    fractions = np.random.default_rng(0).uniform(size=(40, 2)).astype(np.float32)
    fractions[7, 1] = np.nan
    votes = VoteFractions(name="own", answers=("bar", "ring"))
    assert make_split(table_store(fractions, votes)).parts()[7] == 0


def test_shares_are_taken_as_asked(table_store) -> None:
    store = table_store(np.repeat([0, 1], [300, 100]))
    assert sizes(make_split(store, test=0.5, validation=0.25)) == (100, 100, 200)
    assert sizes(make_split(store, test=0.25, validation=0)) == (300, 0, 100)
    assert sizes(make_split(store, test=0, validation=0)) == (400, 0, 0)


def test_rare_answers_are_no_classes_and_stop_nothing(table_store) -> None:
    fractions = np.zeros((40, 37), np.float32)
    fractions[:, 0] = 1
    fractions[3, :3] = (0, 0, 1)  # the only star
    store = table_store(fractions, GALAXY_ZOO_2_VOTES)
    assert sizes(make_split(store)) == (28, 4, 8)
    assert sizes(make_split(store, "ng")) == (36, 4, 4)


def test_strata_of_fractions_without_a_tree() -> None:
    two = VoteFractions(name="own", answers=("bar", "ring"))
    assert two.strata(np.array([[0.2, 0.7], [0.6, 0.1], [np.nan, 0.1]])).tolist() == [1, 0, -1]
    one = VoteFractions(name="own", answers=("bar",))
    assert one.strata(np.array([[0.2], [0.5], [np.nan]])).tolist() == [0, 1, -1]


def refused(kind: type[MorphoscopeError], store: Store, *words: str, **options) -> None:
    with pytest.raises(kind) as caught:
        make_split(store, **options)
    assert type(caught.value) is kind
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_class_with_too_few_images_is_one_clear_sentence(table_store) -> None:
    store = table_store(np.repeat([0, 1, 2], [50, 1, 50]), name="mine")
    refused(MorphoscopeError, store, "mine: too few labelled galaxies of class 'class 1' (1); at least 2")
    store = table_store(np.repeat([0, 1, 2], [50, 2, 50]), name="mine")
    refused(MorphoscopeError, store, "class 'class 1' (2); at least 3 are needed, one for each", name="tong")


def test_two_images_of_a_class_are_for_training_and_test(table_store) -> None:
    labels = np.repeat([0, 1, 2], [50, 2, 50])
    split = make_split(table_store(labels))
    held = [int((labels[part] == 1).sum()) for part in (split.train, split.validation, split.test)]
    assert held == [1, 0, 1]
    assert sizes(split)[1] == 10


def test_an_empty_class_is_named_with_the_remedy(table_store) -> None:
    store = table_store(np.repeat([0, 2], 30), Classes(name="three", classes=("a", "b", "c")))
    refused(MorphoscopeError, store, "class 'b' has no galaxies", "make the store again")
    assert sizes(make_split(store, allow_empty_classes=True)) == (42, 6, 12)


def test_many_empty_classes_are_not_all_listed(table_store) -> None:
    store = table_store(np.repeat([0, 1], 30), GALAXY10)
    refused(MorphoscopeError, store, "'Round Smooth'", "and 3 more")


def test_a_class_in_one_sky_group_names_the_class_and_the_way_out(table_store) -> None:
    ra = np.concatenate([np.arange(60.0), np.full(4, 100.0)])
    store = table_store(np.repeat([0, 1], [60, 4]), ra=ra)
    refused(
        MorphoscopeError,
        store,
        "no galaxy of class 'class 1'",
        "4 galaxies",
        "1 groups",
        "10 arcsec",
        "'random'",
    )
    split = make_split(store, "random")
    assert [int((rows >= 60).sum()) for rows in (split.train, split.validation, split.test)] == [2, 1, 1]


def test_tongs_rule_needs_enough_galaxies_a_class(table_store) -> None:
    store = table_store(np.repeat([0, 1], [60, 4]))
    refused(MorphoscopeError, store, "'tong' leaves no galaxy of class 'class 1' for test", name="tong")


def test_a_label_outside_the_scheme_is_refused(table_store) -> None:
    store = table_store(np.array([0, 1, 5] * 9), Classes(name="two", classes=("a", "b")))
    refused(MorphoscopeError, store, "label 5", "'two' has labels 0 to 1")


def test_wrong_requests(table_store) -> None:
    store = table_store(np.repeat([0, 1], 30))
    refused(UsageError, store, "no split 'sky-groupd' (did you mean 'sky-grouped'?)", name="sky-groupd")
    refused(UsageError, store, "test share 0.7 and validation share 0.3", test=0.7, validation=0.3)
    refused(UsageError, store, "test share -0.1", test=-0.1)
    unlabelled = Store(store.path, StoreMeta(count=60, image_shape=(1, 1, 3)), store.images, store.table)
    refused(UsageError, unlabelled, "without labels")
    one = table_store(np.array([[0.5]], np.float32), VoteFractions(name="own", answers=("bar",)))
    refused(MorphoscopeError, one, "1 labelled galaxies cannot be split into 2 parts")


def test_fewer_galaxies_may_be_held_out_with_every_class_among_them(table_store) -> None:
    labels = np.repeat([0, 1, 2], [200, 60, 10])
    whole = make_split(table_store(labels), "random")
    few = whole.with_held_out(8, labels)
    assert sizes(few) == (len(whole.train), 8, 8)
    for part in ("validation", "test"):
        rows = getattr(few, part)
        assert np.isin(rows, getattr(whole, part)).all()
        assert set(labels[rows]) == {0, 1, 2}
    assert whole.with_held_out(None, labels).test is whole.test
    assert len(whole.with_held_out(2, labels).test) == 2  # as many as are allowed, if not one of each


def test_galaxies_for_both_validation_and_test_stay_the_same_ones() -> None:
    rows = np.arange(90, 100)
    both = Split("ng", 0, 100, np.arange(90), rows, rows, "f" * 64).with_held_out(4, np.zeros(100))
    np.testing.assert_array_equal(both.validation, both.test)
    assert len(both.test) == 4
