"""The complete official tables of published corpora, for every fold and protocol."""

import csv
import dataclasses
import functools
import shutil
from collections import Counter

import corpora
import numpy as np
import pytest
import soundfile
from sklearn.model_selection import KFold

from asc_tf import datasets
from asc_tf.audio.scan import scan
from asc_tf.config import Config
from asc_tf.core.errors import UsageError, UserError
from asc_tf.datasets.dcase import SCENES
from asc_tf.datasets.esc import ESC10_TARGETS
from asc_tf.datasets.shared_recordings import format_shared
from asc_tf.datasets.urbansound8k import CLASSES
from asc_tf.manifest import SPLITS, pick_evenly
from asc_tf.pipeline import corpus_checks

pytestmark = pytest.mark.shared_data

URBAN_FOLDS = {
    **{1: 873, 2: 888, 3: 925, 4: 990, 5: 936},
    **{6: 823, 7: 838, 8: 806, 9: 816, 10: 837},
}
"""Clips of each fold of UrbanSound8K, as published."""

URBAN_SHARED = {1: (122, 4, 31), 6: (0, 0, 0), 9: (102, 2, 83)}
"""Test fold: clips and recordings on both sides, and clips that are left out for it."""

URBAN_SHARED_TWO_FOLDS = {1: (102, 2), 3: (0, 0), 4: (20, 2)}


load = functools.cache(corpora.load)


def counts(manifest):
    """Usable clips of each split."""
    return {split: len(manifest.clips_in(split)) for split in SPLITS}


def before(fold):
    return (fold - 2) % 10 + 1


@pytest.fixture(scope="module")
def urban(shared_data, tmp_path_factory):
    """All names of UrbanSound8K: links to one very small clip."""
    folder = tmp_path_factory.mktemp("urban")
    (folder / "metadata").mkdir()
    table = shared_data / "urbansound8k_meta" / "UrbanSound8K.csv"
    shutil.copy(table, folder / "metadata")
    samples = 0.1 * np.random.default_rng(0).standard_normal(800)
    soundfile.write(folder / "clip.wav", samples, 8000)
    for fold in URBAN_FOLDS:
        (folder / "audio" / f"fold{fold}").mkdir(parents=True)
    for clip in load("urbansound8k", folder).clips:
        (folder / clip.path).hardlink_to(folder / "clip.wav")
    return folder


@pytest.mark.parametrize("fold", URBAN_SHARED)
def test_urbansound8k_is_followed_as_published(urban, fold):
    manifest = load("urbansound8k", urban, fold=fold)
    manifest.check()
    test, validation = URBAN_FOLDS[fold], URBAN_FOLDS[before(fold)]
    assert counts(manifest) == {
        "train": 8732 - test - validation,
        "validation": validation,
        "test": test,
    }
    assert manifest.labels == CLASSES
    assert all(
        {clip.label for clip in manifest.clips_in(split)} == {*CLASSES}
        for split in SPLITS
    )
    clips, recordings, _ = URBAN_SHARED[fold]
    shared = manifest.protocol.get("shared_recordings")
    if not clips:
        assert shared is None
        return
    assert len(shared["names"]) == recordings
    assert shared | {"names": None} == {
        "clips": clips,
        "recordings": recordings,
        "clips_present": clips,
        "recordings_present": recordings,
        "left_out": 0,
        "names": None,
    }


@pytest.mark.parametrize("fold", URBAN_SHARED)
def test_shared_recordings_of_urbansound8k_can_be_left_out(urban, fold):
    manifest = load("urbansound8k", urban, fold=fold, drop_shared_recordings=True)
    manifest.check()
    assert len(manifest.clips_in("test")) == URBAN_FOLDS[fold]
    sides = {s: {clip.identifier for clip in manifest.clips_in(s)} for s in SPLITS}
    assert not sides["train"] & sides["validation"]
    assert not (sides["train"] | sides["validation"]) & sides["test"]
    left_out = URBAN_SHARED[fold][2]
    assert 8732 - sum(counts(manifest).values()) == left_out
    shared = manifest.protocol.get("shared_recordings", {})
    assert shared.get("left_out", 0) == left_out


@pytest.mark.parametrize("fold", URBAN_SHARED_TWO_FOLDS)
def test_two_folds_of_urbansound8k_are_followed_as_published(urban, fold):
    manifest = load("urbansound8k", urban, fold=fold, protocol="two_folds")
    manifest.check()
    last, middle = before(fold), before(before(fold))
    assert counts(manifest) == {
        "train": URBAN_FOLDS[middle] + URBAN_FOLDS[before(middle)],
        "validation": URBAN_FOLDS[last],
        "test": URBAN_FOLDS[fold],
    }
    shared = manifest.protocol.get("shared_recordings", {})
    found = shared.get("clips", 0), shared.get("recordings", 0)
    assert found == URBAN_SHARED_TWO_FOLDS[fold]


