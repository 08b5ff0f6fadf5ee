"""Embeddings: what a frozen backbone makes of each segment, computed once and kept.

Where only the last layer of `model.name = imagenet` is trained and nothing random acts
on the examples, a segment's embedding is the same in every epoch and every run. Runs of
other learning rates, batch sizes or seeds then take it from files beside the run
folders. An epoch of clips has the order that it has without them (one of stored
features has an order of its own).

A file holds `PIECE` batches. Its name is a hash of the clips, settings, weights and
versions that its content depends on, so that another setting, or a changed clip, never
finds an old one. It has its name only when it is whole.
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
from asc_tf.manifest import Manifest
from asc_tf.models import imagenet
from asc_tf.models.precision import choose_precision
from asc_tf.pipeline.examples import Examples
from asc_tf.pipeline.feature_store import layout
from asc_tf.pipeline.waveforms import AUTOTUNE, held_segments, reading
from asc_tf.workdir import Workdir

PIECE = 10
"""Batches whose embeddings a file holds; what a killed run loses at most."""

Arrays = dict[str, np.ndarray]


def hindrance(config: Config) -> str:
    """Why embeddings cannot stand in for the examples, in words; empty if they can."""
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


def embedded(
    examples: Examples, workdir: Workdir, manifest: Manifest, config: Config
) -> Examples:
    """The examples, as `EmbeddedExamples` where they can be; else it is said why not.

    Raises:
        UserError: If a clip cannot be read, or the cache cannot be written to.
    """
    reason = hindrance(config)
    if not reason:
        return EmbeddedExamples(examples, workdir.embedding_cache, manifest, config)
    if config.model.name == "imagenet":
        print(f"the backbone works in every step: {reason}")
    return examples


class EmbeddedExamples:
    """Examples whose inputs are embeddings; see `asc_tf.pipeline.examples.Examples`.

    It knows its segments from the beginning, their embeddings when `embed` was called.

    Args:
        examples: Where the segments come from.
        folder: The cache; made when the first file is written.
        manifest: The corpus, scanned.
        config: The configuration; it has no `hindrance`.

    Raises:
        UserError: If a clip cannot be read, or the folder cannot be written to.
    """

    def __init__(
        self, examples: Examples, folder: Path, manifest: Manifest, config: Config
    ) -> None:
        self._examples, self._folder, self._config = examples, folder, config
        self._batch_size = config.evaluate.batch_size
        self.is_weighted = examples.is_weighted
        splits = config.dataset.training_splits
        self._sources = {split: _source(config, manifest, split) for split in splits}
        self._segments = {split: self._described(split) for split in splits}
        self._embedded: dict[str, dict[str, tf.Tensor]] = {}
        self._n_computed = 0
        counts = np.bincount(self._segments["train"]["example"])
        # Where batches are made, also beside a GPU.
        with tf.device("CPU:0"):
            self._ends = tf.constant(np.cumsum(counts))
            self._firsts = self._ends - counts

    def embed(self, whole: keras.Model) -> None:
        """Take the embeddings from the cache, or compute and keep them; say which.

        Args:
            whole: The model with its front-end, whose statistics and weights are set.

        Raises:
            UserError: If a clip cannot be read, or the folder cannot be written to.
        """
        began, total = time.monotonic(), 0
        *_, frontend, body = whole.layers
        backbone, _ = imagenet.split(body)
        embedding = _embedding(backbone, frontend)
        state = [
            *(tf.__version__, self._config.model.backbone),
            choose_precision(self._config.train.precision),
            _digest([*frontend.weights, *backbone.weights]),
        ]
        for split, segments in self._segments.items():
            total += len(segments["example"])
            found = {"embedding": self._pieces(split, embedding, state)}
            with tf.device("CPU:0"):
                self._embedded[split] = {
                    name: tf.constant(values)
                    for name, values in (segments | found).items()
                }
        # Decoded clips may fill half of the memory.
        del self._examples
        print(
            f"embeddings: {self._n_computed} computed, {total - self._n_computed} "
            f"taken from {self._folder}, {time.monotonic() - began:.1f} s",
            flush=True,
        )

    def count(self) -> int:
        """Training examples in an epoch."""
        return self._config.augment.copies * len(self._segments["train"]["example"])

    def epoch(self, seed: tf.Tensor) -> tf.data.Dataset:
        """Training examples of an epoch, in the order that their segments have."""
        copies, segments = self._config.augment.copies, self._embedded["train"]
        held = held_segments(
            self._config, channels.count_channels(self._config.audio.channels)
        )
        clips = tf.data.Dataset.range(len(self._ends)).repeat(copies)
        clips = clips.shuffle(
            copies * len(self._ends), seed=seed[0], reshuffle_each_iteration=False
        )

        def places(clip: tf.Tensor) -> tf.data.Dataset:
            return tf.data.Dataset.range(self._firsts[clip], self._ends[clip])

        def example(place: tf.Tensor) -> tuple:
            names = ("embedding", "target", "weight")
            return tuple(tf.gather(segments[name], place) for name in names)

        return (
            clips.flat_map(places)
            .shuffle(held, seed=seed[1], reshuffle_each_iteration=False)
            .map(example)
        )

    def prepared(self, inputs: tf.Tensor, seed: tf.Tensor) -> dict[str, tf.Tensor]:
        """Embeddings as the learner takes them."""
        del seed  # Nothing random acts on them.
        return {"features": inputs}

    def extracted(self) -> tf.data.Dataset:
        """The features of all training segments, for statistics; until `embed`."""
        return self._examples.extracted()

    def in_order(self, split: str) -> tf.data.Dataset:
        """Batches of a part's embeddings, and what is known of them."""
        rows = tf.data.Dataset.from_tensor_slices(self._embedded[split])
        return rows.batch(self._batch_size)

    def plain(self, row: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Embeddings as the learner takes them."""
        return {"features": row["embedding"]}

    def validation(self) -> tf.data.Dataset:
        """All embeddings of the validation part, with their targets."""
        return self.in_order("validation").map(
            lambda row: (self.plain(row), row["target"])
        )

    def _described(self, split: str) -> Arrays:
        """Example, target and weight of each segment of a part, in order."""
        path = self._path([self._sources[split]])
        names = ("example", "target", "weight")
        kept = _read(path, names)
        if kept is None:
            with reading():
                rows = [
                    {name: row[name].numpy() for name in names}
                    for row in self._examples.in_order(split)
                ]
            kept = {name: np.concatenate([row[name] for row in rows]) for name in names}
            _write(path, kept)
        return kept

    def _pieces(self, split: str, embedding: Callable, state: list[str]) -> np.ndarray:
        """The embedding of each segment of a part, float32 `[segments, units]`.

        Args:
            split: The part.
            embedding: From `_embedding`.
            state: What the function depends on.
        """
        size, found, rows = PIECE * self._batch_size, [], None
        pieces = range(-(-len(self._segments[split]["example"]) // size))
        for piece in tqdm(pieces, f"embed {split}", leave=False, disable=None):
            path = self._path([self._sources[split], *state, size, piece])
            kept = _read(path, ("embedding",))
            if kept is not None:
                rows = None
            else:
                if rows is None:
                    print(f"embedding segments of {split} ...", flush=True)
                    rows = self._inputs(split, piece * PIECE)
                batches = [embedding(row).numpy() for row in islice(rows, PIECE)]
                kept = {"embedding": np.concatenate(batches)}
                _write(path, kept)
                self._n_computed += len(kept["embedding"])
            found.append(kept["embedding"])
        return np.concatenate(found)

    def _inputs(self, split: str, first: int) -> Iterator[dict[str, tf.Tensor]]:
        """Batches of a part from a first one on, as the learner takes them."""
        rows = self._examples.in_order(split).skip(first)
        plain = rows.map(self._examples.plain, num_parallel_calls=AUTOTUNE)
        return iter(plain.prefetch(AUTOTUNE))

    def _path(self, identity: list[str | int]) -> Path:
        name = hash_bytes(json.dumps(identity).encode())
        return self._folder / name[:2] / f"{name[2:34]}.npz"


def _embedding(backbone: keras.Model, frontend: keras.Layer) -> Callable:
    """The function of a batch, as the learner takes it, to its embeddings."""

    @tf.function(reduce_retracing=True)
    def embedding(inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        if "waveform" in inputs:
            inputs = {"features": frontend(inputs["waveform"])}
        return tf.cast(backbone(inputs["features"], training=False), tf.float32)

    return embedding


def _source(config: Config, manifest: Manifest, split: str) -> str:
    """A hash of what the segments of a part and their features depend on."""
    stored = config.dataset.features
    place = os.path.realpath(stored or config.dataset.dir)
    identity = (
        *(__version__, place, split, layout.sections(config), manifest.labels),
        *(dataclasses.asdict(clip) for clip in manifest.clips_in(split)),
        config.evaluate.segments if split == "validation" else "all",
        hash_path(layout.FeaturesFolder(Path(stored)).features_file) if stored else "",
    )
    return hash_bytes(json.dumps(identity).encode())


def _digest(weights: Iterable[keras.Variable]) -> str:
    found = hashlib.sha256()
    for weight in weights:
        found.update(weight.numpy().tobytes())
    return found.hexdigest()


def _read(path: Path, names: Iterable[str]) -> Arrays | None:
    """The arrays of a kept file; None where there is none, or a damaged one."""
    try:
        with zipfile.ZipFile(path) as archive:
            # By the checksums, before anything in it is believed.
            if archive.testzip() is not None:
                return None
        with np.load(path, allow_pickle=False) as saved:
            return {name: saved[name] for name in names}
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile):
        return None


def _write(path: Path, arrays: Arrays) -> None:
    try:
        with FileCache(path.parent.parent, ".npz").write(path) as partial:
            write_npz(partial, arrays)
    except OSError as error:
        raise UserError(
            f"{path.parent.parent}: embeddings cannot be kept here: {error}; make "
            "room, or put the run folder where there is"
        ) from error
