import pytest
from corpora import load, make_folders, protocol, touch
from refusals import refusal

from asc_tf.core.errors import UsageError, UserError


def test_without_a_pattern_each_clip_is_a_recording(tmp_path):
    make_folders(
        tmp_path, *(f"{x}/{n}.wav" for x in ("tram", "bus") for n in range(20))
    )
    manifest = load("folder", tmp_path)
    assert manifest.labels == ("bus", "tram")
    assert all(clip.identifier == clip.path for clip in manifest.clips)
    assert all(clip.label == clip.path.split("/")[0] for clip in manifest.clips)
    assert [len(manifest.clips_in(s)) for s in ("train", "validation", "test")] == [
        28,
        4,
        8,
    ]
    assert manifest.protocol == protocol("folder", "drawn by file, seed 0")
    manifest.check()


def test_the_first_group_of_the_pattern_is_the_identifier(tmp_path):
    make_folders(
        tmp_path,
        *(
            f"{x}/{x}-{n}-{t}.wav"
            for x in ("bus", "tram")
            for n in range(9)
            for t in "ab"
        ),
    )
    manifest = load("folder", tmp_path, identifier_pattern=r"(\w+-\d+)-[ab]\.wav$")
    assert {c.identifier for c in manifest.clips} == {
        f"{x}-{n}" for x in ("bus", "tram") for n in range(9)
    }
    manifest.check()


def test_named_groups_give_identifier_city_and_device(tmp_path):
    make_folders(tmp_path, "bus/bus-paris-7-s1.wav", "tram/tram-lyon-8-.wav")
    pattern = r"-(?P<city>\w+)-(?P<identifier>\d+)-(?P<device>\w+)?\.wav"
    clips = load("folder", tmp_path, identifier_pattern=pattern).clips
    assert [(c.identifier, c.city, c.device) for c in clips] == [
        ("7", "paris", "s1"),
        ("8", "lyon", ""),
    ]
    pattern = r"-(?P<city>\w+)-(\d+)-"
    clips = load("folder", tmp_path, identifier_pattern=pattern).clips
    assert [(c.identifier, c.city) for c in clips] == [("7", "paris"), ("8", "lyon")]


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("(", "not a regular expression"),
        (r"\d+", "has no group for the recording"),
        (r"(?P<city>bus)", "has no group for the recording"),
        (r"(\d+)\.flac", "does not match bus/bus-1.wav"),
        (r"(x)?\d\.wav", "finds no identifier in bus/bus-1.wav"),
        (r"(?P<city>bus)-(?P<identifier>\d)?", "finds no identifier in tram/"),
        (r"(?P<identifer>\d)", "unknown group identifer; did you mean identifier?"),
        (r"(?P<place>\d)", "unknown group place (known: identifier, city, device)"),
    ],
)
def test_a_pattern_that_does_not_fit_is_refused_with_itself(tmp_path, pattern, wanted):
    make_folders(tmp_path, "bus/bus-1.wav", "tram/bus-.wav")
    message = refusal(UsageError, load, "folder", tmp_path, identifier_pattern=pattern)
    assert message.startswith(f"dataset.identifier_pattern = {pattern!r}: ")
    assert wanted in message


def test_one_label_folder_is_refused_by_the_check(tmp_path):
    make_folders(tmp_path, *(f"bus/{n}.wav" for n in range(9)))
    message = refusal(UserError, load("folder", tmp_path).check)
    assert "fewer than two labels (found: bus)" in message


@pytest.mark.parametrize(
    "name",
    [
        "bus/._1.wav",
        ".Trash/bus/1.wav",
        ".cache/1.wav",
        "bus/.snapshots/1.wav",
        "__MACOSX/bus/._1.wav",
        "bus/readme.txt",
        "empty/readme.md",
        "top-level.wav",
    ],
)
def test_hidden_files_and_what_is_no_clip_are_passed_over(tmp_path, name):
    make_folders(tmp_path, "bus/1.wav", "tram/1.wav")
    before = load("folder", tmp_path)
    touch(tmp_path / name)
    (tmp_path / "bus" / "folder.wav").mkdir()
    assert load("folder", tmp_path) == before


@pytest.mark.parametrize("suffix", ["WAV", "flac", "aiff"])
def test_clips_of_any_depth_and_format_belong_to_the_uppermost_folder(tmp_path, suffix):
    make_folders(tmp_path, f"bus/day 1/take/a.{suffix}", f"tram/b.{suffix}")
    clips = load("folder", tmp_path).clips
    assert [(clip.path, clip.label) for clip in clips] == [
        (f"bus/day 1/take/a.{suffix}", "bus"),
        (f"tram/b.{suffix}", "tram"),
    ]
