"""Every kind of features and every option: equal to librosa, and documented."""

import os
from pathlib import Path

import keras
import librosa
import numpy as np
import pytest
import scipy.fft
import tensorflow as tf
from test_frontend import RATE, by_librosa, sound

from asc_tf.config import Frontend
from asc_tf.frontend import FrontendLayer, compute_statistics

FIXED = {"db_reference": "fixed", "db_reference_value": 1.0}


def layer_of(channels: int = 1, **settings) -> FrontendLayer:
    layer = FrontendLayer(RATE, Frontend(**settings))
    layer.build((None, RATE) if channels == 1 else (None, RATE, channels))
    return layer


def extracted(layer: FrontendLayer, waveform: np.ndarray) -> np.ndarray:
    return layer.extract(waveform[np.newaxis]).numpy()[0]


def spectrum(waveform: np.ndarray, settings: Frontend) -> np.ndarray:
    """`|STFT| ** power` by librosa: `[bins, frames]`."""
    shape = {"n_fft": settings.n_fft, "hop_length": settings.hop_length}
    found = librosa.stft(waveform, **shape, center=settings.center, pad_mode="constant")
    return np.abs(found) ** settings.power


def mel_spectrum(waveform: np.ndarray, settings: Frontend) -> np.ndarray:
    """Mel bands by librosa: `[bands, frames]`."""
    return librosa.feature.melspectrogram(
        S=spectrum(waveform, settings), sr=RATE, n_mels=settings.n_mels
    )


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"power": 1.0},
        {"n_fft": 512, "hop_length": 200, "center": False},
        FIXED | {"top_db": 0.0},
    ],
    ids=str,
)
def test_a_linear_spectrogram_equals_librosa(settings):
    layer = layer_of(kind="linear", **settings)
    waveform = sound()
    fixed = layer.settings.db_reference == "fixed"
    wanted = librosa.power_to_db(
        spectrum(waveform, layer.settings),
        ref=1.0 if fixed else np.max,
        top_db=layer.settings.top_db or None,
    )
    # Float32 rounds single bins, 100 dB below the loudest, more than bands of them.
    np.testing.assert_allclose(extracted(layer, waveform), wanted.T, atol=0.05)
    loud = wanted.max() - 60 < wanted.T
    found = extracted(layer, waveform)[loud]
    np.testing.assert_allclose(found, wanted.T[loud], atol=3e-3)


def test_a_linear_spectrogram_is_cut_to_the_bins_from_fmin_to_fmax():
    layer = layer_of(kind="linear", fmin=1000.0, fmax=2000.0, n_fft=1024)
    whole = layer_of(kind="linear", n_fft=1024, **FIXED, top_db=0.0)
    cut = layer_of(
        kind="linear", n_fft=1024, fmin=1000.0, fmax=2000.0, **FIXED, top_db=0.0
    )
    frequencies = librosa.fft_frequencies(sr=RATE, n_fft=1024)
    inside = (frequencies >= 1000) & (frequencies <= 2000)
    wanted = extracted(whole, sound())[:, inside]
    np.testing.assert_array_equal(extracted(cut, sound()), wanted)
    assert layer.compute_output_shape((None, RATE))[2] == inside.sum()


@pytest.mark.parametrize("count", [13, 20, 40])
def test_mfcc_equal_librosa_within_a_thousandth_of_their_range(count):
    layer = layer_of(kind="mfcc", n_mfcc=count, n_mels=64, **FIXED)
    waveform = sound()
    wanted = librosa.feature.mfcc(
        y=waveform, sr=RATE, n_mfcc=count, n_fft=1024, n_mels=64, pad_mode="constant"
    )
    found = extracted(layer, waveform)
    assert found.shape == wanted.T.shape
    np.testing.assert_allclose(found, wanted.T, atol=1e-3 * np.ptp(wanted))


def test_mfcc_of_natural_logarithms_are_their_dct():
    options = {"logarithm": "natural", "log_offset": 1e-6, "power": 1.0}
    logs = extracted(layer_of(**options), sound())
    found = extracted(layer_of(kind="mfcc", n_mfcc=30, **options), sound())
    wanted = scipy.fft.dct(logs, norm="ortho")[:, :30]
    np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("offset", [1e-10, 1e-3])
