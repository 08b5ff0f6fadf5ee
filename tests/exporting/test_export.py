"""Exports: every artefact gives the probabilities of the Keras model."""

import contextlib
import io
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import tensorflow as tf
import tiny
from processes import run_python
from tensorflow.core.protobuf import saved_model_pb2

import asc_tf
from asc_tf import cli
from asc_tf.core.errors import UsageError, UserError
from asc_tf.core.files import hash_path
from asc_tf.edge.runtime import EdgeModel
from asc_tf.edge.tflite_metadata import read_metadata
from asc_tf.exporting.export import export
from asc_tf.workdir import Workdir

NAN = np.nan


@pytest.fixture(scope="module")
def workdir(tiny_run) -> Workdir:
    return tiny_run


@pytest.fixture(scope="module")
def exported(tiny_export) -> Path:
    return tiny_export


@pytest.fixture(scope="module")
def predictor(workdir):
    return asc_tf.load(workdir.path)


@pytest.fixture(scope="module")
def without_test(workdir, tmp_path_factory):
    """An export of one format where the test clips are gone, and its warnings."""
    folder = tmp_path_factory.mktemp("without_test")
    corpus = shutil.copytree(workdir.config().dataset.dir, folder / "corpus")
    for clip in workdir.manifest().clips_in("test"):
        (corpus / clip.path).unlink()
    words = [f"--workdir={workdir.path}", f"--output={folder / 'export'}"]
    words += ["--formats=float32", f"--dataset.dir={corpus}"]
    words += ["--export.separate", "--export.embedding"]
    with (
        contextlib.redirect_stderr(io.StringIO()) as stderr,
        contextlib.redirect_stdout(io.StringIO()) as stdout,
    ):
        assert cli.main(["export", *words]) == 0
    return folder / "export", stderr.getvalue(), stdout.getvalue()


@pytest.fixture(scope="module")
def signatures(tiny_signatures):
    return tiny_signatures


def waveforms(count: int = 6, seconds: float = 0.5) -> np.ndarray:
    return np.stack(
        [tiny.clip(tiny.LABELS[n % 3], 1000 + n, seconds) for n in range(count)]
    )


def wav_bytes(waveform: np.ndarray, rate: int = tiny.RATE, **options) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, waveform, rate, format="WAV", **options)
    return stream.getvalue()


def audio_with(**changes):
    """A change of the settings `audio` of what a model says of itself."""

    def change(described: dict) -> dict:
        described["config"]["audio"] |= changes
        return described

    return change


def test_an_export_folder_holds_what_the_contract_says(exported):
    names = {str(p.relative_to(exported)) for p in exported.rglob("*") if p.is_file()}
    assert names >= {
        "saved_model/1/saved_model.pb",
        "saved_model/1/assets.extra/tf_serving_warmup_requests",
        "float32.tflite",
        "int8.tflite",
        "model.json",
        "export.json",
        "export.html",
    }
    described = json.loads((exported / "model.json").read_text())
    assert described["labels"] == list(tiny.LABELS)
    assert described["sample_rate"] == tiny.RATE
    assert described["segment_samples"] == 4000
    rows = json.loads((exported / "export.json").read_text())
    assert set(rows["formats"]) == {"saved_model", "float32", "int8"}
    for row in rows["formats"].values():
        assert row["bytes"] > 1000 and row["latency_ms"]["p50"] > 0
        assert row["validation"]["agreement"] >= 0.85
        assert 0 <= row["test"]["accuracy"] <= 1
    assert rows["macs"] > 0
    assert "<html" in (exported / "export.html").read_text()


def test_no_file_says_where_the_corpus_lay(workdir, exported):
    folder = workdir.config().dataset.dir.encode()
    for path in exported.rglob("*"):
        assert path.is_dir() or folder not in path.read_bytes()


def test_the_saved_model_equals_keras_and_names_the_label(predictor, signatures):
    batch = waveforms()
    found = signatures["serving_default"](waveform=tf.constant(batch))
    wanted = predictor.predict_segments(batch)
    np.testing.assert_allclose(found["probabilities"], wanted, atol=1e-6)
    names = [label.decode() for label in found["label"].numpy()]
    assert names == [tiny.LABELS[index] for index in wanted.argmax(axis=1)]


