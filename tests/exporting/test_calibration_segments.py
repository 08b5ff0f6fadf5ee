"""Representative data: segments drawn evenly over class and device; ranges of them."""

import dataclasses
from collections import Counter

import numpy as np
import pytest

from asc_tf.config import Audio, Evaluate
from asc_tf.core.errors import UserError
from asc_tf.dsp.preprocessing import Preprocessing
from asc_tf.exporting import export as export_module
from asc_tf.exporting.calibration import draw_calibration_segments, share_evenly
from asc_tf.exporting.conversion import ranges
from asc_tf.exporting.conversion.ranges import RangeMeter, choose_rows
from asc_tf.manifest import Clip
from asc_tf.pipeline.run import Run

SEGMENTS = Preprocessing.from_config(
    Audio(sample_rate=8000, segment_seconds=1.0), Evaluate()
)


def make_clips(counts: dict[tuple[str, str], int], seconds: float = 1.0) -> list[Clip]:
    """Clips of each label and device, sorted as a manifest is."""
    return [
        Clip(
            f"{label}{device}{number}.wav",
            label,
            "",
            device=device,
            sample_rate=16000,
            samples=round(16000 * seconds),
        )
        for (label, device), count in counts.items()
        for number in range(count)
    ]


def count_by_cell(clips: list[Clip], shares: dict[int, int]) -> dict:
    drawn: Counter = Counter()
    for position, share in shares.items():
        drawn[clips[position].label, clips[position].device] += share
    return dict(drawn)


def test_each_class_and_device_gives_as_many_segments_however_many_clips_it_has():
    counts = {("park", "a"): 90, ("park", "b"): 10, ("tram", "a"): 50, ("tram", "b"): 4}
    clips = make_clips(counts, seconds=3.0)
    shares = share_evenly(clips, 40, SEGMENTS)
    assert count_by_cell(clips, shares) == dict.fromkeys(counts, 10)
    assert list(shares) == sorted(shares)
    assert shares == share_evenly(clips, 40, SEGMENTS)
    # The clips of a cell are spread over it; where they are few, each gives several.
    first = [place for place in shares if place < 90]
    assert first[0] == 0 and first[-1] == 89
    assert sorted(shares[place] for place in shares if place >= 150) == [2, 2, 3, 3]


def test_a_class_with_too_few_segments_leaves_the_rest_to_the_others():
    counts = {("park", ""): 1, ("tram", ""): 30, ("bus", ""): 30}
    clips = make_clips(counts)
    drawn = count_by_cell(clips, share_evenly(clips, 21, SEGMENTS))
    assert drawn == {("park", ""): 1, ("tram", ""): 10, ("bus", ""): 10}
    assert sum(share_evenly(clips, 10**4, SEGMENTS).values()) == 61


def test_fewer_segments_than_classes_are_spread_over_the_classes():
    clips = make_clips({(label, ""): 5 for label in "abcdefgh"})
    shares = share_evenly(clips, 3, SEGMENTS)
    assert [clips[place].label for place in shares] == ["a", "e", "h"]


def test_a_clip_counts_the_segments_of_its_part_of_the_file():
    whole, part = make_clips({("park", ""): 2}, seconds=9.0)
    part = dataclasses.replace(part, start=2.0, duration=3.0)
    assert share_evenly([whole, part], 100, SEGMENTS) == {0: 9, 1: 3}
    # Both channels of a stereo clip and their mean are examples, if these are split.
    split = dataclasses.replace(SEGMENTS, channels="split")
    stereo = dataclasses.replace(part, channels=2)
    assert share_evenly([whole, stereo], 100, split) == {0: 9, 1: 9}


def test_the_calibration_of_a_run_has_its_segments_of_each_class(tiny_run):
    run = Run.open(tiny_run, {"export.calibration_segments": 12})
    (few, *rest) = export_module._draw_segments(run, "validation")
    assert few.shape == (12, 4000) and len(rest) == 1
    # The hiss is broad-band, hum and whistle are low and high tones.
    crossings = (np.diff(np.sign(few), axis=1) != 0).mean(axis=1)
    assert np.histogram(crossings, [0, 0.15, 0.7, 1.0])[0].tolist()[0] == 4
    again = draw_calibration_segments(run, 12)
    np.testing.assert_array_equal(again, few)


