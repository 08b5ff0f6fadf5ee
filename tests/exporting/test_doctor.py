"""The doctor: each fault of an exported file gives its finding."""

import contextlib
import json
import os
import re
import shutil
import time
from types import SimpleNamespace

import numpy as np
import pytest
import tflite_faults
import tiny
from clip_cuts import cut_clips
from processes import run_python
from tflite_faults import change_bias, make_custom, rewrite

from asc_tf import cli
from asc_tf.commands import doctor as doctor_command
from asc_tf.core.files import DiskFullError
from asc_tf.exporting.doctor import by_hand, litert_measurements, litert_process
from asc_tf.exporting.doctor import examine as doctor
from asc_tf.exporting.doctor.examined_tflite import open_examined
from asc_tf.exporting.doctor.layer_errors import compare_layers, shorten_tensor_name
from asc_tf.exporting.doctor.litert_process import ChildFailedError, LiteRtProcess
from asc_tf.report.doctor_text import format_examination


@pytest.fixture(scope="module")
def quick():
    """Cut clips without a graph, and spare the repetitions of latency."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doctor, "_cut_clips", cut_clips)
        yield


FAULTS = {
    "right": lambda path: None,
    "nan": lambda path: rewrite(
        path, change_bias("FULLY_CONNECTED", -1, np.float32, lambda b: b * np.nan)
    ),
    "labels": lambda path: rewrite(path, labels=["hum", "hiss", "whistle"]),
    "temperature": lambda path: rewrite(path, temperature=2.0),
    "flex": lambda path: rewrite(path, make_custom(b"FlexSoftmax")),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:3000]),
}


@pytest.fixture(scope="module")
def examined(tiny_run, tiny_export, tmp_path_factory, quick):
    """Rows of files with faults, by fault, as the command writes them."""
    folder, rows = tmp_path_factory.mktemp("faults"), {}
    paths = {}
    for fault, put in FAULTS.items():
        paths[fault] = folder / fault / "float32.tflite"
        paths[fault].parent.mkdir()
        shutil.copy(tiny_export / "float32.tflite", paths[fault])
        put(paths[fault])
    for fault, row in zip(
        FAULTS, by_hand.examine_by_hand([*paths.values()], tiny_run), strict=True
    ):
        rows[fault] = row
    return rows


SHIFT = np.array([0, 10**6, 0])


def find(row, check):
    """The last finding of a check."""
    return [each for each in row["findings"] if each["check"] == check][-1]


def test_a_right_file_passes_every_check_and_has_every_figure(examined, tiny_export):
    row = examined["right"]
    assert row["passed"] and "reason" not in row
    assert row["format"] == "float32"
    assert row["bytes"] == (tiny_export / "float32.tflite").stat().st_size
    assert row["bytes"] == sum(row["parts"].values())
    assert 0 < row["compressed_bytes"] < row["bytes"]
    for split in ("validation", "test"):
        assert row[split]["agreement"] == 1
        assert row[split]["max_difference"] < 1e-4
        assert row[split]["kl_divergence"] < 1e-6
    measured = {(each["threads"], each["part"]) for each in row["latency"]}
    assert {(1, "whole"), (2, "whole")} <= measured
    assert all(0 < each["p50"] <= each["p95"] for each in row["latency"])
    checks = {each["check"] for each in row["findings"] if each["passed"]}
    assert checks >= {
        *("labels", "metadata", "operations", "run", "finite"),
        *("difference", "agreement", "accuracy"),
    }


def test_probabilities_that_are_not_finite_fail(examined):
    row = examined["nan"]
    assert not row["passed"] and "validation" not in row
    assert "not finite for" in find(row, "finite")["text"]


def test_labels_in_another_order_fail_and_are_compared_by_their_names(examined):
    row = examined["labels"]
    assert "label 1 is hum, but hiss in the run" in find(row, "labels")["text"]
    assert find(row, "agreement")["passed"] is False
    assert row["validation"]["agreement"] < 0.7


def test_a_file_is_compared_with_keras_at_its_own_temperature(examined):
    """Its weights are those without: with 2, Keras is less certain than the file."""
    row = examined["temperature"]
    assert find(row, "difference")["passed"] is False
    assert row["test"]["agreement"] == 1
    top = {
        name: max(row["test"]["worst"][name].values()) for name in ("keras", "answer")
    }
    assert top["answer"] > top["keras"] + 0.05


def test_an_operation_of_tensorflow_is_named_and_the_file_is_not_run(examined):
    row = examined["flex"]
    assert "TensorFlow (Flex)" in row["reason"] and "FlexSoftmax" in row["reason"]
    assert "validation" not in row and "latency" not in row


def test_a_file_that_is_cut_off_is_a_finding(examined):
    row = examined["cut"]
    assert "no metadata" in row["reason"]
    assert find(row, "file")["passed"] is False


def test_the_text_says_what_was_found(examined):
    text = format_examination(examined["right"])
    assert "float32.tflite (float32) passes" in text
    assert "same label" in text and "100.0 %" in text and "KL divergence" in text
    assert max(map(len, text.split("\n")[1:])) <= 88
    failed = format_examination(examined["flex"])
    assert "FAILS" in failed and "FAILED  operations" in failed


# --- the child process ----------------------------------------------------------------


@pytest.fixture
def float_file(tiny_export, tmp_path):
    return shutil.copy(tiny_export / "float32.tflite", tmp_path / "float32.tflite")


def ask_faulty(path, folder, monkeypatch, body, **settings):
    """Ask for a prediction whose code is `body`; returns the error."""
    tflite_faults.write_child(folder, monkeypatch, "predict", body)
    child = LiteRtProcess(path)
    try:
        child.ask("inspect")
        for name, value in settings.items():
            monkeypatch.setattr(litert_process, name, value)
        with pytest.raises((ChildFailedError, DiskFullError)) as caught:
            child.ask("predict", segments="", shape=[], output="")
        return caught.value
    finally:
        child.close()


@pytest.mark.parametrize(
    ("body", "settings", "message"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", {}, r"crashed \(SIGSEGV\)"),
        ("os.kill(os.getpid(), signal.SIGKILL)", {}, "memory of the machine is full"),
        ("time.sleep(60)", {"HANG_SECONDS": 0.3}, "not answered for 0.3 s"),
        ("np.ones(2**34)", {}, "needs more than 4.0 GB of memory"),
        ("print('std::bad_alloc')\nos.abort()", {}, "needs more than 4.0 GB"),
        ("raise RuntimeError('no kernel')", {}, "no kernel"),
        ("raise OSError(28, 'No space left on device')", {}, "the disk is full"),
    ],
    ids=["crash", "killed", "hang", "memory", "allocation", "error", "disk"],
)
def test_what_ends_the_child_is_named(
    float_file, tmp_path, monkeypatch, body, settings, message
):
    error = ask_faulty(float_file, tmp_path, monkeypatch, body, **settings)
    assert re.search(message, str(error))


def test_a_child_ends_with_its_parent_also_while_the_model_hangs(
    float_file, tmp_path, monkeypatch
):
    body = f"open({str(tmp_path / 'began')!r}, 'w').close()\ntime.sleep(60)"
    tflite_faults.write_child(tmp_path, monkeypatch, "inspect", body)
    child = LiteRtProcess(float_file)
    process = child._process
    process.stdin.write('{"command": "inspect"}\n')
    process.stdin.flush()
    end = time.monotonic() + 60
    while not (tmp_path / "began").exists() and time.monotonic() < end:
        time.sleep(0.02)
    process.stdin.close()  # as the end of the parent does
    assert process.wait(timeout=30) == 0
    child.close()


def test_the_child_needs_no_tensorflow():
    code = (
        "from asc_tf.exporting.doctor import litert_child, litert_measurements\n"
        "from asc_tf.exporting.doctor import layer_errors\n"
        "from asc_tf.exporting.conversion import flatbuffer, flatbuffer_parts\n"
    )
    done = run_python(code, without=("tensorflow", "keras"))
    assert done.returncode == 0, done.stderr


# --- layers and memory ----------------------------------------------------------------


def load_flatbuffer(path):
    from asc_tf.edge import tflite_metadata

    return tflite_metadata.load(path)[1]


@pytest.fixture(scope="module")
def layer_segments():
    return np.stack([tiny.clip(tiny.LABELS[n % 3], n, 0.5) for n in range(6)])


def run_layers(path, reference, segments):
    models = [load_flatbuffer(each) for each in (path, reference)]
    return compare_layers(models, [[], []], segments, lambda: None)


@pytest.mark.parametrize("place", [0, 1])
def test_a_shifted_bias_points_to_exactly_its_layer(
    tiny_export, tmp_path, layer_segments, place
):
    path = shutil.copy(tiny_export / "int8.tflite", tmp_path / "int8.tflite")
    reference = tiny_export / "float32.tflite"
    before = run_layers(path, reference, layer_segments)
    convolutions = [row["name"] for row in before if row["operation"] == "CONV_2D"]
    rewrite(path, change_bias("CONV_2D", place, np.int32, lambda b: b + 20000))
    after = run_layers(path, reference, layer_segments)
    worst = max(after, key=lambda row: row["loss_db"])
    assert worst["name"] == convolutions[place]
    assert worst["loss_db"] > 10
    position = after.index(worst)
    assert after[:position] == before[:position]


def test_the_ratio_is_that_of_the_values(tiny_export, layer_segments):
    """The last row is that of the probabilities, the output of the files."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    def classify(path):
        kind = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        content = load_flatbuffer(path)
        model = Interpreter(model_content=content, experimental_op_resolver_type=kind)
        runner = model.get_signature_runner("serving_default")
        segments = layer_segments[:, np.newaxis]
        return np.concatenate([runner(waveform=x)["probabilities"] for x in segments])

    paths = [tiny_export / f"{name}.tflite" for name in ("int8", "float32")]
    rows = run_layers(*paths, layer_segments)
    ours, theirs = map(classify, paths)
    expected = 10 * np.log10((theirs**2).sum() / ((ours - theirs) ** 2).sum())
    assert rows[-1]["sqnr_db"] == pytest.approx(expected, abs=0.01)
    assert rows[-1]["error"] == pytest.approx(
        10 ** (-rows[-1]["sqnr_db"] / 20), rel=1e-3
    )


