"""Cache of frozen-backbone embeddings, and examples made of them.

Where only the last layer of `model.name = imagenet` is trained and nothing random acts
on the examples, the embedding of a segment is the same in every epoch and every run.
Runs with other learning rates, batch sizes or seeds then take it from files beside the
run folders. An epoch of clips has the same order as without embeddings (stored features
have an order of their own).

A file holds the embeddings of `PIECE` batches. Its name is a hash of the clips,
settings, weights and versions on which its content depends, so that other settings or a
changed clip never use an old file. A file gets its name only when it is complete.
"""

import dataclasses
import hashlib
import json
import os
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from asc_tf.config import Config
from asc_tf.core.cache import FileCache
from asc_tf.core.errors import UserError
from asc_tf.core.files import hash_bytes, hash_path, write_npz
from asc_tf.core.version import __version__
from asc_tf.dsp import channels
from asc_tf.models import imagenet
from asc_tf.models.precision import choose_precision
from asc_tf.pipeline.examples import SegmentExamples
from asc_tf.pipeline.feature_store.folder import FeaturesFolder, feature_settings
from asc_tf.pipeline.options import AUTOTUNE, plain_python, set_options
from asc_tf.pipeline.run import Run
from asc_tf.pipeline.segments import choose_shuffle_buffer

PIECE = 10
"""Number of batches in a file; a killed run loses no more embeddings than these."""

Arrays = dict[str, np.ndarray]


def explain_missing_cache(config: Config) -> str:
    """Explain why embeddings cannot replace the examples; empty if they can."""
    if config.model.name != "imagenet":
        return f"model.name = {config.model.name} has no frozen backbone"
    if config.model.train_from:
        return f"model.train_from = {config.model.train_from} trains it too"
    if config.augment.active:
        names = ", ".join(f"augment.{name}" for name in config.augment.active)
        return f"{names} makes new examples in every epoch"
    if config.train.segments != "all":
        return f"train.segments = {config.train.segments} draws them anew in each epoch"
    return ""


