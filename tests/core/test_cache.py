import hashlib
import json
import signal
import subprocess
import sys
import time

import pytest

from asc_tf.core.cache import FileCache


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


FILL = """
import sys
from pathlib import Path
from asc_tf.core.cache import FileCache
cache = FileCache(Path(sys.argv[1]), ".bin")
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[2])):
    with cache.write(cache.locate(number)) as path, path.open("wb") as stream:
        for _ in range(100):
            stream.write(bytes([number % 256]) * 1000)
"""


@pytest.fixture
def filling(tmp_path):
    """Starts a process that fills a cache as soon as it is told to."""
    started = []

    def start(count: int) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", FILL, str(tmp_path), str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_process_that_is_killed_leaves_whole_files_or_none(tmp_path, filling):
    process = filling(5000)
    process.stdin.write("\n")
    cache = FileCache(tmp_path, ".bin")
    deadline = time.monotonic() + 30
    while not cache.locate(50).exists() and time.monotonic() < deadline:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert cache.locate(50).exists()
    assert not cache.locate(4999).exists()
    for path in tmp_path.glob("??/[!.]*"):
        contents = path.read_bytes()
        assert contents == contents[:1] * 100_000


def test_two_processes_fill_one_folder_at_once(tmp_path, filling):
    processes = [filling(200) for _ in range(2)]
    assert [process.stdout.readline() for process in processes] == ["ready\n"] * 2
    for process in processes:
        process.stdin.write("\n")
    assert [process.wait(60) for process in processes] == [0, 0]
    cache = FileCache(tmp_path, ".bin")
    assert files_in(tmp_path) == sorted(map(cache.locate, range(200)))
    for number in range(200):
        contents = cache.locate(number).read_bytes()
        assert contents == bytes([number % 256]) * 100_000
