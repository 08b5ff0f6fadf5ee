"""Measuring and decoding of files by libsndfile.

It survives malformed bytes, so it reads a file before any other decoder of compressed
formats does, and it decodes the formats that the graph cannot.
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
"""Route of a file that libsndfile decodes, a value of the manifest's column `route`."""

UNREADABLE = "libsndfile cannot read this file"
"""Start of the message for a file that libsndfile itself refuses."""


class RefusedError(UserError):
    """File that libsndfile cannot read, or that is too long or has another rate."""


class Measured(NamedTuple):
    """Content of a file; `promised` is the length in its header, in samples."""

    container: str
    encoding: str
    sample_rate: int
    channels: int
    samples: int
    promised: int
    peak: float
    rms: float


def measure(path: Path, max_seconds: float) -> Measured:
    """Read a whole untrusted file and measure it.

    Raises:
        RefusedError: With the reason.
    """
    samples, peak, squares = 0, 0.0, 0.0
    with _open_soundfile(path) as stream:
        for block in _read_blocks(stream, max_seconds):
            samples += len(block)
            peak = max(peak, float(np.abs(block).max()))
            # Samples that are not finite are refused later, by the sum.
            with np.errstate(invalid="ignore"):
                squares += float(np.square(block, dtype=np.float64).sum())
        if not samples:
            raise RefusedError("no samples: the file is empty or cut off")
        rms = (squares / (samples * stream.channels)) ** 0.5
        return Measured(
            container=stream.format,
            encoding=stream.subtype,
            sample_rate=stream.samplerate,
            channels=stream.channels,
            samples=samples,
            promised=stream.frames,
            peak=peak,
            rms=rms,
        )


def read(
    path: Path, span: tuple[float, float], max_seconds: float
) -> tuple[np.ndarray, int]:
    """Decode a clip.

    Args:
        path: Path of the file.
        span: Start and duration of the clip in the file, in seconds; a duration of 0
            means up to the end.
        max_seconds: Longest duration of a file that is accepted, in seconds.

    Returns:
        float32 `[samples, channels]`, and the sample rate in Hz.

    Raises:
        RefusedError: With the reason.
    """
    with _open_soundfile(path) as stream:
        rate = stream.samplerate
        first = round(span[0] * rate)
        end = first + round(span[1] * rate) if span[1] else None
        parts, position = [np.empty((0, stream.channels), np.float32)], 0
        for block in _read_blocks(stream, max_seconds):
            own = slice(max(first - position, 0), end and max(end - position, 0))
            parts.append(block[own])
            position += len(block)
            if end is not None and position >= end:
                break
    return np.concatenate(parts), rate


def open_stream(path: Path) -> AudioStream:
    """Open a file to read it in blocks; its length is not known beforehand.

    Raises:
        RefusedError: With the reason.
        OSError: If it cannot be opened.
        ModuleNotFoundError: If soundfile is not installed.
    """
    with _open_soundfile(path) as stream:
        rate, n_channels = stream.samplerate, stream.channels

    def read() -> Iterator[np.ndarray]:
        with _open_soundfile(path) as stream:
            yield from _read_blocks(stream, math.inf)

    return AudioStream(rate, n_channels, None, read)


def is_alike(path: Path, waveform: np.ndarray, tolerance: float) -> bool:
    """Check whether another decoder agrees with libsndfile where both have samples.

    Args:
        path: Path of a file that `measure` has read.
        waveform: Samples of the other decoder, float32 `[samples, channels]`; the
            lengths may differ.
        tolerance: Largest difference of a sample.
    """
    with _open_soundfile(path) as stream:
        for block in _read_blocks(stream, math.inf):
            own, waveform = waveform[: len(block)], waveform[len(block) :]
            difference = np.abs(own - block[: len(own)]).max(initial=0.0)
            # The comparison is false for NaN too.
            if not difference <= tolerance:
                return False
    return True


@contextlib.contextmanager
def _open_soundfile(path: Path) -> Iterator[Any]:
    """Open a `soundfile.SoundFile` whose sample rate is within `RATES`."""
    import soundfile

    try:
        # By its descriptor, so that libsndfile does not judge by the file name.
        with (
            path.open("rb") as file,
            soundfile.SoundFile(file.fileno(), closefd=False) as stream,
        ):
            if not RATES[0] <= stream.samplerate <= RATES[1]:
                raise RefusedError(
                    f"a sample rate of {stream.samplerate} Hz, outside "
                    f"{RATES[0]} to {RATES[1]}"
                )
            # soundfile seeks between reads, if it can. In an MP3 that changes samples,
            # and it fails at the end of a FLAC that does not tell its length.
            stream.seekable = lambda: False
            yield stream
    except (soundfile.SoundFileError, RuntimeError, MemoryError) as error:
        reason = getattr(error, "error_string", str(error)).rstrip(".")
        raise RefusedError(
            f"{UNREADABLE} ({reason}); check that it is audio, or convert it to WAV or "
            "FLAC"
        ) from error


def _read_blocks(stream: Any, max_seconds: float) -> Iterator[np.ndarray]:
    """Read all samples in blocks, float32 `[samples, channels]`.

    Memory is never allocated by the sizes in a header.
    """
    limit = max_seconds * stream.samplerate
    size = choose_block_size(stream.channels)
    done = 0
    while len(block := stream.read(size, dtype="float32", always_2d=True)):
        done += len(block)
        if done > limit:
            raise RefusedError(f"longer than audio.max_seconds = {max_seconds:g}")
        yield block
