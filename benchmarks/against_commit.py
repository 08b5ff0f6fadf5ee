"""Training of this checkout compared with that of another commit, side by side.

    git worktree add ../before 8f7d529
    python benchmarks/against_commit.py --other=../before [--esc10=ESC-10] [--rounds=3]
        [--epochs=8] [--models=separable_cnn,esa3_cnn,cp_mobile]
        [--seeds=0,1,2 --workdir=FOLDER]

The first table measures the training step alone: batches of random features in memory,
Keras' `train_on_batch`. Both commits have a process for each model, and the processes
take turns. The best round counts; CPU is the time of all processors.

The second table, with the recordings of ESC-10, measures `asc-tf train esc10_small`:
the seconds from the command to the end of the first epoch without the time of an epoch
("start"), and an epoch with its validation and checkpoint. "100 epochs" is start and
100 epochs. The commits take turns; the best start and the median epoch count. The
decoded clips are cached by an earlier run of each commit, which is not measured.

With `--seeds` the second table is of whole trainings instead: each commit trains all
epochs with each seed and evaluates the test fold. Runs are kept in `--workdir`; the
same command goes on with those that were interrupted.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import app, flags

_OTHER = flags.DEFINE_string("other", None, "checkout of another commit", required=True)
_ESC10 = flags.DEFINE_string("esc10", "", "folder of ESC-10; empty: no second table")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "number of rounds", lower_bound=1)
_EPOCHS = flags.DEFINE_integer("epochs", 8, "epochs of a run", lower_bound=3)
_MODELS = flags.DEFINE_list(
    "models", ["separable_cnn", "esa3_cnn", "cp_mobile"], "networks of the first table"
)
_SEEDS = flags.DEFINE_list("seeds", [], "seeds of whole trainings on ESC-10")
_WORKDIR = flags.DEFINE_string("workdir", "", "folder of whole trainings")
_STEPS = flags.DEFINE_integer("steps", 12, "steps of a round", lower_bound=1)

SHAPES = {
    "separable_cnn": (16, 313, 64),
    "esa3_cnn": (16, 431, 128),
    "cp_mobile": (32, 313, 64),
}
"""Batch size, frames and bands of the features, as in the shipped configurations."""

MEASURE_STEPS = """
import json, sys, time
import keras, numpy as np
from asc_tf import models
from asc_tf.config import Model

name, steps, (batch, *shape) = json.loads(sys.argv[1])
answers, sys.stdout = sys.stdout, sys.stderr
keras.utils.set_random_seed(1)
network = models.build(Model(name=name), tuple(shape), 10)
network.compile("adam", "categorical_crossentropy")
x = np.random.default_rng(0).standard_normal((batch, *shape), np.float32)
y = np.eye(10, dtype=np.float32)[np.arange(batch) % 10]
network.train_on_batch(x, y)
for _ in sys.stdin:
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(steps):
        network.train_on_batch(x, y)
    seconds = time.perf_counter() - wall, time.process_time() - cpu
    print(json.dumps([each / steps for each in seconds]), file=answers, flush=True)
