"""SavedModel to .tflite, in a process of its own.

The converter and the quantizer can end their process on a network they dislike; here
that is an error message and nothing more.
"""

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asc_tf.core.files import DiskFullError, is_disk_full, write_atomically

CALIBRATION = "calibration.float32"


def convert(
    saved_model: Path, formats: Sequence[str], segments: np.ndarray, body: str
) -> tuple[dict[str, Path], str]:
    """Convert a one-segment SavedModel, beside which the results are written.

    Args:
        saved_model: Written by `asc_tf.exporting.saved_model.write_one_segment`.
        formats: `float32` and `int8`, or one of them.
        segments: Calibration data, float32 `[n, samples]`, of the training part.
        body: Name of the model without its front-end; only this part becomes int8,
            because a quantized logarithm of a spectrum is ruined.

    Returns:
        The .tflite of each format that could be made, and why another could not.

    Raises:
        DiskFullError: If the disk is full.
    """
    folder = saved_model.parent
    # Raw bytes, because on a full disk the error of `np.save` does not say so.
    (folder / CALIBRATION).write_bytes(np.ascontiguousarray(segments, np.float32).data)
    task = {
        "saved_model": str(saved_model),
        "formats": list(formats),
        "body": body,
        "calibration_shape": segments.shape,
    }
    done = subprocess.run(
        [sys.executable, "-m", "asc_tf.exporting.tflite", json.dumps(task)],
        capture_output=True,
        text=True,
        errors="replace",
    )
    paths = {name: folder / f"{name}.tflite" for name in formats}
    made = {name: path for name, path in paths.items() if path.is_file()}
    last = (done.stderr.strip() or "no message").split("\n")[-1]
    if len(made) < len(paths) and is_disk_full(last):
        raise DiskFullError(folder)
    return made, f"the conversion failed (exit code {done.returncode}): {last}"


def main(task: str) -> None:
    """The child process: does what `task`, a JSON object, says."""
    settings = json.loads(task)
    saved_model = Path(settings["saved_model"])
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
    content = converter.convert()
    folder = saved_model.parent
    if "float32" in settings["formats"]:
        _write(folder / "float32.tflite", content)
    if "int8" in settings["formats"]:
        segments = np.fromfile(folder / CALIBRATION, np.float32)
        segments = segments.reshape(settings["calibration_shape"])
        quantized = _quantize(content, segments, settings["body"])
        _write(folder / "int8.tflite", quantized)


def _write(path: Path, content: bytes) -> None:
    """Write a file that is whole if it is there, however this process may end."""
    with write_atomically(path) as temporary:
        temporary.write_bytes(content)


def _quantize(content: bytes, segments: np.ndarray, body: str) -> bytes:
    """Quantize the body to int8; front-end and softmax stay in float.

    What is inside a loop, the steps of a recurrent layer, has int8 weights and computes
    in float.
    """
    from ai_edge_quantizer import qtyping, quantizer
    from ai_edge_quantizer.calibrator import CalibrationMode

    content, has_loops = _loops_named(content)
    work = quantizer.Quantizer(content)
    work.add_static_config(
        regex=rf".*/{body}(_\d+)?/.*",
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        activation_num_bits=8,
        weight_num_bits=8,
    )
    mode = CalibrationMode.CALIBRATION_PRESERVE_ALL_TENSORS
    if has_loops:
        work.add_dynamic_config(
            regex=rf"{LOOP}\d+/.*",
            operation_name=qtyping.TFLOperationName.FULLY_CONNECTED,
            num_bits=8,
        )
        # The other mode reads tensors that a loop has not got.
        mode = CalibrationMode.CALIBRATION_PROFILER_BASED
    with contextlib.redirect_stdout(io.StringIO()):
        ranges = work.calibrate(
            {"serving_default": [{"waveform": row[np.newaxis]} for row in segments]},
            mode=mode,
        )
        return bytes(work.quantize(ranges).quantized_model)


LOOP = "loop"


def _loops_named(content: bytes) -> tuple[bytes, bool]:
    """The same model, no two of its tensors named alike, and whether it has loops.

    The quantizer goes by names, and those inside a loop are numbers like `arg0`, the
    same in each.
    """
    from ai_edge_litert.tools import flatbuffer_utils

    model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
    loops = model.subgraphs[1:]
    if not loops:
        return content, False
    for number, graph in enumerate(loops):
        for place, tensor in enumerate(graph.tensors):
            tensor.name = f"{LOOP}{number}/{place}/".encode()
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model)), True


if __name__ == "__main__":
    main(sys.argv[1])
