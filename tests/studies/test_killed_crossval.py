"""A crossval that is killed again and again ends with the report of one that is not."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
from study_runs import is_ended


def count_events(study: Path) -> int:
    """Count the epochs, reports and results below a study."""
    rows = [path.read_text().count("\n") for path in study.glob("*/history.csv")]
    files = [*study.glob("*/report/report.json"), *study.glob("*/result.json")]
    return sum(rows) + len(files)


MOMENTS: dict[str, Callable[[Path], bool]] = {
    "before the first epoch": lambda study: any(study.glob("*/config.toml")),
    "after a first epoch": lambda study: count_events(study) >= 1,
    "in the middle of training": lambda study: count_events(study) >= 9,
    "after a first report": lambda study: any(study.glob("*/report/report.json")),
}
"""Conditions from which on a start is killed."""


def start(config: Path, workdir: Path) -> subprocess.Popen:
    command = ["crossval", str(config), f"--workdir={workdir}", "--jobs=2"]
    return subprocess.Popen(
        [sys.executable, "-m", "asc_tf.cli", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_crossval_that_was_killed_at_four_moments_has_the_report_of_one_that_was_not(
    tmp_path,
):
    corpus = tiny.write_corpus(tmp_path / "corpus")
    changes = {"dataset__protocol": "grouped_kfold", "dataset__folds": 2}
    config = tmp_path / "study.toml"
    config.write_text(tiny.config(corpus, **changes, train__epochs=12).to_toml())
    whole, killed = tmp_path / "whole" / "study", tmp_path / "killed" / "study"
    process = start(config, whole)
    assert process.wait() == 0, process.stderr.read()
    places = []
    for is_reached in MOMENTS.values():
        process = start(config, killed)
        while not is_reached(killed) and process.poll() is None:
            time.sleep(0.05)
        # The file that shows a moment is only its beginning.
        time.sleep(0.2)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert is_ended(killed)
        places.append(count_events(killed))
    process = start(config, killed)
    assert process.wait() == 0, process.stderr.read()
    assert places[0] < places[-1]

    def read(folder):
        report = json.loads((folder / "report" / "report.json").read_bytes())
        origin = ("command", "created", "environment")
        return {key: report[key] for key in report if key not in origin}

    first, second = read(whole), read(killed)
    assert len(first["per_run"]) == 2
    assert second == first
    tables = [each / "report" / "predictions.csv" for each in (whole, killed)]
    assert tables[0].read_bytes() == tables[1].read_bytes()
    for run in whole.glob("fold*"):
        other = killed / run.name / "history.csv"
        assert (run / "history.csv").read_text() == other.read_text()
