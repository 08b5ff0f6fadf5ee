"""Time of the front-end in listening, and whether overlapping windows could share it.

    python benchmarks/frontend_share.py --models=EXPORT/int8.tflite [--overlap=4]

Cuts each .tflite into front-end and body (as `--export.separate` does) and measures the
CPU time of both for a window, and that of resampling the audio of a hop. A window
begins every `segment / overlap`; the hop is rounded to whole frames.

If a frame's features did not depend on the window that it lies in, the front-end would
have to compute the frames of a hop only. So the features of the frames that two
overlapping windows share are compared; the loudest sound is in the first quarter of the
first window. Needs the packages of the training set, for the cut.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
from absl import app, flags
from ai_edge_litert.interpreter import Interpreter

from asc_tf.core.tensorflow_start import suppress_notes
from asc_tf.dsp.resampling import resample
from asc_tf.edge import tflite_metadata
from asc_tf.exporting.conversion.flatbuffer import split_at_features

_MODELS = flags.DEFINE_list("models", None, ".tflite files", required=True)
_OVERLAP = flags.DEFINE_integer("overlap", 4, "windows that a sample lies in", 2)
_RATE = flags.DEFINE_integer("sample_rate", 44_100, "sample rate of the source, Hz")
_REPEATS = flags.DEFINE_integer("repeats", 50, "runs of each part; the median counts")


def load(flatbuffer: bytes) -> Callable[[np.ndarray], np.ndarray]:
    """Load a model of one input and take its first output."""
    interpreter = Interpreter(model_content=flatbuffer, num_threads=1)
    interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner("serving_default")
    (name,) = runner.get_input_details()
    return lambda values: next(iter(runner(**{name: values}).values()))


def measure(run: Callable[[], object]) -> float:
    """Return the median CPU time of a function in ms."""
    times = []
    for _ in range(_REPEATS.value):
        began = time.process_time()
        run()
        times.append(1000 * (time.process_time() - began))
    return statistics.median(times)


def make_sound(samples: int, loud_until: int) -> np.ndarray:
    """Make noise, float32 `[samples]`, that is loud at its beginning."""
    noise = np.random.default_rng(0).normal(0, 0.02, samples)
    noise[:loud_until] *= 10
    return noise.astype(np.float32)


def examine(path: str) -> str:
    """Measure a model; return its row of the table."""
    metadata, flatbuffer = tflite_metadata.load(path)
    settings = metadata.extra["config"]["frontend"]
    with suppress_notes():
        front, body = map(load, split_at_features(bytes(flatbuffer)))
    length, rate = metadata.segment_samples, metadata.sample_rate
    frames = max(length // _OVERLAP.value // settings["hop_length"], 1)
    hop = frames * settings["hop_length"]
    sound = make_sound(length + hop, hop)
    windows = sound[np.newaxis, :length], sound[np.newaxis, hop:]
    first, second = (front(window)[0] for window in windows)
    difference = np.abs(first[frames:] - second[: len(first) - frames])
    equal = int((difference.reshape(len(difference), -1).max(axis=1) < 1e-4).sum())
    front_ms = measure(lambda: front(windows[0]))
    body_ms = measure(lambda: body(first[np.newaxis]))
    source = make_sound(round(hop / rate * _RATE.value), 0)
    other_ms = measure(lambda: resample(source, _RATE.value, rate))
    total = front_ms + body_ms + other_ms
    saved = front_ms * (1 - frames / len(first))
    return (
        f"| {path} | {length / rate:g} s, {hop / rate:.3g} s | {front_ms:.2f} | "
        f"{body_ms:.2f} | {other_ms:.2f} | {front_ms / total:.0%} | {saved / total:.0%}"
        f" | {equal} of {len(difference)} | {difference.max():.2g} |"
    )


def main(_: list[str]) -> None:
    print(
        "| model | window, hop | front-end, ms | body, ms | resampling, ms | share of "
        "the front-end | could be saved | equal shared frames | largest difference |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for path in _MODELS.value:
        print(examine(path), flush=True)


if __name__ == "__main__":
    app.run(main)
