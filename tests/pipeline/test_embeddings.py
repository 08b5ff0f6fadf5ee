"""Embeddings of a frozen backbone: computed once, kept, and as good as examples."""

import contextlib
import dataclasses
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny

from asc_tf import cli, models
from asc_tf.augment import fold_in
from asc_tf.config import Augment, Config, Model
from asc_tf.config.augment import SWITCHES
from asc_tf.frontend import FrontendLayer
from asc_tf.models import imagenet
from asc_tf.pipeline import embeddings, prepare, training_data
from asc_tf.pipeline.batches import make_training_batches
from asc_tf.pipeline.examples import ClipExamples
from asc_tf.pipeline.feature_store import StoredFeatures
from asc_tf.pipeline.run import Run
from asc_tf.pipeline.store_features import write_features
from asc_tf.training.model_file import load_whole
from asc_tf.training.train import train
from asc_tf.workdir import Workdir

IMAGE = (32, 32, 3)


def small(include_top, weights, input_shape=None, input_tensor=None):
    """In place of MobileNetV2: as many embeddings, in seconds less."""
    assert (include_top, weights) == (False, None)
    image = keras.Input(input_shape) if input_tensor is None else input_tensor
    x = keras.layers.Conv2D(8, 3, 4, name="Conv1")(image)
    x = keras.layers.BatchNormalization(name="bn_Conv1")(x)
    x = keras.layers.Conv2D(1280, 1, name="Conv_1")(keras.layers.ReLU(name="relu")(x))
    # As Keras's own networks do: a model that begins within another one would get an
    # input layer with a number in its name.
    return keras.Model(keras.utils.get_source_inputs(image), x)


@pytest.fixture(scope="module", autouse=True)
def small_backbone():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.applications, "MobileNetV2", small)
        yield


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    keras.utils.set_random_seed(7)
    network = keras.applications.MobileNetV2(
        include_top=False, weights=None, input_shape=IMAGE
    )
    path = tmp_path_factory.mktemp("weights") / "notop.weights.h5"
    network.save_weights(path)
    return path


def config_of(folder: Path, weights: Path, **changes) -> Config:
    return tiny.config(
        folder,
        frontend__image_frames=32,
        frontend__image_bands=32,
        frontend__standardize="scalar",
        augment__time_masks=0,
        augment__frequency_masks=0,
        augment__mixup_alpha=0.0,
        model__name="imagenet",
        model__filters=(),
        model__weights=str(weights),
        train__segments="all",
        train__epochs=2,
        **changes,
    )


@pytest.fixture(scope="module")
def audio_config(tmp_path_factory, weights) -> Config:
    corpus = tiny.write_corpus(tmp_path_factory.mktemp("corpus"), recordings=4)
    return config_of(corpus, weights, audio__hop_seconds=0.1)


@pytest.fixture(scope="module")
def config(tmp_path_factory, weights) -> Config:
    """The configuration of runs from stored features."""
    folder = tiny.write_features(tmp_path_factory.mktemp("stored") / "features")
    return config_of(folder, weights, dataset__features=str(folder))


def run_of(config, workdir) -> Run:
    """A run from stored features, whose settings need not be theirs."""
    stored = StoredFeatures.open(config.dataset.features)
    return Run(config, workdir, stored.manifest, stored)


def embedded(run, statistics=()):
    """The examples of a run, embedded, and their front-end and model."""
    config = run.config
    frontend = FrontendLayer(config.audio.sample_rate, config.frontend)
    cache = embeddings.EmbeddingCache(run, training_data.make_examples(run, frontend))
    samples = config.audio.segment_samples
    shape = frontend.compute_output_shape((None, samples))[1:]
    whole = models.attach_frontend(
        frontend, models.build(config.model, shape, 3), (samples,)
    )
    if statistics:
        frontend.set_statistics(*map(np.float32, statistics))
    return cache.embed(whole), frontend, whole


@pytest.fixture(scope="module")
def kept(config, tmp_path_factory) -> SimpleNamespace:
    """Embeddings that no test changes: their workdir and the examples."""
    workdir = Workdir(tmp_path_factory.mktemp("kept") / "run")
    examples, *_ = embedded(run_of(config, workdir))
    assert len(kept_files(workdir)) == 4
    return SimpleNamespace(workdir=workdir, examples=examples)


@pytest.fixture
def copied(kept, tmp_path) -> Workdir:
    """A copy of them for tests that change it."""
    workdir = Workdir(tmp_path / "run")
    shutil.copytree(kept.workdir.embedding_cache, workdir.embedding_cache)
    return workdir


