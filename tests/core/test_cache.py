import hashlib
import json
import os
import time

import pytest

from asc_tf.core.cache import ABANDONED_SECONDS, FileCache


def files_in(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_file_has_its_name_from_its_identity(tmp_path):
    cache = FileCache(tmp_path / "cache", ".npz")
    identity = ["a", 1, 0.5, {"b": None}]
    name = hashlib.sha256(json.dumps(identity).encode()).hexdigest()
    path = cache.locate(identity)
    assert path == tmp_path / "cache" / name[:2] / f"{name[2:34]}.npz"
    assert cache.locate(["a", 1, 0.5, {"b": 0}]) != path
    assert not (tmp_path / "cache").exists()


def test_a_file_appears_whole_and_two_writers_do_not_meet(tmp_path):
    cache = FileCache(tmp_path, ".bin")
    path = cache.locate("x")
    with cache.write(path) as first, cache.write(path) as second:
        first.write_bytes(b"one")
        second.write_bytes(b"two")
        assert not path.exists()
    assert path.read_bytes() == b"one"
    assert files_in(tmp_path) == [path]


def test_a_failure_leaves_nothing(tmp_path):
    cache = FileCache(tmp_path, ".bin")
    with pytest.raises(KeyboardInterrupt), cache.write(cache.locate("x")) as path:
        path.write_bytes(b"half")
        raise KeyboardInterrupt
    assert files_in(tmp_path) == []


def test_what_killed_processes_left_is_removed_when_it_is_old(tmp_path):
    (tmp_path / "ab").mkdir()
    old, fresh = tmp_path / "ab" / ".x.bin.1.partial", tmp_path / "ab" / ".y.2.partial"
    for path in (old, fresh):
        path.write_bytes(b"half")
    past = time.time() - ABANDONED_SECONDS - 60
    os.utime(old, (past, past))
    cache = FileCache(tmp_path, ".bin")
    with cache.write(cache.locate("x")) as path:
        path.touch()
    assert files_in(tmp_path) == sorted([fresh, cache.locate("x")])
