"""An exported model run by LiteRT."""

import sys

import numpy as np
import pytest
import soundfile
from statistics_model import (
    HOP,
    LABELS,
    LENGTH,
    METADATA,
    RATE,
    fields,
    probabilities_of,
    seal,
    write_wav,
)
from wavs import cut_whole

import asc_tf
from asc_tf.core.errors import UserError
from asc_tf.dsp import resampling, segments
from asc_tf.edge import tflite_metadata
from asc_tf.edge.runtime import EdgeModel


def test_a_clip_gets_the_mean_over_its_segments(model, noise):
    starts = [0, 800, 1600, 2400]
    expected = np.mean(
        [probabilities_of(noise[s : s + LENGTH]) for s in starts], axis=0
    )
    probabilities = model.predict(noise, RATE)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, expected, atol=1e-6)


@pytest.mark.parametrize("samples", [1, 1599, 1600, 1601, 2399, 2400, 3999])
def test_segments_are_those_of_evaluation(model, noise, samples):
    parts = np.stack(list(cut_whole(noise[:samples], LENGTH, HOP)))
    expected = np.mean([probabilities_of(part) for part in parts], axis=0)
    np.testing.assert_allclose(
        model.predict(noise[:samples], RATE), expected, atol=1e-6
    )
    np.testing.assert_allclose(
        model.predict_segments(parts),
        [probabilities_of(part) for part in parts],
        atol=1e-6,
    )


def test_a_rest_is_dropped_where_the_metadata_say_so_and_aligned_where_they_do_not(
    flatbuffer, tmp_path, noise
):
    starts = {"align": [0, 800, 1600, 2300], "drop": [0, 800, 1600]}
    for last_segment, places in starts.items():
        path = tmp_path / f"{last_segment}.tflite"
        path.write_bytes(flatbuffer)
        is_drop = last_segment == "drop"
        changes = {"last_segment": last_segment} if is_drop else {}
        tflite_metadata.write_metadata(path, METADATA | changes)
        expected = np.mean(
            [probabilities_of(noise[s : s + LENGTH]) for s in places], axis=0
        )
        for load in (EdgeModel, asc_tf.load):
            found = load(path).predict(noise[:3900], RATE)
            np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("pooling", ["mean_log", "majority"])
def test_segments_are_pooled_as_the_metadata_say(flatbuffer, tmp_path, noise, pooling):
    text = fields(flatbuffer, pooling=pooling)
    model = EdgeModel(seal(tmp_path / "m.tflite", flatbuffer, text))
    # One loud segment, so that the mean is another.
    noise = noise * np.repeat([1, 0.01, 0.01, 0.01, 0.01], HOP).astype(np.float32)
    parts = np.stack(list(cut_whole(noise, LENGTH, HOP)))
    each = np.float32([probabilities_of(part) for part in parts])
    wanted = segments.pool(each, np.zeros(len(each), int), 1, pooling)[0]
    np.testing.assert_allclose(model.predict(noise, RATE), wanted, atol=1e-6)
    assert np.abs(wanted - each.mean(axis=0)).max() > 1e-3


def test_channels_are_averaged(model, noise):
    stereo = np.stack([noise, -0.5 * noise], axis=1)
    np.testing.assert_allclose(
        model.predict(stereo, RATE), model.predict(0.25 * noise, RATE), atol=1e-6
    )


def test_other_rates_are_resampled(model, noise):
    expected = model.predict(resampling.resample(noise, 44100, RATE), RATE)
    np.testing.assert_array_equal(model.predict(noise, 44100), expected)
    np.testing.assert_array_equal(model.predict(noise, 44100.0), expected)


def test_no_segments_give_no_rows(model):
    empty = np.zeros((0, LENGTH), np.float32)
    assert model.predict_segments(empty).shape == (0, len(LABELS))