def test_all_of_urbansound8k_is_there_and_a_fold_of_it_is_scanned(urban, capsys):
    config = Config().replace(
        {"dataset.name": "urbansound8k", "dataset.dir": str(urban)}
    )
    manifest = load("urbansound8k", urban, fold=6)
    corpus_checks.check_missing_files(manifest, config, ("train", "validation"))
    assert capsys.readouterr().err == ""
    few = dataclasses.replace(manifest, clips=tuple(pick_evenly(manifest.clips, 60)))
    scanned = scan(few, urban, ("train", "validation"), config.audio)
    assert scanned.excluded == ()
    assert {clip.samples for clip in scanned.clips_in("train")} == {800}
    assert scanned.protocol == manifest.protocol


def lay_over(shared_data, folder):
    """The complete table of UrbanSound8K over the clips of four of its folds."""
    (folder / "metadata").mkdir()
    table = shared_data / "urbansound8k_meta" / "UrbanSound8K.csv"
    shutil.copy(table, folder / "metadata")
    (folder / "audio").symlink_to(shared_data / "urbansound8k_mini" / "audio")
    return Config().replace(
        {"dataset.name": "urbansound8k", "dataset.dir": str(folder)}
    )


def test_part_of_urbansound8k_is_used_once_so_much_may_be_missing(
    shared_data, tmp_path, capsys
):
    config = lay_over(shared_data, tmp_path).replace({"dataset.fold": 3})
    manifest = datasets.load(config.dataset)
    with pytest.raises(UserError) as caught:
        corpus_checks.check_missing_files(manifest, config, ("train", "validation"))
    said = str(caught.value)
    assert said.endswith("the files that are there with --dataset.max_missing=0.97")
    assert "846 of 925 in test" in said
    assert "That is more than dataset.max_missing = 0.1 of the corpus" in said
    enough = config.replace({"dataset.max_missing": 0.97})
    corpus_checks.check_missing_files(manifest, enough, ("train", "validation"))
    assert "; the rest is used" in capsys.readouterr().err
    present = [c for c in manifest.clips if (tmp_path / c.path).is_file()]
    assert Counter(clip.split for clip in present) == {
        "train": 160,
        "validation": 80,
        "test": 79,
    }


def test_folds_of_which_files_are_there_are_named(shared_data, tmp_path):
    config = lay_over(shared_data, tmp_path).replace({"dataset.max_missing": 1.0})
    with pytest.raises(UserError) as caught:
        corpus_checks.check_missing_files(
            datasets.load(config.dataset), config, ("train", "validation")
        )
    assert str(caught.value).endswith(
        "The validation split has no file at all: complete the corpus, or use "
        "--dataset.fold=1 or --dataset.fold=2 or --dataset.fold=3, with which each "
        "split has files"
    )


def test_shared_clips_are_counted_again_among_the_files_that_are_there(
    shared_data, tmp_path
):
    config = lay_over(shared_data, tmp_path)
    protocol = load("urbansound8k", tmp_path, fold=9).protocol
    assert format_shared(protocol) == (
        "official split; 102 clips of 2 recordings are on both sides (106905 in train "
        "and validation, 180937 in train and test); none among the files that are "
        "there; dataset.drop_shared_recordings=true leaves these clips out of training "
        "and validation"
    )
    assert config.dataset.max_missing == 0.1


@pytest.mark.parametrize("fold", [1, 5])
def test_esc10_is_followed_as_published(shared_data, fold):
    manifest = load("esc10", shared_data / "esc10", fold=fold)
    manifest.check()
    found = counts(manifest)
    assert found["test"] == 80
    assert found["train"] + found["validation"] == 320
    assert 40 <= found["validation"] <= 60
    assert manifest.labels == tuple(ESC10_TARGETS.values())
    assert Counter(clip.label for clip in manifest.clips_in("test")) == dict.fromkeys(
        manifest.labels, 8
    )
    assert {clip.fold for clip in manifest.clips_in("test")} == {fold}
    assert len({clip.identifier for clip in manifest.clips}) == 304
    drawn = manifest.clips_in("validation")
    assert {clip.label for clip in drawn} == set(manifest.labels)
    rest = {clip.identifier for clip in manifest.clips if clip.split != "test"}
    assert 0.13 < len({clip.identifier for clip in drawn}) / len(rest) < 0.17
    assert "shared_recordings" not in manifest.protocol


