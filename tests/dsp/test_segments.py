import itertools

import numpy as np
import pytest
import tensorflow as tf
from wavs import cut_whole

from asc_tf.audio.segment import cut_segments, draw_segment, pool
from asc_tf.core.errors import UserError
from asc_tf.dsp import segments

RAMP = np.arange(1, 101, dtype=np.float32)


def cut_of(waveform: np.ndarray, *settings) -> np.ndarray:
    return np.stack(list(cut_whole(waveform, *settings)))


@pytest.mark.parametrize(
    ("samples", "length", "hop", "expected"),
    [
        (0, 4, 4, [0]),
        (3, 4, 4, [0]),
        (4, 4, 4, [0]),
        (5, 4, 4, [0, 1]),
        (8, 4, 2, [0, 2, 4]),
        (9, 4, 2, [0, 2, 4, 5]),
        (12, 4, 6, [0, 6, 8]),
        (6, 4, 100, [0, 2]),
    ],
)
def test_segments_start_every_hop_and_the_last_ends_with_the_clip(
    samples, length, hop, expected
):
    assert segments.find_starts(samples, length, hop).tolist() == expected


@pytest.mark.parametrize(
    ("samples", "length", "hop", "expected"),
    [
        (0, 4, 4, [0]),
        (3, 4, 4, [0]),
        (5, 4, 4, [0]),
        (8, 4, 4, [0, 4]),
        (9, 4, 2, [0, 2, 4]),
        (6, 4, 100, [0]),
    ],
)
def test_a_rest_that_fills_no_segment_is_dropped_but_a_short_clip_is_not(
    samples, length, hop, expected
):
    found = segments.find_starts(samples, length, hop, last_segment="drop")
    assert found.tolist() == expected
    assert len(cut_of(RAMP[:samples], length, hop, "all", "pad", "drop")) == len(found)


def test_a_published_clip_of_88200_samples_has_seven_segments_or_eight():
    dropped = segments.find_starts(88_200, 20_480, 10_240, last_segment="drop")
    assert dropped.tolist() == [10_240 * number for number in range(7)]
    aligned = segments.find_starts(88_200, 20_480, 10_240)
    assert aligned.tolist() == [*dropped, 88_200 - 20_480]
    batch = tf.zeros([1, 88_200])
    sizes = (20_480, 10_240, "all", "pad")
    assert cut_segments(batch, *sizes, "drop").shape == (1, 7, 20_480)
    assert cut_segments(batch, *sizes, "align").shape == (1, 8, 20_480)


CHOICES = [
    pytest.mark.parametrize("last_segment", ["align", "drop"]),
    pytest.mark.parametrize("short_clips", ["pad", "loop"]),
    pytest.mark.parametrize("which", ["all", "centre"]),
]


def for_each_choice(test):
    for choice in CHOICES:
        test = choice(test)
    return test


@for_each_choice
def test_the_graph_cuts_as_the_reference_for_each_choice_and_for_two_channels(
    which, short_clips, last_segment
):
    # A clip without samples cannot be looped.
    for samples in [0] * (short_clips == "pad") + [1, 9, 10, 11, 21, 30]:
        mono = RAMP[:samples]
        for hop in (3, 10, 13):
            for waveform in (mono, np.stack([mono, -mono], axis=1)):
                settings = (10, hop, which, short_clips, last_segment)
                expected = cut_of(waveform, *settings)
                assert expected.dtype == np.float32
                found = cut_segments(tf.constant(waveform[np.newaxis]), *settings)[0]
                np.testing.assert_array_equal(found, expected)


def test_every_sample_is_seen_and_nothing_is_padded_in_a_longer_clip():
    for samples in (10, 11, 23, 100):
        for hop in (1, 3, 10):
            cut = cut_of(RAMP[:samples], 10, hop)
            assert set(cut.ravel()) == set(RAMP[:samples])


