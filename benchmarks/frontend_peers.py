"""Implementations of the front-end, each in a process started by `frontend.py`.

The process needs only NumPy and the packages of its implementation, so that an
interpreter without this package can run the peers. Its first argument is a task in
JSON. It prints one line of JSON after a warm-up, and one for each round. A line on
stdin starts a round.
"""

import json
import os
import re
import sys
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import numpy as np

Features = Callable[[np.ndarray], "list[np.ndarray] | np.ndarray"]
"""Waveforms `[clips, samples]` to features `[clips, frames, ...]`."""

Passes = Callable[[np.ndarray, int], Callable[[], "list[np.ndarray] | np.ndarray"]]
"""Prepares a number of passes over waveforms and returns a function that runs them and
returns the features of the last pass."""

DATASETS = ("asc_tf, tf.data", "asc_tf, tf.data by default")

AMIN, TOP_DB = 1e-10, 80.0


def asc_tf_layer(task: dict) -> Callable:
    """Return the function of this package that computes the features of a batch."""
    from asc_tf.config import Frontend
    from asc_tf.frontend import FrontendLayer, spectrum

    settings = dict(task["settings"])
    spectrum.MEL_BLOCKS = settings.pop("mel_blocks", spectrum.MEL_BLOCKS)
    shape = {name: task[name] for name in ("n_fft", "hop_length", "n_mels")}
    layer = FrontendLayer(task["rate"], Frontend(**shape | settings))
    return layer.extract


def asc_tf_function(task: dict) -> Features:
    """Compute the features of a batch in one call of a `tf.function`."""
    return tensorflow_call(asc_tf_layer(task))


def asc_tf_dataset(task: dict) -> Passes:
    """Compute features in a `tf.data` map, with our options or those of TensorFlow."""
    import tensorflow as tf

    from asc_tf.pipeline.options import set_options

    layer = asc_tf_layer(task)
    waves = tf.constant(task["waves"])

    def extract(number: tf.Tensor) -> tf.Tensor:
        waveform = tf.ensure_shape(waves[number], [waves.shape[1]])
        return layer(waveform[tf.newaxis])[0]

    def ready(some: np.ndarray, passes: int) -> Callable[[], list[np.ndarray]]:
        clips = tf.data.Dataset.range(len(some)).repeat(passes)
        if task["way"] == DATASETS[0]:
            clips = set_options(clips)
        mapped = clips.map(extract, tf.data.AUTOTUNE).batch(task["batch"])
        # Nothing is computed before the first batch is requested.
        batches = mapped.prefetch(tf.data.AUTOTUNE).as_numpy_iterator()

        def features() -> list[np.ndarray]:
            last: deque[np.ndarray] = deque(maxlen=len(some))
            for batch in batches:
                last.extend(batch)
            return list(last)

        return features

    return ready


def tensorflow_call(function: Callable) -> Features:
    """Compute the features of a batch in one call of a TensorFlow function."""
    import tensorflow as tf

    traced = tf.function(function)
    return lambda waves: traced(tf.constant(waves)).numpy()


def tf_signal(task: dict) -> Features:
    """Use `tf.signal.stft` and one dense product with the mel matrix."""
    import tensorflow as tf

    half = task["n_fft"] // 2

    def extract(waves: tf.Tensor) -> tf.Tensor:
        padded = tf.pad(waves, [[0, 0], [half, half]])
        spectrum = tf.signal.stft(padded, task["n_fft"], task["hop_length"])
        mel = tf.matmul(tf.abs(spectrum) ** 2, task["filters"])
        mel = tf.math.log(tf.maximum(mel, AMIN)) * (10 / np.log(10))
        mel -= tf.reduce_max(mel, axis=(1, 2), keepdims=True)
        return tf.maximum(mel, -TOP_DB)

    return tensorflow_call(extract)


def keras_layer(task: dict) -> Features:
    """Use `keras.layers.MelSpectrogram`."""
    import keras

    layer = keras.layers.MelSpectrogram(
        fft_length=task["n_fft"],
        sequence_stride=task["hop_length"],
        sampling_rate=task["rate"],
        num_mel_bins=task["n_mels"],
        min_freq=0.0,
        max_freq=task["rate"] / 2,
        top_db=TOP_DB,
    )
    call = tensorflow_call(layer)
    return lambda waves: call(waves).transpose(0, 2, 1)


def kapre(task: dict) -> Features:
    """Use `kapre.composed.get_melspectrogram_layer` on clips that are padded before."""
    from kapre.composed import get_melspectrogram_layer

    half = task["n_fft"] // 2
    samples = task["samples"] + 2 * half
    layer = get_melspectrogram_layer(
        input_shape=(samples, 1),
        n_fft=task["n_fft"],
        hop_length=task["hop_length"],
        sample_rate=task["rate"],
        n_mels=task["n_mels"],
        mel_f_max=task["rate"] / 2,
        return_decibel=True,
        db_amin=AMIN,
        db_dynamic_range=TOP_DB,
    )
    call = tensorflow_call(layer)
    return lambda waves: call(np.pad(waves, [(0, 0), (half, half)])[..., None])[..., 0]


