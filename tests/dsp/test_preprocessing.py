import numpy as np
import pytest
from wavs import cut_whole

from asc_tf.config import Audio, Evaluate
from asc_tf.core.errors import UserError
from asc_tf.dsp import channels, preprocessing, segments
from asc_tf.dsp.preprocessing import (
    Preprocessing,
    check_rate,
    check_waveform,
    downmix_and_resample,
)
from asc_tf.dsp.resampling import RATES, count_output_samples, resample

RATE = 8000


def sound(samples: int, count: int = 2) -> np.ndarray:
    generator = np.random.default_rng(samples)
    return generator.uniform(-1, 1, (samples, count)).astype(np.float32)


def listener(**changes) -> Preprocessing:
    usual = {"sample_rate": RATE, "segment_samples": 400, "hop_samples": 300}
    return Preprocessing(**usual | changes)


def test_the_settings_are_those_of_the_configuration():
    audio = Audio(
        sample_rate=16_000,
        segment_seconds=0.5,
        hop_seconds=0.2,
        channels="mid_side",
        short_clips="loop",
        last_segment="drop",
    )
    evaluate = Evaluate(segments="centre", pooling="majority")
    assert Preprocessing.from_config(audio, evaluate) == Preprocessing(
        sample_rate=16_000,
        segment_samples=8000,
        hop_samples=3200,
        channels="mid_side",
        short_clips="loop",
        segments="centre",
        pooling="majority",
        last_segment="drop",
    )


def test_without_a_hop_segments_do_not_overlap():
    found = Preprocessing.from_config(
        Audio(sample_rate=RATE, segment_seconds=0.1), Evaluate()
    )
    assert found.hop_samples == found.segment_samples == 800


@pytest.mark.parametrize(("overlap", "hop"), [(0.0, 200), (0.5, 400), (0.95, 40)])
def test_an_overlap_of_evaluation_goes_before_the_hop_of_the_audio(overlap, hop):
    audio = Audio(sample_rate=RATE, segment_seconds=0.1, hop_seconds=0.025)
    found = Preprocessing.from_config(audio, Evaluate(overlap=overlap))
    assert found.hop_samples == hop


@pytest.mark.parametrize(
    ("setting", "shape"),
    [("mono", (400,)), ("split", (400,)), ("stereo", (400, 2)), ("mid_side", (400, 2))],
)
def test_a_segment_has_one_or_two_channels(setting, shape):
    own = listener(channels=setting)
    assert own.segment_shape == shape
    for samples in (1, 399, 400, 401, 1500):
        cut = list(own.cut(sound(samples), RATE))
        assert cut
        assert {(part.shape, part.dtype) for part in cut} == {(shape, np.dtype("f4"))}


@pytest.mark.parametrize("short_clips", ["pad", "loop"])
@pytest.mark.parametrize("which", ["all", "centre"])
@pytest.mark.parametrize("samples", [1, 150, 400, 650, 2000])
def test_a_clip_is_cut_as_by_the_reference(samples, which, short_clips):
    waveform = sound(samples, 1)
    own = listener(segments=which, short_clips=short_clips)
    expected = list(cut_whole(waveform[:, 0], 400, 300, which, short_clips))
    assert len(expected) == len(segments.find_starts(samples, 400, 300, which))
    np.testing.assert_array_equal(list(own.cut(waveform, RATE)), expected)
    np.testing.assert_array_equal(list(own.cut(waveform[:, 0], RATE)), expected)


def test_a_rest_that_fills_no_segment_is_dropped_where_that_is_configured():
    waveform = sound(88_200, 1)
    sizes = {"segment_samples": 20_480, "hop_samples": 10_240}
    aligned = list(listener(**sizes).cut(waveform, RATE))
    dropped = list(listener(**sizes, last_segment="drop").cut(waveform, RATE))
    assert (len(aligned), len(dropped)) == (8, 7)
    np.testing.assert_array_equal(aligned[:7], dropped)
    np.testing.assert_array_equal(aligned[7], waveform[-20_480:, 0])


def test_split_gives_left_then_right_then_both():
    waveform = sound(650)
    cut = list(listener(channels="split").cut(waveform, RATE))
    views = [waveform[:, 0], waveform[:, 1], waveform.mean(axis=1)]
    expected = [part for view in views for part in cut_whole(view, 400, 300)]
    assert len(cut) == len(expected) == 6
    np.testing.assert_allclose(cut, expected, atol=1e-7)
    mono = list(listener(channels="split").cut(waveform[:, :1], RATE))
    np.testing.assert_array_equal(mono, expected[:2])