@pytest.mark.parametrize(
    ("waveform", "rate", "message"),
    [
        (np.zeros(0), RATE, r"waveform has shape \(0,\): no samples"),
        (np.zeros((5, 0)), RATE, "no samples"),
        (np.float32(0), RATE, r"waveform has shape \(\); give \[samples\]"),
        (np.zeros((1, 2, 3)), RATE, r"waveform has shape \(1, 2, 3\)"),
        (np.array([0, np.nan]), RATE, "waveform holds samples that are not finite"),
        (np.array([0, 1e300]), RATE, "waveform holds samples that are not finite"),
        (np.zeros(9, np.int16), RATE, r"waveform is int16; give floats in \[-1, 1\]"),
        (np.zeros(9), 0, "sample_rate is 0; give a whole number of Hz from 1000"),
        (np.zeros(9), -RATE, "sample_rate is -16000"),
        (np.zeros(9), 2**32 - 1, "sample_rate is 4294967295"),
        (np.zeros(9), 8000.5, "sample_rate is 8000.5"),
        (np.zeros(9), float("nan"), "sample_rate is nan"),
        (np.zeros(9), None, "sample_rate is None"),
    ],
)
def test_a_clip_that_makes_no_sense_is_refused(model, waveform, rate, message):
    with pytest.raises(UserError, match=message):
        model.predict(waveform, rate)


def test_segments_of_another_length_are_refused(model):
    message = r"shape \(2, 5\); give \[n, 1600\] at 16000 Hz"
    with pytest.raises(UserError, match=message):
        model.predict_segments(np.zeros((2, 5)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ["a", "b"]}, r"output is .*\(1, 3\).* say .*\(1, 2\)"),
        ({"segment_samples": 800}, r"input is .*\(1, 1600\).* say .*\(1, 800\)"),
    ],
)
def test_a_model_that_does_not_fit_its_metadata_is_refused(
    flatbuffer, tmp_path, changes, message
):
    path = seal(tmp_path / "m.tflite", flatbuffer, fields(flatbuffer, **changes))
    with pytest.raises(UserError, match=message) as raised:
        EdgeModel(path)
    assert str(raised.value).startswith(f"{path}: ")


def test_a_flatbuffer_without_tables_is_a_user_error(tmp_path):
    path = tmp_path / "m.tflite"
    path.write_bytes(b"\x1c\0\0\0TFL3" + bytes(100))
    tflite_metadata.write_metadata(path, METADATA)
    with pytest.raises(UserError, match=r"m\.tflite: damaged: the table Model"):
        EdgeModel(path)


def test_threads_are_bounded(model_file, noise):
    assert EdgeModel(model_file, threads=2).predict(noise, RATE).shape == (3,)
    for threads in (0, 65):
        with pytest.raises(UserError, match=f"threads={threads}: give 1 to 64"):
            EdgeModel(model_file, threads=threads)


def test_without_litert_the_extra_is_named(model_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(UserError, match=r"pip install '\.\[edge\]'"):
        EdgeModel(model_file)


def test_a_bad_file_does_not_stop_the_others(model, noise, tmp_path):
    good = write_wav(tmp_path / "good.wav", noise, rate=8000)
    bad = tmp_path / "bad.wav"
    bad.write_text("no sound in here")
    empty = write_wav(tmp_path / "empty.wav", noise[:0])
    results = model.predict_files([bad, good, empty, str(good)])
    assert [set(result) == {"file", "error"} for result in results] == [1, 0, 1, 0]
    assert results[0]["error"].startswith(f"{bad}: not a WAV file")
    assert results[2]["error"].startswith(f"{empty}: no samples: the file")
    result = results[1]
    expected = model.predict(soundfile.read(good)[0], 8000)
    assert list(result["probabilities"]) == list(LABELS)
    np.testing.assert_array_equal(list(result["probabilities"].values()), expected)
    assert result["label"] == LABELS[expected.argmax()]
    assert result["probability"] == expected.max()
    assert result["seconds"] == len(noise) / 8000
    assert result["ms"] > 0
