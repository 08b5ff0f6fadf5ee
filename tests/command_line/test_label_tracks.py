"""Label tracks for Audacity and Raven."""

import csv
from pathlib import Path

import pytest

from asc_tf.command_line.inputs import InputFile
from asc_tf.command_line.label_tracks import FORMATS, open_track, plan_tracks
from asc_tf.core.errors import UsageError

SEGMENTS = [
    (0.0, 4.0, "park", 0.5),
    (4.0, 8.0, "park", 0.75),
    (8.0, 12.0, "bus", 1.0),
    (10.0, 14.0, "bus", 0.5),
    (18.0, 22.0, "bus", 0.25),
]


def write(path: Path, kind: str, join: bool) -> str:
    with open_track(path, FORMATS[kind], 16_000, join) as track:
        for segment in SEGMENTS:
            assert not path.exists()
            track.add(*segment)
    return path.read_text()


def test_audacity_gets_start_end_and_label_of_what_follows_each_other(tmp_path):
    assert write(tmp_path / "a.txt", "audacity", True).splitlines() == [
        "0.000000\t8.000000\tpark",
        "8.000000\t14.000000\tbus",
        "18.000000\t22.000000\tbus",
    ]


def test_without_joining_each_segment_is_a_label(tmp_path):
    lines = write(tmp_path / "a.txt", "audacity", False).splitlines()
    expected = [f"{start:.6f}\t{end:.6f}\t{name}" for start, end, name, _ in SEGMENTS]
    assert lines == expected


def test_raven_gets_a_selection_table_with_label_and_mean_score(tmp_path):
    write(tmp_path / "a.txt", "raven", True)
    with (tmp_path / "a.txt").open(newline="") as stream:
        first, second, third = csv.DictReader(stream, delimiter="\t")
    assert first == {
        "Selection": "1",
        "View": "Spectrogram 1",
        "Channel": "1",
        "Begin Time (s)": "0.000000",
        "End Time (s)": "8.000000",
        "Low Freq (Hz)": "0.0",
        "High Freq (Hz)": "8000.0",
        "Label": "park",
        "Score": "0.6250",
    }
    assert (second["Selection"], second["Score"]) == ("2", "0.7500")
    assert (third["Begin Time (s)"], third["Label"]) == ("18.000000", "bus")


@pytest.mark.parametrize("kind", FORMATS)
def test_a_label_with_tabs_and_lines_stays_in_its_column(tmp_path, kind):
    with open_track(tmp_path / "a.txt", FORMATS[kind], 16_000, True) as track:
        track.add(0.0, 1.0, "metro\tstation\nB", 1.0)
    assert "metro station B" in (tmp_path / "a.txt").read_text().splitlines()[-1]


def test_a_track_that_is_not_finished_is_not_there(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("earlier")
    with (
        pytest.raises(KeyboardInterrupt),
        open_track(path, FORMATS["raven"], 16_000, False) as track,
    ):
        for segment in SEGMENTS:
            track.add(*segment)
        raise KeyboardInterrupt
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]


def inputs(*paths: str) -> list[InputFile]:
    return [InputFile(path, Path(path).relative_to("in")) for path in paths]


def test_tracks_in_a_folder_have_the_names_of_the_recordings(tmp_path):
    files = inputs("in/a.wav", "in/x/a.flac", "in/x.y/b.c.wav")
    names = ["a.txt", "x/a.txt", "x.y/b.c.txt"]
    found = plan_tracks("audacity", tmp_path / "out", files, FORMATS["audacity"])
    assert found == [tmp_path / "out" / name for name in names]
    (found,) = plan_tracks("raven", tmp_path, files[:1], FORMATS["raven"])
    assert found == tmp_path / "a.Table.1.selections.txt"


def test_names_of_tracks_never_collide(tmp_path):
    files = inputs("in/a.wav", "in/A.flac", "in/a.wav", "in/a.wav-2", "in/b.wav")
    found = plan_tracks("audacity", tmp_path, files, FORMATS["audacity"])
    names = [path.name for path in found]
    assert names == ["a.wav.txt", "A.flac.txt", "a.wav-2.txt", "a.wav-2-2.txt", "b.txt"]


def test_one_recording_can_have_a_file_and_several_cannot(tmp_path):
    path, files = tmp_path / "labels.txt", inputs("in/a.wav", "in/b.wav")
    assert plan_tracks("audacity", path, files[:1], FORMATS["audacity"]) == [path]
    with pytest.raises(UsageError, match=r"2 recordings; name a folder \(make a"):
        plan_tracks("audacity", path, files, FORMATS["audacity"])


def test_a_track_replaces_neither_a_recording_nor_a_folder(tmp_path):
    recording = tmp_path / "a.txt"
    files = [InputFile(str(recording), Path("a.txt"))]
    for target in (tmp_path, recording):
        with pytest.raises(UsageError, match="one of the recordings"):
            plan_tracks("audacity", target, files, FORMATS["audacity"])
    (tmp_path / "b.txt").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        plan_tracks("audacity", tmp_path, inputs("in/b.wav"), FORMATS["audacity"])
