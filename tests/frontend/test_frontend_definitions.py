"""Every kind of features equals its definition, librosa's where librosa has it."""

import keras
import librosa
import numpy as np
import pytest
import scipy.fftpack
import tensorflow as tf

from asc_tf.config import Frontend
from asc_tf.frontend import FrontendLayer, compute_statistics
from asc_tf.frontend.compression import apply_pcen

RATE = 16000
SMALL = {"n_fft": 512, "hop_length": 256, "n_mels": 32}
KINDS = ("log_mel", "linear", "mfcc", "pcen")
ABSOLUTE = {"db_reference": "fixed", "top_db": 0.0}


def sound(samples: int = RATE, seed: int = 0) -> np.ndarray:
    """Noise, two tones and a click, getting louder, float32 `[samples]`."""
    generator = np.random.default_rng(seed)
    time = np.arange(samples) / RATE
    tones = 0.3 * np.sin(2 * np.pi * 440 * time) + 0.1 * np.sin(2 * np.pi * 5000 * time)
    values = tones + 0.02 * generator.standard_normal(samples)
    values *= np.geomspace(0.1, 1, samples)
    values[samples // 3] += 0.5
    return values.astype(np.float32)


def stereo(samples: int = RATE, seed: int = 0) -> np.ndarray:
    """Float32 `[samples, 2]`."""
    return np.stack([sound(samples, seed), 0.5 * sound(samples, seed + 100)], axis=1)


def layer_of(**settings) -> FrontendLayer:
    return FrontendLayer(RATE, Frontend(**(SMALL | settings)))


def extracted(waveform: np.ndarray, **settings) -> np.ndarray:
    return layer_of(**settings).extract(waveform[np.newaxis])[0].numpy()


def stft_by_librosa(waveform: np.ndarray, settings: Frontend) -> np.ndarray:
    """Of float64: what both round."""
    return librosa.stft(
        waveform.astype(np.float64),
        n_fft=settings.n_fft,
        hop_length=settings.hop_length,
        win_length=settings.win_length or None,
        window={"rectangular": "boxcar"}.get(settings.window, settings.window),
        center=settings.center,
        pad_mode=settings.pad_mode,
    )


def spectrum_by_librosa(waveform: np.ndarray, settings: Frontend) -> np.ndarray:
    """`[bands, frames]`."""
    magnitudes = np.abs(stft_by_librosa(waveform, settings))
    if settings.kind == "linear":
        frequencies = librosa.fft_frequencies(sr=RATE, n_fft=settings.n_fft)
        kept = frequencies >= settings.fmin
        kept &= frequencies <= (settings.fmax or RATE / 2)
        return magnitudes[kept] ** settings.power
    return librosa.feature.melspectrogram(
        S=magnitudes**settings.power,
        sr=RATE,
        n_fft=settings.n_fft,
        n_mels=settings.n_mels,
        fmin=settings.fmin,
        fmax=settings.fmax or RATE / 2,
    )


def logarithm_by_librosa(spectrum: np.ndarray, settings: Frontend) -> np.ndarray:
    if settings.logarithm == "natural":
        return np.log(spectrum + settings.log_offset)
    fixed = settings.db_reference == "fixed"
    reference = settings.db_reference_value if fixed else np.max
    return librosa.power_to_db(spectrum, ref=reference, top_db=settings.top_db or None)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"power": 1.0},
        {"power": 1.5},
        {"fmin": 200.0, "fmax": 3000.0},
        {"fmin": 250.0, "fmax": 4000.0},
        {"fmin": 249.0, "fmax": 3999.0},
        {"n_fft": 1024, "hop_length": 400, "win_length": 640},
        {"window": "hamming", "center": False},
        {"db_reference": "fixed", "db_reference_value": 0.01},
        {"top_db": 30.0},
        {"pad_mode": "reflect", "n_fft": 1024},
        ABSOLUTE,
    ],
    ids=str,
)
def test_linear_decibels_equal_librosa(settings):
    settings = Frontend(**(SMALL | {"kind": "linear"} | settings))
    found = FrontendLayer(RATE, settings).extract(sound()[np.newaxis])[0].numpy()
    wanted = logarithm_by_librosa(spectrum_by_librosa(sound(), settings), settings)
    assert found.shape == wanted.T.shape
    np.testing.assert_allclose(found, wanted.T, atol=1e-2)
    assert np.abs(found - wanted.T).mean() < 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_reflection_changes_the_frames_at_both_ends_as_librosa_pads_them(kind):
    """The shortest segment that can be reflected, and one of many frames."""
    for samples in (257, RATE):
        options = {"kind": kind, "logarithm": "natural", "log_offset": 1e-6}
        settings = Frontend(**(SMALL | options | {"pad_mode": "reflect"}))
        waveform = sound(samples)
        found = extracted(waveform, pad_mode="reflect", **options)
        zeros = extracted(waveform, **options)
        assert found.shape == zeros.shape
        assert np.abs(found[[0, -1]] - zeros[[0, -1]]).max() > 0.05
        if kind == "pcen":
            wanted = librosa.pcen(
                settings.pcen_scale * spectrum_by_librosa(waveform, settings),
                sr=RATE,
                hop_length=settings.hop_length,
            )
            wanted = wanted.T
            atol = 1e-3 * np.ptp(wanted)
        else:
            wanted = np.log(spectrum_by_librosa(waveform, settings) + 1e-6).T
            atol = 2e-3
            np.testing.assert_array_equal(found[2:-2], zeros[2:-2])
        if kind == "mfcc":
            wanted = scipy.fftpack.dct(wanted, axis=1, norm="ortho")[:, :20]
        np.testing.assert_allclose(found, wanted, atol=atol)


