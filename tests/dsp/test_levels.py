"""Notes on silent, clipped and short clips."""

import numpy as np
import pytest

from asc_tf.dsp.levels import LevelMeter
from asc_tf.dsp.streaming import AudioStream

RATE = 8000


def measure(
    waveform: np.ndarray, size: int = 997, rate_out: int = RATE, **options
) -> LevelMeter:
    """The meter after a clip was read in blocks."""
    columns = waveform.reshape(len(waveform), -1).astype(np.float32)

    def read():
        for first in range(0, len(columns), size):
            yield columns[first : first + size]

    usual = {"segment_samples": 100, "short_clips": "pad"}
    stream = AudioStream(RATE, columns.shape[1], None, read)
    meter = LevelMeter(stream, rate_out, **usual | options)
    for _ in meter.stream.blocks():
        pass
    return meter


def tone(peak: float, samples: int = RATE) -> np.ndarray:
    return peak * np.sin(2 * np.pi * 441 * np.arange(samples) / RATE)


def count_clipped(waveform: np.ndarray) -> int:
    """The definition, sample by sample."""
    total = 0
    for column in waveform.reshape(len(waveform), -1).T.astype(np.float32):
        for signed in (column, -column):
            level = signed.max()
            at = [False, *(signed == level), False]
            if level >= 0.99:
                total += sum(
                    at[i] and (at[i - 1] or at[i + 1]) for i in range(1, len(at) - 1)
                )
    return total


@pytest.mark.parametrize("size", [1, 2, 3, 997, 10**6])
def test_clipped_samples_are_counted_alike_whatever_the_blocks(size):
    generator = np.random.default_rng(0)
    waveform = np.clip(generator.normal(0, 0.8, (3000, 2)), -1, 32767 / 32768)
    # The first half is clipped at a lower level, which does not count.
    waveform[:1000] = np.clip(waveform[:1000], -0.995, 0.995)
    expected = count_clipped(waveform)
    assert 0 < expected < 3000
    found = measure(waveform, size).clipped_share
    assert found == pytest.approx(expected / waveform.size, abs=1e-12)


@pytest.mark.parametrize("full_scale", [1.0, 32767 / 32768, 127 / 128])
def test_a_tone_that_is_cut_off_at_full_scale_is_clipped(full_scale):
    meter = measure(np.clip(tone(1.5), -1, full_scale))
    assert "clipped: " in meter.describe()
    # asin(1 / 1.5) is the phase at which the tone reaches full scale.
    expected = 1 - 2 * np.arcsin(1 / 1.5) / np.pi
    assert meter.clipped_share == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(
    "waveform",
    [tone(1.0), 0.5 * np.clip(tone(1.5), -1, 1), np.zeros(RATE)],
    ids=["a loud tone", "clipped, then made quieter", "silence"],
)
def test_round_peaks_and_quiet_ones_are_not_clipped(waveform):
    assert measure(waveform).clipped_share == 0
    assert "clipped" not in measure(waveform).describe()


def test_few_clipped_samples_are_no_note():
    waveform = tone(0.5)
    waveform[100 : 100 + RATE // 1000] = 1.0
    assert measure(waveform).clipped_share == pytest.approx(0.001)
    assert measure(waveform).note() == {}
    waveform[100 : 101 + RATE // 1000] = 1.0
    assert measure(waveform).note()["note"].startswith("clipped: 0.1% of the samples")


def test_a_clip_is_silent_if_every_sample_is_0():
    waveform = np.zeros(RATE)
    assert measure(waveform).describe().startswith("silent: every sample is 0")
    waveform[-1] = 2**-15
    assert measure(waveform).describe() == ""


@pytest.mark.parametrize(
    ("samples", "rate_out", "short_clips", "note"),
    [
        (100, RATE, "pad", ""),
        (99, RATE, "pad", "short: 0.0124 s, padded with zeros to a segment of "),
        (99, RATE, "loop", "short: 0.0124 s, repeated to a segment of 0.0125 s"),
        (49, 2 * RATE, "pad", "short: 0.006"),
        (50, 2 * RATE, "pad", ""),
    ],
)
def test_a_clip_shorter_than_a_segment_is_short(samples, rate_out, short_clips, note):
    waveform = tone(0.5, samples)
    meter = measure(waveform, rate_out=rate_out, short_clips=short_clips)
    found = meter.describe()
    assert found.startswith(note) if note else found == ""


def test_reading_a_clip_again_measures_it_anew():
    meter = measure(np.clip(tone(1.5), -1, 1))
    before = meter.describe(), meter.samples
    for _ in meter.stream.blocks():
        pass
    assert (meter.describe(), meter.samples) == before


def test_several_notes_are_joined():
    found = measure(np.ones(50)).describe()
    assert found.startswith("clipped: 100.0%") and "; short: " in found


@pytest.mark.parametrize(
    ("promised", "note"),
    [
        (0, ""),
        (RATE, ""),
        (3 * RATE // 2, "holds 1.00 s where its header says 1.50 s"),
        # The length in a header that a recorder could not complete.
        (2**31 // 4 - 1, ""),
    ],
)
def test_a_clip_shorter_than_its_header_says_is_cut_short(promised, note):
    waveform = tone(0.5)[:, np.newaxis]
    stream = AudioStream(RATE, 1, RATE, lambda: iter([waveform]), promised=promised)
    meter = LevelMeter(stream, RATE, segment_samples=100, short_clips="pad")
    for _ in meter.stream.blocks():
        pass
    assert meter.describe() == note
