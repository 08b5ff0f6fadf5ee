"""Speed and accuracy of the resampler, compared with soxr.

    python benchmarks/resample.py [--threads=1] [--seconds=10,1] [--min_ratio=0.5]

Milliseconds per clip, averaged over many clips: `graph` in a `tf.data` map that knows
the rates, `other` in one that does not, `call` in one `tf.function` call after another
from Python, `numpy` and soxr in `--threads` Python threads. All of them take turns, and
the fastest turn counts. A ratio is soxr's time divided by ours: above 1 ours is faster.
`pass` is the largest error of a sine up to 0.9 of the lower Nyquist frequency, `alias`
the remainder of a sine above it, both in dB relative to a full-scale sine. Exits with 1
if an error is above -60 dB, or a ratio of `graph` below `--min_ratio` (awkward rates,
the last two pairs, may be below it).
"""

import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

# NumPy's BLAS reads it when it is loaded. The pool below supplies the threads.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
from absl import app, flags

from asc_tf.core.tensorflow_start import prepare_tensorflow
from asc_tf.dsp import resampling

prepare_tensorflow()

_PAIRS = flags.DEFINE_list(
    "pairs",
    "48000:32000,48000:22050,48000:16000,44100:32000,44100:22050,44100:16000,"
    "11024:22050,44101:44100",
    "rates in and out, Hz",
)
_SECONDS = flags.DEFINE_list("seconds", ["10", "1"], "durations of a clip in s")
_THREADS = flags.DEFINE_integer("threads", 1, "number of cores that each may use")
_TURNS = flags.DEFINE_integer("turns", 7, "number of measurements of each")
_QUALITY = flags.DEFINE_enum("quality", "HQ", ["MQ", "HQ", "VHQ"], "quality of soxr")
_SEED = flags.DEFINE_integer("seed", 0, "seed of the clips")
_MIN_RATIO = flags.DEFINE_float("min_ratio", 0.0, "smallest accepted ratio")

KNOWN = (48000, 44100, 32000, 22050, 16000, 11024, 44101)
MAX_ERROR = -60.0
KINDS = ("graph", "other", "call", "numpy")

Resample = Callable[[np.ndarray, int, int], np.ndarray]


