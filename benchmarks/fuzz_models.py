"""Load and run damaged .tflite files: no crash, no hang, bounded memory.

    python benchmarks/fuzz_models.py [--count=2000] [--seed=0] [--guard=full]

Files of `asc-tf export` are damaged in every way that `damaged_models.py` knows, most
of them with sizes and a checksum that fit the damage. Each goes through `asc-edge
classify` and the predictor of `asc_tf.load`, and one in 25 (all with changed metadata)
through the doctor, in child processes, so that a crash or a hang is counted and its
file kept. A file must be refused with one message that names it, or give probabilities
(a changed weight with a fitting checksum is another model).

--guard says what stands before LiteRT: `full`, `check` (the check of the file alone) or
`none`; so the two guards can be judged. Prints a table; exits with 1 on any fault.
"""

import contextlib
import io
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

import fuzz_workers
import numpy as np
import soundfile
from absl import app, flags
from damaged_models import DAMAGES, case
from fuzz_workers import Outcome, Worker, peak_kibibytes

from asc_tf.core.tensorflow_start import prepare_tensorflow
from asc_tf.edge.trial import MAX_MEMORY, TRIAL_SECONDS

prepare_tensorflow()

SLOW = 2 * TRIAL_SECONDS + 20
"""Seconds that a file may take: both users try it, load it and run it."""

MUCH = 1.1 * MAX_MEMORY / 2**20
"""MiB that the memory of the process may grow by; a first run has tried the model."""

DOCTOR_EVERY = 25
"""Of so many files the doctor examines one; it starts a process for each."""

EXAMINED = ("metadata",)
"""Kinds of damage of which the doctor examines every file."""

RATE = 16000
CORPUS_LABELS = ("low", "middle", "high")
GUARDS = ("full", "check", "none")
RESULTS = ("refused", "answered")


