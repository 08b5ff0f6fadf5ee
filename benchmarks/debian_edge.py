"""The edge runtime on Debian for 64-bit ARM, emulated: its tests, and its answers.

    apt install debootstrap qemu-user-static
    python benchmarks/debian_edge.py --export=runs/demo/export [--suite=trixie]

Needs root and about 1 GB in `--folder`. It installs Debian from scratch there, and the
wheel of this source with numpy and LiteRT for aarch64, as a Raspberry Pi has them. Then
it classifies clips of the synthetic scenes, of several sample rates, channels and
sample widths, with every .tflite of the export in the emulated Debian and here, once
for each processor (cortex-a72 is that of a Raspberry Pi 4, cortex-a76 of a 5), and runs
the tests of `tests/edge` there. A run that was interrupted goes on where it ended; the
tests begin again.

Exits with 1 if a probability differs by more than 1e-4 (an int8 or dynamic one: 0.02),
if a label differs where the two best of x86-64 are no tie, or if a test fails. On a
machine with an ARM processor nothing is emulated, and its answers are compared with
themselves: use x86-64.
"""

import functools
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import debian_root
import numpy as np
from absl import app, flags
from debian_root import (
    FEATURES,
    MACHINES,
    SOURCE,
    SUITE,
    build_wheel,
    check_machine,
    download_wheels,
    emulate,
    make_root,
    resolve,
    run_in_root,
    say,
    write_cpuinfo,
)

from asc_tf.datasets.synthetic import write_scenes
from asc_tf.edge.tflite_metadata import read_metadata

flags.adopt_module_key_flags(debian_root)
_EXPORT = flags.DEFINE_string("export", None, "folder of .tflite files", required=True)
_FOLDER = flags.DEFINE_string("folder", "runs/debian_edge", "roots, clips and results")
_CLIPS = flags.DEFINE_integer("clips", 200, "clips to classify", lower_bound=10)
_SECONDS = flags.DEFINE_float("seconds", 4.0, "length of a clip")
_CPUS = flags.DEFINE_list(
    "cpus", ["cortex-a72", "cortex-a76"], "processors: of a Raspberry Pi 4, of a 5"
)
_TESTS = flags.DEFINE_boolean("tests", True, "run tests/edge too")

BATCH = 50
"""Clips of one process."""

PATIENT_EDGE = (
    "import sys; from asc_tf.edge import cli, trial; trial.TRIAL_SECONDS = 600.0; "
    "sys.exit(cli.main())"
)
"""asc-edge with more than the 30 s that it gives the first run of a model."""

BOUNDS = {"float32": 1e-4, "float16": 1e-4}
OTHER_BOUND = 0.02
"""Largest difference of a probability, by precision."""

TIES = {"float32": 1e-4, "float16": 1e-4}
OTHER_TIE = 1 / 256
"""Lead of the best label below which it is a tie: one step of 8 bits."""

TEST_PACKAGES = ("pytest", "pytest-timeout", "soundfile")

NOT_EMULATED = (
    "tests/edge/test_trial.py::test_a_run_that_needs_much_memory_is_refused",
)
"""Tests that are left out under QEMU, which has no limits of memory (RLIMIT_AS)."""


