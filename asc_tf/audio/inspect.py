"""What is in an audio file, found by reading all of it: the gate before training.

A WAV file goes through the same graph that the pipeline uses. Every other format is
read completely by libsndfile, which survives malformed bytes, before tensorflow-io's
decoders may see it; what neither can decode is left to libsndfile, if that can.
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

from asc_tf.audio import framing, length, sndfile, wav
from asc_tf.audio.tensorflow_io import load_tensorflow_io
from asc_tf.dsp.streaming import MAX_PEAK, choose_block_size

ROUTES = {
    ("OGG", "VORBIS"): "vorbis",
    ("FLAC", "PCM_S8"): "flac8",
    ("FLAC", "PCM_16"): "flac16",
    ("FLAC", "PCM_24"): "flac24",
    ("MP3", "MPEG_LAYER_III"): "mp3",
}
"""What tensorflow-io decodes."""

ENCODINGS = {
    **{(wav.PCM, 1): "PCM_U8", (wav.PCM, 2): "PCM_16"},
    **{(wav.PCM, 3): "PCM_24", (wav.PCM, 4): "PCM_32"},
    **{(wav.FLOAT, 4): "FLOAT", (wav.FLOAT, 8): "DOUBLE"},
}
"""Names by format tag and bytes of a sample, libsndfile's."""

MAX_BYTES = 2**31 - 1
"""TensorFlow counts the bytes of a string in 32 bits."""

MP3_TOLERANCE = 1e-3
"""Between two decoders of MP3; they fill the gap of a damaged frame each in its way."""

SILENT = "silent: every sample is 0"
MEND = "copy the file again or convert it to WAV"


@dataclasses.dataclass(frozen=True)
class Inspection:
    """What one file holds, or why it cannot be used (`error`).

    `note` is what is odd about a file that can be used.
    """

    file: str
    container: str = ""
    encoding: str = ""
    sample_rate: int = 0
    channels: int = 0
    samples: int = 0
    peak: float = 0.0
    rms: float = 0.0
    route: str = ""
    note: str = ""
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
        """`graph` for our WAV parser, `tensorflow-io` or `libsndfile`."""
        own = {"wav": "graph", sndfile.ROUTE: "libsndfile"}
        return own.get(self.route, "tensorflow-io")

    def to_json(self) -> dict[str, Any]:
        """The record that `asc-tf inspect --json` prints."""
        if self.error:
            return {"file": self.file, "error": self.error}
        names = ("file", "container", "encoding", "sample_rate", "channels", "samples")
        record = {name: getattr(self, name) for name in names}
        record |= {"seconds": self.seconds, "peak": self.peak, "rms": self.rms}
        record["decoder"] = self.decoder
        return record | ({"note": self.note} if self.note else {})


def inspect(
    path: Path | str, max_seconds: float = 600.0, decoder: str = "auto"
) -> Inspection:
    """Read a whole audio file and say what it holds.

    Args:
        path: The file; it may hold anything.
        max_seconds: A longer file is refused.
        decoder: `auto`, `graph` (what only libsndfile decodes is refused) or
            `libsndfile`.

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
        is_wav = head[:4] in (b"RIFF", b"RIFX", b"RF64") and head[8:12] == b"WAVE"
        if decoder == "graph" and size > MAX_BYTES:
            return Inspection(str(path), error="2 GB or more; cut it into parts")
        if decoder == "libsndfile" or size > MAX_BYTES:
            result = _by_libsndfile(path, max_seconds)
        elif is_wav:
            result = _inspect_wav(path, max_seconds)
            if result.error and decoder == "auto":
                # Our own reason names the trouble better when neither can read it.
                other = _by_libsndfile(path, max_seconds)
                is_unread = other.error.startswith(sndfile.UNREADABLE)
                result = result if is_unread else other
        else:
            result = _inspect_compressed(path, max_seconds, decoder)
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "message", "")
        return Inspection(str(path), error=reason or str(error))
    if not result.error and not np.isfinite(result.rms):
        return dataclasses.replace(result, error="samples that are not finite")
    if not result.error and not result.peak:
        note = "; ".join(filter(None, (result.note, SILENT)))
        return dataclasses.replace(result, note=note)
    return result


def inspect_all(
    paths: Iterable[Path],
    max_seconds: float,
    progress: Callable[[Iterable], Iterable] = iter,
    decoder: str = "auto",
) -> list[Inspection]:
    """Inspect many files, as many at a time as there are processors."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda path: inspect(path, max_seconds, decoder), paths)
        return list(progress(results))


def name_missing_decoder(found: Inspection) -> str:
    """What would decode a file in the graph if it were there; empty for others."""
    would = (found.container, found.encoding) in ROUTES and not found.error
    if would and found.route == sndfile.ROUTE and not load_tensorflow_io():
        return "tensorflow-io, which decodes it in the graph, is not installed"
    return ""


def list_routes() -> tuple[str, ...]:
    """The routes that this machine can decode by."""
    compressed = tuple(ROUTES.values()) if load_tensorflow_io() else ()
    return ("wav", sndfile.ROUTE, *compressed)