@pytest.fixture(scope="module")
def cached(audio_config, tmp_path_factory) -> SimpleNamespace:
    """A run whose last layer has learned from embeddings, and what it said of them."""
    changes = {
        "frontend.placement": "model",
        "model.dropout": 0.5,
        "train.optimizer": "sgd",
        "train.ema": 0.9,
        "train.class_weights": "balanced",
        "augment.copies": 2,
    }
    config = audio_config.replace(changes)
    workdir = Workdir(tmp_path_factory.mktemp("cached") / "run")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        train(config, workdir)
    [line] = said(printed.getvalue())
    return SimpleNamespace(config=config, workdir=workdir, line=line)


def kept_files(workdir):
    return sorted(workdir.embedding_cache.rglob("*.npz"))


def stamps(workdir):
    return [(path, path.stat().st_mtime_ns) for path in kept_files(workdir)]


def said(printed):
    return [line for line in printed.splitlines() if line.startswith("embeddings: ")]


def weights_of(workdir):
    return load_whole(workdir.model_file).get_weights()


def assert_same_segments(examples, others, atol=0.0):
    for split in ("train", "validation"):
        one, other = (each._segments[split] for each in (examples, others))
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_allclose(one[name], other[name], rtol=0, atol=atol)


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, ""),
        ({"train.batch_size": 3, "model.dropout": 0.5, "augment.copies": 2}, ""),
        ({"model.train_from": "Conv_1"}, "model.train_from = Conv_1 trains it too"),
        ({"model.name": "cp_mobile"}, "model.name = cp_mobile has no frozen backbone"),
        ({"train.segments": "random"}, "draws them anew in each epoch"),
        (
            {"augment.noise": "white", "augment.mixup_alpha": 0.2},
            "augment.noise, augment.mixup_alpha makes new examples in every epoch",
        ),
    ],
)
def test_embeddings_stand_in_where_every_epoch_sees_the_same(
    audio_config, changes, wanted
):
    found = embeddings.explain_missing_cache(audio_config.replace(changes))
    assert found.endswith(wanted)
    assert bool(found) == bool(wanted)


def test_every_field_of_augmentation_switches_one_on_or_describes_one():
    described = ("impulse_share", "mask_fill", "mixup_per", "copies")
    described += tuple(f"noise_{name}" for name in ("dir", "share"))
    described += ("noise_min_snr_db", "noise_max_snr_db", "mixstyle_share")
    described += ("time_mask_frames", "frequency_mask_bands")
    names = [field.name for field in dataclasses.fields(Augment)]
    assert sorted(names) == sorted((*SWITCHES, *described))
    assert Augment().active == ()


def test_the_two_parts_of_a_body_are_the_body_itself():
    settings = Model(name="imagenet", weights="none", dropout=0.0)
    body = models.build(settings, IMAGE, 3)
    backbone, head = imagenet.split(body)
    image = np.random.default_rng(0).uniform(0, 255, (2, *IMAGE)).astype("float32")
    np.testing.assert_allclose(head(backbone(image)), body(image), atol=1e-6)
    assert head.name == "imagenet"
    assert [weight.path for weight in head.weights] == ["logits/kernel", "logits/bias"]
    head.get_layer("logits").kernel.assign(np.ones((1280, 3)))
    np.testing.assert_array_equal(body.get_layer("logits").kernel, 1)


@pytest.mark.parametrize(
    "name", tiny.cases(imagenet.BACKBONES, "mobilenet_v2", "efficientnet_v2_b0")
)
def test_a_frozen_backbone_does_in_training_what_it_does_otherwise(name):
    settings = Model(name="imagenet", backbone=name, weights="none")
    body = models.build(settings, (75, 75, 3), 3)
    backbone, _ = imagenet.split(body)
    image = np.random.default_rng(0).uniform(0, 255, (2, 75, 75, 3)).astype("float32")
    np.testing.assert_array_equal(
        backbone(image, training=True), backbone(image, training=False)
    )


