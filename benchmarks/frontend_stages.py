"""Processor time of each stage of the log-mel, in the pipelines of the package.

    python benchmarks/frontend_stages.py [--clips=32] [--seconds=10] [--rounds=5]

Features as in `frontend.py`: 44.1 kHz, n_fft 2048, hop 512, 128 mels, in decibels. Each
row is a `tf.data` pipeline that goes one stage further than the row above; the second
number is the time of that stage. The pipelines take turns, and the best round counts.
The last row is librosa in one thread, which has the same stages.
"""

import os
import sys
import time
from collections.abc import Callable

# Before NumPy is imported: librosa's mel product in one thread, as its other stages.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from absl import app, flags

from asc_tf.core.tensorflow_start import prepare_tensorflow

prepare_tensorflow()

_CLIPS = flags.DEFINE_integer("clips", 32, "number of clips", lower_bound=1)
_SECONDS = flags.DEFINE_float("seconds", 10.0, "seconds of a clip", lower_bound=0.1)
_ROUNDS = flags.DEFINE_integer("rounds", 5, "number of rounds; the best counts")

RATE = 44100


def make_stages() -> dict[str, Callable]:
    """Make functions of waveforms `[1, samples]`, each with one stage more."""
    import tensorflow as tf

    from asc_tf.config import Frontend
    from asc_tf.frontend import FrontendLayer
    from asc_tf.frontend.spectrum import make_spectrum, make_window

    settings = Frontend(n_fft=2048, hop_length=512, n_mels=128)
    window, spectrum = make_window(settings), make_spectrum(settings, RATE)

    def frame(waveform):
        half = settings.n_fft // 2
        padded = tf.pad(waveform, [[0, 0], [half, half]], settings.pad_mode.upper())
        return tf.signal.frame(padded, settings.n_fft, settings.hop_length)

    return {
        "the waveform alone": lambda waveform: waveform,
        "frames": frame,
        "window": lambda waveform: frame(waveform) * window,
        "FFT": lambda waveform: tf.signal.rfft(frame(waveform) * window),
        "power and mel bands": lambda waveform: spectrum(waveform, False),
        "decibels": FrontendLayer(RATE, settings).extract,
    }


def make_pass(function: Callable, waves: np.ndarray) -> Callable[[], None]:
    """Make a function that runs all clips through a stage, without their results."""
    import tensorflow as tf

    from asc_tf.pipeline.options import AUTOTUNE, set_options

    clips = set_options(
        tf.data.Dataset.from_tensor_slices(waves[:, np.newaxis]).cache()
    )

    def compute(waveform):
        # One number of the result, so that none of it is copied out of the pipeline.
        result = function(waveform)
        return tf.reshape(result, [-1])[0]

    computed = clips.map(compute, num_parallel_calls=AUTOTUNE)

    def run() -> None:
        for _ in computed:
            pass

    return run


def make_librosa_pass(waves: np.ndarray) -> Callable[[], None]:
    """Make a function that computes the same features by librosa."""
    import librosa

    def run() -> None:
        for wave in waves:
            power = librosa.feature.melspectrogram(
                y=wave, sr=RATE, n_fft=2048, hop_length=512, n_mels=128
            )
            librosa.power_to_db(power, ref=np.max)

    return run


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        sys.exit(f"unexpected argument {argv[1]}")
    generator = np.random.default_rng(0)
    shape = _CLIPS.value, round(_SECONDS.value * RATE)
    waves = 0.1 * generator.standard_normal(shape, np.float32)
    passes = {name: make_pass(each, waves) for name, each in make_stages().items()}
    passes["librosa"] = make_librosa_pass(waves)
    best = dict.fromkeys(passes, np.inf)
    for turn in range(_ROUNDS.value + 1):
        for name, run in passes.items():
            began = time.process_time()
            run()
            # In the first turn graphs are made and caches are filled.
            if turn:
                best[name] = min(best[name], time.process_time() - began)
    print(f"CPU ms per clip of {_SECONDS.value:g} s; best of {_ROUNDS.value} rounds")
    before = 0.0
    total = 1000 * best["decibels"] / _CLIPS.value
    for name, seconds in best.items():
        spent = 1000 * seconds / _CLIPS.value
        if name == "librosa":
            print(f"{name:22}{spent:8.2f}{'':8}{spent / total:8.2f} times asc_tf")
            continue
        print(
            f"{name:22}{spent:8.2f}{spent - before:8.2f}{(spent - before) / total:8.0%}"
        )
        before = spent


if __name__ == "__main__":
    app.run(main)
