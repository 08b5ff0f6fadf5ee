"""Conversion of a network to every .tflite format, and children that fail at it."""

import dataclasses
import importlib
import json
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import randomize, spread_answers
from tensorflow.python.saved_model import loader_impl

import asc_tf
from asc_tf import models
from asc_tf.config import Audio, Evaluate, Export, Frontend, Model, read
from asc_tf.core.errors import UserError
from asc_tf.core.files import DiskFullError
from asc_tf.edge.runtime import EdgeModel
from asc_tf.edge.tflite_metadata import write_metadata
from asc_tf.exporting import export as export_module
from asc_tf.exporting import saved_model
from asc_tf.exporting.conversion import ranges, tflite, worker
from asc_tf.exporting.conversion.flatbuffer_packing import read_model
from asc_tf.exporting.conversion.flatbuffer_parts import measure_parts
from asc_tf.exporting.formats import FILES, TRAINED, is_tflite
from asc_tf.exporting.saved_model import (
    expose_parts,
    find_embedding_scope,
    write_one_segment,
)
from asc_tf.frontend import FrontendLayer
from asc_tf.models.cost import list_directions
from asc_tf.models.precision import list_layers

# LiteRT warns of the memory of the activations.
pytestmark = pytest.mark.filterwarnings("ignore:Warning. Enabling")

FORMATS = [name for name in FILES if is_tflite(name) and name not in TRAINED]
INTEGER = ("int8", "int16x8")


def make_segments(count: int, samples: int = 8000) -> np.ndarray:
    generator = np.random.default_rng(0)
    time = np.arange(samples) / 8000
    pitch = generator.uniform(100, 3000, (count, 1))
    tones = 0.3 * np.sin(2 * np.pi * pitch * time)
    return (tones + 0.05 * generator.normal(size=tones.shape)).astype("f4")


def make_network(body: keras.Model, segments: np.ndarray) -> keras.Model:
    """A network with statistics of its front-end and answers that differ."""
    settings = Frontend(n_fft=256, hop_length=128, n_mels=16)
    layer = FrontendLayer(8000, settings)
    features = layer(segments).numpy()
    layer.set_statistics(np.float32(features.mean()), np.float32(features.std()))
    randomize(body, seed=1)
    spread_answers(body, layer(segments))
    return models.attach_frontend(layer, body, segments.shape[1:])


def make_separable() -> keras.Model:
    shape = Frontend(n_fft=256, hop_length=128, n_mels=16)
    return models.build(Model(filters=(8, 16)), (shape.frames(8000), 16), 3)


def make_lstm() -> keras.Model:
    layers = keras.layers
    features = keras.Input((63, 16), name="features")
    lstm = layers.LSTM(6, return_sequences=True, name="lstm")
    x = layers.Bidirectional(lstm, name="both")(features)
    x = layers.GRU(5, name="gru")(x)
    x = layers.Dropout(0.2, name="dropout")(x)
    x = layers.Dense(3, name="logits")(x)
    probabilities = layers.Softmax(name="probabilities")(x)
    return keras.Model(features, probabilities, name="recurrent")


def convert_network(body, folder, formats, **options):
    """Convert a network: the segments, its answers to them, and the result."""
    keras.utils.set_random_seed(0)
    segments = make_segments(12)
    whole = make_network(body(), segments)
    exposed = expose_parts(whole)
    write_one_segment(exposed, folder / "saved_model")
    scope = find_embedding_scope(whole)
    settings = tflite.Settings(body=scope.split("/")[0], scope=scope, **options)
    source = folder / "saved_model"
    result = tflite.convert(source, formats, settings, segments, segments)
    outputs = {name: np.asarray(each) for name, each in exposed(segments).items()}
    return segments, outputs, result


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("converted")
    options = {"separate": True, "ranges": "auto", "percentile": 99.9}
    return convert_network(
        make_separable, folder, FORMATS, has_embedding=True, **options
    )


