"""Augmentations of waveforms: distributions as documented, levels as drawn."""

import numpy as np
import pytest
import tensorflow as tf
from draws import normal, seed
from scipy import stats
from scipy.signal import fftconvolve

from asc_tf import augment
from asc_tf.augment import NoiseBanks
from asc_tf.augment import waveforms as waveform_ops
from asc_tf.config import Augment


def decibels(power: np.ndarray) -> np.ndarray:
    return 10 * np.log10(power)


def power(values: np.ndarray) -> np.ndarray:
    axes = tuple(range(1, values.ndim))
    return np.mean(np.square(values, dtype=np.float64), axis=axes)


BANK = normal(3, 1024, number=9)
IMPULSES = normal(4, 33, number=8)


def noisy(waveforms, number, bank=BANK, low=10.0, high=10.0, share=1.0):
    return waveform_ops.add_noise(
        waveforms, seed(number), bank, low, high, share
    ).numpy()


def test_roll_rotates_each_waveform_by_its_own_shift():
    waveforms = np.tile(np.arange(100, dtype=np.float32), (50, 1))
    rolled = waveform_ops.time_roll(waveforms, seed(7)).numpy()
    shifts = rolled[:, 0].astype(int)
    for row, shift in zip(rolled, shifts, strict=True):
        np.testing.assert_array_equal(row, np.roll(waveforms[0], -shift))
    assert len(set(shifts)) > 20


def test_roll_shifts_are_uniform():
    waveforms = np.tile(np.arange(8, dtype=np.float32), (4000, 1))
    # Eagerly each clip is a step of Python.
    roll = tf.function(waveform_ops.time_roll)
    shifts = roll(waveforms, seed(1)).numpy()[:, 0].astype(int)
    assert stats.chisquare(np.bincount(shifts, minlength=8)).pvalue > 0.01


def test_half_of_the_waveforms_are_reversed_and_the_rest_is_as_it_was():
    waveforms = np.tile(np.arange(10, dtype=np.float32), (4000, 1))
    found = waveform_ops.time_reverse(waveforms, seed(2)).numpy()
    flipped = found[:, 0] == 9
    np.testing.assert_array_equal(found[flipped], waveforms[flipped, ::-1])
    np.testing.assert_array_equal(found[~flipped], waveforms[~flipped])
    assert stats.binomtest(int(flipped.sum()), 4000, 0.5).pvalue > 0.01


def test_gain_is_uniform_in_decibels():
    gains = waveform_ops.gain(tf.ones([5000, 1]), seed(8), gain_db=6.0).numpy()[:, 0]
    found = 20 * np.log10(gains)
    assert stats.kstest(found, stats.uniform(-6, 12).cdf).pvalue > 0.01


def test_a_random_channel_is_left_right_or_their_mean_with_equal_chances():
    waveforms = np.tile(np.float32([[1.0, 5.0], [2.0, 8.0]]), (3000, 1, 1))
    found = waveform_ops.random_channel(waveforms, seed(3)).numpy()
    assert found.shape == (3000, 2)
    kinds = {(1.0, 2.0): 0, (5.0, 8.0): 1, (3.0, 5.0): 2}
    counts = np.bincount([kinds[tuple(row)] for row in found.tolist()], minlength=3)
    assert stats.chisquare(counts).pvalue > 0.01


def test_signal_to_noise_ratios_are_uniform_in_decibels():
    waveforms = normal(3000, 200) * np.linspace(0.01, 1, 3000)[:, np.newaxis]
    added = noisy(waveforms.astype(np.float32), 4, low=-5.0, high=15.0) - waveforms
    ratio = decibels(power(waveforms) / power(added))
    assert stats.kstest(ratio, stats.uniform(-5, 20).cdf).pvalue > 0.01


