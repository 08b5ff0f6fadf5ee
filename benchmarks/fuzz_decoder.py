"""Decode damaged audio files: no crash, no hang, no wrong sample.

    python benchmarks/fuzz_decoder.py [--count=20000] [--seed=0] [--workers=2]

Files of every kind are cut, changed, lengthened and mixed; each goes through `inspect`,
`read` and, if the graph decodes it, the graph of the pipeline. This happens in child
processes, so that a crash or a hang is counted and its file kept. Prints a table; exits
with 1 on any fault. 20,000 files take about 20 minutes on two cores.
"""

import collections
import contextlib
import io
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fuzz_workers
import numpy as np
import soundfile
from absl import app, flags
from damaged_files import KINDS, RATE, case, originals
from fuzz_workers import Outcome, Worker, peak_kibibytes

from asc_tf.audio.framing import MP3_FRAME
from asc_tf.core.tensorflow_start import prepare_tensorflow

prepare_tensorflow()

SLOW = 2.0
"""Seconds of processor time that a file may take; on a busy machine, the clock says
little about the decoder."""

RESULTS = ("graph", "tensorflow-io", "libsndfile", "refused")

TOLERANCE = collections.defaultdict(lambda: 1e-6, mp3=1e-2, vorbis=1e-4)
"""Largest difference between a decoder and libsndfile; others decode without loss."""


class Decoders:
    """Decoders under test; they decode one file at a time.

    Args:
        folder: Folder to which each file is written.
    """

    def __init__(self, folder: Path) -> None:
        from asc_tf.config import Audio

        self._path, self._about = folder / "audio", folder / "about"
        self._audio = Audio(sample_rate=RATE)
        self._clips = iter(self._endless_clips())

    def check(self, kind: str, index: int, contents: bytes) -> Outcome:
        """Decode one file and return its outcome."""
        self._path.write_bytes(contents)
        before, began = peak_kibibytes(), time.process_time()
        try:
            decoder, fault = self._decode(contents)
        except Exception as error:
            decoder, fault = "", f"{type(error).__name__}: {error}".split("\n")[0]
        seconds = time.process_time() - began
        if not fault and seconds > SLOW:
            fault = f"slow: {seconds:.1f} s"
        growth = (peak_kibibytes() - before) / 1024
        return Outcome(kind, index, decoder or "refused", seconds, growth, fault)

    def _decode(self, contents: bytes) -> tuple[str, str]:
        """Return the decoder, empty for a refused file, and the fault, if any."""
        from asc_tf.audio.inspect import inspect
        from asc_tf.audio.read import read
        from asc_tf.core.errors import UserError

        found = inspect(self._path)
        if found.refusal:
            with contextlib.suppress(UserError):
                read(self._path, self._audio)
                return "", "refused, and read all the same"
            return "", ""
        samples, rate = read(self._path, self._audio)
        if not np.isfinite(samples).all():
            return found.decoder, "samples that are not finite"
        slack = MP3_FRAME if found.route == "mp3" else 0
        if abs(len(samples) - found.samples) > slack or rate != found.sample_rate:
            return found.decoder, f"{len(samples)} samples, {found.samples} inspected"
        if found.decoder == "libsndfile":
            return found.decoder, ""
        self._about.write_text(f"{found.route} {rate}")
        clip = next(self._clips).numpy()
        wanted = -(-len(samples) * RATE // rate)
        if len(clip) != wanted or not np.isfinite(clip).all():
            return found.decoder, f"{len(clip)} samples in the graph, not {wanted}"
        return found.decoder, _difference(contents, samples, found.route)

    def _endless_clips(self) -> Any:
        """Decode the current file at each step: a graph per file would be slow."""
        import tensorflow as tf

        from asc_tf.audio.decode import Variants, decode_clip
        from asc_tf.audio.inspect import list_routes

        routes = tuple(name for name in list_routes() if name != "sndfile")
        known = Variants(routes=routes)

        def decode(_: tf.Tensor) -> tf.Tensor:
            about = tf.strings.split(tf.io.read_file(str(self._about)), " ")
            return decode_clip(
                tf.io.read_file(str(self._path)),
                about[0],
                tf.strings.to_number(about[1], tf.int64),
                tf.zeros([2], tf.float64),
                tf.constant("mono"),
                self._audio,
                known,
            )

        # Decode one file at a time, and only when it is requested.
        options = tf.data.Options()
        options.autotune.enabled = False
        options.experimental_optimization.map_parallelization = False
        options.experimental_optimization.inject_prefetch = False
        return tf.data.Dataset.range(2**40).map(decode).with_options(options)


def _difference(contents: bytes, samples: np.ndarray, route: str) -> str:
    """Describe how the samples differ from libsndfile's, if it reads the file."""
    try:
        expected, _ = soundfile.read(io.BytesIO(contents), always_2d=True)
    except (soundfile.SoundFileError, RuntimeError, ValueError, MemoryError):
        return ""
    if route == "wav" and _has_odd_width(contents):
        return ""
    length = min(len(samples), len(expected))
    if route != "mp3" and len(samples) != len(expected):
        return f"{len(samples)} samples, {len(expected)} by libsndfile"
    error = np.abs(samples[:length] - expected[:length]).max(initial=0.0)
    if error > TOLERANCE[route] * max(np.abs(expected).max(initial=0.0), 1.0):
        return f"differs from libsndfile by {error:.2g}"
    return ""


def _has_odd_width(contents: bytes) -> bool:
    """Return whether samples do not fill their bytes; libsndfile differs there."""
    at = contents.find(b"fmt ") + 8
    return contents[at + 14] % 8 != 0


def _work(connection: Any, seed: int) -> None:
    """Decode the files whose numbers are received; runs in a child process."""
    # Decoders print many warnings about damaged files.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    with tempfile.TemporaryDirectory() as folder:
        decoders = Decoders(Path(folder))
        decoders.check("", -1, originals("WAV PCM")[0])
        while (index := connection.recv()) is not None:
            kind, contents = case(seed, index)
            connection.send(decoders.check(kind, index, contents))


def fuzz(count: int, seed: int, workers: int = 2) -> Iterator[Outcome]:
    """Decode damaged files in child processes.

    Args:
        count: Number of files.
        seed: Seed of the damage.
        workers: Number of child processes.

    Returns:
        Outcomes of the files, in any order.
    """

    def name_kind(index: int) -> str:
        return case(seed, index)[0]

    return fuzz_workers.run_workers(
        lambda: Worker(_work, (seed,), name_kind), count, workers
    )


def main(_: list[str]) -> None:
    values = flags.FLAGS
    outcomes = fuzz(values.count, values.seed, values.workers)
    fuzz_workers.report(
        outcomes, KINDS, RESULTS, lambda index: case(values.seed, index)[1]
    )


if __name__ == "__main__":
    fuzz_workers.define_flags(count=20_000)
    flags.adopt_module_key_flags(fuzz_workers)
    app.run(main)
