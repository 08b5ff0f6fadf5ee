"""What fit trains: batches that come ahead of the step they are for."""

import threading
import time

import pytest

from asc_tf.learner import Ahead


def test_the_next_batch_is_fetched_while_one_is_worked_on():
    fetched = [threading.Event() for _ in range(4)]

    def source():
        for number, event in enumerate(fetched):
            event.set()
            yield number

    ahead, items = Ahead(), source()
    for number in range(3):
        assert ahead.next(items) == number
        # Nobody has asked for it yet.
        assert fetched[number + 1].wait(timeout=10)


def test_a_slow_source_and_a_slow_step_overlap():
    def source():
        for number in range(6):
            time.sleep(0.1)
            yield number

    ahead, items, waited = Ahead(), source(), 0.0
    for _ in range(6):
        began = time.perf_counter()
        ahead.next(items)
        waited += time.perf_counter() - began
        time.sleep(0.15)
    # 0.6 s, if they took turns; the first has to be waited for.
    assert waited < 0.4


def test_items_keep_their_order_and_another_source_begins_at_its_own():
    ahead, first, second = Ahead(), iter("abc"), iter("xyz")
    assert [ahead.next(first), ahead.next(first)] == ["a", "b"]
    assert [ahead.next(second) for _ in range(3)] == ["x", "y", "z"]
    with pytest.raises(StopIteration):
        ahead.next(second)


def test_what_goes_wrong_in_the_source_is_raised_when_its_turn_has_come():
    def source():
        yield 1
        raise ValueError("clip 2")

    ahead, items = Ahead(), source()
    assert ahead.next(items) == 1
    time.sleep(0.05)
    with pytest.raises(ValueError, match="clip 2"):
        ahead.next(items)
