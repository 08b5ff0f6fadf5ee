"""Bodies of requests: read within limits of size, memory and time; uploads."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Coroutine
from typing import Any

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from asc_tf.serving.settings import RequestError, Settings

STALL_SECONDS = 10.0
STALL_BYTES = 200_000
"""A body is refused that brings fewer bytes in that time and is not complete."""

SMALL_BYTES = 1_000_000
"""Bodies up to this size may use all of the memory for bodies, larger ones 7/8 of it:
large uploads that never end do not refuse everybody."""

DROP_SECONDS = 5.0
DROP_BYTES = 2**28
"""Limits of reading the rest of a body that was refused."""


class BodyReader:
    """Reads bodies, whose sum in memory is bounded."""

    def __init__(self, settings: Settings) -> None:
        self._limit = round(settings.max_request_mb * 1e6)
        self._budget = round(settings.max_memory_mb * 1e6)
        self._used = 0

    async def read(self, request: Request) -> bytes:
        """Read a body; `release` must be called with its size in the end.

        Raises:
            RequestError: If it is too large (413), compressed (415), cut off (400),
                arrives too slowly (408), or if there is too much in memory already
                (429).
        """
        self._check_headers(request)
        size, parts = 0, []
        try:
            async for part in _receive_parts(request):
                size += len(part)
                self._used += len(part)
                if size > self._limit:
                    raise self._refuse_size()
                is_small = size <= SMALL_BYTES
                if self._used > (self._budget if is_small else 7 * self._budget // 8):
                    raise RequestError(429, "too many large requests; try again")
                parts.append(part)
        except BaseException as error:
            self.release(size)
            if isinstance(error, ClientDisconnect):
                raise RequestError(400, "the body was cut off") from error
            raise
        return b"".join(parts)

    def release(self, size: int) -> None:
        """Take the bytes of a body out of the sum."""
        self._used -= size

    def _check_headers(self, request: Request) -> None:
        encoding = request.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise RequestError(415, f"content-encoding {encoding}: send it as it is")
        length = request.headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._limit:
            raise self._refuse_size()

    def _refuse_size(self) -> RequestError:
        return RequestError(
            413,
            f"the body has over {self._limit / 1e6:g} MB; send fewer clips at a time",
        )


async def _receive_parts(request: Request) -> AsyncGenerator[bytes, None]:
    """Receive the parts of a body; `request.state.is_read` is set with the last one.

    Raises:
        ClientDisconnect: If the client closes the connection.
        RequestError: If the client stalls.
    """
    clock, fresh, has_more = asyncio.get_running_loop().time, 0, True
    ends = clock() + STALL_SECONDS
    while has_more:
        try:
            async with asyncio.timeout_at(ends):
                message = await request.receive()
        except TimeoutError as error:
            raise RequestError(
                408, f"under {STALL_BYTES} bytes in {STALL_SECONDS:g} s; send faster"
            ) from error
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        has_more = message.get("more_body", False)
        request.state.is_read = not has_more
        part = message.get("body", b"")
        fresh += len(part)
        if fresh >= STALL_BYTES:
            ends, fresh = clock() + STALL_SECONDS, 0
        yield part


async def drop_body(request: Request) -> bool:
    """Read the rest of a body that was refused, within limits, and drop it.

    A client that is still sending sees a broken connection instead of an answer that
    comes too early.

    Returns:
        True if the whole body was read.
    """
    headers = request.headers
    length = headers.get("content-length", "0")
    has_body = "transfer-encoding" in headers or length != "0"
    if not has_body or getattr(request.state, "is_read", False):
        return True
    if headers.get("expect", "").lower() == "100-continue":
        return False  # it waits for the answer before it sends
    size = 0
    with contextlib.suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(DROP_SECONDS):
            while size <= DROP_BYTES:
                message = await request.receive()
                size += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return message["type"] == "http.request"
    return False


class _MemoryParser(MultiPartParser):
    """Keeps uploads in memory, where the body is already, and not in files."""

    spool_max_size = 2**40


def parse_upload(
    headers: Headers, body: bytes, max_files: int
) -> tuple[list[tuple[str, bytes]], dict[str, str]]:
    """Parse a body of type multipart/form-data.

    Returns:
        Name and content of each file, and the values of the other fields.

    Raises:
        RequestError: If it is malformed, or there is no file.
    """

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    parser = _MemoryParser(
        headers, stream(), max_files=max_files, max_fields=16, max_part_size=4096
    )
    try:
        form = _run_at_once(parser.parse())
    except (MultiPartException, KeyError, ValueError, LookupError) as error:
        reason = getattr(error, "message", "") or "malformed multipart body"
        raise RequestError(400, str(reason)) from error
    files, fields = [], {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            content = value.file
            data = content.read()
            files.append((value.filename or name, data))
            content.close()
        else:
            fields[name] = value
    if not files:
        raise RequestError(400, "no file in the form; send at least one WAV file")
    return files, fields


def _run_at_once(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that waits for nothing, without an event loop."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


def is_upload(request: Request) -> bool:
    """Check whether the body has the type multipart/form-data."""
    kind = request.headers.get("content-type", "")
    return kind.lower().startswith("multipart/form-data")
