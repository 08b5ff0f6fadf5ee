"""Synthetic scenes with the names and layout of TUT Urban Acoustic Scenes 2018.

    python benchmarks/tut2018_scenes.py --meta=TUT-2018 --output=runs/tut2018_scenes

`--meta` is the corpus's folder with meta.csv and evaluation_setup; its audio is not
needed. For each recording location the first `--takes` clips are written. The sounds
are those of `asc-tf demo` (scene, location and recording); the format is that of the
corpus, 10 s of 48 kHz stereo in 24 bit. The tables in `--output` are the official ones,
reduced to these clips. A result shows that the configuration learns with the corpus's
lists, locations and format; it says nothing about real scenes.
"""

import csv
import sys
from itertools import groupby
from pathlib import Path

import numpy as np
from absl import app, flags

from asc_tf.datasets.synthetic import scenes as scenes
from asc_tf.datasets.synthetic.sounds import RATE

_META = flags.DEFINE_string("meta", None, "folder of meta.csv", required=True)
_OUTPUT = flags.DEFINE_string("output", None, "an empty or new folder", required=True)
_TAKES = flags.DEFINE_integer("takes", 2, "number of clips per location", lower_bound=1)
_SECONDS = flags.DEFINE_float("seconds", 10.0, "seconds of a clip", lower_bound=0.5)

LISTS = ("fold1_train.txt", "fold1_evaluate.txt", "fold1_test.txt")


def chosen_rows(meta: Path) -> list[dict[str, str]]:
    """Return the rows of the first clips of each location, sorted by location."""
    with open(meta, newline="") as file:
        rows = sorted(csv.DictReader(file, delimiter="\t"), key=location)
    groups = (list(group) for _, group in groupby(rows, key=location))
    return [row for group in groups for row in group[: _TAKES.value]]


def location(row: dict[str, str]) -> tuple[str, str]:
    return row["scene_label"], row["identifier"]


def write_audio(rows: list[dict[str, str]], output: Path) -> None:
    import soundfile

    size = 2 * round(_SECONDS.value * RATE / 2)
    device = scenes.DEVICES["a"]
    for place, (key, takes) in enumerate(groupby(rows, key=location)):
        here = scenes.locate(scenes.SCENES[key[0]], size, np.random.default_rng(place))
        for take, row in enumerate(takes):
            generator = np.random.default_rng([place, take])
            sound = scenes.perform(here, size, generator)
            waveform = scenes.record(sound, size, device, generator)
            path = output / row["filename"]
            soundfile.write(path, waveform, device.sample_rate, subtype="PCM_24")


def write_tables(rows: list[dict[str, str]], meta: Path, output: Path) -> None:
    files = {row["filename"] for row in rows}
    for name in [f"evaluation_setup/{each}" for each in LISTS] + ["meta.csv"]:
        lines = (meta / name).read_text().splitlines()
        header = lines[:1] if name == "meta.csv" else []
        lines = header + [line for line in lines if line.split("\t")[0] in files]
        (output / name).write_text("\n".join(lines) + "\n")


def main(argv: list[str]) -> None:
    del argv
    meta, output = Path(_META.value), Path(_OUTPUT.value)
    if output.exists() and any(output.iterdir()):
        sys.exit(f"--output={output} is not empty; choose a new folder")
    rows = chosen_rows(meta / "meta.csv")
    for name in ("audio", "evaluation_setup"):
        (output / name).mkdir(parents=True, exist_ok=True)
    write_audio(rows, output)
    write_tables(rows, meta, output)
    print(f"{len(rows)} clips of {len({location(row) for row in rows})} locations")


if __name__ == "__main__":
    app.run(main)
