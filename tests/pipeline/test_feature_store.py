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
import tiny

from asc_tf.config import Config
from asc_tf.core.errors import UsageError, UserError
from asc_tf.manifest import Clip, Manifest
from asc_tf.pipeline.feature_store import StoredFeatures, shards, streams
from asc_tf.pipeline.feature_store.contents import FORMATS, Contents, Shard
from asc_tf.pipeline.feature_store.layout import FeaturesFolder, sections
from asc_tf.pipeline.feature_store.writing import Writer
from asc_tf.pipeline.store_features import write_features


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Config:
    corpus = tiny.write_corpus(tmp_path_factory.mktemp("corpus"), recordings=5)
    return tiny.config(corpus, audio__hop_seconds=0.1)


@pytest.fixture(scope="module")
def folders(config, tmp_path_factory) -> dict[str, Path]:
    """The same features in each format, in several shards."""
    root = tmp_path_factory.mktemp("features")
    for kind in FORMATS:
        write_features(
            config, root / kind, kind, ("train", "validation"), shard_bytes=30_000
        )
    return {kind: root / kind for kind in FORMATS}


@pytest.fixture(params=FORMATS)
def stored(request, folders) -> StoredFeatures:
    return StoredFeatures.open(folders[request.param])


def rows(dataset: tf.data.Dataset) -> list[dict[str, np.ndarray]]:
    return list(dataset.as_numpy_iterator())


def names(dataset: tf.data.Dataset) -> list[bytes]:
    """What tells segments apart, in order."""
    return [row["features"].tobytes() for row in rows(dataset)]


def in_order(stored: StoredFeatures, split: str = "train") -> list[bytes]:
    return names(stored.dataset(split))


def clips_of(stored: StoredFeatures, segments: list[bytes]) -> list[int]:
    clips = {
        row["features"].tobytes(): row["clip"] for row in rows(stored.dataset("train"))
    }
    return [int(clips[segment]) for segment in segments]


def test_in_order_each_segment_comes_once_with_its_clip_target_and_weight(stored):
    assert len(list(stored.path.glob("train-*"))) > 2
    found = rows(stored.dataset("train"))
    clips = stored.manifest.clips_in("train")
    assert (
        len(found) == stored.n_segments("train") > len(clips) == stored.n_clips("train")
    )
    assert len(set(in_order(stored))) == len(found)
    places = [row["clip"] for row in found]
    assert places == sorted(places)
    assert set(places) == set(range(len(clips)))
    for row in found:
        label = clips[row["clip"]].label
        expected = [float(name == label) for name in stored.labels]
        np.testing.assert_array_equal(row["target"], expected)
        assert row["weight"] == 1
        assert row["features"].shape == stored.shape == (32, 16)


def test_the_specification_of_a_row_is_static(stored):
    specification = stored.dataset("train").element_spec
    assert specification == {
        "features": tf.TensorSpec((32, 16), tf.float32),
        "clip": tf.TensorSpec((), tf.int32),
        "target": tf.TensorSpec((3,), tf.float32),
        "weight": tf.TensorSpec((), tf.float32),
    }
    assert stored.dataset("train").cardinality() == stored.n_segments("train")
    assert (
        stored.shuffled("train", 1).element_spec == stored.dataset("train").element_spec
    )


def test_both_formats_give_the_same_in_the_same_order(folders):
    npz, tfrecord = (StoredFeatures.open(folders[kind]) for kind in FORMATS)
    for one, other in (
        (npz.dataset("validation"), tfrecord.dataset("validation")),
        (npz.shuffled("train", 5, 2), tfrecord.shuffled("train", 5, 2)),
        (
            npz.shuffled("train", 5, which="random"),
            tfrecord.shuffled("train", 5, which="random"),
        ),
    ):
        for a, b in zip(rows(one), rows(other), strict=True):
            assert a.keys() == b.keys()
            for name in a:
                np.testing.assert_array_equal(a[name], b[name])


def test_batches_are_the_rows_in_order(stored):
    batches = rows(stored.batches("train", 16))
    assert [len(batch["clip"]) for batch in batches[:-1]] == [16] * (len(batches) - 1)
    whole = np.concatenate([batch["features"] for batch in batches])
    assert [row.tobytes() for row in whole] == in_order(stored)


def test_the_order_is_a_function_of_the_seed(stored):
    first = names(stored.shuffled("train", 7))
    assert first == names(stored.shuffled("train", tf.constant(7, tf.int64)))
    assert first == names(StoredFeatures.open(stored.path).shuffled("train", 7))
    assert first != names(stored.shuffled("train", 8))
    assert first != in_order(stored)


@pytest.mark.parametrize("copies", [1, 3])
def test_an_epoch_has_each_segment_as_often_as_there_are_copies(copies, stored):
    found = names(stored.shuffled("train", 3, copies))
    assert Counter(found) == dict.fromkeys(in_order(stored), copies)
    assert len(found) == stored.n_segments("train", "all", copies)


def test_each_copy_comes_in_an_order_of_its_own(stored):
    found = names(stored.shuffled("train", 3, 2))
    half = len(found) // 2
    assert sorted(found[:half]) == sorted(found[half:])
    assert found[:half] != found[half:]


