import collections
import dataclasses

import pytest

from asc_tf import datasets
from asc_tf.config import Dataset
from asc_tf.datasets.locations import split_by_location
from asc_tf.manifest import Clip, Manifest, check_leaks


def place(scene, identifier, count, split="train", city=None):
    """The clips of one location; its city is the first part of its identifier."""
    city = identifier.split("-")[0] if city is None else city
    return [
        Clip(f"{scene}-{identifier}-{n}.wav", scene, identifier, city, split=split)
        for n in range(count)
    ]


def grid(cities="xyz", places=3, count=10, scenes=("bus", "tram")):
    """As many locations in each city, with as many clips."""
    return [
        clip
        for scene in scenes
        for city in cities
        for number in range(places)
        for clip in place(scene, f"{city}-{scene}{number}", count)
    ]


def drawn(clips, share=0.3, seed=0):
    """The locations of the validation split."""
    parts = split_by_location(clips, share, seed)
    check_leaks(parts)
    return {clip.identifier for clip in parts if clip.split == "validation"}


def test_each_city_of_each_scene_has_locations_on_both_sides():
    expected = sorted(f"{city}-{scene}" for city in "xyz" for scene in ("bu", "tr"))
    for seed in range(10):
        assert sorted(name[:4] for name in drawn(grid(), seed=seed)) == expected


def test_rows_keep_their_order_and_only_training_rows_move():
    clips = grid() + place("bus", "x-9", 5, split="test")
    parts = split_by_location(clips, 0.3, 0)
    assert [clip.path for clip in parts] == [clip.path for clip in clips]
    for before, after in zip(clips, parts, strict=True):
        if before.split == "test":
            assert after == before
        else:
            assert dataclasses.replace(after, split="train") == before


def test_the_seed_decides_and_the_order_of_the_rows_does_not():
    clips = grid()
    results = {frozenset(drawn(clips, seed=seed)) for seed in range(10)}
    assert len(results) == 10
    assert drawn(clips[::-1], seed=3) == drawn(clips, seed=3)


def test_a_scene_of_one_location_stays_in_training():
    clips = grid() + place("park", "x-1", 50)
    for seed in range(5):
        assert "x-1" not in drawn(clips, seed=seed)


@pytest.mark.parametrize("sizes", [(1, 99), (50, 50)])
def test_a_scene_of_two_locations_has_one_on_each_side(sizes):
    for cities in (("x", "x"), ("x", "y")):
        clips = [
            clip
            for number, (city, size) in enumerate(zip(cities, sizes, strict=True))
            for clip in place("park", f"{city}-{number}", size)
        ]
        for seed in range(5):
            assert len(drawn(clips, seed=seed)) == 1


def test_a_city_of_one_location_may_be_on_either_side():
    clips = [c for city in "abcdefghij" for c in place("bus", f"{city}-0", 10)]
    found = [drawn(clips, seed=seed) for seed in range(20)]
    assert {len(names) for names in found} == {3}
    assert set().union(*found) == {f"{city}-0" for city in "abcdefghij"}


def test_without_cities_locations_are_drawn_all_the_same():
    clips = [c for n in range(10) for c in place("bus", str(n), 5, city="")]
    assert len(drawn(clips)) == 3


def test_a_location_of_two_scenes_moves_whole():
    clips = grid() + place("bus", "x-shared", 30) + place("tram", "x-shared", 20)
    for seed in range(20):
        names = drawn(clips, share=0.5, seed=seed)
        if "x-shared" in names:
            break
    else:
        pytest.fail("the shared location was never drawn")


def test_a_small_share_gives_up_cities_rather_than_the_share():
    clips = grid(cities="uvwxyz", places=3, count=10, scenes=("bus",))
    assert len(drawn(clips, share=0.3)) == 6
    assert len(drawn(clips, share=0.25)) == 6
    assert len(drawn(clips, share=0.12)) == 2
    assert len(drawn(clips, share=0.01)) == 1
    assert len(drawn(clips, share=0.9)) == 16


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_cities_come_before_the_share_where_they_have_two_locations(share):
    clips = grid(cities="xy", places=2, scenes=("bus",))
    for seed in range(5):
        names = drawn(clips, share, seed)
        assert sorted(name[0] for name in names) == ["x", "y"]