@pytest.mark.parametrize("power", [1.0, 2.0])
def test_the_natural_logarithm_has_its_offset(offset, power):
    layer = layer_of(logarithm="natural", log_offset=offset, power=power)
    wanted = np.log(mel_spectrum(sound(), layer.settings) + offset).T
    np.testing.assert_allclose(extracted(layer, sound()), wanted, atol=1e-3)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"hop_length": 200, "pcen_seconds": 0.06},
        {"pcen_gain": 0.8, "pcen_bias": 10.0, "pcen_power": 0.25},
        {"pcen_scale": 1.0, "pcen_epsilon": 1e-3, "power": 2.0},
        {"pcen_seconds": 2.0},
    ],
    ids=str,
)
def test_pcen_equals_librosa_within_a_thousandth_of_its_range(settings):
    layer = layer_of(**({"kind": "pcen", "power": 1.0} | settings))
    own = layer.settings
    wanted = librosa.pcen(
        mel_spectrum(sound(3 * RATE), own) * own.pcen_scale,
        sr=RATE,
        hop_length=own.hop_length,
        gain=own.pcen_gain,
        bias=own.pcen_bias,
        power=own.pcen_power,
        time_constant=own.pcen_seconds,
        eps=own.pcen_epsilon,
    ).T
    found = extracted(layer, sound(3 * RATE))
    np.testing.assert_allclose(found, wanted, atol=1e-3 * np.ptp(wanted))


@pytest.mark.parametrize("width", [3, 5, 9, 15])
def test_deltas_equal_librosa_at_the_edges_too(width):
    layer = layer_of(deltas=2, delta_width=width)
    found = extracted(layer, sound())
    static = extracted(layer_of(), sound())
    np.testing.assert_array_equal(found[..., 0], static)
    for order in (1, 2):
        wanted = librosa.feature.delta(static.T, width=width, order=order).T
        atol = 1e-3 * np.ptp(wanted)
        np.testing.assert_allclose(found[..., order], wanted, atol=atol)


def test_channels_of_a_waveform_come_first_then_their_deltas():
    left, right = sound(seed=1), 0.5 * sound(seed=2)
    layer = layer_of(channels=2, deltas=1, **FIXED)
    found = extracted(layer, np.stack([left, right], axis=1))
    mono = layer_of(deltas=1, **FIXED)
    for channel, waveform in enumerate((left, right)):
        wanted = extracted(mono, waveform)
        np.testing.assert_allclose(found[..., channel], wanted[..., 0], atol=1e-3)
        np.testing.assert_allclose(found[..., 2 + channel], wanted[..., 1], atol=1e-3)


def test_frames_after_the_last_one_wanted_are_dropped():
    whole = extracted(layer_of(**FIXED, top_db=0.0), sound())
    found = extracted(layer_of(**FIXED, top_db=0.0, max_frames=20), sound())
    np.testing.assert_allclose(found, whole[:20], atol=1e-4)
    assert Frontend(max_frames=20).frames(RATE) == 20
    assert Frontend(max_frames=20).frames(1024) == 3


def test_a_waveform_is_spread_over_minus_to_plus_a_half():
    settings = FIXED | {"top_db": 0.0}
    waveform = 0.01 * sound() + 0.3
    low, high = waveform.min(), waveform.max()
    spread = (waveform - (low + high) / 2) / (high - low)
    assert (spread.min(), spread.max()) == pytest.approx((-0.5, 0.5))
    found = extracted(layer_of(waveform_range="min_max", **settings), waveform)
    wanted = extracted(layer_of(**settings), spread.astype(np.float32))
    np.testing.assert_allclose(found, wanted, atol=0.02)
    silence = np.zeros(RATE, np.float32)
    quiet = extracted(layer_of(waveform_range="min_max", **settings), silence)
    np.testing.assert_allclose(quiet, -100, atol=1e-3)


