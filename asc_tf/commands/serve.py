"""asc-tf serve: serve an exported model by TensorFlow Serving's REST interface."""

import os
import re
import sys
from collections.abc import Callable
from dataclasses import MISSING
from typing import Any

from absl import flags

from asc_tf.command_line.command import Command
from asc_tf.command_line.flag_values import read_path
from asc_tf.core.errors import UsageError, UserError, install_hint
from asc_tf.core.packages import is_installed
from asc_tf.serving.settings import OPTIONS, Settings

TOKEN_VARIABLE = "ASC_TF_SERVE_TOKEN"

USAGE = f"""
Serve an exported model over HTTP, with TensorFlow Serving's REST interface.

  asc-tf serve --model=E [--name=asc] [--port=8501]

  asc-tf serve --model=exports/esc10
  curl -F file=@clip.wav http://127.0.0.1:8501/v1/models/asc:predict

E is the folder of asc-tf export, a folder of versions (1, 2 ...), a SavedModel or a
.tflite. A newer version that appears there replaces the old one without
interrupting requests.

In a browser, http://127.0.0.1:8501/ is a page that classifies files and recordings.

Addresses: /v1/models/NAME, /v1/models/NAME/metadata, POST /v1/models/NAME:predict and
:classify (JSON as TensorFlow Serving documents it, or an upload of WAV files),
/healthz, /readyz, /metrics (Prometheus).

Only this computer can connect unless --host is given. With the environment variable
{TOKEN_VARIABLE}, every request needs that bearer token, except /healthz, /readyz
and the files of the page, which asks for it.
Requests are logged on stderr, one JSON object per line, without audio.

On SIGTERM or Ctrl-C the server answers the requests that it has, and ends.
"""


_DEFINE: dict[Any, Callable[..., Any]] = {
    str: flags.DEFINE_string,
    bool: flags.DEFINE_boolean,
    int: flags.DEFINE_integer,
    float: flags.DEFINE_float,
}


def _define_flags(values: flags.FlagValues) -> None:
    own = {"flag_values": values}
    flags.DEFINE_string("model", None, "an export folder, SavedModel or .tflite", **own)
    for item in OPTIONS:
        default = None if item.default is MISSING else item.default
        limits = item.metadata["limits"]
        _DEFINE[item.type](item.name, default, item.metadata["help"], **limits, **own)
    flags.DEFINE_enum(
        "log",
        "info",
        ("debug", "info", "warning", "error"),
        "lowest level of records",
        **own,
    )


def _require_packages() -> None:
    for package in ("fastapi", "uvicorn", "python_multipart", "prometheus_client"):
        if not is_installed(package):
            raise UserError(
                f"the package {package} is not installed: {install_hint('serve')}"
            )


def _read_token() -> str:
    """Read the bearer token; the end of a line that a file has is not part of it.

    Raises:
        UsageError: If no client could send it.
    """
    given = os.environ.get(TOKEN_VARIABLE, "")
    token = given.strip()
    if given and not re.fullmatch(r"[!-~]+", token):
        raise UsageError(
            f"{TOKEN_VARIABLE}: give visible ASCII characters without spaces"
        )
    return token


def _run(values: flags.FlagValues) -> int:
    _require_packages()
    from asc_tf.serving.logs import configure_logs
    from asc_tf.serving.server import serve

    model = read_path(values, "model")
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", values.name):
        raise UsageError(
            f"--name={values.name}: give letters, digits, and any of _ . - only"
        )
    flat = {item.name: values[item.name].value for item in OPTIONS}
    given = {name: value for name, value in flat.items() if value is not None}
    token = _read_token()
    largest = max(512.0, 4 * given["max_request_mb"])
    settings = Settings(model, token=token, max_memory_mb=largest, **given)
    configure_logs(values.log)

    def announce(address: str) -> None:
        print(f"serving {model} on {address}", flush=True)
        if given["host"] not in ("127.0.0.1", "localhost", "::1") and not token:
            print(
                f"{COMMAND.full_name}: everyone who reaches {given['host']} may use "
                f"it; set {TOKEN_VARIABLE} to ask for a token",
                file=sys.stderr,
            )

    serve(settings, announce)
    return 0


COMMAND = Command(
    name="serve",
    usage=USAGE,
    run=_run,
    define_flags=_define_flags,
    begins_with=None,
)
