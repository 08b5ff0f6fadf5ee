"""Synthetic scenes: a small corpus for acoustic scene classification.

It is a miniature of the TAU Urban Acoustic Scenes corpora, with the same kind of
locations, takes, devices and file names: a location belongs to one scene and one city,
and all devices record the same performance at the same time. The scenes differ in their
events and in how these unfold in time; the mean spectra overlap by design.

A quarter of the locations of every scene is the test split, which has one more device
than the training split. The same settings give the same corpus, as far as platforms
agree in the last bits of sines and Fourier transforms.
"""

import io
import json
import wave
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from asc_tf.core.files import lock_file, write_atomically, write_csv, write_text
from asc_tf.datasets.synthetic import scenes
from asc_tf.datasets.synthetic.sounds import RATE, Wave

SCENES: tuple[str, ...] = tuple(scenes.SCENES)
CITIES = ("barcelona", "helsinki", "lisbon", "london", "paris", "vienna")
TRAIN_DEVICES = ("a", "b", "c")
TEST_DEVICES = ("a", "b", "c", "s4")
COLUMNS = ("path", "label", "identifier", "city", "device", "split")

_FORMAT = "asc_tf synthetic scenes 1"


@dataclass(frozen=True)
class _Settings:
    """Settings that the content of the corpus depends on."""

    seed: int
    locations: int
    takes: int
    seconds: float


@dataclass(frozen=True)
class _Clip:
    """File of the corpus; scene, location and take are counted from 0."""

    scene: int
    location: int
    take: int
    device: str
    split: str

    def row(self, locations: int) -> dict[str, str]:
        """Make the row of meta.csv, with `locations` per scene."""
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
        directory: Folder of the corpus; created if missing.
        seed: Random seed, 0 or more, of locations and performances.
        locations: Locations per scene, 2 or more; a quarter of them is the test split.
        takes: Performances per location, each recorded by all devices.
        seconds: Duration of every clip in seconds, 0.5 to 60.
        progress: Callback after each file with the number of files written and of all.

    Returns:
        Path of `meta.csv`, which is written last: if it exists, the corpus is complete.

    Raises:
        ValueError: If `directory` holds complete scenes of other settings, or files
            that this function did not write. Nothing is changed then.
        UserError: If another process is writing the scenes.
    """
    directory = Path(directory)
    settings = _Settings(seed, locations, takes, float(seconds))
    meta = directory / "meta.csv"
    if _is_complete(directory, settings):
        return meta
    refusal = f"{directory}: another process is writing the scenes; wait for it"
    with lock_file(directory / ".lock", refusal):
        # The other process may have ended meanwhile.
        if not _is_complete(directory, settings):
            _write_corpus(directory, settings, progress)
    return meta


def _is_complete(directory: Path, settings: _Settings) -> bool:
    """Check whether a folder has a corpus.

    Raises:
        ValueError: If it has a complete corpus of other settings, or other files.
    """
    present, found = _list_own_files(directory), _read_settings(directory)
    if "meta.csv" in present and found and found != settings:
        others = ", ".join(f"{name} = {value}" for name, value in asdict(found).items())
        raise ValueError(
            f"{directory} holds scenes of other settings ({others}), which runs may "
            "need; name a new folder, or delete this one"
        )
    return found == settings and present >= _list_names(settings)


def _write_corpus(
    directory: Path,
    settings: _Settings,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Write all files, in place of those that an interrupted process has left."""
    # The table goes first: it says that the corpus is complete.
    (directory / "meta.csv").unlink(missing_ok=True)
    for name in _list_own_files(directory) - {"settings.json"}:
        (directory / name).unlink()
    (directory / "audio").mkdir(exist_ok=True)
    described = {"format": _FORMAT, **asdict(settings)}
    write_text(directory / "settings.json", json.dumps(described, indent=2))
    clips = list(_list_clips(settings))
    for done, (clip, waveform) in enumerate(_record_clips(clips, settings), start=1):
        device = scenes.DEVICES[clip.device]
        path = directory / clip.row(settings.locations)["path"]
        with write_atomically(path) as temporary:
            temporary.write_bytes(_encode_wav(waveform, device))
        if progress is not None:
            progress(done, len(clips))
    rows = (clip.row(settings.locations) for clip in clips)
    write_csv(directory / "meta.csv", COLUMNS, rows)


def _list_clips(settings: _Settings) -> Iterator[_Clip]:
    """List all clips; those of one performance follow each other."""
    held_out = max(1, round(settings.locations / 4))
    for scene in range(len(SCENES)):
        for location in range(settings.locations):
            test = location >= settings.locations - held_out
            split = "test" if test else "train"
            for take in range(settings.takes):
                for device in TEST_DEVICES if test else TRAIN_DEVICES:
                    yield _Clip(scene, location, take, device, split)


def _record_clips(
    clips: list[_Clip], settings: _Settings
) -> Iterator[tuple[_Clip, Wave]]:
    """Synthesise each clip: waveform `[samples, channels]`."""
    size = 2 * round(settings.seconds * RATE / 2)
    current_place, current_take = None, None
    for clip in clips:
        place = (settings.seed, clip.scene, clip.location)
        if place != current_place:
            current_place, current_take = place, None
            scene = scenes.SCENES[SCENES[clip.scene]]
            location = scenes.locate(scene, size, _make_generator(*place))
        if clip.take != current_take:
            current_take = clip.take
            rng = _make_generator(*place, 1, clip.take)
            performance = scenes.perform(location, size, rng)
        device = scenes.DEVICES[clip.device]
        device_id = TEST_DEVICES.index(clip.device)
        rng = _make_generator(*place, 2, clip.take, device_id)
        yield clip, scenes.record(performance, size, device, rng)


def _make_generator(*numbers: int) -> np.random.Generator:
    """Make a generator that depends on these numbers only."""
    return np.random.default_rng(np.random.SeedSequence(numbers))


def _encode_wav(waveform: Wave, device: scenes.Device) -> bytes:
    """Encode a waveform `[samples, channels]` in [-1, 1] as a PCM WAV file."""
    width = device.sample_width
    integers = np.rint(waveform * (2 ** (8 * width - 1) - 1)).astype("<i4")
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(device.channels)
        writer.setsampwidth(width)
        writer.setframerate(device.sample_rate)
        writer.writeframes(integers[..., None].view(np.uint8)[..., :width].tobytes())
    return file.getvalue()


def _read_settings(directory: Path) -> _Settings | None:
    """Read the settings of the corpus in `directory`; None if there is none of ours."""
    try:
        content = json.loads((directory / "settings.json").read_bytes())
        return _Settings(**content) if content.pop("format") == _FORMAT else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _list_names(settings: _Settings) -> set[str]:
    """List all files of a corpus, relative to its folder."""
    audio = {clip.row(settings.locations)["path"] for clip in _list_clips(settings)}
    return {"settings.json", "meta.csv"} | audio


def _list_own_files(directory: Path) -> set[str]:
    """List the files in `directory`, which must all be files of a corpus of ours.

    These are the files that belong to the settings in the folder, complete or not.
    Hidden files are passed over.
    """
    present = {
        path.relative_to(directory).as_posix()
        for path in directory.rglob("*")
        if (path.is_symlink() or not path.is_dir()) and not path.name.startswith(".")
    }
    settings = _read_settings(directory)
    own = _list_names(settings) if settings else set()
    if foreign := sorted(present - own):
        raise ValueError(
            f"{directory} holds files that are not part of a synthetic corpus, such as "
            f"{foreign[0]}; choose an empty or new directory"
        )
    return present
