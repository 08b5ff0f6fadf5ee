"""Examples to batches: copies, random channels, placement, stored features."""

import contextlib
import dataclasses
import functools
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import soundfile
import tensorflow as tf
import tiny

from asc_tf import datasets
from asc_tf.audio.scan import scan
from asc_tf.config import Audio, Config, Dataset
from asc_tf.core.errors import UsageError
from asc_tf.dsp.preprocessing import Preprocessing
from asc_tf.evaluation.evaluate import evaluate
from asc_tf.exporting.export import _make_metadata
from asc_tf.frontend import FrontendLayer
from asc_tf.manifest import Manifest
from asc_tf.pipeline import noise_banks, training_data
from asc_tf.pipeline.batches import augment_batch, make_training_batches
from asc_tf.pipeline.examples import ClipExamples, StoredExamples, clip_by_clip
from asc_tf.pipeline.feature_store import StoredFeatures
from asc_tf.pipeline.run import Run
from asc_tf.pipeline.store_features import write_features
from asc_tf.training import keras_internals
from asc_tf.training.keras_internals import InputWait
from asc_tf.training.train import train
from asc_tf.training.trainer import Trainer
from asc_tf.workdir import Workdir

PLAIN = {
    "augment__mixup_alpha": 0.0,
    "augment__time_masks": 0,
    "augment__frequency_masks": 0,
    "augment__gain_db": 0.0,
    "augment__time_roll": False,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("batches") / "corpus"
    return tiny.write_corpus(folder, recordings=4)


@pytest.fixture(scope="module")
def stereo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stereo") / "corpus"
    tiny.write_corpus(folder, recordings=4)
    for path in folder.rglob("*.wav"):
        samples, rate = soundfile.read(path)
        soundfile.write(path, np.stack([samples, 0.25 * samples], axis=1), rate)
    return folder


@functools.cache
def scanned(dataset: Dataset, audio: Audio) -> Manifest:
    splits = ("train", "validation")
    return scan(datasets.load(dataset), Path(dataset.dir), splits, audio)


def examples_of(config: Config, folder: Path) -> tuple:
    """Examples, front-end and run of a corpus."""
    manifest = scanned(config.dataset, config.audio)
    layer = FrontendLayer(config.audio.sample_rate, config.frontend)
    layer.build(
        (None, *Preprocessing.from_config(config.audio, config.evaluate).segment_shape)
    )
    if config.frontend.standardize not in ("none", "per_clip"):
        layer.set_statistics(-40.0, 20.0)
    run = Run(config, Workdir(folder / "run"), manifest)
    found = training_data.make_examples(run, layer)
    return found, layer, run


def rows_of(config: Config, folder: Path) -> tuple[list, FrontendLayer]:
    examples, layer, _ = examples_of(config, folder)
    return list(make_training_batches(examples, layer, config)), layer


class SameExamples:
    """Training examples that are all the same."""

    is_weighted = False

    def epoch(self, seed):
        features = tf.random.stateless_normal([32, 16], [1, 2])
        row = (features, tf.one_hot(0, 3), tf.ones([]))
        return tf.data.Dataset.range(12).map(lambda _: row)

    def augment_inputs(self, inputs, seed):
        return {"features": inputs}


def test_each_step_has_a_batch_and_an_augmentation_of_its_own(tmp_path):
    config = tiny.config(tmp_path, train__batch_size=4, train__epochs=1)
    layer = FrontendLayer(8000, config.frontend)
    layer.build((None, 4000))
    rows = make_training_batches(SameExamples(), layer, config)
    batches = [inputs["features"].numpy() for inputs, _ in rows]
    assert [len(batch) for batch in batches] == [4, 4, 4]
    assert not np.array_equal(batches[0], batches[1])


def test_noise_is_in_the_mid_channel_alone(tmp_path):
    changes = {"augment__noise": "white", "augment__noise_share": 1.0}
    config = tiny.config(
        tmp_path,
        **PLAIN | changes,
        audio__channels="mid_side",
        frontend__placement="model",
    )
    layer = FrontendLayer(8000, config.frontend)
    banks = noise_banks.load(config.augment, 8000, 4000, 0)
    waveforms = SimpleNamespace(is_weighted=False)
    examples = ClipExamples(waveforms, None, layer, config, banks)
    waveforms = tf.random.stateless_normal([3, 4000, 2], [1, 2])
    seed = tf.constant([3, 4], tf.int64)
    found = examples.augment_inputs(waveforms, seed)["waveform"]
    np.testing.assert_array_equal(found[..., 1], waveforms[..., 1])
    assert not np.array_equal(found[..., 0], waveforms[..., 0])


def test_noise_is_another_for_another_seed(corpus, tmp_path):
    noises = [
        examples_of(
            tiny.config(corpus, augment__noise="white", train__seed=seed), tmp_path
        )[0]._banks.noise
        for seed in (1, 2)
    ]
    assert not np.array_equal(*noises)


def test_clips_that_nobody_verified_weigh_what_is_configured(corpus, tmp_path):
    _, layer, found = examples_of(tiny.config(corpus), tmp_path)
    manifest = found.manifest
    config = tiny.config(corpus, dataset__unverified_weight=0.5)
    clips = [dataclasses.replace(clip, verified="0") for clip in manifest.clips]
    manifest = dataclasses.replace(manifest, clips=tuple(clips))
    run = Run(config, Workdir(tmp_path / "run"), manifest)
    examples = training_data.make_examples(run, layer)
    assert examples.is_weighted
    _, _, weights = next(iter(make_training_batches(examples, layer, config)))
    np.testing.assert_array_equal(weights, 0.5)


def test_copies_put_each_clip_into_an_epoch_so_many_times_each_cut_anew(
    corpus, tmp_path
):
    changes = PLAIN | {"augment__copies": 3, "train__epochs": 1}
    config = tiny.config(corpus, **changes)
    examples, layer, run = examples_of(config, tmp_path)
    clips = len(run.manifest.clips_in("train"))
    assert run.count_examples() == 3 * clips
    rows = list(make_training_batches(examples, layer, config))
    assert sum(len(targets) for _, targets in rows) == 3 * clips
    found = np.concatenate([inputs["features"] for inputs, _ in rows])
    assert len(np.unique(found.reshape(len(found), -1), axis=0)) > clips


def test_copies_of_all_segments_are_counted_too(corpus, tmp_path):
    config = tiny.config(
        corpus,
        **PLAIN,
        augment__copies=2,
        train__epochs=1,
        train__segments="all",
    )
    examples, layer, run = examples_of(config, tmp_path)
    assert run.count_examples() > 2 * len(run.manifest.clips_in("train"))
    found = list(make_training_batches(examples, layer, config))
    assert sum(len(targets) for _, targets in found) == run.count_examples()


def test_a_random_channel_is_left_right_or_their_mean(stereo, tmp_path):
    config = tiny.config(
        stereo,
        **PLAIN,
        augment__random_channel=True,
        augment__copies=8,
        train__epochs=1,
        frontend__standardize="none",
        frontend__db_reference="fixed",
        frontend__top_db=0.0,
    )
    rows, _ = rows_of(config, tmp_path)
    found = np.concatenate([inputs["features"] for inputs, _ in rows])
    loudest = found.max(axis=(1, 2))
    levels = 20 * np.log10([1, 0.25, 0.625])
    # Of whistles, whose level is alike in all clips.
    targets = np.concatenate([targets for _, targets in rows])
    whistle = loudest[targets[:, 2] == 1]
    steps = np.unique(np.round(whistle - whistle.max(), 0))
    np.testing.assert_allclose(
        np.sort(np.unique(np.round(levels))), [-12, -4, 0], atol=0.1
    )
    for level in levels:
        assert np.abs(steps - level).min() < 1.5


def test_statistics_of_a_run_with_random_channels_are_those_of_the_mean(
    stereo, tmp_path
):
    config = tiny.config(stereo, **PLAIN, augment__random_channel=True)
    examples, _, _ = examples_of(config, tmp_path / "a")
    plain, _, _ = examples_of(tiny.config(stereo, **PLAIN), tmp_path / "b")
    for one, other in zip(
        examples.training_features(), plain.training_features(), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-3)


def test_clip_by_clip_gives_what_a_batch_gives():
    layer = FrontendLayer(8000, tiny.config("x").frontend)
    waveforms = tf.random.stateless_normal([5, 4000], [1, 2])
    layer.build((None, 4000))
    np.testing.assert_allclose(
        clip_by_clip(layer, waveforms), layer(waveforms), atol=1e-4
    )


def features_in_the_model(
    config: Config, folder: Path, weighted: bool = False
) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    """Features and targets of each batch of waveforms, made as the trainer does."""
    examples, layer, _ = examples_of(config, folder)
    examples.is_weighted = weighted
    for inputs, *rest in make_training_batches(examples, layer, config):
        features, targets, *_ = augment_batch(
            layer(inputs["waveform"]),
            rest[0],
            rest[1] if weighted else None,
            inputs["seed"][0],
            config.augment,
            layer,
        )
        yield features, targets


def test_features_made_in_the_model_are_those_made_in_the_pipeline(corpus, tmp_path):
    config = tiny.config(corpus, train__epochs=1, frontend__placement="dataset")
    expected, _ = rows_of(config, tmp_path)
    config = config.replace({"frontend.placement": "model"})
    for weighted in (False, True):
        found = list(features_in_the_model(config, tmp_path, weighted))
        assert len(found) == len(expected)
        for (inputs, wanted), (features, targets) in zip(expected, found, strict=True):
            np.testing.assert_allclose(features, inputs["features"], atol=1e-4)
            np.testing.assert_allclose(targets, wanted, atol=1e-6)


@pytest.fixture(scope="module")
def placed(corpus, tmp_path_factory) -> dict[str, Workdir]:
    """A run with features made in the pipeline, and one with those of the model."""
    workdirs = {}
    for placement in ("dataset", "model"):
        config = tiny.config(
            corpus, train__epochs=2, frontend__placement=placement, model__dropout=0.0
        )
        workdirs[placement] = Workdir(tmp_path_factory.mktemp(placement) / "run")
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            train(config, workdirs[placement])
        (workdirs[placement].path / "printed").write_text(printed.getvalue())
    return workdirs


@pytest.mark.slow
def test_training_with_features_made_in_the_model_gives_the_same_losses(placed):
    histories = []
    for workdir in placed.values():
        rows = np.genfromtxt(workdir.history_file, delimiter=",", names=True)
        histories.append(np.array([rows["loss"], rows["val_loss"]]))
        assert "waiting" not in rows.dtype.names
    np.testing.assert_allclose(histories[1], histories[0], rtol=0.02)


@pytest.mark.slow
def test_a_run_says_how_long_it_waited_for_data(placed):
    said = (placed["dataset"].path / "printed").read_text()
    assert re.search(
        r"epoch 1 of 2: loss \d.*; validation loss .*, waiting \d+%\n", said
    )
    assert said.index("accuracy: share of segments, not of clips") < said.index(
        "epoch 1"
    )


def test_waiting_is_the_share_of_time_spent_in_it(monkeypatch):
    clock = SimpleNamespace(seconds=5.0)
    clock.perf_counter = lambda: clock.seconds
    monkeypatch.setattr(keras_internals, "time", clock)
    wait = InputWait()
    for _ in range(2):
        wait.begin()
        with wait.measure():
            clock.seconds += 6
        clock.seconds += 4
        assert wait.share() == 0.6


def test_a_learner_trains_the_body_alone():
    layer = FrontendLayer(8000, Config().frontend)
    layer.build((None, 8000))
    inputs = keras.Input((16, 64))
    body = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)))
    trainer = Trainer(layer, body, Config().augment)
    names = [variable.path for variable in trainer.trainable_variables]
    assert names == [variable.path for variable in body.trainable_variables]