class Models:
    """Users of models under test; they take one file at a time.

    Args:
        folder: Folder to which each file is written.
        original: A file that is not damaged.
        guard: What stands before LiteRT, one of `GUARDS`.
    """

    def __init__(self, folder: Path, original: bytes, guard: str = "full") -> None:
        from asc_tf.edge.tflite_metadata import read_metadata

        self._folder = folder
        (folder / "original.tflite").write_bytes(original)
        self._metadata = read_metadata(folder / "original.tflite")
        self._path, self._clip = folder / "model.tflite", folder / "clip.wav"
        noise = np.random.default_rng(0).uniform(-0.5, 0.5, 3 * RATE // 2)
        soundfile.write(self._clip, noise, RATE)
        self._off = {
            "full": (),
            "check": ("run_trial",),
            "none": ("run_trial", "check_flatbuffer"),
        }[guard]

    def check(self, kind: str, index: int, contents: bytes) -> Outcome:
        """Load and run one file and return its outcome."""
        self._path.write_bytes(contents)
        before, began = peak_kibibytes(), time.perf_counter()
        with contextlib.ExitStack() as stack:
            for name in self._off:
                stack.enter_context(
                    mock.patch(f"asc_tf.edge.runtime.{name}", lambda *given: None)
                )
            try:
                results = (self._classify(), self._predict())
                fault = "" if results[0] == results[1] else f"differ: {results}"
                is_examined = kind in EXAMINED or index % DOCTOR_EVERY == 0
                if is_examined and not self._off:
                    self._examine()
            except Exception as error:
                results = ("", "")
                fault = f"{type(error).__name__}: {error}".split("\n")[0]
        seconds = time.perf_counter() - began
        growth = (peak_kibibytes() - before) / 1024
        if not fault and seconds > SLOW:
            fault = f"slow: {seconds:.1f} s"
        if not fault and growth > MUCH:
            fault = f"memory: {growth:.0f} MiB"
        return Outcome(kind, index, results[0], seconds, growth, fault)

    def _classify(self) -> str:
        """Run `asc-edge classify`: `refused` or `answered`."""
        from asc_tf.edge import cli

        arguments = ["classify", f"--model={self._path}", str(self._clip), "--json"]
        output, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            code = cli.main(arguments)
        if code == 0:
            return _judge([row["probability"] for row in _parse(output)[0]["top"]])
        rows = _parse(output)
        message = rows[0]["error"] if rows else errors.getvalue()
        if code != 1 or len(message.strip().split("\n")) != 1:
            raise AssertionError(f"asc-edge exits with {code}: {message!r:.200}")
        if str(self._path) not in message and not rows:
            raise AssertionError(f"the message names no file: {message!r:.200}")
        return "refused"

    def _examine(self) -> None:
        """Examine the file as `asc-tf doctor` does."""
        from fuzz_doctor import examine_file

        examine_file(self._path, self._metadata, self._folder)

    def _predict(self) -> str:
        """Load a file in Python and classify a clip: `refused` or `answered`."""
        import asc_tf
        from asc_tf.core.errors import UserError

        try:
            (result,) = asc_tf.load(self._path).predict_files([self._clip])
        except UserError:
            return "refused"
        if "error" in result:
            return "refused"
        return _judge(list(result["probabilities"].values()))


def _parse(output: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in output.getvalue().splitlines()]


def _judge(probabilities: Sequence[float]) -> str:
    if not np.isfinite(probabilities).all():
        raise AssertionError("an answer that is not finite")
    return "answered"


def write_originals(folder: Path) -> list[Path]:
    """Train two small networks for an epoch, and export them.

    Returns:
        The .tflite files: of a network of convolutions, and of a recurrent one, whose
        steps are a loop.
    """
    from asc_tf.config import Config
    from asc_tf.exporting.export import export
    from asc_tf.training.train import train
    from asc_tf.workdir import Workdir

    generator = np.random.default_rng(0)
    for label in CORPUS_LABELS:
        (folder / "corpus" / label).mkdir(parents=True)
        for number in range(12):
            path = folder / "corpus" / label / f"{number}.wav"
            soundfile.write(path, generator.uniform(-0.5, 0.5, RATE), RATE)
    settings = {
        **{"dataset.name": "folder", "dataset.dir": str(folder / "corpus")},
        **{"audio.sample_rate": RATE, "audio.segment_seconds": 1.0, "train.epochs": 1},
        **{"frontend.n_mels": 32, "train.batch_size": 8, "export.min_agreement": 0.0},
        **{"export.formats": ("float32", "int8"), "export.calibration_segments": 8},
    }
    networks = {
        "separable_cnn": {"model.filters": (8, 16)},
        "esa3_crnn": {"model.filters": (8, 8, 8), "model.units": 8},
    }
    paths = []
    for name, sizes in networks.items():
        workdir = Workdir(folder / name)
        train(Config().replace(settings | {"model.name": name} | sizes), workdir)
        export(workdir, folder / f"{name}_export")
        paths += sorted((folder / f"{name}_export").glob("*.tflite*"))
    return paths


def _work(connection, seed: int, guard: str, paths: Sequence[Path]) -> None:
    """Try the files whose numbers are received; runs in a child process."""
    # LiteRT prints about damaged files.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    originals = [path.read_bytes() for path in paths]
    with tempfile.TemporaryDirectory() as folder:
        models = Models(Path(folder), originals[0], guard)
        # What is imported and kept for all files is not the cost of the first one.
        models.check(EXAMINED[0], -1, originals[0])
        while (index := connection.recv()) is not None:
            kind, contents = case(seed, index, originals)
            connection.send(models.check(kind, index, contents))


def fuzz(
    paths: Sequence[Path], count: int, seed: int, guard: str = "full", workers: int = 2
) -> Iterator[Outcome]:
    """Load and run damaged files in child processes.

    Args:
        paths: Files of `asc-tf export`.
        count: Number of damaged files.
        seed: Seed of the damage.
        guard: What stands before LiteRT, one of `GUARDS`.
        workers: Number of child processes.

    Returns:
        Outcomes of the files, in any order.
    """
    kinds = list(DAMAGES)

    def start() -> Worker:
        arguments = (seed, guard, list(paths))
        return Worker(_work, arguments, lambda n: kinds[n % len(kinds)], 2 * SLOW)

    return fuzz_workers.run_workers(start, count, workers)


def main(_: list[str]) -> None:
    values = flags.FLAGS
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(name) for name in values.models]
        paths = paths or write_originals(Path(folder))
        originals = [path.read_bytes() for path in paths]
        fuzz_workers.report(
            fuzz(paths, values.count, values.seed, values.guard, values.workers),
            DAMAGES,
            RESULTS,
            lambda index: case(values.seed, index, originals)[1],
            suffix=".tflite",
        )


if __name__ == "__main__":
    fuzz_workers.define_flags(count=2000)
    flags.adopt_module_key_flags(fuzz_workers)
    flags.DEFINE_enum("guard", "full", GUARDS, "what stands before LiteRT")
    flags.DEFINE_list("models", [], "exported .tflite files to damage; none: new ones")
    app.run(main)
