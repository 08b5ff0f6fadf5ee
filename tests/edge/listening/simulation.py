"""A world for listeners in which time and faults are scripted."""

import random
from collections import deque
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np

from asc_tf.core.errors import UserError
from asc_tf.dsp.wav_reader import Format
from asc_tf.edge.listening.clock import Clock
from asc_tf.edge.listening.decisions import Decider, DecisionSettings
from asc_tf.edge.listening.listener import Listener, Settings
from asc_tf.edge.listening.sources import Source
from asc_tf.edge.listening.status import Status
from asc_tf.edge.tflite_metadata import Metadata

RATE = 1000
LABELS = ("dog", "rain", "speech")
NOON = datetime(2026, 3, 28, 12, tzinfo=UTC).timestamp()


class FakeClock(Clock):
    """Clock that moves only when somebody waits."""

    def __init__(self, unix=NOON):
        self.now, self.unix_offset, self.zone = 0.0, unix, UTC

    def read_monotonic(self):
        return self.now

    def read_unix(self):
        return self.unix_offset + self.now

    def sleep(self, seconds):
        self.now += seconds

    def to_local(self, unix):
        return datetime.fromtimestamp(unix, self.zone)


def tone(seconds, level=0.5):
    """PCM16 of changing samples whose mean level is that of a label."""
    values = np.tile([level, level * 0.9], int(seconds * RATE / 2))
    return (values * 32767).astype("<i2").tobytes()


RECORDING, COMPLETE = "a recording", "the recording is complete"


class FakeConnection:
    """Connection that plays a script.

    Each item is bytes that arrive after their own duration, a number of seconds without
    bytes, a function to call when the listener waits for bytes, or a text: the reason
    for which the source is lost. Where the first item is `RECORDING`, it is a recording
    that ends with `COMPLETE`.
    """

    overruns, closed_at, _reason = 0, None, ""

    def __init__(self, clock, script, width=2):
        self._recorded = script[:1] == [RECORDING]
        script = script[self._recorded :]
        self._clock, self._script, self._width = clock, deque(script), width
        self._due = None

    def read(self, seconds):
        clock = self._clock
        while self._script and callable(self._script[0]):
            if not seconds:
                return None
            self._script.popleft()(self)
        if not self._script or isinstance(self._script[0], str):
            self._reason = self._script[0] if self._script else "end"
            return b""
        item = self._script[0]
        if self._due is None:
            quiet = not isinstance(item, bytes)
            duration = item if quiet else len(item) / self._width / RATE
            self._due = clock.now + duration
        if clock.now + seconds < self._due:
            clock.now += seconds
            return None
        clock.now = max(clock.now, self._due)
        self._due = None
        self._script.popleft()
        return item if isinstance(item, bytes) else self.read(0)

    def explain_end(self):
        return self._reason

    @property
    def is_recording(self):
        return bool(self._recorded)

    def is_complete(self):
        return self._reason == COMPLETE

    def close(self):
        self.closed_at = self._clock.now


def predict(segments):
    """Probabilities by the mean level: below 0.3 dog, below 0.6 rain, else speech."""
    rows = []
    for segment in segments:
        level = float(np.abs(segment).mean())
        best = 0 if level < 0.3 else 1 if level < 0.6 else 2
        row = np.full(3, 0.1, np.float32)
        row[best] = 0.8
        rows.append(row)
    return np.stack(rows)


class FakeModelFile:
    def __init__(self, labels=LABELS, length=RATE, hop=RATE):
        metadata = Metadata(labels, RATE, length, hop, "int8", 1, 8, "0" * 64)
        self.model = SimpleNamespace(
            metadata=metadata, labels=labels, predict_segments=predict
        )
        self.new = ""

    def explain_new(self):
        return self.new

    def can_continue(self):
        return False

    def take_new(self):
        is_new, self.new = bool(self.new), ""
        return is_new


class ImmediateTask:
    """Call in the background that has ended at once."""

    def __init__(self, run):
        self.result = run

    def done(self):
        return True


class SlowTask:
    """Call in the background that ends after some time of the clock.

    Args:
        clock: The clock.
        seconds: Duration of the call.
        run: The function.
    """

    def __init__(self, clock, seconds, run):
        self._clock, self._end, self._run = clock, clock.now + seconds, run

    def done(self):
        return self._clock.now >= self._end

    def result(self):
        assert self.done()
        return self._run()


class Recorder:
    """Output that keeps everything, with the time of its arrival."""

    def __init__(self, clock):
        self._clock = clock
        self.reports, self.times, self.interruptions = [], [], 0
        self.begun, self.closed = 0, False

    def begin(self, metadata):
        self.begun += 1

    def write(self, report):
        self.reports.append(report)
        self.times.append(self._clock.now)

    def interrupt(self):
        self.interruptions += 1

    def close(self):
        self.closed = True

    @property
    def rows(self):
        return [report.row for report in self.reports if report.row]


class World:
    """A listener with scripted connections.

    Args:
        scripts: Script of each connection in turn, or a function that makes it; an
            exception is raised instead.
        kind: Kind of the source.
        options: `settings`, `decisions`, `outputs` (function of the status), `length`
            and `hop` of the windows, `speed` (audio that arrives, compared with real
            time).
    """

    def __init__(self, scripts, kind="microphone", raw=True, **options):
        self.clock = options.get("clock") or FakeClock()
        self.said = []
        self.status = Status(self.clock, self.said.append, options.get("status_file"))
        self.connections = []
        self._scripts = iter(scripts)
        self._speed = options.get("speed", 1)
        form = Format(options.get("channels", 1), RATE, 2, False)
        self.source = Source("mic", kind, form if raw else None, self._open)
        self.recorder = Recorder(self.clock)
        self.model_file = FakeModelFile(
            length=options.get("length", RATE), hop=options.get("hop", RATE)
        )
        settings = options.get("settings", Settings())
        decisions = options.get("decisions", DecisionSettings())
        outputs = options.get("outputs", lambda status: [])
        self.listener = Listener(
            self.source,
            self.model_file,
            lambda labels: Decider(labels, decisions, settings.private),
            [self.recorder, *outputs(self.status)],
            settings,
            self.status,
            random.Random(7),
        )

    def _open(self):
        script = next(self._scripts, None)
        if script is None:
            self.status.stop()
            script = [1000.0]
        if callable(script):
            script = script()
        if isinstance(script, Exception):
            raise script
        self.connections.append(FakeConnection(self.clock, script, 2 * self._speed))
        return self.connections[-1]

    def run(self):
        self.listener.run()
        return self

    @property
    def rows(self):
        return self.recorder.rows


def blocks(seconds, level=0.5, size=0.1):
    """Script of audio that arrives in pieces of `size` seconds."""
    return [tone(size, level)] * round(seconds / size)


def missing():
    return UserError("no microphone 'USB'; plugged in: none")