@pytest.mark.parametrize("seconds", [0.01, 0.3, 0.5, 0.7, 1.9])
def test_the_saved_model_takes_any_length_as_the_predictor_does(
    predictor, signatures, seconds
):
    batch = waveforms(3, seconds)
    found = signatures["serving_default"](waveform=tf.constant(batch))
    wanted = [predictor.predict(row, tiny.RATE) for row in batch]
    np.testing.assert_allclose(found["probabilities"], wanted, atol=1e-5)


def test_encoded_files_of_any_kind_equal_their_waveforms(predictor, signatures):
    kinds = [
        (waveforms(1, 0.5)[0], 8000, "PCM_16"),
        (waveforms(2, 1.3)[1], 8000, "PCM_24"),
        (np.repeat(waveforms(3)[2][:, None], 2, axis=1), 16000, "FLOAT"),
    ]
    files = [wav_bytes(x, rate, subtype=kind) for x, rate, kind in kinds]
    found = signatures["encoded"](encoded=tf.constant(files))
    wanted = [predictor.predict(x, rate) for x, rate, _ in kinds]
    np.testing.assert_allclose(found["probabilities"], wanted, atol=2e-3)
    assert len(found["label"]) == 3


@pytest.mark.slow
def test_the_segments_and_embeddings_of_clips_of_different_lengths(
    predictor, signatures
):
    clips = [waveforms(1, 0.7)[0], waveforms(2, 1.3)[1], np.zeros(1, np.float32)]
    files = [wav_bytes(x, subtype="FLOAT") for x in clips] + [b"RIFF"]
    found = signatures["encoded_segments"](encoded=tf.constant(files))
    assert found["probabilities"].shape == (4, 3, 3)
    np.testing.assert_allclose(
        found["start"], [[0, 0.2, NAN], [0, 0.5, 0.8], [0, NAN, NAN], [NAN] * 3]
    )
    np.testing.assert_allclose(
        found["end"], [[0.5, 0.7, NAN], [0.5, 1, 1.3], [1 / 8000, NAN, NAN], [NAN] * 3]
    )
    cut = np.stack([clips[1][:4000], clips[1][4000:8000], clips[1][-4000:]])
    wanted = predictor.predict_segments(cut)
    np.testing.assert_allclose(found["probabilities"][1], wanted, atol=1e-5)
    assert np.isnan(found["probabilities"][0, 2]).all()
    assert [bool(error) for error in found["error"].numpy()] == [False] * 3 + [True]
    alone = signatures["segments"](waveform=tf.constant(clips[1][np.newaxis]))
    np.testing.assert_allclose(alone["probabilities"][0], wanted, atol=1e-5)
    embedded = signatures["encoded_embedding"](encoded=tf.constant(files))
    alone = signatures["embedding"](waveform=tf.constant(clips[1][np.newaxis]))
    np.testing.assert_allclose(
        embedded["embedding"][1], alone["embedding"][0], atol=1e-5
    )
    np.testing.assert_allclose(embedded["start"], found["start"])