@pytest.mark.parametrize("cut", [{}, {"fmin": 40.0, "fmax": 5000.0}])
def test_rows_of_a_logarithmic_axis_are_the_bins_that_librosa_draws_there(cut):
    """`librosa.display.specshow(y_axis="log")` sets this scale of Matplotlib."""
    from matplotlib.scale import SymmetricalLogTransform

    options = {"kind": "linear", "n_fft": 2048} | ABSOLUTE | cut
    bins = extracted(sound(), **options)
    found = extracted(sound(), frequency_axis="logarithmic", **options)
    assert found.shape == bins.shape
    frequencies = librosa.fft_frequencies(sr=RATE, n_fft=2048)
    frequencies = frequencies[
        (frequencies >= cut.get("fmin", 0)) & (frequencies <= cut.get("fmax", RATE / 2))
    ]
    axis = SymmetricalLogTransform(2, float(librosa.note_to_hz("C2")), 0.5)
    low, high = axis.transform(frequencies[[0, -1]])
    count = len(frequencies)
    places = low + (np.arange(count) + 0.5) / count * (high - low)
    rows = axis.inverted().transform(places)
    shown = np.abs(rows[:, np.newaxis] - frequencies).argmin(axis=1)
    np.testing.assert_array_equal(found, bins[:, shown])
    # Octaves are equally high: 1 to 2 kHz as 2 to 4 kHz.
    heights = [
        ((rows >= low) & (rows < 2 * low)).sum() for low in (125, 500, 1000, 2000)
    ]
    assert max(heights) - min(heights) <= 1 and min(heights) > 0.1 * count


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"log_offset": 1e-3},
        {"log_offset": 1.0},
        {"power": 1.0, "log_offset": 1e-6},
        {"n_fft": 1024, "hop_length": 300},
        {"center": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["log_mel", "linear"])
def test_natural_logarithms_are_those_of_the_spectrum_plus_the_offset(kind, settings):
    settings = Frontend(**(SMALL | {"kind": kind, "logarithm": "natural"} | settings))
    found = FrontendLayer(RATE, settings).extract(sound()[np.newaxis])[0].numpy()
    wanted = np.log(spectrum_by_librosa(sound(), settings) + settings.log_offset)
    np.testing.assert_allclose(found, wanted.T, atol=2e-3)
    assert np.abs(found - wanted.T).mean() < 1e-5