def test_each_clip_is_standardized_by_itself_channel_by_channel():
    layer = layer_of(standardize="per_clip", deltas=1)
    found = layer(np.stack([sound(seed=1), 0.1 * sound(seed=2)])).numpy()
    np.testing.assert_allclose(found.mean(axis=(1, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(found.std(axis=(1, 2)), 1, atol=1e-3)
    assert np.isfinite(layer(np.zeros((1, RATE), np.float32))).all()


def test_statistics_per_position_are_those_of_each_frame_and_band():
    layer = layer_of(standardize="per_position")
    waves = np.stack([sound(seed=n) for n in range(5)])
    features = layer.extract(waves).numpy()
    mean, deviation = compute_statistics(layer, [features[:3], features[3:]])
    np.testing.assert_allclose(mean, features.mean(axis=0), atol=1e-3)
    np.testing.assert_allclose(deviation, features.std(axis=0), atol=1e-2)
    layer.set_statistics(mean, deviation)
    np.testing.assert_allclose(layer(waves).numpy().mean(axis=0), 0, atol=1e-3)


def test_statistics_of_deltas_are_those_of_each_channel():
    layer = layer_of(standardize="scalar", deltas=1)
    features = layer.extract(np.stack([sound(seed=n) for n in range(3)])).numpy()
    layer.set_statistics(*compute_statistics(layer, [features]))
    found = np.asarray(layer.standardize(features))
    np.testing.assert_allclose(found.mean(axis=(0, 1, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(found.std(axis=(0, 1, 2)), 1, atol=1e-3)


def test_an_image_is_the_resized_features_spread_over_0_to_255():
    layer = layer_of(image_frames=50, image_bands=80, standardize="none")
    waves = np.stack([sound(seed=1), 0.01 * sound(seed=2)])
    found = layer(waves).numpy()
    assert found.shape == layer.compute_output_shape((2, RATE)) == (2, 50, 80, 3)
    np.testing.assert_allclose(found.min(axis=(1, 2, 3)), 0, atol=1e-3)
    np.testing.assert_allclose(found.max(axis=(1, 2, 3)), 255, atol=1e-3)
    np.testing.assert_array_equal(found[..., 0], found[..., 2])
    resized = tf.image.resize(layer.extract(waves)[..., tf.newaxis], [50, 80])[
        0, ..., 0
    ]
    wanted = 255 * (resized - tf.reduce_min(resized)) / np.ptp(resized)
    np.testing.assert_allclose(found[0, ..., 1], wanted, atol=1e-2)
    assert np.isfinite(layer(np.zeros((1, RATE), np.float32))).all()


def test_an_image_of_deltas_has_three_different_channels():
    layer = layer_of(image_frames=40, image_bands=40, deltas=2)
    found = layer(sound()[np.newaxis]).numpy()[0]
    assert found.shape == (40, 40, 3)
    assert not np.allclose(found[..., 0], found[..., 1])


@pytest.mark.parametrize("logarithm", ["decibel", "natural"])
@pytest.mark.parametrize("power", [1.0, 2.0])
@pytest.mark.parametrize("deltas", [0, 1])
def test_per_decibel_is_what_a_louder_sound_adds(logarithm, power, deltas):
    layer = layer_of(
        logarithm=logarithm, power=power, deltas=deltas, **FIXED, top_db=0.0
    )
    shape = tuple(layer.mean.shape)
    layer.set_statistics(
        np.zeros(shape), np.linspace(1, 2, np.prod(shape)).reshape(shape)
    )
    quiet = sound()[np.newaxis]
    louder = quiet * np.float32(10 ** (3 / 20))
    added = (layer(louder) - layer(quiet)).numpy()[0]
    wanted = np.broadcast_to(3 * layer.per_decibel.numpy(), added.shape)
    np.testing.assert_allclose(added, wanted, atol=1e-3)


ALL = [
    {},
    {"kind": "linear", "n_fft": 256},
    {"kind": "linear", "n_fft": 256, "fmin": 500.0, "fmax": 4000.0},
    {"kind": "linear", "n_fft": 256, "frequency_axis": "logarithmic"},
    {"pad_mode": "reflect"},
    {"kind": "mfcc"},
    {"kind": "pcen"},
    {"deltas": 1},
    {"kind": "pcen", "deltas": 2},
    {"kind": "mfcc", "deltas": 1, "standardize": "per_clip"},
    {"standardize": "per_position"},
    {"standardize": "scalar", "waveform_range": "min_max"},
    {"logarithm": "natural", "power": 1.0, "max_frames": 30},
    {"image_frames": 30, "image_bands": 20},
    {"image_frames": 30, "image_bands": 20, "deltas": 2},
]


@pytest.mark.parametrize("settings", ALL, ids=str)
@pytest.mark.parametrize("channels", [1, 2])
def test_the_shape_that_is_computed_is_what_comes_out(settings, channels):
    if channels == 2 and "image_frames" in settings:
        pytest.skip("an image has three channels")
    layer = layer_of(channels, **settings)
    shape = (2, RATE) if channels == 1 else (2, RATE, 2)
    found = layer(np.zeros(shape, np.float32))
    assert found.shape == layer.compute_output_shape(shape)


@pytest.mark.parametrize("settings", ALL, ids=str)
def test_a_loud_neighbour_changes_no_kind_of_features(settings):
    layer = layer_of(**settings)
    waves = np.stack([sound(seed=1), 1e-3 * sound(seed=2), sound(seed=3)])
    if layer.settings.standardize not in ("none", "per_clip"):
        layer.set_statistics(*compute_statistics(layer, [layer.extract(waves)]))
    alone = layer(waves[1:2]).numpy()[0]
    together = layer(waves).numpy()[1]
    unit = 255.0 if "image_frames" in settings else 1.0
    np.testing.assert_allclose(together / unit, alone / unit, atol=2e-6)


@pytest.mark.parametrize("settings", ALL, ids=str)
def test_every_kind_stays_float32_under_mixed_precision(settings):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        found = layer_of(**settings)(sound()[np.newaxis])
    finally:
        keras.config.set_dtype_policy("float32")
    assert found.dtype == tf.float32
    np.testing.assert_array_equal(found, layer_of(**settings)(sound()[np.newaxis]))


@pytest.mark.parametrize("settings", ALL, ids=str)
def test_pipeline_model_saved_model_and_litert_give_the_same(settings, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    from asc_tf.exporting import saved_model
    from asc_tf.pipeline.examples import clip_by_clip

    waves = np.stack([sound(seed=n) for n in range(3)])
    layer = FrontendLayer(RATE, Frontend(**settings))
    waveform = keras.Input((RATE,), name="waveform")
    model = keras.Model(waveform, layer(waveform))
    if layer.settings.standardize not in ("none", "per_clip"):
        layer.set_statistics(*compute_statistics(layer, [layer.extract(waves)]))
    unit = 255.0 if "image_frames" in settings else 1.0
    dataset = tf.data.Dataset.from_tensors(waves)
    wanted = next(iter(dataset.map(lambda x: clip_by_clip(layer, x)))).numpy() / unit
    # A float32 sum in another order, over the smallest deviation.
    for found in (layer(waves), model(waves), next(iter(dataset.map(layer)))):
        np.testing.assert_allclose(found / unit, wanted, atol=2e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(waves) / unit, wanted, atol=2e-6)
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        "serve", lambda x: model(x), [tf.TensorSpec([None, RATE], tf.float32)]
    )
    archive.write_out(tmp_path / "whole", verbose=False)
    whole = tf.saved_model.load(str(tmp_path / "whole"))
    served = whole.serve(waves)
    np.testing.assert_allclose(served / unit, wanted, atol=2e-6)
    saved_model.write_one_segment(model, tmp_path / "one")
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "one"))
    runner = Interpreter(model_content=converter.convert()).get_signature_runner()
    for wave, features in zip(waves, wanted, strict=True):
        lite = runner(waveform=wave[np.newaxis])["probabilities"][0]
        # Single FFT bins of faint sounds are the least exact.
        atol = 3e-4 if layer.settings.kind == "linear" else 1e-4
        np.testing.assert_allclose(lite / unit, features, atol=atol)


@pytest.mark.parametrize("kind", ["linear", "mfcc", "pcen"])
def test_every_kind_equals_its_golden_file(kind):
    """After a wanted change: ASC_TF_UPDATE_GOLDEN=1 pytest -k golden."""
    layer = layer_of(kind=kind, n_fft=128, hop_length=128, n_mels=24, deltas=1)
    found = extracted(layer, sound(2048))
    path = Path(__file__).parents[1] / "golden" / f"{kind}.npy"
    if os.environ.get("ASC_TF_UPDATE_GOLDEN"):
        np.save(path, found)
    np.testing.assert_allclose(found, np.load(path), atol=2e-3)


def test_the_helper_of_these_tests_is_that_of_log_mel():
    layer = layer_of()
    wanted = by_librosa(sound(), layer.settings)
    np.testing.assert_allclose(extracted(layer, sound()), wanted, atol=1e-3)