def test_only_what_the_formats_need_is_read(tiny_run, monkeypatch):
    read = []

    def draw(run, split, count):
        read.append((split, count))
        return [np.zeros(4, "f4")] * 2

    def draw_training(run, count):
        return np.stack(draw(run, "train", count))

    monkeypatch.setattr(export_module, "draw_segments", draw)
    monkeypatch.setattr(export_module, "draw_calibration_segments", draw_training)
    for formats, wanted in [
        (("saved_model", "float32", "float16", "dynamic"), [("validation", 2)]),
        (("float32", "int8"), [("train", 128), ("validation", 128)]),
        (("int8_qat",), [("train", 128)]),
        (("int8_qat", "int8_pruned"), [("train", 128), ("validation", 128)]),
    ]:
        changes = {"export.formats": formats, "export.calibration_segments": 128}
        run = Run.open(tiny_run, changes)
        segments = export_module._draw_segments(run, "validation")
        assert read == wanted and len(segments) == len(wanted), formats
        read.clear()


def test_a_range_holds_the_percentage_of_values_that_is_asked_for():
    values = np.random.default_rng(0).normal(3, 2, (400, 100, 5)).astype("f4")
    values[7, 3, 1] = 1000
    meter = RangeMeter()
    for row in values:
        meter.add(row)
    assert meter.maximum == 1000 and meter.minimum == values.min()
    low, high = meter.clip(99.0)
    wanted = np.percentile(values, [0.5, 99.5])
    # A bin is 2048 / 16384 wide.
    np.testing.assert_allclose([low, high], wanted, atol=0.13)
    assert meter.clip(100.0) == (meter.minimum, pytest.approx(1000))


def test_a_range_never_shrinks_to_nothing_and_refuses_what_is_not_finite():
    meter = RangeMeter()
    values = np.zeros((100, 300), "f4")
    values[3, 7] = 5
    meter.add(values)
    assert meter.clip(99.0) == (0.0, 5.0)
    values[0, 0] = np.nan
    with pytest.raises(UserError, match="activation of the network is not finite"):
        meter.add(values)


def test_a_large_activation_is_counted_in_part_and_its_extremes_in_full():
    values = np.zeros((1000, 300), "f4")
    values[:, 1] = np.linspace(0, 8, 1000)
    values[501, 2] = -9
    meter = RangeMeter()
    meter.add(values)
    assert (meter.minimum, meter.maximum) == (-9, 8)
    assert 40000 < meter._counts.sum() <= 65536 + 300
    assert meter.clip(99.9)[1] == pytest.approx(8, abs=1.3)


def test_a_part_of_an_activation_has_rows_of_every_mel_band():
    # 500 frames of 64 bands of 16 channels: a step of 8 would see 8 bands.
    band = np.broadcast_to(np.arange(64, dtype="f4")[:, None], (1, 500, 64, 16))
    counted = choose_rows(band.reshape(-1, 16))
    assert counted.size <= 65536 + 16
    found = np.bincount(counted[:, 0].astype(int), minlength=64)
    assert found.min() >= found.max() - 1 > 0
    frames = np.broadcast_to(np.arange(500)[:, None, None], (500, 64, 16))
    assert len(np.unique(choose_rows(frames.reshape(-1, 16)))) == 500
    meter = RangeMeter()
    meter.add(band)
    # A uniform distribution of 0 to 63: the median half.
    low, high = meter.clip(50.0)
    assert (low, high) == (pytest.approx(16, abs=0.5), pytest.approx(48, abs=0.5))


def test_without_a_percentile_nothing_is_counted(monkeypatch):
    monkeypatch.setattr(ranges, "list_body_tensors", lambda content: {3: "mean"})
    values = np.array([[-1.0, 5.0, 2.0]], "f4")
    monkeypatch.setattr(
        ranges, "_list_activations", lambda *given: [[("mean", values)]]
    )
    assert ranges.measure_ranges(b"", [], None) == {"min_max": {"mean": (-1, 5)}}
    both = ranges.measure_ranges(b"", [], 99.0)
    assert set(both) == {"min_max", "percentile"}
    monkeypatch.setattr(ranges.RangeMeter, "_widen", None)
    ranges.measure_ranges(b"", [], None)
