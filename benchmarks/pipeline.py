"""Speed of the training pipeline in clips per second.

    python benchmarks/pipeline.py [--clips=64] [--seconds=5] [--rounds=3] [--epochs=16]

Log-mel (44.1 kHz, n_fft 2048, hop 512, 128 mels) in batches of 16, with roll, gain,
mixup and masks: by this package, by a Python generator with librosa and NumPy, and by
`tf.data.Dataset.from_generator` with this generator and prefetching. Mono files are
decoded in each epoch (`none`) or cached after the first (`memory`, `disk`; the
generator keeps its waveforms in a list). "Stored features" are those of `asc-tf
features`, with mixup and masks, but without augmentation of waveforms. "generator,
processes" computes the features of clips in one process per processor. "ratio" is the
speed divided by that of the generator that decodes in each epoch; "kept" and
"processes" divide by those of two others. "CPU ms" is the time of all processors per
clip. Making an iterator ("start", in seconds) happens once in a training and is not in
the speed.

After that comes the wait for the next batch when the consumer has been idle for 0.3 s,
as a model is that computes for so long. All pipelines take turns, so that other work of
the machine affects all equally, and the best round counts.
"""

import contextlib
import functools
import io
import itertools
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import app, flags, logging
from noise_clips import write_clips, write_table

from asc_tf.core.tensorflow_start import prepare_tensorflow

prepare_tensorflow()

CLIPS = flags.DEFINE_integer("clips", 64, "number of clips per format", lower_bound=16)
SECONDS = flags.DEFINE_float("seconds", 5.0, "seconds of a clip", lower_bound=0.5)
ROUNDS = flags.DEFINE_integer("rounds", 3, "number of rounds; the best counts")
EPOCHS = flags.DEFINE_integer(
    "epochs", 16, "number of epochs in a round", lower_bound=1
)

RATE, N_FFT, HOP, MELS, BATCH = 44100, 2048, 512, 128, 16
ROLL = {"augment.time_roll": True}
GAIN = {"augment.gain_db": 6.0}
MASKS = {"augment.time_masks": 2, "augment.frequency_masks": 2}
MIXUP = {"augment.mixup_alpha": 0.3}
TYPICAL = ROLL | GAIN | MASKS | MIXUP
FORMATS = {"PCM16": ("WAV", "PCM_16"), "Ogg Vorbis": ("OGG", "VORBIS")}
CACHES = ("none", "memory", "disk")
IDLE, WAITS = 0.3, 20
"""Seconds of idling before a batch, and number of such batches."""


class Ours:
    """Training pipeline of this package with one kind of cache."""

    def __init__(self, paths: list[Path], folder: Path, cache: str) -> None:
        from asc_tf.audio.scan import scan
        from asc_tf.config import Config
        from asc_tf.manifest import Clip, Manifest
        from asc_tf.pipeline.waveforms import Waveforms

        self._config = Config().replace(our_settings(cache, {}))
        clips = tuple(
            Clip(path.name, "ab"[number % 2], path.name, split="train")
            for number, path in enumerate(paths)
        )
        labels = ("a", "b")
        manifest = scan(
            Manifest(clips, labels), paths[0].parent, ("train",), self._config.audio
        )
        assert not manifest.excluded, manifest.excluded[0].reason
        self._waveforms = Waveforms(
            manifest.clips, paths[0].parent, labels, self._config.audio, folder
        )

    def batches(self, augment: dict) -> Callable[[], Iterable]:
        """Return a function that yields the batches of a number of epochs."""
        from asc_tf.frontend import FrontendLayer
        from asc_tf.pipeline import noise_banks
        from asc_tf.pipeline.batches import make_training_batches
        from asc_tf.pipeline.examples import ClipExamples

        config = self._config.replace(augment)
        frontend = FrontendLayer(RATE, config.frontend)
        frontend.build((None, config.audio.segment_samples))
        samples = config.audio.segment_samples
        sounds = noise_banks.load(config.augment, RATE, samples, 0)
        clips = self._waveforms
        examples = ClipExamples(clips, clips, frontend, config, sounds)
        batches = make_training_batches(examples, frontend, config)
        return lambda: batches


