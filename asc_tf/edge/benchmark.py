"""Measurement of a model on this machine: latency, start, memory, energy."""

import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from asc_tf.core.errors import UserError
from asc_tf.edge import machine
from asc_tf.edge.runtime import EdgeModel

WARM_UP = 3
"""Windows before the first one that counts."""

START_RUNS = 3
"""New processes that are started; the median counts."""

SAMPLE_SECONDS = 1.0
"""Seconds between two readings of the meter of energy."""

MAX_TIMES = 100_000
"""Durations of which the percentiles are computed: a few MB."""

_CODE = """
import json, os, sys, time
began = time.perf_counter()
import numpy
numpy_seconds = time.perf_counter() - began
began, cpu_began = time.perf_counter(), time.process_time()
import ai_edge_litert.interpreter
import asc_tf.edge.listen
import_seconds = time.perf_counter() - began
import_cpu_seconds = time.process_time() - cpu_began
from asc_tf.edge import machine
from asc_tf.edge.runtime import EdgeModel
model = EdgeModel(sys.argv[1], int(sys.argv[2]))
shape = model.metadata.preprocessing.segment_shape
window = numpy.zeros((1, *shape), numpy.float32)
model.predict_segments(window)
print("first answer", flush=True)
first_answer_cpu_seconds = sum(os.times()[:4])
for _ in range(20):
    model.predict_segments(window)
print(json.dumps({
    "first_answer_cpu_seconds": first_answer_cpu_seconds,
    "numpy_import_seconds": numpy_seconds,
    "import_seconds": import_seconds,
    "import_cpu_seconds": import_cpu_seconds,
    "peak_memory_mb": machine.read_memory(),
}))
"""


class Times:
    """Durations: all are counted, and a random sample of at most `limit` is kept.

    Attributes:
        count: Number of durations.
        total: Their sum in seconds.
        drawn: The sample (Vitter, "Random Sampling with a Reservoir", 1985).
    """

    def __init__(self, limit: int = MAX_TIMES) -> None:
        self._limit, self._generator = limit, random.Random(0)
        self.count, self.total = 0, 0.0
        self.drawn: list[float] = []

    def add(self, seconds: float) -> None:
        """Add a duration in seconds."""
        self.count += 1
        self.total += seconds
        if len(self.drawn) < self._limit:
            self.drawn.append(seconds)
        elif (place := self._generator.randrange(self.count)) < self._limit:
            self.drawn[place] = seconds


def measure_latency(
    model: EdgeModel, seconds: float, meter: machine.EnergyMeter
) -> dict[str, Any]:
    """Measure the inference of single windows of noise.

    Args:
        model: The model.
        seconds: Duration of the measurement in seconds.
        meter: Meter of the energy.

    Returns:
        `windows`, `mean_ms`, `mean_cpu_ms` (without the time in which other programs
        had the processor), `p50_ms`, `p95_ms` and `p99_ms`; `real_time_factor`:
        seconds of audio in the windows for each second of inference;
        `listening_factor`: the same with the hop of the model, where windows overlap;
        `joules_per_window` or None.
    """
    metadata = model.metadata
    shape = metadata.preprocessing.segment_shape
    window = np.random.default_rng(0).normal(0, 0.1, (1, *shape)).astype(np.float32)
    for _ in range(WARM_UP):
        model.predict_segments(window)
    times = Times()
    began, cpu_began = time.perf_counter(), time.process_time()
    energy_before = meter.read_joules(0.0)
    sampled = began
    while not times.count or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        model.predict_segments(window)
        now = time.perf_counter()
        times.add(now - start)
        if now - sampled >= SAMPLE_SECONDS:
            meter.sample()
            sampled = now
    duration = time.perf_counter() - began
    cpu_seconds = time.process_time() - cpu_began
    energy = meter.read_joules(duration)
    mean = times.total / times.count
    joules = None
    if energy is not None and energy_before is not None:
        joules = (energy - energy_before) / times.count
    rate = metadata.sample_rate
    return {
        "windows": times.count,
        "mean_ms": 1000 * mean,
        "mean_cpu_ms": 1000 * cpu_seconds / times.count,
        **{
            f"p{share}_ms": 1000 * float(np.percentile(times.drawn, share))
            for share in (50, 95, 99)
        },
        "real_time_factor": metadata.segment_samples / rate / mean,
        "listening_factor": metadata.hop_samples / rate / mean,
        "joules_per_window": joules,
    }


def measure_start(path: Path, threads: int) -> dict[str, Any]:
    """Start new processes that classify a window as the listener does.

    Args:
        path: Path of the .tflite.
        threads: CPU threads of one inference.

    Returns:
        Medians: `first_answer_seconds` from the start of the process,
        `first_answer_cpu_seconds` without the time in which other programs had the
        processor, but with the process that tries the model; `numpy_import_seconds`,
        `import_seconds` and `import_cpu_seconds` beyond it, `peak_memory_mb`.

    Raises:
        UserError: If a process fails.
    """
    runs = [_start(path, threads) for _ in range(START_RUNS)]
    return {
        name: float(np.median([run[name] for run in runs]))
        for name in runs[0]
        if runs[0][name] is not None
    }


def _start(path: Path, threads: int) -> dict[str, Any]:
    command = [sys.executable, "-c", _CODE, str(path), str(threads)]
    began = time.perf_counter()
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        assert process.stdout
        first = process.stdout.readline()
        seconds = time.perf_counter() - began
        rest = process.stdout.read()
        if process.wait() or not first:
            errors.seek(0)
            last = (errors.read().strip().splitlines() or ["no message"])[-1]
            raise UserError(f"a new process failed: {last}")
    return {"first_answer_seconds": seconds, **json.loads(rest)}
