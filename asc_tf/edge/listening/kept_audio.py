"""Audio of windows, kept in a folder up to a quota."""

import contextlib
import os
import re
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asc_tf.command_line.prediction_rows import UNKNOWN
from asc_tf.core.errors import UserError
from asc_tf.core.files import SAYS_FULL, DiskFullError, is_disk_full, write_atomically
from asc_tf.dsp.wav_format import pack_wav
from asc_tf.edge.listening.clock import FIRST_VALID
from asc_tf.edge.listening.folder_lock import FolderLock
from asc_tf.edge.listening.outputs import Output, Report, Row
from asc_tf.edge.listening.status import Status
from asc_tf.edge.tflite_metadata import Metadata

MODES = ("none", "uncertain", "all")

HEADER_BYTES = 44
"""Size of the header of a WAV file."""

MAX_WAITING_BYTES = 2**26
"""Samples of overlapping windows that wait until no private window overlaps them; a
short hop would need more than 1 GB."""

STEP_NS = 1_000_000
"""Smallest difference of the times of two kept files in nanoseconds."""

_OURS = re.compile(r"^(\d{8}-\d{6}|clock-not-set)_s\d+_w\d+_.*\.wav$")
_PARTIAL = re.compile(r"^\.(\d{8}-\d{6}|clock-not-set)_s\d+_w\d+_.*\.partial\.wav$")


@dataclass(frozen=True)
class _Candidate:
    start: float
    end: float
    stream: int
    row: Row
    unix: float
    samples: np.ndarray


