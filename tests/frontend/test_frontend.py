"""The front-end: equal to librosa, to itself, and to nothing else in the batch."""

import dataclasses
import os
from pathlib import Path

import librosa
import numpy as np
import pytest

from asc_tf.config import Frontend
from asc_tf.frontend import MIN_DEVIATION, FrontendLayer
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
def test_as_many_frames_come_out_as_are_counted(center, samples):
    layer = layer_of(center=center)
    features = layer(np.zeros((2, samples), np.float32))
    assert features.shape == layer.compute_output_shape((2, samples))
    assert features.shape[1] == layer.settings.frames(samples)
    cut = dataclasses.replace(layer.settings, max_frames=3)
    assert cut.frames(samples) == min(3, features.shape[1])


def test_a_band_that_never_changes_does_not_divide_by_0():
    layer = layer_of()
    layer.set_statistics(np.zeros(64), np.zeros(64))
    assert np.abs(layer(sound()[np.newaxis])).max() <= 80


def test_a_band_that_hardly_changes_is_not_amplified_to_noise():
    layer, deviation = layer_of(), np.full(64, 10.0)
    deviation[3] = 1e-3
    layer.set_statistics(np.zeros(64), deviation)
    scale = layer.scale.numpy()
    usual = np.sqrt(np.mean(np.square(deviation)))
    assert scale[3] == pytest.approx(1 / (MIN_DEVIATION * usual))
    np.testing.assert_allclose(np.delete(scale, 3), 0.1)


@pytest.mark.parametrize("kind", ["log_mel", "linear", "mfcc", "pcen"])
def test_features_equal_the_golden_file(kind):
    """After a wanted change: ASC_TF_UPDATE_GOLDEN=1 pytest -k golden."""
    small = {"n_fft": 512, "hop_length": 256, "n_mels": 24}
    if kind != "log_mel":
        small = {"n_fft": 128, "hop_length": 128, "n_mels": 24, "deltas": 1}
    layer = layer_of(kind=kind, **small)
    samples = 4096 if kind == "log_mel" else 2048
    found = layer.extract(sound(samples)[np.newaxis])[0].numpy()
    path = Path(__file__).parents[1] / "golden" / f"{kind}.npy"
    if os.environ.get("ASC_TF_UPDATE_GOLDEN"):
        np.save(path, found)
    atol = 1e-3 if kind == "log_mel" else 2e-3
    np.testing.assert_allclose(found, np.load(path), atol=atol)


def test_settings_survive_their_mapping():
    settings = Frontend(n_mels=17, window="hamming")
    layer = FrontendLayer(RATE, dataclasses.asdict(settings))
    assert FrontendLayer.from_config(layer.get_config()).settings == settings
