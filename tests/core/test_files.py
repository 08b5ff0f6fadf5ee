import errno
import json
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from asc_tf.core import replacing
from asc_tf.core.errors import UserError
from asc_tf.core.files import (
    DiskFullError,
    count_bytes,
    format_csv,
    hash_bytes,
    hash_path,
    lock_file,
    write_atomically,
    write_json,
    write_npz,
    write_text,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole_at_its_name_and_nothing_beside_it(tmp_path):
    path = tmp_path / "new" / "folders" / "history.csv"
    with write_atomically(path) as temporary:
        temporary.write_text("whole")
        assert not path.exists()
        assert temporary.parent == path.parent
        assert temporary.suffix == ".csv"
        assert temporary.name.startswith(".")
    assert path.read_text() == "whole"
    assert names(path.parent) == ["history.csv"]


def test_the_old_file_is_there_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "model.keras"
    path.write_text("old")
    with write_atomically(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["model.keras"]


@pytest.mark.parametrize("old", [None, "old"])
def test_a_failure_leaves_the_old_file_and_no_temporary(tmp_path, old):
    path = tmp_path / "report.json"
    if old:
        path.write_text(old)
    with pytest.raises(KeyboardInterrupt), write_atomically(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert names(tmp_path) == (["report.json"] if old else [])
    assert not old or path.read_text() == old


def test_a_block_that_writes_nothing_leaves_the_old_file(tmp_path):
    path = tmp_path / "report.json"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), write_atomically(path):
        pass
    assert path.read_text() == "old"
    assert names(tmp_path) == ["report.json"]


def test_a_folder_replaces_a_folder_with_none_of_its_old_files(tmp_path):
    path = tmp_path / "export"
    path.mkdir()
    (path / "stale.tflite").write_text("old")
    with write_atomically(path) as temporary:
        temporary.mkdir()
        (temporary / "int8.tflite").write_text("new")
        assert names(path) == ["stale.tflite"]
    assert names(path) == ["int8.tflite"]
    assert names(tmp_path) == ["export"]


@pytest.mark.parametrize("old", [False, True])
def test_a_failure_leaves_the_old_folder_and_no_temporary(tmp_path, old):
    path = tmp_path / "export"
    if old:
        path.mkdir()
        (path / "kept.tflite").write_text("old")
    with pytest.raises(ValueError), write_atomically(path) as temporary:
        (temporary / "saved_model").mkdir(parents=True)
        (temporary / "saved_model" / "half.pb").write_text("half")
        raise ValueError("does not agree")
    assert names(tmp_path) == (["export"] if old else [])
    assert not old or names(path) == ["kept.tflite"]


def test_a_folder_replaces_a_file(tmp_path):
    path = tmp_path / "export"
    path.write_text("a file")
    with write_atomically(path) as temporary:
        temporary.mkdir()
    assert path.is_dir()
    assert names(tmp_path) == ["export"]


def test_a_file_does_not_replace_a_folder(tmp_path):
    path = tmp_path / "table.csv"
    path.mkdir()
    (path / "kept").touch()
    with pytest.raises(OSError, match=r"table\.csv"):
        write_text(path, "a,b\n")
    assert names(path) == ["kept"]
    assert names(tmp_path) == ["table.csv"]


def test_the_old_folder_comes_back_when_the_new_one_cannot_take_its_name(
    tmp_path, monkeypatch
):
    path = tmp_path / "export"
    path.mkdir()
    (path / "kept.tflite").touch()
    rename = Path.rename

    def failing(self, target):
        if Path(target) == path and not self.name.endswith(".old"):
            raise OSError("no such device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="device"), write_atomically(path) as temporary:
        temporary.mkdir()
    assert names(path) == ["kept.tflite"]
    assert names(tmp_path) == ["export"]


def test_what_killed_processes_left_is_removed(tmp_path):
    write = f"""
import os, pathlib
from asc_tf.core.files import write_atomically
with write_atomically(pathlib.Path({str(tmp_path)!r}, "export")) as temporary:
    temporary.mkdir()
    (temporary / "half").touch()
    os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", write])
    assert [replacing.PARTIAL.match(name)["stem"] for name in names(tmp_path)] == [
        "export"
    ]
    with write_atomically(tmp_path / "labels.txt") as own:
        own.touch()
        replacing._remove_abandoned.cache_clear()
        (tmp_path / ".export.old").mkdir()
        (tmp_path / "export").mkdir()
        with write_atomically(tmp_path / "export") as temporary:
            temporary.mkdir()
            (temporary / "whole").touch()
    assert names(tmp_path / "export") == ["whole"]
    assert names(tmp_path) == ["export", "labels.txt"]


def test_what_processes_of_another_machine_left_is_removed_when_it_is_old(tmp_path):
    old, fresh = (f".model.0123abcd-{n}-0123abcd.partial.keras" for n in (1, 99999999))
    foreign = ".mine.partial.keras"
    for name in (old, fresh, foreign):
        (tmp_path / name).touch()
        past = time.time() - (name != fresh) * (replacing.ABANDONED_SECONDS + 60)
        os.utime(tmp_path / name, (past, past))
    write_text(tmp_path / "labels.txt", "bus\n")
    assert names(tmp_path) == [foreign, fresh, "labels.txt"]


def test_two_writers_of_one_folder_do_not_meet_and_the_last_one_counts(tmp_path):
    path = tmp_path / "export"
    with write_atomically(path) as first:
        first.mkdir()
        (first / "one").touch()
        with write_atomically(path) as second:
            second.mkdir()
            (second / "two").touch()
        assert names(path) == ["two"]
        assert names(first) == ["one"]
    assert names(path) == ["one"]
    assert names(tmp_path) == ["export"]


def test_a_new_file_or_folder_has_the_permissions_of_the_old_one(tmp_path):
    path, folder = tmp_path / "labels.txt", tmp_path / "export"
    path.touch(mode=0o600)
    folder.mkdir(mode=0o700)
    write_text(path, "bus\n")
    with write_atomically(folder) as temporary:
        temporary.mkdir()
        (temporary / "whole").touch()
    assert [stat.filemode(each.stat().st_mode) for each in (path, folder)] == [
        "-rw-------",
        "drwx------",
    ]
    # The mode of a file would close a folder.
    with write_atomically(path) as temporary:
        temporary.mkdir()
    assert os.access(path, os.X_OK)


@pytest.mark.parametrize(
    "name", ["a" * 251 + ".csv", "公" * 84 + ".", "a." * 127], ids=len
)
def test_a_name_may_be_as_long_as_the_system_allows(tmp_path, name):
    write_text(tmp_path / name, "whole")
    assert names(tmp_path) == [name]


def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path):
    for name, link in (("file.csv", "latest.csv"), ("folder", "latest")):
        (tmp_path / link).symlink_to(name)
    write_text(tmp_path / "latest.csv", "through the link")
    with write_atomically(tmp_path / "latest") as temporary:
        temporary.mkdir()
    assert (tmp_path / "file.csv").read_text() == "through the link"
    assert (tmp_path / "folder").is_dir()
    assert names(tmp_path) == ["file.csv", "folder", "latest", "latest.csv"]
    assert (tmp_path / "latest").is_symlink()


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    path = tmp_path / "pipe.csv"
    os.mkfifo(path)
    received = []
    reader = threading.Thread(
        target=lambda: received.append(path.read_text()), daemon=True
    )
    reader.start()
    write_text(path, "a,b\n")
    reader.join(timeout=60)
    assert received == ["a,b\n"]
    assert path.is_fifo()
    assert names(tmp_path) == ["pipe.csv"]


def test_the_current_folder_can_be_replaced_by_its_dot(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with write_atomically(Path(".")) as temporary:
        temporary.mkdir()
        (temporary / "model.json").touch()
    assert names(tmp_path) == ["here"]
    assert names(tmp_path / "here") == ["model.json"]


def test_text_is_written_as_utf_8(tmp_path):
    path = tmp_path / "labels.txt"
    write_text(path, "métro\n公園\n")
    assert path.read_bytes() == "métro\n公園\n".encode()


def test_text_that_utf_8_cannot_hold_leaves_the_old_file(tmp_path):
    path = tmp_path / "labels.txt"
    write_text(path, "old\n")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "caf\udce9\n")
    assert path.read_text() == "old\n"
    assert names(tmp_path) == ["labels.txt"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        # As TensorFlow's errors are.
        RuntimeError(f"/mnt/variables.data; {os.strerror(errno.ENOSPC)}"),
    ],
)
def test_a_full_disk_is_named_with_the_outermost_output(tmp_path, error):
    path = tmp_path / "export"
    with pytest.raises(DiskFullError) as raised, write_atomically(path) as folder:
        folder.mkdir()
        with write_atomically(folder / "model.json"):
            raise error
    assert str(raised.value).startswith(f"{path}: the disk is full; existing")
    assert names(tmp_path) == []


def test_a_full_disk_elsewhere_is_not_laid_on_the_output(tmp_path):
    other = tmp_path / "run" / "manifest.csv"
    with pytest.raises(DiskFullError) as raised, write_atomically(tmp_path / "export"):
        raise DiskFullError(other)
    assert str(raised.value).startswith(f"{other}: ")
    with pytest.raises(UserError) as refused, write_atomically(tmp_path / "export"):
        raise UserError(f"audio_cache: {os.strerror(errno.ENOSPC)}; give another")
    assert str(refused.value).startswith("audio_cache: ")


def test_a_table_has_a_header_and_empty_cells_for_what_is_missing():
    rows = [{"a": 1.5, "b": 'x, "y"'}, {"a": None}, {"b": "two\nlines"}]
    text = format_csv(("a", "b"), rows)
    assert text == 'a,b\n1.5,"x, ""y"""\n,\n,"two\nlines"\n'
    with pytest.raises(ValueError, match="'c'"):
        format_csv(("a", "b"), [{"c": 1}])


def test_a_lock_keeps_others_out_until_it_is_released(tmp_path):
    path = tmp_path / "new" / ".lock"
    busy = pytest.raises(UserError, match="somebody is at it")
    with lock_file(path, ""), busy, lock_file(path, "somebody is at it"):
        pass
    with lock_file(path, ""):
        pass
    assert names(path.parent) == [".lock"]


def test_a_file_system_without_locks_is_named_and_keeps_nobody_out(
    tmp_path, monkeypatch, capsys
):
    def refuse(_stream, _operation):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(pytest.importorskip("fcntl"), "flock", refuse)
    path = tmp_path / ".lock"
    with lock_file(path, "somebody is at it"):
        assert path.exists()
    said = f"{path}: its file system has no locks (Function not implemented); do not"
    assert capsys.readouterr().err.startswith(said)


def test_arrays_are_on_the_disk_before_their_file_gets_its_name(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.fstat(number)))
    write_npz(tmp_path / "latest.npz", {"weights": np.arange(3)})
    (status,) = synced
    assert os.path.samestat(status, os.stat(tmp_path / "latest.npz"))
    assert status.st_size == os.stat(tmp_path / "latest.npz").st_size > 0


def test_a_folder_is_hashed_as_its_files_one_after_the_other(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c").write_bytes(b"two")
    (tmp_path / "a").write_bytes(b"one")
    assert hash_path(tmp_path / "a") == hash_bytes(b"one")
    assert hash_path(tmp_path) == hash_bytes(b"onetwo")
    assert count_bytes(tmp_path) == 6


def test_json_takes_any_file_name_and_no_number_that_json_does_not_know(tmp_path):
    path = tmp_path / "x.json"
    content = {"file": "gr\xfc\udcff.wav", "rows": [1, None]}
    write_json(path, content)
    assert json.loads(path.read_bytes()) == content
    assert "gr\xfc".encode() in path.read_bytes()
    with pytest.raises(ValueError, match="Out of range"):
        write_json(path, {"loss": float("nan")})
    assert json.loads(path.read_bytes()) == content
