"""Soak test of `asc-edge listen`: hours of audio from standard input at full speed.

    python benchmarks/soak_listening.py --model=EXPORT/int8.tflite [--hours=24]

Writes a WAV file (24 hours of 44.1 kHz, mono, 16 bits take 7.6 GB in `--folder`; it is
removed), or takes that of `--audio`. It is classified by `asc-edge classify --segments
--json`, and at the same time by `asc-edge listen --json` from standard input; the
windows of both are compared while they come. The memory of the listener is read after
each window.

Exits with 1 if a window is missing or its probabilities differ in any bit, or if the
memory of the last quarter of the windows differs by more than 2 % from the second's.
(Within minutes it goes up and down by some percent, as blocks are allocated and freed.)
"""

import contextlib
import itertools
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from absl import app, flags

from asc_tf.edge.machine import read_memory

_MODEL = flags.DEFINE_string("model", None, "a .tflite file", required=True)
_HOURS = flags.DEFINE_float("hours", 24.0, "length of the audio")
_RATE = flags.DEFINE_integer("sample_rate", 44_100, "sample rate of the audio, Hz")
_FOLDER = flags.DEFINE_string("folder", None, "where the audio is written")
_MAX_GROWTH = flags.DEFINE_float(
    "max_growth", 0.02, "largest growth of the memory, as a share of it"
)
_AUDIO = flags.DEFINE_string("audio", None, "a WAV file, instead of a new one")

SHARED = ("start", "end", "label", "probability", "top")
PROGRESS = 1800
"""Windows between two lines on stderr."""


def write_audio(path: Path, hours: float, rate: int) -> None:
    """Write noise over a tone, whose level changes each minute; some are silent.

    The header has no length, because 24 hours exceed the 4 GB of a WAV file.
    """
    generator = np.random.default_rng(0)
    noise = generator.normal(0, 0.1, 60 * rate)
    tone = 0.2 * np.sin(2 * np.pi * 440 * np.arange(60 * rate) / rate)
    with path.open("wb") as file:
        form = struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 16)
        file.write(b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + form + b"data\0\0\0\0")
        for minute in range(round(hours * 60)):
            level = 0 if minute % 10 == 9 else generator.uniform(0.1, 1)
            block = 32767 * level * (np.roll(noise, 7919 * minute) + tone)
            file.write(np.round(block).astype("<i2").tobytes())


@contextlib.contextmanager
def open_audio() -> Iterator[Path]:
    """Give the audio file; a new one is removed afterwards."""
    if _AUDIO.value:
        yield Path(_AUDIO.value)
        return
    with tempfile.TemporaryDirectory(dir=_FOLDER.value) as folder:
        path = Path(folder) / "audio.wav"
        write_audio(path, _HOURS.value, _RATE.value)
        yield path


def start(*arguments: str, **options) -> subprocess.Popen:
    """Start asc-edge."""
    command = [sys.executable, "-m", "asc_tf.edge.cli", *arguments, "--json"]
    command.append(f"--model={_MODEL.value}")
    return subprocess.Popen(command, stdout=subprocess.PIPE, **options)


def read_rows(lines: Iterator[bytes]) -> Iterator[dict]:
    """Yield the rows of windows; classify ends with one for the whole file."""
    for line in lines:
        row = json.loads(line)
        if "start" in row:
            yield {name: row[name] for name in SHARED}


def main(_: list[str]) -> int:
    memory: list[float] = []
    windows = missing = differing = 0
    seconds = 0.0
    with open_audio() as path, path.open("rb") as audio:
        began = time.perf_counter()
        reference = start("classify", "--segments", str(path))
        listener = start("listen", "--source=-", stdin=audio)
        rows = itertools.zip_longest(
            read_rows(iter(listener.stdout)), read_rows(iter(reference.stdout))
        )
        for row, expected in rows:
            if row is None or expected is None:
                missing += 1
                continue
            windows += 1
            # None if the listener has ended, and its last rows are still in the pipe.
            if resident := read_memory("VmRSS", process=listener.pid):
                memory.append(resident)
            differing += row != expected
            seconds = row["end"]
            if windows % PROGRESS == 0:
                print(
                    f"{windows} windows, {seconds / 3600:.1f} h, {missing} "
                    f"missing, {differing} differ, {memory[-1]:.2f} MB",
                    file=sys.stderr,
                )
        codes = [reference.wait()]
        _, status, usage = os.wait4(listener.pid, 0)
        duration = time.perf_counter() - began
    if not memory:
        sys.exit(f"{windows} windows, {missing} missing: too few to measure memory")
    quarter = max(len(memory) // 4, 1)
    second = float(np.mean(memory[quarter : 2 * quarter]))
    last = float(np.mean(memory[-quarter:]))
    growth = last / second - 1
    print(
        f"{seconds / 3600:.2f} h, {seconds / duration:.0f} times real time beside the "
        f"reference, {usage.ru_utime + usage.ru_stime:.0f} CPU s\n"
        f"{windows} windows, {missing} missing, {differing} differ\n"
        f"memory: second quarter {second:.2f} MB, last quarter {last:.2f} MB "
        f"({growth:+.2%}), peak {max(memory):.1f} MB"
    )
    is_bad = (
        any((*codes, status, missing, differing))
        or not abs(growth) <= _MAX_GROWTH.value
    )
    return int(is_bad)


if __name__ == "__main__":
    app.run(main)
