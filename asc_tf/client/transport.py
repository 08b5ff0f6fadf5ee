"""Requests over HTTP with a limit of their whole time, by the standard library."""

import contextlib
import email.utils
import http.client
import json
import math
import re
import socket
import ssl
import threading
import time
import urllib.parse
from typing import Any

from asc_tf.client.retries import RetryableError, ServerError
from asc_tf.core.errors import UsageError

RETRYABLE = (429, 502, 503)
"""Status codes after which another attempt may succeed.

500 is likely to come again, and after 408 and 504 an attempt has taken its whole time.
"""

FINAL = (401, 403)
"""Status codes that every other request will get too."""

MAX_ANSWER_BYTES = 2**28
"""Largest answer in bytes."""


class Transport:
    """Requests to one server; for several threads.

    There is a connection for each request, no redirect is followed, because it would
    take the token elsewhere, and no proxy is used.

    Args:
        url: Address of the server, such as `http://127.0.0.1:8501`.
        token: Bearer token; empty for none.
        timeout: Longest time of a request in seconds, from the connection to the last
            byte of the answer.
        context: Settings of TLS.

    Raises:
        UsageError: If the address or the token cannot be used.
    """

    def __init__(
        self, url: str, token: str, timeout: float, context: ssl.SSLContext | None
    ) -> None:
        self._https, self._host, self._port, path = _split_url(url)
        self._path, self._url = path, url.rstrip("/")
        if token and not re.fullmatch(r"[\x21-\x7e]+", token):
            raise UsageError(
                "token: has a character that is not visible ASCII (a line break at its "
                "end, for example); give the token alone"
            )
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._timeout, self._context = timeout, context

    def attempt(self, path: str, body: bytes | None = None) -> dict[str, Any]:
        """Send one request.

        Args:
            path: Path after the address of the server.
            body: JSON to post; None for a GET.

        Returns:
            JSON object of the answer.

        Raises:
            ServerError: If there is no answer with results.
            RetryableError: If there is none, and another attempt may succeed.
        """
        url = self._url + path
        try:
            status, reason, headers, data = self._exchange(self._path + path, body)
        except (
            *(OSError, http.client.HTTPException, ValueError),
            _TooLongError,
        ) as error:
            raise self._convert_failure(error, url) from error
        if status != 200:
            raise _convert_answer(status, reason, headers, data, url)
        if (parsed := _parse_object(data)) is None:
            raise ServerError(
                f"{url}: the answer is no JSON object; is it that server?", "200"
            )
        return parsed

    def _open(self) -> http.client.HTTPConnection:
        if self._https:
            return http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout, context=self._context
            )
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)

    def _exchange(
        self, path: str, body: bytes | None
    ) -> tuple[int, str, http.client.HTTPMessage, bytes]:
        """Send a request and read its answer within the time limit."""
        connection = self._open()
        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = "application/json"
        is_late = threading.Event()

        def end() -> None:
            # The time limit of a socket begins anew with each byte.
            is_late.set()
            with contextlib.suppress(OSError):
                # The method of SSLSocket would change its state beside a reader.
                socket.socket.shutdown(opened, socket.SHUT_RDWR)

        method = "GET" if body is None else "POST"
        with contextlib.closing(connection):
            begin = time.monotonic()
            connection.connect()
            opened = connection.sock
            left = max(0.0, begin + self._timeout - time.monotonic())
            timer = threading.Timer(left, end)
            timer.daemon = True
            timer.start()
            try:
                # A server that refuses a large body answers before it has it all.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    connection.request(method, path, body, headers)
                response = connection.getresponse()
                data = _read(response)
                if is_late.is_set():
                    raise TimeoutError
            except (OSError, http.client.HTTPException, ValueError) as error:
                if is_late.is_set():
                    raise TimeoutError from error
                raise
            finally:
                timer.cancel()
        return response.status, response.reason, response.headers, data

    def _convert_failure(self, error: Exception, url: str) -> Exception:
        """Convert the failure of a connection to an error."""
        if isinstance(error, TimeoutError):
            # Another attempt would be work beside that of the first.
            return ServerError(
                f"{url}: no whole answer within {self._timeout:g} s; timeout changes it"
            )
        if isinstance(error, _TooLongError):
            return ServerError(
                f"{url}: the answer has more than {MAX_ANSWER_BYTES} bytes; ask for "
                "fewer clips"
            )
        reason = str(error) or type(error).__name__
        if not isinstance(error, OSError | http.client.IncompleteRead):
            return ServerError(f"{url}: the answer is not HTTP: {reason}")
        failure = ServerError(f"{url}: no answer: {reason}")
        if isinstance(error, socket.gaierror):
            is_passing = error.errno == socket.EAI_AGAIN
        else:
            is_passing = not isinstance(error, ssl.SSLError)
        return RetryableError(failure) if is_passing else failure


class _TooLongError(Exception):
    """An answer with too many bytes."""


def _split_url(url: str) -> tuple[bool, str, int, str]:
    """Split an address to: is it HTTPS, host, port and path."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if (
        not host
        or parts.scheme not in ("http", "https")
        or (parts.query or parts.fragment or parts.username is not None)
        or not re.fullmatch(r"[\x21-\x7e]+", url)
    ):
        raise UsageError(f"url={url}: give http://HOST:PORT")
    is_https = parts.scheme == "https"
    return is_https, host, port or (443 if is_https else 80), parts.path.rstrip("/")


def _read(response: http.client.HTTPResponse) -> bytes:
    """Read the body of an answer.

    Raises:
        http.client.IncompleteRead: If an answer with results is cut off.
    """
    try:
        data = response.read(MAX_ANSWER_BYTES + 1)
        if len(data) > MAX_ANSWER_BYTES:
            raise _TooLongError
        # A header that is cut off is read as one without a body.
        if response.length or not data:
            raise http.client.IncompleteRead(data, response.length)
    except (ConnectionError, http.client.IncompleteRead):
        if response.status == 200:
            raise
        return b""  # The status says enough.
    return data


def _parse_object(data: bytes) -> dict[str, Any] | None:
    """Parse a JSON object; None if it is none."""
    try:
        parsed = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _convert_answer(
    status: int,
    reason: str,
    headers: http.client.HTTPMessage,
    data: bytes,
    url: str,
) -> Exception:
    """Convert an answer without results to an error."""
    answer = _parse_object(data) or {}
    errors = answer.get("errors")
    if "error" not in answer or not isinstance(errors, list):
        errors = []
    reason = str(answer.get("error", reason))
    wait = _read_wait(headers.get("Retry-After", ""))
    asked = f" (it asks to wait {wait:g} s)" if wait else ""
    failure = ServerError(
        f"{url}: {status}: {reason}{asked}",
        str(status),
        tuple(map(str, errors)),
        is_final=status in FINAL,
        is_too_large=status == 413,
    )
    return RetryableError(failure, wait) if status in RETRYABLE else failure


def _read_wait(value: str) -> float:
    """Read the seconds of a `Retry-After`, which may be a date; 0 if it is neither."""
    value = value.strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        return float(value)
    try:
        wait = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, OverflowError):
        return 0.0
    return float(math.ceil(max(0.0, wait)))