@pytest.mark.parametrize("copies", [1, 2])
def test_random_takes_one_segment_of_each_clip_for_each_copy(copies, stored):
    found = names(stored.shuffled("train", 3, copies, "random"))
    clips = Counter(clips_of(stored, found))
    assert clips == dict.fromkeys(range(stored.n_clips("train")), copies)
    assert len(found) == stored.n_segments("train", "random", copies)
    assert found == names(stored.shuffled("train", 3, copies, "random"))


def test_random_draws_every_segment_of_a_clip_about_as_often(stored):
    longest = Counter(clips_of(stored, in_order(stored))).most_common(1)[0]
    assert longest[1] == 4
    seeds = tf.data.Dataset.range(400)
    epochs = seeds.flat_map(
        lambda seed: stored.shuffled("train", seed, which="random")
    ).filter(lambda row: tf.equal(row["clip"], longest[0]))
    drawn = Counter(names(epochs))
    assert len(drawn) == 4
    assert sum(drawn.values()) == 400
    # Four standard deviations.
    assert all(abs(count - 100) < 35 for count in drawn.values())


def test_an_epoch_inside_flat_map_is_the_epoch_outside(stored):
    epochs = tf.data.Dataset.range(2, 5).flat_map(
        lambda epoch: stored.shuffled("train", epoch * 11, 2, "random")
    )
    apart = [names(stored.shuffled("train", 11 * e, 2, "random")) for e in (2, 3, 4)]
    assert names(epochs) == [name for epoch in apart for name in epoch]
    # As Keras takes it: batched, augmented, more than once.
    batches = epochs.batch(7).map(lambda row: (row["features"], row["target"]))
    assert sum(len(x) for x, _ in batches) == sum(len(x) for x, _ in batches)


def test_first_opened_inside_a_graph_it_can_still_be_read_outside(folders):
    stored = StoredFeatures.open(folders["npz"])
    inside = tf.data.Dataset.range(1).flat_map(lambda e: stored.shuffled("train", e))
    assert Counter(names(inside)) == Counter(in_order(stored))


def test_what_is_more_than_memory_may_hold_is_shuffled_across_shards(
    stored, monkeypatch
):
    monkeypatch.setattr(streams, "SHUFFLED_VALUES", 1)
    monkeypatch.setattr(streams, "OPEN_SHARDS", 3)
    whole = in_order(stored)
    found = names(stored.shuffled("train", 2))
    assert Counter(found) == Counter(whole)
    firsts, start = [], 0
    for shard in json.loads((stored.path / "features.json").read_text())["splits"][
        "train"
    ]["shards"]:
        firsts.append(set(whole[start : start + shard["segments"]]))
        start += shard["segments"]
    origin = [next(n for n, own in enumerate(firsts) if s in own) for s in found[:6]]
    assert len(set(origin[:3])) == 3
    assert origin[:3] == origin[3:]
    orders = {tuple(names(stored.shuffled("train", seed))) for seed in range(8)}
    assert len(orders) > 1


def write_by_hand(folder: Path, kind: str, counts: list[int]) -> StoredFeatures:
    """Features that say of which clip and segment they are, two clips unverified."""
    clips = tuple(
        Clip(
            f"{n}.wav",
            "ab"[n % 2],
            str(n),
            fold=n % 3,
            split="train",
            verified="0" if n in (1, 4) else "1",
        )
        for n in range(len(counts))
    )
    config = Config().replace({"dataset.unverified_weight": 0.25})

    def compute(some):
        places = [int(clip.identifier) for clip in some]
        values = [(p, s) for p in places for s in range(counts[p])]
        features = np.array(values, np.float32)[:, np.newaxis, :, np.newaxis]
        clip = np.repeat(np.arange(len(some)), [counts[p] for p in places])
        weight = [0.25 if c.verified == "0" else 1.0 for c in some]
        return (
            np.tile(features, (1, 3, 1, 2)),
            clip.astype(np.int32),
            np.array(weight, np.float32)[clip],
        )

    manifest = Manifest(clips, ("a", "b"), {"corpus": "hand"})
    writer = Writer(
        FeaturesFolder(folder),
        manifest,
        compute,
        lambda c: counts[int(c.identifier)],
        5,
    )
    folder.mkdir()
    writer.write(
        Contents(
            kind,
            sections(config),
            manifest.labels,
            manifest.protocol,
            (3, 2, 2),
            "",
            {"train": ()},
        )
    )
    return StoredFeatures.open(folder)