def test_a_file_has_no_error_against_itself(tiny_export, layer_segments):
    path = tiny_export / "float32.tflite"
    assert run_layers(path, path, layer_segments[:1]) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/cnn_1/relu_1/Relu;a/cnn_1/conv_2_1/convolution", "conv_2"),
        ("a/cnn_1/norm_1/batchnorm/add_1", "norm"),
        ("features", "features"),
        ("", ""),
    ],
)
def test_a_layer_is_named_as_in_keras(name, expected):
    assert shorten_tensor_name(name) == expected


@pytest.mark.parametrize(
    ("member", "expected"),
    [(150, 300), (9999, 50), (400, None), (50, None), (None, None), (0, None)],
)
def test_the_arena_is_the_block_that_holds_the_input_and_no_other(member, expected):
    spans = [(100, 200), (150, 400), (9990, 10040)]
    assert litert_measurements.find_block(spans, member) == expected


def test_an_arena_that_cannot_be_found_is_told_and_does_not_reject(
    tmp_path, monkeypatch
):
    path = tmp_path / "x.tflite"
    path.write_bytes(b"x")
    child = SimpleNamespace(ask=lambda command: {"bytes": None}, close=lambda: None)
    with contextlib.closing(open_examined("int8", path, tmp_path)) as examined:
        monkeypatch.setattr(examined, "_child", child)
        examined._ask_about("memory", examined._measure_memory)
    (found,) = examined.findings
    assert found["passed"] is None and "memory could not be measured" in found["text"]
    assert "arena_bytes" not in examined.row


