"""Predictions over time, against the reference of segments."""

import threading
import time

import numpy as np
import pytest
import soundfile

from asc_tf.audio.stream import open_stream
from asc_tf.core.errors import UserError
from asc_tf.core.read_ahead import read_ahead
from asc_tf.dsp import channels, recordings, segments
from asc_tf.dsp.preprocessing import Preprocessing, downmix_and_resample
from asc_tf.dsp.recordings import Recording, choose_batch_size
from asc_tf.dsp.streaming import BLOCK_VALUES, AudioStream

RATE = 8000


def sound(samples: int, count: int = 1) -> np.ndarray:
    generator = np.random.default_rng(samples)
    return generator.uniform(-0.9, 0.9, (samples, count)).astype(np.float32)


def statistics(waveforms: np.ndarray) -> np.ndarray:
    flat = waveforms.reshape(len(waveforms), -1).astype(np.float64)
    powers = np.exp(np.stack([flat.mean(1), (flat**2).mean(1), flat.max(1)], axis=1))
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def predict(waveform: np.ndarray, hop_seconds: float = 0.0, rate=RATE, **changes):
    usual = {"sample_rate": RATE, "segment_samples": 400, "hop_samples": 300}
    own = Preprocessing(**usual | changes)
    stream = AudioStream.from_waveform(waveform, rate)
    recording = Recording("clip", stream, own, statistics, hop_seconds)
    return list(recording.predict()), recording


@pytest.mark.parametrize("last_segment", ["align", "drop"])
@pytest.mark.parametrize("hop", [None, 100, 400, 1000])
def test_times_and_probabilities_are_those_of_the_segments(hop, last_segment):
    waveform = sound(15_017)
    seconds = hop / RATE if hop else 0.0
    found, recording = predict(waveform, seconds, last_segment=last_segment)
    hop = hop or 300
    starts = segments.find_starts(len(waveform), 400, hop, last_segment=last_segment)
    assert [round(each.start * RATE) for each in found] == starts.tolist()
    assert [round(each.end * RATE) for each in found] == (starts + 400).tolist()
    cut = np.stack([waveform[start : start + 400, 0] for start in starts])
    np.testing.assert_allclose(
        [each.probabilities for each in found], statistics(cut), atol=1e-7
    )
    assert recording.seconds == 15_017 / RATE
    assert recording.note == ""


def test_times_of_a_recording_of_another_rate_are_in_its_own_seconds():
    found, _ = predict(sound(32_000), rate=16_000, hop_samples=400)
    assert len(found) == 40
    assert (found[0].start, found[-1].end) == (0.0, 2.0)
    assert found[7].start == pytest.approx(7 * 0.05)


@pytest.mark.parametrize("pooling", ["mean", "majority"])
def test_the_views_of_a_segment_are_pooled(pooling):
    waveform = sound(1200, 2)
    found, _ = predict(waveform, channels="split", hop_samples=400, pooling=pooling)
    assert len(found) == 3
    views = [
        downmix_and_resample(waveform, RATE, view, RATE)[400:800]
        for view in channels.list_views("split", 2)
    ]
    ids = np.zeros(3, np.int64)
    expected = segments.pool(statistics(np.stack(views)), ids, 1, pooling)[0]
    np.testing.assert_allclose(found[1].probabilities, expected, atol=1e-6)


def test_the_views_of_a_recording_of_many_blocks_are_measured_once():
    waveform = sound(3 * BLOCK_VALUES // 2, 2)
    waveform[200_000:205_000] = 1.0
    found, recording = predict(waveform, channels="split", hop_samples=400)
    assert found[-1].end == recording.seconds == len(waveform) / RATE
    share = 5000 / len(waveform)
    assert recording.note.startswith(f"clipped: {share:.1%} of the samples")
    # The same as without views.
    _, mono = predict(waveform, hop_samples=400)
    assert (recording.note, recording.seconds) == (mono.note, mono.seconds)


@pytest.mark.parametrize("hop", [np.inf, np.nan, -1.0, 1e9])
def test_an_impossible_hop_is_refused(hop):
    with pytest.raises(UserError, match=r"hop_seconds is .*; give seconds from 0 to"):
        predict(sound(100), hop)


def test_every_segment_is_classified_where_a_clip_has_its_centre_alone():
    assert len(predict(sound(4000), segments="centre", hop_samples=400)[0]) == 10


def test_a_short_recording_is_one_segment_that_ends_where_it_ends():
    (found,), recording = predict(sound(100))
    assert (found.start, found.end) == (0.0, 100 / RATE)
    assert recording.note.startswith("short: ")


def test_silent_segments_are_marked():
    waveform = sound(2000)
    waveform[400:1200] = 0
    found, recording = predict(waveform, hop_samples=400)
    assert [each.is_silent for each in found] == [False, True, True, False, False]
    assert recording.note == ""


def test_a_bad_sample_ends_the_recording_with_its_name():
    waveform = sound(900_000)
    waveform[-1] = np.nan
    stream = AudioStream.from_waveform(waveform, RATE)
    own = Preprocessing(RATE, 4000, 4000)
    with pytest.raises(UserError, match=r"day\.wav: holds samples that are not fin"):
        list(Recording("day.wav", stream, own, statistics).predict())
    # A consumer gets what was classified before.
    rows = Recording("day.wav", stream, own, statistics).predict()
    assert next(rows).start == 0.0


def test_fewer_long_segments_than_short_ones_run_at_a_time():
    assert choose_batch_size(400) == recordings.BATCH
    assert choose_batch_size(recordings.BATCH_SAMPLES // 4) == 4
    assert choose_batch_size(10 * recordings.BATCH_SAMPLES) == 1


@pytest.mark.parametrize("kind", ["WAV", "FLAC"])
def test_a_recording_that_is_left_early_is_closed(tmp_path, kind):
    path = tmp_path / "clip"
    soundfile.write(path, sound(RATE * 60), RATE, format=kind)
    own = Preprocessing(RATE, 400, 400)
    rows = Recording(path, open_stream(path), own, statistics).predict()
    next(rows)
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("read ahead") == 1
    rows.close()
    assert "read ahead" not in [thread.name for thread in threading.enumerate()]


def test_reading_ahead_keeps_the_order_and_stays_within_its_depth():
    most = done = 0

    def count():
        nonlocal most
        for number in range(50):
            most = max(most, number - done)
            yield number

    found = []
    for number in read_ahead(count(), 3):
        time.sleep(0.001)
        found.append(number)
        done += 1
    assert found == list(range(50))
    # Three wait, one is being put, and one is with the caller.
    assert 3 <= most <= 5


def test_an_error_ahead_is_raised_after_the_items_before_it():
    def fail():
        yield 1
        raise UserError("broken")

    ahead = read_ahead(fail(), 3)
    assert next(ahead) == 1
    with pytest.raises(UserError, match="broken"):
        next(ahead)
