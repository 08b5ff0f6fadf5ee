"""Tutorial corpus asc_mini: 80 clips of 2.5 s, eight of each of the ten urban scenes.

A file name begins with the scene, in one word, in two, or with a `_` of its own
(`metrostation_1.wav`, `metro station_1.wav`, `metro_station_1.wav`). A number from 1 to
8 follows the last `_`: numbers 1 to 5 are the training split, 6 to 8 the test split.
"""

import re
from pathlib import Path

from asc_tf.config import Dataset
from asc_tf.core.errors import UserError
from asc_tf.core.folders import list_audio
from asc_tf.datasets.corpus import Corpus, sort_clips
from asc_tf.datasets.dcase import SCENES
from asc_tf.manifest import Clip

LAYOUT = "clips like airport_1.wav or metro_station_..._8.wav, in one folder or below"
TRAIN_NUMBERS = range(1, 6)
TEST_NUMBERS = range(6, 9)

# The longest scene first: metro_station_1 is no clip of the metro.
_LONGEST_FIRST = sorted(SCENES, key=len, reverse=True)
_SCENE_WORDS = "|".join(scene.replace("_", "[ _-]?") for scene in _LONGEST_FIRST)
_NAME = re.compile(
    f"(?P<scene>{_SCENE_WORDS})" r"(_.*)?_(?P<number>\d+)",
    re.IGNORECASE,
)

_LABELS = {scene.replace("_", ""): scene for scene in SCENES}


def read_asc_mini(dataset: Dataset, directory: Path) -> Corpus:
    """Read the tutorial corpus; clips of one scene and number are one recording.

    Raises:
        UserError: Naming a file whose name has no scene, or no number from 1 to 8.
    """
    paths = list_audio(directory)
    clips = sort_clips((str(path), _make_clip(path, directory)) for path in paths)
    present = {clip.label for clip in clips}
    labels = tuple(scene for scene in SCENES if scene in present)
    return Corpus(clips, labels, LAYOUT)


def _make_clip(path: Path, directory: Path) -> Clip:
    match = _NAME.fullmatch(path.stem)
    number = int(match["number"]) if match else 0
    if not match or (number not in TRAIN_NUMBERS and number not in TEST_NUMBERS):
        raise UserError(
            f"{path}: not a clip name of asc_mini, which begins with a scene "
            f"({', '.join(SCENES)}) and ends with _ and a number from 1 to 8; rename "
            "the file or move it out of the corpus"
        )
    scene = _LABELS[re.sub("[ _-]", "", match["scene"].lower())]
    return Clip(
        path=path.relative_to(directory).as_posix(),
        label=scene,
        identifier=f"{scene}_{number}",
        split="train" if number in TRAIN_NUMBERS else "test",
    )
