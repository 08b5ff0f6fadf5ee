"""Features are the same alone and in a batch, and on every way through the product."""

import itertools
from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from asc_tf.config import Frontend
from asc_tf.frontend import FrontendLayer, compute_statistics

RATE = 8000
SMALL = {"n_fft": 512, "hop_length": 256, "n_mels": 24}
IMAGE = {"image_frames": 40, "image_bands": 20}

CASES = {
    "log_mel": ({}, 1),
    "log_mel of stereo": ({}, 2),
    "log_mel with deltas": ({"deltas": 1}, 1),
    "log_mel of stereo with deltas": ({"deltas": 2}, 2),
    "log_mel, fixed reference": ({"db_reference": "fixed", "top_db": 0.0}, 1),
    "log_mel of magnitudes": ({"power": 1.0}, 1),
    "log_mel, power 1.5": ({"power": 1.5}, 1),
    "log_mel, natural": ({"logarithm": "natural", "log_offset": 1e-6}, 1),
    "log_mel, min_max": ({"waveform_range": "min_max"}, 2),
    "log_mel, max_frames": ({"max_frames": 20}, 1),
    "log_mel, not centred": (
        {"center": False, "win_length": 400, "window": "hamming"},
        1,
    ),
    "log_mel, reflected": ({"pad_mode": "reflect"}, 2),
    "log_mel, none": ({"standardize": "none"}, 1),
    "log_mel, per_clip": ({"standardize": "per_clip", "deltas": 1}, 2),
    "log_mel, scalar": ({"standardize": "scalar"}, 1),
    "log_mel, per_position": ({"standardize": "per_position"}, 2),
    "log_mel image": (IMAGE, 1),
    "log_mel image of deltas": (IMAGE | {"deltas": 2}, 1),
    "linear": ({"kind": "linear"}, 1),
    "linear, cropped, with deltas": (
        {"kind": "linear", "fmin": 100.0, "fmax": 3000.0, "deltas": 2},
        1,
    ),
    "linear of stereo, natural": (
        {"kind": "linear", "logarithm": "natural", "log_offset": 1e-6},
        2,
    ),
    "linear of stereo, hardly floored": (
        {"kind": "linear", "logarithm": "natural", "log_offset": 1e-10},
        2,
    ),
    "linear, logarithmic axis": (
        {"kind": "linear", "frequency_axis": "logarithmic", "pad_mode": "reflect"},
        1,
    ),
    "linear image, logarithmic axis": (
        {"kind": "linear", "frequency_axis": "logarithmic", "fmax": 3000.0} | IMAGE,
        1,
    ),
    "linear image": ({"kind": "linear"} | IMAGE, 1),
    "mfcc": ({"kind": "mfcc"}, 1),
    "mfcc with deltas": ({"kind": "mfcc", "deltas": 2}, 1),
    "mfcc of stereo with deltas": ({"kind": "mfcc", "deltas": 1}, 2),
    "mfcc image": ({"kind": "mfcc"} | IMAGE, 1),
    "pcen": ({"kind": "pcen"}, 1),
    "pcen with deltas": ({"kind": "pcen", "deltas": 1}, 1),
    "pcen of stereo with deltas": ({"kind": "pcen", "deltas": 2}, 2),
    "pcen of magnitudes": (
        {"kind": "pcen", "power": 1.0, "pcen_power": 0.25, "pcen_gain": 0.5},
        1,
    ),
    "pcen image": ({"kind": "pcen"} | IMAGE, 1),
}
"""Settings, and channels of the waveform."""

every_case = pytest.mark.parametrize("case", CASES)