def stored_batches(paths: list[Path], folder: Path) -> Callable[[], Iterable]:
    """Return batches of stored features, with mixup and masks."""
    from asc_tf.config import Config
    from asc_tf.frontend import FrontendLayer
    from asc_tf.pipeline.batches import make_training_batches
    from asc_tf.pipeline.examples import StoredExamples
    from asc_tf.pipeline.feature_store import StoredFeatures
    from asc_tf.pipeline.store_features import write_features

    held_out = [paths[0].with_stem(split) for split in ("validation", "test")]
    for copy in held_out:
        shutil.copy(paths[0], copy)
    corpus = write_table([*paths, *held_out], labels=2)
    config = Config().replace(corpus | our_settings("memory", MASKS | MIXUP))
    with contextlib.redirect_stdout(io.StringIO()):
        write_features(config, folder)
    frontend = FrontendLayer(RATE, config.frontend)
    frontend.build((None, config.audio.segment_samples))
    examples = StoredExamples(StoredFeatures.open(folder), frontend, config)
    batches = make_training_batches(examples, frontend, config)
    return lambda: batches


def our_settings(cache: str, augment: dict) -> dict:
    """Return the configuration for this package."""
    return {
        **{"audio.sample_rate": RATE, "audio.segment_seconds": SECONDS.value},
        **{"audio.cache": cache, "frontend.n_fft": N_FFT, "train.batch_size": BATCH},
        **{"frontend.hop_length": HOP, "frontend.n_mels": MELS},
        **{"train.epochs": EPOCHS.value, **augment},
    }


def load_by_librosa(path: Path) -> np.ndarray:
    """Load the waveform of a clip."""
    import librosa

    return librosa.load(path, sr=RATE)[0]


def compute_by_librosa(
    path: Path, seed: int, load: Callable = load_by_librosa
) -> np.ndarray:
    """Compute the features of an augmented clip."""
    import librosa

    generator, samples = np.random.default_rng(seed), load(path)
    samples = np.roll(samples, generator.integers(len(samples)))
    samples = samples * np.float32(10 ** (generator.uniform(-6, 6) / 20))
    mel = librosa.feature.melspectrogram(
        y=samples, sr=RATE, n_fft=N_FFT, hop_length=HOP, n_mels=MELS
    )
    return librosa.power_to_db(mel, ref=np.max).T


def librosa_batches(
    paths: list[Path], keep: bool = False, map_clips: Callable = map
) -> Callable[[], Iterator]:
    """Return a Python generator of batches that does the same work.

    Args:
        paths: Files of the clips.
        keep: Whether it keeps the waveforms in memory.
        map_clips: Function that maps, perhaps in processes that work ahead.
    """
    generator = np.random.default_rng(2)
    load = functools.cache(load_by_librosa) if keep else load_by_librosa
    compute = functools.partial(compute_by_librosa, load=load)

    def mask(clip: np.ndarray, axis: int, widest: int) -> None:
        for _ in range(2):
            width = generator.integers(widest + 1)
            start = generator.integers(clip.shape[axis] - width + 1)
            np.swapaxes(clip, 0, axis)[start : start + width] = 0

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        epochs = [generator.permutation(len(paths)) for _ in range(EPOCHS.value)]
        order = np.concatenate(epochs)
        features = iter(
            map_clips(compute, [paths[n] for n in order], range(len(order)))
        )
        for first in range(0, len(order), BATCH):
            members = order[first : first + BATCH]
            x = np.stack(list(itertools.islice(features, len(members))))
            y = np.eye(2, dtype=np.float32)[members % 2]
            share = generator.beta(0.3, 0.3, len(members)).astype(np.float32)
            partner = generator.permutation(len(members))
            x = share[:, None, None] * x + (1 - share[:, None, None]) * x[partner]
            y = share[:, None] * y + (1 - share[:, None]) * y[partner]
            for clip in x:
                mask(clip, 0, 10)
                mask(clip, 1, 8)
            yield x, y

    return batches


