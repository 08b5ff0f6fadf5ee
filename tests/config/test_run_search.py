from pathlib import Path

import pytest

from asc_tf.config import run_search
from asc_tf.config.run_search import find_run, list_runs, suggest_run


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A working folder with the runs a, deep/b and deep/down/c."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "deep/b", "deep/down/c", ".hidden", "a/checkpoints"):
        Path(name).mkdir(parents=True)
        if name != "a/checkpoints":
            Path(name, "config.toml").touch()
    Path("a/model.keras").touch()
    return tmp_path


def test_runs_are_found_below_a_folder_the_nearest_first(runs):
    assert list_runs(Path()) == [Path("a"), Path("deep/b"), Path("deep/down/c")]
    assert list_runs(runs / "deep") == [runs / "deep/b", runs / "deep/down/c"]
    assert list_runs(Path("absent")) == list_runs(Path("a/model.keras")) == []


def test_the_search_for_runs_ends_in_a_large_folder(runs, monkeypatch):
    monkeypatch.setattr(run_search, "MAX_FOLDERS", 2)
    assert list_runs(Path()) == [Path("a")]


def test_a_run_is_meant_by_its_folder_and_by_its_model(runs):
    assert find_run(Path("a")) == find_run(Path("a/model.keras")) == Path("a")
    Path("model.keras").touch()
    for path in ("deep", "deep/b/model.keras", "model.keras", "a/config.toml"):
        assert find_run(Path(path)) is None


@pytest.mark.parametrize(
    ("path", "suggested"),
    [
        ("deep", "; did you mean deep/b or deep/down/c?"),
        (".", "; did you mean a, deep/b or deep/down/c?"),
        ("a/checkpoints", "; did you mean a?"),
        ("a/checkpoints/latest.npz", "; did you mean a?"),
        ("b", "; did you mean deep/b?"),
        ("deeep/c", "; did you mean deep/down/c?"),
        ("xyzzy", ""),
    ],
)
def test_a_run_near_a_path_is_suggested(runs, path, suggested):
    assert suggest_run(Path(path)) == suggested