def sound(seed: int = 0) -> np.ndarray:
    """Noise, two tones and a click, getting louder, float32 `[samples]`."""
    generator = np.random.default_rng(seed)
    time = np.arange(RATE) / RATE
    tones = 0.3 * np.sin(2 * np.pi * (300 + 40 * seed) * time)
    tones += 0.1 * np.sin(2 * np.pi * 2500 * time)
    values = tones + 0.02 * generator.standard_normal(RATE)
    values *= np.geomspace(0.1, 1, RATE)
    values[RATE // 3] += 0.5
    return values.astype(np.float32)


def waveforms(channels: int, count: int = 6) -> np.ndarray:
    """Each quieter than the one before it, `[count, samples]` or with channels."""
    left = np.stack([10 ** (-n / 4) * sound(n) for n in range(count)])
    if channels == 1:
        return left.astype(np.float32)
    right = np.stack([0.5 * sound(20 + n) for n in range(count)])
    return np.stack([left, right], axis=2).astype(np.float32)


def case_of(case: str) -> tuple[FrontendLayer, np.ndarray]:
    """The layer, with the statistics of some training part, and other waveforms."""
    settings, channels = CASES[case]
    layer = FrontendLayer(RATE, Frontend(**(SMALL | settings)))
    known = waveforms(channels, 8)
    layer.build((None, *known.shape[1:]))
    layer.set_statistics(*compute_statistics(layer, [layer.extract(known)]))
    return layer, waveforms(channels)


def model_of(layer: FrontendLayer, shape: tuple[int, ...]) -> keras.Model:
    waveform = keras.Input(shape, name="waveform")
    return keras.Model(waveform, layer(waveform))


def assert_equal(found, wanted, layer: FrontendLayer, units: float) -> None:
    """Within `units`: of standardized features; an image has about 6 in its 255, one
    that is not standardized about 10 dB in one."""
    if layer.settings.image_frames:
        units *= 255 / 6
    elif layer.settings.standardize == "none":
        units *= 10
    np.testing.assert_allclose(found, wanted, rtol=0, atol=units)


def assert_different_segments(features: np.ndarray) -> None:
    """Or else any two of them would be equal by chance."""
    for first, second in itertools.pairwise(features):
        assert np.abs(first - second).max() > 0.1


def saved(model: keras.Model, batch: int | None, path) -> Callable:
    """Write a SavedModel of any batch, or of this; give its signature."""
    archive = keras.export.ExportArchive()
    archive.track(model)
    shape = [batch, *model.input_shape[1:]]
    archive.add_endpoint(
        "serving_default",
        lambda waveform: {"features": model(waveform)},
        [tf.TensorSpec(shape, tf.float32, name="waveform")],
    )
    archive.write_out(path, verbose=False)
    loaded = tf.saved_model.load(str(path))
    signature = loaded.signatures["serving_default"]

    def features(waveform: np.ndarray) -> np.ndarray:
        assert loaded
        return signature(waveform=tf.constant(waveform))["features"].numpy()

    return features


@every_case
def test_a_clip_has_the_same_features_alone_among_loud_ones_and_in_any_batch(case):
    layer, batch = case_of(case)
    for clip in (1e-2 * batch[0], batch[3], 0 * batch[0]):
        alone = layer(clip[np.newaxis]).numpy()[0]
        assert np.isfinite(alone).all()
        loud = np.clip(30 * batch, -1, 1)
        among = layer(np.stack([loud[0], clip, loud[1]])).numpy()[1]
        many = layer(np.stack([*loud, *loud, *batch, clip])).numpy()[-1]
        for found in (among, many):
            assert_equal(found, alone, layer, 1e-6)


@every_case
def test_tf_data_and_a_keras_model_give_the_features_of_the_eager_layer(case):
    layer, batch = case_of(case)
    wanted = layer(batch).numpy()
    assert_different_segments(wanted)
    clips = tf.data.Dataset.from_tensor_slices(batch)

    def one_at_a_time(waveforms: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(lambda clip: layer(clip[tf.newaxis])[0], waveforms)

    for mapped in (layer, one_at_a_time):
        found = next(iter(clips.batch(len(batch)).map(mapped))).numpy()
        assert_equal(found, wanted, layer, 1e-6)
    single = clips.map(lambda clip: layer(clip[tf.newaxis])[0]).batch(len(batch))
    assert_equal(next(iter(single)).numpy(), wanted, layer, 1e-6)
    model = model_of(layer, batch.shape[1:])
    assert_equal(model(batch).numpy(), wanted, layer, 1e-6)


@every_case
def test_a_saved_model_and_predict_give_the_features_of_the_eager_layer(case, tmp_path):
    """To the last bits, but for PCEN: TensorFlow rewrites the arithmetic of its graph,
    and log1p, exp and expm1 of a power near 1 enlarge what is rounded otherwise.
    """
    layer, batch = case_of(case)
    units = 3e-5 if layer.settings.kind == "pcen" else 1e-6
    wanted = layer(batch).numpy()
    model = model_of(layer, batch.shape[1:])
    features = saved(model, None, tmp_path / "saved")
    assert_equal(features(batch), wanted, layer, units)
    single = np.concatenate([features(clip[np.newaxis]) for clip in batch])
    assert_equal(single, wanted, layer, units)
    assert_equal(model.predict(batch, verbose=0), wanted, layer, units)


@every_case
def test_portable_operations_give_the_same_features(case):
    """To the last bit, but for mel bands of power spectra: the product adds the squares
    of real and imaginary part in another order, which deltas and PCEN, and positions
    that hardly change, enlarge.
    """
    layer, batch = case_of(case)
    wanted = layer(batch).numpy()
    layer.portable = True
    found = layer(batch).numpy()
    settings = layer.settings
    if settings.kind == "linear" or settings.power != 2.0:
        np.testing.assert_array_equal(found, wanted)
    assert_equal(found, wanted, layer, 5e-5)
    assert np.abs(found - wanted).mean() < (1e-4 if settings.image_frames else 5e-6)


@every_case
def test_litert_gives_the_features_of_the_eager_layer(case, tmp_path):
    """Its FFT rounds otherwise. In a bin 80 dB and more below the loudest, where
    neither top_db nor log_offset lifts it, this rounding shows.
    """
    layer, batch = case_of(case)
    wanted = layer(batch).numpy()
    model = model_of(layer, batch.shape[1:])
    layer.portable = True
    features = saved(model, 1, tmp_path / "saved")
    layer.portable = False
    one = np.concatenate([features(clip[np.newaxis]) for clip in batch])
    assert_equal(one, wanted, layer, 5e-5)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved"))
    interpreter = Interpreter(model_content=converter.convert())
    names = {operation["op_name"] for operation in interpreter._get_ops_details()}
    assert not [name for name in names if name.startswith("Flex")]
    runner = interpreter.get_signature_runner()
    lite = [runner(waveform=clip[np.newaxis])["features"] for clip in batch]
    found = np.concatenate(lite)
    if "hardly floored" in case:
        power = layer.extract(batch).numpy()
        quiet = power < power.max(axis=(1, 2, 3), keepdims=True) + np.log(1e-8)
        assert quiet.any() and not quiet.all()
        assert_equal(found[quiet], wanted[quiet], layer, 5e-3)
        found, wanted = found[~quiet], wanted[~quiet]
    # Single FFT bins of faint sounds are the least exact.
    atol = 3e-4 if layer.settings.kind == "linear" else 1e-4
    assert_equal(found, wanted, layer, atol)
    silence = np.zeros_like(batch[:1])
    silent = runner(waveform=silence)["features"]
    assert_equal(silent, layer(silence).numpy(), layer, 1e-4)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@every_case
def test_features_stay_float32_under_mixed_precision(case, policy):
    wanted_layer, batch = case_of(case)
    wanted = wanted_layer(batch).numpy()
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        layer, _ = case_of(case)
        found = layer(batch)
        inside = model_of(layer, batch.shape[1:])(batch)
    finally:
        keras.config.set_dtype_policy(before)
    assert found.dtype == inside.dtype == tf.float32
    assert layer.mean.dtype == layer.scale.dtype == "float32"
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(inside, wanted)
