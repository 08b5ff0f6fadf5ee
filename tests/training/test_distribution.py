"""Training on several devices: here two logical CPUs, in a process of their own."""

import numpy as np
import pytest
import tiny
from processes import run_python

from asc_tf.config import Config
from asc_tf.core.errors import UsageError
from asc_tf.training import distribution

SCRIPT = """
import sys
from pathlib import Path
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
pieces = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, pieces)
from asc_tf import config
from asc_tf.training.train import train
from asc_tf.workdir import Workdir

folder = Path(sys.argv[1])
for strategy in ("one_device", "mirrored", "mirrored"):
    changed = config.read(folder / "config.toml").replace({"train.strategy": strategy})
    train(changed, Workdir(folder / strategy))
"""

CASES = {
    "float32": {
        # Batches of validation that two devices cannot share evenly.
        "evaluate__batch_size": 5,
        "train__clip_norm": 0.5,
        "train__ema": 0.8,
        "train__class_weights": "balanced",
        "train__label_smoothing": 0.1,
        "train__schedule": "plateau",
        "train__optimizer": "sgd",
        "train__weight_decay": 0.01,
    },
    "float16": {"train__precision": "mixed_float16", "train__clip_norm": 0.5},
}


@pytest.mark.slow
@pytest.mark.parametrize("case", tiny.cases(CASES, "float32"))
def test_two_devices_train_as_one_with_the_same_batches(case, tmp_path):
    corpus = tiny.write_corpus(tmp_path / "corpus")
    for clip in sorted(corpus.glob("hum/*"))[6:]:
        clip.unlink()
    # The last batch of an epoch is short: it leaves the second device less, or nothing.
    config = tiny.config(
        corpus, train__batch_size=16, model__dropout=0.0, **CASES[case]
    )
    (tmp_path / "config.toml").write_text(config.to_toml())
    done = run_python(SCRIPT, tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "on 2 devices" in done.stdout
    assert "resuming after epoch 3 of 3" in done.stdout
    histories = [
        np.genfromtxt(tmp_path / name / "history.csv", delimiter=",", names=True)
        for name in ("one_device", "mirrored")
    ]
    tolerance = 0.05 if case == "float16" else 1e-3
    for name in ("loss", "val_loss", "accuracy", "val_accuracy", "learning_rate"):
        np.testing.assert_allclose(
            histories[1][name], histories[0][name], rtol=tolerance, err_msg=name
        )


@pytest.mark.parametrize(
    ("changes", "count", "words"),
    [
        ({}, 1, "there is one device"),
        ({"train.batch_size": 15}, 2, "must be a multiple of the 2 devices"),
        ({"train.batch_size": 64}, 2, "less than train.batch_size = 64"),
        ({"frontend.placement": "model"}, 2, "frontend.placement = model mixes"),
        ({"train.jit_compile": True}, 2, "compiles a step for one device"),
    ],
)
def test_what_cannot_be_shared_is_refused_or_with_auto_trained_on_one_device(
    monkeypatch, capsys, changes, count, words
):
    class Device:
        name = "/device:GPU:0"

    monkeypatch.setattr(
        distribution.tf.config, "list_logical_devices", lambda kind: [Device()] * count
    )
    config = Config().replace({"train.strategy": "mirrored"} | changes)
    with pytest.raises(UsageError, match=r"train\.strategy = mirrored") as caught:
        distribution.choose_strategy(config, 42)
    assert words in str(caught.value)
    auto = config.replace({"train.strategy": "auto"})
    assert distribution.choose_strategy(auto, 42).num_replicas_in_sync == 1
    assert (words in capsys.readouterr().out) == (count > 1)