NOISY = {
    "augment__noise": "white",
    "augment__eq_tilt_db": 3.0,
    "augment__frequency_warp": 0.1,
    "augment__mixstyle_alpha": 0.3,
    "augment__time_reverse": True,
    "augment__mixup_per": "batch",
    "augment__mask_fill": "minimum",
}


def noisy_config(corpus: Path, folder: Path, kind: str, **changes) -> Config:
    (folder / "impulses").mkdir()
    impulse = np.exp(-np.arange(200) / 20.0) * np.cos(np.arange(200))
    soundfile.write(folder / "impulses" / "a.wav", 0.5 * impulse, 8000)
    changes |= NOISY | {"augment__impulse_dir": str(folder / "impulses")}
    if kind == "pcen":
        changes |= {"augment__eq_tilt_db": 0.0, "frontend__deltas": 1}
    return tiny.config(corpus, **changes, train__epochs=2, frontend__kind=kind)


@pytest.mark.parametrize("kind", tiny.cases(["log_mel", "pcen"], "log_mel"))
def test_every_augmentation_is_the_same_twice(corpus, tmp_path, kind):
    config = noisy_config(corpus, tmp_path, kind)
    one, same = (
        [np.concatenate([tf.reshape(x, [-1]) for x in tf.nest.flatten(b)]) for b in own]
        for own, _ in (rows_of(config, tmp_path) for _ in range(2))
    )
    np.testing.assert_array_equal(np.concatenate(one), np.concatenate(same))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "placement"), [("log_mel", "model"), ("pcen", "dataset")]
)
def test_a_run_with_every_augmentation_is_the_same_twice(
    corpus, tmp_path, placement, kind
):
    config = noisy_config(corpus, tmp_path, kind, frontend__placement=placement)
    one, two = (Workdir(tmp_path / name) for name in ("one", "two"))
    for workdir in (one, two):
        train(config, workdir)
    assert one.history_file.read_text() == two.history_file.read_text()


