"""Faults of sources, clocks and analysis, and how soon the listener is back."""

import errno
import io
import json
import random
import sys
from datetime import timedelta, timezone

import numpy as np
import pytest
from simulation import (
    COMPLETE,
    NOON,
    RATE,
    RECORDING,
    FakeClock,
    FakeConnection,
    World,
    blocks,
    missing,
    predict,
    tone,
)
from wavs import fmt, part, riff

from asc_tf.core.errors import UserError
from asc_tf.edge.listening.clock import Backoff
from asc_tf.edge.listening.connections import MissingProgramError
from asc_tf.edge.listening.listener import Settings
from asc_tf.edge.listening.outputs import Printer
from asc_tf.edge.listening.reader import Reader


def longest_silence(world, since=0.0):
    """Longest time between two windows that follow each other, in seconds."""
    times = [since, *world.recorder.times]
    return max(np.diff(times))


def test_a_microphone_that_is_missing_at_boot_is_found_when_it_is_plugged_in():
    world = World([*[missing()] * 30, blocks(5)]).run()
    assert len(world.rows) == 5
    assert world.status.counts.losses == 31  # the last one is the end
    alarms = [text for text in world.said if text.startswith("ALARM")]
    assert alarms == [
        "ALARM: source: mic: no microphone 'USB'; plugged in: none",
        "ALARM: source: mic: end",
    ]
    assert "source: works again" in world.said


def test_the_first_window_after_a_loss_comes_within_a_minute_of_the_return():
    """The microphone is back at a time that the pauses do not know."""
    for seed in range(20):
        clock, back = FakeClock(), 100.0 + 17 * seed
        world = World([], clock=clock)

        def open_source(world=world, back=back):
            if world.clock.now < back:
                raise missing()
            return connection(world)

        def connection(world):
            end = lambda c: world.status.stop()  # noqa: E731
            return FakeConnection(world.clock, [*blocks(3), end])

        object.__setattr__(world.source, "open", open_source)
        world.run()
        assert 0 < world.recorder.times[0] - back < 60


def test_a_microphone_that_vanishes_begins_a_new_stream_without_the_cut_window():
    world = World([[*blocks(2.5), "arecord ended: No such device"], blocks(2)]).run()
    assert [(row["stream"], row["start"]) for row in world.rows] == [
        *((1, 0.0), (1, 1.0)),
        *((2, 0.0), (2, 1.0)),
    ]
    assert all(each.closed_at for each in world.connections)
    assert any("No such device" in text for text in world.said)
    assert [row["window"] for row in world.rows] == [0, 1, 2, 3]


def test_a_half_open_connection_is_given_up_after_ten_seconds():
    world = World([[*blocks(2), 1e6], blocks(3)], kind="url").run()
    assert len(world.rows) == 5
    assert any("no audio for 10 s" in text for text in world.said)
    assert longest_silence(world) < 60


def test_a_camera_that_never_answers_is_given_up_after_twenty_seconds():
    world = World([[1e6], blocks(1)], kind="url").run()
    assert world.recorder.times[0] < 60
    assert any("no audio for 20 s" in text for text in world.said)


