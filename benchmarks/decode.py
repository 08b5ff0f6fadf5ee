"""Decoding speed of this package and its peers in clips per second, files to mono.

    python benchmarks/decode.py [--clips=48] [--seconds=10] [--rounds=5]

Clips of 48 kHz stereo are written. In each round every decoder decodes all of them, one
decoder after the other, so that other work of the machine affects all equally; the best
round counts. Nothing is resampled: resample.py measures that. Every decoder may use all
processors: tf.data in parallel calls, the others in threads.

"First" decodes files that the operating system has in memory. "Again" is a later epoch:
a pipeline with a cache reads the cache, and all others decode the files again.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from absl import app, flags

from asc_tf.core.tensorflow_log import quiet_tensorflow

quiet_tensorflow()

CLIPS = flags.DEFINE_integer("clips", 48, "number of clips per format", lower_bound=2)
SECONDS = flags.DEFINE_float("seconds", 10.0, "seconds of a clip", lower_bound=0.1)
ROUNDS = flags.DEFINE_integer("rounds", 5, "number of rounds; the best counts")
RATE = 48000
FORMATS = {
    "PCM16": ("WAV", "PCM_16"),
    "PCM24": ("WAV", "PCM_24"),
    "Ogg Vorbis": ("OGG", "VORBIS"),
}


def write_clips(folder: Path, container: str, subtype: str) -> list[Path]:
    """Write clips of pink-like noise with a tone, which compress as real sounds do."""
    import soundfile

    generator = np.random.default_rng(0)
    samples = round(SECONDS.value * RATE)
    paths = []
    for number in range(CLIPS.value):
        noise = generator.standard_normal((samples, 2)).cumsum(axis=0)
        noise -= np.linspace(0, 1, samples)[:, np.newaxis] * noise[-1]
        tone = np.sin(np.arange(samples) * (0.01 + 0.001 * number))
        values = 0.4 * noise / np.abs(noise).max() + 0.2 * tone[:, np.newaxis]
        path = folder / f"{number}.{container.lower()}"
        with soundfile.SoundFile(
            path, "w", RATE, 2, subtype=subtype, format=container
        ) as stream:
            for block in np.array_split(values, 10):
                stream.write(block)
        paths.append(path)
    return paths


def run_threads(decode: Callable[[Path], np.ndarray], paths: list[Path]) -> int:
    """Decode with one thread per processor and return the number of samples."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return sum(len(waveform) for waveform in pool.map(decode, paths))


def run_dataset(dataset: Iterable) -> int:
    """Iterate over a dataset of waveforms and return the number of samples."""
    return sum(int(waveform.shape[0]) for waveform in dataset)


def ours(paths: list[Path], folder: Path, **audio: str) -> Callable[[], int]:
    """Scan the clips and return a function that decodes them with this package.

    If clips are cached in files, the first call writes them.
    """
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
    built: list[tf.data.Dataset] = []

    def build() -> None:
        waveforms = Waveforms(manifest.clips, root, labels, settings, folder)
        built.append(waveforms.in_order().prefetch(tf.data.AUTOTUNE))

    has_files = "disk" in audio.values() or "libsndfile" in audio.values()
    if not has_files:
        build()

    def decode() -> int:
        if not built:
            build()
        return run_dataset(row["waveform"] for row in built[0])

    return decode


