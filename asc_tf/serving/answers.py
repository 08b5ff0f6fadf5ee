"""Work on a request in its thread: from the body to the model, and to the answer."""

import contextlib
import threading
from typing import Any

import numpy as np
from starlette.requests import Request

from asc_tf.core.errors import UserError
from asc_tf.dsp import wav_reader
from asc_tf.serving import json_bodies, rest_json
from asc_tf.serving.backends import Backend, IsCancelled
from asc_tf.serving.metrics import Metrics
from asc_tf.serving.requests import parse_upload
from asc_tf.serving.settings import RequestError, Settings

LARGE_BODY = 1_000_000
"""Bytes from which JSON bodies are parsed one after the other: the values of each need
ten times the memory of the body, for a short time."""


class Answers:
    """Answers of a model to bodies; each runs in the thread of its request."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings, self._metrics = settings, metrics
        self._parsing = threading.Lock()

    def predict_json(
        self, request: Request, backend: Backend, body: bytes, is_over: IsCancelled
    ) -> bytes:
        """Answer `:predict`."""
        parsed = self._parse(rest_json.parse_predict, backend, body)
        outputs = self._compute(request, backend, parsed, is_over)
        return json_bodies.encode(
            rest_json.format_predict(outputs, parsed.is_row_format)
        )

    def classify_json(
        self, request: Request, backend: Backend, body: bytes, is_over: IsCancelled
    ) -> bytes:
        """Answer `:classify`."""
        parsed = self._parse(rest_json.parse_classify, backend, body)
        outputs = self._compute(request, backend, parsed, is_over)
        return json_bodies.encode(rest_json.format_classify(outputs, backend.labels))

    def predict_upload(
        self, request: Request, backend: Backend, body: bytes, is_over: IsCancelled
    ) -> bytes:
        """Answer an upload of files."""
        limit = self._settings.max_clips
        files, fields = parse_upload(request.headers, body, limit)
        name = fields.get("signature_name", "encoded")
        signature = rest_json.find_signature(name, backend.signatures)
        if set(signature.inputs) != {"encoded"}:
            raise RequestError(400, f"the signature {name} takes no files")
        rest_json.check_clips("encoded", signature, len(files), limit)
        contents = np.array([content for _, content in files], object)
        parsed = rest_json.PredictRequest(name, {"encoded": contents}, True)
        outputs = self._compute(request, backend, parsed, is_over)
        answer = rest_json.format_predict(outputs, True)
        for row, (file, _) in zip(answer["predictions"], files, strict=True):
            row["file"] = file
        return json_bodies.encode(answer)

    def _parse(
        self, parse: Any, backend: Backend, body: bytes
    ) -> rest_json.PredictRequest:
        is_large = len(body) > LARGE_BODY
        with self._parsing if is_large else contextlib.nullcontext():
            parsed: rest_json.PredictRequest = parse(
                json_bodies.parse_object(body),
                backend.signatures,
                self._settings.max_clips,
            )
        return parsed

    def _compute(
        self,
        request: Request,
        backend: Backend,
        parsed: rest_json.PredictRequest,
        is_over: IsCancelled,
    ) -> rest_json.Arrays:
        request.state.clips = parsed.rows
        self._check_seconds(backend, parsed.inputs)
        outputs = backend.run(parsed.signature, parsed.inputs, is_over)
        errors = outputs.get("error", np.empty(0, object)).tolist()
        bad = sum(map(bool, errors))
        self._metrics.clips.labels("bad").inc(bad)
        self._metrics.clips.labels("good").inc(len(errors) - bad)
        return outputs

    def _check_seconds(self, backend: Backend, inputs: rest_json.Arrays) -> None:
        """Check how much audio there is; small files may have hours of it.

        Raises:
            RequestError: If it is too much for one request.
        """
        limit = self._settings.max_audio_seconds
        seconds = count_seconds(inputs, backend.description.get("sample_rate"))
        if seconds > limit:
            raise RequestError(
                400,
                f"{seconds:.0f} s of audio, over {limit:g} s; send fewer clips at a "
                "time",
            )


def count_seconds(inputs: rest_json.Arrays, sample_rate: Any) -> float:
    """Count the audio of a request in seconds, from headers and shapes.

    Args:
        inputs: Waveforms `[clips, samples, ...]` or files `[clips]`.
        sample_rate: Sample rate of waveforms in Hz; waveforms count nothing if the
            model's description has none.
    """
    seconds = 0.0
    for content in inputs.get("encoded", np.empty(0, object)).tolist():
        # The model gives the reason for a bad file.
        with contextlib.suppress(UserError):
            stream = wav_reader.open_contents(content)
            seconds += (stream.samples or 0) / stream.sample_rate
    waveform = inputs.get("waveform")
    if waveform is not None and isinstance(sample_rate, int | float) and sample_rate:
        seconds += waveform.shape[0] * waveform.shape[1] / sample_rate
    return seconds
