"""Kept audio: which windows, whole files, the quota, and privacy."""

import errno
import os
import wave
from pathlib import Path

import numpy as np
import pytest
from simulation import NOON, RATE, FakeClock, World, blocks, tone

from asc_tf.core.errors import UserError
from asc_tf.edge.listening import kept_audio
from asc_tf.edge.listening.daily_tables import DailyTables
from asc_tf.edge.listening.decisions import DecisionSettings
from asc_tf.edge.listening.kept_audio import KeptAudio
from asc_tf.edge.listening.listener import Settings

WINDOW_BYTES = 44 + 2 * RATE


def listen(
    folder, script, mode="all", quota=10**9, threshold=0.0, private=(), **options
):
    outputs = lambda status: [KeptAudio(mode, folder, quota, threshold, status)]  # noqa: E731
    return World(
        [script],
        "stdin",
        outputs=outputs,
        settings=Settings(private=private),
        decisions=DecisionSettings(threshold=threshold),
        **options,
    ).run()


def names(folder):
    return sorted({path.name for path in folder.iterdir()} - {".lock_audio"})


def test_a_kept_file_holds_the_samples_of_its_window(tmp_path):
    listen(tmp_path / "new", [*blocks(1, 0.2), *blocks(1, 0.5)])
    assert names(tmp_path / "new") == [
        "20260328-120000_s1_w0_dog_0.80.wav",
        "20260328-120001_s1_w1_rain_0.80.wav",
    ]
    with wave.open(
        str(tmp_path / "new" / "20260328-120001_s1_w1_rain_0.80.wav")
    ) as file:
        assert (file.getframerate(), file.getnchannels()) == (RATE, 1)
        samples = np.frombuffer(file.readframes(RATE), "<i2")
    expected = np.frombuffer(tone(1, 0.5), "<i2")
    assert np.abs(samples - expected.astype(int)).max() <= 1


def test_only_uncertain_windows_are_kept_if_wanted(tmp_path):
    listen(tmp_path, blocks(2), "uncertain", threshold=0.7)
    assert names(tmp_path) == []
    listen(tmp_path, blocks(2), "uncertain", threshold=0.9)
    assert len(names(tmp_path)) == 2


