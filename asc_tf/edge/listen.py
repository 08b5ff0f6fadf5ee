"""asc-edge listen: a live source and a .tflite model in, labels out."""

import contextlib
import os
import random
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from absl import flags

from asc_tf.command_line.command import Command
from asc_tf.command_line.flag_values import read_new_path, read_number
from asc_tf.core.errors import UsageError
from asc_tf.edge import model_flags
from asc_tf.edge.listening import listen_flags
from asc_tf.edge.listening.clock import Clock
from asc_tf.edge.listening.listener import Listener
from asc_tf.edge.listening.model_file import ModelFile
from asc_tf.edge.listening.sources import make_source
from asc_tf.edge.listening.status import Status
from asc_tf.edge.listening.systemd import Notifier
from asc_tf.edge.runtime import EdgeModel

USAGE = """
Classify live sound, window by window, for as long as the machine runs.

  asc-edge listen --model=M [--source=S] [--json | --csv=FOLDER] [--mqtt=HOST]

  asc-edge listen --model=int8.tflite
  asc-edge listen --model=int8.tflite --source=USB --csv=/var/lib/sounds --threshold=0.6
  asc-edge listen --model=int8.tflite --source=rtsp://camera/stream --json
  arecord -t wav -f S16_LE -r 48000 | asc-edge listen --model=int8.tflite --source=-

M is a .tflite file that asc-tf export wrote. asc-edge devices lists the microphones.

A window is classified every hop of the model. Its label and its probabilities are those
of asc-edge classify --segments; `decision` is computed from them with --smooth_windows,
--threshold, --hysteresis and --min_seconds.

A microphone, URL or FIFO that disappears is opened again as soon as it is available,
after pauses of at most 30 s. A file, standard input and a recording at a URL end the
command when they end. Audio of a microphone or a camera is dropped and counted when the
analysis is late; standard input, files and FIFOs wait. Problems are printed on stderr
as lines with ALARM. A model file that is replaced is tried in the background and takes
over between two windows.

SIGTERM and Ctrl-C end it after everything was written. The exit code is 1 if lines,
files or windows were lost, else 0.
"""


def _run(values: flags.FlagValues) -> int:
    path = model_flags.read_model_path(values)
    if not values.source:
        raise UsageError("--source: is empty; give a microphone, a file, a URL or -")
    listen_flags.check_unused(values)
    status = _make_status(values)
    source = make_source(
        values.source, values.sample_rate, values.channels, say=status.say
    )
    if values["buffer_seconds"].present and not source.may_drop:
        raise UsageError(
            f"--buffer_seconds: has no effect with --source={source.name}; only "
            "audio of a microphone or a camera is dropped"
        )
    make_decider = listen_flags.read_decider(values)

    def load_model(file: Path) -> EdgeModel:
        model = model_flags.load_model(values, file)
        make_decider(model.labels)
        return model

    model_file = ModelFile(path, load_model, status)
    listener = Listener(
        source,
        model_file,
        make_decider,
        listen_flags.make_outputs(values, status),
        listen_flags.read_settings(values),
        status,
        random.Random(),
    )
    seconds = read_number(values, "seconds")
    if seconds is not None:
        status.stop_after(seconds)
    with _stop_on_signals(status):
        listener.run()
    status.say(status.summarize())
    _drop_unwritten()
    return 1 if status.has_losses() else 0


def _say(text: str) -> None:
    """Print a line on stderr; nobody can be told that its disk is full."""
    with contextlib.suppress(OSError):
        print(f"{COMMAND.full_name}: {text}", file=sys.stderr, flush=True)


def _drop_unwritten() -> None:
    """Drop lines that stderr could not take: Python would exit with 120 for them."""
    try:
        sys.stderr.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _make_status(values: flags.FlagValues) -> Status:
    file = read_new_path(values, "status_file") if values.status_file else None
    if file is not None and file.is_dir():
        raise UsageError(f"--status_file={file}: a folder; give a file")
    return Status(
        Clock(),
        _say,
        file,
        Notifier(),
        read_number(values, "heartbeat_seconds") or 0.0,
    )


@contextlib.contextmanager
def _stop_on_signals(status: Status) -> Iterator[None]:
    """Let the first SIGTERM or Ctrl-C end the listener, and the second one the process.

    It changes nothing outside of the main thread, which alone may set handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        for each in before:
            signal.signal(each, signal.default_int_handler)
        status.stop()

    before = {
        number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)
    }
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)


COMMAND = Command(
    name="listen",
    usage=USAGE,
    run=_run,
    define_flags=listen_flags.define_flags,
    program="asc-edge",
)
