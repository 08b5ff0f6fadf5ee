"""A corpus and a configuration that train in seconds, for tests of whole runs."""

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asc_tf.config import Config
from asc_tf.workdir import Workdir

RATE = 8000
LABELS = ("hiss", "hum", "whistle")
SLOW = (pytest.mark.slow,)


def cases(names: Iterable, *quick: object) -> list:
    """Parameters of which all but the quick ones are for slow tests."""
    return [
        pytest.param(name, id=str(name), marks=() if name in quick else SLOW)
        for name in names
    ]


def clip(label: str, seed: int, seconds: float = 0.6) -> np.ndarray:
    """A clip that its label describes: float32 `[samples]`."""
    generator = np.random.default_rng([LABELS.index(label), seed])
    time = np.arange(round(seconds * RATE)) / RATE
    noise = 0.01 * generator.standard_normal(len(time))
    pitch = generator.uniform(0.9, 1.1)
    values = {
        "hiss": 0.2 * generator.standard_normal(len(time)),
        "hum": 0.3 * np.sin(2 * np.pi * 200 * pitch * time),
        "whistle": 0.3 * np.sin(2 * np.pi * 2000 * pitch * time),
    }[label]
    return np.clip(values + noise, -1, 1).astype(np.float32)


def write_corpus(folder: Path, recordings: int = 10, suffix: str = ".wav") -> Path:
    """One folder per label, two clips per recording, the lengths uneven."""
    for label in LABELS:
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(recordings):
            for take in range(2):
                values = clip(label, 2 * number + take, 0.4 + 0.1 * (number % 5))
                name = f"{label}{number}-{take}{suffix}"
                soundfile.write(folder / label / name, values, RATE)
    return folder


def config(folder: Path, **changes) -> Config:
    """A configuration for the corpus; `train__epochs=3` changes `train.epochs`."""
    tiny = {
        "dataset.name": "folder",
        "dataset.dir": str(folder),
        "dataset.identifier_pattern": r"/(.+)-\d",
        "audio.sample_rate": RATE,
        "audio.segment_seconds": 0.5,
        "frontend.n_fft": 256,
        "frontend.hop_length": 128,
        "frontend.n_mels": 16,
        "augment.time_masks": 1,
        "augment.frequency_masks": 1,
        "augment.frequency_mask_bands": 3,
        "augment.mixup_alpha": 0.3,
        "model.filters": (8, 16),
        "train.epochs": 3,
        "train.batch_size": 8,
        "train.warmup_epochs": 1.0,
        "train.learning_rate": 0.01,
        "export.calibration_segments": 16,
    }
    given = {key.replace("__", "."): value for key, value in changes.items()}
    return Config().replace(tiny | given)


def history(workdir: Workdir) -> list[dict[str, float]]:
    """The rows of history.csv; none before the first epoch has ended."""
    if not workdir.history_file.is_file():
        return []
    with workdir.history_file.open(newline="") as stream:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(stream)]
