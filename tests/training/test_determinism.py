"""Deterministic training, and compilation by XLA, which excludes it."""

import keras
import pytest
import tensorflow as tf
import tiny

from asc_tf.core.errors import UsageError
from asc_tf.training import keras_internals
from asc_tf.training.train import train
from asc_tf.workdir import Workdir


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    return tiny.write_features(tmp_path_factory.mktemp("features") / "features")


@pytest.mark.parametrize("is_deterministic", [True, False])
def test_operations_are_made_deterministic_unless_that_is_switched_off(
    features, tmp_path, monkeypatch, is_deterministic
):
    switched = []
    experimental = tf.config.experimental
    monkeypatch.setattr(
        experimental, "enable_op_determinism", lambda: switched.append(True)
    )
    config = tiny.features_config(features, train__deterministic=is_deterministic)
    tiny.begin(config, Workdir(tmp_path / "run"))
    assert bool(switched) == is_deterministic


def test_a_step_that_xla_compiles_learns_what_another_step_learns(
    features, tmp_path, monkeypatch
):
    compiled = []
    function = tf.function

    def noted(*arguments, **named):
        if named.get("jit_compile"):
            # Keras calls it without a function, as a decorator.
            compiled.extend(each.__name__ for each in arguments)
        return function(*arguments, **named)

    plain, jit = (Workdir(tmp_path / name) for name in ("plain", "jit"))
    config = tiny.features_config(
        features, train__deterministic=False, train__clip_norm=1.0
    ).replace({"model.dropout": 0.0})
    train(config, plain)
    monkeypatch.setattr(keras_internals.tf, "function", noted)
    train(config.replace({"train.jit_compile": True}), jit)
    assert "train_step" in compiled
    for ours, wanted in zip(tiny.history(jit), tiny.history(plain), strict=True):
        assert ours == pytest.approx(wanted, rel=1e-3)


def test_a_layer_that_xla_cannot_compile_is_named(features, tmp_path, monkeypatch):
    build = keras.layers.Dropout.__init__

    def refused(self, *arguments, **named):
        build(self, *arguments, **named)
        self.supports_jit = False

    monkeypatch.setattr(keras.layers.Dropout, "__init__", refused)
    config = tiny.features_config(
        features, train__deterministic=False, train__jit_compile=True
    )
    with pytest.raises(UsageError, match="cannot compile the layer dropout of sep"):
        train(config, Workdir(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({}, "--train.deterministic=false"),
        (
            {"train__deterministic": False, "frontend__placement": "model"},
            "--frontend.placement=dataset",
        ),
    ],
)
def test_what_xla_cannot_compile_is_refused_with_the_remedy(tmp_path, changes, remedy):
    config = tiny.config(tmp_path, train__jit_compile=True, **changes)
    with pytest.raises(UsageError, match=rf"jit_compile = true: .*{remedy}"):
        train(config, Workdir(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
