"""The demo, in miniature."""

import json

from asc_tf import study
from asc_tf.workdir import Workdir


def test_the_demo_runs_every_stage_and_ends_with_a_table(tmp_path, capsys):
    folder = tmp_path / "demo"
    arguments = [
        f"--workdir={folder}",
        "--dataset.locations=4",
        "--dataset.seconds=1",
        "--train.epochs=1",
    ]
    # An untrained int8 file may disagree with Keras; the stages before it are there.
    code = study.main(arguments)
    output = capsys.readouterr()
    report = json.loads((Workdir(folder / "run").report / "report.json").read_text())
    assert report["n_clips"] == 40
    assert {row["device"] for row in report["per_device"]} == {"a", "b", "c", "s4"}
    if code == 0:
        table = output.out.split("test accuracy")[1]
        for name in ("Keras", "saved_model", "float32", "int8"):
            assert name in table
        assert str(folder / "run" / "report" / "report.html") in table
    else:
        assert "int8: agrees with Keras on" in output.err