class KeptAudio(Output):
    """Output of the audio of windows as WAV files.

    Where windows overlap, one is kept only when no private window can overlap it any
    more, so that no sample of a private window is kept. Windows beyond
    `MAX_WAITING_BYTES` are not kept then, but counted.

    Files are removed in the order in which they were written, also those of the time
    before the clock was set: no file gets an earlier time than the one before it.

    The folder is locked until `close`, because the quota counts the files of one
    listener only.

    Args:
        mode: `uncertain` (windows without a decision, or whose best label is less
            probable than the threshold) or `all`.
        folder: Folder of the files; it is made if it is missing.
        quota_bytes: Size of all files together; the oldest are removed first.
        threshold: Smallest probability of a certain window.
        status: State of the listener.

    Raises:
        UserError: If another process keeps audio in this folder.
    """

    def __init__(
        self,
        mode: str,
        folder: Path,
        quota_bytes: int,
        threshold: float,
        status: Status,
    ) -> None:
        self._mode, self._folder, self._quota = mode, folder, quota_bytes
        self._threshold, self._status = threshold, status
        self._candidates: deque[_Candidate] = deque()
        self._private: deque[tuple[float, float]] = deque()
        self._rate = 0
        self._waiting_bytes = 0
        self._kept = self._failed = self._removed = self._skipped = 0
        self._newest_ns = self._total = 0
        self._sizes: deque[tuple[Path, int]] = deque()
        self._lock = FolderLock(folder, ".lock_audio", "keep_folder")
        self._opened: os.stat_result | None = None
        # A disk that is full or not mounted is an alarm later on.
        with contextlib.suppress(OSError):
            self._open_folder()
        status.reports["audio"] = lambda: {
            "kept": self._kept,
            "removed": self._removed,
            "failed": self._failed,
            "skipped": self._skipped,
            "bytes": self._total,
        }

    def begin(self, metadata: Metadata) -> None:
        """Implement `Output.begin`."""
        self.interrupt()
        self._rate = metadata.sample_rate

    def write(self, report: Report) -> None:
        """Implement `Output.write`."""
        window = report.window
        while self._private and self._private[0][1] <= window.start:
            self._private.popleft()
        if report.is_private:
            self._private.append((window.start, window.end))
            while self._candidates and self._candidates[-1].end > window.start:
                self._waiting_bytes -= self._candidates.pop().samples.nbytes
        # Later windows begin later, so that they do not overlap these any more.
        while self._candidates and self._candidates[0].end <= window.start:
            self._keep_first()
        is_free = not self._private
        if report.row is not None and is_free and self._is_wanted(report.row):
            self._add(report, report.row)

    def interrupt(self) -> None:
        """Implement `Output.interrupt`."""
        while self._candidates:
            self._keep_first()
        self._private.clear()

    def close(self) -> None:
        """Implement `Output.close`."""
        self.interrupt()
        self._lock.close()

    def _is_wanted(self, row: Row) -> bool:
        if self._mode == "all":
            return True
        is_undecided = row["decision"] == UNKNOWN
        return bool(is_undecided or row["probability"] < self._threshold)

    def _add(self, report: Report, row: Row) -> None:
        """Let a window wait, unless too many wait already."""
        window = report.window
        samples = np.round(np.clip(window.waveform, -1, 1) * 32767).astype("<i2")
        if (
            self._candidates
            and self._waiting_bytes + samples.nbytes > MAX_WAITING_BYTES
        ):
            if not self._skipped:
                self._status.say(
                    "audio: too many windows overlap; some are not kept. A longer "
                    "--hop_seconds keeps all"
                )
            self._skipped += 1
            return
        self._waiting_bytes += samples.nbytes
        times = window.start, window.end
        self._candidates.append(
            _Candidate(*times, report.stream, row, window.unix, samples)
        )

    def _keep_first(self) -> None:
        item = self._candidates.popleft()
        self._waiting_bytes -= item.samples.nbytes
        size = HEADER_BYTES + item.samples.nbytes
        try:
            self._open_folder()
            # Before any file is removed: it would be in vain.
            if size > self._quota:
                raise ValueError(f"a window of {size} bytes exceeds the quota")
            self._make_room(size)
            path = self._choose_path(item)
            with write_atomically(path) as temporary:
                channels = 1 if item.samples.ndim == 1 else item.samples.shape[1]
                contents = item.samples.tobytes()
                temporary.write_bytes(pack_wav(contents, self._rate, channels, False))
                newest = self._date(temporary)
        except (OSError, ValueError, DiskFullError, UserError) as error:
            self._failed += 1
            self._status.raise_alarm("audio", _explain(self._folder, error))
            return
        self._status.clear_alarm("audio")
        self._newest_ns = newest
        self._sizes.append((path, size))
        self._total += size
        self._kept += 1

    def _date(self, path: Path) -> int:
        """Give a file a time after that of the file before it, in nanoseconds."""
        time = path.stat().st_mtime_ns
        if time <= self._newest_ns:
            time = self._newest_ns + STEP_NS
            os.utime(path, ns=(time, time))
        return time

    def _choose_path(self, item: _Candidate) -> Path:
        """Choose a name that no file has: without a clock they repeat at each start."""
        name = self._name(item)
        path, number = self._folder / f"{name}.wav", 1
        while path.exists():
            number += 1
            path = self._folder / f"{name}_{number}.wav"
        return path

    def _name(self, item: _Candidate) -> str:
        day = "clock-not-set"
        if item.unix >= FIRST_VALID:
            day = self._status.clock.to_local(item.unix).strftime("%Y%m%d-%H%M%S")
        label = re.sub(r"[^\w-]+", "-", item.row["label"])[:40]
        numbers = f"s{item.stream}_w{item.row['window']}"
        return f"{day}_{numbers}_{label}_{item.row['probability']:.2f}"

    def _make_room(self, size: int) -> None:
        while self._sizes and self._total + size > self._quota:
            path, freed = self._sizes[0]
            path.unlink(missing_ok=True)
            self._sizes.popleft()
            self._total -= freed
            self._removed += 1

    def _open_folder(self) -> None:
        """Lock the folder and list the files of earlier runs.

        That is done again where another folder has taken its place: a disk that was
        mounted there, for example.

        Raises:
            UserError: If another process holds the lock.
            OSError: If the folder cannot be written or read.
        """
        found = _find(self._folder)
        if self._opened and found and os.path.samestat(self._opened, found):
            return
        self._opened = None
        self._lock.close()
        self._lock.acquire()
        self._sizes = self._list_files()
        self._total = sum(size for _, size in self._sizes)
        self._opened = _find(self._folder)

    def _list_files(self) -> deque[tuple[Path, int]]:
        """List the files of earlier runs, the oldest first; remove unfinished ones."""
        found: list[tuple[int, str, int]] = []
        if self._folder.is_dir():
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    if _PARTIAL.match(entry.name):
                        os.unlink(entry.path)
                    elif _OURS.match(entry.name):
                        about = entry.stat()
                        found.append((about.st_mtime_ns, entry.path, about.st_size))
        self._newest_ns = max((time for time, _, _ in found), default=0)
        return deque((Path(path), size) for _, path, size in sorted(found))


def _find(folder: Path) -> os.stat_result | None:
    """Look at a folder; None if there is none."""
    try:
        return os.stat(folder)
    except FileNotFoundError:
        return None


def _explain(folder: Path, error: Exception) -> str:
    """Say what is wrong without the name of the file, which each window has anew."""
    if is_disk_full(error):
        return f"{folder}: {SAYS_FULL[0]}; no audio is kept until there is room"
    if isinstance(error, UserError):
        return str(error)
    return f"{folder}: {getattr(error, 'strerror', None) or error}"