@pytest.mark.parametrize("shape", [(8, 500), (8, 500, 2)])
@pytest.mark.parametrize("length", [1024, 1000, 77])
def test_a_fixed_signal_to_noise_ratio_is_met_exactly(shape, length):
    waveforms = normal(*shape, number=1) * 0.1
    added = noisy(waveforms, 5, bank=BANK[:, :length], low=3.0, high=3.0) - waveforms
    np.testing.assert_allclose(
        decibels(power(waveforms) / power(added)), 3.0, atol=0.01
    )


@pytest.mark.parametrize(("length", "places"), [(1024, 16), (37, 37)])
def test_noise_is_a_span_of_a_looped_row_at_a_uniform_place_with_either_sign(
    length, places
):
    rows, samples = 2, 100
    bank = BANK[:rows, :length]
    waveforms = np.full((2000, samples), 1e3, np.float32)
    added = noisy(waveforms, 6, bank=bank, low=-60.0, high=-60.0) - waveforms
    looped = np.tile(bank, (1, 5))
    spans = np.stack(
        [
            row[start : start + samples]
            for row in looped
            for start in range(0, length, length // places)
        ]
    )
    spans /= np.sqrt(power(spans))[:, np.newaxis]
    added /= np.sqrt(power(added))[:, np.newaxis]
    likeness = added @ spans.T / samples
    np.testing.assert_allclose(np.abs(likeness).max(axis=1), 1, atol=1e-4)
    drawn = np.abs(likeness).argmax(axis=1)
    counts = np.bincount(drawn, minlength=rows * places)
    assert stats.chisquare(counts).pvalue > 0.01
    positive = int((likeness.max(axis=1) > 0.9).sum())
    assert stats.binomtest(positive, 2000, 0.5).pvalue > 0.01


def test_only_the_share_of_waveforms_gets_noise():
    waveforms = normal(3000, 64)
    found = noisy(waveforms, 7, share=0.3)
    changed = (found != waveforms).any(axis=1)
    assert stats.binomtest(int(changed.sum()), 3000, 0.3).pvalue > 0.01


def test_both_channels_get_the_same_noise():
    waveforms = normal(5, 300, 2)
    added = noisy(waveforms, 8) - waveforms
    np.testing.assert_allclose(added[..., 0], added[..., 1], atol=1e-6)


def test_a_span_of_silent_noise_adds_nothing():
    waveforms = normal(4, 64)
    np.testing.assert_array_equal(noisy(waveforms, 9, bank=BANK * 0), waveforms)


@pytest.mark.parametrize("taps", [1, 33, 700])
def test_convolution_is_that_of_scipy_cut_to_the_length(taps):
    waveforms, bank = normal(6, 501), normal(1, taps, number=3)
    found = waveform_ops.convolve(waveforms, seed(1), bank)
    wanted = fftconvolve(waveforms, np.repeat(bank, 6, axis=0), axes=1)[:, :501]
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())


def test_the_channels_of_a_clip_get_the_same_impulse_response():
    waveforms = normal(12, 300, 2)
    both = waveform_ops.convolve(waveforms, seed(2), IMPULSES, 0.7)
    for channel in range(2):
        alone = waveform_ops.convolve(waveforms[..., channel], seed(2), IMPULSES, 0.7)
        np.testing.assert_allclose(both[..., channel], alone, atol=1e-5)


def test_impulse_responses_and_the_clips_that_get_one_are_drawn_evenly():
    waveforms = np.zeros((4000, 40), np.float32)
    waveforms[:, 0] = 1
    found = waveform_ops.convolve(waveforms, seed(3), IMPULSES, 0.6).numpy()
    padded = np.pad(IMPULSES, [(0, 0), (0, 7)])
    distance = np.abs(found[:, np.newaxis] - padded).max(axis=2)
    counts = (distance < 1e-5).sum(axis=0)
    kept = (found == waveforms).all(axis=1).sum()
    assert counts.sum() + kept == 4000
    assert stats.chisquare(counts).pvalue > 0.01
    assert stats.binomtest(int(kept), 4000, 0.4).pvalue > 0.01


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_none_or_all_may_be_convolved(share):
    waveforms = normal(3, 50)
    found = waveform_ops.convolve(waveforms, seed(4), 2 * np.ones((1, 1)), share)
    np.testing.assert_allclose(found, waveforms * (1 + share), atol=1e-6)