def test_a_clip_of_another_rate_is_resampled_before_it_is_cut():
    waveform = sound(2000)
    cut = list(listener(channels="stereo").cut(waveform, 16_000))
    columns = [resample(column, 16_000, RATE) for column in waveform.T]
    whole = np.stack(columns, axis=1)
    assert len(whole) == count_output_samples(2000, 16_000, RATE) == 1000
    np.testing.assert_array_equal(cut, list(cut_whole(whole, 400, 300)))


@pytest.mark.parametrize("view", ["mono", "left", "right", "stereo", "mid_side"])
def test_views_are_chosen_before_resampling(view):
    waveform = sound(1234, 3)
    found = downmix_and_resample(waveform, 16_000, view, 11_025)
    chosen = channels.select_view(waveform, view)
    columns = chosen[:, np.newaxis] if chosen.ndim == 1 else chosen
    expected = np.stack([resample(c, 16_000, 11_025) for c in columns.T], axis=1)
    np.testing.assert_array_equal(found.reshape(expected.shape), expected)
    assert found.dtype == np.float32


@pytest.mark.parametrize("pooling", ["mean", "mean_log", "majority"])
def test_probabilities_are_pooled_as_by_the_reference(pooling):
    values = np.random.default_rng(0).dirichlet([1, 1, 1, 1], 7).astype(np.float32)
    pooled = listener(pooling=pooling).pool(values)
    assert (pooled.shape, pooled.dtype) == ((4,), np.float32)
    expected = segments.pool(values, np.zeros(7, int), 1, pooling)[0]
    np.testing.assert_allclose(pooled, expected, atol=1e-7)
    assert pooled.sum() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(
        listener(pooling=pooling).pool(values[:1]), values[0], atol=1e-6
    )


# --- what is refused -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (np.zeros(10, np.int16), "waveform is int16; give floats in"),
        (np.zeros(10, bool), "waveform is bool; give floats"),
        (np.zeros(10, np.complex64), "waveform is complex64; give floats"),
        ([], "no samples"),
        ("clip.wav", "; give floats"),
        (None, "waveform is object; give floats"),
        (np.zeros((0, 2), np.float32), "no samples"),
        (np.zeros((5, 0), np.float32), "no samples"),
        (np.float32(0.5), r"has shape (); give [samples] or [samples, channels]"),
        (np.zeros((1, 5, 2), np.float32), "has shape (1, 5, 2); give [samples]"),
        (np.zeros((2, 400), np.float32), "(2, 400), 400 channels; give [samples, c"),
        ([0.0, np.nan], "not finite"),
        ([0.0, np.inf], "not finite"),
        (np.array([1e300]), "not finite"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_waveform_is_refused_and_told(waveform, message):
    with pytest.raises(UserError) as raised:
        check_waveform(waveform)
    assert message in str(raised.value)
    with pytest.raises(UserError):
        list(listener().cut(waveform, RATE))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_of_any_width_and_order_are_a_waveform(dtype):
    values = sound(100)
    for given in (values.astype(dtype), np.asfortranarray(values.astype(dtype))):
        checked = check_waveform(given)
        assert checked.dtype == np.float32
        np.testing.assert_allclose(checked, values, atol=1e-3)
    assert check_waveform([0.5, 0.25]).tolist() == [[0.5], [0.25]]
    most = np.zeros((3, preprocessing.MAX_CHANNELS), dtype)
    assert check_waveform(most).shape == most.shape


@pytest.mark.parametrize(
    "rate", [0, -8000, 999, RATES[1] + 1, 8000.5, np.nan, np.inf, "8000", None, [8000]]
)
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(UserError) as raised:
        check_rate(rate)
    said = f"sample_rate is {rate!r}; give a whole number of Hz from 1000 to 768000"
    assert str(raised.value) == said


@pytest.mark.parametrize("rate", [8000, 8000.0, np.int32(8000), np.float32(8000)])
def test_a_whole_rate_of_any_type_is_a_rate(rate):
    assert check_rate(rate) == 8000
    assert type(check_rate(rate)) is int


@pytest.mark.parametrize("rate", RATES)
def test_the_outermost_rates_are_accepted(rate):
    cut = list(listener().cut(sound(rate // 10, 1), rate))
    assert cut[0].shape == (400,)