def test_more_segments_than_a_block_and_more_files_than_a_group(predictor, signatures):
    from asc_tf.dsp.recordings import choose_batch_size
    from asc_tf.exporting.clip_runner import GROUP_VALUES

    waveform = waveforms(1, 20.3)[0]
    assert len(waveform) / 4000 > choose_batch_size(4000)
    found = signatures["serving_default"](waveform=tf.constant(waveform[np.newaxis]))
    wanted = predictor.predict(waveform, tiny.RATE)
    np.testing.assert_allclose(found["probabilities"][0], wanted, atol=1e-5)
    # Many channels of silence fill a group without work for the model.
    wide = np.zeros((GROUP_VALUES // 250, 200), np.float32)
    files = [wav_bytes(wide, 48000, subtype="PCM_U8"), wav_bytes(waveform), b""]
    found = signatures["encoded"](encoded=tf.constant(files * 2))
    np.testing.assert_allclose(
        found["probabilities"].numpy()[[1, 4]], [wanted] * 2, atol=2e-3
    )
    assert [bool(error) for error in found["error"].numpy()] == [False, False, True] * 2


def test_label_ids_have_names_and_the_labels_are_an_asset(exported, signatures):
    found = signatures["labels"](label_id=tf.constant([2, 0, 3, -1], tf.int64))
    wanted = [tiny.LABELS[2], tiny.LABELS[0], "", ""]
    assert [label.decode() for label in found["label"].numpy()] == wanted
    text = (exported / "saved_model" / "1" / "assets" / "labels.txt").read_text()
    assert text.split() == list(tiny.LABELS)


def test_the_saved_model_holds_its_weights_once(workdir, exported):
    from asc_tf.training.model_file import load_whole

    path = exported / "saved_model" / "1" / "variables" / "variables"
    found = dict(tf.train.list_variables(path))
    del found["_CHECKPOINTABLE_OBJECT_GRAPH"]
    wanted = [tuple(weight.shape) for weight in load_whole(workdir.model_file).weights]
    assert sorted(map(tuple, found.values())) == sorted(wanted)


def test_the_saved_model_uses_core_operations_only(exported):
    content = (exported / "saved_model" / "1" / "saved_model.pb").read_bytes()
    proto = saved_model_pb2.SavedModel.FromString(content)
    names = set()
    for graph in proto.meta_graphs:
        names |= {node.op for node in graph.graph_def.node}
        for function in graph.graph_def.library.function:
            names |= {node.op for node in function.node_def}
    assert "RFFT" in names
    assert not [name for name in names if ">" in name or "PyFunc" in name]


def test_every_warm_up_request_can_be_answered(exported, signatures):
    from tensorflow_serving.apis import prediction_log_pb2

    path = exported / "saved_model/1/assets.extra/tf_serving_warmup_requests"
    names = []
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        request = log.predict_log.request
        names.append(request.model_spec.signature_name)
        inputs = {
            name: tf.constant(tf.make_ndarray(tensor))
            for name, tensor in request.inputs.items()
        }
        # TensorFlow takes seconds to optimize the graph of each signature.
        if "segments" not in names[-1]:
            found = signatures[names[-1]](**inputs)
            assert found["error"].numpy().tolist() == [b""]
    assert names == ["serving_default", "encoded", "segments", "encoded_segments"]


@pytest.mark.slow
def test_the_saved_model_loads_with_tensorflow_alone(exported, tmp_path):
    code = (
        "import tensorflow as tf\n"
        "model = tf.saved_model.load(sys.argv[1])\n"
        "data = tf.constant([open(sys.argv[2], 'rb').read()])\n"
        "print(model.signatures['encoded'](encoded=data)['label'][0].numpy().decode())"
    )
    path = tmp_path / "hum.wav"
    path.write_bytes(wav_bytes(tiny.clip("hum", 7)))
    model = exported / "saved_model" / "1"
    blocked = ("asc_tf", "keras", "tensorflow_io", "soundfile")
    done = run_python(code, model, path, without=blocked)
    assert done.stdout == "hum\n", done.stderr


def test_the_float_tflite_equals_keras_on_litert(predictor, exported):
    batch = waveforms(12)
    found = asc_tf.load(exported / "float32.tflite").predict_segments(batch)
    np.testing.assert_allclose(found, predictor.predict_segments(batch), atol=1e-5)


def test_the_int8_tflite_is_near_keras_on_litert(predictor, exported):
    batch = waveforms(30)
    found = asc_tf.load(exported / "int8.tflite").predict_segments(batch)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert np.abs(found - predictor.predict_segments(batch)).mean() < 0.1


def test_the_int8_file_has_an_int8_body_between_float_front_end_and_softmax(exported):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(exported / "int8.tflite"))
    tensors = {d["index"]: d["dtype"] for d in interpreter.get_tensor_details()}
    kinds: dict[str, set] = {}
    for operation in interpreter._get_ops_details():
        outputs = {tensors[index] for index in operation["outputs"] if index >= 0}
        kinds.setdefault(operation["op_name"], set()).update(outputs)
    assert kinds["CONV_2D"] == kinds["DEPTHWISE_CONV_2D"] == {np.int8}
    assert kinds["RFFT2D"] == {np.complex64}
    assert kinds["LOG"] == kinds["SOFTMAX"] == {np.float32}
    assert "FlexRFFT" not in kinds


def test_a_tflite_says_what_it_takes(exported):
    for name in ("float32", "int8"):
        metadata = read_metadata(exported / f"{name}.tflite")
        assert metadata.labels == tiny.LABELS
        assert metadata.sample_rate == tiny.RATE
        assert metadata.segment_samples == metadata.hop_samples == 4000
        assert metadata.precision == name


def test_features_of_pipeline_saved_model_and_tflite_are_equal(workdir, tmp_path):
    """The front-end alone, as each of them runs it, in standardized units."""
    import keras
    from ai_edge_litert.interpreter import Interpreter

    from asc_tf.exporting import saved_model
    from asc_tf.frontend import FrontendLayer
    from asc_tf.training.model_file import load_whole

    layer = next(
        layer
        for layer in load_whole(workdir.model_file).layers
        if isinstance(layer, FrontendLayer)
    )
    waveform = keras.Input((4000,), name="waveform")
    model = keras.Model(waveform, layer(waveform))
    saved_model.write_one_segment(model, tmp_path / "saved")
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved"))
    runner = Interpreter(model_content=converter.convert()).get_signature_runner()
    for row in waveforms(6):
        batch = row[np.newaxis]
        dataset = tf.data.Dataset.from_tensors(batch).map(layer)
        wanted = next(iter(dataset)).numpy()
        saved = loaded.signatures["serving_default"](waveform=tf.constant(batch))
        np.testing.assert_allclose(saved["probabilities"], wanted, atol=1e-4)
        lite = runner(waveform=batch)["probabilities"]
        np.testing.assert_allclose(lite, wanted, atol=1e-4)


def test_every_artefact_predicts_files_alike(workdir, exported, tmp_path, capsys):
    path = tmp_path / "hum.wav"
    soundfile.write(path, tiny.clip("hum", 7, 1.2), 8000, subtype="PCM_24")
    models = [workdir.path, exported, exported / "float32.tflite"]
    for model in models:
        assert cli.main(["predict", f"--model={model}", "--json", str(path)]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for record in records:
        assert record["file"] == str(path)
        assert record["label"] == records[0]["label"]
        assert len(record["top"]) == 3
        assert record["probability"] == pytest.approx(
            records[0]["probability"], abs=1e-4
        )


def test_silence_is_classified_with_a_note(exported, tmp_path, capsys):
    path = tmp_path / "silent.wav"
    soundfile.write(path, np.zeros(8000), 8000)
    model = exported / "float32.tflite"
    assert cli.main(["predict", f"--model={model}", "--json", str(path)]) == 0
    output = capsys.readouterr()
    record = json.loads(output.out)
    assert record["note"].startswith("silent: every sample is 0")
    assert record["label"] in tiny.LABELS
    assert f"asc-tf predict: {path}: {record['note']}\n" in output.err


def test_a_bad_file_has_an_error_and_the_others_are_classified(
    exported, tmp_path, capsys
):
    good, bad = tmp_path / "good.wav", tmp_path / "bad.wav"
    soundfile.write(good, tiny.clip("hum", 7), 8000)
    bad.write_text("text")
    arguments = [f"--model={exported / 'float32.tflite'}", str(bad), str(good)]
    assert cli.main(["predict", *arguments, "--json"]) == 1
    output = capsys.readouterr()
    first, second = (json.loads(line) for line in output.out.splitlines())
    assert (
        set(first) == {"file", "error"}
        and "libsndfile cannot read this file" in first["error"]
    )
    assert second["label"] in tiny.LABELS
    assert "bad.wav" in output.err
    table = tmp_path / "out.csv"
    assert cli.main(["predict", *arguments, f"--csv={table}"]) == 1
    rows = table.read_text().splitlines()
    assert rows[0] == "file,label,probability,error,note,p_hiss,p_hum,p_whistle"
    assert len(rows) == 3 and "libsndfile cannot read this file" in rows[1]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "--model is missing"),
        (["--model=absent", "x.wav"], "no such file"),
        (["--model=.", "--top_k=0", "x.wav"], "top_k"),
        (["--model=."], "no files"),
        (["--model=.", "--json", "--csv=x", "x.wav"], "give one of them"),
    ],
)
def test_wrong_usage_of_predict_is_exit_code_2(arguments, message, capsys):
    assert cli.main(["predict", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_the_edge_classifies_without_tensorflow(predictor, exported, tmp_path):
    path = tmp_path / "whistle.wav"
    soundfile.write(path, tiny.clip("whistle", 5), 8000)
    code = "from asc_tf.edge.cli import main\nsys.exit(main(sys.argv[1:]))"
    command = ("classify", f"--model={exported / 'int8.tflite'}", "--json", path)
    blocked = ("tensorflow", "keras", "soundfile", "scipy")
    done = run_python(code, *command, without=blocked)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    record = json.loads(done.stdout)
    wanted = predictor.predict(tiny.clip("whistle", 5), 8000)
    assert record["label"] == tiny.LABELS[wanted.argmax()]


def test_only_the_formats_that_are_asked_for_are_written(without_test):
    output, *_ = without_test
    assert (output / "float32.tflite").is_file()
    assert not (output / "saved_model").exists()
    assert not (output / "int8.tflite").exists()


def test_front_end_and_body_apart_are_files_of_the_export(without_test):
    output, *_ = without_test
    files = json.loads((output / "model.json").read_text())["files"]
    row = json.loads((output / "export.json").read_text())["formats"]["float32"]
    assert len(row["tensor_names"]) > 50
    for part in ("frontend", "body"):
        described = row["separate"][part]
        path = output / f"float32_{part}.tflite"
        assert described["file"] == path.name
        assert described["bytes"] == path.stat().st_size
        assert files[path.name] == described["sha256"] == hash_path(path)
        assert read_metadata(path).extra["part"] == part
    segment = waveforms(1)
    model = EdgeModel(output / "float32.tflite")
    assert model.embed_segments(segment).shape == (1, 16)


def test_an_export_prints_each_step_as_it_begins(without_test):
    *_, printed = without_test
    steps = [line for line in printed.splitlines() if line.endswith(" ...")]
    assert steps == [
        "reading segments for the conversion ...",
        "converting the network to TensorFlow Lite ...",
        "writing float32 ...",
        "comparing each file with Keras on validation clips ...",
    ]
    assert re.search(r"  float32: \d+\.\d kB without metadata, \d", printed)


def test_a_test_part_that_is_gone_costs_its_figures_only(without_test):
    output, said, _ = without_test
    row = json.loads((output / "export.json").read_text())["formats"]["float32"]
    assert "validation" in row and "test" not in row
    assert "no figures on the test split" in said


def test_a_foreign_folder_with_a_model_json_is_not_replaced(workdir, tmp_path):
    (tmp_path / "model.json").write_text('{"format": "layers-model"}')
    with pytest.raises(UsageError, match="not empty and not an export"):
        export(workdir, tmp_path)


def test_a_folder_that_is_no_export_is_not_replaced(workdir, tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(UsageError, match="not empty and not an export"):
        export(workdir, tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize(
    "waveform, rate, message",
    [
        (np.zeros(100, np.int16), 8000, "waveform is int16"),
        (np.zeros(0, np.float32), 8000, r"shape \(0,\)"),
        (np.zeros((2, 2, 2)), 8000, r"shape \(2, 2, 2\)"),
        (np.array([0.0, np.nan]), 8000, "not finite"),
        (np.zeros(100), 0, "sample_rate is 0"),
        (np.zeros((2, 8000)), 8000, "8000 channels"),
    ],
)
def test_a_waveform_that_cannot_be_right_is_refused(predictor, waveform, rate, message):
    with pytest.raises(UserError, match=message):
        predictor.predict(waveform, rate)


@pytest.mark.parametrize("damage", ["model.json", "saved_model.pb"])
def test_a_damaged_saved_model_is_named(exported, tmp_path, damage):
    copy = shutil.copytree(exported / "saved_model" / "1", tmp_path / "1")
    victim = next(copy.rglob(damage))
    victim.write_bytes(b"{" + victim.read_bytes()[1:100])
    with pytest.raises(UserError, match="not a SavedModel of asc-tf export"):
        asc_tf.load(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: [found], "has no config"),
        (lambda found: None, "has no config"),
        (lambda found: found | {"config": []}, r"config is \[\], not a table"),
        (lambda found: found | {"config": {"audio": 3}}, "audio is 3, not a table"),
        (audio_with(sample_rate="32000"), "audio.sample_rate = '32000'"),
        (audio_with(hop_seconds=[1]), r"audio.hop_seconds = \[1\]"),
        (lambda found: found | {"labels": "hum"}, "labels is 'hum', not a list"),
        (lambda found: found | {"labels": [1, 2, 3]}, "label 1 is not a name"),
        (lambda found: found | {"labels": ["hum"]}, "1 labels, but the model has 3"),
    ],
)
def test_what_a_saved_model_says_of_itself_is_checked(
    exported, tmp_path, change, message, capsys
):
    copy = shutil.copytree(exported / "saved_model" / "1", tmp_path / "1")
    path = copy / "assets.extra" / "model.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    assert cli.main(["predict", f"--model={copy}", "a.wav"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"asc-tf predict: {copy}: not a SavedModel of asc-tf export")
    assert re.search(message, line)


def test_a_saved_model_of_before_a_setting_has_its_default(
    exported, signatures, tmp_path, monkeypatch
):
    copy = shutil.copytree(exported / "saved_model" / "1", tmp_path / "1")
    path = copy / "assets.extra" / "model.json"
    described = json.loads(path.read_text())
    del described["config"]["audio"]["short_clips"]
    del described["config"]["evaluate"]["pooling"]
    path.write_text(json.dumps(described))
    # Only what the folder says of itself is read anew.
    loaded = SimpleNamespace(signatures=signatures)
    monkeypatch.setattr(tf.saved_model, "load", lambda _: loaded)
    predictor = asc_tf.load(copy)
    assert predictor.preprocessing.short_clips == "pad"
    assert predictor.preprocessing.pooling == "mean"


def test_labels_that_do_not_fit_the_model_are_named(workdir, tmp_path):
    copy = shutil.copytree(workdir.path, tmp_path / "run")
    (copy / "labels.txt").write_text("hum\n")
    with pytest.raises(UserError, match=r"labels\.txt: 1 labels, but the model has 3"):
        asc_tf.load(copy)


def test_cut_off_variables_of_a_saved_model_are_named(exported, tmp_path):
    copy = shutil.copytree(exported / "saved_model" / "1", tmp_path / "1")
    variables = next(copy.glob("variables/variables.data*"))
    variables.write_bytes(variables.read_bytes()[:1000])
    with pytest.raises(UserError, match="not a SavedModel of asc-tf export"):
        asc_tf.load(copy)


def test_a_single_path_is_one_file(exported, tmp_path):
    path = tmp_path / "hum.wav"
    soundfile.write(path, tiny.clip("hum", 7), 8000)
    model = asc_tf.load(exported / "float32.tflite")
    assert model.predict_files(str(path)) == model.predict_files([path])


def test_a_table_never_replaces_an_input(exported, tmp_path, capsys):
    path = tmp_path / "hum.wav"
    soundfile.write(path, tiny.clip("hum", 7), 8000)
    before = path.read_bytes()
    assert cli.main(["predict", f"--model={exported}", f"--csv={path}", str(path)]) == 2
    assert path.read_bytes() == before
    arguments = [f"--csv={path}/x.csv", str(path)]
    assert cli.main(["predict", f"--model={exported}", *arguments]) == 2
    assert "is a file, not a folder" in capsys.readouterr().err
