"""Reader of an open source: blocks of samples, and what interrupts them."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import NoReturn

import numpy as np

from asc_tf.core.errors import UserError
from asc_tf.dsp.levels import SILENCE
from asc_tf.dsp.streaming import check_block
from asc_tf.dsp.wav_reader import Format
from asc_tf.dsp.wav_stream import Piece, StreamDecoder
from asc_tf.edge.listening.connections import Connection
from asc_tf.edge.listening.sources import Source
from asc_tf.edge.listening.status import Status

WAIT_SECONDS = 0.5
"""Longest wait for bytes, after which signals and the watchdog have their turn."""

FIRST_SECONDS = 20.0
"""Seconds in which an opened source must give its first audio: a camera takes some."""

STALL_SECONDS = 10.0
"""Seconds without audio after which a connection counts as half-open and is lost."""

QUIET_SECONDS = 20.0
"""Seconds after which an alarm says that a pipe gives no audio, or a constant."""


MAX_DRIFT = 0.001
"""Largest share by which the clock of a sound card is taken to be fast."""


class Gap(Exception):  # noqa: N818
    """Audio is missing here; what follows is read on, but is no continuation."""


class SourceLost(Exception):  # noqa: N818
    """The source is gone and has to be opened again."""


class RecordingCutError(UserError):
    """A recording at a URL stopped before its end.

    Unlike a live stream it is not opened again, which would begin it anew.
    """


class Reader:
    """Reader of an open source.

    Args:
        source: The source.
        connection: The open source.
        status: State of the listener, whose clock counts.
        buffer_seconds: Audio that waits for the analysis, before it is dropped.
        find_interruption: Function that returns why the samples must begin anew, or an
            empty string.
        may_reopen: Function that says whether to open a microphone again that gives a
            constant.

    Attributes:
        clock: Clock of the listener.
        form: Format of the samples that follow.
        position: Samples of the stream until now, the missing ones included.
    """

    def __init__(
        self,
        source: Source,
        connection: Connection,
        status: Status,
        buffer_seconds: float,
        find_interruption: Callable[[], str] = str,
        may_reopen: Callable[[], bool] = lambda: True,
    ) -> None:
        self._source, self._connection, self._status = source, connection, status
        self.clock, self._buffer_seconds = status.clock, buffer_seconds
        self._find_interruption, self._may_reopen = find_interruption, may_reopen
        self._decoder = StreamDecoder(source.raw)
        self._pieces: deque[Piece] = deque()
        self._queued = 0
        self._gap = ""
        self._is_ended = False
        self._last_data = self.clock.read_monotonic()
        self._has_data = False
        self._overruns = 0
        self._constant_seconds = 0.0
        self._last_value: np.ndarray | None = None
        self.form: Format | None = None
        self.position = 0
        self._arrival = 0.0
        self._dated: tuple[float, float] | None = None

    def wait_for_samples(self) -> Format | None:
        """Wait until there are samples.

        Returns:
            Their format; None if the source has ended.

        Raises:
            SourceLost: If the source is gone.
            UserError: If it gives no audio, or a recording is cut off.
            Stopped: If the listener is to end.
        """
        before, self.form = self.form, None
        while not self._pieces and not self._is_ended:
            self._fetch()
        self._gap = ""
        if self._pieces:
            self.form = self._pieces[0][0]
            if before is not None:
                # Times in the stream go on where a new header changes the rate.
                ratio = self.form.sample_rate / before.sample_rate
                self.position = round(self.position * ratio)
                if self._dated:
                    self._dated = self._dated[0] * ratio, self._dated[1]
        return self.form

    def read_blocks(self) -> Iterator[np.ndarray]:
        """Read until the end of the source.

        Yields:
            Checked samples, float32 `[samples, channels]`.

        Raises:
            Gap: If audio is missing before the next samples, or they have another
                format. `wait_for_samples` and `read_blocks` may be called again.
            SourceLost: If the source is gone.
            UserError: If a recording is cut off.
            Stopped: If the listener is to end.
        """
        while True:
            while not self._pieces and not self._is_ended:
                self._fetch()
            if not self._pieces:
                return
            if text := self._gap or self._find_interruption():
                raise Gap(text)
            if self._pieces[0][0] != self.form:
                raise Gap("the sample rate or the channels changed")
            form, block = self._pieces.popleft()
            self._queued -= len(block)
            self.position += len(block)
            try:
                check_block(block)
            except UserError as error:
                self._status.counts.bad_seconds += len(block) / form.sample_rate
                raise Gap(str(error)) from error
            self._watch_constant(block, form.sample_rate)
            yield block

    @property
    def is_live(self) -> bool:
        """True if the source gives the sound of the present, and no recording."""
        return self._source.is_live and not self._connection.is_recording

    def date(self, position: float) -> float:
        """Compute the time of day of a sample in Unix seconds.

        It counts back from the arrival of the last bytes, so that neither the drift of
        the sound card's clock nor a jump of the time of day lasts. Where a pipe gives
        audio faster than real time, the times advance with the samples.

        Args:
            position: Sample of the stream, not before that of an earlier call.
        """
        assert self.form
        rate = self.form.sample_rate
        behind = self.position + self._queued - position
        # Time of a clock that does not jump.
        steady = self._last_data - behind / rate
        if self._dated:
            last_position, last = self._dated
            advance = (position - last_position) / rate
            steady = max(steady, last + (1 - MAX_DRIFT) * advance)
        self._dated = position, steady
        return self._arrival - self._last_data + steady

    def _fetch(self) -> None:
        """Wait for bytes, and decode all that are there."""
        self._status.tick()
        data = self._read(WAIT_SECONDS)
        self._count_overruns()
        if data is None:
            self._check_stall()
            return
        self._accept(data)
        if data:
            self.drain()

    def drain(self) -> None:
        """Take all bytes that wait in the pipe of a source that may drop audio.

        The listener calls it after each window: a pipe holds less than the buffer. An
        end or an error is left to the next `read_blocks`, which finds it again.
        """
        while self._source.may_drop:
            try:
                data = self._read(0)
            except SourceLost:
                return
            if not data:
                return
            # All bytes are decoded, so that a dropped block ends with a whole frame.
            self._accept(data)
            if self._drop_if_late():
                return

    def _read(self, seconds: float) -> bytes | None:
        try:
            return self._connection.read(seconds)
        except OSError as error:
            raise SourceLost(error.strerror or str(error)) from error

    def _accept(self, data: bytes) -> None:
        self._arrival = self.clock.read_unix()
        if not data:
            self._end()
            return
        self._last_data, self._has_data = self.clock.read_monotonic(), True
        self._status.clear_alarm("source")
        self._status.state = "listening"
        for piece in self._decoder.push(data):
            self._pieces.append(piece)
            self._queued += len(piece[1])

    def _end(self) -> None:
        if self._source.kind in ("microphone", "url"):
            if self._pieces:
                return  # the next read finds the end again
            reason = self._connection.explain_end()
            if not (self._connection.is_recording and self._connection.is_complete()):
                self._lose(reason)
        self._decoder.finish()
        self._is_ended = True

    def _lose(self, reason: str) -> NoReturn:
        """Raise SourceLost, or RecordingCutError for a recording."""
        if self._connection.is_recording:
            raise RecordingCutError(f"the recording is cut off: {reason}")
        raise SourceLost(reason)

    def _check_stall(self) -> None:
        idle = self.clock.read_monotonic() - self._last_data
        if self._source.kind in ("microphone", "url"):
            limit = STALL_SECONDS if self._has_data else FIRST_SECONDS
            if idle >= limit:
                self._lose(f"no audio for {limit:.0f} s")
        elif idle >= QUIET_SECONDS:
            self._status.raise_alarm("source", f"no audio for {QUIET_SECONDS:.0f} s")

    def _drop_if_late(self) -> bool:
        """Drop what waits if it is too much: the listener goes on with the present."""
        rate = self._pieces[-1][0].sample_rate if self._pieces else 1
        if self._queued <= self._buffer_seconds * rate:
            return False
        seconds = self._queued / rate
        self._status.counts.dropped_seconds += seconds
        self.position += self._queued
        self._pieces.clear()
        self._queued = 0
        self._gap = f"the analysis is late: {seconds:.1f} s were dropped"
        return True

    def _count_overruns(self) -> None:
        new = self._connection.overruns - self._overruns
        if new:
            self._overruns += new
            self._status.counts.overruns += new
            self._gap = f"the recorder lost audio {new} times"

    def _watch_constant(self, block: np.ndarray, rate: int) -> None:
        """Raise an alarm if all samples have been the same for long.

        Raises:
            SourceLost: If it is a microphone: opening it again may help.
        """
        first = block[0]
        is_same = self._last_value is None or bool((first == self._last_value).all())
        self._last_value = block[-1].copy()
        if not is_same or not bool((block == first).all()):
            self._constant_seconds = 0.0
            self._status.clear_alarm("sound")
            return
        self._constant_seconds += len(block) / rate
        if self._constant_seconds >= QUIET_SECONDS and self.is_live:
            text = "stuck: every sample has the same value"
            text = text if first.any() else SILENCE.partition(";")[0]
            self._status.raise_alarm("sound", f"{text} for {QUIET_SECONDS:.0f} s")
            if self._source.kind == "microphone" and self._may_reopen():
                raise SourceLost("it gives a constant")
