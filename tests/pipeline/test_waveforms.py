"""The tf.data graphs: no Python in the loop, new every epoch, the same for a seed."""

import dataclasses
import functools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import tensorflow as tf
import tiny
from wavs import cut_whole

from asc_tf import datasets
from asc_tf.audio.scan import scan
from asc_tf.config import Audio, Dataset, Evaluate
from asc_tf.dsp import segments
from asc_tf.dsp.preprocessing import Preprocessing
from asc_tf.frontend import FrontendLayer
from asc_tf.manifest import Manifest
from asc_tf.pipeline import noise_banks
from asc_tf.pipeline.batches import make_training_batches
from asc_tf.pipeline.examples import ClipExamples
from asc_tf.pipeline.run import Run
from asc_tf.pipeline.segments import make_segment_batches, make_training_segments
from asc_tf.pipeline.waveforms import Waveforms
from asc_tf.workdir import Workdir


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """WAV files and Ogg files, which no test changes."""
    folder = tiny.write_corpus(tmp_path_factory.mktemp("corpus") / "corpus", 4)
    for path in folder.rglob("*1.wav"):
        soundfile.write(path.with_suffix(".ogg"), *soundfile.read(path))
        path.unlink()
    return folder


def scanned(config) -> Manifest:
    return scan_once(config.dataset, dataclasses.replace(config.audio, cache="none"))


@functools.cache
def scan_once(dataset: Dataset, audio: Audio) -> Manifest:
    return scan(datasets.load(dataset), Path(dataset.dir), ("train",), audio)


def count_examples(config) -> int:
    return Run(config, Workdir(Path("unused")), scanned(config)).count_examples()


def waveforms_of(config) -> Waveforms:
    clips = scanned(config).clips_in("train")
    return make_waveforms(config, clips, config.dataset.unverified_weight)


def make_waveforms(config, clips, unverified_weight: float) -> Waveforms:
    folder = Path(config.dataset.dir)
    return Waveforms(
        clips,
        folder,
        scanned(config).labels,
        config.audio,
        folder.parent / "cache",
        unverified_weight=unverified_weight,
    )


def batches_of(config, first_epoch: int = 0) -> tf.data.Dataset:
    waveforms = waveforms_of(config)
    layer = FrontendLayer(config.audio.sample_rate, config.frontend)
    shape = Preprocessing.from_config(config.audio, config.evaluate).segment_shape
    layer.build((None, *shape))
    layer.set_statistics(-40.0, 20.0)
    return batches_from(waveforms, layer, config, first_epoch)


def batches_from(waveforms, layer, config, first_epoch: int = 0) -> tf.data.Dataset:
    audio = config.audio
    sounds = noise_banks.load(
        config.augment, audio.sample_rate, audio.segment_samples, 0
    )
    examples = ClipExamples(waveforms, waveforms, layer, config, sounds)
    return make_training_batches(examples, layer, config, first_epoch)


