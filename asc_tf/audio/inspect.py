"""Inspection of audio files: each is read completely before it is used.

A WAV file is decoded by the same graph as in the pipeline. Every other format is read
by libsndfile, which survives malformed bytes, before tensorflow-io's decoders may see
it. Files that neither our parser nor tensorflow-io decodes are left to libsndfile.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from asc_tf.audio import framing, length, sndfile, wav_graph
from asc_tf.audio.tensorflow_io import load_tensorflow_io
from asc_tf.core.processors import count_processors
from asc_tf.core.progress_bar import Progress, show_nothing
from asc_tf.dsp.levels import describe_shortness
from asc_tf.dsp.streaming import MAX_PEAK, choose_block_size

ROUTES = {
    ("OGG", "VORBIS"): "vorbis",
    ("FLAC", "PCM_S8"): "flac8",
    ("FLAC", "PCM_16"): "flac16",
    ("FLAC", "PCM_24"): "flac24",
    ("MP3", "MPEG_LAYER_III"): "mp3",
}
"""Routes of the formats that tensorflow-io decodes, by container and encoding."""

ENCODINGS = {
    **{(wav_graph.PCM, 1): "PCM_U8", (wav_graph.PCM, 2): "PCM_16"},
    **{(wav_graph.PCM, 3): "PCM_24", (wav_graph.PCM, 4): "PCM_32"},
    **{(wav_graph.FLOAT, 4): "FLOAT", (wav_graph.FLOAT, 8): "DOUBLE"},
}
"""libsndfile's names of encodings, by format tag and bytes per sample."""

MAX_BYTES = 2**31 - 1
"""Largest file in the graph: TensorFlow counts the bytes of a string in 32 bits."""

MP3_TOLERANCE = 1e-3
"""Largest difference of a sample between two MP3 decoders; damaged frames differ."""

USUAL_PEAK = 4.0
"""Largest peak of a float file that is taken to be in [-1, 1], with some overshoot."""

TOO_LARGE = (
    "the file has 2 GB or more, too much for audio.decoder = graph; split it, or use "
    "audio.decoder = auto"
)
SILENT = "silent: every sample is 0"
LOUD = "a peak of {:.3g}, beyond full scale; scale the samples to [-1, 1]"
REPAIR = "copy the file again or convert it to WAV"


@dataclasses.dataclass(frozen=True)
class Inspection:
    """Content of one file, or the reason why it cannot be used (`error`).

    `note` describes a defect of a file that can be used all the same.
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
        """Duration in seconds."""
        return self.samples / self.sample_rate if self.sample_rate else 0.0

    @property
    def refusal(self) -> str:
        """Reason why the file cannot be classified; empty if it can."""
        if not self.error and self.peak > MAX_PEAK:
            return f"a peak of {self.peak:.1e}, far beyond full scale"
        return self.error

    @property
    def decoder(self) -> str:
        """Decoder: `graph` (our WAV parser), `tensorflow-io` or `libsndfile`."""
        own = {"wav": "graph", sndfile.ROUTE: "libsndfile"}
        return own.get(self.route, "tensorflow-io")

    def to_json(self) -> dict[str, Any]:
        """Make the record that `asc-tf inspect --json` prints."""
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
    """Read a whole audio file and describe its content.

    Args:
        path: Path of the file; its content is untrusted.
        max_seconds: Longest duration that is accepted, in seconds.
        decoder: `auto`, `graph` (files that only libsndfile decodes are refused) or
            `libsndfile`.

    Returns:
        Inspection; `error` says why a file cannot be used. No content of a file raises
        an exception.
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
            return Inspection(str(path), error=TOO_LARGE)
        if decoder == "libsndfile" or size > MAX_BYTES:
            result, _ = _inspect_by_libsndfile(path, max_seconds)
        elif is_wav:
            result = _inspect_wav(path, max_seconds)
            if result.error and decoder == "auto":
                # Our own reason is the more precise one when neither can read it.
                other, _ = _inspect_by_libsndfile(path, max_seconds)
                is_unreadable = other.error.startswith(sndfile.UNREADABLE)
                result = result if is_unreadable else other
        else:
            result = _inspect_compressed(path, max_seconds, decoder)
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "message", "")
        return Inspection(str(path), error=reason or str(error))
    if not result.error and not np.isfinite(result.rms):
        return dataclasses.replace(result, error="samples that are not finite")
    if result.refusal or 0 < result.peak <= USUAL_PEAK:
        return result
    level = LOUD.format(result.peak) if result.peak else SILENT
    note = "; ".join(filter(None, (result.note, level)))
    return dataclasses.replace(result, note=note)


def inspect_all(
    paths: Sequence[Path],
    max_seconds: float,
    progress: Progress = show_nothing,
    decoder: str = "auto",
) -> list[Inspection]:
    """Inspect many files in parallel; the results come in the order of the paths."""
    with ThreadPoolExecutor(count_processors()) as pool:
        results = pool.map(lambda path: inspect(path, max_seconds, decoder), paths)
        return list(progress(results, len(paths)))


def name_missing_decoder(inspection: Inspection) -> str:
    """Say that tensorflow-io would decode a file in the graph; empty for others."""
    is_known = (inspection.container, inspection.encoding) in ROUTES
    is_by_libsndfile = not inspection.error and inspection.route == sndfile.ROUTE
    if is_known and is_by_libsndfile and not load_tensorflow_io():
        return "tensorflow-io, which decodes it in the graph, is not installed"
    return ""


def list_routes() -> tuple[str, ...]:
    """List the routes that this machine can decode by."""
    compressed = tuple(ROUTES.values()) if load_tensorflow_io() else ()
    return ("wav", sndfile.ROUTE, *compressed)


