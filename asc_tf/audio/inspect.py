"""What is in an audio file, found by reading all of it: the gate before training.

A WAV file goes through the same graph that the pipeline uses. Every other format is
read completely by libsndfile, which survives malformed bytes, before tensorflow-io's
decoders may see it.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from asc_tf.audio import framing, wav
from asc_tf.resampling import RATES

ROUTES = {
    ("OGG", "VORBIS"): "vorbis",
    ("FLAC", "PCM_S8"): "flac8",
    ("FLAC", "PCM_16"): "flac16",
    ("FLAC", "PCM_24"): "flac24",
    ("MP3", "MPEG_LAYER_III"): "mp3",
}
BLOCK = 2**18
"""Samples per channel that libsndfile reads at a time."""
MEND = "copy the file again or convert it to WAV"
MAX_BYTES = 2**31 - 1
"""TensorFlow counts the bytes of a string in 32 bits."""


MAX_PEAK = 1e6
"""Full scale is 1: beyond this a float file overflows the arithmetic that follows."""


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What one file holds, or why it cannot be used (`error`)."""

    file: str
    container: str = ""
    encoding: str = ""
    sample_rate: int = 0
    channels: int = 0
    samples: int = 0
    peak: float = 0.0
    rms: float = 0.0
    route: str = ""
    error: str = ""

    @property
    def seconds(self) -> float:
        """Duration."""
        return self.samples / self.sample_rate if self.sample_rate else 0.0

    @property
    def refusal(self) -> str:
        """Why a model cannot hear the file; empty where it can."""
        if not self.error and self.peak > MAX_PEAK:
            return f"a peak of {self.peak:.1e}, far beyond full scale"
        return self.error

    @property
    def decoder(self) -> str:
        """`graph` for our WAV parser, else `tensorflow-io`."""
        return "graph" if self.route == "wav" else "tensorflow-io"

    def to_json(self) -> dict[str, Any]:
        """The record that `asc-tf inspect --json` prints."""
        if self.error:
            return {"file": self.file, "error": self.error}
        names = ("file", "container", "encoding", "sample_rate", "channels", "samples")
        record = {name: getattr(self, name) for name in names}
        levels = {"peak": self.peak, "rms": self.rms}
        return record | {"seconds": self.seconds} | levels | {"decoder": self.decoder}


def inspect(path: Path | str, max_seconds: float = 600.0) -> Inspection:
    """Read a whole audio file and say what it holds.

    Args:
        path: The file; it may hold anything.
        max_seconds: A longer file is refused.

    Returns:
        The inspection; `error` says why a file cannot be used. Never raises for what
        is in the file.
    """
    path = Path(path)
    try:
        if not path.is_file():
            return Inspection(str(path), error=_not_a_file(path))
        with path.open("rb") as stream:
            head = stream.read(12)
            size = os.fstat(stream.fileno()).st_size
        if not head:
            return Inspection(str(path), error="an empty file")
        if size > MAX_BYTES:
            return Inspection(str(path), error="2 GB or more; cut it into parts")
        if head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE":
            result = _inspect_wav(path, max_seconds)
        else:
            result = _inspect_compressed(path, max_seconds)
    except OSError as error:
        return Inspection(str(path), error=error.strerror or str(error))
    if not result.error and not np.isfinite(result.rms):
        return dataclasses.replace(result, error="samples that are not finite")
    return result