@pytest.fixture(scope="module")
def stored(corpus, tmp_path_factory):
    """Stored features, and the configuration of a run on them."""
    config = tiny.config(corpus, **PLAIN)
    folder = tmp_path_factory.mktemp("stored") / "features"
    write_features(config, folder)
    return config.replace({"dataset.features": str(folder)})


@pytest.fixture(scope="module")
def stored_run(stored, tmp_path_factory) -> Workdir:
    """A run on stored features, which needed no audio."""
    folder = tmp_path_factory.mktemp("stored run")
    workdir = Workdir(folder / "run")
    train(stored.replace({"dataset.dir": str(folder / "away")}), workdir)
    return workdir


def test_a_run_on_stored_features_needs_no_audio_and_evaluates_alike(
    stored_run, corpus, tmp_path
):
    workdir = Workdir(shutil.copytree(stored_run.path, tmp_path / "run"))
    by_features, _ = evaluate(workdir)
    changes = {"dataset.features": "", "dataset.dir": str(corpus)}
    by_audio, _ = evaluate(workdir, "test", changes)
    assert by_features["n_clips"] == by_audio["n_clips"]
    np.testing.assert_allclose(by_features["log_loss"], by_audio["log_loss"], rtol=1e-4)
    with pytest.raises(UsageError, match=r"evaluate\.segments"):
        evaluate(workdir, "test", {"evaluate.segments": "centre"})


