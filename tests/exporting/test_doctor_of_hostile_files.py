"""The doctor on files whose metadata are wrong: each stays a finding on that file."""

import contextlib
import json
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
from tflite_faults import rewrite

from asc_tf.core.errors import NotFiniteError
from asc_tf.dsp.preprocessing import Preprocessing
from asc_tf.edge.tflite_metadata import check_temperature
from asc_tf.evaluation.load import METADATA
from asc_tf.evaluation.predictor import Predictor
from asc_tf.exporting.doctor import by_hand, examined_files, examined_tflite, gates
from asc_tf.exporting.doctor.examined_files import read_format, read_temperature
from asc_tf.exporting.doctor.examined_tflite import open_examined
from asc_tf.report.doctor_text import format_examination

PREPROCESSING = Preprocessing(8000, 4000, 4000)


@pytest.fixture
def float_file(tiny_export, tmp_path):
    return Path(shutil.copy(tiny_export / "float32.tflite", tmp_path / "x.tflite"))


def test_a_format_that_asc_tf_does_not_have_is_unknown_and_names_no_file(
    float_file, tmp_path
):
    victim, folder = tmp_path / "x.answer.float32", tmp_path / "temporary"
    victim.write_bytes(b"mine")
    folder.mkdir()
    assert read_format(float_file) == "float32"
    rewrite(float_file, precision=str(tmp_path / "x"))
    name = read_format(float_file)
    assert name == "unknown"
    with contextlib.closing(open_examined(name, float_file, folder)) as examined:
        assert examined._answer.parent == folder
    # Whoever calls it: no name leads out of the folder.
    with contextlib.closing(
        open_examined(str(tmp_path / "x"), float_file, folder)
    ) as examined:
        assert examined._answer.parent == folder
    assert victim.read_bytes() == b"mine"
    float_file.write_bytes(b"no metadata")
    assert read_format(float_file) == "unknown"


def test_a_file_of_an_unknown_format_has_to_give_the_probabilities_of_keras(tiny_run):
    row = {"n_clips": 9, "agreement": 1.0, "accuracy": 0.9, "max_difference": 2e-3}
    export = tiny_run.config().export
    found = gates.check_agreement("unknown", row, None, "validation", export)
    assert [each["passed"] for each in found] == [False, True]


# --- the temperature ------------------------------------------------------------------

BAD = [10**400, float("nan"), float("inf"), 0, -1.0, 0.001, True, "2", None, [2]]


@pytest.mark.parametrize("value", BAD, ids=lambda value: repr(value)[:8])
def test_a_temperature_that_is_none_is_a_finding_and_keras_stays_as_it_is(
    tmp_path, monkeypatch, value
):
    described = {"labels": ["a", "b"], "temperature": value}
    folder = tmp_path / "1"
    (folder / METADATA).parent.mkdir(parents=True)
    (folder / METADATA).write_text(json.dumps(described))
    path = tmp_path / "x.tflite"
    path.write_bytes(b"x")
    predictor = Predictor(("a", "b"), PREPROCESSING, lambda segments: segments)
    monkeypatch.setattr(examined_files, "load", lambda path: predictor)
    for module in (examined_files, examined_tflite):
        monkeypatch.setattr(module, "read_metadata", lambda _: check_temperature(value))
    for each in (folder, path):
        assert read_temperature(each) == 1
        with contextlib.closing(open_examined("float32", each, tmp_path)) as examined:
            examined.open(("a", "b"), PREPROCESSING)
        (found,) = examined.findings
        assert (found["check"], found["passed"]) == ("file", False)
        assert "temperature is " in found["text"] and "0.01 to 100" in found["text"]


def test_a_temperature_that_is_right_is_read(tmp_path):
    folder = tmp_path / "1"
    (folder / METADATA).parent.mkdir(parents=True)
    for value, wanted in ((2, 2.0), (0.01, 0.01), (100, 100.0)):
        (folder / METADATA).write_text(json.dumps({"temperature": value}))
        assert read_temperature(folder) == wanted


def test_a_temperature_that_breaks_keras_is_the_fault_of_its_file(
    tiny_run, tmp_path, monkeypatch
):
    paths = {0.5: tmp_path / "int8.tflite", 1: tmp_path / "float32.tflite"}
    for path in paths.values():
        path.write_bytes(b"x")
    values = {path: value for value, path in paths.items()}
    monkeypatch.setattr(by_hand, "read_temperature", values.get)
    monkeypatch.setattr(by_hand, "scan_splits", lambda run, split, **named: run)
    monkeypatch.setattr(by_hand, "choose_clips", lambda run, split: {})
    fold = "asc_tf.exporting.temperature.fold_temperature"
    monkeypatch.setattr(fold, lambda model, value: value)

    def examine_group(group, temperature, runs):
        if temperature != 1:
            raise NotFiniteError("the model gave probabilities that are not finite")
        return {name: {"findings": []} for name in group}

    monkeypatch.setattr(by_hand, "_examine_group", examine_group)
    first, second = by_hand.examine_by_hand([*paths.values()], tiny_run)
    assert not first["passed"] and "temperature in the file, 0.5" in first["reason"]
    assert "FAILED  file" in format_examination(first)
    assert second["passed"] and second["format"] == "float32"


def test_the_compressed_size_is_that_of_zlib_and_of_files_that_could_be_read(
    tmp_path, monkeypatch
):
    content = np.random.default_rng(0).integers(0, 9, 3 * 2**20, np.uint8).tobytes()
    path = tmp_path / "x.tflite"
    path.write_bytes(content)
    count = examined_files._count_compressed_bytes(path)
    assert count == len(zlib.compress(content, 9))
    monkeypatch.setattr(examined_files.zlib, "compressobj", None)
    with contextlib.closing(open_examined("float32", path, tmp_path)) as examined:
        examined.open(("a", "b"), PREPROCESSING)
    assert "compressed_bytes" not in examined.row
    assert "is not a TensorFlow Lite model" in examined.findings[0]["text"]
