"""Exported files are checked: the rejected ones, a full disk, digits on a GPU."""

import errno
import json
import os
import shutil

import numpy as np
import pytest
import soundfile
import tensorflow as tf
import tflite_faults
import tiny
from clip_cuts import cut_clips

import asc_tf
from asc_tf import cli, report
from asc_tf.commands import export as export_command
from asc_tf.core.errors import UserError
from asc_tf.evaluation.evaluate import evaluate
from asc_tf.evaluation.predictor import Predictor
from asc_tf.exporting import export as export_module
from asc_tf.exporting import saved_model
from asc_tf.exporting.conversion import tflite
from asc_tf.exporting.doctor import examine as doctor
from asc_tf.exporting.doctor.segment_file import SegmentFile
from asc_tf.exporting.export import export
from asc_tf.training import fit
from asc_tf.training.train import train
from asc_tf.workdir import Workdir


@pytest.fixture
def nothing_to_convert(monkeypatch):
    """Spare the conversion its SavedModel and its segments."""
    segments = np.zeros([1, 4], "f4")
    monkeypatch.setattr(
        export_module, "_draw_segments", lambda run, split: [segments, segments]
    )
    monkeypatch.setattr(
        saved_model, "write_one_segment", lambda model, path: path.mkdir(parents=True)
    )


@pytest.fixture
def quick_conversion(tiny_export, nothing_to_convert, monkeypatch):
    """Take the .tflite files of an earlier export; returns those that can be made."""
    formats = ["float32", "int8"]

    def copied(source, wanted, *given):
        made = [name for name in wanted if name in formats]
        for name in made:
            shutil.copy(tiny_export / f"{name}.tflite", source.parent)
        reason = "the conversion failed: ended by SIGSEGV: no message"
        return tflite.Converted(
            {name: source.parent / f"{name}.tflite" for name in made},
            {name: {"tensor_names": ["a"]} for name in made},
            {name: reason for name in wanted if name not in made},
        )

    monkeypatch.setattr(tflite, "convert", copied)
    return formats


@pytest.fixture
def quick_clips(monkeypatch):
    """Cut the clips of a split without the graph that decodes them."""
    monkeypatch.setattr(doctor, "_cut_clips", cut_clips)


@pytest.fixture
def wrong_int8(monkeypatch):
    """Let the int8 file give one label only."""
    convert = tflite.convert

    def converted(*given, **named):
        result = convert(*given, **named)
        if "int8" in result.paths:
            tflite_faults.rewrite(result.paths["int8"], SHIFTED)
        return result

    monkeypatch.setattr(tflite, "convert", converted)