def run(path, segments: np.ndarray) -> dict[str, np.ndarray]:
    """Run a file with a given input on each segment: outputs by name."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(path)).get_signature_runner("serving_default")
    (name,) = runner.get_input_details()
    rows = [runner(**{name: each[np.newaxis]}) for each in segments]
    return {key: np.concatenate([row[key] for row in rows]) for key in rows[0]}


LARGEST = {"float32": 1e-5, "float16": 0.01}
"""Largest accepted difference of a probability; integers have 0.15, because a network
of random weights divides by small differences."""


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_gives_the_probabilities_of_keras_and_the_embedding(converted, name):
    segments, outputs, result = converted
    found = run(result.paths[name], segments)
    assert set(found) == {"probabilities", "embedding"}
    assert {values.dtype for values in found.values()} == {np.dtype("float32")}
    largest = LARGEST.get(name, 0.15)
    np.testing.assert_allclose(
        found["probabilities"], outputs["probabilities"], atol=largest
    )
    scale = np.abs(outputs["embedding"]).max()
    np.testing.assert_allclose(
        found["embedding"], outputs["embedding"], atol=3 * largest * scale
    )


@pytest.mark.parametrize("name", FORMATS)
def test_front_end_and_body_apart_give_what_the_file_gives(converted, name):
    segments, outputs, result = converted
    path = result.paths[name]
    features = run(path.with_name(f"{name}_frontend.tflite"), segments)["features"]
    # Whatever the format is, the front-end computes in float32.
    np.testing.assert_allclose(features, outputs["features"], atol=1e-4)
    found = run(path.with_name(f"{name}_body.tflite"), features)
    for key, values in run(path, segments).items():
        np.testing.assert_array_equal(found[key], values)


def test_weights_of_the_body_alone_are_stored_in_fewer_bytes(converted):
    sizes = {
        name: measure_parts(path.read_bytes(), 0)
        for name, path in converted[2].paths.items()
    }
    whole = sizes["float32"]
    assert sizes["float16"]["weights"] < 0.7 * whole["weights"]
    for name in ("dynamic", *INTEGER):
        assert sizes[name]["weights"] < 0.6 * whole["weights"]
    for each in sizes.values():
        assert each["mel_matrix"] == whole["mel_matrix"] > 0
        assert each["frontend"] == whole["frontend"] > 256 * 4


def test_notes_name_every_tensor_and_the_choice_of_ranges(converted):
    result = converted[2]
    assert not result.reasons
    for name, path in result.paths.items():
        names = result.notes[name]["tensor_names"]
        tensors = read_model(path.read_bytes()).subgraphs[0].tensors
        assert len(names) == len(tensors)
        assert any("/separable_cnn_1/block1a_pointwise_relu" in each for each in names)
        assert names[0] == "serving_default_waveform:0"
    for name in INTEGER:
        note = result.notes[name]["ranges"]
        assert set(note["drift"]) == {"min_max", "percentile"}
        assert note["chosen"] == min(note["drift"], key=note["drift"].get)
        assert note["n_segments"] == 12
    assert "ranges" not in result.notes["dynamic"]


@pytest.mark.parametrize(("ranges_", "is_clipped"), [("min_max", 0), ("percentile", 1)])
def test_the_ranges_are_those_that_are_asked_for(
    converted, tmp_path, ranges_, is_clipped
):
    base = next(iter(converted[2].paths.values())).with_name("base.flatbuffer")
    (tmp_path / base.name).write_bytes(base.read_bytes())
    segments = converted[0]
    measured = ranges.measure_ranges(base.read_bytes(), segments, 80.0)
    path = str(base.with_name("calibration.float32"))
    task = {
        "folder": str(tmp_path),
        "body": "separable_cnn",
        "calibration": [path, segments.shape],
        "ranges": ranges_,
        "percentile": 80.0,
        "learned": {},
        "separate": False,
        "steps": [tflite.RANGES, "int8"],
    }
    reports = []
    worker.run(task, lambda **fields: reports.append(fields))
    assert [each["state"] for each in reports] == 2 * ["begins", "ends"]
    (features,) = [
        tensor
        for tensor in read_model((tmp_path / "int8.tflite").read_bytes())
        .subgraphs[0]
        .tensors
        if tensor.quantization and list(tensor.shape) == [1, 63, 16]
    ]
    low, high = measured[ranges_]["features"]
    assert features.quantization.scale[0] == pytest.approx((high - low) / 255, rel=1e-3)
    whole = measured["min_max"]["features"]
    assert ((high - low) < 0.9 * (whole[1] - whole[0])) == is_clipped


@pytest.fixture(scope="module")
def sealed(converted, tmp_path_factory):
    """Two files of the conversion with metadata, as an export writes them."""
    folder = tmp_path_factory.mktemp("sealed")
    metadata = {
        **{"labels": list("abc"), "sample_rate": 8000, "precision": "int8"},
        **{"segment_samples": 8000, "hop_samples": 8000},
    }
    source = converted[2].paths["int8"].parent
    for name, extra in (("int8", {}), ("int8_body", {"part": "body"})):
        path = folder / f"{name}.tflite"
        path.write_bytes((source / path.name).read_bytes())
        write_metadata(path, metadata | extra)
    return folder


def test_a_file_with_an_embedding_is_one_for_the_edge_and_for_the_predictor(
    converted, sealed
):
    segments, outputs, _ = converted
    model = EdgeModel(sealed / "int8.tflite")
    embeddings = model.embed_segments(segments)
    assert embeddings.shape == outputs["embedding"].shape == (12, 16)
    found = run(sealed / "int8.tflite", segments)
    np.testing.assert_array_equal(embeddings, found["embedding"])
    np.testing.assert_array_equal(
        model.predict_segments(segments), found["probabilities"]
    )
    # The body beside it is no second model of the folder.
    predictor = asc_tf.load(sealed)
    np.testing.assert_allclose(
        predictor.predict_segments(segments), found["probabilities"], atol=1e-6
    )


def test_a_body_alone_is_refused_with_the_name_of_the_whole_file(sealed):
    with pytest.raises(UserError, match=r"is the body of a model alone; .*int8.tflite"):
        EdgeModel(sealed / "int8_body.tflite")


def list_operations(path: Path) -> set[str]:
    """The operations of the graph of a SavedModel and of its functions."""
    meta = loader_impl.parse_saved_model(str(path)).meta_graphs[0]
    functions = [function.node_def for function in meta.graph_def.library.function]
    return {node.op for nodes in (meta.graph_def.node, *functions) for node in nodes}


def test_a_saved_model_written_beside_a_gpu_has_no_operation_of_cudnn(
    tmp_path, monkeypatch
):
    features = keras.Input((63, 16), name="features")
    x = keras.layers.Bidirectional(keras.layers.GRU(2, name="gru"))(features)
    body = keras.Model(features, keras.layers.Dense(3, name="logits")(x), name="body")
    layer = FrontendLayer(8000, Frontend(n_fft=256, hop_length=128, n_mels=16))
    model = models.attach_frontend(layer, body, (8000,))

    class OneSignature:
        """Stands in for the twelve signatures, whose tracing takes seconds."""

        def __init__(self, exposed, *settings):
            self._exposed = exposed

        def make(self):
            spec = tf.TensorSpec([None, *model.input_shape[1:]])
            function = tf.function(self._exposed, input_signature=[spec])
            return {"serving_default": function}

    # The package has a function of the same name as this module of its own.
    backend = importlib.import_module("keras.src.backend.tensorflow.rnn")
    monkeypatch.setattr(backend, "_is_gpu_available", lambda: True)
    monkeypatch.setattr(saved_model, "Signatures", OneSignature)
    write_one_segment(model, tmp_path / "one")
    settings = (Audio(), Evaluate(), "abc", {}, tmp_path / "all")
    saved_model.write_saved_model(model, *settings)
    for name in ("one", "all"):
        operations = list_operations(tmp_path / name)
        assert "While" in operations or "StatelessWhile" in operations
        assert not any("cudnn" in each.lower() for each in operations)
    # The model itself still runs as Keras chooses.
    layers = [part for each in list_layers(model) for part in list_directions(each)]
    chosen = [each.use_cudnn for each in layers if hasattr(each, "use_cudnn")]
    assert chosen == ["auto"] * 2
    assert not any(getattr(each, "portable", False) for each in layers)


@pytest.mark.slow
def test_a_recurrent_network_is_converted_without_flex_to_every_format(tmp_path):
    segments, outputs, result = convert_network(make_lstm, tmp_path, FORMATS)
    assert not result.reasons
    sizes = {name: path.stat().st_size for name, path in result.paths.items()}
    for name, path in result.paths.items():
        assert b"Flex" not in path.read_bytes()
        assert len(read_model(path.read_bytes()).subgraphs) > 1
        found = run(path, segments)["probabilities"]
        largest = LARGEST.get(name, 0.15)
        np.testing.assert_allclose(found, outputs["probabilities"], atol=largest)
        assert name == "float32" or sizes[name] < sizes["float32"]


@pytest.mark.slow
def test_the_int8_file_of_the_compact_model_has_at_most_128_kilobytes(tmp_path):
    config = read(Path(__file__).parents[2] / "configs" / "esc10_small.toml")
    samples = round(config.audio.sample_rate * config.audio.segment_seconds)
    segments = np.random.default_rng(0).normal(0, 0.1, (2, samples)).astype("f4")
    layer = FrontendLayer(config.audio.sample_rate, config.frontend)
    body = models.build(config.model, layer(segments).shape[1:], 10)
    whole = models.attach_frontend(layer, body, segments.shape[1:])
    settings = dataclasses.replace(config.export, ranges="min_max")
    source = export_module.Source(("int8",), whole)
    converted = export_module._convert(source, settings, [segments], tmp_path)
    path = converted.paths["int8"]
    labels = [f"a label of one class, {number}" for number in range(10)]
    metadata = export_module._make_metadata(config, labels)
    write_metadata(path, metadata | {"precision": "int8"})
    assert path.stat().st_size <= 128_000


def test_every_setting_of_an_export_reaches_its_conversion(monkeypatch, tmp_path):
    given: list = []
    monkeypatch.setattr(saved_model, "write_one_segment", lambda model, path: None)
    monkeypatch.setattr(tflite, "convert", lambda *arguments: given.extend(arguments))
    segments = make_segments(3)
    whole = make_network(make_separable(), segments)
    settings = Export(
        ranges="percentile", percentile=99.0, separate=True, embedding=True
    )
    source = export_module.Source(("int8",), whole)
    export_module._convert(source, settings, [segments, segments[:1]], tmp_path)
    assert list(given[1]) == ["int8"]
    names = ("separable_cnn", "separable_cnn/mean")
    assert given[2] == tflite.Settings(*names, True, "percentile", 99.0, True)
    assert [len(each) for each in given[3:]] == [3, 1]


# --- children that fail --------------------------------------------------------------

CHILD = """
import json, os, sys
task = json.loads(sys.stdin.readline())
for step in task["steps"]:
    print(json.dumps({"step": step, "state": "begins"}), flush=True)
    if step in DYING:
        sys.stderr.write("the last words\\n")
        sys.stderr.flush()
        os.kill(os.getpid(), 11)
    open(f"{task['folder']}/{step}.tflite", "w").close()
    notes = {"tensor_names": [str(os.getpid())]}
    print(json.dumps({"step": step, "state": "ends", "notes": notes}), flush=True)
