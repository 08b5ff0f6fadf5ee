"""Process of the server: its socket, its signals and its end."""

import contextlib
import gc
import logging
import math
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn

from asc_tf.core.errors import UserError
from asc_tf.serving.app import Server
from asc_tf.serving.connections import Limits, find_max_connections, make_protocol
from asc_tf.serving.metrics import Metrics
from asc_tf.serving.requests import DROP_SECONDS
from asc_tf.serving.settings import Settings
from asc_tf.serving.versions import LOGGER, Versions, find_backend, find_candidate

BACKLOG = 2048
"""Connections that the system accepts before the server does."""

ACCEPTED_AT_ONCE = 8
"""Connections that the server accepts before it counts them: far fewer than it has
descriptors of files in reserve."""

KEEP_ALIVE_SECONDS = 75
"""Time after which a connection is closed that waits for its next request."""

HEADER_SECONDS = 30.0
"""Longest time from the first byte of a request, or a new connection, to its header."""


class _Uvicorn(uvicorn.Server):
    """Server that tells its readiness, and ends with exit code 0 on SIGTERM."""

    def __init__(
        self, config: uvicorn.Config, server: Server, drain_seconds: float = 0.0
    ) -> None:
        super().__init__(config)
        self._own, self._drain_seconds = server, drain_seconds
        self._ends = math.inf

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start; the event loop takes its own number for that of the system too."""
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(BACKLOG)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Accept no more requests after a while, and answer those that are there."""
        is_second, self._own.is_ending = self._own.is_ending, True
        if is_second or not self._drain_seconds:
            super().handle_exit(sig, frame)
        else:
            self._ends = time.monotonic() + self._drain_seconds

    async def on_tick(self, counter: int) -> bool:
        """End when load balancers have had the time to notice."""
        if time.monotonic() >= self._ends:
            self.should_exit = True
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle SIGINT and SIGTERM in the block; they do not end the process."""
        before = {
            number: signal.signal(number, self.handle_exit)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def serve(settings: Settings, announce: Callable[[str], None]) -> None:
    """Serve a model until SIGTERM or Ctrl-C.

    Raises:
        UserError: If the model cannot be loaded, or the port is not free.
    """
    listener = _listen(settings)
    with contextlib.closing(listener):
        metrics = Metrics()

        def count(is_loaded: bool) -> None:
            metrics.loads.labels("loaded" if is_loaded else "failed").inc()

        # Modules live for ever: later collections look at models and requests only.
        # Models are not frozen, as old versions must be collected.
        find_backend(find_candidate(settings.model).path)
        gc.freeze()
        versions = Versions(settings, count)
        server = Server(settings, versions, metrics)
        config = uvicorn.Config(
            server.make_app(),
            http=make_protocol(
                Limits(
                    min(settings.timeout, HEADER_SECONDS),
                    settings.timeout,
                    find_max_connections(),
                )
            ),
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=ACCEPTED_AT_ONCE,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            # Longer than a request may take, which is then answered with 504.
            timeout_graceful_shutdown=math.ceil(settings.timeout + DROP_SECONDS) + 1,
            # Nobody forges the address in the log.
            proxy_headers=False,
            ws="none",
            lifespan="on",
        )
        # From now on connections wait until they are served.
        listener.listen(BACKLOG)
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        announce(f"http://{shown}:{port}/v1/models/{settings.name}")
        fields = {"version": versions.current.version, "port": port}
        LOGGER.info("serving", extra={"fields": fields})
        _Uvicorn(config, server, settings.drain_seconds).run(sockets=[listener])
        LOGGER.info("ended")
        if server.is_busy or versions.is_loading:
            # Requests that exceeded their time may still run, or a version is loaded.
            logging.shutdown()
            os._exit(0)


def _listen(settings: Settings) -> socket.socket:
    """Open the socket, before the model takes time to load."""
    try:
        found = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM
        )
        family, kind, protocol, _, address = found[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except (OSError, OverflowError) as error:
        raise UserError(
            f"{settings.host}:{settings.port}: {error}; give another --host or --port"
        ) from error
    return listener
