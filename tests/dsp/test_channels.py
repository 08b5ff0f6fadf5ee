import numpy as np
import pytest
import tensorflow as tf
from wavs import by_libsndfile, encoded, noise, save

from asc_tf.audio.decode import Variants, decode_clip, select_view
from asc_tf.audio.read import read
from asc_tf.config import Audio
from asc_tf.dsp import channels
from asc_tf.dsp.preprocessing import downmix_and_resample

VIEWS = ("mono", "left", "right", "stereo", "mid_side")
RATE = 22050


def file_of(count: int) -> np.ndarray:
    """float32 `[samples, channels]`, each channel another noise."""
    return noise(1000, count).astype(np.float32)


@pytest.mark.parametrize("view", VIEWS)
def test_the_graph_selects_the_same_views_as_numpy(view):
    signature = [tf.TensorSpec([None, None], tf.float32)]
    select = tf.function(lambda x: select_view(x, view), input_signature=signature)
    for count in (1, 2, 6):
        waveform = file_of(count)
        ours = select(tf.constant(waveform)).numpy()
        expected = channels.select_view(waveform, view)
        assert ours.dtype == expected.dtype == np.float32
        assert ours.shape == expected.shape
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 6])
def test_views_are_what_their_names_say(count):
    waveform = file_of(count)
    left, right = waveform[:, 0], waveform[:, 1 if count > 1 else 0]
    expected = {
        "mono": waveform.astype(np.float64).mean(axis=1),
        "left": left,
        "right": right,
        "stereo": np.stack([left, right], axis=1),
        "mid_side": np.stack([(left + right) / 2, (left - right) / 2], axis=1),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(
            channels.select_view(waveform, name), values, atol=1e-6
        )


def test_left_and_right_come_back_from_mid_and_side():
    waveform = file_of(2)
    middle, side = channels.select_view(waveform, "mid_side").T
    np.testing.assert_allclose(middle + side, waveform[:, 0], atol=1e-6)
    np.testing.assert_allclose(middle - side, waveform[:, 1], atol=1e-6)


def test_the_side_of_one_channel_is_silent():
    np.testing.assert_array_equal(channels.select_view(file_of(1), "mid_side")[:, 1], 0)


@pytest.mark.parametrize("setting", VIEWS)
def test_a_setting_is_the_view_of_its_name(setting):
    for count in (1, 2, 6):
        assert channels.list_views(setting, count) == (setting,)
    assert channels.count_channels(setting) == (
        2 if setting in ("stereo", "mid_side") else 1
    )


def test_split_is_three_examples_of_a_stereo_file_and_one_of_a_mono_file():
    assert channels.list_views("split", 1) == ("mono",)
    assert channels.list_views("split", 2) == ("left", "right", "mono")
    assert channels.list_views("split", 6) == ("left", "right", "mono")
    assert channels.count_channels("split") == 1


@pytest.mark.parametrize(
    ("view", "rate_out"),
    [("mono", 16_000), ("mid_side", 16_000), ("stereo", RATE), ("right", RATE)],
)
def test_a_clip_decoded_in_the_graph_is_that_decoded_outside(tmp_path, view, rate_out):
    audio = Audio(sample_rate=rate_out, channels=view)
    variants = Variants(routes=("wav",), views=(view,), rates=(RATE,))

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    def decode(contents):
        rate, span = tf.constant(RATE, tf.int64), tf.zeros([2], tf.float64)
        names = (tf.constant("wav"), rate, span, tf.constant(view))
        return decode_clip(contents, *names, audio, variants)

    for count in (1, 2, 6):
        path = save(tmp_path / "clip.wav", encoded("WAV", "PCM_24", 4000, count))
        expected = downmix_and_resample(*read(path, audio), view, rate_out)
        ours = decode(tf.io.read_file(str(path))).numpy()
        assert ours.shape == expected.shape
        np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-6)


def test_the_view_is_chosen_row_by_row(tmp_path):
    contents = encoded("WAV", "PCM_16", 3000, 2)
    audio = Audio(sample_rate=RATE, channels="split")
    known = Variants(routes=("wav",), views=channels.SPLIT, rates=(RATE,))
    rate, span = tf.constant(RATE, tf.int64), tf.zeros([2], tf.float64)
    rows = tf.data.Dataset.from_tensor_slices(list(channels.SPLIT)).map(
        lambda view: decode_clip(
            tf.constant(contents), tf.constant("wav"), rate, span, view, audio, known
        )
    )
    left, right, mono = rows.as_numpy_iterator()
    expected, _ = by_libsndfile(contents)
    np.testing.assert_array_equal(left, expected[:, 0])
    np.testing.assert_array_equal(right, expected[:, 1])
    np.testing.assert_allclose(mono, expected.mean(axis=1), atol=1e-7)
