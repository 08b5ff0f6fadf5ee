"""Audio that cannot be classified is refused alike, whatever runs the model."""

import io
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import tensorflow as tf
import tiny

import asc_tf
from asc_tf.core.errors import UserError
from asc_tf.edge.runtime import EdgeModel
from asc_tf.exporting import saved_model
from asc_tf.training.model_file import load_whole

REFUSALS = (UserError, tf.errors.InvalidArgumentError)

REASON = "not finite, or far beyond full scale"


def with_sample(value: float) -> np.ndarray:
    waveform = tiny.clip("hum", 1)
    waveform[7] = value
    return waveform


REFUSED = {
    "NaN": (with_sample(np.nan), REASON),
    "Inf": (with_sample(np.inf), REASON),
    "-Inf": (with_sample(-np.inf), REASON),
    "overflow": (with_sample(1e30), REASON),
    "far beyond full scale": (with_sample(-1.1e6), REASON),
    "no samples": (np.zeros(0, np.float32), "no samples"),
}
ACCEPTED = {
    "a clip": tiny.clip("hum", 1),
    "silence": np.zeros(4000, np.float32),
    "one sample": np.full(1, 0.5, np.float32),
    "beyond full scale": with_sample(5.0),
    "several segments": tiny.clip("whistle", 2, 1.7),
}
WAYS = ("edge", "predictor", "serving_default", "encoded")


def wav_bytes(waveform: np.ndarray) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, waveform, tiny.RATE, format="WAV", subtype="FLOAT")
    return stream.getvalue()


@pytest.fixture(scope="module")
def signatures(tiny_export):
    model = tf.saved_model.load(str(tiny_export / "saved_model" / "1"))
    yield model.signatures
    del model


@pytest.fixture(scope="module")
def edge(tiny_export):
    return EdgeModel(tiny_export / "float32.tflite")


@pytest.fixture(scope="module")
def classify(tiny_run, edge, signatures):
    """The four ways from a waveform to probabilities `[labels]`."""
    predictor = asc_tf.load(tiny_run.path)

    def by_waveform(waveform):
        return signatures["serving_default"](waveform=tf.constant(waveform[np.newaxis]))

    def by_file(waveform):
        return signatures["encoded"](encoded=tf.constant([wav_bytes(waveform)]))

    return {
        "edge": lambda waveform: edge.predict(waveform, tiny.RATE),
        "predictor": lambda waveform: predictor.predict(waveform, tiny.RATE),
        "serving_default": lambda waveform: by_waveform(waveform)["probabilities"][0],
        "encoded": lambda waveform: by_file(waveform)["probabilities"][0],
    }


@pytest.mark.parametrize("case", REFUSED)
def test_bad_audio_is_refused_with_the_reason_in_every_way(classify, case):
    waveform, reason = REFUSED[case]
    for way in WAYS:
        with pytest.raises(REFUSALS, match=reason):
            classify[way](waveform)


@pytest.mark.parametrize("case", ACCEPTED)
def test_odd_audio_has_the_same_probabilities_in_every_way(classify, case):
    wanted = classify["predictor"](ACCEPTED[case])
    assert wanted.sum() == pytest.approx(1, abs=1e-5)
    for way in WAYS:
        np.testing.assert_allclose(classify[way](ACCEPTED[case]), wanted, atol=1e-4)


@pytest.mark.parametrize("way", WAYS[:3])
def test_whole_numbers_are_no_waveform(classify, way):
    with pytest.raises(REFUSALS, match="int16"):
        classify[way](np.zeros(4000, np.int16))


@pytest.mark.parametrize("name", [".", "saved_model", "int8.tflite", "edge"])
def test_segments_are_checked_too_and_there_may_be_none(
    tiny_run, tiny_export, edge, name
):
    model = edge
    if name != "edge":
        model = asc_tf.load(tiny_run.path if name == "." else tiny_export / name)
    assert model.predict_segments(np.zeros([0, 4000], np.float32)).shape == (0, 3)
    for value in (np.nan, 1e30):
        segments = np.zeros([2, 4000], np.float32)
        segments[1, 9] = value
        with pytest.raises(UserError, match=REASON):
            model.predict_segments(segments)
    with pytest.raises(UserError, match=r"give \[n, 4000\]"):
        model.predict_segments(np.zeros([1, 3999], np.float32))
    with pytest.raises(UserError, match="waveforms is int64"):
        model.predict_segments(np.zeros([1, 4000], np.int64))


def test_a_batch_without_rows_is_answered_without_rows(signatures):
    waveforms = tf.zeros([0, 4000])
    for found in (
        signatures["serving_default"](waveform=waveforms),
        signatures["encoded"](encoded=tf.zeros([0], tf.string)),
    ):
        assert found["probabilities"].shape == (0, 3)
        assert found["label"].shape == (0,)


def test_a_request_with_bad_rows_fails_and_names_them(signatures):
    good, bad = tiny.clip("hum", 1), with_sample(np.nan)
    batch = tf.constant(np.stack([bad, good, bad]))
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"row 0, 2 of waveform: samples"
    ):
        signatures["serving_default"](waveform=batch)
    files = [wav_bytes(good), b"text", wav_bytes(bad)]
    with pytest.raises(
        tf.errors.InvalidArgumentError, match=r"row 1 of encoded: too short"
    ):
        signatures["encoded"](encoded=tf.constant(files))


def test_the_saved_model_pools_as_configured(tiny_run):
    config = tiny_run.config().replace({"evaluate.pooling": "majority"})
    model = load_whole(tiny_run.model_file)
    from_waveform, from_encoded = saved_model._make_signatures(
        model, config.audio, config.evaluate, tiny_run.labels()
    )
    predictor = asc_tf.load(tiny_run.path)
    waveform = np.concatenate([tiny.clip(name, 3) for name in tiny.LABELS])
    majority = replace(predictor.preprocessing, pooling="majority")
    wanted = replace(predictor, preprocessing=majority).predict(waveform, tiny.RATE)
    assert np.abs(wanted - predictor.predict(waveform, tiny.RATE)).max() > 0.01
    found = from_waveform(tf.constant(waveform[None]))
    np.testing.assert_allclose(found["probabilities"][0], wanted, atol=1e-5)
    found = from_encoded(tf.constant([wav_bytes(waveform)]))
    np.testing.assert_allclose(found["probabilities"][0], wanted, atol=1e-4)
