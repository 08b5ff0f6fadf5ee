"""Processes that take turns in computing features, for `frontend.py`."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np


class Way:
    """Implementation of the front-end in a process that runs a round on request.

    Attributes:
        name: Name in the table.
        missing: Package that no interpreter has; empty if it runs.
        grown_mb: Growth of the process in MB while it ran over all clips.
        version: Version of its package.
        best: Seconds of the best round.
        cpu: Seconds of all processors in the best round, without other processes.
        features: Features of all clips.

    Args:
        name: Name in the table.
        task: Task of `frontend_peers.py`, with its `folder`.
        pythons: Interpreters; the first one with the needed packages runs it.
    """

    def __init__(self, name: str, task: dict, pythons: Sequence[str]) -> None:
        result = Path(task["folder"]) / f"{name}.npy"
        self.name, self.best, self.cpu = name, float("inf"), float("inf")
        self.missing = ""
        for python in pythons:
            self._start(python, task | {"result": str(result)})
            answer = self._answer()
            self.missing = answer.get("missing", "")
            if not self.missing:
                self.grown_mb, self.version = answer["grown_mb"], answer["version"]
                self.features = np.load(result)
                break
            self.stop()

    def _start(self, python: str, task: dict) -> None:
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}
        if task["way"] == "kapre":
            environment["TF_USE_LEGACY_KERAS"] = "1"
        if task["way"] in ("librosa, threads", "librosa, processes"):
            environment["OPENBLAS_NUM_THREADS"] = "1"
        self._process = subprocess.Popen(
            [python, Path(__file__).with_name("frontend_peers.py"), json.dumps(task)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} failed:\n{self._process.stderr.read()}")
        return json.loads(line)

    def round(self) -> None:
        """Run one round over all clips."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        seconds, cpu = self._answer()["seconds"]
        self.best, self.cpu = min(self.best, seconds), min(self.cpu, cpu)

    def stop(self) -> None:
        """Close the input of the process and wait for its end."""
        self._process.communicate()

    def off_by(self, reference: "Way") -> float:
        """Return the largest difference; infinity if the shapes differ."""
        if self.features.shape != reference.features.shape:
            return float("inf")
        return float(np.abs(self.features - reference.features).max())


def race(ways: Sequence[Way], rounds: int) -> list[Way]:
    """Measure the processes in turns; return those whose packages are installed."""
    able = [way for way in ways if not way.missing]
    for _ in range(rounds):
        for way in able:
            way.round()
    for way in able:
        way.stop()
    return able