@pytest.mark.parametrize("seed", range(4))
def test_sizes_that_differ_are_combined_to_the_share(seed):
    sizes = (81, 16, 15, 57, 52, 50, 36, 46, 46, 18, 32, 32, 30, 52, 36)
    cities = "aaabbccdddeeeff"
    clips = [
        clip
        for number, (city, size) in enumerate(zip(cities, sizes, strict=True))
        for clip in place("airport", f"{city}-{number}", size)
    ]
    for share in (0.32, 0.4, 0.5, 0.6):
        names = drawn(clips, share, seed)
        count = sum(clip.identifier in names for clip in clips)
        assert count / len(clips) == pytest.approx(share, abs=0.015)
        assert {name[0] for name in names} == set(cities)


def test_no_clips_give_no_clips():
    assert split_by_location([], 0.3, 0) == ()


def test_the_split_table_counts_clips_and_locations_of_each_label():
    clips = [
        *place("bus", "x-1", 3),
        *place("bus", "x-2", 2),
        *place("bus", "y-1", 4, split="validation"),
        *place("tram", "x-3", 1),
        *place("tram", "y-2", 2, split="test"),
    ]
    clips[0] = dataclasses.replace(clips[0], reason="silent")
    keys = [
        f"{split}_{what}"
        for split in ("train", "validation", "test")
        for what in ("clips", "locations")
    ]
    table = datasets.tabulate_splits(Manifest(tuple(clips), ("tram", "bus")))
    shares = [
        {"test_clip_share": 2 / 3, "validation_location_share": 0.0},
        {"test_clip_share": 0.0, "validation_location_share": 1 / 3},
    ]
    assert table == [
        {"label": "tram", **dict(zip(keys, (1, 1, 0, 0, 2, 1), strict=True))}
        | shares[0],
        {"label": "bus", **dict(zip(keys, (4, 2, 4, 1, 0, 0), strict=True))}
        | shares[1],
    ]


# --- the complete tables of TUT Urban Acoustic Scenes 2018


@pytest.fixture(scope="module")
def training(shared_data):
    """The 6122 training clips."""
    folder = shared_data / "tut2018" / "meta"
    manifest = datasets.load(Dataset(name="tut2018", dir=str(folder)))
    clips = [
        dataclasses.replace(clip, split="train")
        for clip in manifest.clips
        if clip.split != "test"
    ]
    assert len(clips) == 6122
    assert len({clip.identifier for clip in clips}) == 203
    return clips


def shares(parts):
    """Validation share of all clips, and of each scene's."""
    of = collections.Counter(clip.label for clip in parts)
    mine = collections.Counter(c.label for c in parts if c.split == "validation")
    return mine.total() / of.total(), [mine[label] / of[label] for label in of]


def one_sided(parts):
    """Cities of a scene that have two locations or more, but on one side only."""
    sides = collections.defaultdict(lambda: collections.defaultdict(set))
    for clip in parts:
        sides[clip.label, clip.city][clip.split].add(clip.identifier)
    return [
        city
        for city, places in sides.items()
        if len(places) == 1 and len(next(iter(places.values()))) > 1
    ]


@pytest.mark.shared_data
def test_real_locations_are_split_30_to_70_within_each_scene_and_city(training):
    results = set()
    for seed in range(10):
        parts = split_by_location(training, 0.3, seed)
        check_leaks(parts)
        overall, scenes = shares(parts)
        assert 0.27 <= overall <= 0.33
        assert all(0.24 <= share <= 0.40 for share in scenes)
        assert not one_sided(parts)
        results.add(frozenset(c.identifier for c in parts if c.split == "validation"))
    assert len(results) == 10


@pytest.mark.shared_data
@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
def test_real_locations_come_near_other_shares_too(training, share):
    for seed in range(2):
        parts = split_by_location(training, share, seed)
        check_leaks(parts)
        overall, scenes = shares(parts)
        assert overall == pytest.approx(share, abs=0.05)
        assert all(abs(each - share) <= 0.1 for each in scenes)
        assert share < 0.2 or share > 0.7 or not one_sided(parts)
