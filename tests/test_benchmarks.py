"""Benchmarks that run on another kind of machine than the tests do."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.py"


def load_module(path, monkeypatch):
    spec = importlib.util.spec_from_file_location(f"benchmark_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.syspath_prepend(str(path.parent))
    # Dataclasses look their module up.
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def gpu():
    with pytest.MonkeyPatch.context() as patch:
        yield load_module(SCRIPT, patch)


def test_every_known_bug_fits_the_present_code(monkeypatch):
    bugs = load_module(SCRIPT.with_name("mutations_of_code.py"), monkeypatch)
    faults = {each.name: each.find_fault(bugs.ROOT) for each in bugs.read_mutations()}
    assert {name: fault for name, fault in faults.items() if fault} == {}


def test_the_gpu_benchmark_leaves_out_what_train_refuses(gpu):
    from absl import flags

    flags.FLAGS(["gpu.py"])
    rows = list(gpu.list_combinations(has_gpu=True))
    # Three precisions, two placements and two kinds of operations; XLA needs one each.
    assert len(rows) == 3 * (2 * 2 + 1)
    for row in rows:
        if row["train.jit_compile"]:
            assert not row["train.deterministic"]
            assert row["frontend.placement"] == "dataset"
    assert len(list(gpu.list_combinations(has_gpu=False))) == 4


@pytest.mark.parametrize("name", ["ResourceExhaustedError", "InternalError"])
def test_the_gpu_benchmark_doubles_the_batch_until_memory_is_exhausted(gpu, name):
    sizes = []

    def step(batches):
        features, targets = next(batches)
        assert len(features["features"]) == len(targets)
        sizes.append(len(targets))
        if len(targets) > 20:
            raise getattr(tf.errors, name)(None, None, "out of memory")
        return {"loss": tf.constant(0.5)}

    batch = ({"features": tf.zeros([3, 2])}, tf.zeros([3, 4]))
    assert gpu.find_largest_batch(step, batch) == 12
    assert sizes == [6, 12, 24]


@pytest.mark.slow
def test_the_gpu_benchmark_writes_its_table_without_a_gpu(tmp_path):
    table = tmp_path / "table.md"
    sizes = ["--clips=12", "--batch_size=4", "--steps=2", "--deterministic=true"]
    done = subprocess.run(
        [sys.executable, SCRIPT, *sizes, f"--output={table}"],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    head, _, columns, _, *rows = table.read_text().splitlines()
    assert head.startswith("esa3_cnn_both, batches of 4, on CPU, TensorFlow 2.")
    assert columns.split(" | ")[-4:-1] == ["images / s", "waiting", "peak MB"]
    assert [row.split(" | ")[1] for row in rows] == ["dataset", "model"]
    for row in rows:
        images, waiting, peak, largest = row.strip(" |").split(" | ")[4:]
        assert float(images) > 0 and float(waiting.rstrip("%")) <= 100
        assert float(peak) > 100
        assert largest == "-"