class EmbeddingCache:
    """Cache of the embeddings of a run's segments.

    Args:
        run: The run; `explain_missing_cache` is empty for its configuration.
        examples: Examples of the run, which the cache reads where a file is missing.
    """

    def __init__(self, run: Run, examples: SegmentExamples) -> None:
        self._examples, self._config = examples, run.config
        self._files = FileCache(run.workdir.embedding_cache, ".npz")
        self._batch_size = run.config.evaluate.batch_size
        splits = run.config.dataset.training_splits
        self._sources = {split: _hash_source(run, split) for split in splits}
        self._n_computed = 0

    def embed(self, whole: keras.Model) -> "EmbeddedExamples":
        """Read the embeddings of all segments, or compute and store them.

        Args:
            whole: Model with its front-end, whose statistics and weights are set.

        Raises:
            UserError: If the folder cannot be written to.
        """
        began, total = time.monotonic(), 0
        *_, frontend, body = whole.layers
        backbone, _ = imagenet.split(body)
        embedding = _build_embedding(backbone, frontend)
        state = [
            *(tf.__version__, self._config.model.backbone),
            choose_precision(self._config.train.precision),
            _hash_weights([*frontend.weights, *backbone.weights]),
        ]
        embedded = {}
        for split in self._sources:
            segments = self._describe_segments(split)
            count = len(segments["example"])
            total += count
            embeddings = self._embed_split(split, count, embedding, state)
            embedded[split] = segments | {"embedding": embeddings}
        print(
            f"embeddings: {self._n_computed} computed, {total - self._n_computed} "
            f"taken from {self._files.folder}, {time.monotonic() - began:.1f} s",
            flush=True,
        )
        return EmbeddedExamples(self._config, embedded, self._examples.is_weighted)

    def _describe_segments(self, split: str) -> Arrays:
        """Return the example, target and weight of each segment of a split."""
        path = self._files.locate([self._sources[split]])
        names = ("example", "target", "weight")
        arrays = _read(path, names)
        if arrays is None:
            rows = [
                {name: row[name].numpy() for name in names}
                for row in self._examples.ordered_segments(split)
            ]
            arrays = {
                name: np.concatenate([row[name] for row in rows]) for name in names
            }
            _write(self._files, path, arrays)
        return arrays

    def _embed_split(
        self, split: str, count: int, embedding: Callable, state: list[str]
    ) -> np.ndarray:
        """Return the embedding of each segment of a split.

        Args:
            split: Name of the split.
            count: Number of its segments.
            embedding: Function of `_build_embedding`.
            state: Everything on which the function depends.

        Returns:
            float32 `[segments, units]`.
        """
        size, pieces, rows = PIECE * self._batch_size, [], None
        numbers = range(-(-count // size))
        for number in tqdm(numbers, f"embed {split}", leave=False, disable=None):
            path = self._files.locate([self._sources[split], *state, size, number])
            arrays = _read(path, ("embedding",))
            if arrays is not None:
                rows = None
            else:
                if rows is None:
                    print(f"embedding segments of {split} ...", flush=True)
                    rows = self._read_inputs(split, number * PIECE)
                batches = [embedding(row).numpy() for row in islice(rows, PIECE)]
                arrays = {"embedding": np.concatenate(batches)}
                _write(self._files, path, arrays)
                self._n_computed += len(arrays["embedding"])
            pieces.append(arrays["embedding"])
        return np.concatenate(pieces)

    def _read_inputs(self, split: str, first: int) -> Iterator[dict[str, tf.Tensor]]:
        """Yield the model's inputs, batch by batch, from batch `first` on."""
        rows = self._examples.ordered_segments(split).skip(first)
        inputs = rows.map(
            plain_python(self._examples.plain_inputs), num_parallel_calls=AUTOTUNE
        )
        return iter(inputs.prefetch(AUTOTUNE))


class EmbeddedExamples:
    """Examples whose inputs are embeddings; see `asc_tf.pipeline.examples.Examples`.

    Args:
        config: Configuration of the run.
        segments: Embedding, example, target and weight of each segment, by split.
        is_weighted: Whether some clips have less weight than others.
    """

    def __init__(
        self, config: Config, segments: dict[str, Arrays], is_weighted: bool
    ) -> None:
        self._config, self.is_weighted = config, is_weighted
        counts = np.bincount(segments["train"]["example"])
        # On the CPU, where batches are made, also beside a GPU.
        with tf.device("CPU:0"):
            self._ends = tf.constant(np.cumsum(counts))
            self._firsts = self._ends - counts
            self._segments = {
                split: {name: tf.constant(values) for name, values in arrays.items()}
                for split, arrays in segments.items()
            }

    def epoch(self, seed: tf.Tensor) -> tf.data.Dataset:
        """Make the training examples of an epoch, in the order of their segments."""
        copies, segments = self._config.augment.copies, self._segments["train"]
        buffer = choose_shuffle_buffer(
            self._config, channels.count_channels(self._config.audio.channels)
        )
        clips = tf.data.Dataset.range(len(self._ends)).repeat(copies)
        clips = clips.shuffle(
            copies * len(self._ends), seed=seed[0], reshuffle_each_iteration=False
        )

        @plain_python
        def indices(clip: tf.Tensor) -> tf.data.Dataset:
            return tf.data.Dataset.range(self._firsts[clip], self._ends[clip])

        @plain_python
        def example(index: tf.Tensor) -> tuple:
            names = ("embedding", "target", "weight")
            return tuple(tf.gather(segments[name], index) for name in names)

        return (
            clips.flat_map(indices)
            .shuffle(buffer, seed=seed[1], reshuffle_each_iteration=False)
            .map(example)
        )

    def augment_inputs(
        self, inputs: tf.Tensor, seed: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Return embeddings as they are; nothing random acts on them."""
        del seed
        return {"features": inputs}

    def validation(self) -> tf.data.Dataset:
        """Make batches of all validation embeddings with their targets."""
        segments = self._segments["validation"]
        rows = tf.data.Dataset.from_tensor_slices(
            ({"features": segments["embedding"]}, segments["target"])
        )
        return set_options(rows).batch(self._config.evaluate.batch_size)


def _build_embedding(backbone: keras.Model, frontend: keras.Layer) -> Callable:
    """Build the function from inputs of the model to embeddings."""

    @tf.function(reduce_retracing=True, autograph=False)
    def embedding(inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        if "waveform" in inputs:
            inputs = {"features": frontend(inputs["waveform"])}
        return tf.cast(backbone(inputs["features"], training=False), tf.float32)

    return embedding


def _hash_source(run: Run, split: str) -> str:
    """Hash everything on which the segments of a split and their features depend."""
    config = run.config
    stored = config.dataset.features
    place = os.path.realpath(stored or config.dataset.folder)
    identity = (
        *(__version__, place, split, feature_settings(config), run.manifest.labels),
        *(dataclasses.asdict(clip) for clip in run.manifest.clips_in(split)),
        *_select_segment_settings(config, split),
        hash_path(FeaturesFolder(Path(stored)).features_file) if stored else "",
    )
    return hash_bytes(json.dumps(identity).encode())


def _select_segment_settings(config: Config, split: str) -> list[str | float]:
    """Select the settings of the segments that are validated; training has its own."""
    if split != "validation":
        return ["all"]
    evaluate = config.evaluate
    # Files of earlier versions, which had no overlap, stay of use.
    overlap = [evaluate.overlap] if evaluate.overlap else []
    return [evaluate.segments, *overlap]


def _hash_weights(weights: Iterable[keras.Variable]) -> str:
    digest = hashlib.sha256()
    for weight in weights:
        digest.update(weight.numpy().tobytes())
    return digest.hexdigest()


def _read(path: Path, names: Iterable[str]) -> Arrays | None:
    """Read the arrays of a file; None where there is no file, or a damaged one."""
    try:
        with zipfile.ZipFile(path) as archive:
            # Verify the checksums before anything in the file is used.
            if archive.testzip() is not None:
                return None
        with np.load(path, allow_pickle=False) as saved:
            return {name: saved[name] for name in names}
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile):
        return None


def _write(files: FileCache, path: Path, arrays: Arrays) -> None:
    try:
        with files.write(path) as partial:
            write_npz(partial, arrays)
    except OSError as error:
        raise UserError(
            f"{files.folder}: embeddings cannot be written here: {error}; make "
            "room, or put the run folder where there is"
        ) from error
