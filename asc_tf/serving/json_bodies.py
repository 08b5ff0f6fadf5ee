"""JSON bodies of requests and answers: fast for base64, bounded in what they hold."""

import binascii
import json
import re
import secrets
from typing import Any

from asc_tf.serving.settings import RequestError

MAX_VALUES = 4_000_000
"""Maximum number of values of a body or an answer: JSON takes up to 100 bytes of memory
for each."""

LONG_TEXT = 1024
"""Characters from which a base64 text is decoded without parsing it as JSON."""

_KEY = re.compile(rb'(?<!\\)"b64"\s*:\s*"')
_MARK = secrets.token_hex(16)
"""Random prefix of placeholder texts for decoded bytes."""


def parse_object(body: bytes) -> dict[str, Any]:
    """Parse the body of a request, a JSON object.

    The values of long `{"b64": ...}` are bytes, the short ones text.

    Raises:
        RequestError: If it is none, or has too many values.
    """
    rest, contents = _cut_base64(body)
    # Lists and objects take several times the memory and time of numbers.
    containers = rest.count(b"[") + rest.count(b"{")
    if rest.count(b",") + 4 * containers > MAX_VALUES:
        raise RequestError(
            413, f"over {MAX_VALUES} values; send the bytes of WAV files instead"
        )

    def restore(value: dict[str, Any]) -> dict[str, Any]:
        text = value.get("b64")
        if isinstance(text, str) and text.startswith(_MARK):
            return value | {"b64": contents[int(text.removeprefix(_MARK))]}
        return value

    try:
        parsed = json.loads(rest, object_hook=restore if contents else None)
    except RecursionError as error:
        raise RequestError(400, "JSON is nested too deeply") from error
    except UnicodeDecodeError as error:
        raise RequestError(
            400,
            "the body is not JSON; send a WAV file to :predict as a form, as "
            "curl -F file=@FILE does",
        ) from error
    except ValueError as error:
        raise RequestError(400, f"JSON Parse error: {error}") from error
    if not isinstance(parsed, dict):
        raise RequestError(400, "the body is not a JSON object")
    return parsed


def _cut_base64(body: bytes) -> tuple[bytes, list[bytes]]:
    """Decode long base64 texts where they are, instead of copying them twice.

    Returns:
        The body with a short text in the place of each, and their bytes.
    """
    parts: list[bytes] = []
    contents: list[bytes] = []
    view, copied, position = memoryview(body), 0, 0
    while match := _KEY.search(body, position):
        start = match.end()
        end = body.find(b'"', start)
        if end < 0:
            break
        position = end + 1
        if end - start < LONG_TEXT:
            continue
        text: Any = view[start:end]
        if missing := -len(text) % 4:
            text = bytes(text) + b"=" * missing
        try:
            contents.append(binascii.a2b_base64(text, strict_mode=True))
        except binascii.Error:
            # The usual way gives the reason, or knows what it is.
            return body, []
        parts += [body[copied:start], f"{_MARK}{len(contents) - 1}".encode()]
        copied = end
    parts.append(body[copied:])
    return b"".join(parts), contents


def encode(answer: dict[str, Any]) -> bytes:
    """Encode an answer as JSON of ASCII characters, which has room for every name."""
    return json.dumps(answer, allow_nan=False, separators=(",", ":")).encode("ascii")