def test_stored_features_of_another_corpus_are_not_evaluated(
    stored, stored_run, tmp_path
):
    folder = shutil.copytree(stored.dataset.features, tmp_path / "other features")
    file = folder / "features.json"
    file.write_text(file.read_text().replace('"hum"', '"buzz"'))
    with pytest.raises(UsageError, match="its labels are hiss, buzz, whistle, those"):
        evaluate(stored_run, "test", {"dataset.features": str(folder)})


def test_stored_features_of_another_split_are_not_evaluated(stored_run, tmp_path):
    workdir = Workdir(shutil.copytree(stored_run.path, tmp_path / "run"))
    rows = workdir.manifest_file.read_text()
    assert ",test," in rows
    workdir.manifest_file.write_text(rows.replace(",test,", ",train,", 1))
    with pytest.raises(UsageError, match="split of the run"):
        evaluate(workdir)


def test_noise_of_mid_and_side_is_in_both_ears_alike():
    from asc_tf.augment.waveforms import add_noise

    generator = np.random.default_rng(0)
    left, right = 0.1 * generator.standard_normal((2, 4, 8000)).astype(np.float32)
    mixed = np.stack([(left + right) / 2, (left - right) / 2], axis=2)
    bank = generator.standard_normal((1, 16384)).astype(np.float32)
    seed = tf.constant([1, 2], tf.int64)
    noise = add_noise(mixed, seed, bank, 6.0, 6.0, is_mid_side=True) - mixed
    np.testing.assert_array_equal(noise[..., 1], 0)
    # Each ear hears what is in mid.
    power = np.mean(np.square(noise[..., 0]), axis=1)
    signal = np.mean(np.square(left) + np.square(right), axis=1) / 2
    np.testing.assert_allclose(10 * np.log10(signal / power), 6.0, atol=1e-3)