def test_a_batch_is_cut_clip_by_clip_in_a_graph_of_unknown_lengths():
    signature = [tf.TensorSpec([None, None], tf.float32)]
    cut = tf.function(lambda x: cut_segments(x, 10, 7), input_signature=signature)
    for samples in (4, 10, 23):
        batch = np.stack([RAMP[:samples], RAMP[::-1][:samples]])
        expected = [cut_of(waveform, 10, 7) for waveform in batch]
        np.testing.assert_array_equal(cut(batch), expected)


def test_segments_pool_to_the_mean_of_their_clip():
    probabilities = np.float32([[1, 0], [0.5, 0.5], [0, 1], [0.2, 0.8]])
    pooled = segments.pool(probabilities, np.array([1, 0, 1, 1]), 2)
    assert pooled.dtype == np.float64
    np.testing.assert_allclose(pooled, [[0.5, 0.5], [0.4, 0.6]], atol=1e-7)


def draw(waveform: np.ndarray, length: int, draws: int) -> np.ndarray:
    """Segments of the seeds [0, 7], [1, 7], ...: `[draws, length]`."""
    seeds = tf.stack([tf.range(draws), tf.fill([draws], 7)], axis=1)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
    def run(values):
        return tf.map_fn(
            lambda seed: draw_segment(values, length, seed),
            tf.cast(seeds, tf.int64),
            fn_output_signature=tf.TensorSpec([length], tf.float32),
        )

    return run(waveform).numpy()


def test_a_random_crop_is_a_slice_and_every_offset_is_as_likely():
    drawn = draw(RAMP[:14], 10, 1000)
    np.testing.assert_array_equal(drawn, drawn[:, :1] + np.arange(10))
    counts = np.bincount(drawn[:, 0].astype(int) - 1, minlength=5)
    assert counts.shape == (5,)
    assert counts.min() > 140  # 200 each, standard deviation 13


def test_a_short_clip_is_padded_at_a_random_offset_and_stays_whole():
    drawn = draw(RAMP[:7], 10, 1000)
    offsets = np.argmax(drawn > 0, axis=1)
    for offset, segment in zip(offsets, drawn, strict=True):
        np.testing.assert_array_equal(segment[offset : offset + 7], RAMP[:7])
        assert np.count_nonzero(segment) == 7
    counts = np.bincount(offsets, minlength=4)
    assert counts.shape == (4,)
    assert counts.min() > 180  # 250 each, standard deviation 14


@pytest.mark.parametrize("samples", [0, 10])
def test_a_clip_without_choice_gives_the_one_segment_there_is(samples):
    expected = cut_of(RAMP[:samples], 10, 10)
    np.testing.assert_array_equal(draw(RAMP[:samples], 10, 3), expected.repeat(3, 0))


def test_the_same_seed_draws_the_same_segment_and_another_draws_anew():
    long = np.arange(10_000, dtype=np.float32)
    first, again = draw(long, 10, 50), draw(long, 10, 50)
    np.testing.assert_array_equal(first, again)
    assert len(set(first[:, 0])) > 45


@for_each_choice
def test_blocks_of_any_size_give_the_segments_of_the_whole(
    which, short_clips, last_segment
):
    generator = np.random.default_rng(0)
    for samples, hop in itertools.product([1, 9, 10, 11, 20, 21, 57], [1, 4, 10, 17]):
        waveform = np.stack([RAMP[:samples], -RAMP[:samples]], axis=1)
        filled = segments.pad_or_loop(waveform, 10, short_clips)
        places = segments.find_starts(samples, 10, hop, which, last_segment)
        expected = [filled[place : place + 10] for place in places]
        for _ in range(3):
            ends = np.sort(generator.integers(0, samples + 1, 6))
            found = segments.cut_blocks(
                np.split(waveform, ends),
                samples if which == "centre" else None,
                *(10, hop, which, short_clips, last_segment),
            )
            found = list(found)
            np.testing.assert_array_equal([each.waveform for each in found], expected)
            assert [each.start for each in found] == places.tolist()
            ends = [min(place + 10, samples) for place in places]
            assert [each.end for each in found] == ends


