"""What a graph finds wrong with a file is said in a line; the model's errors stay."""

from pathlib import Path

import keras
import numpy as np
import pytest
import soundfile
import tensorflow as tf
import tiny

from asc_tf import datasets
from asc_tf.audio.scan import scan
from asc_tf.core.errors import UserError
from asc_tf.pipeline import clip_files
from asc_tf.pipeline.waveforms import Waveforms, explain_read_errors


def write_clips(folder: Path, suffixes: tuple[str, ...]) -> tuple[Waveforms, Path]:
    """The waveforms of training clips, and the file of one with the last suffix."""
    for label in tiny.LABELS[:2]:
        (folder / label).mkdir(parents=True)
        for number in range(4 * len(suffixes)):
            suffix = suffixes[number % len(suffixes)]
            path = folder / label / f"{label}{number}-0{suffix}"
            soundfile.write(path, tiny.clip(label, number), tiny.RATE)
    config = tiny.config(folder)
    corpus = datasets.load(config.dataset)
    manifest = scan(corpus, folder, ("train",), config.audio)
    clips = manifest.clips_in("train")
    waveforms = Waveforms(
        clips, folder, manifest.labels, config.audio, folder / "cache"
    )
    chosen = [clip.path for clip in clips if clip.path.endswith(suffixes[-1])]
    return waveforms, folder / chosen[0]


@pytest.mark.parametrize("suffixes", [(".wav",), (".wav", ".flac", ".ogg")])
def test_a_file_that_has_gone_is_named(tmp_path, suffixes):
    if suffixes != (".wav",):
        # Without it these files come from the cache.
        pytest.importorskip("tensorflow_io")
    waveforms, path = write_clips(tmp_path, suffixes)
    path.unlink()
    with pytest.raises(UserError) as caught, explain_read_errors():
        list(waveforms.in_order())
    assert str(caught.value).startswith(
        f"a clip could not be read ({path}; No such file or directory); if files have "
    )


@pytest.mark.parametrize("kind", [tf.errors.UnknownError, tf.errors.UnavailableError])
def test_a_disk_that_fails_is_said_in_a_line(kind):
    said = "{{function_node f}} /a.wav; Input/output error\n\t [[{{node %s/ReadFile}}]]"
    line = r"could not be read \(/a.wav; Input/output error\)"
    with pytest.raises(UserError, match=line), explain_read_errors():
        raise kind(None, None, said % "read_clip")
    with pytest.raises(kind), explain_read_errors():
        raise kind(None, None, said % "model")


@pytest.mark.parametrize("suffixes", [(".wav",), (".ogg",), (".wav", ".flac", ".ogg")])
def test_a_file_that_has_become_another_is_named(tmp_path, suffixes):
    if suffixes != (".wav",):
        pytest.importorskip("tensorflow_io")
    waveforms, path = write_clips(tmp_path, suffixes)
    path.write_bytes(b"text" * 100)
    with pytest.raises(UserError) as caught, explain_read_errors():
        list(waveforms.in_order())
    assert f"{path} has changed since it was scanned" in str(caught.value)


def test_a_file_of_the_same_size_with_another_header_is_named(tmp_path):
    waveforms, path = write_clips(tmp_path, (".wav",))
    contents = bytearray(path.read_bytes())
    assert contents[24:28] == tiny.RATE.to_bytes(4, "little")
    contents[24:28] = (tiny.RATE + 1).to_bytes(4, "little")
    path.write_bytes(contents)
    with pytest.raises(UserError, match="has changed since"), explain_read_errors():
        list(waveforms.in_order())


@pytest.mark.parametrize("suffix", [".ogg", ".flac"])
def test_another_compressed_file_of_the_same_size_is_named(tmp_path, suffix):
    pytest.importorskip("tensorflow_io")
    waveforms, path = write_clips(tmp_path, (suffix,))
    contents = bytearray(path.read_bytes())
    # In the serial number of the stream, or the checksum of the samples.
    contents[{".ogg": 14, ".flac": 30}[suffix]] ^= 1
    path.write_bytes(contents)
    with pytest.raises(UserError, match="has changed since"), explain_read_errors():
        list(waveforms.in_order())


def test_a_damaged_file_whose_header_the_graph_parses_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(clip_files, "locate_clip", lambda path, clip: None)
    monkeypatch.setattr(clip_files, "START_BYTES", 0)
    waveforms, path = write_clips(tmp_path, (".wav",))
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(UserError, match="not a RIFF WAVE file"), explain_read_errors():
        list(waveforms.in_order())


def test_an_error_behind_the_decoder_is_left_as_it_is(tmp_path):
    waveforms, _ = write_clips(tmp_path, (".wav",))

    def broken(row):
        with tf.control_dependencies([tf.debugging.Assert(False, ["a broken filter"])]):
            return tf.identity(row["waveform"])

    with (
        pytest.raises(tf.errors.InvalidArgumentError, match="a broken filter"),
        explain_read_errors(),
    ):
        list(waveforms.in_order().map(broken))


class Broken(keras.layers.Layer):
    """Fails on the third segment, as an index out of range does."""

    def call(self, inputs):
        return tf.gather(inputs, [[2, 9]], axis=1)[:, 0]


@pytest.mark.parametrize(
    ("is_broken", "run"), [(True, "fit"), (True, "evaluate"), (False, "evaluate")]
)
def test_what_fails_while_a_model_is_run_is_told_apart(tmp_path, is_broken, run):
    waveforms, path = write_clips(tmp_path, (".wav",))
    inputs = keras.Input((4,))
    x = Broken()(inputs) if is_broken else inputs
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))
    model.compile("sgd", "categorical_crossentropy")
    segments = waveforms.in_order().map(
        lambda row: (row["waveform"][:4], row["target"])
    )
    kind, words = tf.errors.InvalidArgumentError, "indices"
    if not is_broken:
        path.unlink()
        kind, words = UserError, f"could not be read .{path}; No such file"
    with pytest.raises(kind, match=words), explain_read_errors():
        getattr(model, run)(segments.batch(2), verbose=0)


@pytest.mark.parametrize("damage", ["gone", "cut off"])
def test_a_shard_that_cannot_be_read_is_told_apart_too(tmp_path, damage):
    path = tmp_path / "shard"
    if damage == "cut off":
        path.write_bytes(np.zeros(7, np.uint8).tobytes())
    records = tf.data.FixedLengthRecordDataset(str(path), 4)
    with (
        pytest.raises(UserError, match=rf"a clip could not be read \(.*{path}"),
        explain_read_errors(),
    ):
        list(records)
