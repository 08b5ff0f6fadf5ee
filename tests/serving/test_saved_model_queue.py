"""The queues of SavedModels, with a model that costs nothing."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from asc_tf.serving.saved_model import SavedModelBackend, _find_reason
from asc_tf.serving.settings import QueueFullError, RequestError, Settings

LABELS = ["even", "odd"]


GATE = threading.Event()
"""The model answers while it is set."""

INSIDE = threading.Semaphore(0)
"""Counts the batches that have reached the model."""


def pass_gate() -> np.ndarray:
    INSIDE.release()
    assert GATE.wait(60)
    return np.array("")


class Model(tf.Module):
    """Probabilities tell `value` times the length of the row, and the batch."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = tf.Variable(value)

    def describe(self, lengths: tf.Tensor) -> dict[str, tf.Tensor]:
        values = tf.stack([self.value * tf.cast(lengths, tf.float32)], axis=1)
        batch = tf.zeros_like(values) + tf.cast(tf.size(lengths), tf.float32)
        gate = tf.numpy_function(pass_gate, [], tf.string)
        error = tf.fill(tf.shape(lengths), tf.ensure_shape(gate, []))
        return {
            "probabilities": tf.concat([values, batch], 1),
            "label": tf.gather(LABELS, lengths % 2),
            "error": error,
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "encoded")])
    def encoded(self, encoded):
        check = tf.debugging.Assert(tf.reduce_all(encoded != "bad"), ["a bad file"])
        with tf.control_dependencies([check]):
            return self.describe(tf.strings.length(encoded))

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32, "waveform")])
    def waveform(self, waveform):
        # Negative, so that it is not taken for the other signature.
        return self.describe(-tf.repeat(tf.shape(waveform)[1], tf.shape(waveform)[0]))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    found, models = tmp_path_factory.mktemp("models"), []
    for value in (1, 2):
        folder, model = found / str(value), Model(float(value))
        signatures = {"serving_default": model.waveform, "encoded": model.encoded}
        signatures["segments"] = model.waveform
        tf.saved_model.save(model, str(folder), signatures=signatures)
        (folder / "assets.extra").mkdir()
        text = json.dumps({"labels": LABELS})
        (folder / "assets.extra" / "model.json").write_text(text)
        # A function of Python lives as long as the graph that was traced.
        models.append(model)
    yield found


@pytest.fixture(autouse=True)
def open_gate():
    GATE.set()
    while INSIDE.acquire(blocking=False):
        pass
    yield
    GATE.set()


@pytest.fixture
def load(folders):
    def make(value: int, **changes) -> SavedModelBackend:
        settings = Settings(Path("unused"), workers=1, **changes)
        return SavedModelBackend(folders / str(value), 1, settings)

    return make


def files(*lengths: int) -> dict[str, np.ndarray]:
    values = np.empty(len(lengths), object)
    values[:] = [b"x" * length for length in lengths]
    return {"encoded": values}


def run_all(calls) -> list:
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in submit(pool, calls)]


def submit(pool, calls) -> list:
    return [pool.submit(backend.run, *rest) for backend, *rest in calls]


def test_neither_signatures_nor_versions_mix_in_a_queue(load):
    one, two = load(1), load(2)
    calls, wanted = [], []
    for length in range(1, 5):
        for backend, value in ((one, 1), (two, 2)):
            calls.append((backend, "encoded", files(length, 0)))
            wanted.append(value * length)
            waveform = {"waveform": np.zeros((2, length), np.float32)}
            calls.append((backend, "serving_default", waveform))
            wanted.append(-value * length)
    found = run_all(calls)
    assert [outputs["probabilities"][0, 0] for outputs in found] == wanted
    assert {len(outputs["label"]) for outputs in found} == {2}