def peers(paths: list[Path], subtype: str) -> dict[str, Callable[[], int]]:
    """Return the decoders of other packages for a format, by name."""
    import librosa
    import scipy.io.wavfile
    import soundfile
    import tensorflow as tf

    from asc_tf.audio.tensorflow_io import load_tensorflow_io

    def mono(samples: np.ndarray) -> np.ndarray:
        return samples.mean(axis=1, dtype=np.float32)

    names = [str(path) for path in paths]

    def map_dataset(decode: Callable) -> Callable[[], int]:
        dataset = tf.data.Dataset.from_tensor_slices(names).map(
            lambda name: decode(tf.io.read_file(name)),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        return lambda: run_dataset(dataset.prefetch(tf.data.AUTOTUNE))

    def map_threads(decode: Callable[[Path], np.ndarray]) -> Callable[[], int]:
        return lambda: run_threads(decode, paths)

    def scipy_read(path: Path) -> np.ndarray:
        samples = scipy.io.wavfile.read(path)[1]
        # scipy returns 24 bits as the upper bits of 32.
        return mono(samples / np.float32(2 ** (8 * samples.itemsize - 1)))

    def tf_mono(samples: tf.Tensor, full: float) -> tf.Tensor:
        return tf.reduce_mean(tf.cast(samples, tf.float32) / full, axis=1)

    ways = {
        "libsndfile": map_threads(
            lambda p: mono(soundfile.read(p, dtype="float32")[0])
        ),
        "librosa": map_threads(lambda p: librosa.load(p, sr=None, mono=True)[0]),
    }
    tfio = load_tensorflow_io()
    if subtype == "VORBIS":
        if tfio:
            ways["tensorflow-io"] = map_dataset(
                lambda x: tf_mono(tfio.audio.decode_vorbis(x), 1.0)
            )
        return ways
    ways["scipy"] = map_threads(scipy_read)
    if subtype == "PCM_16":
        ways["tf.audio"] = map_dataset(
            lambda x: tf_mono(tf.audio.decode_wav(x)[0], 1.0)
        )
    if tfio:
        kind, full = (tf.int16, 2.0**15) if subtype == "PCM_16" else (tf.int32, 2.0**31)
        ways["tensorflow-io"] = map_dataset(
            lambda x: tf_mono(tfio.audio.decode_wav(x, dtype=kind), full)
        )
    return ways


def measure_seconds(action: Callable[[], int], samples: int) -> float:
    """Run once, check the number of decoded samples, and return the seconds."""
    began = time.perf_counter()
    decoded = action()
    assert decoded == samples, f"{decoded} samples instead of {samples}"
    return time.perf_counter() - began


def measure(name: str, folder: Path) -> list[tuple[str, float, float]]:
    """Return decoder, clips per second at first and again for one format."""
    container, subtype = FORMATS[name]
    paths = write_clips(folder, container, subtype)
    samples = len(paths) * round(SECONDS.value * RATE)
    others = peers(paths, subtype)
    first: dict[str, list[float]] = {}
    again: dict[str, list[float]] = {}
    for number in range(ROUNDS.value):
        cache = folder / f"cache{number}"
        own = {
            "asc_tf": ours(paths, cache, cache="none"),
            "asc_tf, cache = memory": ours(paths, cache, cache="memory"),
            "asc_tf, cache = disk": ours(paths, cache, cache="disk"),
            "asc_tf, libsndfile": ours(
                paths, cache / "snd", decoder="libsndfile", cache="none"
            ),
        }
        for way, decode in own.items():
            first.setdefault(way, []).append(measure_seconds(decode, samples))
            again.setdefault(way, []).append(measure_seconds(decode, samples))
        for way, decode in others.items():
            seconds = measure_seconds(decode, samples)
            first.setdefault(way, []).append(seconds)
            again.setdefault(way, []).append(seconds)
    return [
        (way, len(paths) / min(seconds), len(paths) / min(again[way]))
        for way, seconds in first.items()
    ]


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        sys.exit(f"unexpected argument {argv[1]}")
    print(
        f"{CLIPS.value} clips of {SECONDS.value:g} s, {RATE} Hz stereo, to mono; "
        f"{os.cpu_count()} processors; clips per second, best of {ROUNDS.value}"
    )
    for name in FORMATS:
        with tempfile.TemporaryDirectory() as folder:
            rows = measure(name, Path(folder))
        print(f"\n{name:26} {'first':>8} {'again':>8}")
        for way, first, again in rows:
            print(f"{way:26} {first:8.0f} {again:8.0f}")


if __name__ == "__main__":
    app.run(main)
