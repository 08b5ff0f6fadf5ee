"""Run the runs of a study in child processes, some at a time."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asc_tf.config import Config
from asc_tf.core.child_process import describe_end
from asc_tf.core.errors import InterruptError, UserError
from asc_tf.core.files import is_disk_full
from asc_tf.core.interrupts import interrupt_on_sigterm
from asc_tf.core.memory import find_free_memory
from asc_tf.studies.worker import RESULT
from asc_tf.workdir import Workdir

GPU = Path("/dev/nvidia0")
"""Device file of the first GPU of NVIDIA."""

USUAL_BYTES = 2 * 10**9
"""Memory that a run is taken to need until one has finished and shows its peak."""

COMMAND = (sys.executable, "-u", "-m", "asc_tf.studies.worker")
"""Command of the process of a run; the folder comes behind it, for `ps`."""

STOP_SECONDS = 30.0
"""Time that interrupted runs have to save what they can."""


@dataclass(frozen=True)
class StudyRun:
    """A run of a study; its name is shown on the screen and in tables."""

    name: str
    workdir: Workdir
    config: Config

    @property
    def is_leaky(self) -> bool:
        """Whether a recording may be in several splits of its protocol."""
        return self.config.dataset.protocol == "random"

    def read_result(self, score: str) -> dict[str, Any] | None:
        """Read the result of a finished run for a split; None if it is not finished."""
        try:
            result = json.loads((self.workdir.path / RESULT).read_bytes())
        except (OSError, ValueError):
            return None
        is_whole = isinstance(result, dict) and result.get("score") == score
        needs_report = score == "test"
        has_report = (self.workdir.report / "report.json").is_file()
        return result if is_whole and (has_report or not needs_report) else None


@dataclass
class _Child:
    """A running run; its output begins at `log_start` bytes of the log file."""

    run: StudyRun
    process: subprocess.Popen
    log_start: int = 0
    began: float = dataclasses.field(default_factory=time.monotonic)


def run_all(
    runs: Sequence[StudyRun], *, jobs: int, score: str, siblings: Sequence[Path]
) -> dict[str, str]:
    """Train and score runs, each in a process of its own.

    Finished runs are skipped, and begun ones continue from their checkpoints. A line is
    printed for each run that ends. Several runs at a time begin only while memory is
    free.

    Args:
        runs: The runs.
        jobs: Largest number of runs at a time.
        score: Split to score; see `worker.run_job`.
        siblings: Run folders on the same corpus, whose scans the runs use.

    Returns:
        Reasons of the runs that failed, by name.

    Raises:
        UserError: If the disk is full or Ctrl-C was pressed; the message says how to
            resume.
    """
    waiting = deque(run for run in runs if run.read_result(score) is None)
    n_done, failures = len(runs) - len(waiting), {}
    if n_done:
        print(f"{n_done} of {len(runs)} runs are finished already")
    if len(waiting) > 1 and jobs > 1:
        print(describe_jobs(min(jobs, len(waiting)), estimate_bytes(runs, score)))
    children: list[_Child] = []
    with _end_children(children):
        while waiting or children:
            while waiting and len(children) < jobs:
                need = estimate_bytes(runs, score)
                if children and not _has_memory(need, children):
                    break
                run = waiting.popleft()
                try:
                    children.append(_start(run, score, siblings))
                except OSError as error:
                    n_done += 1
                    failures[run.name] = f"cannot be started: {error}"
                    _report(f"[{n_done}/{len(runs)}]", run, failures[run.name])
            ended = next((c for c in children if c.process.poll() is not None), None)
            if not ended:
                time.sleep(0.1 if children else 0)
                continue
            children.remove(ended)
            n_done += 1
            place = f"[{n_done}/{len(runs)}]"
            if reason := _explain_failure(ended, score):
                failures[ended.run.name] = reason
                _report(place, ended.run, reason)
            else:
                shown = _describe_result(ended, score)
                print(f"{place} {ended.run.name}: {shown}", flush=True)
    return failures


def _report(place: str, run: StudyRun, reason: str) -> None:
    """Print why a run failed.

    Raises:
        UserError: If the disk is full, so that no other run can be trained.
    """
    print(f"{place} {run.name}: failed: {reason} ({run.workdir.log_file})", flush=True)
    if is_disk_full(reason):
        raise UserError(reason)


def describe_jobs(jobs: int, need: int) -> str:
    """Say how many runs will run at a time, and why not more."""
    free = find_free_memory()
    fit = max(min(jobs, free // need), 1)
    sizes = f"{free / 1e9:.1f} GB of memory are free, a run needs about"
    if fit == jobs:
        text = f"{jobs} runs at a time ({sizes} {need / 1e9:.1f} GB)"
    else:
        text = (
            f"{fit} of {jobs} runs at a time: {sizes} {need / 1e9:.1f} GB; more begin "
            "when memory is free"
        )
    if GPU.exists() and os.environ.get("CUDA_VISIBLE_DEVICES") != "-1":
        text += "; all share the memory of the GPU: if it becomes full, give --jobs=1"
    return text


def estimate_bytes(runs: Sequence[StudyRun], score: str) -> int:
    """Estimate the memory of a run in bytes: the peak of the finished ones."""
    results = [run.read_result(score) for run in runs]
    peaks = [int(result.get("peak_bytes", 0)) for result in results if result]
    return max(peaks, default=0) or USUAL_BYTES


def _has_memory(need: int, children: Sequence[_Child]) -> bool:
    """Check whether another run fits beside those that have not grown yet."""
    young = sum(time.monotonic() - child.began < 30 for child in children)
    return find_free_memory() >= need * (1 + young)


def _start(run: StudyRun, score: str, siblings: Sequence[Path]) -> _Child:
    """Start the process of a run; its output is added to the log file."""
    folder = run.workdir.path
    folder.mkdir(parents=True, exist_ok=True)
    own = folder.resolve()
    job = {
        "config": run.config.flat(),
        "workdir": str(folder),
        "score": score,
        "siblings": [str(path) for path in siblings if path.resolve() != own],
    }
    with run.workdir.log_file.open("ab") as log:
        log_start = log.tell()
        process = subprocess.Popen(
            [*COMMAND, str(folder)],
            # Without it the first process would take all memory of a GPU.
            env={"TF_FORCE_GPU_ALLOW_GROWTH": "true", **os.environ},
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Ctrl-C goes to the parent only, which stops the runs one by one.
            start_new_session=True,
        )
    assert process.stdin
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps(job).encode() + b"\n")
        process.stdin.flush()
    return _Child(run, process, log_start)


def _explain_failure(child: _Child, score: str) -> str:
    """Explain why a run failed; empty if it is finished."""
    code = child.process.returncode
    if code == 0 and child.run.read_result(score):
        return ""
    if code < 0:
        return f"the process was {describe_end(code)}"
    output = b""
    with contextlib.suppress(OSError):
        output = child.run.workdir.log_file.read_bytes()[child.log_start :]
    lines = output.decode(errors="replace").splitlines()
    said = [line for line in lines if line.startswith("failed: ")]
    return said[-1].removeprefix("failed: ") if said else f"exit code {code}"


def _describe_result(child: _Child, score: str) -> str:
    result = child.run.read_result(score) or {}
    scores = result.get("scores", {})
    split = "" if score == "test" else f"{score} "
    leaky = " (LEAKY protocol)" if child.run.is_leaky else ""
    shown = [f"{split}accuracy {scores['accuracy']:.1%}{leaky}"] if scores else []
    minutes, seconds = divmod(round(time.monotonic() - child.began), 60)
    return ", ".join([*shown, f"{minutes}:{seconds:02} min"])


@contextlib.contextmanager
def _end_children(children: list[_Child]) -> Iterator[None]:
    """End the children however the block ends; Ctrl-C and SIGTERM let them save.

    Raises:
        InterruptError: If Ctrl-C or SIGTERM ended the block.
    """
    with interrupt_on_sigterm():
        try:
            yield
        except KeyboardInterrupt:
            for child in children:
                child.process.terminate()
            deadline = time.monotonic() + STOP_SECONDS
            for child in children:
                with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
                    child.process.wait(max(deadline - time.monotonic(), 0))
            raise InterruptError(
                "interrupted; finished epochs and runs are saved, and the same command "
                "resumes"
            ) from None
        finally:
            for child in children:
                child.process.kill()
                child.process.wait()