def assert_learns_without_the_cache_what_it_learned_with(
    config, cached, tmp_path, monkeypatch, capsys
):
    plain = Workdir(tmp_path / "plain" / "run")
    monkeypatch.setattr(
        embeddings, "explain_missing_cache", lambda config: "a test says so"
    )
    train(config, plain)
    printed = capsys.readouterr().out
    assert (
        "no embedding cache, the backbone runs in every step: a test says so" in printed
    )
    assert not kept_files(plain)
    ours, wanted = tiny.history(cached), tiny.history(plain)
    for here, there in zip(ours, wanted, strict=True):
        assert here == pytest.approx(there, rel=1e-3, abs=1e-4)
    for one, other in zip(weights_of(cached), weights_of(plain), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    first, last = (load_whole(w.model_file).layers[-1] for w in (cached, plain))
    assert [w.path for w in first.weights] == [w.path for w in last.weights]


@pytest.mark.slow
def test_a_last_layer_learns_the_same_with_and_without_the_cache(
    cached, tmp_path, monkeypatch, capsys
):
    assert_learns_without_the_cache_what_it_learned_with(
        cached.config, cached.workdir, tmp_path, monkeypatch, capsys
    )


@pytest.mark.slow
def test_features_of_the_pipeline_teach_the_same_with_and_without_the_cache(
    audio_config, tmp_path, monkeypatch, capsys
):
    workdir = Workdir(tmp_path / "cached" / "run")
    train(audio_config, workdir)
    assert len(said(capsys.readouterr().out)) == 1
    assert_learns_without_the_cache_what_it_learned_with(
        audio_config, workdir, tmp_path, monkeypatch, capsys
    )


def test_a_second_run_with_another_rate_and_batch_computes_nothing(cached, capsys):
    one, two = cached.workdir, Workdir(cached.workdir.path.parent / "two")
    before, folder = stamps(one), one.embedding_cache
    assert len(before) == 4
    changes = {"train.learning_rate": 0.001, "train.batch_size": 16, "train.seed": 3}
    train(cached.config.replace(changes), two)
    [second] = said(capsys.readouterr().out)
    count = int(cached.line.split()[1])
    assert count > 20
    assert cached.line.startswith(
        f"embeddings: {count} computed, 0 taken from {folder}"
    )
    assert second.startswith(f"embeddings: 0 computed, {count} taken from {folder}")
    assert stamps(one) == before
    assert not np.array_equal(weights_of(one)[-1], weights_of(two)[-1])


@pytest.mark.parametrize(
    ("changes", "fresh"),
    [
        ({"model.dropout": 0.3}, 0),
        ({"model.weights": "none"}, 2),
        ({"train.precision": "mixed_bfloat16"}, 2),
        ({"evaluate.batch_size": 99}, 2),
    ],
)
def test_what_embeddings_depend_on_has_files_of_its_own(config, changes, fresh, copied):
    embedded(run_of(config.replace(changes), copied))
    assert len(kept_files(copied)) == 4 + fresh


@pytest.mark.parametrize(
    ("changes", "others"),
    [
        ({"model.dropout": 0.3, "train.seed": 7}, set()),
        ({"frontend.n_mels": 20}, {"train", "validation"}),
        ({"dataset.dir": "/elsewhere"}, {"train", "validation"}),
        ({"evaluate.segments": "centre"}, {"validation"}),
        ({"evaluate.overlap": 0.5}, {"validation"}),
    ],
)
def test_segments_of_other_settings_have_other_names(
    config, audio_config, changes, others
):
    run = run_of(config, Workdir(Path("run")))
    before, after = (
        dataclasses.replace(run, config=each)
        for each in (audio_config, audio_config.replace(changes))
    )
    assert others == {
        split
        for split in ("train", "validation")
        if embeddings._hash_source(before, split)
        != embeddings._hash_source(after, split)
    }


def test_other_statistics_of_the_front_end_have_other_embeddings(config, copied):
    for statistics, count in (((0, 1), 4), ((0, 2), 6)):
        embedded(run_of(config, copied), statistics)
        assert len(kept_files(copied)) == count


def test_what_was_computed_before_a_stop_is_not_computed_again(
    config, kept, tmp_path, monkeypatch, capsys
):
    run = run_of(config.replace({"evaluate.batch_size": 2}), Workdir(tmp_path / "run"))
    monkeypatch.setattr(embeddings, "PIECE", 2)
    write, written = embeddings._write, []

    def stopped(files, path, arrays):
        if len(written) == 4:
            raise KeyboardInterrupt
        written.append(path)
        write(files, path, arrays)

    with monkeypatch.context() as stops:
        stops.setattr(embeddings, "_write", stopped)
        with pytest.raises(KeyboardInterrupt):
            embedded(run)
    # A table of the training segments, and three of their five pieces.
    assert kept_files(run.workdir) == sorted(written)
    written[2].unlink()
    capsys.readouterr()
    examples, *_ = embedded(run)
    [line] = said(capsys.readouterr().out)
    assert " 15 computed, 8 taken from" in line
    assert_same_segments(examples, kept.examples, atol=1e-5)


def test_a_changed_clip_is_embedded_anew(config, copied):
    run = run_of(config, copied)
    changed = run.manifest.clips_in("validation")[0]
    clips = [
        dataclasses.replace(clip, mtime_ns=1) if clip == changed else clip
        for clip in run.manifest.clips
    ]
    manifest = dataclasses.replace(run.manifest, clips=tuple(clips))
    embedded(run.with_manifest(manifest))
    assert len(kept_files(copied)) == 6


def test_damaged_files_are_computed_anew(config, kept, copied, capsys):
    contents = {path: path.read_bytes() for path in kept_files(copied)}
    for number, (path, content) in enumerate(contents.items()):
        place = len(content) // 2
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(content[:place] if number % 2 else damaged)
    examples, *_ = embedded(run_of(config, copied))
    [line] = said(capsys.readouterr().out)
    assert " 0 taken from" in line
    assert kept_files(copied) == list(contents)
    assert_same_segments(examples, kept.examples)


@pytest.mark.parametrize("placement", tiny.cases(["dataset", "model"], "dataset"))
def test_an_epoch_has_the_order_that_its_segments_would_have(
    audio_config, placement, tmp_path
):
    changes = {"augment.copies": 2, "frontend.placement": placement}
    run = prepare.prepare(audio_config.replace(changes), Workdir(tmp_path / "run"))
    examples, frontend, whole = embedded(run)
    backbone, _ = imagenet.split(models.get_body(whole))
    plain = ClipExamples(*training_data.make_waveforms(run), frontend, run.config)
    assert run.count_examples() > 2 * len(run.manifest.clips_in("train"))
    for epoch in tf.range(2, dtype=tf.int64):
        seed = fold_in(tf.constant([5, 0], tf.int64), epoch)
        ours = list(examples.epoch(seed).as_numpy_iterator())
        theirs = list(plain.epoch(seed).as_numpy_iterator())
        assert len(ours) == len(theirs) == run.count_examples()
        for (_, target, weight), wanted in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(target, wanted[1])
            assert weight == wanted[2] == 1
        places = range(0, len(ours), 17)
        waves = np.stack([theirs[place][0] for place in places])
        np.testing.assert_allclose(
            np.stack([ours[place][0] for place in places]),
            backbone(frontend(waves)),
            atol=1e-4,
        )


def test_stored_features_are_embedded_too(config, tmp_path):
    run = run_of(config, Workdir(tmp_path / "run"))
    examples, frontend, whole = embedded(run, (-40, 20))
    backbone, _ = imagenet.split(models.get_body(whole))
    rows = list(run.features.dataset("validation").as_numpy_iterator())
    images = frontend.standardize(np.stack([row["features"] for row in rows]))
    found = examples._segments["validation"]
    np.testing.assert_allclose(found["embedding"], backbone(images), atol=1e-4)
    np.testing.assert_array_equal(found["target"], [row["target"] for row in rows])


def test_without_a_validation_part_only_training_clips_are_embedded(config, tmp_path):
    config = config.replace({"dataset.validation": "none"})
    workdir = Workdir(tmp_path / "run")
    run = run_of(config, workdir)
    examples, frontend, _ = embedded(run)
    # One file of the training segments, and one of their embeddings.
    assert len(kept_files(workdir)) == 2
    batches = make_training_batches(examples, frontend, config)
    assert sum(len(targets) for _, targets in batches) == 2 * run.count_examples() == 34


@pytest.mark.slow
@pytest.mark.parametrize("validation", ["split", "none"])
def test_embeddings_of_stored_features_are_trained_on(
    audio_config, tmp_path, capsys, validation
):
    folder = tmp_path / "features"
    config = audio_config.replace(
        {"dataset.validation": validation, "train.keep": "last"}
    )
    write_features(config, folder)
    workdir = Workdir(tmp_path / "run")
    train(config.replace({"dataset.features": str(folder)}), workdir)
    [line] = said(capsys.readouterr().out)
    assert " 0 taken from" in line
    rows = tiny.history(workdir)
    assert len(rows) == 2
    assert ("val_loss" in rows[0]) == (validation == "split")


CHILD = """
import sys
import keras
from test_embeddings import small
keras.applications.MobileNetV2 = small
from asc_tf import cli
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_killed_with_9_and_started_again_it_ends_with_the_same_weights(
    audio_config, tmp_path
):
    changes = {"train.epochs": 4, "model.dropout": 0.3, "model.weights": "none"}
    config = audio_config.replace(changes)
    toml = tmp_path / "config.toml"
    toml.write_text(config.to_toml())
    whole, killed = (Workdir(tmp_path / name / "run") for name in ("whole", "killed"))
    train(config, whole)
    words = ["train", f"--config={toml}", f"--workdir={killed.path}"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, *words],
        stdout=subprocess.DEVNULL,
        env=environment,
    )
    while len(tiny.history(killed)) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(tiny.history(killed)) < 4
    assert cli.main(words) == 0
    assert whole.history_file.read_text() == killed.history_file.read_text()
    for one, other in zip(weights_of(whole), weights_of(killed), strict=True):
        np.testing.assert_array_equal(one, other)