DCASE = {
    # Folder below the data, settings, clips for training and for the test, clips in
    # neither, locations.
    "tut2018": ("tut2018/meta", {}, 6122, 2518, 0, 286),
    "tau2020_mobile": ("tau2020_mobile_meta", {}, 13962, 2968, 6105, 511),
    "tau2022_mobile": ("tau2022_mobile_meta", {"subset": 5}, 6980, 29680, 0, 478),
}


@pytest.mark.parametrize("name", DCASE)
def test_a_development_set_is_followed_as_published(shared_data, name):
    folder, settings, train, test, unlisted, locations = DCASE[name]
    manifest = load(name, shared_data / folder, **settings)
    manifest.check()
    found = counts(manifest)
    assert found["test"] == test
    assert found["train"] + found["validation"] == train
    assert found["validation"] == pytest.approx(0.3 * train, rel=0.05)
    assert len(manifest.clips) == train + test
    assert manifest.protocol.get("unlisted", 0) == unlisted
    assert manifest.labels == SCENES
    assert len({clip.identifier for clip in manifest.clips}) == locations
    assert "shared_recordings" not in manifest.protocol
    for split in SPLITS:
        assert {clip.label for clip in manifest.clips_in(split)} == {*SCENES}
    assert all(clip.city == clip.identifier.split("-")[0] for clip in manifest.clips)


def test_devices_of_tau2020_mobile_are_seen_in_training_or_only_in_the_test(
    shared_data,
):
    folder = shared_data / "tau2020_mobile_meta"
    manifest = load("tau2020_mobile", folder)
    seen = {"a", "b", "c", "s1", "s2", "s3"}
    for split, devices in zip(
        SPLITS, (seen, seen, seen | {"s4", "s5", "s6"}), strict=True
    ):
        assert {clip.device for clip in manifest.clips_in(split)} == devices
    # The copy's "validation" list is its test list, and so no validation split.
    lists = [(folder / f"{name}.csv").read_bytes() for name in ("valid", "test")]
    assert lists[0] == lists[1]


@pytest.mark.parametrize("subset", [10, 25, 50, 100])
def test_a_subset_of_tau2022_whose_list_is_not_there_is_named(shared_data, subset):
    wanted = "fold1_train.csv" if subset == 100 else f"split{subset}.csv"
    with pytest.raises(UsageError, match=wanted):
        load("tau2022_mobile", shared_data / "tau2022_mobile_meta", subset=subset)


def test_fsdkaggle2018_is_followed_as_published(shared_data):
    folder = shared_data / "fsdkaggle2018"
    manifest = load("fsdkaggle2018", folder)
    manifest.check()
    found = counts(manifest)
    assert found["test"] == 1600
    assert found["train"] + found["validation"] == 9473
    assert len(manifest.labels) == 41
    assert "shared_recordings" not in manifest.protocol
    assert manifest.protocol["ignored"] == 7800
    training = [clip for clip in manifest.clips if clip.split != "test"]
    assert Counter(c.verified for c in training) == {"1": 3710, "0": 5763}
    usages = Counter(clip.usage for clip in manifest.clips_in("test"))
    assert usages == {"Public": 301, "Private": 1299}
    assert len({clip.identifier for clip in manifest.clips}) == 9473 + 1600
    labels = {row["fname"]: row["label"] for row in fsdkaggle_rows(folder)}
    assert {c.path.split("/")[1]: c.label for c in training} == labels


def fsdkaggle_rows(folder):
    with (folder / "train.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_the_table_of_fsdkaggle2018_without_labels_gives_a_test_split_of_all_9400(
    shared_data,
):
    table = {"test_table": "sample_submission.csv"}
    manifest = load("fsdkaggle2018", shared_data / "fsdkaggle2018", **table)
    manifest.check()
    assert len(manifest.clips_in("test")) == 9400
    assert {clip.label for clip in manifest.clips_in("test")} == {""}
    assert len(manifest.labels) == 41


@pytest.mark.parametrize(
    ("protocol", "fold"), [("kfold", 1), ("kfold", 5), ("stratified_kfold", 2)]
)
def test_folds_of_fsdkaggle2018_are_the_published_ones(shared_data, protocol, fold):
    folder = shared_data / "fsdkaggle2018"
    manifest = load("fsdkaggle2018", folder, protocol=protocol, fold=fold)
    manifest.check()
    found = counts(manifest)
    assert found["test"] == 1600
    assert found["train"] + found["validation"] == 9473
    assert found["validation"] in (1894, 1895)
    validation = manifest.clips_in("validation")
    assert {clip.label for clip in validation} == {*manifest.labels}
    if protocol == "kfold":
        names = [row["fname"] for row in fsdkaggle_rows(folder)]
        _, places = list(KFold(5).split(names))[fold - 1]
        paths = [f"audio_train/{names[place]}" for place in places]
        assert [clip.path for clip in validation] == paths
