"""Client of TensorFlow Serving's REST interface, by the standard library."""

import base64
import json
import re
import ssl
import urllib.parse
from typing import Any

import numpy as np

from asc_tf.client.base import BaseClient
from asc_tf.client.labels import Answer
from asc_tf.client.retries import Retries, ServerError
from asc_tf.client.transport import Transport
from asc_tf.core.errors import UsageError


class Client(BaseClient):
    """Client of `asc-tf serve` or TensorFlow Serving over HTTP; for several threads.

    Args:
        url: Address of the server, such as `http://127.0.0.1:8501`.
        model: Name of the model there.
        version: Version of the model; 0: the newest.
        token: Bearer token, if the server asks for one.
        timeout: Longest time of a request in seconds, from the connection to the last
            byte of the answer. It is longer than the server's own limit of 60 s, so
            that the server says why.
        retries: Number of further attempts after a temporary failure.
        connections: Number of requests at a time when files are sent.
        max_file_mb: Largest file that is sent, in MB of 10^6 bytes. A request takes
            about six times the size of its files in memory.
        context: Settings of TLS, for a certificate of one's own.

    Raises:
        UsageError: If a value cannot be used.
    """

    def __init__(
        self,
        url: str,
        model: str = "asc",
        *,
        version: int = 0,
        token: str = "",
        timeout: float = 75.0,
        retries: Retries | int = 4,
        connections: int = 4,
        max_file_mb: float = 64.0,
        context: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(version, timeout, retries, connections, max_file_mb)
        if not re.fullmatch(r"[^/:\s]+", model):
            raise UsageError(f"model={model!r}: give a name without /, : and spaces")
        self._transport = Transport(url, token, timeout, context)
        self._url = url.rstrip("/")
        self._model = f"/v1/models/{urllib.parse.quote(model)}"

    def close(self) -> None:
        """Do nothing: each request has a connection of its own."""

    def _ask_status(self) -> list[dict[str, Any]]:
        path = self._make_path(self._version)
        versions = self._transport.attempt(path).get("model_version_status")
        if not isinstance(versions, list) or not all(
            isinstance(found, dict) for found in versions
        ):
            raise ServerError(
                f"{self._url}{path}: the answer has no model_version_status; is it "
                "that server?",
                "200",
            )
        return versions

    def read_metadata(self) -> dict[str, Any]:
        """Read the signatures of the model.

        Raises:
            ServerError: If the server does not answer, or has no such model.
        """
        return self._request(self._make_path(self._version) + "/metadata")

    def _find_version(self) -> int:
        """Find the newest version that can answer; answers do not name theirs."""
        if self._version:
            return self._version
        versions = self.read_status()
        states = {str(found.get("version")): found.get("state") for found in versions}
        ready = [
            int(version)
            for version, state in states.items()
            if state == "AVAILABLE" and re.fullmatch("[0-9]{1,19}", version)
        ]
        if not ready:
            raise ServerError(
                f"{self._url}{self._model}: no version is AVAILABLE, but {states}",
                "503",
                is_final=True,
            )
        return max(ready)

    def _run(self, signature: str, inputs: dict[str, Any], version: int) -> Answer:
        body = {
            "signature_name": signature,
            "inputs": {name: _to_json(value) for name, value in inputs.items()},
        }
        try:
            data = json.dumps(body).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(
                f"inputs of {signature}: {error}; give arrays, lists, numbers or bytes"
            ) from error
        path = self._make_path(version) + ":predict"
        answer = self._request(path, data)
        if "outputs" not in answer:
            raise ServerError(
                f"{self._url}{path}: the answer has no outputs; is it that server?",
                "200",
            )
        outputs = answer["outputs"]
        # A single output has no name in the answer.
        if not isinstance(outputs, dict):
            outputs = {"label" if signature == "labels" else "output": outputs}
        return Answer(outputs, version)

    def _make_path(self, version: int) -> str:
        return self._model + (f"/versions/{version}" if version else "")

    def _request(self, path: str, body: bytes | None = None) -> dict[str, Any]:
        return self._retries.run(lambda: self._transport.attempt(path, body))


def _to_json(value: Any) -> Any:
    if isinstance(value, bytes | bytearray):
        return {"b64": base64.b64encode(value).decode()}
    if isinstance(value, np.ndarray | np.generic):
        is_number = value.dtype.kind not in "OSU"
        value = value.tolist()
        if is_number:
            return value
        return _to_json(value)
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    return value
