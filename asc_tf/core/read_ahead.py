"""Reading ahead: a thread prepares items while the caller works on earlier ones."""

import contextlib
import queue
import threading
from collections.abc import Generator
from typing import TypeVar

Item = TypeVar("Item")

POLL_SECONDS = 0.1
"""Longest time for which the thread goes on after the caller has stopped."""


def read_ahead(
    items: Generator[Item, None, None], depth: int
) -> Generator[Item, None, None]:
    """Run a generator in a thread, up to `depth` items ahead of the caller.

    Args:
        items: Generator, which is closed in the end. It should spend its time where
            other threads can run: in NumPy, or reading files.
        depth: Most items that wait for the caller, at least 1.

    Yields:
        The items in their order. An exception of the generator is raised here, after
        the items before it.
    """
    waiting: queue.Queue[tuple[list[Item], BaseException | None]] = queue.Queue(depth)
    is_stopped = threading.Event()

    def put(item: list[Item], error: BaseException | None = None) -> None:
        while not is_stopped.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put((item, error), timeout=POLL_SECONDS)
                return

    def fill() -> None:
        try:
            with contextlib.closing(items):
                for item in items:
                    put([item])
                    if is_stopped.is_set():
                        return
            put([])
        except BaseException as error:
            put([], error)

    thread = threading.Thread(target=fill, name="read ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if not item:
                return
            yield item[0]
    finally:
        is_stopped.set()
        thread.join()