"""


class Run(NamedTuple):
    """Seconds of a run before its first epoch, and of each later epoch."""

    start: float
    epochs: list[float]


def make_environment(checkout: str) -> dict[str, str]:
    """Return the environment of a process that imports a checkout."""
    return os.environ | {
        "PYTHONPATH": str(Path(checkout).resolve()),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def compare_steps(checkouts: dict[str, str]) -> None:
    """Print the table of the training step."""
    print(f"{'step, CPU ms (wall ms)':22}" + "".join(f"{n:>16}" for n in checkouts))
    for model in filter(None, _MODELS.value):
        task = json.dumps([model, _STEPS.value, SHAPES[model]])
        processes = {
            name: subprocess.Popen(
                [sys.executable, "-c", MEASURE_STEPS, task],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=make_environment(checkout),
                # Python imports from the folder that it is started in first.
                cwd=checkout,
                text=True,
            )
            for name, checkout in checkouts.items()
        }
        best = dict.fromkeys(checkouts, (np.inf, np.inf))
        for _ in range(_ROUNDS.value):
            for name, process in processes.items():
                assert process.stdin and process.stdout
                process.stdin.write("\n")
                process.stdin.flush()
                answer = process.stdout.readline()
                if not answer:
                    sys.exit(f"{model} cannot be trained by the code in {name}")
                best[name] = tuple(map(min, best[name], json.loads(answer)))
        for process in processes.values():
            process.communicate()
        print_row(
            model, {n: (1000 * cpu, 1000 * wall) for n, (wall, cpu) in best.items()}
        )


def print_row(title: str, cells: dict[str, tuple[float, ...]]) -> None:
    """Print the values of both commits, and the first divided by the second."""
    before, now = cells.values()
    texts = [
        f"{cell[0]:.1f}" + "".join(f" ({other:.1f})" for other in cell[1:])
        for cell in cells.values()
    ]
    print(
        f"{title:22}"
        + "".join(f"{text:>16}" for text in texts)
        + f"   {before[0] / now[0]:.2f}x, {now[0] / before[0]:.2f} of its time",
        flush=True,
    )


def train(checkout: str, folder: Path, epochs: int) -> Run:
    """Train by the command line, and read the times of its epochs from its history."""
    shutil.rmtree(folder / "run", ignore_errors=True)
    history = folder / "run" / "history.csv"
    began = time.monotonic()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "asc_tf.train", "--config=esc10_small"),
            *(
                f"--dataset.dir={Path(_ESC10.value).resolve()}",
                f"--workdir={folder / 'run'}",
            ),
            *(f"--train.epochs={epochs}", f"--audio.cache_dir={folder / 'cache'}"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=make_environment(checkout),
        cwd=checkout,
    )
    ends: list[float] = []
    while process.poll() is None:
        rows = history.read_text().count("\n") - 1 if history.is_file() else 0
        ends += [time.monotonic()] * (rows - len(ends))
        time.sleep(0.02)
    if process.returncode:
        sys.exit(f"the training of {checkout} failed")
    spent = [float(each) for each in np.diff(ends)]
    return Run(ends[0] - began - statistics.median(spent), spent)


def compare_training(checkouts: dict[str, str]) -> None:
    """Print the table of a training on ESC-10."""
    runs: dict[str, list[Run]] = {name: [] for name in checkouts}
    with tempfile.TemporaryDirectory() as name:
        folders = {commit: Path(name) / str(n) for n, commit in enumerate(checkouts)}
        for turn in range(_ROUNDS.value + 1):
            for commit, checkout in checkouts.items():
                folders[commit].mkdir(exist_ok=True)
                run = train(checkout, folders[commit], _EPOCHS.value if turn else 3)
                if turn:
                    runs[commit].append(run)
    start = {commit: min(run.start for run in own) for commit, own in runs.items()}
    epoch = {
        commit: statistics.median(e for run in own for e in run.epochs)
        for commit, own in runs.items()
    }
    print(f"\n{'ESC-10, seconds':22}" + "".join(f"{name:>16}" for name in checkouts))
    print_row("start", {name: (start[name],) for name in checkouts})
    print_row("epoch", {name: (epoch[name],) for name in checkouts})
    print_row("100 epochs", {n: (start[n] + 100 * epoch[n],) for n in checkouts})


def train_and_evaluate(checkout: str, folder: Path, seed: str) -> tuple[float, float]:
    """Return accuracy and log loss on the test fold of a whole training."""
    run = folder / f"seed{seed}"
    if not (run / "report" / "report.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        train = [
            *("train", "--config=esc10_small", f"--train.seed={seed}"),
            f"--dataset.dir={Path(_ESC10.value).resolve()}",
            f"--audio.cache_dir={folder / 'cache'}",
        ]
        for command, *options in (train, ["evaluate"]):
            subprocess.run(
                [
                    *(sys.executable, "-m", "asc_tf.cli", command),
                    *(f"--workdir={run}", *options),
                ],
                stdout=subprocess.DEVNULL,
                env=make_environment(checkout),
                cwd=checkout,
                check=True,
            )
    report = json.loads((run / "report" / "report.json").read_text())
    return report["accuracy"], report["log_loss"]


def compare_accuracies(checkouts: dict[str, str]) -> None:
    """Print accuracy and log loss of whole trainings with each seed."""
    folder = Path(_WORKDIR.value).resolve()
    print(f"\n{'test accuracy, log loss':22}" + "".join(f"{n:>16}" for n in checkouts))
    for seed in _SEEDS.value:
        row = [
            train_and_evaluate(each, folder / n, seed) for n, each in checkouts.items()
        ]
        cells = "".join(f"{f'{100 * a:.1f} % ({loss:.3f})':>16}" for a, loss in row)
        print(f"{f'seed {seed}':22}{cells}", flush=True)


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        sys.exit(f"unexpected argument {argv[1]}")
    if _SEEDS.value and not (_ESC10.value and _WORKDIR.value):
        sys.exit("--seeds needs --esc10 and --workdir")
    here = str(Path(__file__).resolve().parents[1])
    checkouts = {"other": _OTHER.value, "this": here}
    print(f"{os.cpu_count()} processors; {_ROUNDS.value} rounds")
    compare_steps(checkouts)
    if _SEEDS.value:
        compare_accuracies(checkouts)
    elif _ESC10.value:
        compare_training(checkouts)


if __name__ == "__main__":
    app.run(main)
