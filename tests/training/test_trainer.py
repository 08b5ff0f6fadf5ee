"""What fit trains: batches that come ahead of the step they are for."""

import threading

import pytest

from asc_tf.training.trainer import Ahead


def test_the_next_batch_is_fetched_while_one_is_worked_on():
    worked = [threading.Event() for _ in range(3)]

    def source():
        yield None
        # Nothing would set them, if a batch were fetched within the call before.
        for event in worked:
            yield event.wait(timeout=10)

    ahead, items = Ahead(), source()
    ahead.next(items)
    for event in worked:
        event.set()
        assert ahead.next(items)


def test_a_batch_is_being_fetched_before_it_is_asked_for():
    fetched = [threading.Event() for _ in range(3)]

    def source():
        for event in fetched:
            event.set()
            yield event

    ahead, items = Ahead(), source()
    for event in fetched[1:]:
        ahead.next(items)
        assert event.wait(timeout=10)


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
    with pytest.raises(ValueError, match="clip 2"):
        ahead.next(items)
