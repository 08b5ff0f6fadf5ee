"""Threads in which requests are worked on, a bounded number at a time."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from starlette.requests import Request

from asc_tf.serving.backends import IsCancelled
from asc_tf.serving.settings import QueueFullError, RequestError

Work = Callable[[IsCancelled], bytes]


class WorkThreads:
    """A thread for each request that is worked on or waits in the model's queue.

    Attributes:
        busy: Requests that have a thread, also those that nobody waits for any more.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self.busy = limit, 0
        self._threads = ThreadPoolExecutor(limit, "request")

    def stop(self) -> None:
        """Take no more work; that which has begun is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def check_place(self) -> None:
        """Check that there is a free thread.

        Raises:
            QueueFullError: If there is none.
        """
        if self.busy >= self._limit:
            raise QueueFullError

    async def run(
        self, request: Request, work: Work, release: Callable[[], None]
    ) -> bytes:
        """Run the work of a request until it is done or not wanted.

        Args:
            request: Request whose body has been read.
            work: Function to run in a thread.
            release: Function to call when the thread no longer needs the body.

        Raises:
            QueueFullError: If there is no free thread.
            RequestError: If the client closes the connection.
        """
        loop = asyncio.get_running_loop()
        is_over = threading.Event()

        def end() -> None:
            self.busy -= 1
            release()

        def end_in_loop(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(end)

        try:
            # While the body was read, others may have taken the last thread.
            self.check_place()
            future = self._threads.submit(work, is_over.is_set)
        except BaseException:
            release()
            raise
        self.busy += 1
        future.add_done_callback(end_in_loop)
        answer = asyncio.wrap_future(future)
        # The error of an answer that nobody waits for is not an event.
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        departure = asyncio.ensure_future(_wait_for_departure(request))
        try:
            await asyncio.wait((answer, departure), return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise RequestError(499, "the client closed the connection")
            return answer.result()
        finally:
            is_over.set()
            departure.cancel()
            # An error holds this frame; with these, the frame would hold the error and
            # the body until a collection of cycles.
            del answer, future, work


async def _wait_for_departure(request: Request) -> None:
    """Wait until the client closes the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
