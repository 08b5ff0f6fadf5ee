"""Each use of Keras's internals works, and is still needed, on both pinned versions."""

import threading
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from processes import run_python

from asc_tf.pipeline.options import set_options
from asc_tf.training import keras_internals
from asc_tf.training.keras_internals import Prefetcher


def test_the_next_batch_is_fetched_while_one_is_worked_on():
    worked = [threading.Event() for _ in range(3)]

    def source():
        yield None
        # Nothing would set them, if a batch were fetched within the call before.
        for event in worked:
            yield event.wait(timeout=60)

    prefetcher, items = Prefetcher(), source()
    prefetcher.next(items)
    for event in worked:
        event.set()
        assert prefetcher.next(items)


def test_a_batch_is_being_fetched_before_it_is_asked_for():
    fetched = [threading.Event() for _ in range(3)]

    def source():
        for event in fetched:
            event.set()
            yield event

    prefetcher, items = Prefetcher(), source()
    for event in fetched[1:]:
        prefetcher.next(items)
        assert event.wait(timeout=60)


def test_items_keep_their_order_and_another_source_begins_at_its_own():
    prefetcher, first, second = Prefetcher(), iter("abc"), iter("xyz")
    assert [prefetcher.next(first), prefetcher.next(first)] == ["a", "b"]
    assert [prefetcher.next(second) for _ in range(3)] == ["x", "y", "z"]
    with pytest.raises(StopIteration):
        prefetcher.next(second)


def test_what_goes_wrong_in_the_source_is_raised_when_its_turn_has_come():
    def source():
        yield 1
        raise ValueError("clip 2")

    prefetcher, items = Prefetcher(), source()
    assert prefetcher.next(items) == 1
    with pytest.raises(ValueError, match="clip 2"):
        prefetcher.next(items)


def test_moving_averages_are_private_in_keras_and_one_for_each_weight():
    optimizer = keras.optimizers.Adam(use_ema=True)
    weights = [keras.Variable(np.ones(3)), keras.Variable(np.ones(2))]
    optimizer.build(weights)
    averages = keras_internals.moving_averages(optimizer)
    assert [average.shape for average in averages] == [(3,), (2,)]
    public = [name for name in dir(optimizer) if not name.startswith("_")]
    assert not any("average" in name for name in public), (
        "Keras has public averages now: use them in keras_internals.moving_averages"
    )


def is_prefetched(folder: Path, seconds: float, *, is_shuffled: bool) -> bool:
    """Whether the second row of a deterministic pipeline is read before its turn."""
    file = folder / "row-0"
    file.write_text("before")

    def epoch(number):
        rows = tf.data.Dataset.range(20)
        if is_shuffled:
            rows = rows.shuffle(20, seed=number, reshuffle_each_iteration=False)
        return rows

    tf.config.experimental.enable_op_determinism()
    rows = tf.data.Dataset.range(1, 3).flat_map(epoch)
    # A name that depends on the row: the file is read for each one.
    names = rows.map(lambda row: tf.strings.format(f"{folder}/row-{{}}", row * 0))
    iterator = iter(set_options(names.map(tf.io.read_file).prefetch(5)))
    next(iterator)
    time.sleep(seconds)
    file.write_text("after")
    return next(iterator).numpy() == b"before"


def test_a_deterministic_pipeline_prefetches_no_epochs_that_are_shuffled(tmp_path):
    assert not is_prefetched(tmp_path, 0.3, is_shuffled=True), (
        "tf.data prefetches shuffled epochs: Prefetcher in keras_internals can go"
    )
    # The same measurement sees what is prefetched, on a slow machine a little later.
    waits = (0.3, 1, 3, 9)
    assert any(is_prefetched(tmp_path, each, is_shuffled=False) for each in waits)


UNEVEN_VALIDATION = """
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
pieces = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, pieces)
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    model = keras.Sequential([keras.layers.Input([3]), keras.layers.Dense(2)])
    model.compile("sgd", "mse", metrics=["accuracy"])
x, y = np.zeros([8, 3], "f"), np.zeros([8, 2], "f")
model.fit(x, y, batch_size=4, validation_data=(x[:5], y[:5]), validation_batch_size=5)
"""


@pytest.mark.slow
def test_keras_alone_cannot_validate_on_batches_that_two_devices_share_unevenly():
    done = run_python(UNEVEN_VALIDATION, timeout=120)
    assert "same size and shape" in done.stderr, (
        "Keras builds once now: _maybe_symbolic_build in keras_internals can go"
    )
