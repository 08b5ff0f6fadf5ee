"""The front-end: equal to librosa, to itself, and to nothing else in the batch."""

import dataclasses
import os
from pathlib import Path

import keras
import librosa
import numpy as np
import pytest
import tensorflow as tf

from asc_tf.config import Frontend
from asc_tf.frontend import FrontendLayer, compute_statistics
from asc_tf.frontend.mel import hz_to_mel, make_filter_bank, mel_to_hz

RATE = 22050


def sound(samples: int = RATE, seed: int = 0) -> np.ndarray:
    """Noise, two tones and a click, float32 `[samples]`."""
    generator = np.random.default_rng(seed)
    time = np.arange(samples) / RATE
    tones = 0.3 * np.sin(2 * np.pi * 440 * time) + 0.1 * np.sin(2 * np.pi * 5000 * time)
    values = tones + 0.02 * generator.standard_normal(samples)
    values[samples // 3] += 0.5
    return values.astype(np.float32)


def layer_of(**settings) -> FrontendLayer:
    layer = FrontendLayer(RATE, Frontend(**settings))
    layer.build((None, None))
    return layer


def by_librosa(waveform: np.ndarray, settings: Frontend) -> np.ndarray:
    mel = librosa.feature.melspectrogram(
        y=waveform,
        sr=RATE,
        n_fft=settings.n_fft,
        hop_length=settings.hop_length,
        win_length=settings.win_length or None,
        window={"rectangular": "boxcar"}.get(settings.window, settings.window),
        center=settings.center,
        power=settings.power,
        n_mels=settings.n_mels,
        fmin=settings.fmin,
        fmax=settings.fmax or RATE / 2,
        htk=settings.mel_scale == "htk",
        norm=None if settings.mel_norm == "none" else "slaney",
    )
    fixed = settings.db_reference == "fixed"
    reference = settings.db_reference_value if fixed else np.max
    return librosa.power_to_db(mel, ref=reference, top_db=settings.top_db or None).T


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"mel_scale": "htk"},
        {"mel_scale": "htk", "mel_norm": "none"},
        {"n_fft": 2048, "n_mels": 128},
        {"n_fft": 512, "hop_length": 160, "win_length": 400, "n_mels": 40},
        {"center": False},
        {"window": "hamming", "win_length": 882, "hop_length": 441},
        {"window": "rectangular"},
        {"power": 1.0},
        {"fmin": 50.0, "fmax": 8000.0},
        {"db_reference": "fixed", "db_reference_value": 1.0},
        {"db_reference": "fixed", "db_reference_value": 0.01, "top_db": 60.0},
        {"top_db": 30.0},
    ],
    ids=str,
)
def test_decibels_equal_librosa_within_a_thousandth(settings):
    layer = layer_of(**settings)
    waveform = sound()
    found = layer.extract(waveform[np.newaxis])[0].numpy()
    wanted = by_librosa(waveform, layer.settings)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, atol=1e-3)


@pytest.mark.parametrize("scale", ["slaney", "htk"])
def test_filter_banks_and_scales_equal_librosa(scale):
    htk = scale == "htk"
    wanted = librosa.filters.mel(
        sr=RATE, n_fft=1024, n_mels=50, fmin=20.0, fmax=9000.0, htk=htk, norm="slaney"
    )
    found = make_filter_bank(RATE, 1024, 50, 20.0, 9000.0, scale, "slaney")
    np.testing.assert_allclose(found.T, wanted, atol=1e-7)
    frequencies = np.array([0.0, 31.0, 999.0, 1000.0, 1001.0, 11025.0])
    mels = hz_to_mel(frequencies, scale)
    np.testing.assert_allclose(mels, librosa.hz_to_mel(frequencies, htk=htk))
    np.testing.assert_allclose(mel_to_hz(mels, scale), frequencies, atol=1e-9)


@pytest.mark.parametrize("reference", ["clip_max", "fixed"])
def test_a_loud_neighbour_changes_nothing(reference):
    layer = layer_of(db_reference=reference, top_db=80.0)
    quiet, loud = 1e-3 * sound(seed=1), sound(seed=2)
    alone = layer(quiet[np.newaxis]).numpy()[0]
    together = layer(np.stack([loud, quiet, loud])).numpy()[1]
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_features_do_not_depend_on_level_relative_to_the_clips_maximum():
    layer = layer_of()
    waveform = sound()[np.newaxis]
    np.testing.assert_allclose(
        layer.extract(0.125 * waveform), layer.extract(waveform), atol=1e-4
    )


