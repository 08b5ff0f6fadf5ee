"""Functions that the clients of REST and gRPC have in common."""

import abc
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import numpy as np

from asc_tf.client.clips import list_files, pack_waveform, send_files
from asc_tf.client.labels import Answer, LabelCache
from asc_tf.client.results import (
    Row,
    check_rows,
    cut_segments,
    describe_row,
    raise_first_error,
)
from asc_tf.client.retries import Retries, RetryableError, ServerError
from asc_tf.core.errors import UsageError

MISSING = ("404", "NOT_FOUND")
"""Status of a request for a model or version that is not loaded."""

UNREACHABLE = ("", "UNAVAILABLE")
"""Status of a request to a server that may have ended."""

MODEL_CHANGES = 3
"""Attempts to classify clips while versions of the model come and go."""


class BaseClient(abc.ABC):
    """Client of a served model; for several threads.

    Args:
        version: Version of the model; 0: the newest.
        timeout: Longest time of a request in seconds.
        retries: Number of further attempts after a temporary failure.
        connections: Number of requests at a time when files are sent.
        max_file_mb: Largest file that is sent, in MB of 10^6 bytes.

    Raises:
        UsageError: If a value is out of its range.
    """

    def __init__(
        self,
        version: int,
        timeout: float,
        retries: Retries | int,
        connections: int,
        max_file_mb: float,
    ) -> None:
        for name, value, least in (
            ("version", version, 0),
            ("connections", connections, 1),
        ):
            if not isinstance(value, int) or value < least:
                raise UsageError(
                    f"{name}={value!r}: give a whole number, at least {least}"
                )
        for name, number in (("timeout", timeout), ("max_file_mb", max_file_mb)):
            if not isinstance(number, int | float) or not (
                0 < number <= threading.TIMEOUT_MAX
            ):
                raise UsageError(f"{name}={number!r}: give a number above 0")
        self._version, self._timeout, self._connections = version, timeout, connections
        self._retries = (
            Retries(retries) if not isinstance(retries, Retries) else retries
        )
        self._max_bytes = int(max_file_mb * 10**6)
        self._newest = 0
        self._labels = LabelCache(self._run)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abc.abstractmethod
    def close(self) -> None:
        """Close the connections that are open."""

    def read_status(self) -> list[dict[str, Any]]:
        """Read version and state of the loaded versions.

        Raises:
            ServerError: If the server does not answer, or has no such model.
        """
        return self._retries.run(self._ask_status)

    @abc.abstractmethod
    def read_metadata(self) -> dict[str, Any]:
        """Read the signatures of the model.

        Raises:
            ServerError: If the server does not answer, or has no such model.
        """

    @abc.abstractmethod
    def _ask_status(self) -> list[dict[str, Any]]:
        """Ask once for version and state of the loaded versions."""

    @abc.abstractmethod
    def _run(self, signature: str, inputs: dict[str, Any], version: int) -> Answer:
        """Run a signature of a version; 0: the newest."""

    @abc.abstractmethod
    def _find_version(self) -> int:
        """Find the version to ask for, so that all answers come from the same."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names of the version in use, in the order of the probabilities."""
        return self._labels.read(self._find_version())

    def run(self, signature: str, **inputs: Any) -> dict[str, Any]:
        """Run a signature.

        Args:
            signature: Name of the signature.
            inputs: Values of the inputs by name: arrays or nested lists of numbers, or
                lists of bytes.

        Returns:
            Outputs by name.

        Raises:
            UsageError: If a value cannot be sent.
            ServerError: If the server does not answer, or refuses the inputs.
        """
        outputs: dict[str, Any] = self._run(signature, inputs, self._version).outputs
        return outputs

    def predict(self, waveform: Any, sample_rate: int) -> np.ndarray:
        """Classify a waveform.

        Args:
            waveform: Floats in [-1, 1], `[samples]` or `[samples, channels]`.
            sample_rate: Sample rate in Hz; the server resamples.

        Returns:
            Probabilities, float32 `[labels]`.

        Raises:
            UserError: If the waveform or the rate is unusable.
            ServerError: If the server does not answer, or refuses the clip.
        """
        outputs = self.run("encoded", encoded=[pack_waveform(waveform, sample_rate)])
        probabilities, _, errors = check_rows(outputs, 1)
        raise_first_error({"error": errors})
        return probabilities[0]

    def predict_segments(self, waveform: Any, sample_rate: int) -> Row:
        """Classify each segment of a waveform.

        Args:
            waveform: As in `predict`.
            sample_rate: Sample rate in Hz.

        Returns:
            `probabilities` float32 `[segments, labels]`, `start` and `end` in seconds.

        Raises:
            UserError: If the waveform or the rate is unusable.
            ServerError: If the server does not answer, or refuses the clip.
        """
        contents = pack_waveform(waveform, sample_rate)
        outputs = self.run("encoded_segments", encoded=[contents])
        raise_first_error(outputs)
        return cut_segments(outputs)

    def predict_files(
        self, paths: str | Path | Iterable[str | Path]
    ) -> list[dict[str, Any]]:
        """Classify WAV files, or those of a folder; a bad one does not stop the others.

        If the server cannot be reached, refuses the token or does not have the model,
        no further file is sent, and the rest has this error.

        Returns:
            For each file `file`, `label`, `probability` and `probabilities` (by label);
            or `file` and `error`. Labels and probabilities of a file are always from
            the same version of the model.

        Raises:
            UsageError: If a folder has no WAV file.
            UserError: If a folder cannot be read.
        """
        files = list_files(paths)
        self._newest = 0
        self._labels.forget_old()
        return send_files(files, self._send, self._connections, self._max_bytes)

    def _send(self, contents: list[bytes]) -> list[Row]:
        """Classify the bytes of files, with labels of the version that answers.

        Raises:
            ServerError: If the request fails.
        """
        failure = ServerError("the model changes too often")
        for _ in range(MODEL_CHANGES):
            try:
                # Another thread may find that the version has ended.
                version = self._newest = self._newest or self._find_version()
                return self._classify(contents, version)
            except ServerError as error:
                failure = error
                if error.status in UNREACHABLE:
                    # Is it this request, or is there no server any more?
                    error.is_final = not self._is_there()
                if error.status not in MISSING:
                    raise
                if self._version:
                    break
                # The version has ended, and a newer one is there.
                self._newest = 0
        failure.is_final = True
        raise failure

    def _is_there(self) -> bool:
        try:
            self._ask_status()
        except ServerError as error:
            return error.status not in UNREACHABLE
        except RetryableError as failure:
            return failure.error.status not in UNREACHABLE
        return True

    def _classify(self, contents: list[bytes], version: int) -> list[Row]:
        try:
            answer = self._run("encoded", {"encoded": contents}, version)
        except ServerError as error:
            if len(error.errors) != len(contents):
                raise
            # The server says so if no file can be classified.
            return [{"error": reason} for reason in error.errors]
        for _ in range(2):
            try:
                return self._describe(answer, len(contents))
            except LookupError:
                # The model was written again under the same version.
                self._labels.forget()
        raise ServerError(
            "the labels do not fit the probabilities; the model was replaced between "
            "two requests"
        )

    def _describe(self, answer: Answer, clips: int) -> list[Row]:
        """Describe each clip.

        Raises:
            LookupError: If the labels do not fit.
        """
        probabilities, named, errors = check_rows(answer.outputs, clips)
        if all(errors):
            return [{"error": error} for error in errors]
        labels = self._labels.read(answer.version)
        return [
            {"error": error} if error else describe_row(labels, row, label)
            for row, label, error in zip(probabilities, named, errors, strict=True)
        ]
