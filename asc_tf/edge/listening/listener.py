"""The listener: from a source through the model to the outputs, until it is stopped."""

import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from asc_tf.core.errors import UserError
from asc_tf.dsp.recordings import choose_hop
from asc_tf.edge.listening.analysis import Window, classify_windows
from asc_tf.edge.listening.clock import Backoff
from asc_tf.edge.listening.connections import Connection, MissingProgramError
from asc_tf.edge.listening.decisions import Decider
from asc_tf.edge.listening.model_file import ModelFile
from asc_tf.edge.listening.outputs import Output, Report, make_row
from asc_tf.edge.listening.reader import (
    Gap,
    Reader,
    RecordingCutError,
    SourceLost,
)
from asc_tf.edge.listening.sources import Source
from asc_tf.edge.listening.status import Status, Stopped

STEADY_SECONDS = 30.0
"""Seconds after which a source counts as recovered: the pauses begin anew."""


GAP_LINE_SECONDS = 60.0
"""Seconds between two lines on gaps."""

REOPENING_SECONDS = 3600.0
"""Seconds between two openings of a microphone because it gives a constant: one with a
noise gate does so in every quiet room."""


@dataclass(frozen=True)
class Settings:
    """Settings of a listener.

    Attributes:
        hop_seconds: Seconds between the starts of neighbouring windows; 0: as the model
            has them.
        buffer_seconds: Audio that waits for the analysis, before it is dropped.
        max_windows: Windows after which the listener ends, without private ones; None:
            never.
        private: Labels whose windows are neither kept nor reported.
        private_threshold: Probability of a private label from which a window is
            private, whichever label is the most probable one.
    """

    hop_seconds: float = 0.0
    buffer_seconds: float = 5.0
    max_windows: int | None = None
    private: Sequence[str] = ()
    private_threshold: float = 0.2


