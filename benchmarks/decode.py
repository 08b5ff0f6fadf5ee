"""Decoding speed of this package and its peers: files to mono waveforms.

    python benchmarks/decode.py [--clips=48] [--passes=21] [--seconds=10] [--rounds=3]
        [--formats="PCM16,PCM24,Ogg Vorbis"]

Clips of 48 kHz stereo are written and then decoded in several passes, by one decoder
after the other in each round, so that other work of the machine affects all equally.
Nothing is resampled: resample.py measures that. Every decoder may use all processors:
tf.data in parallel calls, the others in threads. The table gives, from the best round,

- start: seconds from the request to the first clip, which a pipeline needs once an
  epoch and does not depend on the number of clips;
- clips/s: clips per second from then on, over all passes;
- wall and CPU: milliseconds per clip, of the clock and of all processors together;
- ratio: clips per second divided by those of libsndfile.
"""

import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import app, flags
from noise_clips import write_clips

from asc_tf.core.tensorflow_start import prepare_tensorflow

prepare_tensorflow()

CLIPS = flags.DEFINE_integer("clips", 48, "number of clips per format", lower_bound=2)
PASSES = flags.DEFINE_integer("passes", 21, "times that each clip is decoded")
SECONDS = flags.DEFINE_float("seconds", 10.0, "seconds of a clip", lower_bound=0.1)
ROUNDS = flags.DEFINE_integer("rounds", 3, "number of rounds; the best counts")
RATE = 48000
FORMATS = {
    "PCM16": ("WAV", "PCM_16"),
    "PCM24": ("WAV", "PCM_24"),
    "Ogg Vorbis": ("OGG", "VORBIS"),
}
_FORMATS = flags.DEFINE_list("formats", list(FORMATS), "formats to measure")


class Decoder(NamedTuple):
    """Decoder of all clips.

    Attributes:
        name: Name of the decoder, with the versions of its packages.
        decode: Function that decodes all clips a number of times, and yields the
            number of samples of each clip.
    """

    name: str
    decode: Callable[[int], Iterator[int]]


class Speed(NamedTuple):
    """Seconds to the first clip; then seconds of the clock and of CPU per clip."""

    start: float
    wall: float
    cpu: float


def make_own_decoder(name: str, paths: list[Path], folder: Path, **audio: str):
    """Scan the clips, fill the cache if there is one, and return our decoder."""
    import tensorflow as tf

    from asc_tf.audio.scan import scan
    from asc_tf.config import Audio
    from asc_tf.manifest import Clip, Manifest
    from asc_tf.pipeline.waveforms import Waveforms

    settings = Audio(sample_rate=RATE, **audio)
    clips = tuple(Clip(p.name, "a", p.name, split="train") for p in paths)
    root, labels = paths[0].parent, ("a", "b")
    manifest = scan(Manifest(clips, labels), root, ("train",), settings)
    assert not manifest.excluded, manifest.excluded[0].reason
    waveforms = Waveforms(manifest.clips, root, labels, settings, folder)

    def decode(passes: int) -> Iterator[int]:
        rows = waveforms.shuffle(tf.constant(0, tf.int64), passes)
        for row in rows.prefetch(tf.data.AUTOTUNE):
            yield int(row["waveform"].shape[0])

    if audio["cache"] == "memory":
        list(decode(1))
    return Decoder(name, decode)


def make_decoders(paths: list[Path], subtype: str, folder: Path) -> list[Decoder]:
    """Make our decoders and those of other packages for a format."""
    own = {
        "asc_tf": {"cache": "none"},
        "asc_tf, cache = memory": {"cache": "memory"},
        "asc_tf, cache = disk": {"cache": "disk"},
        "asc_tf, decoder = libsndfile": {"cache": "none", "decoder": "libsndfile"},
    }
    decoders = [
        make_own_decoder(name, paths, folder / name, **settings)
        for name, settings in own.items()
    ]
    return [
        *decoders,
        *make_threaded_peers(paths, subtype),
        *make_tf_peers(paths, subtype),
    ]


def make_threaded_peers(paths: list[Path], subtype: str) -> Iterator[Decoder]:
    """Make the decoders of packages that decode one file in a call."""
    import librosa
    import scipy.io.wavfile
    import soundfile

    def mono(samples: np.ndarray) -> np.ndarray:
        return samples.mean(axis=1, dtype=np.float32)

    def read_by_scipy(path: Path) -> np.ndarray:
        samples = scipy.io.wavfile.read(path)[1]
        # scipy returns 24 bits as the upper bits of 32.
        return mono(samples / np.float32(2 ** (8 * samples.itemsize - 1)))

    def in_threads(read: Callable[[Path], np.ndarray]) -> Callable:
        def decode(passes: int) -> Iterator[int]:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                for _ in range(passes):
                    yield from map(len, pool.map(read, paths))

        return decode

    sndfile = f"libsndfile {soundfile.__libsndfile_version__}"
    yield Decoder(
        f"{sndfile} (soundfile {version('soundfile')})",
        in_threads(lambda path: mono(soundfile.read(path, dtype="float32")[0])),
    )
    yield Decoder(
        f"librosa {version('librosa')}",
        in_threads(lambda path: librosa.load(path, sr=None, mono=True)[0]),
    )
    if subtype != "VORBIS":
        yield Decoder(f"scipy {version('scipy')}", in_threads(read_by_scipy))