@pytest.mark.parametrize(("level", "text"), [(0.0, "silent"), (0.25, "stuck")])
def test_a_constant_raises_an_alarm_within_half_a_minute(level, text):
    constant = (np.full(RATE // 10, level) * 32768).astype("<i2").tobytes()
    alarms = []

    def note(connection):
        alarms.append(dict(world.status.alarms))

    script = [
        *[constant] * 190,
        note,
        *[constant] * 109,
        note,
        *blocks(1),
        tone(0.1),
        note,
    ]
    world = World([script], kind="stdin")
    world.run()
    before, during, after = alarms
    assert before == {} and after == {}
    assert during["sound"].startswith(text)
    assert len(world.recorder.reports) == 31


def test_a_microphone_that_is_stuck_is_opened_again():
    constant = bytes(2 * RATE // 10)
    world = World([[*blocks(1), *[constant] * 1000], blocks(3)]).run()
    assert world.status.counts.streams == 2
    assert world.rows[-1]["stream"] == 2
    assert world.recorder.times[-1] < 60
    assert "sound" not in world.status.alarms


def test_standard_input_without_audio_raises_an_alarm_and_is_not_given_up():
    alarms = []

    def note(connection):
        alarms.append(dict(world.status.alarms))

    world = World([[*blocks(1), 25.0, note, *blocks(1), note]], kind="stdin")
    world.run()
    assert alarms == [{"source": "no audio for 20 s"}, {}]
    assert len(world.rows) == 2


def test_pauses_grow_to_half_a_minute_and_differ_between_devices():
    pauses = {}
    for seed in (1, 2):
        backoff = Backoff(random.Random(seed))
        pauses[seed] = [backoff.choose_pause() for _ in range(50)]
        for number, pause in enumerate(pauses[seed]):
            longest = min(2**number, 30)
            assert longest / 2 <= pause <= longest
    assert pauses[1] != pauses[2]


def test_a_source_that_ends_at_once_again_and_again_is_not_opened_in_a_storm():
    world = World([[*blocks(0.2), "ended"]] * 30, kind="url").run()
    assert world.clock.now > 30 * 10
    # A source that was steady is opened soon.
    world = World([[*blocks(40), "ended"]] * 3, kind="url").run()
    assert world.clock.now < 3 * 41.5


def test_audio_is_dropped_and_counted_when_the_analysis_is_late():
    """One window in ten takes 20 s, in which 20 s of audio arrive."""
    world = World([], settings=Settings(buffer_seconds=5.0))
    arrived = {"samples": 0}

    class Flood:
        overruns, is_recording = 0, False

        def read(self, seconds):
            due = arrived["samples"] / RATE + 0.1
            if due > world.clock.now + seconds:
                world.clock.now += seconds
                return None
            world.clock.now = max(world.clock.now, due)
            if world.clock.now > 200:
                world.status.stop()
            arrived["samples"] += RATE // 10
            return tone(0.1)

        def explain_end(self):
            return ""

        def close(self):
            pass

    def predict_slowly(segments):
        if world.status.counts.windows % 10 == 9:
            world.clock.now += 20
        return predict(segments)

    world.model_file.model.predict_segments = predict_slowly
    object.__setattr__(world.source, "open", Flood)
    world.run()
    counts = world.status.counts
    assert counts.gaps >= 5
    heard = world.rows[-1]["end"]
    lines = [text for text in world.said if "the analysis is late" in text]
    assert 2 <= len(lines) <= 4  # in 200 s: once a minute
    # Times in the stream include what was dropped.
    assert heard == pytest.approx(arrived["samples"] / RATE, abs=26)
    kept = len(world.rows)
    assert counts.dropped_seconds + kept == pytest.approx(heard, abs=counts.gaps + 2)
    # No window contains samples from both sides of a gap.
    starts = [row["start"] for row in world.rows]
    assert min(np.diff(starts)) >= 1 - 1e-9


def test_standard_input_is_never_dropped_however_late_the_analysis_is():
    world = World([blocks(100)], kind="stdin")

    def predict_slowly(segments):
        world.clock.now += 30
        return predict(segments)

    world.model_file.model.predict_segments = predict_slowly
    world.run()
    assert [row["start"] for row in world.rows] == list(range(100))
    assert world.status.counts.dropped_seconds == 0


def test_a_recorder_that_says_that_it_lost_audio_begins_a_new_stretch():
    def lose(connection):
        connection.overruns += 1

    world = World([[*blocks(1.5), lose, *blocks(2)]]).run()
    assert world.status.counts.overruns == 1
    assert world.status.counts.gaps == 1
    assert len(world.rows) >= 2


def test_the_time_of_a_window_follows_the_clock_and_never_drifts():
    clock = FakeClock(unix=0.0)  # 1970

    def set_clock(connection):
        clock.unix_offset = NOON - clock.now

    def change_zone(connection):
        clock.zone = timezone(timedelta(hours=2))

    world = World(
        [[*blocks(2), set_clock, *blocks(2), change_zone, *blocks(1)]], clock=clock
    )
    world.run()
    times = [row["time"] for row in world.rows]
    assert times[:2] == [None, None]
    assert times[2:] == [
        "2026-03-28T12:00:00.000+00:00",
        "2026-03-28T12:00:01.000+00:00",
        "2026-03-28T14:00:02.000+02:00",
    ]


def test_a_sound_card_whose_clock_is_slow_does_not_shift_the_times():
    """Pieces of 0.1 s that come every 0.11 s: the shift would be 10 s in the end."""
    script = [item for _ in range(1000) for item in (0.01, tone(0.1))]
    world = World([script]).run()
    starts = np.array([report.window.unix - NOON for report in world.recorder.reports])
    assert np.abs(world.recorder.times - starts - 1).max() < 0.12


def test_times_advance_with_the_samples_where_a_pipe_is_faster_than_real_time():
    world = World([blocks(42, size=0.7)], kind="stdin", speed=100).run()
    times = [report.window.unix for report in world.recorder.reports]
    assert len(times) == 42
    assert world.clock.now < 1
    np.testing.assert_allclose(np.diff(times), 1.0, atol=0.002)


def test_a_program_that_is_missing_ends_the_listener_at_once():
    with pytest.raises(UserError, match="arecord is missing"):
        World([MissingProgramError("the program arecord is missing")]).run()


def test_a_file_that_is_no_audio_ends_the_listener_with_its_name():
    with pytest.raises(UserError, match="mic: not a WAV file"):
        World([[b"garbage, not audio"]], kind="file", raw=False).run()


def test_garbage_in_a_fifo_does_not_end_the_listener():
    good = riff(fmt(rate=RATE), part(b"data", tone(2)))
    world = World([[b"garbage, not audio"], [good]], kind="fifo", raw=False).run()
    assert len(world.rows) == 2
    assert any("not a WAV file" in text for text in world.said)


def test_a_new_header_may_change_the_rate_and_time_goes_on():
    first = riff(fmt(rate=RATE), part(b"data", tone(3.5)))
    second = riff(fmt(rate=2 * RATE), part(b"data", tone(4)))
    world = World([[first, second]], kind="stdin", raw=False).run()
    starts = [row["start"] for row in world.rows]
    assert starts == [0.0, 1.0, 2.0, 3.5, 4.5]
    assert world.status.counts.gaps == 1


def test_samples_that_are_not_finite_are_left_out_and_counted():
    values = np.tile(np.float32([0.5, 0.45]), 5 * RATE // 2)
    values[1234] = np.nan
    start = riff(fmt(tag=3, rate=RATE, bits=32), part(b"data", b"", 4 * len(values)))
    pieces = [values[i : i + 100].tobytes() for i in range(0, len(values), 100)]
    world = World([[start, *pieces]], kind="stdin", raw=False).run()
    assert world.status.counts.bad_seconds == pytest.approx(0.1)
    assert [row["start"] for row in world.rows][:2] == [0.0, 1.3]
    assert all(report.window.error == "" for report in world.recorder.reports)


def test_a_model_that_fails_on_a_window_goes_on_with_the_next():
    world = World([blocks(4)])

    def fail_once(segments):
        if world.status.counts.windows == 1:
            raise UserError("the model gave probabilities that are not finite")
        return predict(segments)

    world.model_file.model.predict_segments = fail_once
    world.run()
    assert [row["window"] for row in world.rows] == [0, 2, 3]
    assert world.status.counts.failed == 1
    assert "analysis" not in world.status.alarms


def test_limits_end_the_listener():
    world = World([blocks(50)], settings=Settings(max_windows=7)).run()
    assert len(world.rows) == 7 and world.recorder.closed
    world = World([blocks(50)])
    world.status.stop_after(10.25)
    assert len(world.run().rows) == 10


def test_a_year_of_faults():
    """A fault a day; each time the source is opened again within a minute."""
    generator = random.Random(1)
    clock, day = FakeClock(), 86_400.0

    def jump(connection):
        clock.unix_offset += generator.choice([-NOON, NOON, -3600, 86_400, 1e6])

    faults = [
        lambda: [*blocks(2, size=1), "arecord ended: No such device"],
        lambda: [*blocks(3, size=1), 1e9],
        lambda: [1e9],
        lambda: [*blocks(1, size=1), *[bytes(2 * RATE)] * 40],
        missing,
        lambda: [*blocks(1, size=1), jump],
        lambda: OSError(5, "Input/output error"),
    ]
    pauses = []

    def listen_for_a_day():
        pauses.append(clock.now - world.connections[-1].closed_at)
        # The night is skipped.
        clock.now += generator.uniform(0, 2 * day)
        return blocks(32, size=4)

    scripts = [blocks(4)]
    for _ in range(365):
        scripts += [generator.choice(faults)(), listen_for_a_day]
    length = 4 * RATE
    world = World(scripts, clock=clock, length=length, hop=length)
    world.run()
    assert clock.now > 330 * day
    assert len(pauses) == 365 and max(pauses) < 60
    counts = world.status.counts
    assert counts.losses >= 2 * 365
    assert sum(row["end"] == 32 for row in world.rows) == 365
    assert counts.failed == 0


class FullStdout(io.StringIO):
    """Standard output whose disk is full for a while."""

    is_full = False

    def flush(self):
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")


def test_lines_on_standard_output_that_fit_no_full_disk_are_counted(monkeypatch):
    stdout, alarms = FullStdout(), []
    monkeypatch.setattr(sys, "stdout", stdout)

    def fill(connection):
        stdout.is_full = True

    def free(connection):
        alarms.append(dict(world.status.alarms))
        stdout.is_full = False

    script = [*blocks(2), fill, *blocks(3), free, *blocks(2)]
    outputs = lambda status: [Printer(True, 1, status)]  # noqa: E731
    world = World([script], outputs=outputs)
    world.run()
    assert alarms == [{"stdout": "the disk is full"}]
    assert "stdout" not in world.status.alarms
    assert 2 <= world.status.describe()["stdout"]["lost"] <= 3
    assert world.status.counts.losses == 1  # the end of the script


def test_a_reader_that_left_ends_the_listener_also_with_a_microphone(monkeypatch):
    class Closed(io.StringIO):
        def flush(self):
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(sys, "stdout", Closed())
    outputs = lambda status: [Printer(False, 1, status)]  # noqa: E731
    with pytest.raises(BrokenPipeError):
        World([blocks(2), blocks(2)], outputs=outputs).run()


def test_an_error_of_the_device_while_it_is_read_is_a_loss():
    def fail(connection):
        raise OSError(5, "Input/output error")

    world = World([[*blocks(1), fail], blocks(2)]).run()
    assert world.status.counts.streams == 2
    assert any("Input/output error" in text for text in world.said)


class FloodedConnection:
    """Connection of three channels, in which `flood` blocks wait after the first."""

    overruns, arrived, flood = 0, 0, 0
    is_recording = False

    def read(self, seconds):
        if not seconds:
            if not self.flood:
                return None
            self.flood -= 1
        count = self.arrived // 2 + np.arange(2**15)
        self.arrived += 2**16
        return (count % 3 * 1000 + 1).astype("<i2").tobytes()


def test_channels_stay_in_their_places_when_audio_is_dropped():
    """65,536 bytes are no whole number of frames of three channels."""
    world = World([], kind="url", channels=3)
    connection = FloodedConnection()
    reader = Reader(world.source, connection, world.status, 12.0)
    for _ in range(3):
        connection.flood = 2
        assert reader.wait_for_samples().channels == 3
        block = next(reader.read_blocks())
        assert (np.round(block * 32768) == [1, 1001, 2001]).all()
        assert reader.position == connection.arrived // 6
    assert world.status.counts.dropped_seconds > 30


def test_audio_waits_in_the_buffer_while_the_windows_of_one_block_are_classified():
    """The pipe holds 2 s of audio, the buffer 60 s, and a block has many windows."""
    world = World([], settings=Settings(buffer_seconds=60.0, max_windows=20))

    class Pipe:
        overruns, taken, lost = 0, 10 * RATE, 0
        is_recording = False

        def read(self, seconds):
            if self.taken == 10 * RATE:
                self.taken += RATE
                return tone(11)
            world.clock.now = max(world.clock.now, seconds and self.taken / RATE)
            waiting = int(world.clock.now * RATE) - self.taken
            if waiting <= 0:
                return None
            self.lost += max(waiting - 2 * RATE, 0)
            self.taken += waiting
            return tone(waiting / RATE)

        def explain_end(self):
            return ""

        def close(self):
            pass

    def predict_slowly(segments):
        world.clock.now += 1.5
        return predict(segments)

    pipe = Pipe()
    world.model_file.model.predict_segments = predict_slowly
    object.__setattr__(world.source, "open", lambda: pipe)
    world.clock.now = 11.0
    world.run()
    assert len(world.rows) == 20
    assert pipe.lost == 0
    assert world.status.counts.dropped_seconds == 0


def test_a_microphone_with_a_noise_gate_is_opened_again_once_an_hour():
    silence = [bytes(2 * RATE * 10)] * 3
    alarms = []

    def note(connection):
        alarms.append("sound" in world.status.alarms)

    script = [*silence, note, *blocks(1)] * 200
    world = World([blocks(1) + silence, script, blocks(1), blocks(1)])
    world.run()
    # After the first one, an hour passes until the next: 116 silences of 31 s.
    assert 110 < len(alarms) < 120 and all(alarms)
    assert world.status.counts.losses <= 4


def test_a_window_in_which_a_private_label_is_probable_is_private():
    probabilities = iter(
        np.float32(
            [
                [0.51, 0.0, 0.49],  # the second, not the first
                [0.81, 0.0, 0.19],
                [0.80, 0.0, 0.20],
                [0.35, 0.33, 0.32],
            ]
        )
    )
    settings = Settings(private=("speech",))
    world = World([blocks(4)], settings=settings)
    model = world.model_file.model
    model.predict_segments = lambda segments: next(probabilities)[None]
    world.run()
    assert [report.is_private for report in world.recorder.reports].count(True) == 3
    (row,) = world.rows
    assert row["window"] == 0 and list(row["probabilities"]) == ["dog", "rain"]
    assert world.recorder.reports[1].window.probabilities.shape == (2,)
    assert world.status.last_window == row["time"]
    settings = Settings(private=("speech",), private_threshold=0.9)
    world = World([blocks(1)], settings=settings)
    row = np.float32([[0.51, 0.0, 0.49]])
    world.model_file.model.predict_segments = lambda segments: row
    assert len(world.run().rows) == 1


def test_a_window_whose_model_failed_is_private_for_audio():
    for private in ((), ("speech",)):
        world = World([blocks(1)], settings=Settings(private=private))

        def fail(segments):
            raise UserError("not finite")

        world.model_file.model.predict_segments = fail
        world.run()
        (report,) = world.recorder.reports
        assert report.row is None and report.is_private == bool(private)
        assert world.status.counts.windows == world.status.counts.failed == 1
        assert world.status.has_losses()


def test_a_recording_at_a_url_ends_the_listener_when_it_ends():
    script = [RECORDING, *[bytes(2 * RATE)] * 25, *blocks(2.5), COMPLETE]
    world = World([script, blocks(5)], kind="url").run()
    assert [(row["start"], row["end"]) for row in world.rows[-3:]] == [
        *((25.0, 26.0), (26.0, 27.0)),
        (26.5, 27.5),  # a file's last samples are classified, too
    ]
    assert (len(world.connections), world.status.counts.losses) == (1, 0)
    assert not world.status.has_losses()
    # Neither the time of day nor an alarm of silence makes sense in a recording.
    assert {row["time"] for row in world.rows} == {None}
    assert not any(text.startswith("ALARM") for text in world.said)


@pytest.mark.parametrize(
    ("end", "reason"), [("ffmpeg ended", "ffmpeg ended"), (1e6, "no audio for 10 s")]
)
def test_a_recording_that_is_cut_off_is_named_and_not_begun_anew(end, reason):
    world = World([[RECORDING, *blocks(2.5), end], blocks(5)], kind="url")
    with pytest.raises(UserError, match=f"mic: the recording is cut off: {reason}"):
        world.run()
    assert len(world.rows) == 2 and len(world.connections) == 1


def test_no_number_or_count_tells_of_private_windows(tmp_path):
    """Of nine windows the last of each three is private."""
    script = [item for _ in range(3) for item in (*blocks(2), *blocks(1, 0.9))]
    path = tmp_path / "status.json"
    settings = Settings(private=("speech",), max_windows=5)
    world = World([script], settings=settings, status_file=path).run()
    reports = world.recorder.reports
    assert [report.is_private for report in reports].count(True) == 2
    assert [row["window"] for row in world.rows] == [0, 1, 2, 3, 4]
    assert world.status.summarize() == "ended, 5 windows"
    public = World([blocks(5)], settings=Settings(max_windows=5)).run()
    hidden = {"time", "last_window", "uptime_seconds"}
    found, expected = json.loads(path.read_text()), public.status.describe()
    assert found.keys() == expected.keys() and "private" not in found
    assert all(found[key] == expected[key] for key in found.keys() - hidden)