def test_the_arena_holds_the_largest_step_and_less_than_all_tensors(tiny_export):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    content = load_flatbuffer(tiny_export / "float32.tflite")
    found = litert_measurements.measure_arena(content)
    interpreter = Interpreter(
        model_content=content,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    details = {each["index"]: each for each in interpreter.get_tensor_details()}
    operations = interpreter._get_ops_details()
    computed = {int(i) for each in operations for i in each["outputs"]}
    computed |= {int(interpreter.get_input_details()[0]["index"])}

    def size(indices):
        own = {int(index) for index in indices} & computed
        return sum(
            int(np.prod(details[index]["shape"])) * details[index]["dtype"]().itemsize
            for index in own
        )

    steps = [size([*each["inputs"], *each["outputs"]]) for each in operations]
    assert max(steps) <= found < size(computed)


# --- the command ----------------------------------------------------------------------


def test_the_command_writes_one_object_per_file_and_names_what_fails(
    tiny_run, tiny_export, tmp_path, quick, capsys
):
    folder = tmp_path / "export"
    folder.mkdir()
    for name in ("float32.tflite", "int8.tflite", "export.json"):
        shutil.copy(tiny_export / name, folder)
    shift = change_bias("FULLY_CONNECTED", -1, np.int32, lambda b: b + SHIFT)
    rewrite(folder / "int8.tflite", shift)
    arguments = [str(folder), f"--workdir={tiny_run.path}", "--json"]
    arguments += [f"--plots={tmp_path / 'plots'}", "--export.check_clips=5"]
    assert cli.main(["doctor", *arguments]) == 1
    said = capsys.readouterr()
    first, second = (json.loads(line) for line in said.out.splitlines())
    assert (first["format"], first["passed"]) == ("float32", True)
    assert (second["format"], second["passed"]) == ("int8", False)
    assert second["validation"]["n_clips"] == 5
    assert "layers" not in first
    assert {"conv", "logits"} <= {row["name"] for row in second["layers"]}
    line = f"asc-tf doctor: {folder / 'int8.tflite'}: agrees with Keras on"
    assert line in said.err and "export.min_agreement = 97.0%" in said.err
    plot = tmp_path / "plots" / "export_int8_layers.png"
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_each_file_has_a_plot_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(
        doctor_command, "draw_layers_png", lambda layers: layers.encode()
    )
    files = ["exports/a/int8.tflite", "exports/b/int8.tflite", "exports/a/mine.tflite"]
    drawn = set()
    for file in files:
        row = {"file": str(tmp_path / file), "format": "int8", "layers": file}
        doctor_command._write_plot(tmp_path / "plots", row, drawn)
    found = {path.name: path.read_text() for path in (tmp_path / "plots").iterdir()}
    names = ["a_int8_layers.png", "b_int8_layers.png", "a_int8_layers_2.png"]
    assert found == dict(zip(names, files, strict=True))
    # The same command again replaces them.
    doctor_command._write_plot(tmp_path / "plots", row, set())
    assert len(list((tmp_path / "plots").iterdir())) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no files"),
        (["absent.tflite"], "no such file"),
        (["."], "no exported file in it"),
        ([os.devnull], "give a .tflite"),
    ],
)
def test_wrong_usage_of_the_doctor_is_exit_code_2(
    words, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["doctor", *words, "--workdir=."]) == 2
    assert message in capsys.readouterr().err


def test_limits_are_flags_and_what_cannot_be_known_is_said(
    tiny_run, tiny_export, tmp_path, quick, capsys
):
    paths = [tmp_path / name / "int8.tflite" for name in ("alone", "with_float32")]
    for path in paths:
        path.parent.mkdir()
        shutil.copy(tiny_export / "int8.tflite", path)
    shutil.copy(tiny_export / "float32.tflite", paths[1].parent)
    shift = change_bias("FULLY_CONNECTED", -1, np.int32, lambda b: b + SHIFT)
    rewrite(paths[0], shift)
    words = [*map(str, paths), f"--workdir={tiny_run.path}", "--json"]
    limits = ["--export.min_agreement=0", "--export.max_accuracy_drop=1"]
    assert cli.main(["doctor", *words, *limits]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["passed"] and first["validation"]["agreement"] < 0.7
    finding = find(first, "layers")
    assert finding["passed"] is None and "no float32 file" in finding["text"]
    layer = second["layers"][0]
    assert layer["name"].startswith(layer["operation"])
    assert "layers are numbered" in find(second, "names")["text"]
