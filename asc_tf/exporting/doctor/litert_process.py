"""A .tflite in a child process: questions to it, and what to say when it ends."""

import contextlib
import json
import queue
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, Any

from asc_tf.core.child_process import name_signal, parse_answer
from asc_tf.core.errors import UserError
from asc_tf.core.files import DiskFullError, is_disk_full

MODULE = "asc_tf.exporting.doctor.litert_child"
"""Module that the child process runs."""

HANG_SECONDS = 120.0
"""Time without a report of progress after which the child is ended."""

MEMORY_BYTES = 4 * 2**30
"""Address space of the child beside some copies of the file."""

COPIES = 16
"""Copies of the file that have space in the child's memory."""

AGAIN = "export it again; if this happens again, leave the format out of --formats"


class ChildFailedError(UserError):
    """The child process has ended, or cannot answer; the message is a finding."""


class LiteRtProcess:
    """A .tflite in a child process, until `close` is called or this process ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        settings = {
            "path": str(path),
            "memory": MEMORY_BYTES + COPIES * path.stat().st_size,
        }
        # Closed by `close`, not by a block.
        self._messages: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", MODULE),
                json.dumps(settings),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._messages,
            text=True,
            encoding="utf-8",
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read_lines, daemon=True).start()

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Ask for the result of a command of `asc_tf.exporting.doctor.litert_child`.

        Raises:
            ChildFailedError: If it fails, the process ends, hangs, or needs too much
                memory. The message says which, and what to do.
            DiskFullError: If it could not write its output.
        """
        try:
            self._process.stdin.write(  # type: ignore[union-attr]
                json.dumps({"command": command, **arguments}) + "\n"
            )
            self._process.stdin.flush()  # type: ignore[union-attr]
        except OSError as error:
            raise ChildFailedError(self._describe_end()) from error
        answer = self._read_answer()
        if "error" in answer:
            if is_disk_full(answer["error"]):
                raise DiskFullError(self.path)
            if answer.get("is_memory"):
                raise ChildFailedError(self._describe_memory())
            raise ChildFailedError(answer["error"])
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._messages):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]

    def _read_lines(self) -> None:
        with contextlib.suppress(ValueError, OSError):
            for line in self._process.stdout:  # type: ignore[union-attr]
                self._lines.put(line)
        self._lines.put("")

    def _read_answer(self) -> dict[str, Any]:
        """Wait for an answer, as long as the process reports progress."""
        while True:
            try:
                line = self._lines.get(timeout=HANG_SECONDS)
            except queue.Empty:
                self._process.kill()
                raise ChildFailedError(
                    f"LiteRT has not answered for {HANG_SECONDS:g} s and was stopped; "
                    f"{AGAIN}"
                ) from None
            if not line:
                raise ChildFailedError(self._describe_end())
            if answer := parse_answer(line):
                return answer

    def _describe_end(self) -> str:
        """Say how the process has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=HANG_SECONDS)
        code, message = self._process.returncode, self._read_last_message()
        if "bad_alloc" in message or "MemoryError" in message:
            return self._describe_memory()
        if code is None or code >= 0:
            return (
                f"the process of LiteRT ended with exit code {code}: "
                f"{message or 'no message'}; {AGAIN}"
            )
        name = name_signal(code)
        if name == "SIGKILL":
            return (
                "LiteRT was killed (SIGKILL), probably because the memory of the "
                "machine is full; close other programs, and try again"
            )
        return f"LiteRT crashed ({name}) on this file; {AGAIN}"

    def _describe_memory(self) -> str:
        limit = MEMORY_BYTES + COPIES * self.path.stat().st_size
        return (
            f"LiteRT needs more than {limit / 2**30:.1f} GB of memory for this file; "
            f"{AGAIN}"
        )

    def _read_last_message(self) -> str:
        """Read the last line that the process wrote to stderr."""
        with contextlib.suppress(OSError, ValueError):
            size = self._messages.seek(0, 2)
            self._messages.seek(max(size - 4000, 0))
            lines = self._messages.read().decode(errors="replace").split("\n")
            return next((each.strip() for each in reversed(lines) if each.strip()), "")
        return ""
