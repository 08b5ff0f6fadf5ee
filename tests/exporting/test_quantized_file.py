"""The simulation of training against the int8 file: the same steps and answers."""

import zlib

import keras
import numpy as np
import pytest
import tiny
from networks import SMALL, spread_answers

from asc_tf import models
from asc_tf.config import Frontend, Model
from asc_tf.exporting.conversion import tflite
from asc_tf.exporting.conversion.worker import Conversion
from asc_tf.exporting.saved_model import (
    expose_parts,
    find_embedding_scope,
    write_one_segment,
)
from asc_tf.frontend import FrontendLayer

pytest.importorskip("tf_keras")
pytest.importorskip("tensorflow_model_optimization")

# LiteRT warns of the memory of the activations.
pytestmark = pytest.mark.filterwarnings("ignore:Warning. Enabling")

NETWORKS = {
    **SMALL,
    "separable_cnn": Model(filters=(8, 12)),
    "cp_mobile": Model(name="cp_mobile", filters=(8, 12, 16)),
}
LABELS = 3


def make_waveforms(count: int, first: int = 0) -> np.ndarray:
    clips = [tiny.clip(tiny.LABELS[n % 3], first + n, 1.0) for n in range(count)]
    return np.stack(clips)


def make_network(settings: Model) -> keras.Model:
    """A network whose batch norms have statistics, and whose answers differ."""
    keras.utils.set_random_seed(3)
    waveforms = make_waveforms(24)
    frontend = FrontendLayer(8000, Frontend(n_fft=256, hop_length=128, n_mels=40))
    features = frontend(waveforms).numpy()
    frontend.set_statistics(features.mean((0, 1)), features.std((0, 1)))
    features = frontend(waveforms)
    # Without momentum, they have the statistics of one batch.
    body = models.build(settings, features.shape[1:], LABELS, momentum=0.0)
    body(features, training=True)
    spread_answers(body, features, deviation=2.0)
    return models.attach_frontend(frontend, body, waveforms.shape[1:])


def make_twin(whole: keras.Model, settings: Model, features: np.ndarray):
    """The quantized twin, with ranges of some of the features."""
    from asc_tf.exporting.fine_tuning.quantized_twin import QuantizedTwin

    twin = QuantizedTwin(models.get_body(whole), settings, seed=1)
    twin.calibrate([features[:8], features[8:16]])
    return twin


def write_file(whole: keras.Model, folder, learned: dict, name: str = "int8_qat"):
    """Convert a network as the child process of an export does."""
    folder.mkdir(exist_ok=True)
    write_one_segment(expose_parts(whole), folder / "saved_model")
    scope = find_embedding_scope(whole)
    segments = make_waveforms(6, 100)
    task = {
        **{"folder": str(folder), "body": scope.split("/")[0], "scope": scope},
        **{"has_embedding": False, "separate": False, "percentile": 99.9},
        **{"ranges": "min_max", "learned": learned},
        "calibration": tflite._write_segments(folder / "calibration", segments),
    }
    conversion = Conversion(task)
    for step in (tflite.BASE, tflite.RANGES, name):
        notes = conversion.run_step(step)
    return folder / f"{name}.tflite", notes


def run(path, waveforms: np.ndarray) -> np.ndarray:
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(path)).get_signature_runner("serving_default")
    rows = [runner(waveform=each[np.newaxis])["probabilities"] for each in waveforms]
    return np.concatenate(rows)


def count_steps(ours: np.ndarray, theirs: np.ndarray, step: float) -> np.ndarray:
    """Differences of the logits of probabilities, in steps of the int8 logits."""
    logits = [np.log(np.maximum(each, 1e-30)) for each in (ours, theirs)]
    centred = [each - each.mean(axis=1, keepdims=True) for each in logits]
    return np.abs(centred[0] - centred[1]) / step


@pytest.mark.parametrize("name", tiny.cases(NETWORKS, "separable_cnn"))
def test_the_simulation_gives_the_answers_of_the_int8_file(name, tmp_path):
    whole = make_network(NETWORKS[name])
    waveforms = make_waveforms(24)
    features = whole.layers[1](waveforms).numpy()
    twin = make_twin(whole, NETWORKS[name], features)
    path, notes = write_file(whole, tmp_path, twin.ranges())
    assert notes["ranges"] == {"chosen": "learned"}
    found = run(path, waveforms)
    simulated = twin(features, training=False).numpy()
    low, high = twin.ranges()["logits"]
    step = (high - low) / 255
    ours = count_steps(simulated, found, step)
    floats = count_steps(whole(waveforms).numpy(), found, step)
    # Single roundings differ by one step; the depth of cp_mobile amplifies them.
    assert ours.mean() < (6 if name == "cp_mobile" else 1.2)
    # Nearer to the file than the network in float is, twice at least.
    assert ours.mean() < 0.5 * floats.mean()
    assert np.abs(simulated - found).max() < (0.15 if name == "cp_mobile" else 0.05)


@pytest.mark.slow
def test_pruned_weights_are_zero_in_the_int8_file_which_compresses_better(tmp_path):
    """Batch norms are folded into the kernels before they become int8."""
    whole = make_network(NETWORKS["separable_cnn"])
    dense, _ = write_file(whole, tmp_path / "dense", {}, "int8")
    zeros = {}
    for layer in models.get_body(whole).layers:
        kernel, *others = layer.get_weights() or [np.zeros(1)]
        if kernel.ndim in (2, 4) and "depthwise" not in layer.name:
            kernel[np.abs(kernel) < np.median(np.abs(kernel))] = 0
            layer.set_weights([kernel, *others])
            # In the file the output channels come first.
            zeros[layer.name] = np.moveaxis(kernel == 0, -1, 0)
    path, _ = write_file(whole, tmp_path, {}, "int8_pruned")
    kernels = read_kernels(path)
    for name, is_zero in zeros.items():
        (found,) = [each for each in kernels if each.shape == is_zero.shape]
        assert np.all(found[is_zero] == 0), name
        assert np.mean(found == 0) == pytest.approx(0.5, abs=0.06), name
        kernels = [each for each in kernels if each is not found]
    assert all(np.mean(each == 0) < 0.06 for each in kernels)
    sizes = [len(zlib.compress(file.read_bytes(), 9)) for file in (path, dense)]
    assert path.stat().st_size == dense.stat().st_size
    assert sizes[0] < sizes[1] - sum(each.sum() for each in zeros.values()) / 4


def read_kernels(path) -> list[np.ndarray]:
    """Read the int8 constants of more than one axis."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    return [
        interpreter.get_tensor(each["index"])
        for each in interpreter.get_tensor_details()
        if each["dtype"] == np.int8
        and len(each["quantization_parameters"]["scales"]) > 1
    ]
