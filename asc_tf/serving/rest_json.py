"""TensorFlow Serving's JSON: bodies of requests to arrays, and arrays to answers.

Format: https://www.tensorflow.org/tfx/serving/api_rest. Where TensorFlow Serving writes
NaN, which is no JSON, an answer has null.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from asc_tf.serving.backends import UNKNOWN, Arrays, Signature, TensorSpec
from asc_tf.serving.json_bodies import MAX_VALUES
from asc_tf.serving.settings import RequestError

DEFAULT_SIGNATURE = "serving_default"

MAX_CLIPS_OVER_TIME = 16
"""Maximum number of clips in a request for results over time."""


@dataclass(frozen=True)
class PredictRequest:
    """Request in either format.

    Attributes:
        signature: Name of the signature.
        inputs: Checked arrays by name.
        is_row_format: True if the answer has a row for each instance.
    """

    signature: str
    inputs: Arrays
    is_row_format: bool

    @property
    def rows(self) -> int:
        """Number of clips."""
        return max((len(value) for value in self.inputs.values()), default=0)


def parse_predict(
    body: dict[str, Any], signatures: Mapping[str, Signature], max_clips: int
) -> PredictRequest:
    """Parse the body of `:predict` in row or column format.

    Raises:
        RequestError: If the body does not fit the signature.
    """
    name = body.get("signature_name", "") or DEFAULT_SIGNATURE
    signature = find_signature(name, signatures)
    if ("instances" in body) == ("inputs" in body):
        raise RequestError(400, "give either 'instances' (rows) or 'inputs' (columns)")
    is_row_format = "instances" in body
    if is_row_format:
        columns = _arrange_rows(body["instances"], signature)
    else:
        columns = _arrange_columns(body["inputs"], signature)
    if set(columns) != set(signature.inputs):
        raise RequestError(
            400,
            f"the request has the inputs {_list(columns)}; give "
            f"{_list(signature.inputs)} for the signature {name}",
        )
    for key, values in columns.items():
        if signature.inputs[key].dtype != "DT_INT64" and isinstance(values, list):
            check_clips(key, signature, len(values), max_clips)
    inputs = {
        key: parse_array(key, values, signature.inputs[key])
        for key, values in columns.items()
    }
    return PredictRequest(name, inputs, is_row_format)


def check_clips(key: str, signature: Signature, clips: int, max_clips: int) -> None:
    """Check the number of clips.

    Results over time have as many values for each clip as for the longest.

    Raises:
        RequestError: If there are too many.
    """
    if "start" in signature.outputs:
        max_clips = min(max_clips, MAX_CLIPS_OVER_TIME)
    if clips > max_clips:
        raise RequestError(
            400, f"{key}: {clips} clips; give at most {max_clips} at a time"
        )


def find_signature(name: Any, signatures: Mapping[str, Signature]) -> Signature:
    """Find a signature by its name.

    Raises:
        RequestError: If there is none.
    """
    if not isinstance(name, str) or name not in signatures:
        raise RequestError(
            400, f"no signature {name!r}; the model has {_list(signatures)}"
        )
    return signatures[name]


def _list(names: Any) -> str:
    return ", ".join(sorted(map(str, names))) or "none"


def _is_bytes(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"b64"}


def _arrange_rows(instances: Any, signature: Signature) -> dict[str, Any]:
    """Arrange rows by input."""
    if not isinstance(instances, list) or not instances:
        raise RequestError(400, "'instances' is not a list of at least one row")
    is_named = [isinstance(row, dict) and not _is_bytes(row) for row in instances]
    if not any(is_named):
        return {_only_input(signature): instances}
    keys = set(instances[0]) if is_named[0] else set()
    for number, row in enumerate(instances):
        if not is_named[number] or set(row) != keys:
            raise RequestError(
                400, f"instance {number} has other inputs than instance 0"
            )
    return {key: [row[key] for row in instances] for key in keys}


def _arrange_columns(inputs: Any, signature: Signature) -> dict[str, Any]:
    if isinstance(inputs, dict) and not _is_bytes(inputs):
        return inputs
    return {_only_input(signature): inputs}


def _only_input(signature: Signature) -> str:
    if len(signature.inputs) != 1:
        raise RequestError(400, f"name the inputs: {_list(signature.inputs)}")
    return next(iter(signature.inputs))


def parse_array(name: str, values: Any, spec: TensorSpec) -> np.ndarray:
    """Convert a JSON value to the array of an input.

    Raises:
        RequestError: If it has another type or shape.
    """
    if spec.dtype == "DT_STRING":
        if not isinstance(values, list):
            raise RequestError(400, f"{name}: give a list with the bytes of each file")
        decoded = [parse_bytes(f"{name}[{n}]", v) for n, v in enumerate(values)]
        return np.array(decoded, object)
    try:
        array = np.asarray(values)
    except (ValueError, OverflowError) as error:
        raise RequestError(
            400, f"{name}: rows of different lengths, or not numbers"
        ) from error
    is_whole = spec.dtype == "DT_INT64"
    # An empty list has no type of its own.
    if array.size and array.dtype.kind not in ("iu" if is_whole else "fiu"):
        kind = "whole numbers" if is_whole else "numbers"
        raise RequestError(400, f"{name}: rows of different lengths, or not {kind}")
    _check_shape(name, array.shape, spec)
    with np.errstate(over="ignore"):
        return array.astype(np.int64 if is_whole else np.float32)


def _check_shape(name: str, shape: Sequence[int], spec: TensorSpec) -> None:
    wanted = spec.shape or ()
    fits = len(shape) == len(wanted) and all(
        expected in (UNKNOWN, size)
        for size, expected in zip(shape, wanted, strict=True)
    )
    if not fits:
        raise RequestError(
            400, f"{name}: shape {list(shape)}; give {list(wanted)} (-1: any number)"
        )


def parse_bytes(name: str, value: Any) -> bytes:
    """Decode `{"b64": ...}`, or take a string as it is.

    Raises:
        RequestError: If it is neither, or not base64.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if not _is_bytes(value) or not isinstance(value["b64"], str | bytes):
        raise RequestError(400, f'{name}: give bytes as {{"b64": "base64 text"}}')
    text = value["b64"]
    if isinstance(text, bytes):
        return text  # decoded already
    # Many programs break base64 into lines.
    text = "".join(text.split())
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(400, f"{name}: not base64: {error}") from error