OPERATIONS = {
    "roll": waveform_ops.time_roll,
    "reverse": waveform_ops.time_reverse,
    "gain": lambda x, s: waveform_ops.gain(x, s, 6.0),
    "noise": lambda x, s: waveform_ops.add_noise(x, s, BANK, 0.0, 20.0, 0.7),
    "convolve": lambda x, s: waveform_ops.convolve(x, s, IMPULSES, 0.4),
    "channel": waveform_ops.random_channel,
}


@pytest.mark.parametrize("channels", [(), (2,)])
def test_each_is_the_same_in_a_dataset_and_a_function_of_its_seed(channels):
    names = [name for name in OPERATIONS if channels or name != "channel"]
    rows = normal(7, 300, *channels)

    def augmented(batch):
        return {name: OPERATIONS[name](batch, seed(1)) for name in names}

    # A batch of six and one of one: the graph knows no size.
    mapped = tf.data.Dataset.from_tensor_slices(rows).batch(6).map(augmented)
    for waveforms, found in zip((rows[:6], rows[6:]), mapped, strict=True):
        for name, eager in augmented(waveforms).items():
            assert eager.dtype == tf.float32
            shape = waveforms.shape[:2] if name == "channel" else waveforms.shape
            assert eager.shape == shape
            assert mapped.element_spec[name].shape.as_list() == [None, *shape[1:]]
            np.testing.assert_allclose(found[name], eager, atol=1e-6, err_msg=name)
            others = (OPERATIONS[name](waveforms, seed(n)) for n in range(2, 12))
            assert any(not np.array_equal(eager, other) for other in others), name


@pytest.mark.parametrize("name", OPERATIONS)
def test_silence_stays_silent(name):
    found = OPERATIONS[name](tf.zeros([5, 100, 2]), seed(1)).numpy()
    np.testing.assert_array_equal(found, np.zeros_like(found))


@pytest.mark.parametrize("name", ["roll", "reverse", "gain"])
def test_both_channels_are_changed_alike(name):
    one = normal(20, 60)
    both = OPERATIONS[name](np.stack([one, 2 * one], axis=2), seed(5)).numpy()
    np.testing.assert_array_equal(both[..., 1], 2 * both[..., 0])


def test_all_of_them_follow_one_another_in_their_order():
    settings = Augment(
        random_channel=True,
        time_reverse=True,
        time_roll=True,
        impulse_dir="impulses",
        impulse_share=0.4,
        noise="pink",
        noise_share=0.7,
        noise_min_snr_db=0.0,
        noise_max_snr_db=20.0,
        gain_db=6.0,
    )
    waveforms = normal(8, 300, 2)
    found = augment.augment_waveforms(
        waveforms, seed(6), settings, NoiseBanks(BANK, IMPULSES)
    )
    order = ("channel", 5), ("reverse", 6), ("roll", 0), ("convolve", 7), ("noise", 8)
    wanted = waveforms
    for name, number in (*order, ("gain", 1)):
        wanted = OPERATIONS[name](wanted, augment.fold_in(seed(6), number))
    np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        (Augment(noise="white"), "augment.noise = white: needs banks.noise"),
        (Augment(impulse_dir="x"), "augment.impulse_dir is set: needs banks.impulses"),
    ],
)
def test_a_missing_bank_is_named(settings, missing):
    with pytest.raises(ValueError, match=missing):
        augment.augment_waveforms(tf.zeros([1, 10]), seed(1), settings)


def test_a_bank_is_not_copied_into_the_graph():
    bank = normal(1, 2**16)

    @tf.function
    def noised(waveforms):
        return waveform_ops.add_noise(waveforms, seed(1), bank, 0.0, 1.0)

    graph = noised.get_concrete_function(tf.TensorSpec([None, 100])).graph
    assert graph.as_graph_def().ByteSize() < 2**16
