"""Stored features read back: in order, shuffled by a seed, and what is refused."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from asc_tf.config import Config
from asc_tf.core.errors import UsageError, UserError
from asc_tf.core.files import hash_path
from asc_tf.manifest import Clip, Manifest
from asc_tf.pipeline.feature_store import StoredFeatures, streams
from asc_tf.pipeline.feature_store.folder import (
    Contents,
    FeaturesFolder,
    Shard,
    feature_settings,
)

LABELS = ("hiss", "hum", "whistle")
COUNTS = {
    "train": [[2, 3], [1], [9], [1, 1, 4], [2, 2, 1], [3]],
    "validation": [[2, 1]],
}
"""Segments of each clip of each shard."""
SHAPE = (3, 2, 2)


@pytest.fixture(scope="module")
def config() -> Config:
    return Config().replace(
        {"dataset.unverified_weight": 0.25, "audio.hop_seconds": 0.1}
    )


def write_by_hand(folder: Path, config: Config) -> StoredFeatures:
    """Features whose first value is the clip and whose second is the segment.

    Clips 1 and 4 are unverified, clip 2 has no label.
    """
    folder.mkdir()
    clips, splits = [], {}
    for split, shards in COUNTS.items():
        splits[split] = []
        first = 0
        for number, counts in enumerate(shards):
            places = [first + place for place in range(len(counts))]
            values = [
                (p, s) for p, n in zip(places, counts, strict=True) for s in range(n)
            ]
            features = np.array(values, np.float32)[:, np.newaxis, :, np.newaxis]
            file = folder / f"{split}-{number:05}.npy"
            np.save(file, np.tile(features, (1, 3, 1, 2)))
            shard = Shard(
                file.name, hash_path(file), file.stat().st_size, "", tuple(counts)
            )
            splits[split].append(shard)
            clips += [
                Clip(
                    f"{split}{p}.wav",
                    "" if p == 2 else LABELS[p % 3],
                    f"{split}{p}",
                    split=split,
                    verified="0" if p in (1, 4) else "1",
                )
                for p in places
            ]
            first += len(counts)
    own = FeaturesFolder(folder)
    Manifest(tuple(clips), LABELS).write(own.manifest_file)
    own.write(
        Contents(
            config=feature_settings(config),
            labels=LABELS,
            protocol={"corpus": "hand"},
            shape=SHAPE,
            splits={split: tuple(shards) for split, shards in splits.items()},
            manifest_sha256=hash_path(own.manifest_file),
            finished=True,
        )
    )
    return StoredFeatures.open(folder)


@pytest.fixture(autouse=True)
def small_buffer(monkeypatch):
    # Of the whole split; one of 256 MB has millions of such small segments.
    monkeypatch.setattr(streams, "SHUFFLED_VALUES", 2**12)


@pytest.fixture(scope="module")
def stored(config, tmp_path_factory) -> StoredFeatures:
    return write_by_hand(tmp_path_factory.mktemp("stored") / "features", config)


def names(dataset: tf.data.Dataset) -> list[tuple[int, int]]:
    """Clip and segment of each row, by its features."""
    found = np.stack([row["features"] for row in dataset.as_numpy_iterator()])
    return [(int(clip), int(segment)) for clip, segment in found[:, 0, :, 0]]


def in_order(split: str = "train") -> list[tuple[int, int]]:
    counts = [count for shard in COUNTS[split] for count in shard]
    return [(clip, n) for clip, count in enumerate(counts) for n in range(count)]


def test_in_order_each_segment_comes_once_with_its_clip_target_and_weight(stored):
    dataset = stored.dataset("train")
    rows = list(dataset.as_numpy_iterator())
    assert len(rows) == stored.n_segments("train") == dataset.cardinality() == 29
    assert stored.n_clips("train") == len(stored.manifest.clips_in("train")) == 11
    for row, (clip, number) in zip(rows, in_order(), strict=True):
        assert row["features"].shape == stored.shape == SHAPE
        np.testing.assert_array_equal(row["features"][:, 0], clip)
        np.testing.assert_array_equal(row["features"][:, 1], number)
        assert row["clip"] == clip
        label = stored.manifest.clips_in("train")[clip].label
        assert row["target"].tolist() == [float(name == label) for name in LABELS]
        assert row["weight"] == (0.25 if clip in (1, 4) else 1)
    assert names(stored.dataset("validation")) == in_order("validation")
    assert not rows[5]["target"].any()
    assert stored.manifest.protocol == {"corpus": "hand"}


def test_the_specification_of_a_row_is_static(stored):
    assert stored.dataset("train").element_spec == {
        "features": tf.TensorSpec(SHAPE, tf.float32),
        "clip": tf.TensorSpec((), tf.int32),
        "target": tf.TensorSpec((3,), tf.float32),
        "weight": tf.TensorSpec((), tf.float32),
    }
    shuffled = stored.shuffled("train", 1)
    assert shuffled.element_spec == stored.dataset("train").element_spec


def test_weights_count_where_clips_are_unverified_and_weigh_less(
    stored, config, tmp_path
):
    assert stored.is_weighted("train")
    whole = config.replace({"dataset.unverified_weight": 1.0})
    assert not write_by_hand(tmp_path / "whole", whole).is_weighted("train")


def test_batches_are_the_rows_in_order(stored):
    batches = list(stored.batches("train", 16).as_numpy_iterator())
    assert [len(batch["clip"]) for batch in batches] == [16, 13]
    clips = np.concatenate([batch["clip"] for batch in batches])
    assert clips.tolist() == [clip for clip, _ in in_order()]


def test_the_order_is_a_function_of_the_seed(stored):
    first = names(stored.shuffled("train", 7))
    assert first == names(stored.shuffled("train", tf.constant(7, tf.int64)))
    assert first == names(StoredFeatures.open(stored.path).shuffled("train", 7))
    assert first != names(stored.shuffled("train", 8))
    assert first != in_order()


def test_the_order_is_that_of_earlier_versions(stored):
    # Beside another global seed it is another.
    tf.random.set_seed(1)
    found = names(stored.shuffled("train", 7))
    assert found[:8] == [(6, 3), (1, 2), (3, 2), (7, 0), (3, 1), (6, 0), (3, 0), (0, 1)]
    found = names(stored.shuffled("train", 5, 2, "random"))
    assert found[:7] == [(1, 2), (6, 0), (3, 1), (8, 0), (2, 0), (10, 1), (7, 0)]
    assert found[11:15] == [(2, 0), (5, 0), (3, 7), (4, 0)]


def test_an_epoch_has_each_segment_once_for_each_copy_in_orders_of_their_own(stored):
    found = names(stored.shuffled("train", 3, 2))
    assert len(found) == stored.n_segments("train", "all", 2)
    half = len(found) // 2
    assert sorted(found[:half]) == sorted(found[half:]) == in_order()
    assert found[:half] != found[half:]


def test_random_draws_one_segment_of_each_clip_for_each_copy_all_as_often(stored):
    copies = 100
    found = names(stored.shuffled("train", 3, copies, "random"))
    assert len(found) == stored.n_segments("train", "random", copies) == 11 * copies
    epochs = [found[start : start + 11] for start in range(0, len(found), 11)]
    assert all(sorted(clip for clip, _ in epoch) == list(range(11)) for epoch in epochs)
    counts = Counter(clip for clip, _ in in_order())
    for name, count in Counter(found).items():
        share = 1 / counts[name[0]]
        # Four standard deviations.
        deviation = np.sqrt(copies * share * (1 - share))
        assert abs(count - copies * share) <= 4 * deviation
    assert set(found) == set(in_order())


def test_an_epoch_inside_flat_map_is_the_epoch_outside(stored):
    # First opened inside a graph, it can be read outside too.
    other = StoredFeatures.open(stored.path)
    epochs = tf.data.Dataset.range(2, 4).flat_map(
        lambda epoch: other.shuffled("train", epoch * 11, 2, "random")
    )
    apart = [names(stored.shuffled("train", 11 * e, 2, "random")) for e in (2, 3)]
    assert names(epochs) == names(epochs) == [name for epoch in apart for name in epoch]
    assert names(other.dataset("train")) == in_order()


def test_what_is_more_than_memory_may_hold_is_shuffled_across_shards(
    stored, monkeypatch
):
    monkeypatch.setattr(streams, "SHUFFLED_VALUES", 1)
    monkeypatch.setattr(streams, "OPEN_SHARDS", 3)
    found = names(stored.shuffled("train", 2))
    assert Counter(found) == Counter(in_order())
    shards = [number for number, s in enumerate(COUNTS["train"]) for _ in s]
    origin = [shards[clip] for clip, _ in found]
    assert len(set(origin[:3])) == 3
    # By turns, as long as none of the three is at its end.
    at_least = min(sum(COUNTS["train"][shard]) for shard in origin[:3])
    assert origin[: 3 * at_least] == origin[:3] * at_least
    orders = {tuple(names(stored.shuffled("train", seed))) for seed in range(4)}
    assert len(orders) > 1


def test_opening_and_refusing_need_no_tensorflow(stored):
    code = (
        "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
        "from asc_tf.config import Config\n"
        "from asc_tf.pipeline.feature_store import StoredFeatures\n"
        "stored = StoredFeatures.open(sys.argv[1])\n"
        "print(stored.n_segments('train'), stored.labels)\n"
        "stored.check(Config())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(stored.path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "29 ('hiss', 'hum', 'whistle')\n"
    assert "UsageError: dataset.features = " in done.stderr


def test_the_configuration_of_a_run_is_checked_key_by_key(config, stored):
    stored.check(config)
    stored.check(
        config.replace(
            {
                "dataset.dir": "/elsewhere",
                "dataset.features": str(stored.path),
                "dataset.max_missing": 0.5,
                "audio.cache": "disk",
                "audio.cache_dir": "/elsewhere",
                "audio.cache_dtype": "float32",
                "frontend.standardize": "scalar",
                "frontend.image_frames": 40,
                "frontend.image_bands": 24,
                "augment.copies": 3,
                "train.segments": "all",
            }
        )
    )
    for key, value in {
        "dataset.seed": 1,
        "dataset.unverified_weight": 0.5,
        "dataset.identifier_pattern": "(.+)",
        "audio.hop_seconds": 0.2,
        "audio.short_clips": "loop",
        "audio.last_segment": "drop",
        "frontend.top_db": 60.0,
        "frontend.center": False,
        "frontend.deltas": 1,
    }.items():
        with pytest.raises(UsageError) as refused:
            stored.check(config.replace({key: value}))
        before = config.flat()[key]
        values = f"({key} is {before!r} in the folder and {value!r} in the config"
        assert values in str(refused.value)
        assert str(stored.path) in str(refused.value)


def rewrite(stored: StoredFeatures, folder: Path, change) -> Path:
    """A copy whose features.json is another."""
    shutil.copytree(stored.path, folder)
    table = json.loads((folder / "features.json").read_text())
    change(table)
    (folder / "features.json").write_text(json.dumps(table))
    return folder


def test_a_key_that_was_not_there_yet_has_its_default(config, stored, tmp_path):
    folder = rewrite(
        stored,
        tmp_path / "older",
        lambda table: table["config"]["frontend"].pop("max_frames"),
    )
    older = StoredFeatures.open(folder)
    older.check(config)
    with pytest.raises(
        UsageError, match=r"max_frames is 0 in the folder and 5 in the config"
    ):
        older.check(config.replace({"frontend.max_frames": 5}))


def test_a_folder_of_npz_or_tfrecord_files_is_to_be_computed_again(stored, tmp_path):
    def age(table):
        table.update(format_version=1, format="npz", finished=["train"])

    folder = rewrite(stored, tmp_path / "older", age)
    message = (
        r"features\.json: format version 1 is not 2; compute the features again: give "
        r"the same asc-tf features command with a new folder as --output"
    )
    with pytest.raises(UserError, match=message):
        StoredFeatures.open(folder)
    with pytest.raises(UserError, match=message):
        FeaturesFolder(folder).read()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format_version": 2}', "\x00"])
def test_a_damaged_features_json_is_refused(text, tmp_path):
    (tmp_path / "features.json").write_text(text)
    with pytest.raises(UserError, match=r"features.json: damaged .*; compute the"):
        StoredFeatures.open(tmp_path)


@pytest.mark.parametrize("name", ["../x.npy", "/etc/passwd", "x.npy", "test-1.npy"])
def test_a_features_json_names_no_file_elsewhere(name):
    shard = Shard("train-00000.npy", "0", 1, "0", (1,)).to_json()
    assert Shard.from_json(shard).segments == 1
    with pytest.raises(ValueError, match="is not the name of a shard"):
        Shard.from_json(shard | {"file": name})


def test_what_is_no_features_folder_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for name in ("none", "empty", "file", "."):
        with pytest.raises(
            UsageError, match=r"dataset\.features = .*: no features here"
        ):
            StoredFeatures.open(tmp_path / name)


def test_a_folder_that_is_not_finished_is_refused(stored, tmp_path):
    folder = rewrite(
        stored, tmp_path / "begun", lambda table: table.update(finished=False)
    )
    with pytest.raises(UserError, match=r"not finished; run the same asc-tf features"):
        StoredFeatures.open(folder)


def test_a_split_that_is_not_stored_is_refused_naming_those_that_are(stored):
    for read in (stored.dataset, stored.n_clips, stored.verify):
        with pytest.raises(UsageError, match=r"holds train, validation and no test"):
            read("test")
    with pytest.raises(UsageError, match=r"--splits=test adds it"):
        stored.shuffled("test", 0)


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_a_damaged_shard_is_named_before_anything_is_read(damage, stored, tmp_path):
    folder = shutil.copytree(stored.path, tmp_path / "damaged")
    file = folder / "train-00002.npy"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes({"flipped": data, "cut": data[:-1], "gone": b""}[damage])
    if damage == "gone":
        file.unlink()
    damaged = StoredFeatures.open(folder)
    for read in (
        lambda: damaged.dataset("train"),
        lambda: damaged.shuffled("train", 1),
        lambda: damaged.batches("train", 8),
        lambda: damaged.verify("train"),
    ):
        with pytest.raises(UserError) as refused:
            read()
        assert f"{file}: missing or damaged" in str(refused.value)
        assert "run the same asc-tf features command again" in str(refused.value)
    damaged.verify("validation")


def test_a_manifest_of_another_writing_is_refused(stored, tmp_path):
    folder = shutil.copytree(stored.path, tmp_path / "mixed")
    text = (folder / "manifest.csv").read_text()
    (folder / "manifest.csv").write_text(text.replace("hum", "whistle", 1))
    with pytest.raises(UserError, match=r"manifest.csv: has changed; run the same"):
        StoredFeatures.open(folder)
    (folder / "manifest.csv").unlink()
    with pytest.raises(UserError, match=r"manifest.csv: not a manifest"):
        StoredFeatures.open(folder)


def test_a_folder_whose_name_is_not_utf_8_is_read(config, tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path / "caf") + b"\xe9"))
    assert names(write_by_hand(folder, config).dataset("train")) == in_order()