@pytest.mark.parametrize("kind", FORMATS)
def test_features_with_channels_and_weights_keep_their_places(kind, tmp_path):
    counts = [2, 3, 1, 9, 1, 1, 2]
    stored = write_by_hand(tmp_path / "features", kind, counts)
    found = rows(stored.dataset("train"))
    expected = [(clip, n) for clip, count in enumerate(counts) for n in range(count)]
    assert len(found) == len(expected)
    for row, (clip, number) in zip(found, expected, strict=True):
        assert row["features"].shape == (3, 2, 2)
        np.testing.assert_array_equal(row["features"][:, 0], clip)
        np.testing.assert_array_equal(row["features"][:, 1], number)
        assert row["clip"] == clip
        assert row["target"].tolist() == ([1, 0] if clip % 2 == 0 else [0, 1])
        assert row["weight"] == (0.25 if clip in (1, 4) else 1)
    assert stored.is_weighted("train")
    assert stored.protocol == {"corpus": "hand"}
    # Clips are whole: the fourth has more segments than a shard is to hold.
    table = json.loads((stored.path / "features.json").read_text())
    written = table["splits"]["train"]["shards"]
    assert [s["segments_per_clip"] for s in written] == [[2, 3], [1], [9], [1, 1, 2]]


def test_opening_and_refusing_need_no_tensorflow(folders):
    code = (
        "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
        "from asc_tf.config import Config\n"
        "from asc_tf.pipeline.feature_store import StoredFeatures\n"
        "stored = StoredFeatures.open(sys.argv[1])\n"
        "print(stored.n_segments('train'), stored.labels)\n"
        "stored.check(Config())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folders["npz"])],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "('hiss', 'hum', 'whistle')" in done.stdout
    assert "UsageError: dataset.features = " in done.stderr


def test_the_configuration_of_a_run_is_checked_key_by_key(config, folders):
    stored = StoredFeatures.open(folders["npz"])
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
        assert f"({key} is {config.flat()[key]!r} there and {value!r} here)" in str(
            refused.value
        )
        assert str(stored.path) in str(refused.value)


def test_a_key_that_was_not_there_yet_has_its_default(config, folders, tmp_path):
    folder = shutil.copytree(folders["npz"], tmp_path / "older")
    table = json.loads((folder / "features.json").read_text())
    del table["config"]["frontend"]["max_frames"]
    (folder / "features.json").write_text(json.dumps(table))
    stored = StoredFeatures.open(folder)
    stored.check(config)
    with pytest.raises(UsageError, match=r"max_frames is 0 there and 5 here"):
        stored.check(config.replace({"frontend.max_frames": 5}))


def test_what_is_no_features_folder_is_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for name in ("none", "empty", "file", "."):
        with pytest.raises(
            UsageError, match=r"dataset\.features = .*: no features here"
        ):
            StoredFeatures.open(tmp_path / name)


def test_a_split_that_is_not_stored_is_refused_naming_those_that_are(stored):
    for read in (stored.dataset, stored.n_clips, stored.verify):
        with pytest.raises(UsageError, match=r"holds train, validation and no test"):
            read("test")
    with pytest.raises(UsageError, match=r"--splits=test adds it"):
        stored.shuffled("test", 0)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("read", ["dataset", "shuffled", "batches", "verify"])
def test_a_damaged_shard_is_named_before_anything_is_read(
    kind, read, folders, tmp_path
):
    folder = shutil.copytree(folders[kind], tmp_path / "damaged")
    file = folder / f"train-00002.{kind}"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)
    stored = StoredFeatures.open(folder)
    more = {"dataset": (), "shuffled": (1,), "batches": (8,), "verify": ()}[read]
    with pytest.raises(UserError) as refused:
        getattr(stored, read)("train", *more)
    assert f"{file}: missing or damaged" in str(refused.value)
    assert "run the same asc-tf features command again" in str(refused.value)
    stored.verify("validation")


def test_a_manifest_of_another_writing_is_refused(folders, tmp_path):
    folder = shutil.copytree(folders["npz"], tmp_path / "mixed")
    text = (folder / "manifest.csv").read_text()
    (folder / "manifest.csv").write_text(text.replace("hum", "whistle", 1))
    with pytest.raises(UserError, match=r"manifest.csv: has changed; run the same"):
        StoredFeatures.open(folder)
    (folder / "manifest.csv").unlink()
    with pytest.raises(UserError, match=r"manifest.csv: not a manifest"):
        StoredFeatures.open(folder)


@pytest.mark.parametrize("name", ["../x.npz", "/etc/passwd", "x.npz", "test-1.npz"])
def test_a_features_json_names_no_file_elsewhere(name):
    shard = Shard("train-00000.npz", "0", 1, "0", (1,)).to_json()
    assert Shard.from_json(shard).segments == 1
    with pytest.raises(ValueError, match="is no name of a shard"):
        Shard.from_json(shard | {"file": name})


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("kind", FORMATS)
def test_a_full_disk_is_an_error_that_commands_report(kind):
    arrays = {name: np.zeros(9, np.int32) for name in ("label_id", "clip", "fold")}
    arrays["features"] = np.zeros((9, 300, 64), np.float32)
    arrays["weight"] = np.ones(9, np.float32)
    with pytest.raises(OSError, match="No space left"):
        shards.write(Path("/dev/full"), kind, arrays)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_folder_whose_name_is_not_utf_8_is_read(kind, tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path / "caf") + b"\xe9"))
    stored = write_by_hand(folder, kind, [2, 1])
    assert len(rows(stored.dataset("train"))) == 3
