"""Memory of `asc-tf predict` and `asc-edge classify` on long files.

    python benchmarks/predict_memory.py --model=RUN_OR_EXPORT [--edge_model=M.tflite]
        [--minutes=10,30] [--formats=WAV,FLAC]

Writes noise of 48 kHz, stereo, 16 bits, and classifies each file in a process of its
own. `peak` is the peak memory of the process, `above` the difference to that of the
shortest file. Exits with 1 if `above` exceeds `--max_above` MB.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
from absl import app, flags

_MODEL = flags.DEFINE_string("model", None, "model for asc-tf predict", required=True)
_EDGE_MODEL = flags.DEFINE_string("edge_model", "", "a .tflite for asc-edge; WAV only")
_MINUTES = flags.DEFINE_list("minutes", ["10", "30"], "minutes, the shortest first")
_FORMATS = flags.DEFINE_list("formats", ["WAV", "FLAC"], "formats of the files")
_MAX_ABOVE = flags.DEFINE_float("max_above", 100.0, "largest accepted growth, MB")

RATE, CHANNELS = 48_000, 2


def write_noise(path: Path, minutes: float, kind: str) -> None:
    generator = np.random.default_rng(0)
    with soundfile.SoundFile(
        path, "w", RATE, CHANNELS, subtype="PCM_16", format=kind
    ) as file:
        for _ in range(round(minutes * 60)):
            file.write(generator.uniform(-0.5, 0.5, (RATE, CHANNELS)))


def measure(arguments: list[str]) -> tuple[float, float]:
    """Return the peak memory of a process in MB and its duration in seconds."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", *arguments])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(arguments)}: failed")
    return usage.ru_maxrss / 1024, time.perf_counter() - began


def main(_: list[str]) -> int:
    # This limit exceeds every length; earlier versions had a limit by default.
    limit = "--audio.max_seconds=86400"
    ways = [
        (f"predict {kind}", kind, ["asc_tf.cli", "predict", limit, "--model", model])
        for kind, model in ((kind, _MODEL.value) for kind in _FORMATS.value)
    ]
    if edge_model := _EDGE_MODEL.value:
        classify = ["asc_tf.edge.cli", "classify", "--model", edge_model]
        ways.append(("edge WAV", "WAV", classify))
    is_bad = False
    with tempfile.TemporaryDirectory() as folder:
        for name, kind, arguments in ways:
            least = 0.0
            for minutes in map(float, _MINUTES.value):
                path = Path(folder) / f"{minutes:g}.{kind.lower()}"
                if not path.exists():
                    write_noise(path, minutes, kind)
                peak, seconds = measure([*arguments, str(path)])
                least = least or peak
                above = peak - least
                is_bad |= above > _MAX_ABOVE.value
                print(
                    f"{name:14} {minutes:5g} min: peak {peak:6.0f} MB, "
                    f"above {above:6.0f} MB, {seconds:6.1f} s",
                    flush=True,
                )
    return int(is_bad)


if __name__ == "__main__":
    app.run(main)
