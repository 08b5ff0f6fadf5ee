"""Synthetic scenes: a small corpus for acoustic scene classification, made here.

Locations, takes, devices and file names are those of the TAU Urban Acoustic Scenes
corpora in miniature: a location belongs to one scene and one city, and all devices
record the same performance at the same time. What tells the scenes apart are events and
how they unfold in time; the mean spectra overlap by design.

A quarter of the locations of every scene is held out as the test split, where one more
device records that is never heard in training. The same settings give the same corpus,
as far as platforms agree in the last bits of sines and Fourier transforms.
"""

from __future__ import annotations

import io
import json
import os
import wave
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from asc_tf.core.files import format_csv
from asc_tf.datasets.synthetic import scenes as scenes
from asc_tf.datasets.synthetic.sounds import RATE, Wave

SCENES: tuple[str, ...] = tuple(scenes.SCENES)
CITIES = ("barcelona", "helsinki", "lisbon", "london", "paris", "vienna")
TRAIN_DEVICES = ("a", "b", "c")
TEST_DEVICES = ("a", "b", "c", "s4")
COLUMNS = ("path", "label", "identifier", "city", "device", "split")

_FORMAT = "asc_tf synthetic scenes 1"


@dataclass(frozen=True)
class _Settings:
    """All that the content of the corpus depends on."""

    seed: int
    locations: int
    takes: int
    seconds: float

    def __post_init__(self) -> None:
        for name, least in (("seed", 0), ("locations", 2), ("takes", 1)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"{name} must be at least {least}, got {getattr(self, name)}"
                )
        if not 0.5 <= self.seconds <= 60:
            raise ValueError(f"seconds must be from 0.5 to 60, got {self.seconds}")


@dataclass(frozen=True)
class _Clip:
    """One file of the corpus; scene, location and take are counted from 0."""

    scene: int
    location: int
    take: int
    device: str
    split: str

    def row(self, locations: int) -> dict[str, str]:
        """Its row in meta.csv, with `locations` per scene."""
        label = SCENES[self.scene]
        city = CITIES[(self.scene + self.location) % len(CITIES)]
        identifier = f"{city}-{self.scene * locations + self.location}"
        path = f"audio/{label}-{identifier}-{self.take}-{self.device}.wav"
        values = (path, label, identifier, city, self.device, self.split)
        return dict(zip(COLUMNS, values, strict=True))


def write_scenes(
    directory: Path,
    *,
    seed: int = 0,
    locations: int = 24,
    takes: int = 1,
    seconds: float = 4.0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the synthetic scenes to a folder, unless they are there already.

    Args:
        directory: the corpus folder; created if missing.
        seed: 0 or more; another seed gives other locations and performances.
        locations: per scene, 2 or more; a quarter of them is the test split.
        takes: performances per location, each recorded by all devices.
        seconds: length of every clip, 0.5 to 60.
        progress: called after each file with the number of files written and of all.

    Returns:
        The path of `meta.csv`. It is written last: where it is, the corpus is complete.

    Raises:
        ValueError: a setting is out of its range, or `directory` holds files that this
            function did not write. Nothing is changed then.
    """
    directory = Path(directory)
    settings = _Settings(seed, locations, takes, float(seconds))
    clips = list(_clips(settings))
    meta = directory / "meta.csv"
    present = _own_files(directory)
    if _read_settings(directory) == settings and present >= _names(settings):
        return meta
    _remove(directory, present)
    (directory / "audio").mkdir(parents=True, exist_ok=True)
    _write(directory / "settings.json", _describe(settings))
    for done, (clip, waveform) in enumerate(_recordings(clips, settings), start=1):
        device = scenes.DEVICES[clip.device]
        path = directory / clip.row(locations)["path"]
        _write(path, _wav(waveform, device))
        if progress is not None:
            progress(done, len(clips))
    rows = (clip.row(locations) for clip in clips)
    _write(meta, format_csv(COLUMNS, rows).encode())
    return meta


def _clips(settings: _Settings) -> Iterator[_Clip]:
    """All clips; those of one performance follow each other."""
    held_out = max(1, round(settings.locations / 4))
    for scene in range(len(SCENES)):
        for location in range(settings.locations):
            test = location >= settings.locations - held_out
            split, devices = (
                ("test", TEST_DEVICES) if test else ("train", TRAIN_DEVICES)
            )
            for take in range(settings.takes):
                for device in devices:
                    yield _Clip(scene, location, take, device, split)


def _recordings(
    clips: list[_Clip], settings: _Settings
) -> Iterator[tuple[_Clip, Wave]]:
    """Each clip with its waveform `[samples, channels]`."""
    size = 2 * round(settings.seconds * RATE / 2)
    here, now = None, None
    for clip in clips:
        place = (settings.seed, clip.scene, clip.location)
        if place != here:
            here, now = place, None
            scene = scenes.SCENES[SCENES[clip.scene]]
            location = scenes.locate(scene, size, _generator(*place))
        if clip.take != now:
            now = clip.take
            sound = scenes.perform(location, size, _generator(*place, 1, now))
        ear = TEST_DEVICES.index(clip.device)
        rng = _generator(*place, 2, now, ear)
        yield clip, scenes.record(sound, size, scenes.DEVICES[clip.device], rng)


def _generator(*numbers: int) -> np.random.Generator:
    """A generator that depends on these numbers only."""
    return np.random.default_rng(np.random.SeedSequence(numbers))


def _wav(waveform: Wave, device: scenes.Device) -> bytes:
    """A PCM WAV file of `[samples, channels]` in [-1, 1]."""
    width = device.sample_width
    integers = np.rint(waveform * (2 ** (8 * width - 1) - 1)).astype("<i4")
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(device.channels)
        writer.setsampwidth(width)
        writer.setframerate(device.sample_rate)
        writer.writeframes(integers[..., None].view(np.uint8)[..., :width].tobytes())
    return file.getvalue()


def _describe(settings: _Settings) -> bytes:
    """The content of settings.json."""
    return json.dumps({"format": _FORMAT, **asdict(settings)}, indent=2).encode()


def _read_settings(directory: Path) -> _Settings | None:
    """The settings of the corpus in `directory`, None if there is none of ours."""
    try:
        content = json.loads((directory / "settings.json").read_bytes())
        return _Settings(**content) if content.pop("format") == _FORMAT else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _names(settings: _Settings) -> set[str]:
    """All files of a corpus, relative to its folder."""
    audio = {clip.row(settings.locations)["path"] for clip in _clips(settings)}
    return {"settings.json", "meta.csv"} | audio


def _own_files(directory: Path) -> set[str]:
    """The files in `directory`, which must all be ours.

    Ours are the files that the settings found there call for, whole or half written.
    """
    found = {
        path.relative_to(directory).as_posix()
        for path in directory.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }
    settings = _read_settings(directory)
    own = _names(settings) if settings else set()
    own |= {name + ".part" for name in own | {"settings.json"}}
    if foreign := sorted(found - own):
        raise ValueError(
            f"{directory} holds files that are not part of a synthetic corpus, such as "
            f"{foreign[0]}; choose an empty or new directory"
        )
    return found


def _remove(directory: Path, names: set[str]) -> None:
    """Delete these files, first the one that says the corpus is complete."""
    for name in sorted(names - {"settings.json"}, key=lambda name: name != "meta.csv"):
        (directory / name).unlink()


def _write(path: Path, content: bytes) -> None:
    """Write a file under a temporary name first, so that it is never half there."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    os.replace(part, path)