@pytest.mark.parametrize("batching", [True, False])
def test_requests_that_wait_are_merged_up_to_the_limit(load, batching):
    backend = load(1, max_batch_size=4, batching=batching)
    with ThreadPoolExecutor(9) as pool:
        GATE.clear()
        first = submit(pool, [(backend, "encoded", files(0))])
        assert INSIDE.acquire(timeout=60)
        rest = submit(pool, [(backend, "encoded", files(n)) for n in range(1, 9)])
        time.sleep(1.0)  # until all of them wait
        GATE.set()
        found = [future.result() for future in first + rest]
    batches = [outputs["probabilities"][0, 1] for outputs in found]
    assert batches[0] == 1 and max(batches) == (4 if batching else 1)
    assert [outputs["probabilities"][0, 0] for outputs in found] == list(range(9))
    assert [outputs["label"][0] for outputs in found[:2]] == [b"even", b"odd"]


def test_a_batch_that_fails_for_one_request_does_not_fail_the_others(load):
    backend = load(1, max_batch_size=4)
    bad = {"encoded": np.array([b"bad"], object)}
    with ThreadPoolExecutor(4) as pool:
        GATE.clear()
        first = submit(pool, [(backend, "encoded", files(0))])
        assert INSIDE.acquire(timeout=60)
        calls = [(backend, "encoded", each) for each in (files(1), bad, files(2, 3))]
        rest = submit(pool, calls)
        time.sleep(1.0)  # until all of them wait
        GATE.set()
        refusal = rest[1].exception()
        found = [each.result() for each in (*first, rest[0], rest[2])]
    assert isinstance(refusal, RequestError)
    assert (refusal.status, "a bad file" in refusal.message) == (400, True)
    lengths = [outputs["probabilities"][:, 0].tolist() for outputs in found]
    assert lengths == [[0], [1], [2, 3]]


def test_signatures_that_are_never_merged_need_no_threads_of_their_own(load):
    waveform = {"waveform": np.zeros((1, 4), np.float32)}
    first, second = load(1, max_batch_size=4), load(2, max_batch_size=4)
    assert first.run("segments", waveform)["probabilities"].tolist() == [[-4, 1]]
    before = len(list(Path("/proc/self/task").iterdir()))
    assert second.run("segments", waveform)["probabilities"].tolist() == [[-8, 1]]
    assert len(list(Path("/proc/self/task").iterdir())) <= before
    while INSIDE.acquire(blocking=False):
        pass
    with ThreadPoolExecutor(2) as pool:
        GATE.clear()
        sent = submit(pool, [(second, "segments", waveform)] * 2)
        # Only one of them reaches the model, which has one worker.
        assert INSIDE.acquire(timeout=60) and not INSIDE.acquire(timeout=0.2)
        GATE.set()
        assert all(each.result() for each in sent)


def test_a_request_larger_than_batch_and_queue_is_done_in_parts(load):
    backend = load(1, max_batch_size=4, queue=4)
    found = backend.run("encoded", files(*range(33)))
    assert found["probabilities"][:, 0].tolist() == list(range(33))
    assert found["probabilities"][:, 1].max() == 4


def test_the_reason_is_found_in_a_message_of_tensorflow():
    message = (
        "Graph execution error:\n\nDetected at node while/Assert defined at (most "
        "recent call last):\n  File x, line 1\n\nassertion failed: [row 3: bad]\n"
        "\t [[{{node while/Assert}}]] [Op:__inference_1]"
    )
    assert _find_reason(message) == "assertion failed: [row 3: bad]"
    assert _find_reason("") == "the model refuses the request"


@pytest.mark.parametrize("batching", [True, False])
def test_a_full_queue_refuses_and_recovers(load, batching):
    backend = load(2, queue=2, max_batch_size=1, batching=batching)
    with ThreadPoolExecutor(8) as pool:
        GATE.clear()
        sent = submit(pool, [(backend, "encoded", files(n)) for n in range(8)])
        try:
            # One is in the model, and at most three wait; the others are refused.
            ends = time.monotonic() + 30
            while sum(each.done() for each in sent) < 4 and time.monotonic() < ends:
                time.sleep(0.02)
            assert sum(each.done() for each in sent) >= 4
        finally:
            GATE.set()
        errors = [each.exception() for each in sent]
    assert 2 <= errors.count(None) <= 4
    assert {type(error) for error in errors} == {type(None), QueueFullError}
    assert backend.run("encoded", files(3))["probabilities"][0, 0] == 6