def format_predict(outputs: Arrays, is_row_format: bool) -> dict[str, Any]:
    """Format the outputs as the body of an answer.

    Raises:
        RequestError: If there are clips, and none can be classified.
    """
    check_errors(outputs)
    _check_size(outputs)
    columns = {name: to_json(array) for name, array in outputs.items()}
    if not is_row_format:
        only = next(iter(columns.values()))
        return {"outputs": columns if len(columns) > 1 else only}
    names = list(columns)
    if len(names) == 1:
        return {"predictions": columns[names[0]]}
    rows = zip(*columns.values(), strict=True)
    return {"predictions": [dict(zip(names, row, strict=True)) for row in rows]}


def _check_size(outputs: Arrays) -> None:
    count = sum(array.size for array in outputs.values())
    if count > MAX_VALUES:
        raise RequestError(
            400,
            f"the answer would have {count} values, over {MAX_VALUES}; send fewer or "
            "shorter clips at a time",
        )


def check_errors(outputs: Arrays) -> list[str]:
    """Refuse a request none of whose clips can be classified.

    Returns:
        For each clip an empty text, or why it cannot; none if the model does not say.

    Raises:
        RequestError: With the reason of each clip.
    """
    errors: list[str] = to_json(outputs["error"]) if "error" in outputs else []
    if errors and all(errors):
        text = "; ".join(f"row {n}: {error}" for n, error in enumerate(errors[:8]))
        more = f"; and {len(errors) - 8} more" if len(errors) > 8 else ""
        raise RequestError(400, text + more, errors=errors)
    return errors


def to_json(array: np.ndarray) -> Any:
    """Convert an array to lists; NaN and infinity become null, bytes text."""
    if array.dtype == object:
        return [value.decode("utf-8", "replace") for value in array.tolist()]
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        values = array.astype(object)
        values[~np.isfinite(array)] = None
        return values.tolist()
    return array.tolist()


def parse_classify(
    body: dict[str, Any], signatures: Mapping[str, Signature], max_clips: int
) -> PredictRequest:
    """Parse the body of `:classify`: examples with the inputs of a signature.

    The signature may be left out: an example with `encoded` is a file.

    Raises:
        RequestError: If the body does not fit.
    """
    examples = body.get("examples")
    if (
        not isinstance(examples, list)
        or not examples
        or not all(isinstance(example, dict) for example in examples)
    ):
        raise RequestError(400, "'examples' is not a list of at least one object")
    context = body.get("context", {})
    if not isinstance(context, dict):
        raise RequestError(400, "'context' is not an object")
    rows = [{**context, **example} for example in examples]
    name = body.get("signature_name", "")
    if not name and rows and "encoded" in rows[0]:
        name = "encoded"
    request = parse_predict(
        {"signature_name": name, "instances": rows}, signatures, max_clips
    )
    if request.signature not in ("serving_default", "encoded"):
        raise RequestError(400, f"the signature {name} does not classify clips")
    return request


def format_classify(outputs: Arrays, labels: Sequence[str]) -> dict[str, Any]:
    """Format probabilities as the result of `:classify`.

    Raises:
        RequestError: If there are clips, and none can be classified.
    """
    errors = check_errors(outputs)
    rows = to_json(outputs["probabilities"])
    result = [list(map(list, zip(labels, row, strict=True))) for row in rows]
    # TensorFlow Serving's pages say `result`; the server itself answers `results`.
    return {"result": result, "results": result, "errors": errors}