def test_silence_is_0_db_everywhere_as_in_librosa():
    layer = layer_of()
    silence = np.zeros(RATE, np.float32)
    found = layer.extract(silence[np.newaxis])[0].numpy()
    np.testing.assert_array_equal(found, 0)
    np.testing.assert_allclose(by_librosa(silence, layer.settings), 0, atol=1e-4)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("samples", [1024, 1025, 1535, 1536, 22050])
def test_the_frame_count_law_is_what_comes_out(center, samples):
    layer = layer_of(center=center)
    features = layer(np.zeros((2, samples), np.float32))
    assert features.shape == layer.compute_output_shape((2, samples))
    assert features.shape[1] == layer.settings.frames(samples)


def test_standardized_training_features_have_mean_0_and_deviation_1():
    swell = np.geomspace(0.03, 1, RATE, dtype=np.float32)
    batches = [
        swell * np.stack([sound(seed=2 * n), sound(seed=2 * n + 1)]) for n in range(3)
    ]
    for kind, axis in (("per_band", (0, 1)), ("scalar", None)):
        layer = layer_of(standardize=kind)
        layer.set_statistics(*compute_statistics(layer, map(layer.extract, batches)))
        features = np.concatenate([layer(batch).numpy() for batch in batches])
        np.testing.assert_allclose(features.mean(axis=axis), 0, atol=1e-4)
        np.testing.assert_allclose(features.std(axis=axis), 1, atol=1e-4)
    assert len(set(layer.mean.numpy())) == 1


def test_statistics_equal_those_of_numpy_over_all_frames():
    batches = [sound(seed=n)[np.newaxis] for n in range(3)]
    layer = layer_of()
    frames = np.concatenate([layer.extract(batch).numpy()[0] for batch in batches])
    mean, deviation = compute_statistics(layer, map(layer.extract, batches))
    np.testing.assert_allclose(mean, frames.mean(axis=0), atol=1e-3)
    np.testing.assert_allclose(deviation, frames.std(axis=0), atol=1e-3)


def test_a_band_that_never_changes_does_not_divide_by_0():
    layer = layer_of()
    layer.set_statistics(np.zeros(64), np.zeros(64))
    assert np.abs(layer(sound()[np.newaxis])).max() <= 80


def test_the_pipeline_gives_the_features_of_the_eager_layer():
    layer = layer_of()
    layer.set_statistics(np.linspace(-50, -30, 64), np.linspace(5, 15, 64))
    waveforms = np.stack([sound(seed=n) for n in range(4)])
    dataset = tf.data.Dataset.from_tensor_slices(waveforms).batch(4).map(layer)
    np.testing.assert_allclose(
        next(iter(dataset)).numpy(), layer(waveforms).numpy(), atol=1e-4
    )


def test_a_saved_layer_keeps_its_settings_and_statistics(tmp_path):
    layer = FrontendLayer(RATE, Frontend(n_mels=20, mel_scale="htk"))
    waveform = keras.Input((RATE,))
    model = keras.Model(waveform, layer(waveform))
    layer.set_statistics(np.arange(20.0), np.arange(1.0, 21.0))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.layers[-1].settings == layer.settings
    np.testing.assert_array_equal(
        again(sound()[np.newaxis]), model(sound()[np.newaxis])
    )


def test_the_layer_stays_float32_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        layer = layer_of()
        features = layer(sound()[np.newaxis])
    finally:
        keras.config.set_dtype_policy("float32")
    assert features.dtype == tf.float32
    wanted = layer_of()(sound()[np.newaxis])
    np.testing.assert_array_equal(features, wanted)


def test_features_equal_the_golden_file():
    """After a wanted change: ASC_TF_UPDATE_GOLDEN=1 pytest -k golden."""
    layer = layer_of(n_fft=512, hop_length=256, n_mels=24)
    found = layer.extract(sound(4096)[np.newaxis])[0].numpy()
    path = Path(__file__).parents[1] / "golden" / "log_mel.npy"
    if os.environ.get("ASC_TF_UPDATE_GOLDEN"):
        np.save(path, found)
    np.testing.assert_allclose(found, np.load(path), atol=1e-3)


def test_settings_survive_their_mapping():
    settings = Frontend(n_mels=17, window="hamming")
    layer = FrontendLayer(RATE, dataclasses.asdict(settings))
    assert FrontendLayer.from_config(layer.get_config()).settings == settings
