"""Features are the same alone and in a batch, and on every way through the product."""

import functools
import itertools
import math
from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny
from ai_edge_litert.interpreter import Interpreter

from asc_tf.config import Frontend
from asc_tf.frontend import FrontendLayer, compute_statistics
from asc_tf.models.precision import dtype_policy
from asc_tf.pipeline.examples import clip_by_clip

RATE = 8000
SMALL = {"n_fft": 512, "hop_length": 256, "n_mels": 24}
IMAGE = {"image_frames": 40, "image_bands": 20}

CASES = {
    "log_mel": ({}, 1),
    "log_mel of stereo with deltas": ({"deltas": 2}, 2),
    "log_mel, fixed reference": ({"db_reference": "fixed", "top_db": 0.0}, 1),
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
    "log_mel, per_position": ({"standardize": "per_position"}, 2),
    "log_mel image": (IMAGE, 1),
    "log_mel image of deltas": (IMAGE | {"deltas": 2}, 1),
    "linear": ({"kind": "linear"}, 1),
    "linear, cropped, with deltas": (
        {"kind": "linear", "fmin": 100.0, "fmax": 3000.0, "deltas": 2},
        1,
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
    "mfcc": ({"kind": "mfcc"}, 1),
    "mfcc of stereo with deltas": ({"kind": "mfcc", "deltas": 1}, 2),
    "pcen": ({"kind": "pcen"}, 1),
    "pcen of stereo with deltas": ({"kind": "pcen", "deltas": 2}, 2),
    "pcen of magnitudes": (
        {"kind": "pcen", "power": 1.0, "pcen_power": 0.25, "pcen_gain": 0.5},
        1,
    ),
}
"""Settings, and channels of the waveform."""

SOME = (
    *("log_mel of stereo with deltas", "log_mel, per_clip", "log_mel image of deltas"),
    *("linear, logarithmic axis", "mfcc", "pcen"),
)
"""Cases of every kind, for graphs that differ little from those of all cases."""

REST = tuple(case for case in CASES if case not in SOME)

every_case = pytest.mark.parametrize("case", CASES)
some_cases = pytest.mark.parametrize("case", SOME)


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


@functools.cache
def case_of(case: str) -> tuple[FrontendLayer, np.ndarray, np.ndarray]:
    """The layer with statistics of other waveforms, waveforms, and their features."""
    settings, channels = CASES[case]
    layer = FrontendLayer(RATE, Frontend(**(SMALL | settings)))
    known = waveforms(channels, 8)
    layer.build((None, *known.shape[1:]))
    layer.set_statistics(*compute_statistics(layer, [layer.extract(known)]))
    batch = waveforms(channels)
    return layer, batch, layer(batch).numpy()


def list_layers(channels: int, cases=tuple(CASES)) -> dict[str, FrontendLayer]:
    return {case: case_of(case)[0] for case in cases if CASES[case][1] == channels}


Features = dict[str, np.ndarray]


def compute_all(path: Callable[[int], Features]) -> Callable[[], Features]:
    """Features of all cases on a path: one graph per number of channels."""
    return functools.cache(lambda: path(1) | path(2))


def map_tf_data(make: Callable, cases=tuple(CASES)) -> Callable[[], Features]:
    """`make` gives a dataset of features, from one of clips and the layers."""

    def features(channels: int) -> Features:
        clips = tf.data.Dataset.from_tensor_slices(waveforms(channels))
        found = next(iter(make(clips, list_layers(channels, cases))))
        return {case: value.numpy() for case, value in found.items()}

    return compute_all(features)


def map_clip_by_clip(clips, layers):
    """All cases in one loop over the clips."""
    shapes = [case_of(case)[2].shape[1:] for case in layers]

    def flat(clip):
        features = [tf.reshape(layer(clip), [1, -1]) for layer in layers.values()]
        return tf.concat(features, axis=1)

    def mapped(batch):
        columns = tf.split(clip_by_clip(flat, batch), [*map(math.prod, shapes)], axis=1)
        features = zip(layers, columns, shapes, strict=True)
        return {case: tf.reshape(row, [-1, *shape]) for case, row, shape in features}

    return clips.batch(6).map(mapped)


def map_batches(clips, layers):
    def mapped(batch):
        return {case: layer(batch) for case, layer in layers.items()}

    return clips.batch(6).map(mapped)


def map_clips(clips, layers):
    def mapped(clip):
        return {case: layer(clip[tf.newaxis])[0] for case, layer in layers.items()}

    return clips.map(mapped).batch(6)


def model_of(channels: int, cases=tuple(CASES)) -> keras.Model:
    waveform = keras.Input(waveforms(channels).shape[1:], name="waveform")
    layers = list_layers(channels, cases)
    return keras.Model(waveform, {case: layers[case](waveform) for case in layers})


def rows(function: Callable[[np.ndarray], Features], channels: int) -> Features:
    """Features of the clips, one after another."""
    found = [function(clip[np.newaxis]) for clip in waveforms(channels)]
    return {case: np.concatenate([row[case] for row in found]) for case in found[0]}


def save(channels: int, batch: int | None, path, cases=tuple(CASES)) -> None:
    """Write a SavedModel of the cases: of any batch, or portable of one segment."""
    layers = list_layers(channels, cases)

    @tf.function(
        input_signature=[
            tf.TensorSpec([batch, *waveforms(channels).shape[1:]], name="waveform")
        ]
    )
    def serve(waveform):
        features = {}
        for case, layer in layers.items():
            layer.portable = batch == 1
            features[case] = layer(waveform)
            layer.portable = False
        return features

    module = tf.Module()
    module.statistics = [weight.value for x in layers.values() for weight in x.weights]
    tf.saved_model.save(module, path, signatures=serve)


@pytest.fixture(
    scope="module",
    params=[SOME, pytest.param(REST, marks=tiny.SLOW)],
    ids=["some", "rest"],
)
def saved(request, tmp_path_factory):
    """Features from the SavedModel of any batch: of all clips at once, and of each."""
    found: tuple[Features, Features] = ({}, {})
    for channels in (1, 2):
        path = str(tmp_path_factory.mktemp("saved") / "model")
        save(channels, None, path, request.param)
        loaded = tf.saved_model.load(path)
        signature = loaded.signatures["serving_default"]

        def features(waveform, signature=signature):
            found = signature(waveform=tf.constant(waveform))
            return {case: value.numpy() for case, value in found.items()}

        found[0].update(features(waveforms(channels)))
        found[1].update(rows(features, channels))
    for features_of_path in found:
        assert features_of_path.keys() == set(request.param)
    return found


@pytest.fixture(scope="module")
def litert(tmp_path_factory):
    """Features from LiteRT: of the clips, and of silence."""
    found: tuple[Features, Features] = ({}, {})
    for channels in (1, 2):
        path = str(tmp_path_factory.mktemp("litert") / "model")
        save(channels, 1, path)
        converter = tf.lite.TFLiteConverter.from_saved_model(path)
        interpreter = Interpreter(model_content=converter.convert())
        names = {operation["op_name"] for operation in interpreter._get_ops_details()}
        assert not [name for name in names if name.startswith("Flex")]
        runner = interpreter.get_signature_runner()
        found[0].update(rows(lambda clip: runner(waveform=clip), channels))  # noqa: B023
        silence = np.zeros_like(waveforms(channels)[:1])
        found[1].update(runner(waveform=silence))
    return found


def assert_equal(found, wanted, layer: FrontendLayer, units: float) -> None:
    """Within `units`: of standardized features; an image has about 6 in its 255, one
    that is not standardized about 10 dB in one."""
    if layer.settings.image_frames:
        units *= 255 / 6
    elif layer.settings.standardize == "none":
        units *= 10
    np.testing.assert_allclose(found, wanted, rtol=0, atol=units)


@every_case
def test_the_clips_of_these_tests_have_different_features(case):
    """Or else any two of them would be equal by chance."""
    _, _, features = case_of(case)
    for first, second in itertools.pairwise(features):
        assert np.abs(first - second).max() > 0.1


@every_case
def test_a_clip_has_the_same_features_alone_among_loud_ones_and_in_any_batch(case):
    layer, batch, _ = case_of(case)
    clips = [1e-2 * batch[0], batch[3], 0 * batch[0]]
    loud = np.clip(30 * batch, -1, 1)
    between = zip(loud, clips, strict=False)
    among = layer(np.stack([each for pair in between for each in pair])).numpy()[1::2]
    many = layer(np.stack([*loud, *loud, *batch, *clips])).numpy()[-3:]
    for clip, *others in zip(clips, among, many, strict=True):
        alone = layer(clip[np.newaxis]).numpy()[0]
        assert np.isfinite(alone).all()
        for found in others:
            assert_equal(found, alone, layer, 1e-6)


by_clip = map_tf_data(map_clip_by_clip)


@every_case
def test_tf_data_gives_the_features_of_the_eager_layer(case):
    layer, _, wanted = case_of(case)
    assert_equal(by_clip()[case], wanted, layer, 1e-6)


def call_model(channels: int) -> Features:
    found = model_of(channels, SOME)(waveforms(channels))
    return {case: value.numpy() for case, value in found.items()}


def predict(channels: int) -> Features:
    return model_of(channels, SOME).predict(waveforms(channels), verbose=0)


PATHS = {
    "tf.data, whole batches": map_tf_data(map_batches, SOME),
    "tf.data, before batching": map_tf_data(map_clips, SOME),
    "Keras": compute_all(call_model),
    "predict": compute_all(predict),
}


@pytest.mark.parametrize("path", PATHS)
@some_cases
def test_other_pipelines_and_a_keras_model_give_them_too(case, path):
    layer, _, wanted = case_of(case)
    is_rewritten = path == "predict" and layer.settings.kind == "pcen"
    assert_equal(PATHS[path]()[case], wanted, layer, 3e-5 if is_rewritten else 1e-6)


def test_a_saved_model_gives_the_features_of_the_eager_layer(saved):
    """To the last bits, but for PCEN: TensorFlow rewrites the arithmetic of its graph,
    and log1p, exp and expm1 of a power near 1 enlarge what is rounded otherwise.
    """
    for found in saved:
        for case, features in found.items():
            layer, _, wanted = case_of(case)
            units = 3e-5 if layer.settings.kind == "pcen" else 1e-6
            assert_equal(features, wanted, layer, units)


@every_case
def test_portable_operations_give_the_same_features(case):
    """To the last bit, but for mel bands of power spectra: the product adds the squares
    of real and imaginary part in another order, which deltas and PCEN, and positions
    that hardly change, enlarge.
    """
    layer, batch, wanted = case_of(case)
    layer.portable = True
    found = layer(batch).numpy()
    layer.portable = False
    settings = layer.settings
    if settings.kind == "linear" or settings.power != 2.0:
        np.testing.assert_array_equal(found, wanted)
    assert_equal(found, wanted, layer, 5e-5)
    assert np.abs(found - wanted).mean() < (1e-4 if settings.image_frames else 5e-6)


@every_case
def test_litert_gives_the_features_of_the_eager_layer(case, litert):
    """Its FFT rounds otherwise. In a bin 80 dB and more below the loudest, where
    neither top_db nor log_offset lifts it, this rounding shows.
    """
    layer, batch, wanted = case_of(case)
    found, silent = (features[case] for features in litert)
    if "hardly floored" in case:
        power = layer.extract(batch).numpy()
        is_quiet = power < power.max(axis=(1, 2, 3), keepdims=True) + np.log(1e-8)
        assert is_quiet.any() and not is_quiet.all()
        assert_equal(found[is_quiet], wanted[is_quiet], layer, 5e-3)
        found, wanted = found[~is_quiet], wanted[~is_quiet]
    # Single FFT bins of faint sounds are the least exact.
    atol = 3e-4 if layer.settings.kind == "linear" else 1e-4
    assert_equal(found, wanted, layer, atol)
    assert_equal(silent, layer(0 * batch[:1]).numpy(), layer, 1e-4)


@pytest.mark.parametrize(
    ("policy", "cases"), [("mixed_float16", tuple(CASES)), ("mixed_bfloat16", SOME)]
)
def test_features_stay_float32_under_mixed_precision(policy, cases):
    for channels in (1, 2):
        batch, layers = waveforms(channels), {}
        with dtype_policy(policy):
            for case, known in list_layers(channels, cases).items():
                layers[case] = FrontendLayer(RATE, known.settings)
                layers[case].build((None, *batch.shape[1:]))
                layers[case].set_weights(known.get_weights())
            waveform = keras.Input(batch.shape[1:])
            outputs = {case: layer(waveform) for case, layer in layers.items()}
            inside = keras.Model(waveform, outputs)(batch)
        for case, layer in layers.items():
            assert layer.mean.dtype == layer.scale.dtype == "float32"
            for found in (layer(batch), inside[case]):
                assert found.dtype == tf.float32
                np.testing.assert_array_equal(found, case_of(case)[2])