def worst_errors(
    rate_in: int, rate_out: int, resample: Resample
) -> tuple[float, float | None]:
    """Return the largest pass-band error and alias in dB; None if nothing can alias."""
    lower = min(rate_in, rate_out) / 2

    def left(share: float, expected: float) -> float:
        time_in, time_out = (np.arange(rate) / rate for rate in (rate_in, rate_out))
        wave = np.sin(2 * np.pi * share * lower * time_in).astype(np.float32)
        wanted = expected * np.sin(2 * np.pi * share * lower * time_out)
        error = (resample(wave, rate_in, rate_out) - wanted)[rate_out // 8 :]
        error = error[: -rate_out // 8]
        return float(10 * np.log10(2 * np.mean(error**2) + 1e-30))

    passed = max(left(share, 1.0) for share in np.linspace(0.01, 0.9, 12))
    above = np.linspace(1.0, 0.98 * rate_in / 2 / lower, 12)
    if rate_out > 0.9 * rate_in:
        return passed, None
    return passed, max(left(share, 0.0) for share in above)


def contestants(
    rate_in: int, rate_out: int, seconds: int, clips: int
) -> dict[str, Callable[[], object]]:
    """Return functions that resample `clips` clips, by name."""
    import soxr
    import tensorflow as tf

    from asc_tf.audio.resample import resample

    threads = _THREADS.value
    generator = np.random.default_rng(_SEED.value)
    waves = generator.uniform(-1, 1, (4, rate_in * seconds)).astype(np.float32)
    many = [waves[clip % len(waves)] for clip in range(clips)]
    pool = ThreadPoolExecutor(threads)
    dataset = tf.data.Dataset.from_tensor_slices(
        (waves, np.full(len(waves), rate_in, np.int64))
    ).repeat()
    options = tf.data.Options()
    options.threading.private_threadpool_size = threads

    def map_dataset(known: tuple[int, ...]) -> Callable[[], object]:
        iterator = iter(
            dataset.map(
                lambda wave, rate: resample(wave, rate, rate_out, known),
                num_parallel_calls=threads,
            ).with_options(options)
        )

        @tf.function
        def pull() -> tf.Tensor:
            total = tf.constant(0.0)
            for _ in tf.range(clips):
                total += next(iterator)[-1]
            return total

        return lambda: pull().numpy()

    single = tf.function(
        lambda wave, rate: resample(wave, rate, rate_out, KNOWN),
        input_signature=[
            tf.TensorSpec([None], tf.float32),
            tf.TensorSpec([], tf.int64),
        ],
    )
    tensors = [tf.constant(wave) for wave in waves]
    rate = tf.constant(rate_in, tf.int64)

    def map_pool(one: Resample) -> Callable[[], object]:
        return lambda: list(pool.map(lambda wave: one(wave, rate_in, rate_out), many))

    return {
        "soxr": map_pool(lambda *clip: soxr.resample(*clip, _QUALITY.value)),
        "graph": map_dataset(KNOWN),
        "other": map_dataset(()),
        "call": lambda: [
            single(tensors[clip % len(tensors)], rate).numpy() for clip in range(clips)
        ],
        "numpy": map_pool(resampling.resample),
    }


def milliseconds(runs: dict[str, Callable[[], object]], clips: int) -> dict[str, float]:
    """Return the milliseconds per clip of the fastest turn of each function."""
    fastest = dict.fromkeys(runs, float("inf"))
    for turn in range(-1, _TURNS.value):  # the first turn is the warm-up
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            if turn >= 0:
                fastest[name] = min(fastest[name], time.perf_counter() - began)
    return {name: 1000 * took / clips for name, took in fastest.items()}


def main(_: list[str]) -> None:
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")
    tf.config.threading.set_intra_op_parallelism_threads(_THREADS.value)
    tf.config.threading.set_inter_op_parallelism_threads(_THREADS.value)
    print(
        f"{_THREADS.value} of {os.cpu_count()} cores; soxr {_QUALITY.value}; "
        "ms per clip (soxr's time over it)"
    )
    kinds = "".join(f"{kind:>15}" for kind in KINDS)
    print(f"{'pair':13}{'clip':>5}{'soxr':>7}{kinds}{'pass':>8}{'alias':>8}")
    failures = []
    for pair in _PAIRS.value:
        rate_in, rate_out = map(int, pair.split(":"))
        passed, alias = worst_errors(rate_in, rate_out, resampling.resample)
        if max(passed, alias or MAX_ERROR) > MAX_ERROR:
            failures.append(f"{pair} errs by more than {MAX_ERROR:g} dB")
        for seconds in map(int, _SECONDS.value):
            clips = max(160 // seconds, 16)
            took = milliseconds(contestants(rate_in, rate_out, seconds, clips), clips)
            ratios = {kind: took["soxr"] / took[kind] for kind in KINDS}
            cells = "".join(
                f"{took[kind]:8.2f} ({ratios[kind]:4.2f})" for kind in KINDS
            )
            cell = "-" if alias is None else f"{alias:.1f}"
            print(
                f"{pair:13}{seconds:4}s{took['soxr']:7.2f}{cells}"
                f"{passed:8.1f}{cell:>8}",
                flush=True,
            )
            is_awkward = resampling.plan(rate_in, rate_out).is_awkward
            if ratios["graph"] < _MIN_RATIO.value and not is_awkward:
                failures.append(f"{pair}, {seconds} s: ratio {ratios['graph']:.2f}")
    if failures:
        sys.exit("\n".join(failures))


if __name__ == "__main__":
    app.run(main)