@pytest.mark.parametrize("count", [1, 13, 20, 32, 40])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        ABSOLUTE,
        {"db_reference": "fixed", "db_reference_value": 0.1, "top_db": 60.0},
        {"logarithm": "natural", "log_offset": 1e-6},
        {"logarithm": "natural", "power": 1.0},
    ],
    ids=str,
)
def test_cepstral_coefficients_equal_librosa_and_scipy(settings, count):
    chosen = {"kind": "mfcc", "n_mfcc": count, "n_mels": 40} | settings
    settings = Frontend(**(SMALL | chosen))
    found = FrontendLayer(RATE, settings).extract(sound()[np.newaxis])[0].numpy()
    bands = logarithm_by_librosa(spectrum_by_librosa(sound(), settings), settings)
    by_librosa = librosa.feature.mfcc(S=bands, n_mfcc=count, dct_type=2, norm="ortho")
    by_scipy = scipy.fftpack.dct(bands, axis=0, type=2, norm="ortho")[:count]
    np.testing.assert_allclose(found, by_librosa.T, atol=2e-3)
    np.testing.assert_allclose(found, by_scipy.T, atol=2e-3)


@pytest.mark.parametrize("width", [3, 5, 9, 15, 63])
@pytest.mark.parametrize("kind", KINDS)
def test_deltas_equal_librosa_up_to_the_first_and_the_last_frame(kind, width):
    static = extracted(sound(), kind=kind)
    assert len(static) == 63
    for orders in (1, 2):
        if orders >= width:
            continue
        found = extracted(sound(), kind=kind, deltas=orders, delta_width=width)
        assert found.shape == (*static.shape, 1 + orders)
        np.testing.assert_array_equal(found[..., 0], static)
        for order in range(1, orders + 1):
            wanted = librosa.feature.delta(
                static.astype(np.float64),
                width=width,
                order=order,
                axis=0,
                mode="interp",
            )
            scale = np.abs(wanted).max()
            np.testing.assert_allclose(found[..., order], wanted, atol=1e-5 * scale)


@pytest.mark.parametrize("orders", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_of_stereo_come_the_static_channels_first_and_then_their_deltas(kind, orders):
    pair = stereo()
    options = {"kind": kind} | ABSOLUTE
    found = extracted(pair, deltas=orders, **options)
    left = extracted(pair[:, 0], deltas=orders, **options)
    right = extracted(pair[:, 1], deltas=orders, **options)
    assert found.shape[-1] == 2 * (1 + orders)
    for order in range(1 + orders):
        np.testing.assert_allclose(found[..., 2 * order], left[..., order], atol=1e-5)
        right_found = found[..., 2 * order + 1]
        np.testing.assert_allclose(right_found, right[..., order], atol=1e-5)
    assert np.abs(left - right).max() > 1e-2


@pytest.mark.parametrize("kind", KINDS)
def test_the_channels_of_a_segment_share_its_maximum(kind):
    """Otherwise the quieter one would seem as loud as the other."""
    pair = np.stack([sound(), 0.1 * sound()], axis=1)
    bands = extracted(pair, kind=kind, top_db=0.0)
    if kind in ("log_mel", "linear"):
        assert bands.max() == 0
        np.testing.assert_allclose(bands[..., 0] - bands[..., 1], 20, atol=1e-2)
    elif kind == "mfcc":
        gap = bands[..., 0] - bands[..., 1]
        np.testing.assert_allclose(gap[:, 0], 20 * np.sqrt(32), atol=2e-2)
        np.testing.assert_allclose(gap[:, 1:], 0, atol=2e-2)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"pcen_gain": 0.0},
        {"pcen_gain": 0.5, "pcen_bias": 10.0},
        {"pcen_gain": 1.2, "pcen_power": 0.25},
        {"pcen_power": 1.0},
        {"pcen_seconds": 0.01},
        {"pcen_seconds": 0.06},
        {"pcen_seconds": 5.0},
        {"hop_length": 64, "pcen_seconds": 1.0},
        {"hop_length": 400, "n_fft": 1024, "center": False},
        {"pcen_scale": 1.0},
        {"pcen_scale": 2.0**15, "power": 1.0},
        {"pcen_scale": 1.0, "pcen_epsilon": 1e-2},
    ],
    ids=str,
)
def test_pcen_equals_librosa_within_a_thousandth_of_its_range(settings):
    settings = Frontend(**(SMALL | {"kind": "pcen"} | settings))
    found = FrontendLayer(RATE, settings).extract(sound()[np.newaxis])[0].numpy()
    wanted = librosa.pcen(
        settings.pcen_scale * spectrum_by_librosa(sound(), settings),
        sr=RATE,
        hop_length=settings.hop_length,
        gain=settings.pcen_gain,
        bias=settings.pcen_bias,
        power=settings.pcen_power,
        time_constant=settings.pcen_seconds,
        eps=settings.pcen_epsilon,
    ).T
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, atol=1e-3 * np.ptp(wanted))
    quiet = np.percentile(wanted, 10)
    np.testing.assert_allclose(
        found[wanted <= quiet], wanted[wanted <= quiet], rtol=1e-2
    )


