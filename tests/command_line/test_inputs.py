"""Files and folders that a command is given."""

import os
from pathlib import Path

import pytest

from asc_tf.command_line.inputs import list_inputs
from asc_tf.core.errors import UsageError

SUFFIXES = (".wav", ".flac")


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_a_folder_gives_its_audio_files_sorted_with_the_path_as_given(
    tmp_path, monkeypatch
):
    write(tmp_path / "in", "b.WAV", "a/z.flac", "a/b/c.wav", "notes.txt", ".a.wav")
    write(tmp_path / "in", ".git/x.wav", ".git/y.wav")
    monkeypatch.chdir(tmp_path)
    inputs = list_inputs(["x.ogg", "in"], SUFFIXES)
    paths = ["x.ogg", "in/a/b/c.wav", "in/a/z.flac", "in/b.WAV"]
    assert [file.path for file in inputs.files] == paths
    names = ["x.ogg", "a/b/c.wav", "a/z.flac", "b.WAV"]
    assert [file.name.as_posix() for file in inputs.files] == names
    # The hidden file and the hidden folder.
    assert inputs.notes == ["in: 3 audio files; skipped 2 hidden and 1 other files"]
    assert inputs.errors == []


@pytest.mark.parametrize("names", [(), ("notes.txt", ".hidden.wav")])
def test_a_folder_without_audio_is_refused(tmp_path, names):
    folder = write(tmp_path / "in", *names)
    folder.mkdir(exist_ok=True)
    with pytest.raises(UsageError) as caught:
        list_inputs(["a.wav", str(folder)], SUFFIXES)
    message = str(caught.value)
    assert message.startswith(f"{folder}: no audio files")
    assert message.endswith("their names end in .wav, .flac")
    assert ("(skipped 1 hidden and 1 other files)" in message) == bool(names)


def test_links_are_followed_and_end_in_a_circle(tmp_path):
    folder = write(tmp_path / "in", "a/1.wav", "b/2.wav")
    outside = write(tmp_path / "out", "3.wav")
    (folder / "a" / "up").symlink_to(folder)
    (folder / "b" / "across").symlink_to(folder / "a")
    (folder / "c").symlink_to(outside)
    (outside / "self").symlink_to(outside)
    files = list_inputs([str(folder)], SUFFIXES).files
    found = [file.name.as_posix() for file in files]
    assert found == ["a/1.wav", "b/2.wav", "c/3.wav"]


def test_a_folder_that_cannot_be_read_is_an_error_and_the_others_are_listed(
    tmp_path, monkeypatch
):
    folder = write(tmp_path / "in", "a.wav", "locked/b.wav")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    # Permissions do not bind root.
    monkeypatch.setattr(os, "scandir", refuse)
    inputs = list_inputs([str(folder)], SUFFIXES)
    assert [file.name.name for file in inputs.files] == ["a.wav"]
    assert inputs.errors == [f"{folder}/locked: cannot be read: Permission denied"]


def test_folders_that_say_nothing_of_themselves_are_each_named(tmp_path, monkeypatch):
    folder = write(tmp_path / "in", "a.wav", "x/b.wav", "y/c.wav")
    scandir, stat = os.scandir, os.stat

    def refuse(function):
        def call(path, **options):
            if os.path.basename(str(path)) in ("x", "y"):
                raise PermissionError(13, "Permission denied", str(path))
            return function(path, **options)

        return call

    monkeypatch.setattr(os, "scandir", refuse(scandir))
    monkeypatch.setattr(os, "stat", refuse(stat))
    inputs = list_inputs([str(folder)], SUFFIXES)
    assert [file.name.name for file in inputs.files] == ["a.wav"]
    assert inputs.errors == [
        f"{folder}/{name}: cannot be read: Permission denied" for name in "xy"
    ]


@pytest.mark.parametrize("word", ["missing/.", "missing/..", "/", "missing/./"])
def test_a_word_without_a_name_of_its_own_has_one(word, monkeypatch):
    monkeypatch.setattr(os.path, "isdir", lambda _: False)
    (file,) = list_inputs([word], SUFFIXES).files
    assert (file.path, file.name) == (word, Path("recording"))


def test_a_note_counts_one_file_in_the_singular(tmp_path):
    folder = write(tmp_path / "in", "a.wav", "notes.txt")
    notes = list_inputs([str(folder)], SUFFIXES).notes
    assert notes == [f"{folder}: 1 audio file; skipped 1 other file"]
