"""A crossval that is killed again and again ends with the report of one that is not."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny
from study_runs import is_ended

KILLS = 10

MAX_EVENTS = 2
"""Number of epochs and reports after which a start is killed, drawn up to this."""

MAX_SECONDS = 1.0
"""Time from there to the kill, drawn up to this."""


def count_events(study: Path) -> int:
    """Count the epochs, reports and results below a study."""
    rows = [path.read_text().count("\n") for path in study.glob("*/history.csv")]
    files = [*study.glob("*/report/report.json"), *study.glob("*/result.json")]
    return sum(rows) + len(files)


def start(config: Path, workdir: Path) -> subprocess.Popen:
    command = ["crossval", str(config), f"--workdir={workdir}", "--jobs=2"]
    return subprocess.Popen(
        [sys.executable, "-m", "asc_tf.cli", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_crossval_that_was_killed_ten_times_has_the_report_of_one_that_was_not(
    tmp_path,
):
    corpus = tiny.write_corpus(tmp_path / "corpus")
    changes = {"dataset__protocol": "grouped_kfold", "dataset__folds": 2}
    config = tmp_path / "study.toml"
    config.write_text(tiny.config(corpus, **changes, train__epochs=20).to_toml())
    whole, killed = tmp_path / "whole" / "study", tmp_path / "killed" / "study"
    process = start(config, whole)
    assert process.wait() == 0, process.stderr.read()
    generator = random.Random(0)
    places = []
    for _ in range(KILLS):
        process = start(config, killed)
        # Anywhere in a run: while it imports, scans, trains or evaluates.
        wanted = count_events(killed) + generator.randint(0, MAX_EVENTS)
        while count_events(killed) < wanted and process.poll() is None:
            time.sleep(0.05)
        time.sleep(generator.uniform(0, MAX_SECONDS))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert is_ended(killed)
        places.append(count_events(killed))
    process = start(config, killed)
    assert process.wait() == 0, process.stderr.read()
    print(f"killed {KILLS} times, after {places} epochs and reports")
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