"""


def convert_with(monkeypatch, folder, code: str):
    monkeypatch.setattr(tflite, "COMMAND", [sys.executable, "-c", code])
    source = folder / "saved_model"
    formats = ["float32", "float16", "int8", "int16x8"]
    settings = tflite.Settings("body")
    return tflite.convert(source, formats, settings, np.zeros([1, 4], "f4"))


@pytest.mark.parametrize(
    ("dying", "lost"),
    [
        ("float16", {"float16"}),
        (tflite.RANGES, {"int8", "int16x8"}),
        (tflite.BASE, {"float32", "float16", "int8", "int16x8"}),
    ],
)
def test_a_crash_costs_the_formats_of_its_step_only(
    tmp_path, monkeypatch, capsys, dying, lost
):
    code = f"DYING = [{dying!r}]\n{CHILD}"
    result = convert_with(monkeypatch, tmp_path, code)
    assert set(result.reasons) == lost
    assert set(result.paths) == {"float32", "float16", "int8", "int16x8"} - lost
    for reason in result.reasons.values():
        assert reason.startswith("the conversion failed: ended by SIGSEGV")
        assert "the last words" in reason
    said = capsys.readouterr().out
    assert "writing float32 ..." in said or dying == tflite.BASE
    assert f"  {dying}: the conversion failed: ended by SIGSEGV" in said


REFUSING = """
import json, sys
task = json.loads(sys.stdin.readline())
for step in task["steps"]:
    report = {"step": step, "state": "ends", "notes": {}}
    if step == REFUSED:
        report = {"step": step, "state": "failed", "reason": "no good", "full": False}
    open(f"{task['folder']}/{step}.tflite", "w").close()
    for each in ({"step": step, "state": "begins"}, report):
        print(json.dumps(each), flush=True)
