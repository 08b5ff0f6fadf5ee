"""Options of the pipelines that the package iterates over."""

import inspect

import numpy as np
import tensorflow as tf
import tiny

from asc_tf.core.processors import count_processors
from asc_tf.dsp.preprocessing import Preprocessing
from asc_tf.frontend import FrontendLayer
from asc_tf.pipeline import prepare, training_data
from asc_tf.pipeline.batches import make_training_batches
from asc_tf.pipeline.embeddings import EmbeddedExamples
from asc_tf.workdir import Workdir


def assert_has_options(dataset: tf.data.Dataset) -> None:
    """No autotuning, and operations of one thread in a pool of the pipeline."""
    options = dataset.options()
    assert options.autotune.enabled is False
    assert options.threading.max_intra_op_parallelism == 1
    assert options.threading.private_threadpool_size == 2 * count_processors()


def assert_all_pipelines_have_options(examples, config, *others):
    assert_has_options(make_training_batches(examples, make_frontend(config), config))
    assert_has_options(examples.validation())
    for each in others:
        assert_has_options(each)


def make_frontend(config) -> FrontendLayer:
    frontend = FrontendLayer(config.audio.sample_rate, config.frontend)
    shape = Preprocessing.from_config(config.audio, config.evaluate).segment_shape
    frontend.build((None, *shape))
    frontend.set_statistics(-40.0, 20.0)
    return frontend


def test_the_pipelines_of_audio_have_the_options(tmp_path):
    corpus = tiny.write_corpus(tmp_path / "corpus", recordings=4)
    for cache in ("none", "memory"):
        config = tiny.config(corpus, audio__cache=cache)
        run = prepare.prepare(config, Workdir(tmp_path / "run"))
        examples = training_data.make_examples(run, make_frontend(config))
        others = (examples.training_features(), examples.ordered_segments("train"))
        assert_all_pipelines_have_options(examples, config, *others)


def test_autograph_rewrites_no_function_of_a_pipeline(tmp_path, monkeypatch):
    corpus = tiny.write_corpus(tmp_path / "corpus", recordings=4)
    config = tiny.config(corpus, audio__cache="none")
    run = prepare.prepare(config, Workdir(tmp_path / "run"))
    frontend = make_frontend(config)
    stacks = []

    def extract(layer, waveforms):
        stacks.append([frame.filename for frame in inspect.stack()])
        return original(layer, waveforms)

    original = FrontendLayer.extract
    monkeypatch.setattr(FrontendLayer, "extract", extract)
    examples = training_data.make_examples(run, frontend)
    examples.training_features()
    examples.validation()
    make_training_batches(examples, frontend, config)
    assert len(stacks) == 3
    assert not [file for files in stacks for file in files if "autograph_gen" in file]


def test_the_pipelines_of_stored_features_have_the_options(tmp_path):
    config = tiny.features_config(tiny.write_features(tmp_path / "features"))
    run = prepare.prepare(config, Workdir(tmp_path / "run"))
    examples = training_data.make_examples(run, make_frontend(config))
    others = (examples.training_features(), examples.ordered_segments("train"))
    stored = run.features.batches("validation", 2)
    assert_all_pipelines_have_options(examples, config, *others, stored)


def test_the_pipelines_of_embeddings_have_the_options(tmp_path):
    arrays = {
        "embedding": np.zeros((4, 3), np.float32),
        "example": np.arange(4),
        "target": np.eye(4, 3, dtype=np.float32),
        "weight": np.ones(4, np.float32),
    }
    unmasked = {"augment__time_masks": 0, "augment__frequency_masks": 0}
    config = tiny.config(tmp_path, augment__mixup_alpha=0.0, **unmasked)
    examples = EmbeddedExamples(config, {"train": arrays, "validation": arrays}, False)
    assert_all_pipelines_have_options(examples, config)


def assert_statistics_are_constants(examples, config, frontend):
    """Pipelines have the statistics of the moment in which they were made."""

    def read(dataset) -> np.ndarray:
        return next(iter(dataset))[0]["features"].numpy()

    def make() -> list:
        batches = make_training_batches(examples, frontend, config)
        return [batches, examples.validation()]

    made = make()
    before = [read(dataset) for dataset in made]
    frontend.set_statistics(0.0, 1.0)
    for dataset, features in zip(made, before, strict=True):
        np.testing.assert_array_equal(read(dataset), features)
    for dataset, features in zip(make(), before, strict=True):
        assert np.abs(read(dataset) - features).max() > 1


def test_pipelines_of_audio_hold_the_statistics_as_constants(tmp_path):
    corpus = tiny.write_corpus(tmp_path / "corpus", recordings=4)
    config = tiny.config(corpus, audio__cache="none", augment__eq_tilt_db=3.0)
    run = prepare.prepare(config, Workdir(tmp_path / "run"))
    frontend = make_frontend(config)
    examples = training_data.make_examples(run, frontend)
    assert_statistics_are_constants(examples, config, frontend)


def test_pipelines_of_stored_features_hold_the_statistics_as_constants(tmp_path):
    config = tiny.features_config(tiny.write_features(tmp_path / "features"))
    run = prepare.prepare(config, Workdir(tmp_path / "run"))
    frontend = make_frontend(config)
    examples = training_data.make_examples(run, frontend)
    assert_statistics_are_constants(examples, config, frontend)
