import collections

import pytest
from corpora import (
    corpus_refusal,
    load,
    make_mini,
    protocol,
    write,
)

from asc_tf.core.errors import UserError
from asc_tf.datasets.dcase import SCENES


@pytest.mark.parametrize(
    "form",
    [
        "{scene}_{number}.wav",
        "{scene}_paris_{number}.wav",
        "{scene}_a_b-2_{number}.WAV",
        "deeper/{scene}/{scene}_x_{number}.wav",
    ],
)
def test_asc_mini_finds_scene_and_number_in_the_name(tmp_path, form):
    manifest = load("asc_mini", make_mini(tmp_path, form))
    manifest.check()
    assert manifest.labels == SCENES
    assert len(manifest.clips) == 80
    for clip in manifest.clips:
        number = int(clip.path.rpartition("_")[2].split(".")[0])
        assert clip.path == form.format(scene=clip.label, number=number)
        assert (clip.split == "test") == (number in (6, 7, 8))


SPELLINGS = ("metrostation", "metro station", "metro_station", "Metro-Station")


@pytest.mark.parametrize("scene", SPELLINGS)
def test_a_scene_of_two_words_is_one_label_however_it_is_spelled(tmp_path, scene):
    make_mini(tmp_path)
    for number in range(1, 9):
        (tmp_path / f"metro_station_{number}.wav").unlink()
        write(tmp_path / f"{scene}_{number}.wav", "")
    manifest = load("asc_mini", tmp_path)
    assert manifest.labels == SCENES
    mine = [clip for clip in manifest.clips if clip.path.startswith(f"{scene}_")]
    assert {clip.label for clip in mine} == {"metro_station"}
    assert {clip.identifier for clip in mine} == {
        f"metro_station_{number}" for number in range(1, 9)
    }
    metro = [clip for clip in manifest.clips if clip.label == "metro"]
    assert {clip.path for clip in metro} == {f"metro_{n}.wav" for n in range(1, 9)}


def test_asc_mini_validates_on_one_training_clip_of_each_scene(tmp_path):
    manifest = load("asc_mini", make_mini(tmp_path))
    drawn = collections.Counter(c.label for c in manifest.clips_in("validation"))
    assert drawn == dict.fromkeys(SCENES, 1)
    assert manifest.protocol == protocol("asc_mini")


@pytest.mark.parametrize(
    "stray",
    [
        *("harbour_1.wav", "bus_9.wav", "bus_0.wav", "bus.wav", "bus1.wav"),
        *("bus_x.wav", "metro_station_x.wav", "my_bus_1.wav", "bus_1.flac/bus_.wav"),
    ],
)
def test_asc_mini_refuses_a_name_that_does_not_fit(tmp_path, stray):
    write(make_mini(tmp_path) / stray, "")
    message = corpus_refusal(UserError, "asc_mini", tmp_path)
    assert message.startswith(f"{tmp_path / stray}: not a clip name of asc_mini")
    assert "metro_station" in message


@pytest.mark.parametrize("name", ["README.md", "._bus_1.wav", ".trash/bus_x.wav"])
def test_asc_mini_passes_over_what_is_no_clip(tmp_path, name):
    write(make_mini(tmp_path) / name, "")
    assert len(load("asc_mini", tmp_path).clips) == 80
