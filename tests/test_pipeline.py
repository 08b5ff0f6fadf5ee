"""The tf.data graphs: no Python in the loop, new every epoch, the same for a seed."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tiny

from asc_tf import datasets, pipeline, segments
from asc_tf.frontend import LogMel
from asc_tf.scan import scan


@pytest.fixture(scope="module", params=[".wav", ".ogg"])
def corpus(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    return tiny.write_corpus(folder, suffix=request.param)


def scanned(config):
    return scan(
        datasets.load(config.dataset), Path(config.dataset.dir), ("train",), 60.0
    )


def batches_of(config, first_epoch: int = 0) -> tf.data.Dataset:
    manifest = scanned(config)
    waveforms = pipeline.Waveforms(
        manifest.part("train"), Path(config.dataset.dir), manifest.labels, config.audio
    )
    layer = LogMel(config.audio.sample_rate, config.frontend)
    layer.build((None, config.audio.segment_samples))
    layer.set_statistics(-40.0, 20.0)
    return pipeline.training_batches(waveforms, layer, config, first_epoch)


def epochs_of(config, first_epoch: int = 0) -> list[np.ndarray]:
    """Features and targets of each epoch, side by side: `[clips, values]`."""
    rows = []
    for features, targets in batches_of(config, first_epoch):
        flat = tf.reshape(features, [tf.shape(features)[0], -1])
        rows.append(tf.concat([flat, targets], axis=1).numpy())
    clips = len(scanned(config).part("train"))
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
        sum(clip.label == label for clip in manifest.part("train"))
        for label in manifest.labels
    ]
    for epoch in (first, second, third):
        np.testing.assert_array_equal(epoch[:, -3:].sum(axis=0), counts)
    assert not np.array_equal(first, second)
    assert not np.array_equal(second, third)


def test_two_epochs_have_different_masks(corpus):
    config = tiny.config(
        corpus, augment__mixup_alpha=0.0, audio__segment_seconds=1.0, train__epochs=2
    )
    masks = [epoch[:, :-3] == 0 for epoch in epochs_of(config)]
    assert all(mask.any() for mask in masks)
    assert not np.array_equal(
        np.sort(masks[0].sum(axis=1)), np.sort(masks[1].sum(axis=1))
    )


@pytest.mark.parametrize("cache", ["memory", "none"])
def test_the_same_seed_gives_the_same_epochs_and_another_seed_others(corpus, cache):
    config = tiny.config(corpus, audio__cache=cache)
    one, same = epochs_of(config), epochs_of(config)
    other = epochs_of(tiny.config(corpus, audio__cache=cache, train__seed=1))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_a_resumed_pipeline_goes_on_with_the_epochs_that_are_left(corpus):
    config = tiny.config(corpus)
    np.testing.assert_array_equal(epochs_of(config)[2], epochs_of(config, 2)[0])


def test_the_cache_changes_no_value(corpus):
    cached, fresh = (
        epochs_of(tiny.config(corpus, audio__cache=cache))
        for cache in ("memory", "none")
    )
    np.testing.assert_array_equal(cached, fresh)


def test_files_are_decoded_once_when_they_are_cached(corpus, tmp_path):
    moved = tiny.write_corpus(tmp_path / "moved", recordings=4, suffix=".wav")
    dataset = iter(batches_of(tiny.config(moved, train__batch_size=100)))
    next(dataset)
    for path in moved.glob("*/*.wav"):
        path.unlink()
    assert len(list(dataset)) == 2


def test_segments_in_order_are_those_of_the_law(corpus):
    config = tiny.config(corpus, audio__segment_seconds=0.25, audio__hop_seconds=0.1)
    manifest = scanned(config)
    clips = manifest.part("train")
    waveforms = pipeline.Waveforms(clips, corpus, manifest.labels, config.audio)
    whole = [row["waveform"].numpy() for row in waveforms.in_order()]
    wanted = [segments.split(waveform, 2000, 800) for waveform in whole]
    batches = list(pipeline.segment_batches(waveforms, config.audio, 7))
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
    manifest = scan(datasets.load(config.dataset), corpus, ("train",), 60.0)
    waveforms = pipeline.Waveforms(
        manifest.part("train"), corpus, manifest.labels, config.audio
    )
    whole = tiny.clip("hum", 0, 0.4)
    first, second = (row["waveform"].numpy() for row in waveforms.in_order())
    np.testing.assert_allclose(first, whole[800:2400], atol=1e-4)
    np.testing.assert_allclose(second, whole[2400:], atol=1e-4)