SHIFTED = tflite_faults.change_bias(
    "FULLY_CONNECTED", -1, np.int32, lambda bias: bias + np.array([0, 10**6, 0])
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def arguments(workdir, output, formats="float32,int8"):
    folders = [f"--workdir={workdir.path}", f"--output={output}"]
    return [*folders, f"--formats={formats}"]


@pytest.mark.usefixtures("quick_conversion", "quick_clips", "wrong_int8")
def test_an_int8_file_that_does_not_agree_leaves_the_others_and_is_kept_as_rejected(
    tiny_run, tmp_path, capsys
):
    output = tmp_path / "export"
    assert cli.main(["export", *arguments(tiny_run, output)]) == 1
    said = capsys.readouterr()
    assert names(output) == [
        *("export.html", "export.json", "float32.tflite", "int8.tflite.rejected"),
        "model.json",
    ]
    (line,) = [row for row in said.err.splitlines() if row.startswith("asc-tf export:")]
    assert "int8 is rejected and kept as int8.tflite.rejected: agrees with" in line
    assert "less than export.min_agreement = 97.0%" in line
    described = json.loads((output / "export.json").read_text())
    assert list(described["formats"]) == ["float32"]
    row = described["rejected"]["int8"]
    assert row["validation"]["agreement"] < 0.85 and row["reason"] in line
    page = (output / "export.html").read_text()
    assert "int8.tflite.rejected" in page and "min_<wbr>agreement" in page
    files = json.loads((output / "model.json").read_text())["files"]
    assert list(files) == ["float32.tflite"]
    assert asc_tf.load(output).labels == tiny.LABELS


def test_the_terminal_says_how_far_probabilities_differ(tiny_export):
    rows = json.loads((tiny_export / "export.json").read_text())["formats"]
    difference = rows["int8"]["validation"]["max_difference"]
    assert difference > 1e-4
    line = export_command.format_summary("int8", rows["int8"])
    assert f"probabilities differ by up to {difference:.1g}" in line


@pytest.mark.usefixtures("quick_clips")
def test_a_format_that_cannot_be_converted_leaves_the_others(
    tiny_run, tmp_path, quick_conversion, capsys
):
    quick_conversion.remove("int8")
    assert cli.main(["export", *arguments(tiny_run, tmp_path / "export")]) == 1
    assert "int8 is rejected: the conversion failed: ended by SIGSEGV" in (
        capsys.readouterr().err
    )
    assert asc_tf.load(tmp_path / "export").labels == tiny.LABELS
    assert "int8.tflite.rejected" not in names(tmp_path / "export")


@pytest.mark.usefixtures("nothing_to_convert", "quick_clips")
def test_where_every_format_fails_an_earlier_export_stays(
    tiny_run, tiny_export, tmp_path, monkeypatch
):
    output = shutil.copytree(tiny_export, tmp_path / "export")
    monkeypatch.setattr(tflite, "COMMAND", ["false"])
    changes = {"export.formats": ("float32", "int8")}
    with pytest.raises(
        UserError, match=r"as it was: the conversion failed: exit code 1"
    ):
        export(tiny_run, output, changes)
    before, after = (folder / "int8.tflite" for folder in (tiny_export, output))
    assert after.read_bytes() == before.read_bytes()
    assert names(tmp_path) == ["export"]
    # A new folder shows what was tried.
    described = export(tiny_run, tmp_path / "new", changes)
    assert not described["formats"]
    assert names(tmp_path / "new") == ["export.html", "export.json", "model.json"]


# --- a full disk ---------------------------------------------------------------------

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
FULL_IN_TENSORFLOW = tf.errors.ResourceExhaustedError(
    None, None, "/mnt/x/variables; No space left on device"
)


@pytest.mark.parametrize(
    ("module", "name", "error", "formats"),
    [
        (saved_model, "write_saved_model", FULL_IN_TENSORFLOW, "saved_model"),
        (tflite, "convert", FULL, "float32"),
        (SegmentFile, "append", FULL, "float32"),
        (export_module, "write_json", FULL, "float32"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.usefixtures("quick_conversion", "quick_clips")
def test_a_full_disk_is_one_line_and_leaves_the_earlier_export(
    tiny_run, tiny_export, tmp_path, monkeypatch, capfd, module, name, error, formats
):
    def fail(*arguments, **named):
        raise error

    output = shutil.copytree(tiny_export, tmp_path / "export")
    monkeypatch.setattr(module, name, fail)
    assert cli.main(["export", *arguments(tiny_run, output, formats)]) == 1
    said = capfd.readouterr()
    assert f"asc-tf export: {output}: the disk is full; existing" in said.err
    assert "Traceback" not in said.err
    assert names(tmp_path) == ["export"]
    assert names(output) == names(tiny_export)


# --- digits on a GPU -----------------------------------------------------------------


@pytest.fixture
def tf32_states(monkeypatch):
    """Whether TF32 is on whenever a model runs; it is on before."""
    found = []
    original = Predictor.predict_segments

    def noted(self, waveforms):
        found.append(tf.config.experimental.tensor_float_32_execution_enabled())
        return original(self, waveforms)

    monkeypatch.setattr(Predictor, "predict_segments", noted)
    tf.config.experimental.enable_tensor_float_32_execution(True)
    yield found
    tf.config.experimental.enable_tensor_float_32_execution(True)


@pytest.mark.parametrize("model", ["run", "saved_model"])
def test_predict_computes_with_all_digits(
    tiny_run, tiny_export, tmp_path, tf32_states, model
):
    path = tmp_path / "hum.wav"
    soundfile.write(path, tiny.clip("hum", 7), tiny.RATE)
    folder = tiny_run.path if model == "run" else tiny_export / "saved_model"
    assert cli.main(["predict", f"--model={folder}", str(path)]) == 0
    assert tf32_states == [False]


def test_evaluate_computes_with_all_digits(
    tiny_run, tmp_path, tf32_states, monkeypatch
):
    monkeypatch.setattr(report, "write_report", lambda *arguments, **named: None)
    copy = Workdir(shutil.copytree(tiny_run.path, tmp_path / "run"))
    evaluate(copy)
    assert tf32_states and not any(tf32_states)


@pytest.mark.usefixtures("quick_conversion", "quick_clips")
def test_export_computes_with_all_digits(tiny_run, tmp_path, tf32_states):
    export(tiny_run, tmp_path / "export", {"export.formats": ("float32",)})
    assert tf32_states and not any(tf32_states)


@pytest.mark.parametrize(
    ("placement", "is_allowed"), [("dataset", True), ("model", False)]
)
def test_training_rounds_to_tf32_only_where_features_come_from_the_pipeline(
    tiny_run, tmp_path, monkeypatch, placement, is_allowed
):
    found = []

    def fit_epochs(*arguments):
        found.append(tf.config.experimental.tensor_float_32_execution_enabled())

    monkeypatch.setattr(fit, "fit_epochs", fit_epochs)
    tf.config.experimental.enable_tensor_float_32_execution(not is_allowed)
    config = tiny_run.config().replace({"frontend.placement": placement})
    with pytest.raises(UserError, match="no model was saved"):
        train(config, Workdir(tmp_path / "run"))
    assert found == [is_allowed]