def make_clips(folder: Path, count: int, seconds: float) -> list[Path]:
    """Write clips of all scenes and devices, and choose some, evenly over the scenes.

    Returns:
        Paths relative to the folder.
    """
    locations = max(4, -(-count // 30))
    corpus = folder / f"clips_{locations}_{seconds:g}"
    write_scenes(corpus, seed=1, locations=locations, seconds=seconds)
    scenes: dict[str, list[Path]] = {}
    for path in sorted(corpus.glob("audio/*.wav")):
        scenes.setdefault(path.name.partition("-")[0], []).append(path)
    rounds = zip(*scenes.values(), strict=False)
    chosen = [path for group in rounds for path in group]
    assert len(chosen) >= count
    return [path.relative_to(folder) for path in chosen[:count]]


def classify(
    results: Path, clips: Sequence[Path], run, model: str
) -> tuple[list[str], np.ndarray]:
    """Classify the clips in batches, whose results are kept.

    Args:
        results: Folder of the results.
        clips: The clips, as `run` sees them.
        run: Function that runs asc-edge with these arguments.
        model: The model, as `run` sees it.

    Returns:
        The labels, sorted, and probabilities `[clips, labels]`.
    """
    results.mkdir(parents=True, exist_ok=True)
    rows = []
    for begin in range(0, len(clips), BATCH):
        file = results / f"{begin}.jsonl"
        if not file.exists():
            batch = [str(path) for path in clips[begin : begin + BATCH]]
            arguments = ["classify", "--json", "--top_k=1000", f"--model={model}"]
            done = run([*arguments, *batch], capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"asc-edge ended with {done.returncode}:\n{done.stderr}")
            partial = file.with_suffix(".partial")
            partial.write_text(done.stdout)
            partial.rename(file)
        rows += [json.loads(line) for line in file.read_text().splitlines()]
    rows = [row for row in rows if "top" in row]
    assert len(rows) == len(clips), f"{len(rows)} answers for {len(clips)} clips"
    tables = [{top["label"]: top["probability"] for top in r["top"]} for r in rows]
    labels = sorted(tables[0])
    return labels, np.array([[t[label] for label in labels] for t in tables])


def compare(precision: str, here: np.ndarray, there: np.ndarray) -> tuple[bool, str]:
    """Compare probabilities `[clips, labels]`; give the verdict and a table's cells."""
    bound = BOUNDS.get(precision, OTHER_BOUND)
    largest = float(np.abs(here - there).max())
    best = np.sort(here, axis=1)
    is_tie = best[:, -1] - best[:, -2] < TIES.get(precision, OTHER_TIE)
    differs = here.argmax(axis=1) != there.argmax(axis=1)
    wrong = int((differs & ~is_tie).sum())
    is_good = largest <= bound and not wrong
    counts = f"{len(here)} | {largest:.1e} | {bound:g} | {int(differs.sum())} | {wrong}"
    return is_good, f"{counts} | {'yes' if is_good else 'NO'}"


def compare_models(root: Path, folder: Path, version: str) -> bool:
    """Classify with every model here and in the root, and print the table."""
    clips = make_clips(folder, _CLIPS.value, _SECONDS.value)
    shutil.copytree(
        folder / clips[0].parents[1],
        root / "srv" / clips[0].parents[1],
        dirs_exist_ok=True,
    )
    kinds = ",".join(sorted({path.stem.partition("-")[0] for path in clips}))
    say(f"{len(clips)} clips of {kinds}")
    table, is_good = [], True
    for model in sorted(Path(_EXPORT.value).expanduser().glob("*.tflite")):
        for cpu, good, cells in compare_model(root, folder, version, clips, model):
            is_good = is_good and good
            table.append(f"| {model.name} | {cpu} | {cells} |")
    if not table:
        sys.exit(f"--export={_EXPORT.value}: no .tflite in it")
    print(
        "\n| model | processor | clips | largest difference | bound | other labels | "
        "without ties | within |\n|---|---|---|---|---|---|---|---|"
    )
    print("\n".join(table), flush=True)
    return is_good


def compare_model(
    root: Path, folder: Path, version: str, clips: Sequence[Path], model: Path
) -> Iterator[tuple[str, bool, str]]:
    """Classify with a model here and in the root.

    Yields:
        For each processor its name, the verdict, and the cells of the table.
    """
    content = model.read_bytes()
    name = f"{model.stem}-{hashlib.sha256(content).hexdigest()[:12]}.tflite"
    (root / "srv" / name).write_bytes(content)
    place = Path(version) / f"{len(clips)}_{_SECONDS.value:g}_{BATCH}" / name

    def run_here(arguments, **options):
        command = [sys.executable, "-m", "asc_tf.edge.cli", *arguments]
        variables = {**os.environ, "PYTHONPATH": str(SOURCE)}
        return subprocess.run(command, cwd=folder, env=variables, **options)

    def run_there(cpu, arguments, **options):
        write_cpuinfo(root, cpu)
        shell = 'cd /srv && exec /opt/edge/bin/python -c "$0" "$@"'
        command = ["sh", "-c", shell, PATIENT_EDGE, *arguments]
        return run_in_root(root, command, {"QEMU_CPU": cpu}, **options)

    results = folder / "results"
    labels, here = classify(
        results / "here" / place, clips, run_here, str(model.absolute())
    )
    for cpu in _CPUS.value:
        began = time.monotonic()
        others, there = classify(
            results / SUITE.value / cpu / place,
            clips,
            functools.partial(run_there, cpu),
            name,
        )
        assert others == labels
        is_good, cells = compare(read_metadata(model).precision, here, there)
        say(f"{model.name}, {cpu}: {cells}, {time.monotonic() - began:.0f} s")
        yield cpu, is_good, cells


def run_tests(root: Path, folder: Path, version: str) -> bool:
    """Run the tests in the root, unless that is done, and print their last line."""
    source = root / "srv" / "source"
    shutil.rmtree(source, ignore_errors=True)
    for name in ("tests", "benchmarks"):
        ignored = shutil.ignore_patterns("__pycache__", "golden")
        shutil.copytree(SOURCE / name, source / name, ignore=ignored)
    shutil.copy(SOURCE / "pyproject.toml", source)
    write_flatbuffer(folder, source / "flatbuffer")
    digest = hashlib.sha256(
        b"".join(file.read_bytes() for file in sorted(source.rglob("*.py")))
    ).hexdigest()[:12]
    results = folder / "results" / SUITE.value / _CPUS.value[0] / version
    results.mkdir(parents=True, exist_ok=True)
    log = results / f"tests_{digest}.log"
    failed = log.with_suffix(".failed")
    if not log.exists() and run_pytest(root, failed):
        failed.rename(log)
    shown = log if log.exists() else failed
    last = shown.read_text(errors="replace").splitlines()[-1:]
    print(f"\ntests/edge: {''.join(last).strip(' =')}; {shown}", flush=True)
    return log.exists()


def run_pytest(root: Path, log: Path) -> bool:
    """Run the tests, and write their output; give whether all of them pass."""
    shell = 'cd /srv/source && exec /opt/edge/bin/python -m pytest "$@"'
    arguments = ["-q", "-p", "no:cacheprovider", "-o", "timeout=1800", "-rs"]
    if platform.machine() != MACHINES["arm64"]:
        arguments += [f"--deselect={name}" for name in NOT_EMULATED]
    variables = {
        "QEMU_CPU": _CPUS.value[0],
        "ASC_TF_TEST_FLATBUFFER": "/srv/source/flatbuffer",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    write_cpuinfo(root, _CPUS.value[0])
    say(f"tests/edge: {log} ...")
    with log.open("w") as stream:
        done = run_in_root(
            root,
            ["sh", "-c", shell, "sh", *arguments, "tests/edge"],
            variables,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    return done.returncode == 0


def write_flatbuffer(folder: Path, path: Path) -> None:
    """Convert the model of the tests here, because the root has no TensorFlow."""
    file = folder / "flatbuffer"
    if not file.exists():
        code = "import sys, statistics_model as m; sys.stdout.buffer.write(m.convert())"
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=SOURCE / "tests" / "edge",
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            capture_output=True,
        )
        if done.returncode:
            sys.exit(f"the model of the tests:\n{done.stderr.decode()[-1000:]}")
        file.write_bytes(done.stdout)
    shutil.copy(file, path)


def hash_wheel(wheel: Path) -> str:
    """Hash the code of a wheel, without its pages and templates."""
    digest = hashlib.sha256()
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            if name.startswith("asc_tf/") and not name.startswith("asc_tf/deployment"):
                digest.update(name.encode() + archive.read(name))
    return digest.hexdigest()[:12]


def install(root: Path) -> str:
    """Install the wheel of this source and what it needs; give its version."""
    wheels = root / "srv" / "wheels"
    wheel = build_wheel(wheels)
    version = hash_wheel(wheel)
    stamp = root / "opt" / "edge" / "version"
    if stamp.exists() and stamp.read_text() == version:
        return version
    downloads = download_wheels("arm64", f"{wheel}[edge,mqtt]", TEST_PACKAGES)
    shutil.copytree(downloads, wheels, dirs_exist_ok=True)
    say("installing in the root (emulated: minutes) ...")
    pip = ["/opt/edge/bin/pip", "--quiet", "install", "--no-index", "--find-links"]
    name = f"/srv/wheels/{wheel.name}"
    for command in (
        ["python3", "-m", "venv", "--clear", "/opt/edge"],
        # The edge without the tests first: it must be complete by itself.
        [*pip, "/srv/wheels", f"{name}[edge,mqtt]"],
        ["/opt/edge/bin/pip", "check"],
        ["/opt/edge/bin/asc-edge", "info"],
        [*pip, "/srv/wheels", *TEST_PACKAGES],
    ):
        if run_in_root(root, command, stdout=sys.stderr).returncode:
            sys.exit(f"failed in {root}: {' '.join(command)}")
    stamp.write_text(version)
    return version


def main(_: list[str]) -> int:
    unknown = [cpu for cpu in _CPUS.value if cpu not in FEATURES]
    if unknown or not _CPUS.value:
        sys.exit(f"--cpus={','.join(_CPUS.value)}: choose from {', '.join(FEATURES)}")
    check_machine(
        {
            "debootstrap": "debootstrap",
            "qemu-aarch64-static": "qemu-user-static",
            "unshare": "util-linux",
        }
    )
    folder = resolve(_FOLDER.value)
    with emulate("arm64"):
        packages = ("python3", "python3-venv", "ca-certificates")
        root = make_root(folder, "arm64", packages)
        version = install(root)
        is_good = compare_models(root, folder, version)
        if _TESTS.value:
            is_good = run_tests(root, folder, version) and is_good
    return int(not is_good)


if __name__ == "__main__":
    app.run(main)
