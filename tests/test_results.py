"""What the README promises, on real recordings: minutes of work, run with -m slow."""

import json
import subprocess
import sys
from pathlib import Path

import pytest


def run(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "asc_tf.cli", *command], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.shared_data
def test_esc10_small_reaches_80_percent_and_its_int8_file_keeps_it(
    shared_data: Path, tmp_path: Path
):
    workdir, output = tmp_path / "run", tmp_path / "export"
    run(
        "train",
        "--config=esc10_small",
        f"--dataset.dir={shared_data / 'esc10'}",
        f"--workdir={workdir}",
    )
    run("evaluate", f"--workdir={workdir}")
    report = json.loads((workdir / "report" / "report.json").read_text())
    assert report["n_clips"] == 80
    assert report["accuracy"] >= 0.80
    run("export", f"--workdir={workdir}", f"--output={output}")
    int8 = json.loads((output / "export.json").read_text())["formats"]["int8"]
    assert abs(int8["test"]["accuracy"] - report["accuracy"]) <= 2 / 80 + 1e-9
