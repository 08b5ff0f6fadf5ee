"""Open sources: bytes from a file descriptor, perhaps that of a child process."""

import contextlib
import os
import re
import select
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from asc_tf.core.child_process import remove_secrets
from asc_tf.core.errors import UserError

READ_BYTES = 2**16
"""Largest number of bytes that one call reads."""

PIPE_BYTES = 2**20
"""Size of a child's pipe: 10 s of mono PCM16 at 48 kHz; more needs privileges."""

_OVERRUN = re.compile(rb"overrun|xrun", re.IGNORECASE)


class Connection:
    """Connection to a file, a pipe or standard input.

    Args:
        descriptor: File descriptor; it is closed with the connection if it is not 0.

    Attributes:
        overruns: Times that the recorder says that it lost audio.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)
        self.overruns = 0

    @property
    def is_recording(self) -> bool:
        """True if a URL turns out to be a recording, which has an end."""
        return False

    def read(self, seconds: float) -> bytes | None:
        """Read the next bytes.

        Args:
            seconds: Longest wait.

        Returns:
            The bytes; none at the end; None if the wait was in vain.
        """
        if not self._poll.poll(max(seconds, 0) * 1000):
            return None
        return os.read(self._descriptor, READ_BYTES)

    def explain_end(self) -> str:
        """Say why there is nothing more to read."""
        return "the writer closed it"

    def is_complete(self) -> bool:
        """Check, after the end of a recording, that it was read to its end."""
        return True

    def close(self) -> None:
        """Close the file, but leave standard input open."""
        if self._descriptor:
            os.close(self._descriptor)


class FifoOpener:
    """Opener of a FIFO, which it keeps open from one writer to the next.

    If it was closed in between, a new writer might write to nobody and be killed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def __call__(self) -> "FifoConnection":
        """Wait for the next writer's bytes in a new connection."""
        if self._descriptor is None:
            # Without O_NONBLOCK the call would wait for a writer, deaf to SIGTERM.
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
        return FifoConnection(self._descriptor)


class FifoConnection(Connection):
    """Connection to one writer of a FIFO."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self._has_data = False

    def read(self, seconds: float) -> bytes | None:
        """Read as `Connection.read`."""
        try:
            data = super().read(seconds)
        except BlockingIOError:
            return None
        if data == b"" and not self._has_data:
            # The writer before has gone, and the next one has not come.
            time.sleep(min(seconds, 0.2))
            return None
        self._has_data = self._has_data or bool(data)
        return data

    def close(self) -> None:
        """Leave the FIFO open."""


class ChildConnection(Connection):
    """Connection to the standard output of a child process.

    Args:
        command: Program and its arguments.
        install: Advice if the program is missing.

    Raises:
        UserError: If the program is missing or cannot be started.
    """

    def __init__(self, command: Sequence[str], install: str) -> None:
        try:
            # In a session of its own, because Ctrl-C is ours to handle.
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                # arecord translates the messages in which overruns are searched.
                env={**remove_secrets(os.environ), "LC_ALL": "C"},
            )
        except FileNotFoundError as error:
            raise MissingProgramError(
                f"the program {command[0]} is missing; {install}"
            ) from error
        except OSError as error:
            raise UserError(f"{command[0]} cannot be started: {error}") from error
        assert self._process.stdout and self._process.stderr
        super().__init__(self._process.stdout.fileno())
        self._err = self._process.stderr.fileno()
        os.set_blocking(self._err, False)
        # Only Linux has pipes of a chosen size, and Windows has no such module.
        with contextlib.suppress(OSError, AttributeError, ModuleNotFoundError):
            import fcntl

            fcntl.fcntl(self._descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._messages = b""

    def read(self, seconds: float) -> bytes | None:
        """Read as `Connection.read`."""
        self._read_messages()
        return super().read(seconds)

    def explain_end(self) -> str:
        """Say what the process said last."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        self._read_messages()
        name = Path(str(self._process.args[0])).name  # type: ignore[index]
        lines = self._messages.decode(errors="replace").strip().splitlines()
        # ffmpeg repeats the URL.
        said = f": {hide_secrets(lines[-1].strip())}" if lines else ""
        code = self._process.poll()
        return f"{name} ended" + (f" with {code}" if code else "") + said

    def is_complete(self) -> bool:
        """Implement `Connection.is_complete`."""
        return not self._process.poll()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        # A driver that hangs keeps even a killed process.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2)
        for stream in (self._process.stdout, self._process.stderr):
            if stream:
                stream.close()

    def _read_messages(self) -> None:
        """Read what the process wrote to stderr, so that it never blocks."""
        with contextlib.suppress(BlockingIOError):
            while text := os.read(self._err, READ_BYTES):
                self._take_messages(text)

    def _take_messages(self, text: bytes) -> None:
        """Keep the last messages, and count those on lost audio."""
        self.overruns += len(_OVERRUN.findall(text))
        self._messages = (self._messages + text)[-2000:]


def hide_secrets(text: str) -> str:
    """Replace users, passwords and queries of the URLs in a text."""
    text = re.sub(r"://\S*@", "://***@", text)
    return re.sub(r"(://[^\s?]*\?)\S+", r"\1***", text)


class MissingProgramError(UserError):
    """A program that a source needs is not installed; waiting does not help."""