def make_tf_peers(paths: list[Path], subtype: str) -> Iterator[Decoder]:
    """Make the decoders of TensorFlow and tensorflow-io, in a parallel map."""
    import tensorflow as tf

    from asc_tf.audio.tensorflow_io import load_tensorflow_io

    names = [str(path) for path in paths]

    def mono(samples: tf.Tensor, full: float) -> tf.Tensor:
        return tf.reduce_mean(tf.cast(samples, tf.float32) / full, axis=1)

    def in_dataset(read: Callable[[tf.Tensor], tf.Tensor]) -> Callable:
        dataset = tf.data.Dataset.from_tensor_slices(names)

        def decode(passes: int) -> Iterator[int]:
            waveforms = dataset.repeat(passes).map(
                lambda name: read(tf.io.read_file(name)),
                num_parallel_calls=tf.data.AUTOTUNE,
            )
            for waveform in waveforms.prefetch(tf.data.AUTOTUNE):
                yield int(waveform.shape[0])

        return decode

    if subtype == "PCM_16":
        yield Decoder(
            f"tf.audio (TensorFlow {tf.__version__})",
            in_dataset(lambda data: mono(tf.audio.decode_wav(data)[0], 1.0)),
        )
    tfio = load_tensorflow_io()
    if not tfio:
        return
    name = f"tensorflow-io {version('tensorflow-io')}"
    if subtype == "VORBIS":
        yield Decoder(
            name, in_dataset(lambda data: mono(tfio.audio.decode_vorbis(data), 1.0))
        )
        return
    kind, full = (tf.int16, 2.0**15) if subtype == "PCM_16" else (tf.int32, 2.0**31)
    yield Decoder(
        name,
        in_dataset(lambda data: mono(tfio.audio.decode_wav(data, dtype=kind), full)),
    )


def measure_speed(decoder: Decoder) -> Speed:
    """Decode all clips in all passes, and check the number of their samples."""
    began = time.perf_counter()
    counts = decoder.decode(PASSES.value)
    samples = next(counts)
    first, cpu = time.perf_counter(), time.process_time()
    rest = list(counts)
    wall, cpu = time.perf_counter() - first, time.process_time() - cpu
    decoded = sum(itertools.chain([samples], rest))
    expected = PASSES.value * CLIPS.value * round(SECONDS.value * RATE)
    assert decoded == expected, f"{decoded} samples instead of {expected}"
    return Speed(first - began, wall / len(rest), cpu / len(rest))


def measure_format(name: str, folder: Path) -> dict[str, Speed]:
    """Measure all decoders of one format; the best round of each counts."""
    container, subtype = FORMATS[name]
    paths = write_clips(
        folder, CLIPS.value, SECONDS.value, RATE, container, subtype, channels=2
    )
    decoders = make_decoders(paths, subtype, folder)
    speeds: dict[str, list[Speed]] = {decoder.name: [] for decoder in decoders}
    for _ in range(ROUNDS.value):
        for decoder in decoders:
            speeds[decoder.name].append(measure_speed(decoder))
    return {
        decoder: min(rounds, key=lambda speed: speed.wall)
        for decoder, rounds in speeds.items()
    }


def print_table(name: str, speeds: dict[str, Speed]) -> None:
    """Print a row per decoder."""
    reference = next(way for way in speeds if way.startswith("libsndfile"))
    print(
        f"\n{name:40} {'start s':>8} {'clips/s':>8} {'wall ms':>8} {'CPU ms':>8} ratio"
    )
    for way, (start, wall, cpu) in speeds.items():
        ratio = speeds[reference].wall / wall
        print(
            f"{way:40} {start:8.2f} {1 / wall:8.0f} {1000 * wall:8.2f} "
            f"{1000 * cpu:8.2f} {ratio:5.2f}"
        )


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        sys.exit(f"unexpected argument {argv[1]}")
    print(
        f"{CLIPS.value} clips of {SECONDS.value:g} s, {RATE} Hz stereo, to mono, "
        f"{PASSES.value} passes; {os.cpu_count()} processors, a thread for each; the "
        f"best of {ROUNDS.value} rounds"
    )
    for name in _FORMATS.value:
        with tempfile.TemporaryDirectory() as folder:
            print_table(name, measure_format(name, Path(folder)))


if __name__ == "__main__":
    app.run(main)
