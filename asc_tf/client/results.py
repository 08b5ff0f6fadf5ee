"""Results of a server, checked and paired with the labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from asc_tf.client.retries import ServerError

Row = dict[str, Any]


def check_rows(outputs: Any, rows: int) -> tuple[np.ndarray, list[str], list[str]]:
    """Check the outputs of the signature `encoded`.

    Returns:
        Probabilities float32 `[rows, labels]`; for each row the label, or an empty
        string if the server does not give it; for each row the error, or an empty
        string.

    Raises:
        ServerError: If they are not those of a model of `asc-tf export`.
    """
    probabilities = read_array(outputs, "probabilities", 2)
    found = [_read_strings(outputs, name, rows) for name in ("label", "error")]
    labels, errors = (names if names is not None else [""] * rows for names in found)
    is_finite = np.isfinite(probabilities).all(axis=1).tolist()
    if len(is_finite) != rows or not probabilities.shape[1]:
        raise _make_error(f"probabilities of shape {probabilities.shape}")
    for row, is_good in enumerate(is_finite):
        if not is_good and not errors[row]:
            errors[row] = "the server gave probabilities that are not finite"
    return probabilities, labels, errors


def read_array(outputs: Any, name: str, dimensions: int) -> np.ndarray:
    """Read an output as float32; null becomes NaN.

    Raises:
        ServerError: If there is no such output, or it has other dimensions.
    """
    try:
        array = np.asarray(outputs[name], np.float32)
    except (LookupError, TypeError, ValueError):
        array = None
    if array is None or array.ndim != dimensions:
        raise _make_error(f"no {name} with {dimensions} dimensions")
    return array


def raise_first_error(outputs: Any) -> None:
    """Raise the first error of an answer.

    Raises:
        ServerError: If a clip has an error.
    """
    errors = outputs.get("error") if isinstance(outputs, dict) else None
    if not isinstance(errors, list | np.ndarray):
        return
    for error in map(read_string, errors):
        if error:
            raise ServerError(error, errors=(error,))


def cut_segments(outputs: Any) -> dict[str, np.ndarray]:
    """Cut the segments of the first clip out of results over time.

    Rows without a `start` only fill up to the longest clip of a batch, which may be the
    clip of another request.

    Returns:
        `probabilities` float32 `[segments, labels]`, `start` and `end` `[segments]` in
        seconds.

    Raises:
        ServerError: If an output is missing.
    """
    found = {
        "probabilities": read_array(outputs, "probabilities", 3)[:1],
        "start": read_array(outputs, "start", 2)[:1],
        "end": read_array(outputs, "end", 2)[:1],
    }
    if len({array.shape[:2] for array in found.values()}) > 1 or not len(found["end"]):
        raise _make_error("segments of different numbers")
    is_segment = ~np.isnan(found["start"][0])
    return {name: array[0][is_segment] for name, array in found.items()}


def describe_row(labels: Sequence[str], probabilities: np.ndarray, label: str) -> Row:
    """Describe the probabilities of a clip as `Predictor.predict_files` does.

    Args:
        labels: Class names, in the order of the probabilities.
        probabilities: float32 `[labels]`.
        label: Label that the server has given; may be empty.

    Raises:
        LookupError: If the labels do not fit the probabilities or the label.
    """
    values = [float(value) for value in probabilities]
    if len(labels) != len(values):
        raise LookupError
    named = dict(zip(labels, values, strict=True))
    label = label or labels[int(np.argmax(probabilities))]
    # A server may round the numbers of its answer.
    if named[label] < max(values) - 1e-6:
        raise LookupError
    return {"label": label, "probability": named[label], "probabilities": named}


def read_string(value: Any) -> str:
    """Read a string of an answer: text over REST, bytes over gRPC."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _read_strings(outputs: Any, name: str, rows: int) -> list[str] | None:
    """Read an output of strings; None if the model does not have it."""
    values = outputs.get(name) if isinstance(outputs, dict) else None
    if values is None:
        return None
    if not isinstance(values, list | np.ndarray) or len(values) != rows:
        raise _make_error(f"no {name} for each of {rows} clips")
    return [read_string(value) for value in values]


def _make_error(found: str) -> ServerError:
    return ServerError(f"the answer has {found}; is it a model of asc-tf export?")