def from_generator(batches: Callable[[], Iterator]) -> Callable[[], Iterable]:
    """Wrap a generator in tf.data, with prefetching."""
    import tensorflow as tf

    signature = (
        tf.TensorSpec([None, None, MELS], tf.float32),
        tf.TensorSpec([None, 2], tf.float32),
    )
    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
    dataset = dataset.prefetch(tf.data.AUTOTUNE)
    return lambda: dataset


class Pace(NamedTuple):
    """Seconds to make an iterator; clips per second; processor seconds per clip."""

    start: float = np.inf
    clips: float = 0.0
    cpu: float = np.inf


def race(ways: dict[str, Callable[[], Iterable]]) -> dict[str, Pace]:
    """Measure the pace of each pipeline, after a round that fills caches."""
    fastest = dict.fromkeys(ways, Pace())
    for turn in range(-1, ROUNDS.value):
        for name, batches in ways.items():
            made = time.perf_counter()
            coming = iter(batches())
            began, used = time.perf_counter(), time.process_time()
            clips = sum(len(targets) for _, targets in coming)
            took, used = time.perf_counter() - began, time.process_time() - used
            assert clips % CLIPS.value == 0, f"{name} gave {clips} clips"
            if turn >= 0:
                best = fastest[name]
                fastest[name] = Pace(
                    min(best.start, began - made),
                    max(best.clips, clips / took),
                    min(best.cpu, used / clips),
                )
    return fastest


def compare(title: str, paths: list[Path], folder: Path) -> None:
    """Print the table of one format."""
    ways: dict[str, Callable[[], Iterable]] = {
        f"asc_tf, cache = {cache}": Ours(paths, folder / cache, cache).batches(TYPICAL)
        for cache in CACHES
    }
    ways["asc_tf, stored features"] = stored_batches(paths, folder / "features")
    for keep, name in ((False, ""), (True, ", kept")):
        ways[f"generator{name}"] = librosa_batches(paths, keep)
        ways[f"from_generator{name}"] = from_generator(librosa_batches(paths, keep))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), context) as pool:
        ways["generator, processes"] = librosa_batches(paths, map_clips=pool.map)
        paces = race(ways)
    peers = ("generator", "generator, kept", "generator, processes")
    heads = "".join(f"{name:>10}" for name in ("ratio", "kept", "processes"))
    print(f"\n{title:24} {'start s':>8} {'clips/s':>8} {'CPU ms':>8}{heads}")
    for name, pace in paces.items():
        ratios = "".join(f"{pace.clips / paces[peer].clips:10.2f}" for peer in peers)
        cpu = "-" if "processes" in name else f"{1000 * pace.cpu:.2f}"
        print(f"{name:24} {pace.start:8.2f} {pace.clips:8.0f} {cpu:>8}{ratios}")
    waits = measure_waits(ways["asc_tf, cache = none"])
    print(
        f"wait for the next batch after {IDLE:g} s idle, cache = none: median "
        f"{1000 * np.median(waits):.1f} ms, longest {1000 * max(waits):.1f} ms"
    )


def measure_waits(batches: Callable[[], Iterable]) -> list[float]:
    """Measure the seconds until the next batch, after idling before each."""
    coming = iter(batches())
    next(coming)
    waits = []
    for _ in range(WAITS):
        time.sleep(IDLE)
        began = time.perf_counter()
        next(coming)
        waits.append(time.perf_counter() - began)
    return waits


def start() -> None:
    """Set TensorFlow up as for a training, and print what is measured."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(1)
    tf.config.experimental.enable_op_determinism()
    logging.set_verbosity(logging.ERROR)
    devices = ", ".join(device.name for device in tf.config.list_physical_devices())
    print(
        f"{CLIPS.value} clips of {SECONDS.value:g} s; {os.cpu_count()} processors; "
        f"clips per second, best of {ROUNDS.value}; TensorFlow sees {devices}"
    )


def write_format(folder: Path, title: str) -> list[Path]:
    """Write the clips of a format."""
    return write_clips(folder, CLIPS.value, SECONDS.value, RATE, *FORMATS[title])


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        sys.exit(f"unexpected argument {argv[1]}")
    start()
    for title in FORMATS:
        with tempfile.TemporaryDirectory() as folder:
            compare(title, write_format(Path(folder), title), Path(folder))


if __name__ == "__main__":
    app.run(main)
