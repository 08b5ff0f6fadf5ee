"""The demo, in miniature."""

import json

import pytest

from asc_tf import cli
from asc_tf.commands import demo
from asc_tf.config import Config
from asc_tf.workdir import Workdir


@pytest.mark.slow
def test_the_demo_runs_every_stage_and_ends_with_a_table(tmp_path, capsys):
    folder = tmp_path / "demo"
    config = Config().replace(
        {
            "dataset.locations": 4,
            "dataset.seconds": 1.0,
            "audio.segment_seconds": 1.0,
            "train.epochs": 1,
            # After one epoch an int8 file agrees with Keras by chance only.
            "export.min_agreement": 0.0,
            "export.max_accuracy_drop": 1.0,
        }
    )
    table = demo.run_demo(config, folder)
    report = json.loads((Workdir(folder / "run").report / "report.json").read_text())
    assert report["n_clips"] == 40
    assert {row["device"] for row in report["per_device"]} == {"a", "b", "c", "s4"}
    lines = table.splitlines()
    assert [line.split()[0] for line in lines[1:5]] == [
        "Keras",
        "saved_model",
        "float32",
        "int8",
    ]
    assert f"{report['accuracy']:.1%}" in lines[1]
    assert lines[-1].endswith(str(folder / "run" / "report" / "report.html"))
    assert (folder / "export" / "int8.tflite").is_file()
    assert "5/5 predict one test clip" in capsys.readouterr().out


def test_the_folder_of_an_earlier_demo_may_have_hidden_files_too(tmp_path):
    for name in ("run", ".DS_Store", ".export.0123abcd-1-0123abcd.partial"):
        (tmp_path / name).mkdir()
    demo._check_folder(tmp_path)


def test_a_folder_of_something_else_is_left_alone(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("precious")
    assert cli.main(["demo", f"--workdir={tmp_path}"]) == 2
    assert "holds thesis.txt" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