def test_stored_features_give_the_batches_of_segments_of_whole_clips(stored, tmp_path):
    config = stored.replace({"train.segments": "all", "train.epochs": 1})
    folder = StoredFeatures.open(config.dataset.features)
    layer = FrontendLayer(config.audio.sample_rate, config.frontend)
    layer.build((None, config.audio.segment_samples))
    layer.set_statistics(-40.0, 20.0)
    examples = StoredExamples(folder, layer, config)
    found = list(make_training_batches(examples, layer, config))
    own, _, run = examples_of(config.replace({"dataset.features": ""}), tmp_path)
    n_stored = dataclasses.replace(run, features=folder).count_examples()
    assert sum(len(targets) for _, targets in found) == run.count_examples() == n_stored
    some = np.concatenate([inputs["features"] for inputs, _ in found])
    wanted = np.concatenate(
        [layer.standardize(batch) for batch in own.training_features()]
    )
    some, wanted = (x.reshape(len(x), -1) for x in (some, wanted))
    np.testing.assert_allclose(
        some[np.lexsort(some.T)], wanted[np.lexsort(wanted.T)], atol=1e-5
    )


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"frontend.n_mels": 8}, "frontend.n_mels"),
        ({"audio.segment_seconds": 0.4}, "audio.segment_seconds"),
        ({"dataset.features": "nowhere"}, "no features here"),
    ],
)
def test_stored_features_of_other_settings_are_refused_by_name(
    stored, tmp_path, changes, named
):
    with pytest.raises(UsageError, match=named):
        train(stored.replace(changes), Workdir(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_a_run_cannot_change_from_audio_to_stored_features(stored, tmp_path):
    workdir, audio = Workdir(tmp_path / "run"), stored.replace({"dataset.features": ""})
    workdir.begin(audio, scanned(audio.dataset, audio.audio))
    with pytest.raises(UsageError, match=r"dataset\.features"):
        train(stored, workdir)


def test_the_exported_configuration_names_no_folder_of_sounds(corpus, tmp_path):
    folders = {"augment__noise_dir": "noise", "augment__impulse_dir": "impulses"}
    changes = {key: str(tmp_path / name) for key, name in folders.items()}
    config = tiny.config(corpus, augment__noise="folder", **changes)
    assert str(tmp_path) in config.to_toml()
    text = json.dumps(_make_metadata(config, tiny.LABELS))
    assert str(tmp_path) not in text
    assert str(corpus) not in text


def test_a_folder_without_sounds_ends_a_run_before_it_begins(corpus, tmp_path):
    (tmp_path / "empty").mkdir()
    config = tiny.config(corpus, augment__impulse_dir=str(tmp_path / "empty"))
    with pytest.raises(UsageError, match=r"augment\.impulse_dir"):
        train(config, Workdir(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
