"""Speed and memory of `asc-tf predict --segments` on a long recording.

    python benchmarks/long_recording.py --models=RUN,EXPORT,EXPORT/int8.tflite
        [--hours=10] [--formats=WAV,FLAC] [--edge]

Writes a recording of `--sample_rate`, mono, 16 bits, block by block (10 hours of WAV at
44.1 kHz take 3.2 GB in `--folder`; they are removed), and classifies it with each model
in a process of its own. Times include the start of the process. With `--edge`,
`asc-edge classify` runs each .tflite too, on WAV.

Exits with 1 if a process without TensorFlow takes more than `--max_mb` MB, or if one is
slower than `--min_factor` times real time.
"""

import csv
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
from absl import app, flags

_MODELS = flags.DEFINE_list("models", None, "models for asc-tf predict", required=True)
_HOURS = flags.DEFINE_float("hours", 10.0, "length of the recording")
_FORMATS = flags.DEFINE_list("formats", ["WAV"], "formats of the recording")
_RATE = flags.DEFINE_integer("sample_rate", 44_100, "sample rate of the recording, Hz")
_EDGE = flags.DEFINE_boolean("edge", False, "run asc-edge classify too")
_FOLDER = flags.DEFINE_string("folder", None, "where the recording is written")
_MAX_MB = flags.DEFINE_float("max_mb", 400.0, "largest memory without TensorFlow")
_MIN_FACTOR = flags.DEFINE_float("min_factor", 0.0, "least speed, times real time")


def make_blocks(hours: float, rate: int) -> Iterator[np.ndarray]:
    """Yield the recording in blocks of at most a minute: int16 `[samples]`.

    Noise whose level changes each minute, over a tone; every tenth minute is silent.
    """
    generator = np.random.default_rng(0)
    noise = generator.normal(0, 0.1, 60 * rate)
    tone = 0.2 * np.sin(2 * np.pi * 440 * np.arange(60 * rate) / rate)
    left = round(hours * 3600 * rate)
    minute = 0
    while left:
        size = min(left, 60 * rate)
        level = 0 if minute % 10 == 9 else generator.uniform(0.1, 1)
        yield np.round(32767 * level * (noise + tone)[:size]).astype(np.int16)
        left, minute = left - size, minute + 1


def write_recording(path: Path, hours: float, rate: int, kind: str) -> None:
    """Write the recording block by block."""
    with soundfile.SoundFile(path, "w", rate, 1, subtype="PCM_16", format=kind) as file:
        for block in make_blocks(hours, rate):
            file.write(block)


def measure(arguments: list[str]) -> tuple[float, float, float]:
    """Return peak memory in MB, duration and CPU time in seconds of a process."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", *arguments])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(arguments)}: failed")
    duration, cpu = time.perf_counter() - began, usage.ru_utime + usage.ru_stime
    return usage.ru_maxrss / 1024, duration, cpu


def count_rows(path: Path) -> int:
    """Count the segments in a table without reading it at once."""
    with path.open(newline="") as stream:
        return sum(1 for _ in csv.DictReader(stream))


def list_runs(kind: str) -> Iterator[tuple[str, str, list[str], bool]]:
    """Yield name of the program, model, command and whether it needs TensorFlow."""
    for model in _MODELS.value:
        is_tflite = model.endswith(".tflite")
        yield "asc-tf predict", model, ["asc_tf.cli", "predict"], not is_tflite
        if _EDGE.value and is_tflite and kind == "WAV":
            yield "asc-edge classify", model, ["asc_tf.edge.cli", "classify"], False


def main(_: list[str]) -> int:
    is_bad = False
    seconds = _HOURS.value * 3600
    print(f"{_HOURS.value:g} h, {_RATE.value} Hz, mono, on {os.cpu_count()} cores")
    print("| program | model | format | segments | times real time | CPU s | peak MB |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for kind in _FORMATS.value:
        with tempfile.TemporaryDirectory(dir=_FOLDER.value) as folder:
            recording = Path(folder) / f"recording.{kind.lower()}"
            table = Path(folder) / "segments.csv"
            # In a process of its own: the peak that the system reports for a child is
            # at least the memory that its parent has when it starts it.
            spawn = multiprocessing.get_context("spawn")
            writer = spawn.Process(
                target=write_recording,
                args=(recording, _HOURS.value, _RATE.value, kind),
            )
            writer.start()
            writer.join()
            for program, model, command, has_tensorflow in list_runs(kind):
                arguments = [f"--model={model}", "--segments", str(recording)]
                outputs = [f"--csv={table}", f"--audacity={folder}/labels.txt"]
                peak, duration, cpu = measure([*command, *arguments, *outputs])
                factor = seconds / duration
                is_bad |= factor < _MIN_FACTOR.value
                is_bad |= not has_tensorflow and peak > _MAX_MB.value
                print(
                    f"| {program} | {model} | {kind} | {count_rows(table)} | "
                    f"{factor:.0f} | {cpu:.0f} | {peak:.0f} |",
                    flush=True,
                )
    return int(is_bad)


if __name__ == "__main__":
    app.run(main)