def epochs_of(config, first_epoch: int = 0) -> list[np.ndarray]:
    """Features and targets of each epoch, side by side: `[clips, values]`."""
    rows = []
    for inputs, targets in batches_of(config, first_epoch):
        flat = tf.reshape(inputs["features"], [tf.shape(targets)[0], -1])
        rows.append(tf.concat([flat, targets], axis=1).numpy())
    clips = len(scanned(config).clips_in("train"))
    everything = np.concatenate(rows)
    return np.split(everything, len(everything) // clips)


def test_the_training_graph_calls_no_python(corpus):
    dataset = batches_of(tiny.config(corpus))
    graph = dataset._as_serialized_graph()
    definition = tf.compat.v1.GraphDef.FromString(graph.numpy())
    names = {node.op for node in definition.node}
    for function in definition.library.function:
        names |= {node.op for node in function.node_def}
    assert "CacheDatasetV2" in names or "CacheDataset" in names
    assert "RFFT" in names
    assert not [name for name in names if "PyFunc" in name]


def test_each_epoch_sees_every_clip_once_and_differently(corpus):
    plain = {"augment__mixup_alpha": 0.0}
    first, second, third = epochs_of(tiny.config(corpus, **plain))
    manifest = scanned(tiny.config(corpus))
    counts = [
        sum(clip.label == label for clip in manifest.clips_in("train"))
        for label in manifest.labels
    ]
    for epoch in (first, second, third):
        np.testing.assert_array_equal(epoch[:, -3:].sum(axis=0), counts)
    assert not np.array_equal(first, second)
    assert not np.array_equal(second, third)


def repeat(waveform: tf.Tensor, count: int) -> SimpleNamespace:
    """Waveforms of clips that are all the same."""
    row = {
        **{"waveform": waveform, "target": tf.zeros(3), "weight": tf.ones([])},
        **{"clip": tf.constant(0), "example": tf.constant(0)},
    }
    rows = tf.data.Dataset.range(count).map(lambda _: row)
    return SimpleNamespace(in_order=lambda: rows, shuffle=lambda seed, copies: rows)


def test_each_clip_of_an_epoch_is_cut_at_a_place_of_its_own(tmp_path):
    clips = repeat(tf.range(12000, dtype=tf.float32), 20)
    seed = tf.constant([1, 2], tf.int64)
    found = make_training_segments(clips, tiny.config(tmp_path), seed)
    assert len({int(segment[0]) for segment, *_ in found}) > 15


@pytest.mark.parametrize(("short_clips", "mean"), [("pad", 0.25), ("loop", 1.0)])
def test_short_clips_of_training_are_padded_or_looped_as_configured(
    tmp_path, short_clips, mean
):
    config = tiny.config(tmp_path, audio__short_clips=short_clips)
    seed = tf.constant([1, 2], tf.int64)
    [[segment, *_]] = make_training_segments(repeat(tf.ones(1000), 1), config, seed)
    assert segment.numpy().mean() == mean


@pytest.mark.parametrize(("which", "count"), [("all", 3), ("centre", 1)])
def test_the_segments_of_evaluation_are_all_or_the_centre_one(tmp_path, which, count):
    config = tiny.config(tmp_path, evaluate__segments=which)
    preprocessing = Preprocessing.from_config(config.audio, config.evaluate)
    [batch] = make_segment_batches(repeat(tf.ones(12000), 1), preprocessing, 8)
    assert batch["waveform"].shape == (count, 4000)


def test_clips_come_in_another_order_for_another_seed(corpus):
    waveforms = waveforms_of(tiny.config(corpus))

    def order(seed: int) -> list[int]:
        shuffled = waveforms.shuffle(tf.constant(seed, tf.int64))
        return [int(row["example"]) for row in shuffled]

    assert order(1) == order(1) != order(2)
    assert sorted(order(1)) == sorted(order(2)) == list(range(waveforms.count))


def test_two_epochs_have_different_masks(corpus):
    config = tiny.config(corpus, augment__mixup_alpha=0.0, train__epochs=2)
    masks = [epoch[:, :-3] == 0 for epoch in epochs_of(config)]
    assert all(mask.any() for mask in masks)
    assert not np.array_equal(
        np.sort(masks[0].sum(axis=1)), np.sort(masks[1].sum(axis=1))
    )


@pytest.fixture(scope="module")
def usual(corpus) -> dict[str, list[np.ndarray]]:
    """The epochs of the usual configuration, with and without a cache."""
    kinds = ("memory", "none")
    return {kind: epochs_of(tiny.config(corpus, audio__cache=kind)) for kind in kinds}


def test_the_same_seed_gives_the_same_epochs_and_another_seed_others(corpus, usual):
    same = epochs_of(tiny.config(corpus))
    np.testing.assert_array_equal(usual["memory"], same)
    other = epochs_of(tiny.config(corpus, train__seed=1))
    for one, another in zip(same, other, strict=True):
        assert not np.array_equal(one, another)


def test_a_resumed_pipeline_goes_on_with_the_epochs_that_are_left(corpus, usual):
    [last] = epochs_of(tiny.config(corpus), 2)
    np.testing.assert_array_equal(usual["memory"][2], last)


def test_the_cache_changes_no_value(usual):
    np.testing.assert_array_equal(usual["memory"], usual["none"])


def test_files_are_decoded_once_when_they_are_cached(tmp_path):
    moved = tiny.write_corpus(tmp_path / "moved", recordings=4, suffix=".wav")
    dataset = iter(batches_of(tiny.config(moved, train__batch_size=100)))
    next(dataset)
    for path in moved.glob("*/*.wav"):
        path.unlink()
    assert len(list(dataset)) == 2


def test_segments_of_a_clip_are_those_that_numpy_cuts_in_order(corpus):
    config = tiny.config(corpus, audio__segment_seconds=0.25, audio__hop_seconds=0.1)
    manifest = scanned(config)
    clips = manifest.clips_in("train")
    waveforms = waveforms_of(config)
    whole = [row["waveform"].numpy() for row in waveforms.in_order()]
    wanted = [np.stack(list(cut_whole(x, 2000, 800))) for x in whole]
    batches = list(
        make_segment_batches(
            waveforms, Preprocessing.from_config(config.audio, Evaluate()), 7
        )
    )
    found = np.concatenate([batch["waveform"] for batch in batches])
    np.testing.assert_array_equal(found, np.concatenate(wanted))
    ids = np.concatenate([batch["clip"] for batch in batches])
    counts = [len(cut) for cut in wanted]
    np.testing.assert_array_equal(ids, np.repeat(range(len(clips)), counts))
    targets = np.concatenate([batch["target"] for batch in batches])
    labels = [manifest.labels[row.argmax()] for row in targets]
    assert labels == [clips[index].label for index in ids]


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_a_clip_is_cut_out_of_its_file_by_start_and_duration(tmp_path, suffix):
    corpus = tiny.write_corpus(tmp_path, recordings=1, suffix=suffix)
    table = ["filename,label,start,duration"]
    table += [f"hum/hum0-0{suffix},hum,0.1,0.2", f"hum/hum0-0{suffix},hum,0.3,0"]
    (corpus / "table.csv").write_text("\n".join(table) + "\n")
    changes = {
        "dataset.name": "csv",
        "dataset.csv_file": "table.csv",
        "dataset.start_column": "start",
        "dataset.duration_column": "duration",
    }
    config = tiny.config(corpus).replace(changes)
    waveforms = waveforms_of(config)
    whole = tiny.clip("hum", 0, 0.4)
    first, second = (row["waveform"].numpy() for row in waveforms.in_order())
    np.testing.assert_allclose(first, whole[800:2400], atol=1e-4)
    np.testing.assert_allclose(second, whole[2400:], atol=1e-4)


def stereo_corpus(folder: Path) -> Path:
    """Clips whose left channel is the tiny corpus and whose right is half of it."""
    for label in tiny.LABELS:
        (folder / label).mkdir(parents=True)
        for number in range(4):
            left = tiny.clip(label, number, 0.4 + 0.2 * number)
            path = folder / label / f"{label}{number}-0.wav"
            both = np.stack([left, left / 2], axis=1) if number else left
            soundfile.write(path, both, tiny.RATE)
    return folder


def test_split_channels_are_three_examples_of_a_stereo_clip_and_one_of_a_mono(tmp_path):
    corpus = stereo_corpus(tmp_path / "corpus")
    config = tiny.config(corpus, audio__channels="split", augment__mixup_alpha=0.0)
    waveforms = waveforms_of(config)
    clips = scanned(config).clips_in("train")
    examples = [1 if clip.channels == 1 else 3 for clip in clips]
    assert waveforms.count == count_examples(config) == sum(examples)
    rows = list(waveforms.in_order())
    ids = [int(row["clip"]) for row in rows]
    assert ids == list(np.repeat(range(len(clips)), examples))
    stereo = next(i for i, clip in enumerate(clips) if clip.channels == 2)
    left, right, mean = (r["waveform"] for r in rows if int(r["clip"]) == stereo)
    np.testing.assert_allclose(right, left / 2, atol=1e-4)
    np.testing.assert_allclose(mean, 0.75 * left, atol=1e-4)
    batches = make_segment_batches(
        waveforms, Preprocessing.from_config(config.audio, config.evaluate), 32
    )
    segment_ids = np.concatenate([batch["clip"] for batch in batches])
    assert set(segment_ids) == set(range(len(clips)))


@pytest.mark.parametrize(
    ("channels", "expected"),
    [("stereo", lambda x: (x, x / 2)), ("mid_side", lambda x: (0.75 * x, x / 4))],
)
def test_two_channels_reach_the_model_side_by_side(tmp_path, channels, expected):
    corpus = stereo_corpus(tmp_path / "corpus")
    config = tiny.config(corpus, audio__channels=channels)
    clips = scanned(config).clips_in("train")
    rows = waveforms_of(config).in_order()
    for clip, row in zip(clips, rows, strict=True):
        samples, _ = soundfile.read(corpus / clip.path, always_2d=True)
        if clip.channels == 2:
            wanted = np.stack(expected(samples[:, 0]), axis=1)
            np.testing.assert_allclose(row["waveform"], wanted, atol=1e-4)
        assert row["waveform"].shape[1] == 2
    inputs, targets = next(iter(batches_of(config)))
    assert inputs["features"].shape[2:] == (16, 2)
    assert len(inputs["features"]) == len(targets)


def test_all_segments_of_all_clips_are_in_each_epoch_in_another_order(corpus):
    plain = {"augment__mixup_alpha": 0.0, "augment__time_masks": 0}
    config = tiny.config(
        corpus,
        **plain,
        augment__frequency_masks=0,
        audio__segment_seconds=0.2,
        audio__hop_seconds=0.1,
        train__segments="all",
        train__epochs=2,
        frontend__standardize="none",
    )
    count = count_examples(config)
    lengths = [clip.samples for clip in scanned(config).clips_in("train")]
    assert count == sum(len(segments.find_starts(n, 1600, 800)) for n in lengths)
    assert count > len(lengths)
    apart = {"audio.hop_seconds": 0.15, "audio.last_segment": "drop"}
    apart = config.replace(apart)
    dropped = count_examples(apart)
    starts = [segments.find_starts(n, 1600, 1200, last_segment="drop") for n in lengths]
    assert dropped == sum(map(len, starts))
    assert dropped < sum(len(segments.find_starts(n, 1600, 1200)) for n in lengths)
    rows = [inputs["features"].numpy() for inputs, _ in batches_of(config)]
    first, second = np.split(np.concatenate(rows).reshape(2 * count, -1), 2)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(*(x[np.lexsort(x.T)] for x in (first, second)))


def weighted(config, weight: float, is_verified) -> tuple[np.ndarray, np.ndarray]:
    """Targets and weights of all batches, where only some clips are verified."""
    manifest = scanned(config)
    marked = [
        dataclasses.replace(clip, verified="1" if is_verified(index, clip) else "0")
        for index, clip in enumerate(manifest.clips_in("train"))
    ]
    waveforms = make_waveforms(config, marked, weight)
    layer = FrontendLayer(config.audio.sample_rate, config.frontend)
    layer.build((None, config.audio.segment_samples))
    found = batches_from(waveforms, layer, config)
    rows = [(y.numpy(), w.numpy()) for _, y, w in found]
    targets, weights = (np.concatenate(part) for part in zip(*rows, strict=True))
    return targets, weights


def every_second(index: int, _) -> bool:
    return index % 2 == 1


def test_unverified_clips_weigh_what_is_configured(corpus):
    config = tiny.config(corpus, augment__mixup_alpha=0.0)
    targets, weights = weighted(config, 0.25, every_second)
    assert sorted(weights) == sorted([0.25, 1.0] * (len(weights) // 2))
    np.testing.assert_array_equal(targets.sum(axis=1), 1)


def test_in_a_mixture_a_label_counts_by_share_and_weight_and_nothing_by_0(corpus):
    config = tiny.config(corpus, augment__mixup_alpha=1.0, train__epochs=20)
    targets, weights = weighted(config, 0.25, every_second)
    assert ((weights > 0.25) & (weights < 1)).any()
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-6)
    targets, weights = weighted(config, 0.0, every_second)
    is_lost = weights == 0
    assert not targets[is_lost].any()
    np.testing.assert_allclose(targets[~is_lost].sum(axis=1), 1, atol=1e-6)


def test_the_label_of_a_clip_without_weight_is_not_in_any_mixture(corpus):
    config = tiny.config(corpus, augment__mixup_alpha=1.0, train__epochs=5)
    targets, weights = weighted(config, 0.0, lambda _, clip: clip.label != "hum")
    assert not targets[:, scanned(config).labels.index("hum")].any()
    assert targets.any(axis=0).sum() == len(tiny.LABELS) - 1
    assert weights.any()


@pytest.mark.parametrize("dtype", tiny.cases(["int16", "float16", "float32"], "int16"))
def test_what_is_kept_on_disk_gives_the_clips_that_decoding_gives(tmp_path, dtype):
    corpus = tiny.write_corpus(tmp_path / "corpus", recordings=4)
    changes = {"audio__cache_dtype": dtype, "audio__sample_rate": 6000}
    fresh, kept, again = (
        [
            row["waveform"].numpy()
            for row in waveforms_of(
                tiny.config(corpus, audio__cache=cache, **changes)
            ).in_order()
        ]
        for cache in ("none", "disk", "disk")
    )
    assert len(list((tmp_path / "cache").rglob("*.audio"))) == len(fresh) == 12
    atol = {"int16": 2e-5, "float16": 3e-4, "float32": 1e-6}[dtype]
    for one, other, same in zip(fresh, kept, again, strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=atol)
        np.testing.assert_array_equal(same, other)


def test_files_that_only_libsndfile_reads_are_decoded_into_the_cache(tmp_path):
    corpus = tiny.write_corpus(tmp_path / "corpus", recordings=4)
    for path in corpus.rglob("*1.wav"):
        samples, rate = soundfile.read(path)
        soundfile.write(path, samples, rate, format="RF64", subtype="PCM_16")
    config = tiny.config(corpus, audio__cache_dtype="float32")
    clips = scanned(config).clips_in("train")
    assert {clip.route for clip in clips} == {"wav", "sndfile"}
    rows = list(waveforms_of(config).in_order())
    for clip, row in zip(clips, rows, strict=True):
        samples, _ = soundfile.read(corpus / clip.path, dtype="float32")
        np.testing.assert_array_equal(row["waveform"], samples)
    kept = sum(clip.route == "sndfile" for clip in clips)
    assert len(list((tmp_path / "cache").rglob("*.audio"))) == kept
