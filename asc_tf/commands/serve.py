"""asc-tf serve: serve an exported model by TensorFlow Serving's REST interface."""

import os
import re
import sys

from absl import flags

from asc_tf.command_line.command import Command
from asc_tf.command_line.flag_values import read_path
from asc_tf.core.errors import UsageError, UserError, install_hint
from asc_tf.core.packages import is_installed

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


def _define_flags(values: flags.FlagValues) -> None:
    own = {"flag_values": values}
    flags.DEFINE_string("model", None, "an export folder, SavedModel or .tflite", **own)
    flags.DEFINE_string("name", "asc", "name of the model in the addresses", **own)
    flags.DEFINE_string(
        "host", "127.0.0.1", "address to listen on; 0.0.0.0: every interface", **own
    )
    flags.DEFINE_integer(
        *("port", 8501, "port to listen on; 0: a free one"),
        *(0, 65535),
        **own,
    )
    _define_queue(values)
    _define_limits(values)
    flags.DEFINE_float(
        "poll_seconds",
        2.0,
        "polling interval for newer versions, s",
        lower_bound=0.05,
        upper_bound=86400.0,
        **own,
    )
    flags.DEFINE_enum(
        "log",
        "info",
        ("debug", "info", "warning", "error"),
        "lowest level of records",
        **own,
    )


def _define_queue(values: flags.FlagValues) -> None:
    own = {"flag_values": values}
    flags.DEFINE_boolean(
        "batching", True, "classify clips of requests that wait together", **own
    )
    flags.DEFINE_integer(
        *("max_batch_size", 8, "most clips that are classified together"),
        *(1, 1024),
        **own,
    )
    flags.DEFINE_float(
        "batch_timeout_ms",
        0.0,
        "longest time to wait for more clips, ms; 0: only clips that have to wait "
        "anyway are classified together",
        lower_bound=0.0,
        upper_bound=60000.0,
        **own,
    )
    flags.DEFINE_integer(
        "workers",
        None,
        "batches that run at a time (a .tflite: interpreters); half of the cores "
        "unless it is given",
        *(1, 256),
        **own,
    )
    flags.DEFINE_integer(
        *("queue", 64, "most requests that wait; one more is answered with 429"),
        *(1, 4096),
        **own,
    )


def _define_limits(values: flags.FlagValues) -> None:
    own = {"flag_values": values}
    flags.DEFINE_float(
        "timeout",
        60.0,
        "longest time from the first byte of a request to its answer, s",
        lower_bound=0.1,
        upper_bound=86400.0,
        **own,
    )
    flags.DEFINE_float(
        "max_request_mb",
        64.0,
        "largest body of a request, MB",
        lower_bound=0.001,
        upper_bound=2000.0,
        **own,
    )
    flags.DEFINE_integer(
        *("max_clips", 256, "most clips of one request"), *(1, 100000), **own
    )
    flags.DEFINE_float(
        "max_audio_seconds",
        3600.0,
        "most audio of one request, s",
        lower_bound=1.0,
        upper_bound=1e6,
        **own,
    )
    flags.DEFINE_float(
        "drain_seconds",
        0.0,
        "time from SIGTERM to the end of the listening, s; meanwhile /readyz is 503",
        lower_bound=0.0,
        upper_bound=3600.0,
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
    from asc_tf.serving.settings import Settings

    model = read_path(values, "model")
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", values.name):
        raise UsageError(
            f"--name={values.name}: give letters, digits, and any of _ . - only"
        )
    names = (
        *("name", "host", "port", "batching", "max_batch_size", "batch_timeout_ms"),
        *("workers", "queue", "timeout", "max_request_mb", "max_clips", "poll_seconds"),
        *("max_audio_seconds", "drain_seconds"),
    )
    given = {name: values[name].value for name in names}
    if given["workers"] is None:
        del given["workers"]
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