def _inspect_wav(path: Path, max_seconds: float) -> Inspection:
    # Not by Python's bytes, of which a tensor is made by way of several copies.
    contents = tf.io.read_file(os.fsencode(path))
    header = _wav_header(max_seconds)(contents)
    problem = header.problem.numpy().decode()
    if problem:
        return Inspection(str(path), container="WAV", error=problem)
    peak, rms = _wav_levels(contents, header)
    found = Inspection(
        file=str(path),
        container="WAV",
        encoding=ENCODINGS[int(header.tag), int(header.sample_bytes)],
        sample_rate=int(header.sample_rate),
        channels=int(header.channels),
        samples=int(header.samples),
        peak=peak,
        rms=rms,
        route="wav",
    )
    bits, width = int(header.bits), int(header.sample_bytes)
    note = _shortness(found, int(header.promised))
    if width > -(-bits // 8):
        # By the format's law; libsndfile takes such a sample for `bits` alone.
        note = note or f"samples of {bits} bits in {width} bytes each"
    return dataclasses.replace(found, note=note)


@functools.lru_cache(maxsize=4)
def _wav_header(max_seconds: float) -> Callable[[tf.Tensor], wav.WavHeader]:
    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    def header(contents: tf.Tensor) -> wav.WavHeader:
        return wav.parse_header(contents, max_seconds)

    return header


_wav_decode = tf.function(wav.decode)


def _wav_levels(contents: tf.Tensor, header: wav.WavHeader) -> tuple[float, float]:
    """Peak and rms, block by block."""
    samples, channels = int(header.samples), int(header.channels)
    block = choose_block_size(channels)
    peak, squares = 0.0, 0.0
    for first in range(0, samples, block):
        part = header._replace(
            data_start=header.data_start + first * channels * header.sample_bytes,
            samples=tf.minimum(header.samples - first, block),
        )
        values = _wav_decode(contents, part).numpy()
        # Not max(): a value that is no number must not go under.
        peak = float(np.maximum(peak, np.abs(values).max()))
        squares += float(np.square(values, dtype=np.float64).sum())
    return peak, (squares / (samples * channels)) ** 0.5


def _by_libsndfile(path: Path, max_seconds: float) -> Inspection:
    return _measured(path, max_seconds)[0]


def _measured(path: Path, max_seconds: float) -> tuple[Inspection, int]:
    """What libsndfile finds, and the samples per channel that it had promised."""
    try:
        measured = sndfile.measure(path, max_seconds)
    except sndfile.RefusedError as refusal:
        return Inspection(str(path), error=str(refusal)), 0
    values = measured._asdict()
    promised = values.pop("promised")
    found = Inspection(str(path), **values, route=sndfile.ROUTE)
    note = _shortness(found, promised) or _cut(path, found)
    return dataclasses.replace(found, note=note), promised


def _inspect_compressed(path: Path, max_seconds: float, decoder: str) -> Inspection:
    """By libsndfile, and by tensorflow-io too where that will decode the file alike."""
    found, promised = _measured(path, max_seconds)
    if found.error:
        return found
    route = ROUTES.get((found.container, found.encoding), "")
    problem = f"{found.container} with {found.encoding} is not decoded in the graph"
    if route and not load_tensorflow_io():
        problem = f"{found.container} is decoded in the graph by tensorflow-io alone"
    elif route:
        problem = _graph_problem(path, found, promised)
    if not problem:
        return dataclasses.replace(found, route=route)
    is_damaged = bool(route and load_tensorflow_io())
    if decoder == "graph":
        advice = MEND if is_damaged else "convert it to WAV, or use another decoder"
        return dataclasses.replace(found, error=f"{problem}; {advice}")
    return dataclasses.replace(found, note=problem if is_damaged else found.note)


def _graph_problem(path: Path, found: Inspection, promised: int) -> str:
    """Why tensorflow-io may not see a file that libsndfile reads; empty if it may."""
    contents = path.read_bytes()
    if found.container != "MP3" and promised != found.samples:
        return found.note or "a header that does not tell its length"
    problem = framing.find_problem(contents, found.container, promised)
    if (
        not problem
        and found.container == "MP3"
        and not _is_alike(path, contents, found)
    ):
        return "frames that are not decoded alike"
    return problem


def _is_alike(path: Path, contents: bytes, found: Inspection) -> bool:
    """Frames of an MP3 have no checksum, so tensorflow-io has to show that it reads."""
    try:
        decoded = load_tensorflow_io().audio.decode_mp3(contents).numpy()
    except tf.errors.OpError:
        return False
    is_as_long = abs(len(decoded) - found.samples) <= framing.MP3_FRAME
    return is_as_long and sndfile.is_alike(path, decoded, MP3_TOLERANCE)


def _shortness(found: Inspection, promised: int) -> str:
    """What to note of a file that holds less than its header says.

    What counts as unknown, a length near 2 GB or beyond, is a recorder's that could
    not go back to fill it in. Of an MP3 libsndfile may only guess the length.
    """
    unknown = 2**31 // max(found.channels * 4, 4) - 2**10
    if found.container == "MP3" or not found.samples < promised < unknown:
        return ""
    seconds = promised / found.sample_rate
    return f"holds {found.seconds:.2f} s where its header says {seconds:.2f} s"


def _cut(path: Path, found: Inspection) -> str:
    """What to note of a file that ends before its header says, in bytes."""
    with path.open("rb") as stream:
        head = stream.read(64)
        size = os.fstat(stream.fileno()).st_size
    if missing := length.count_missing_bytes(head, size):
        return f"cut off: {missing} bytes of it are missing"
    if found.container == "OGG" and found.encoding != "VORBIS" and size <= MAX_BYTES:
        return framing.find_problem(path.read_bytes(), "OGG", found.samples)
    return ""


def _not_a_file(path: Path) -> str:
    if path.is_dir():
        return "a folder, not a file"
    return "a pipe or device, not a file" if path.exists() else "no such file"
