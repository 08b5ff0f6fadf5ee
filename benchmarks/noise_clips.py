"""Clips of synthetic noise, on which benchmarks measure."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

LABELS = 10


def write_clips(
    folder: Path,
    count: int,
    seconds: float,
    rate: int,
    container: str = "WAV",
    subtype: str = "PCM_16",
    channels: int = 1,
) -> list[Path]:
    """Write clips of brown noise with a tone, which compress as real sounds do."""
    import soundfile

    generator = np.random.default_rng(0)
    samples = round(seconds * rate)
    paths = []
    for number in range(count):
        noise = generator.standard_normal((samples, channels)).cumsum(axis=0)
        noise -= np.linspace(0, 1, samples)[:, np.newaxis] * noise[-1]
        tone = np.sin(np.arange(samples) * (0.01 + 0.001 * number))
        values = 0.4 * noise / np.abs(noise).max() + 0.2 * tone[:, np.newaxis]
        paths.append(folder / f"{number}.{container.lower()}")
        with soundfile.SoundFile(
            paths[-1], "w", rate, channels, subtype, format=container
        ) as stream:
            # libsndfile crashes on a block of Ogg Vorbis of a minute.
            for block in np.array_split(values, 10):
                stream.write(block)
    return paths


def write_table(paths: Sequence[Path], labels: int = LABELS) -> dict[str, Any]:
    """Write the table of a corpus: the last clips are for validation and for test.

    Args:
        paths: Clips in one folder, to which the table is written.
        labels: Number of labels, which the clips have in turns.

    Returns:
        Settings of the corpus.
    """
    splits = [*["train"] * (len(paths) - 2), "validation", "test"]
    rows = [
        f"{path.name},{number % labels},{split}"
        for number, (path, split) in enumerate(zip(paths, splits, strict=True))
    ]
    table = "\n".join(["filename,label,split", *rows]) + "\n"
    (paths[0].parent / "clips.csv").write_text(table)
    return describe_corpus(paths[0].parent)


def describe_corpus(folder: Path | str) -> dict[str, Any]:
    """Describe the corpus in a folder by its settings."""
    return {
        **{"dataset.name": "csv", "dataset.dir": str(folder)},
        **{"dataset.csv_file": "clips.csv", "dataset.split_column": "split"},
        **{"dataset.validation": "split", "dataset.fold": -1},
    }
