"""Loaded models behind the queue: results, merging, limits."""

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tiny

import asc_tf
from asc_tf.core.errors import UserError
from asc_tf.dsp.streaming import MAX_PEAK
from asc_tf.dsp.wav_format import pack_wav
from asc_tf.serving.settings import QueueFullError, Settings
from asc_tf.serving.tflite import TfliteBackend
from asc_tf.serving.versions import find_candidate, load_backend


def wav(clip: np.ndarray) -> bytes:
    return pack_wav(clip.astype("<f4").tobytes(), tiny.RATE, 1, True)


def files(*contents: bytes) -> dict[str, np.ndarray]:
    values = np.empty(len(contents), object)
    values[:] = contents
    return {"encoded": values}


KINDS = ("saved_model", "float32.tflite")


@pytest.fixture(scope="module", params=tiny.cases(KINDS, "float32.tflite"))
def backend(request, tiny_export):
    settings = Settings(tiny_export / request.param, workers=1, max_batch_size=4)
    candidate = find_candidate(settings.model)
    return load_backend(candidate, candidate.version or 1, settings)


@pytest.fixture(scope="module")
def predictor(tiny_run):
    return asc_tf.load(tiny_run.path)


def test_requests_at_the_same_time_get_their_own_results(backend, predictor):
    clips = [
        tiny.clip(tiny.LABELS[n % 3], 50 + n, (0.3, 0.5, 1.2)[n // 3 % 3])
        for n in range(12)
    ]
    wanted = [predictor.predict(clip, tiny.RATE) for clip in clips]
    kinds = [("encoded", files(wav(clip), b"junk")) for clip in clips]
    kinds += [("serving_default", {"waveform": clip[np.newaxis]}) for clip in clips]
    with ThreadPoolExecutor(len(kinds)) as pool:
        found = list(pool.map(lambda kind: backend.run(*kind), kinds))
    for outputs, probabilities in zip(found, wanted * 2, strict=True):
        np.testing.assert_allclose(
            outputs["probabilities"][0], probabilities, atol=1e-4
        )
        label = tiny.LABELS[probabilities.argmax()]
        assert outputs["label"][0].decode() == label
    for outputs in found[:12]:
        assert b"WAV" in outputs["error"][1] and outputs["label"][1] == b""
        assert np.isnan(outputs["probabilities"][1]).all()


def test_segments_of_files_of_different_lengths(backend, predictor):
    clips = [tiny.clip("hum", 1, 1.3), tiny.clip("hiss", 2, 0.2)]
    found = backend.run("encoded_segments", files(*map(wav, clips), b""))
    assert found["probabilities"].shape == (3, 3, 3)
    np.testing.assert_allclose(found["start"][0], [0, 0.5, 0.8])
    np.testing.assert_allclose(found["end"][1], [0.2, np.nan, np.nan])
    wanted = predictor.predict_segments(clips[0][np.newaxis, :4000])
    np.testing.assert_allclose(found["probabilities"][0, 0], wanted[0], atol=1e-4)
    assert [bool(error) for error in found["error"]] == [False, False, True]
    alone = backend.run("segments", {"waveform": clips[0][np.newaxis]})
    np.testing.assert_allclose(
        alone["probabilities"][0], found["probabilities"][0], atol=1e-4
    )


def test_labels_bad_rows_and_no_rows(backend):
    assert backend.labels == tiny.LABELS
    ids = np.array([1, 7, -1], np.int64)
    found = backend.run("labels", {"label_id": ids})["label"]
    assert found.tolist() == [tiny.LABELS[1].encode(), b"", b""]
    waveform = np.full((2, 4000), np.nan, np.float32)
    found = backend.run("serving_default", {"waveform": waveform})
    assert all(b"not finite" in error for error in found["error"])
    found = backend.run("serving_default", {"waveform": waveform[:, :0]})
    assert [error.startswith(b"no samples") for error in found["error"]] == [True] * 2
    for name, inputs in (
        ("serving_default", {"waveform": waveform[:0]}),
        ("encoded", files()),
        ("encoded_segments", files()),
    ):
        assert len(backend.run(name, inputs)["probabilities"]) == 0


def test_a_row_that_resampling_lifts_too_high_is_refused_alone(tiny_export):
    settings = Settings(tiny_export / "float32.tflite", workers=1)
    backend = TfliteBackend(settings.model, 1, settings)
    # At the edges of a square wave a low-pass filter overshoots.
    square = np.where(np.arange(8000) // 100 % 2, MAX_PEAK, -MAX_PEAK).astype("<f4")
    contents = [
        pack_wav((level * square).tobytes(), 2 * tiny.RATE, 1, True)
        for level in np.float32([1.0, 0.5])
    ]
    found = backend.run("encoded", files(*contents))
    assert found["error"][0].startswith(b"waveforms holds samples that are not finite")
    assert np.isnan(found["probabilities"][0]).all() and found["label"][0] == b""
    assert found["error"][1] == b"" and found["label"][1] != b""


def test_the_signatures_of_both_kinds_of_file_agree(tiny_export, backend):
    wanted = backend.signatures["encoded_segments"]
    assert wanted.inputs["encoded"].dtype == "DT_STRING"
    assert wanted.outputs["probabilities"].shape == (-1, -1, 3)
    assert sorted(wanted.outputs) == ["end", "error", "probabilities", "start"]
    assert backend.signatures["serving_default"].inputs["waveform"].shape == (-1, -1)


def test_a_pool_of_interpreters_refuses_what_does_not_fit_its_queue(tiny_export):
    settings = Settings(
        tiny_export / "float32.tflite", workers=1, queue=2, max_batch_size=1
    )
    backend = TfliteBackend(settings.model, 1, settings)
    contents = files(wav(tiny.clip("hum", 1)))
    with ThreadPoolExecutor(3) as pool:
        # While the only interpreter is away, as many as fit wait for it.
        with backend._borrow():
            waiting = [pool.submit(backend.run, "encoded", contents) for _ in range(3)]
            while backend._places._value:
                time.sleep(0.01)
            with pytest.raises(QueueFullError):
                backend.run("encoded", contents)
        assert all(each.result(60)["error"].tolist() == [b""] for each in waiting)
    assert backend.run("encoded", contents)["error"].tolist() == [b""]


@pytest.mark.slow
def test_the_queue_of_tensorflow_is_bounded(tiny_export):
    settings = Settings(
        tiny_export, workers=1, queue=1, max_batch_size=1, batching=False
    )
    backend = load_backend(find_candidate(settings.model), 1, settings)
    contents = files(wav(tiny.clip("hum", 1, 30.0)))
    with ThreadPoolExecutor(12) as pool:
        sent = [pool.submit(backend.run, "encoded", contents) for _ in range(12)]
        errors = [future.exception() for future in sent]
    assert {type(error) for error in errors} == {type(None), QueueFullError}


def test_a_folder_without_metadata_or_with_a_damaged_graph_is_refused(
    tiny_export, tmp_path
):
    settings = Settings(tmp_path)
    copy = shutil.copytree(tiny_export / "saved_model" / "1", tmp_path / "1")
    for damage in (b"damaged", None):
        if damage:
            (copy / "saved_model.pb").write_bytes(damage)
        else:
            (copy / "assets.extra" / "model.json").write_text(json.dumps([]))
        with pytest.raises(UserError, match="not a SavedModel of asc-tf export"):
            load_backend(find_candidate(tmp_path), 1, settings)
