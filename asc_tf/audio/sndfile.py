"""libsndfile: what it finds in a file, and what it decodes.

It survives malformed bytes, so it sees a file before any other decoder of compressed
formats does, and it decodes what the graph cannot.
"""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from asc_tf.core.errors import UserError
from asc_tf.dsp.resampling import RATES
from asc_tf.dsp.streaming import AudioStream, choose_block_size

ROUTE = "sndfile"
"""The manifest's `route` of a file that libsndfile decodes."""

UNREADABLE = "not an audio file we can read"
"""What begins the refusal of a file that libsndfile itself refuses."""


class RefusedError(UserError):
    """Why libsndfile, or we after it, cannot use a file."""


class Measured(NamedTuple):
    """What a file holds; `promised` is the length that its header claims."""

    container: str
    encoding: str
    sample_rate: int
    channels: int
    samples: int
    promised: int
    peak: float
    rms: float


def measure(path: Path, max_seconds: float) -> Measured:
    """Read all of a file.

    Args:
        path: The file; it may hold anything.
        max_seconds: A longer file is refused.

    Returns:
        What it holds.

    Raises:
        RefusedError: With the reason.
    """
    samples, peak, squares = 0, 0.0, 0.0
    with _opened(path) as stream:
        for block in _blocks(stream, max_seconds):
            samples += len(block)
            peak = max(peak, float(np.abs(block).max()))
            squares += float(np.square(block, dtype=np.float64).sum())
        if not samples:
            raise RefusedError("no samples: the file is empty or cut off")
        return Measured(
            stream.format,
            stream.subtype,
            stream.samplerate,
            stream.channels,
            samples,
            stream.frames,
            peak,
            (squares / (samples * stream.channels)) ** 0.5,
        )


def read(
    path: Path, span: tuple[float, float], max_seconds: float
) -> tuple[np.ndarray, int]:
    """Decode a clip.

    Args:
        path: The file.
        span: Start and duration in the file, seconds; a duration of 0 reaches to the
            end.
        max_seconds: A longer file is refused.

    Returns:
        float32 `[samples, channels]`, and its rate, Hz.

    Raises:
        RefusedError: With the reason.
    """
    with _opened(path) as stream:
        rate = stream.samplerate
        first = round(span[0] * rate)
        end = first + round(span[1] * rate) if span[1] else None
        parts, position = [np.empty((0, stream.channels), np.float32)], 0
        for block in _blocks(stream, max_seconds):
            own = slice(max(first - position, 0), end and max(end - position, 0))
            parts.append(block[own])
            position += len(block)
            if end is not None and position >= end:
                break
    return np.concatenate(parts), rate


def open_stream(path: Path) -> AudioStream:
    """Open a file to read it in blocks; its length is not known before.

    Args:
        path: The file.

    Returns:
        The clip.

    Raises:
        RefusedError: With the reason.
        OSError: If it cannot be opened.
        ModuleNotFoundError: If soundfile is not installed.
    """
    with _opened(path) as stream:
        rate, n_channels = stream.samplerate, stream.channels

    def read() -> Iterator[np.ndarray]:
        with _opened(path) as stream:
            yield from _blocks(stream, math.inf)

    return AudioStream(rate, n_channels, None, read)


def is_alike(path: Path, waveform: np.ndarray, tolerance: float) -> bool:
    """Whether what another decoder made of a file is what libsndfile makes of it.

    Args:
        path: A file that `measure` has read.
        waveform: float32 `[samples, channels]`; the lengths may differ.
        tolerance: The largest difference of a sample.

    Returns:
        Whether they agree as far as both go.
    """
    with _opened(path) as stream:
        for block in _blocks(stream, math.inf):
            own, waveform = waveform[: len(block)], waveform[len(block) :]
            difference = np.abs(own - block[: len(own)]).max(initial=0.0)
            # Also false for what is no number.
            if not difference <= tolerance:
                return False
    return True


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The file as a `soundfile.SoundFile` of a rate that can be resampled."""
    import soundfile

    try:
        # By its descriptor, so that libsndfile does not go by its name.
        with (
            path.open("rb") as file,
            soundfile.SoundFile(file.fileno(), closefd=False) as stream,
        ):
            if not RATES[0] <= stream.samplerate <= RATES[1]:
                rates = f"{RATES[0]} to {RATES[1]}"
                raise RefusedError(
                    f"a sample rate of {stream.samplerate} Hz, outside {rates}"
                )
            # soundfile seeks between reads, if it can. In an MP3 that changes samples,
            # and it fails at the end of a FLAC that does not tell its length.
            stream.seekable = lambda: False
            yield stream
    except (soundfile.SoundFileError, RuntimeError, MemoryError) as error:
        reason = getattr(error, "error_string", str(error)).rstrip(".")
        raise RefusedError(f"{UNREADABLE}: {reason}") from error


def _blocks(stream: Any, max_seconds: float) -> Iterator[np.ndarray]:
    """All samples, float32 `[samples, channels]` at a time.

    What a header claims is never allocated.
    """
    limit = max_seconds * stream.samplerate
    size = choose_block_size(stream.channels)
    done = 0
    while len(block := stream.read(size, dtype="float32", always_2d=True)):
        done += len(block)
        if done > limit:
            raise RefusedError(f"longer than audio.max_seconds = {max_seconds:g}")
        yield block