def inspect_all(
    paths: Iterable[Path],
    max_seconds: float,
    progress: Callable[[Iterable], Iterable] = iter,
) -> list[Inspection]:
    """Inspect many files, as many at a time as there are processors."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda path: inspect(path, max_seconds), paths)
        return list(progress(results))


def _inspect_wav(path: Path, max_seconds: float) -> Inspection:
    contents = path.read_bytes()
    header, peak, rms = _wav_statistics(max_seconds)(tf.constant(contents))
    problem = header.problem.numpy().decode()
    if problem:
        return Inspection(str(path), container="WAV", error=problem)
    width = int(header.sample_bytes)
    kind = "FLOAT_" if int(header.tag) == wav.FLOAT else "PCM_"
    return Inspection(
        file=str(path),
        container="WAV",
        encoding=f"{kind}{8 * width}",
        sample_rate=int(header.sample_rate),
        channels=int(header.channels),
        samples=int(header.samples),
        peak=float(peak),
        rms=float(rms),
        route="wav",
    )


@functools.lru_cache(maxsize=4)
def _wav_statistics(max_seconds: float) -> Callable:
    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    def statistics(contents: tf.Tensor) -> tuple[wav.WavHeader, tf.Tensor, tf.Tensor]:
        header = wav.parse_header(contents, max_seconds)
        samples = wav.decode(contents, header)
        peak = tf.reduce_max(tf.abs(samples))
        # Relative to the peak, so that the squares of a float file do not overflow.
        relative = tf.math.divide_no_nan(samples, peak)
        rms = peak * tf.sqrt(tf.reduce_mean(tf.square(relative)))
        return header, peak, rms

    return statistics


def _inspect_compressed(path: Path, max_seconds: float) -> Inspection:
    import soundfile

    try:
        # By its descriptor, so that libsndfile does not go by its name.
        with (
            path.open("rb") as file,
            soundfile.SoundFile(file.fileno(), closefd=False) as stream,
        ):
            found = Inspection(
                file=str(path),
                container=stream.format,
                encoding=stream.subtype,
                sample_rate=stream.samplerate,
                channels=stream.channels,
                route=ROUTES.get((stream.format, stream.subtype), ""),
            )
            error = _not_decoded(found, stream.frames)
            if error:
                return dataclasses.replace(found, error=error)
            contents = path.read_bytes()
            problem = framing.problem(contents, found.container, stream.frames)
            if problem:
                return dataclasses.replace(found, error=f"{problem}; {MEND}")
            found = _read_through(found, stream, max_seconds)
    except (soundfile.SoundFileError, RuntimeError) as error:
        reason = getattr(error, "error_string", str(error)).rstrip(".")
        return Inspection(str(path), error=f"not an audio file we can read: {reason}")
    if found.route == "mp3" and not found.error and not _is_alike(contents, found):
        return dataclasses.replace(found, error=f"frames that are not decoded; {MEND}")
    return found


def _is_alike(contents: bytes, found: Inspection) -> bool:
    """Frames of an MP3 have no checksum, so tensorflow-io has to show that it reads."""
    import tensorflow_io as tfio

    try:
        decoded = tfio.audio.decode_mp3(contents).numpy()
    except tf.errors.OpError:
        return False
    difference = abs(np.abs(decoded).max(initial=0.0) - found.peak)
    return abs(len(decoded) - found.samples) <= framing.MP3_FRAME and difference <= 1e-3


def _read_through(found: Inspection, stream: Any, max_seconds: float) -> Inspection:
    """Read every sample, and compare what is there with what was promised."""
    samples, peak, squares = 0, 0.0, 0.0
    # All of an MP3: soundfile seeks between blocks, which in an MP3 changes samples.
    size = (
        BLOCK if found.container != "MP3" else int(max_seconds * found.sample_rate) + 1
    )
    while len(block := stream.read(size, dtype="float32", always_2d=True)):
        samples += len(block)
        peak = max(peak, float(np.abs(block).max()))
        squares += float(np.square(block, dtype=np.float64).sum())
        if samples > max_seconds * found.sample_rate:
            reason = f"longer than audio.max_seconds = {max_seconds:g}"
            return dataclasses.replace(found, error=reason)
    rms = (squares / max(samples * found.channels, 1)) ** 0.5
    found = dataclasses.replace(found, samples=samples, peak=peak, rms=rms)
    if not samples:
        return dataclasses.replace(
            found, error="no samples: the file is empty or cut off"
        )
    # Of an MP3 libsndfile may only guess the length; `framing` has checked it.
    if samples < stream.frames and found.container != "MP3":
        return dataclasses.replace(
            found, error=f"cut off after {found.seconds:.2f} s; {MEND}"
        )
    return found


def _not_decoded(found: Inspection, frames: int) -> str:
    """Why what libsndfile found is not decoded, empty where it is."""
    if not found.route:
        return (
            f"{found.container} with {found.encoding} is not decoded; convert it to "
            "WAV (PCM or float), FLAC, Ogg Vorbis or MP3"
        )
    if not RATES[0] <= found.sample_rate <= RATES[1]:
        rates = f"{RATES[0]} to {RATES[1]}"
        return f"a sample rate of {found.sample_rate} Hz, outside {rates}"
    if frames > 2**62:
        return f"{found.container} of unknown length; encode it again from a file"
    return ""


def _not_a_file(path: Path) -> str:
    if path.is_dir():
        return "a folder, not a file"
    return "a pipe or device, not a file" if path.exists() else "no such file"