sys.exit(1)
"""


@pytest.mark.parametrize(
    ("refused", "lost"),
    [("int8", {"int8"}), (tflite.RANGES, {"int8", "int16x8"})],
)
def test_a_step_that_is_refused_costs_the_formats_that_need_it(
    tmp_path, monkeypatch, refused, lost
):
    code = f"REFUSED = {refused!r}\n{REFUSING}"
    result = convert_with(monkeypatch, tmp_path, code)
    assert result.reasons == dict.fromkeys(lost, "no good")


def test_steps_behind_one_that_failed_are_left_out(tmp_path):
    steps = [tflite.BASE, tflite.RANGES, "float32", "int8"]
    task = {"folder": str(tmp_path), "steps": steps, "scope": "", "has_embedding": 0}
    reports = []
    worker.run(task, lambda **fields: reports.append(fields))
    assert [(each["step"], each["state"]) for each in reports] == [
        (tflite.BASE, "begins"),
        (tflite.BASE, "failed"),
    ]
    (tmp_path / "base.flatbuffer").write_bytes(b"no flatbuffer")
    reports.clear()
    task |= {"steps": steps[1:], "calibration": [str(tmp_path), [1]]}
    task |= {"ranges": "auto", "percentile": 99, "learned": {}}
    worker.run(task, lambda **fields: reports.append(fields))
    failed = [each["step"] for each in reports if each["state"] == "failed"]
    assert failed == [tflite.RANGES, "float32"]


def test_a_child_that_says_nothing_fails_every_format(tmp_path, monkeypatch):
    result = convert_with(monkeypatch, tmp_path, "import sys; sys.exit(3)")
    assert not result.paths and len(result.reasons) == 4
    assert set(result.reasons.values()) == {
        "the conversion failed: exit code 3: no message"
    }


def test_the_child_leaves_the_gpu_to_its_parent(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    code = "import os, sys; sys.exit('GPU ' + os.environ['CUDA_VISIBLE_DEVICES'])"
    result = convert_with(monkeypatch, tmp_path, code)
    assert set(result.reasons.values()) == {
        "the conversion failed: exit code 1: GPU -1"
    }


HALF_A_LINE = """
import json, os, sys
task = json.loads(sys.stdin.readline())
step = task["steps"][0]
print(json.dumps({"step": step, "state": "begins"}))
print('{}\\n{"step": "' + step + '", "state": "en', end="", flush=True)
os.kill(os.getpid(), 9)
"""


def test_a_child_that_is_killed_within_a_line_fails_its_step(tmp_path, monkeypatch):
    result = convert_with(monkeypatch, tmp_path, HALF_A_LINE)
    assert not result.paths and len(result.reasons) == 4
    for reason in result.reasons.values():
        assert "ended by SIGKILL, perhaps because memory was full" in reason


HANGING = f"import time\n{CHILD}".replace(
    "os.kill(os.getpid(), 11)", "time.sleep(3600)"
)


def test_a_child_that_hangs_is_ended_and_costs_its_format(tmp_path, monkeypatch):
    monkeypatch.setattr(tflite, "HANG_SECONDS", 5.0)
    code = f"DYING = ['float16']\n{HANGING}"
    result = convert_with(monkeypatch, tmp_path, code)
    assert set(result.paths) == {"float32", "int8", "int16x8"}
    assert result.reasons == {
        "float16": "the conversion failed: it reported no progress for 5 s and was "
        "stopped: the last words"
    }


def test_a_child_reports_progress_while_it_reads_segments(tmp_path, monkeypatch):
    signs: list[int] = []
    task = {"folder": str(tmp_path)}
    conversion = worker.Conversion(task, lambda: signs.append(1))
    segments = np.zeros([3, 4], "f4")
    assert len(list(conversion._watch(segments))) == 3 and not signs
    monkeypatch.setattr(worker, "SIGN_SECONDS", -1.0)
    assert len(list(conversion._watch(segments))) == 3 == len(signs)


def test_a_conversion_that_fills_the_disk_says_so(tmp_path, monkeypatch):
    text = "OSError: [Errno 28] No space left on device: 'x.tflite'"
    with pytest.raises(DiskFullError):
        convert_with(monkeypatch, tmp_path, f"import sys; sys.exit({text!r})")


@pytest.fixture
def worker_task(converted, tmp_path):
    """A task on the float model of the conversion above, and its reports."""
    source = converted[2].paths["int8"].parent
    for name in ("base.flatbuffer", "ranges.json"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    segments = [str(source / "calibration.float32"), converted[0].shape]
    return {
        "folder": str(tmp_path),
        "body": "separable_cnn",
        "calibration": segments,
        "check": segments,
        "ranges": "min_max",
        "percentile": 99.0,
        "learned": {},
        "separate": False,
        "steps": ["int8", "float32"],
    }


def test_a_quantizer_that_gives_nan_costs_its_format_and_leaves_no_file(
    worker_task, tmp_path
):
    measured = json.loads((tmp_path / "ranges.json").read_text())
    measured["min_max"]["features"] = [float("nan"), float("nan")]
    (tmp_path / "ranges.json").write_text(json.dumps(measured))
    reports = []
    worker.run(worker_task, lambda **fields: reports.append(fields))
    failed, ended = (each for each in reports if each["state"] != "begins")
    assert failed["step"] == "int8" and failed["state"] == "failed"
    assert (ended["step"], ended["state"]) == ("float32", "ends")
    assert not (tmp_path / "int8.tflite").exists()
    assert (tmp_path / "float32.tflite").is_file()


def test_a_file_whose_probabilities_are_not_finite_is_refused(
    worker_task, tmp_path, monkeypatch
):
    def refuse(*given):
        raise UserError("gives probabilities that are not finite")

    monkeypatch.setattr(ranges, "classify", refuse)
    reports = []
    task = worker_task | {"steps": ["float16"]}
    worker.run(task, lambda **fields: reports.append(fields))
    assert reports[-1]["reason"] == "gives probabilities that are not finite"
    assert not (tmp_path / "float16.tflite").exists()