class Listener:
    """Listener on one source."""

    def __init__(
        self,
        source: Source,
        model_file: ModelFile,
        make_decider: Callable[[Sequence[str]], Decider],
        outputs: Sequence[Output],
        settings: Settings,
        status: Status,
        generator: random.Random,
    ) -> None:
        self._source, self._model_file = source, model_file
        self._make_decider, self._outputs = make_decider, outputs
        self._settings, self._status = settings, status
        self._backoff = Backoff(generator)
        self._next_gap_line = self._next_reopening = 0.0
        self._decider = make_decider(model_file.model.labels)

    def run(self) -> None:
        """Listen until the source ends, a limit is reached or `Status.stop` is called.

        Raises:
            UserError: If a file or standard input is no audio, a recording is cut
            off, or a program is missing.
        """
        self._status.announce("READY=1")
        self._begin_model()
        try:
            while self._listen_once():
                pass
        except Stopped:
            pass
        finally:
            self._status.announce("STOPPING=1")
            self._status.state = "ended"
            for output in self._outputs:
                output.close()
            self._status.publish()

    def _listen_once(self) -> bool:
        """Open the source and listen to it; return whether to open it again."""
        clock = self._status.clock
        opened = clock.read_monotonic()
        self._status.state = "waiting"
        try:
            with contextlib.closing(self._open()) as connection:
                self._listen_to(connection)
        except MissingProgramError:
            raise
        except RecordingCutError as error:
            raise UserError(f"{self._source.name}: {error}") from error
        except (SourceLost, UserError) as error:
            if not self._source.is_reopened:
                raise UserError(f"{self._source.name}: {error}") from error
            self._lose(str(error), clock.read_monotonic() - opened)
            return True
        # A URL that ended without a loss was a recording; a FIFO gets a new writer.
        return self._source.kind == "fifo"

    def _open(self) -> Connection:
        # Errors of the system have other reasons where outputs raise them.
        try:
            return self._source.open()
        except OSError as error:
            raise SourceLost(error.strerror or str(error)) from error

    def _lose(self, reason: str, seconds: float) -> None:
        """Note that the source is lost, and wait."""
        self._status.counts.losses += 1
        self._status.state = "waiting"
        self._status.raise_alarm("source", f"{self._source.name}: {reason}")
        self._interrupt()
        if seconds >= STEADY_SECONDS:
            self._backoff.reset()
        self._status.wait(self._backoff.choose_pause())

    def _listen_to(self, connection: Connection) -> None:
        reader = Reader(
            self._source,
            connection,
            self._status,
            self._settings.buffer_seconds,
            self._model_file.explain_new,
            self._may_reopen,
        )
        is_first = True
        while reader.wait_for_samples() is not None:
            if is_first:
                self._status.counts.streams += 1
                is_first = False
            if self._model_file.take_new():
                self._begin_model()
            preprocessing = choose_hop(
                self._model_file.model.metadata.preprocessing,
                self._settings.hop_seconds,
            )
            try:
                for window in classify_windows(reader, preprocessing, self._predict):
                    self._handle(window, reader.is_live)
                    reader.drain()
                    if self._model_file.can_continue():
                        self._model_file.take_new()
            except Gap as gap:
                self._note_gap(gap)
            self._interrupt()

    def _may_reopen(self) -> bool:
        now = self._status.clock.read_monotonic()
        if now < self._next_reopening:
            return False
        self._next_reopening = now + REOPENING_SECONDS
        return True

    def _note_gap(self, gap: Gap) -> None:
        """Count a gap; an analysis that is always late says so once a minute only."""
        self._status.counts.gaps += 1
        now = self._status.clock.read_monotonic()
        if now >= self._next_gap_line:
            self._next_gap_line = now + GAP_LINE_SECONDS
            self._status.say(f"{self._source.name}: {gap}")

    def _predict(self, segments: np.ndarray) -> np.ndarray:
        """Classify segments with the model in use, which may be replaced meanwhile."""
        return self._model_file.model.predict_segments(segments)

    def _begin_model(self) -> None:
        model = self._model_file.model
        self._decider = self._make_decider(model.labels)
        labels = tuple(self._list_public(model.labels))
        for output in self._outputs:
            output.begin(replace(model.metadata, labels=labels))

    def _interrupt(self) -> None:
        self._decider.interrupt()
        for output in self._outputs:
            output.interrupt()

    def _handle(self, window: Window, is_live: bool) -> None:
        """Decide, report, and count."""
        status = self._status
        time = None
        if is_live:
            time = status.clock.format_time(window.unix)
        report = self._make_report(window, status.counts.windows, time)
        # Times and number of private windows are private, too.
        if report.row is not None:
            status.last_window, status.ms = time, window.ms
        if report.row is not None or window.probabilities is None:
            status.counts.windows += 1
        for output in self._outputs:
            output.write(report)
        status.tick()
        limit = self._settings.max_windows
        if limit is not None and status.counts.windows >= limit:
            raise Stopped

    def _make_report(self, window: Window, number: int, time: str | None) -> Report:
        counts, stream = self._status.counts, self._status.counts.streams
        if window.probabilities is None:
            counts.failed += 1
            self._status.raise_alarm("analysis", window.error)
            # Nobody knows what is in it.
            return Report(window, stream, None, bool(self._settings.private))
        self._status.clear_alarm("analysis")
        labels = self._model_file.model.labels
        if self._is_private(labels, window.probabilities):
            # The windows before and after it do not follow each other.
            self._decider.interrupt()
            return Report(window, stream, None, True)
        decision = self._decider.decide(window.probabilities, window.start, window.end)
        public = self._list_public(labels)
        kept = [label in public for label in labels]
        shown = replace(window, probabilities=window.probabilities[kept])
        numbers = stream, number
        row = make_row(shown, self._source.name, numbers, public, decision, time)
        return Report(shown, stream, row, False)

    def _list_public(self, labels: Sequence[str]) -> list[str]:
        return [label for label in labels if label not in self._settings.private]

    def _is_private(self, labels: Sequence[str], probabilities: np.ndarray) -> bool:
        """Check whether a private label is the most probable one, or probable."""
        private = [label in self._settings.private for label in labels]
        if not any(private):
            return False
        highest = float(probabilities[private].max())
        is_top = private[int(probabilities.argmax())]
        return is_top or highest >= self._settings.private_threshold
