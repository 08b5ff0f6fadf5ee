"""Models in LiteRT: loading, tensors and inference, with UserError for each failure.

The process that tries a model imports this module; it needs only NumPy and LiteRT.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from asc_tf.core.errors import UserError, install_hint

SIGNATURE, INPUT, OUTPUT = "serving_default", "waveform", "probabilities"
EMBEDDING = "embedding"
"""Output of a file that was exported with `--export.embedding`."""


def import_interpreter() -> Any:
    """Import the interpreter of LiteRT.

    Raises:
        UserError: If LiteRT is not installed.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise UserError(
            f"LiteRT is missing ({error}); {install_hint('edge')}"
        ) from error
    return Interpreter


def run_once(
    flatbuffer: bytes, threads: int, segment_shape: Sequence[int], n_labels: int
) -> None:
    """Load a model and classify silence and a rising signal at full scale.

    Args:
        flatbuffer: The model, without metadata.
        threads: CPU threads of one inference.
        segment_shape: Shape of a segment, `[samples]` or `[samples, 2]`.
        n_labels: Number of labels.

    Raises:
        UserError: If LiteRT refuses it, or its tensors are others.
    """
    runner = load_runner(flatbuffer, threads)
    check_signature(runner, segment_shape, n_labels)
    shape = tuple(segment_shape)
    ramp = np.linspace(-1, 1, shape[0], dtype=np.float32).reshape(
        -1, *[1] * (len(shape) - 1)
    )
    for signal in (np.zeros(shape, np.float32), np.broadcast_to(ramp, shape)):
        infer(runner, signal)


def infer(runner: Any, waveform: np.ndarray, output: str = OUTPUT) -> np.ndarray:
    """Compute an output for one segment.

    Args:
        runner: Model, as from `load_runner`.
        waveform: float32 of the shape of a segment.
        output: Name of the output.

    Returns:
        float32 `[1, width]`.

    Raises:
        UserError: If LiteRT fails.
    """
    try:
        result: np.ndarray = runner(waveform=waveform[np.newaxis])[output]
    except (RuntimeError, ValueError) as error:
        reason = _take_first_line(error)
        raise UserError(f"the model failed: {reason}; export it again") from error
    return result


def load_runner(flatbuffer: bytes, threads: int) -> Any:
    """Load a model as a signature runner of LiteRT.

    Args:
        flatbuffer: The model, without metadata.
        threads: CPU threads of one inference.

    Raises:
        UserError: If LiteRT refuses it, or is not installed.
    """
    interpreter_class = import_interpreter()
    try:
        interpreter = interpreter_class(model_content=flatbuffer, num_threads=threads)
        interpreter.allocate_tensors()
        return interpreter.get_signature_runner(SIGNATURE)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"LiteRT refuses the model: {_take_first_line(error)}; export it again"
        ) from error


def _take_first_line(error: Exception) -> str:
    """Take the first line of a message of LiteRT; the others repeat it."""
    return str(error).strip().split("\n")[0][:300]


def check_signature(runner: Any, segment_shape: Sequence[int], n_labels: int) -> None:
    """Refuse a model whose tensors are not what its metadata promise.

    Args:
        runner: Model, as from `load_runner`.
        segment_shape: Shape of a segment, `[samples]` or `[samples, 2]`.
        n_labels: Number of labels.

    Raises:
        UserError: If a tensor has another name, shape or type.
    """
    outputs = _describe_tensors(runner.get_output_details())
    embedding = outputs.pop(EMBEDDING, ((1, 0), "float32"))
    is_row = len(embedding[0]) == 2 and embedding[0][0] == 1
    if not is_row or embedding[1] != "float32":
        raise UserError(
            f"the model's {EMBEDDING} is {embedding}, not a row of float32; export it "
            "again"
        )
    segment = (1, *segment_shape)
    for kind, actual, name, shape in (
        ("input", _describe_tensors(runner.get_input_details()), INPUT, segment),
        ("output", outputs, OUTPUT, (1, n_labels)),
    ):
        wanted = {name: (shape, "float32")}
        if actual != wanted:
            raise UserError(
                f"the model's {kind} is {actual}, its metadata say {wanted}; "
                "export it again"
            )


def _describe_tensors(details: Any) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return the shape and the type of each tensor by name."""
    return {
        name: (tuple(map(int, item["shape"])), np.dtype(item["dtype"]).name)
        for name, item in details.items()
    }
