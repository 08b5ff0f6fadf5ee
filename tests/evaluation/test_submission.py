"""Runs of several folds become one table of guesses; predictions are made by hand."""

import csv
import json

import numpy as np
import pytest

from asc_tf import cli
from asc_tf.core.errors import UserError
from asc_tf.evaluation.submission import (
    Predictions,
    average_predictions,
    format_table,
    read_predictions,
)
from asc_tf.workdir import Workdir

LABELS = ("bark", "big bell", "cello", "drum")
FILES = ("audio_test/b.wav", "audio_test/a.wav")


def evaluated(
    folder, probabilities, labels=LABELS, files=FILES, truth="bark", excluded=()
):
    """A run folder with the parts that a submission is made from."""
    workdir = Workdir(folder)
    workdir.report.mkdir(parents=True)
    workdir.labels_file.write_text("\n".join(labels) + "\n")
    with (workdir.report / "predictions.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "label", *(f"p_{label}" for label in labels)])
        for file, row in zip(files, probabilities, strict=True):
            writer.writerow([file, truth, *row])
    report = {"excluded": [{"file": name, "reason": "empty"} for name in excluded]}
    (workdir.report / "report.json").write_text(json.dumps(report))
    return folder


def refused(capsys, *arguments):
    code = cli.main(["submission", *list(map(str, arguments))])
    return code, capsys.readouterr().err


def test_one_run_gives_its_own_three_best_guesses_in_order(tmp_path, capsys):
    rows = [[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]]
    run = evaluated(tmp_path / "run", rows)
    output = tmp_path / "new" / "submission.csv"
    assert cli.main(["submission", str(run), f"--output={output}"]) == 0
    assert output.read_text() == (
        "fname,label\nb.wav,bark big_bell cello\na.wav,drum cello big_bell\n"
    )
    # The first is right at once, the second not among three.
    assert "1 run, 2 clips: mAP@3 0.500, accuracy 50.0%" in capsys.readouterr().out


@pytest.mark.parametrize("leaky", [True, False])
def test_a_leaky_protocol_is_marked(tmp_path, capsys, leaky):
    run = evaluated(tmp_path / "run", [[0.4, 0.3, 0.2, 0.1]] * 2)
    report = {"excluded": [], "protocol": {"leaky": leaky}}
    (run / "report" / "report.json").write_text(json.dumps(report))
    assert cli.main(["submission", str(run), f"--output={tmp_path / 's.csv'}"]) == 0
    assert ("(LEAKY protocol)" in capsys.readouterr().out) == leaky


def test_the_mean_of_runs_is_geometric(tmp_path):
    one = evaluated(tmp_path / "1", [[0.90, 0.10, 0, 0]] * 2)
    two = evaluated(tmp_path / "2", [[0.01, 0.50, 0.4, 0.09]] * 2)
    runs = [read_predictions(Workdir(run)) for run in (one, two)]
    found = average_predictions(runs, ["1", "2"]).probabilities[0]
    # The arithmetic mean would put bark, at 0.455, before big bell, at 0.3.
    raw = np.sqrt([0.9 * 0.01, 0.1 * 0.5, 1e-12 * 0.4, 1e-12 * 0.09])
    np.testing.assert_allclose(found, raw / raw.sum(), rtol=1e-9)


def test_top_k_says_how_many_guesses_a_file_gets(tmp_path):
    run = evaluated(tmp_path / "run", [[0.4, 0.3, 0.2, 0.1]] * 2)
    output = tmp_path / "submission.csv"
    assert cli.main(["submission", str(run), f"--output={output}", "--top_k=1"]) == 0
    assert output.read_text() == "fname,label\nb.wav,bark\na.wav,bark\n"


def test_a_clip_that_was_left_out_gets_what_is_most_probable_for_any(tmp_path, capsys):
    rows = [[0.4, 0.3, 0.2, 0.1], [0.0, 0.1, 0.7, 0.2]]  # mean 0.2, 0.2, 0.45, 0.15
    run = evaluated(tmp_path / "run", rows, excluded=["audio_test/empty.wav"])
    output = tmp_path / "submission.csv"
    assert cli.main(["submission", str(run), f"--output={output}"]) == 0
    assert output.read_text().splitlines()[3] == "empty.wav,cello bark big_bell"
    said = capsys.readouterr().out
    assert "1 without a prediction (audio_test/empty.wav)" in said
    (run / "report" / "report.json").write_text("{}")
    code, message = refused(capsys, run, f"--output={output}")
    assert (code, "report.json: not a report" in message) == (1, True)


def test_the_same_run_twice_is_refused(tmp_path, capsys):
    run = evaluated(tmp_path / "run", [[0.4, 0.3, 0.2, 0.1]] * 2)
    code, message = refused(capsys, run, f"{run}/", f"--output={tmp_path / 'x.csv'}")
    assert (code, "given twice" in message) == (2, True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": LABELS[::-1]}, ["2: its labels are not those of"]),
        (
            {"files": ("audio_test/b.wav", "audio_test/c.wav")},
            ["its test clips are not those of", "audio_test/a.wav for one"],
        ),
        ({"truth": "cello"}, ["its test clips are not those of"]),
    ],
)
def test_runs_of_other_labels_or_clips_are_refused(tmp_path, capsys, change, words):
    rows = [[0.4, 0.3, 0.2, 0.1]] * 2
    one, two = (
        evaluated(tmp_path / "1", rows),
        evaluated(tmp_path / "2", rows, **change),
    )
    output = tmp_path / "submission.csv"
    code, message = refused(capsys, one, two, f"--output={output}")
    assert code == 1
    for word in words:
        assert word in message
    assert not output.exists()


def test_a_run_that_was_not_evaluated_is_refused_with_what_to_do(tmp_path, capsys):
    code, message = refused(capsys, tmp_path, f"--output={tmp_path / 'x.csv'}")
    assert code == 2
    assert f"asc-tf evaluate --workdir={tmp_path}" in message


def test_clips_of_one_file_or_of_files_of_one_name_are_refused():
    values = np.full((2, 2), 0.5)
    predictions = Predictions(("a/x.wav", "a/y.wav"), ("b", "c"), ("", ""), values)
    assert len(format_table(predictions, 1).splitlines()) == 3
    with pytest.raises(UserError, match=r"x\.wav: the name of several clips"):
        format_table(predictions, 1, ["b/x.wav"])


@pytest.mark.parametrize(
    "damage", ["", "file,label\n", "file,label,p_bark\na,bark,x\n"]
)
def test_a_damaged_table_is_named(tmp_path, capsys, damage):
    run = evaluated(tmp_path / "run", [[0.4, 0.3, 0.2, 0.1]] * 2)
    table = run / "report" / "predictions.csv"
    table.write_text(damage)
    code, message = refused(capsys, run, f"--output={tmp_path / 'x.csv'}")
    assert code == 1
    assert str(table) in message


def test_no_runs_or_no_output_is_wrong_usage(tmp_path, capsys):
    assert refused(capsys, f"--output={tmp_path / 'x.csv'}")[0] == 2
    assert refused(capsys, tmp_path)[0] == 2