def test_pcen_looks_back_no_further_than_the_first_frame():
    settings = Frontend(kind="pcen", pcen_seconds=0.4)
    spectrum = np.random.default_rng(0).random((2, 44, 5), np.float32) ** 4

    def trace(frames: int | None):
        signature = [tf.TensorSpec([2, frames, 5])]
        function = tf.function(
            lambda values: apply_pcen(values, settings, 22_050),
            input_signature=signature,
        )
        operations = function.get_concrete_function().graph.get_operations()
        return function(spectrum).numpy(), sum("Pad" in o.type for o in operations)

    known, pads = trace(44)
    unknown, more = trace(None)
    np.testing.assert_allclose(known, unknown, rtol=1e-5)
    assert (pads, more) == (6, 9)


def test_pcen_begins_as_librosa_does_in_the_first_frames():
    settings = Frontend(**SMALL, kind="pcen", pcen_scale=1.0)
    for samples in (512, 700, 1024):
        found = FrontendLayer(RATE, settings).extract(sound(samples)[np.newaxis])
        wanted = librosa.pcen(
            spectrum_by_librosa(sound(samples), settings), sr=RATE, hop_length=256
        )
        np.testing.assert_allclose(found[0], wanted.T, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", ["log_mel", "linear", "pcen"])
def test_frames_after_max_frames_are_dropped_and_have_no_say(kind):
    for options in ({}, {"deltas": 1}):
        options = {"kind": kind, "max_frames": 20} | options
        # The last frame kept reaches up to here.
        reached = 19 * 256 + 256
        whole = sound()
        other = np.concatenate([whole[:reached], 0.9 * sound(seed=5)[reached:]])
        found = extracted(whole, **options)
        assert len(found) == layer_of(**options).settings.frames(RATE) == 20
        np.testing.assert_array_equal(found, extracted(other, **options))
    absolute = {"kind": kind} | ABSOLUTE
    wanted = extracted(whole, **absolute)[:20]
    found = extracted(whole, max_frames=20, **absolute)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert len(extracted(whole, kind=kind, max_frames=1000)) == 63


@pytest.mark.parametrize("make", [sound, stereo])
@pytest.mark.parametrize("kind", KINDS)
def test_min_max_moves_minimum_and_maximum_of_all_channels_to_a_half(kind, make):
    waveform = 0.1 * make() + np.float32(0.05)
    low, high = waveform.min(), waveform.max()
    moved = (waveform - (low + high) / 2) / (high - low)
    assert moved.min() == pytest.approx(-0.5) and moved.max() == pytest.approx(0.5)
    options = {"kind": kind, "logarithm": "natural", "log_offset": 1e-4}
    found = extracted(waveform, waveform_range="min_max", **options)
    wanted = extracted(moved.astype(np.float32), **options)
    np.testing.assert_allclose(found, wanted, atol=2e-3)
    again = extracted(3 * waveform - 0.2, waveform_range="min_max", **options)
    np.testing.assert_allclose(again, found, atol=2e-3)


@pytest.mark.parametrize("level", [0.0, 0.3])
@pytest.mark.parametrize("kind", KINDS)
def test_min_max_leaves_0_of_a_constant_waveform(kind, level):
    constant = np.full(RATE, level, np.float32)
    options = {"kind": kind, "logarithm": "natural"}
    found = extracted(constant, waveform_range="min_max", **options)
    np.testing.assert_array_equal(found, extracted(0 * constant, **options))
    assert np.isfinite(found).all()


CHANNELS = [(1, 0), (1, 2), (2, 0), (2, 1)]
EVERY_KIND = [
    *[("log_mel", *channels) for channels in CHANNELS],
    *[(kind, 2, 1) for kind in KINDS[1:]],
]
"""Kinds, channels of the waveform and deltas."""


def segments(channels: int, count: int = 4) -> np.ndarray:
    make = sound if channels == 1 else stereo
    return np.stack([10 ** (-n / 4) * make(seed=n) for n in range(count)])


@pytest.mark.parametrize("kind, channels, deltas", EVERY_KIND)
def test_per_clip_gives_each_segment_and_channel_mean_0_and_deviation_1(
    kind, channels, deltas
):
    layer = layer_of(kind=kind, deltas=deltas, standardize="per_clip")
    batch = segments(channels)
    features = layer(batch).numpy()
    np.testing.assert_allclose(features.mean(axis=(1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(features.std(axis=(1, 2)), 1, atol=1e-3)
    assert np.isfinite(layer(0 * batch)).all()


@pytest.mark.parametrize(
    "standardize, kind, channels, deltas",
    [
        *[("per_band", *each) for each in EVERY_KIND],
        *[("scalar", "log_mel", *each) for each in CHANNELS],
        *[("per_position", "log_mel", *each) for each in CHANNELS],
    ],
)
def test_statistics_of_the_training_split_standardize_it(
    standardize, kind, channels, deltas
):
    layer = layer_of(kind=kind, standardize=standardize, deltas=deltas)
    batch = segments(channels, 6)
    layer.build(batch.shape)
    raw = layer.extract(batch).numpy().astype(np.float64)
    mean, deviation = compute_statistics(layer, [layer.extract(batch[:4]), raw[4:]])
    pooled = {"per_position": (0,), "per_band": (0, 1), "scalar": (0, 1, 2)}
    own = raw.shape[3:]
    shape = {
        "per_position": raw.shape[1:],
        "per_band": raw.shape[2:],
        "scalar": (1, *own),
    }[standardize]
    assert mean.shape == deviation.shape == shape
    wanted = raw.mean(axis=pooled[standardize])
    scale = np.abs(raw).max()
    np.testing.assert_allclose(mean.squeeze(), wanted.squeeze(), atol=1e-6 * scale)
    layer.set_statistics(mean, deviation)
    weights = raw.shape[1:] if standardize == "per_position" else raw.shape[2:]
    assert tuple(layer.mean.shape) == tuple(layer.scale.shape) == weights
    features = layer(batch).numpy()
    np.testing.assert_allclose(features.mean(axis=pooled[standardize]), 0, atol=5e-3)
    found = features.std(axis=pooled[standardize])
    assert found.max() < 1 + 1e-3
    if standardize == "scalar":
        np.testing.assert_allclose(found, 1, atol=1e-3)
    if standardize == "per_band":
        # A band that hardly changes is not blown up.
        usual = np.sqrt(np.square(deviation).mean(axis=0))
        np.testing.assert_allclose(found[deviation > 0.06 * usual], 1, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("standardize", ["none", "per_band", "per_clip"])
def test_an_image_is_its_features_resized_and_spread_over_0_to_255(kind, standardize):
    batch = segments(1)
    options = {"kind": kind, "standardize": standardize}
    plain = layer_of(**options)
    layer = layer_of(image_frames=40, image_bands=24, **options)
    for one in (plain, layer):
        one.build(batch.shape)
    plain.set_statistics(*compute_statistics(plain, [plain.extract(batch)]))
    layer.set_statistics(*compute_statistics(plain, [plain.extract(batch)]))
    images = layer(batch).numpy()
    assert images.shape == (4, 40, 24, 3)
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images.min(axis=(1, 2, 3)), 0)
    np.testing.assert_allclose(images.max(axis=(1, 2, 3)), 255, rtol=1e-6)
    np.testing.assert_array_equal(images[..., 0], images[..., 1])
    np.testing.assert_array_equal(images[..., 0], images[..., 2])
    resized = tf.image.resize(plain(batch)[..., tf.newaxis], [40, 24]).numpy()[..., 0]
    low = resized.min(axis=(1, 2), keepdims=True)
    high = resized.max(axis=(1, 2), keepdims=True)
    wanted = 255 * (resized - low) / (high - low)
    np.testing.assert_allclose(images[..., 0], wanted, atol=1e-2)
    assert np.isfinite(layer(0 * batch)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_of_two_deltas_has_three_channels_of_their_own(kind):
    layer = layer_of(kind=kind, deltas=2, image_frames=40, image_bands=24)
    batch = segments(1)
    images = layer(batch).numpy()
    assert images.shape == (4, 40, 24, 3)
    np.testing.assert_array_equal(images.min(axis=(1, 2, 3)), 0)
    np.testing.assert_allclose(images.max(axis=(1, 2, 3)), 255, rtol=1e-6)
    for first, second in ((0, 1), (0, 2), (1, 2)):
        assert np.abs(images[..., first] - images[..., second]).max() > 1
    assert np.isfinite(layer(0 * batch)).all()


@pytest.mark.parametrize(
    "settings, standardize, channels, deltas",
    [
        ({"kind": "linear", "fmax": 4000.0}, "per_band", 2, 1),
        ({"power": 1.0}, "scalar", 1, 2),
        ({"logarithm": "natural"}, "per_position", 2, 0),
        (
            {"logarithm": "natural", "power": 1.0, "log_offset": 1e-12},
            *("per_band", 1, 0),
        ),
        *[({}, "per_band", *each) for each in CHANNELS],
        *[({}, each, 2, 1) for each in ("none", "scalar", "per_position")],
    ],
    ids=str,
)
def test_a_decibel_more_of_sound_adds_per_decibel(
    settings, standardize, channels, deltas
):
    options = settings | ABSOLUTE | {"standardize": standardize, "deltas": deltas}
    layer = layer_of(**options)
    batch = segments(channels)
    layer.build(batch.shape)
    if standardize != "none":
        layer.set_statistics(*compute_statistics(layer, [layer.extract(batch)]))
    for decibels in (1.0, -2.5):
        louder = np.float32(10 ** (decibels / 20)) * batch
        found = layer(louder).numpy() - layer(batch).numpy()
        wanted = np.broadcast_to(decibels * layer.per_decibel.numpy(), found.shape)
        # In units of what is standardized: a quiet bin has the rounding of a loud one.
        scale = layer.scale.numpy()
        np.testing.assert_allclose(found / scale, wanted / scale, atol=2e-2)
        assert np.abs((found - wanted) / scale).mean() < 1e-4
    if deltas:
        assert not layer.per_decibel.numpy()[..., channels:].any()
        assert layer.per_decibel.numpy()[..., :channels].all()


@pytest.mark.parametrize(
    "kind, channels, deltas, image",
    [
        *[("log_mel", channels, 0, False) for channels in (1, 2)],
        *[("log_mel", channels, 1, False) for channels in (1, 2)],
        *[("log_mel", 1, 0, True), ("log_mel", 1, 2, True)],
        *[(kind, 2, 2, False) for kind in KINDS[1:]],
    ],
)
def test_the_stated_shape_is_what_comes_out(kind, channels, deltas, image):
    options = {"kind": kind, "deltas": deltas, "fmin": 100.0, "fmax": 5000.0}
    if image:
        options |= {"image_frames": 30, "image_bands": 20}
    for more in ({}, {"max_frames": 11}, {"standardize": "per_position"}):
        layer = layer_of(**options, **more)
        batch = segments(channels, 3)
        found = layer(batch)
        assert tuple(found.shape) == layer.compute_output_shape(batch.shape)
        extracted_shape = tuple(layer.extract(batch).shape)
        assert extracted_shape == layer.extracted_shape(batch.shape)
        unknown = layer.compute_output_shape((None, *batch.shape[1:]))
        assert unknown == (None, *found.shape[1:])
        symbolic = layer(keras.Input(batch.shape[1:]))
        assert tuple(symbolic.shape) == unknown


@pytest.mark.parametrize(
    "settings, channels",
    [
        ({"kind": "linear", "fmin": 300.0, "fmax": 4000.0, "power": 1.0}, 1),
        ({"kind": "mfcc", "n_mfcc": 13, "deltas": 2, "logarithm": "natural"}, 2),
        ({"kind": "pcen", "pcen_gain": 0.7, "standardize": "per_position"}, 2),
        ({"kind": "log_mel", "deltas": 2, "image_frames": 20, "image_bands": 20}, 1),
        ({"kind": "log_mel", "waveform_range": "min_max", "max_frames": 9}, 2),
    ],
    ids=str,
)
def test_a_saved_layer_gives_the_same_features_again(settings, channels, tmp_path):
    batch = segments(channels)
    layer = layer_of(**settings)
    waveform = keras.Input(batch.shape[1:])
    model = keras.Model(waveform, layer(waveform))
    layer.set_statistics(*compute_statistics(layer, [layer.extract(batch)]))
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.layers[-1].settings == layer.settings
    np.testing.assert_array_equal(again(batch), model(batch))
