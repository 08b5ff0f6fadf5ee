"""Ends of a program from outside: Ctrl-C and SIGTERM alike."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

from asc_tf.core.errors import InterruptError


@contextlib.contextmanager
def interrupt_on_sigterm() -> Iterator[None]:
    """Let SIGTERM raise KeyboardInterrupt in the block, as Ctrl-C does.

    It changes nothing outside of the main thread, which alone may set handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


@contextlib.contextmanager
def explain_interrupt(describe: Callable[[], str]) -> Iterator[None]:
    """Turn Ctrl-C or SIGTERM in the block into an error with the text of `describe`.

    Raises:
        InterruptError: If one of them stopped the block.
    """
    with interrupt_on_sigterm():
        try:
            yield
        except KeyboardInterrupt:
            raise InterruptError(describe()) from None