def _inspect_wav(path: Path, max_seconds: float) -> Inspection:
    # Not by way of Python's bytes, which would be copied several times.
    contents = tf.io.read_file(os.fsencode(path))
    header = _wav_header(max_seconds)(contents)
    problem = header.problem.numpy().decode()
    if problem:
        return Inspection(str(path), container="WAV", error=problem)
    peak, rms = _measure_wav(contents, header)
    inspection = Inspection(
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
    note = _note_shortness(inspection, int(header.promised))
    if width > -(-bits // 8):
        # As the format specifies; libsndfile reads `bits` per sample.
        note = note or f"samples of {bits} bits in {width} bytes each"
    return dataclasses.replace(inspection, note=note)


@functools.lru_cache(maxsize=4)
def _wav_header(max_seconds: float) -> Callable[[tf.Tensor], wav_graph.WavHeader]:
    @tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
    def header(contents: tf.Tensor) -> wav_graph.WavHeader:
        return wav_graph.parse_header(contents, max_seconds)

    return header


_decode_wav = tf.function(wav_graph.decode, autograph=False)


def _measure_wav(
    contents: tf.Tensor, header: wav_graph.WavHeader
) -> tuple[float, float]:
    """Measure peak and RMS, block by block."""
    samples, channels = int(header.samples), int(header.channels)
    block = choose_block_size(channels)
    peak, squares = 0.0, 0.0
    for first in range(0, samples, block):
        block_header = header._replace(
            data_start=header.data_start + first * channels * header.sample_bytes,
            samples=tf.minimum(header.samples - first, block),
        )
        values = _decode_wav(contents, block_header).numpy()
        # Not max(), which could lose a NaN.
        peak = float(np.maximum(peak, np.abs(values).max()))
        # Samples that are not finite are refused later, by the sum.
        with np.errstate(invalid="ignore"):
            squares += float(np.square(values, dtype=np.float64).sum())
    return peak, (squares / (samples * channels)) ** 0.5


def _inspect_by_libsndfile(path: Path, max_seconds: float) -> tuple[Inspection, int]:
    """Inspect a file; return also its samples per channel by the header."""
    try:
        values = sndfile.measure(path, max_seconds)._asdict()
    except sndfile.RefusedError as refusal:
        return Inspection(str(path), error=str(refusal)), 0
    promised = values.pop("promised")
    inspection = Inspection(str(path), **values, route=sndfile.ROUTE)
    note = _note_shortness(inspection, promised) or _note_cut(path, inspection)
    return dataclasses.replace(inspection, note=note), promised


def _inspect_compressed(path: Path, max_seconds: float, decoder: str) -> Inspection:
    """Inspect by libsndfile, and choose tensorflow-io if it decodes the file alike."""
    inspection, promised = _inspect_by_libsndfile(path, max_seconds)
    if inspection.error:
        return inspection
    container = inspection.container
    route = ROUTES.get((container, inspection.encoding), "")
    problem = f"{container} with {inspection.encoding} is not decoded in the graph"
    if route and not load_tensorflow_io():
        problem = f"{container} is decoded in the graph by tensorflow-io alone"
    elif route:
        problem = _find_graph_problem(path, inspection, promised)
    if not problem:
        return dataclasses.replace(inspection, route=route)
    is_damaged = bool(route and load_tensorflow_io())
    if decoder == "graph":
        advice = REPAIR if is_damaged else "convert it to WAV, or use another decoder"
        return dataclasses.replace(inspection, error=f"{problem}; {advice}")
    return dataclasses.replace(
        inspection, note=problem if is_damaged else inspection.note
    )


def _find_graph_problem(path: Path, inspection: Inspection, promised: int) -> str:
    """Find out why tensorflow-io must not decode a file; empty if it may."""
    contents, container = path.read_bytes(), inspection.container
    if container != "MP3" and promised != inspection.samples:
        return inspection.note or "a header that does not tell its length"
    problem = framing.find_problem(contents, container, promised)
    # Frames of an MP3 have no checksum: where they are framed well, only decoding can
    # show that they are damaged.
    if container == "MP3" and not problem and not _is_alike(path, contents, inspection):
        return "frames that are not decoded alike"
    return problem


def _is_alike(path: Path, contents: bytes, inspection: Inspection) -> bool:
    """Check whether tensorflow-io decodes an MP3 as libsndfile does."""
    try:
        decoded = load_tensorflow_io().audio.decode_mp3(contents).numpy()
    except tf.errors.OpError:
        return False
    is_as_long = abs(len(decoded) - inspection.samples) <= framing.MP3_FRAME
    return is_as_long and sndfile.is_alike(path, decoded, MP3_TOLERANCE)


def _note_shortness(inspection: Inspection, promised: int) -> str:
    """Describe a file that holds less than its header says; empty for others.

    Of an MP3 libsndfile may only guess the length.
    """
    if inspection.container == "MP3" or not inspection.sample_rate:
        return ""
    return describe_shortness(
        inspection.samples, promised, inspection.sample_rate, inspection.channels
    )


def _note_cut(path: Path, inspection: Inspection) -> str:
    """Describe a file that has fewer bytes than its header says; empty for others."""
    with path.open("rb") as stream:
        head = stream.read(64)
        size = os.fstat(stream.fileno()).st_size
    if missing := length.count_missing_bytes(head, size):
        return f"cut off: {missing} bytes of it are missing"
    is_other_ogg = inspection.container == "OGG" and inspection.encoding != "VORBIS"
    if is_other_ogg and size <= MAX_BYTES:
        return framing.find_problem(path.read_bytes(), "OGG", inspection.samples)
    return ""


def _not_a_file(path: Path) -> str:
    if path.is_dir():
        return "a folder, not a file"
    return "a pipe or device, not a file" if path.exists() else "no such file"