def test_a_waveform_that_is_not_as_long_as_was_said_is_refused():
    blocks = [RAMP[:50], RAMP[50:]]
    with pytest.raises(UserError, match="changed while it was read"):
        list(segments.cut_blocks(blocks, 101, 10, 10, "centre", "pad", "drop"))


def test_the_centre_of_a_clip_is_one_segment_with_as_much_on_either_side():
    assert cut_of(RAMP[:20], 10, 3, "centre").tolist() == [list(range(6, 16))]
    assert cut_of(RAMP[:4], 6, 3, "centre").tolist() == [[1, 2, 3, 4, 0, 0]]


def test_a_short_clip_is_repeated_when_it_is_looped():
    assert cut_of(RAMP[:3], 8, 8, "all", "loop").tolist() == [[1, 2, 3, 1, 2, 3, 1, 2]]


def test_a_short_clip_is_looped_from_any_sample_on_in_training():
    waveform = tf.constant(RAMP[:3])
    seeds = [tf.constant([seed, 7], tf.int64) for seed in range(60)]
    drawn = {tuple(draw_segment(waveform, 7, s, "loop").numpy()) for s in seeds}
    assert drawn == {(1, 2, 3) * 2 + (1,), (2, 3, 1) * 2 + (2,), (3, 1, 2) * 2 + (3,)}


def test_a_random_segment_of_two_channels_takes_both_from_the_same_place():
    waveform = tf.constant(np.stack([RAMP, -RAMP], axis=1))
    for length in (10, 150):
        for short_clips in ("pad", "loop"):
            seed = tf.constant([3, 4], tf.int64)
            segment = draw_segment(waveform, length, seed, short_clips).numpy()
            assert segment.shape == (length, 2)
            np.testing.assert_array_equal(segment[:, 0], -segment[:, 1])
            alone = draw_segment(waveform[:, 0], length, seed, short_clips)
            np.testing.assert_array_equal(segment[:, 0], alone)


THREE = np.float32([[0.6, 0.4, 0.0], [0.1, 0.8, 0.1], [0.5, 0.3, 0.2]])


def test_pooling_by_the_mean_logarithm_is_the_geometric_mean():
    pooled = segments.pool(THREE[1:], np.array([0, 0]), 1, "mean_log")
    expected = np.sqrt(THREE[1] * THREE[2])
    np.testing.assert_allclose(pooled[0], expected / expected.sum(), rtol=1e-6)
    # A single 0 does not make it impossible, only improbable.
    pooled = segments.pool(THREE, np.array([0, 0, 0]), 1, "mean_log")
    assert 0 < pooled[0, 2] < 0.001


def test_pooling_by_majority_counts_labels_and_the_mean_decides_ties():
    pooled = segments.pool(THREE, np.zeros(3, int), 1, "majority")
    votes = np.array([2, 1, 0]) + THREE.mean(axis=0)
    np.testing.assert_allclose(pooled[0], votes / 4, rtol=1e-6)
    tie = segments.pool(THREE[:2], np.zeros(2, int), 1, "majority")
    assert tie[0].argmax() == 1
    np.testing.assert_allclose(tie.sum(), 1, rtol=1e-6)


@pytest.mark.parametrize("pooling", ["mean", "mean_log", "majority"])
def test_pooling_in_the_graph_is_that_of_the_reference(pooling):
    random = np.random.default_rng(0)
    for count in (1, 2, 5):
        found = random.dirichlet(np.ones(4), (3, count)).astype(np.float32)
        ids = np.repeat(np.arange(3), count)
        wanted = segments.pool(found.reshape(-1, 4), ids, 3, pooling)
        np.testing.assert_allclose(pool(found, pooling), wanted, atol=1e-6)
        np.testing.assert_allclose(wanted.sum(axis=1), 1, rtol=1e-6)
        if count == 1:
            np.testing.assert_allclose(wanted, found[:, 0], atol=1e-6)