def torch_stft(task: dict) -> Features:
    """Use `torch.stft` and one dense product with the mel matrix."""
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    filters = torch.from_numpy(task["filters"])
    window = torch.hann_window(task["n_fft"])

    def features(waves: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            spectrum = torch.stft(
                torch.from_numpy(waves),
                task["n_fft"],
                task["hop_length"],
                window=window,
                pad_mode="constant",
                return_complex=True,
            )
            mel = (spectrum.abs() ** 2).transpose(1, 2) @ filters
            mel = 10 * mel.clamp_min(AMIN).log10()
            mel -= mel.amax(dim=(1, 2), keepdim=True)
            return mel.clamp_min(-TOP_DB).numpy()

    return features


def librosa_clip(task: dict) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that computes the features of one clip by librosa."""
    import librosa

    settings = task["settings"]
    kind, deltas = settings.get("kind", "log_mel"), settings.get("deltas", 0)
    frames = {name: task[name] for name in ("n_fft", "hop_length")}
    mel = {"sr": task["rate"], "n_mels": task["n_mels"]} | frames

    def decibels(power: np.ndarray) -> np.ndarray:
        return librosa.power_to_db(power, ref=np.max, amin=AMIN, top_db=TOP_DB)

    def features(wave: np.ndarray) -> np.ndarray:
        if kind == "linear":
            return decibels(np.abs(librosa.stft(wave, **frames)) ** 2).T
        power = settings.get("power", 2.0)
        bands = librosa.feature.melspectrogram(y=wave, power=power, **mel)
        if kind == "pcen":
            bands *= np.float32(2.0**31)
            return librosa.pcen(bands, sr=task["rate"], hop_length=task["hop_length"]).T
        log_mel = decibels(bands)
        if kind == "mfcc":
            return librosa.feature.mfcc(S=log_mel, n_mfcc=20).T
        orders = range(1, deltas + 1)
        stack = [log_mel, *(librosa.feature.delta(log_mel, order=o) for o in orders)]
        return np.stack(stack, axis=-1).swapaxes(0, 1) if deltas else log_mel.T

    return features


def librosa_loop(task: dict) -> Features:
    """Compute features one clip after the other."""
    one = librosa_clip(task)
    return lambda waves: [one(wave) for wave in waves]


def librosa_threads(task: dict) -> Features:
    """Compute features with one thread per processor."""
    one, pool = librosa_clip(task), ThreadPoolExecutor(os.cpu_count())
    return lambda waves: list(pool.map(one, waves))


def librosa_processes(task: dict) -> Features:
    """Compute features with one forked process per processor."""
    import multiprocessing

    global _forked
    one, waves = librosa_clip(task), task["waves"]
    one(waves[0])
    _forked = lambda number: one(waves[number])  # noqa: E731
    pool = multiprocessing.get_context("fork").Pool(os.cpu_count())
    return lambda some: pool.map(_call_forked, range(len(some)), chunksize=1)


_forked: Callable[[int], np.ndarray]


def _call_forked(number: int) -> np.ndarray:
    return _forked(number)


def over_and_over(features: Features) -> Passes:
    """Turn a function of features into repeated passes over all clips."""

    def ready(waves: np.ndarray, passes: int) -> Callable:
        return lambda: deque((features(waves) for _ in range(passes)), 1).pop()

    return ready


def in_batches(features: Features, size: int) -> Features:
    """Compute features one batch after the other."""
    return lambda waves: [
        clip
        for first in range(0, len(waves), size)
        for clip in features(waves[first : first + size])
    ]


WAYS = {
    "asc_tf, tf.function": asc_tf_function,
    **dict.fromkeys(DATASETS, asc_tf_dataset),
    "librosa": librosa_loop,
    "librosa, threads": librosa_threads,
    "librosa, processes": librosa_processes,
    "tf.signal, dense mel": tf_signal,
    "keras.layers.MelSpectrogram": keras_layer,
    "kapre": kapre,
    "torch.stft, dense mel": torch_stft,
}


PACKAGES = {"asc": "asc-tf", "tf": "tensorflow", "keras": "keras", "torch": "torch"}
"""Packages of the implementations by the first word of their names."""


def version(name: str) -> str:
    """Return the version of the package of an implementation."""
    word = re.match("[a-z]+", name)[0]
    return metadata.version(PACKAGES.get(word, word))


def memory(field: str) -> int:
    """Return the memory of this process now (VmRSS) or at its peak (VmHWM) in kB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1])
    return 0


def run(task: dict, say: Callable[[dict], None]) -> None:
    """Compute features of one clip, of all, and of all again for each line on stdin."""
    folder = Path(task["folder"])
    waves = np.load(folder / "waves.npy")
    filters = np.load(folder / "filters.npy")
    task |= {"waves": waves, "filters": filters, "samples": waves.shape[1]}
    try:
        features = WAYS[task["way"]](task)
        if task["way"] not in DATASETS:
            if task["batch"]:
                features = in_batches(features, task["batch"])
            features = over_and_over(features)
        features(waves[:1], 1)()
    except ImportError as error:
        return say({"missing": error.name or str(error)})
    # Reset the peak, so that the next peak is that of all clips.
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    result = features(waves, 1)()
    grown = memory("VmHWM") - before
    np.save(task["result"], np.asarray(result, np.float32))
    del result
    say({"grown_mb": grown / 1024, "version": version(task["way"])})
    for _ in sys.stdin:
        go = features(waves, task["passes"])
        began, cpu = time.perf_counter(), time.process_time()
        go()
        spent = time.perf_counter() - began, time.process_time() - cpu
        say({"seconds": [each / task["passes"] for each in spent]})


def main() -> None:
    # Libraries may print to stdout, which must contain only answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    run(
        json.loads(sys.argv[1]),
        lambda answer: print(json.dumps(answer), file=answers, flush=True),
    )


if __name__ == "__main__":
    main()
