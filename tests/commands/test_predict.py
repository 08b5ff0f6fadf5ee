"""asc-tf predict around a model: what is printed, written and returned."""

import csv
import json

import pytest

from asc_tf import cli
from asc_tf.evaluation import load

SHARES = {"park": 0.5, "metro": 0.3, "street": 0.2}


class Model:
    """Knows all files but those that are named bad."""

    labels, sample_rate = tuple(SHARES), 8000

    def predict_files(self, files, max_seconds):
        results = []
        for file in files:
            if "bad" in file:
                results.append({"file": file, "error": f"{file}: no such file"})
                continue
            note = {"note": "silent"} if "silent" in file else {}
            best = {"label": "park", "probability": 0.5, "probabilities": SHARES}
            results.append({"file": file, **best, "seconds": max_seconds, **note})
        return results


@pytest.fixture
def predict(monkeypatch, capsys):
    """Run the command; gives its exit code, output and errors."""
    monkeypatch.setattr(load, "load", lambda path: Model())

    def run(*words):
        code = cli.main(["predict", "--model=m.tflite", *words])
        return code, *capsys.readouterr()

    return run


def test_every_good_file_has_its_best_labels(predict):
    code, out, err = predict("a.wav", "long.wav", "--top_k=2")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "a.wav     park    0.5000",
        "          metro   0.3000",
        "long.wav  park    0.5000",
        "          metro   0.3000",
    ]


def test_a_bad_file_and_a_note_are_on_stderr_and_a_bad_file_is_exit_code_1(predict):
    code, out, err = predict("bad.wav", "silent.wav")
    assert code == 1
    assert out.startswith("silent.wav  park")
    assert err.splitlines() == [
        "asc-tf predict: bad.wav: no such file",
        "asc-tf predict: silent.wav: silent",
    ]


def test_json_has_the_top_labels_of_each_file_in_a_line(predict):
    words = ("bad.wav", "a.wav", "--json", "--top_k=1", "--audio.max_seconds=9")
    code, out, _ = predict(*words)
    assert code == 1
    bad, good = map(json.loads, out.splitlines())
    assert bad == {"file": "bad.wav", "error": "bad.wav: no such file"}
    assert good.pop("top") == [{"label": "park", "probability": 0.5}]
    assert good == {"file": "a.wav", "label": "park", "probability": 0.5, "seconds": 9}


def test_a_table_has_every_probability_and_nothing_is_printed(predict, tmp_path):
    path = tmp_path / "table.csv"
    code, out, _ = predict("a.wav", "bad.wav", "silent.wav", f"--csv={path}")
    assert (code, out) == (1, "")
    with path.open(newline="") as stream:
        good, bad, silent = csv.DictReader(stream)
    assert good["p_metro"] == "0.3" and good["label"] == "park"
    assert bad["error"] == "bad.wav: no such file" and bad["p_park"] == ""
    assert silent["note"] == "silent"


@pytest.mark.parametrize("words", [["--json"], []])
def test_a_table_goes_neither_with_json_nor_over_an_input(predict, words):
    code, out, err = predict("a.wav", *words, "--csv=a.wav")
    assert (code, out) == (2, "")
    assert ("give one of them" if words else "one of the inputs") in err