def test_no_sample_of_a_private_window_is_kept(tmp_path):
    """Windows of 1 s begin every 0.25 s; speech is louder than everything else."""
    script = [*blocks(5, 0.5), *blocks(2, 0.95), *blocks(5, 0.5)]
    world = listen(tmp_path, script, private=("speech",), hop=RATE // 4)
    private = [r.window for r in world.recorder.reports if r.is_private]
    assert len(private) >= 5
    first, last = private[0].start, private[-1].end
    kept = [int(name.split("_w")[1].split("_")[0]) for name in names(tmp_path)]
    assert kept
    for report in world.recorder.reports:
        if report.row and report.row["window"] in kept:
            assert report.window.end <= first or report.window.start >= last
    # All others are kept.
    free = [r for r in world.recorder.reports if r.row]
    free = [r for r in free if r.window.end <= first or r.window.start >= last]
    assert len(kept) == len(free)


def test_the_oldest_files_make_room_and_files_of_others_stay(tmp_path):
    (tmp_path / "mine.wav").write_bytes(b"x" * 10_000)
    listen(tmp_path, blocks(3), quota=3 * WINDOW_BYTES)
    world = listen(tmp_path, blocks(2, 0.2), quota=3 * WINDOW_BYTES)
    kept = [name for name in names(tmp_path) if name != "mine.wav"]
    assert len(kept) == 3
    assert world.status.describe()["audio"]["removed"] == 2
    assert sum("dog" in name for name in kept) == 2
    assert (tmp_path / "mine.wav").stat().st_size == 10_000


def test_unfinished_files_of_a_power_cut_are_removed(tmp_path):
    left = ".20260328-120000_s1_w0_dog_0.80.0123abcd-1-0123abcd.partial.wav"
    (tmp_path / left).write_bytes(b"RIFF")
    (tmp_path / ".other.partial.wav").write_bytes(b"RIFF")
    listen(tmp_path, blocks(1))
    assert len(names(tmp_path)) == 2
    assert ".other.partial.wav" in names(tmp_path)


def test_a_full_disk_is_an_alarm_and_leaves_no_half_file(tmp_path, monkeypatch):
    real, alarms = Path.write_bytes, []
    state = {"full": False}

    def write_bytes(self, data):
        written = real(self, data[:100] if state["full"] else data)
        if state["full"]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return written

    monkeypatch.setattr(Path, "write_bytes", write_bytes)

    def fill(connection):
        state["full"] = True

    def free(connection):
        alarms.append(dict(world.status.alarms))
        state["full"] = False

    script = [*blocks(2), fill, *blocks(5), free, *blocks(5)]
    world = World(
        [script],
        "stdin",
        outputs=lambda status: [KeptAudio("all", tmp_path, 10**9, 0.0, status)],
    )
    world.run()
    (said,) = (text for text in world.said if "the disk is full" in text)
    assert said.startswith(f"ALARM: audio: {tmp_path}: the disk is full")
    assert alarms[0]["audio"] in said and "again" not in said
    assert "audio" not in world.status.alarms
    assert len(world.rows) == 12
    assert {path.stat().st_size for path in tmp_path.glob("*.wav")} == {WINDOW_BYTES}
    assert world.status.describe()["audio"]["failed"] >= 4


@pytest.mark.parametrize("unix", [0.0, NOON])
def test_a_file_has_no_date_before_the_clock_is_set(tmp_path, unix):
    listen(tmp_path, blocks(1), clock=FakeClock(unix))
    assert names(tmp_path)[0].startswith("2026" if unix else "clock-not-set_s1_w0")


def test_a_disk_that_is_mounted_later_is_locked_and_its_files_are_counted(tmp_path):
    folder, disk = tmp_path / "mount", tmp_path / "disk"
    listen(disk, blocks(3))

    def mount(connection):
        folder.rename(tmp_path / "below")
        disk.rename(folder)

    world = listen(
        folder, [*blocks(2, 0.2), mount, *blocks(3, 0.2)], quota=3 * WINDOW_BYTES
    )
    kept = names(folder)
    assert len(kept) == 3 and world.status.describe()["audio"]["removed"] >= 2
    assert (folder / ".lock_audio").exists()


def test_a_quota_below_one_window_removes_nothing(tmp_path):
    listen(tmp_path, blocks(3))
    world = listen(tmp_path, blocks(2, 0.2), quota=WINDOW_BYTES - 1)
    assert len(names(tmp_path)) == 3
    assert "exceeds the quota" in world.status.alarms["audio"]


def test_a_file_that_cannot_be_removed_still_counts(tmp_path, monkeypatch):
    listen(tmp_path, blocks(3))

    def unlink(path, missing_ok=False):
        if not path.name.startswith("."):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", unlink)
    world = listen(tmp_path, blocks(2, 0.2), quota=3 * WINDOW_BYTES)
    about = world.status.describe()["audio"]
    assert (about["bytes"], about["failed"]) == (3 * WINDOW_BYTES, 2)
    assert len(names(tmp_path)) == 3
    assert world.status.alarms["audio"] == f"{tmp_path}: Permission denied"


def test_files_of_two_starts_without_a_clock_are_all_kept_and_counted(tmp_path):
    for start in (1, 2, 3):
        world = listen(tmp_path, blocks(1), clock=FakeClock(0.0))
        about = world.status.describe()["audio"]
        assert about["bytes"] == start * WINDOW_BYTES
    assert len(names(tmp_path)) == 3


def test_the_order_of_removal_is_that_of_writing_whatever_the_clock_says(tmp_path):
    """The files of the first run have a later time than the clock tells now."""
    listen(tmp_path, blocks(1))
    (first,) = tmp_path.glob("*.wav")
    os.utime(first, (4e9, 4e9))
    listen(tmp_path, blocks(2), clock=FakeClock(0.0))
    listen(tmp_path, blocks(1, 0.2), quota=3 * WINDOW_BYTES)
    left = names(tmp_path)
    assert first.name not in left
    assert sum(name.startswith("clock-not-set") for name in left) == 2


def test_windows_that_wait_because_they_overlap_do_not_fill_the_memory(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(kept_audio, "MAX_WAITING_BYTES", 5 * 2 * RATE)
    world = listen(tmp_path, blocks(4), hop=RATE // 20)
    about = world.status.describe()["audio"]
    assert about["skipped"] > about["kept"] > 10
    assert about["skipped"] + about["kept"] == len(world.rows)
    assert sum("--hop_seconds" in text for text in world.said) == 1


def test_two_listeners_cannot_share_the_folder_of_one_quota(tmp_path):
    status = World([]).status
    partial = tmp_path / ".20260328-120000_s1_w0_dog_0.80.partial.wav"
    first = KeptAudio("all", tmp_path, 10**9, 0.0, status)
    partial.write_bytes(b"RIFF")
    said = f"{tmp_path}: another asc-edge listen writes there; give .*--keep_folder"
    with pytest.raises(UserError, match=said):
        KeptAudio("all", tmp_path, 10**9, 0.0, status)
    assert partial.exists()  # the first one is writing it
    # Tables may be in the same folder.
    DailyTables(tmp_path, status).close()
    first.close()
    KeptAudio("all", tmp_path, 10**9, 0.0, status).close()
    assert not partial.exists()


def test_a_folder_that_is_mounted_later_is_locked_and_counted_then(tmp_path):
    listen(tmp_path / "disk", blocks(2))
    (tmp_path / "disk").rename(tmp_path / "unplugged")
    (tmp_path / "disk").touch()
    alarms = []

    def mount(connection):
        alarms.append(world.status.alarms["audio"])
        (tmp_path / "disk").unlink()
        (tmp_path / "unplugged").rename(tmp_path / "disk")

    quota = 3 * WINDOW_BYTES
    world = World(
        [[*blocks(3, 0.2), mount, *blocks(2, 0.2)]],
        "stdin",
        outputs=lambda status: [
            KeptAudio("all", tmp_path / "disk", quota, 0.0, status)
        ],
    )
    world.run()
    assert alarms == [f"{tmp_path}/disk: File exists"]
    assert "audio" not in world.status.alarms
    assert len(names(tmp_path / "disk")) == 3
    assert world.status.describe()["audio"]["bytes"] == quota
