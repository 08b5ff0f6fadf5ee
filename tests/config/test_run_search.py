from pathlib import Path

import pytest
from absl import flags

from asc_tf import cli
from asc_tf.command_line import arguments, command
from asc_tf.config import run_search
from asc_tf.config.run_search import find_run, runs_below, suggest_run
from asc_tf.core.errors import UsageError


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
    assert runs_below(Path()) == [Path("a"), Path("deep/b"), Path("deep/down/c")]
    assert runs_below(runs / "deep") == [runs / "deep/b", runs / "deep/down/c"]
    assert runs_below(Path("absent")) == runs_below(Path("a/model.keras")) == []


def test_the_search_for_runs_ends_in_a_large_folder(runs, monkeypatch):
    monkeypatch.setattr(run_search, "MAX_FOLDERS", 2)
    assert runs_below(Path()) == [Path("a")]


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


def existing_run(*words):
    values = flags.FlagValues()
    flags.DEFINE_string("workdir", None, "the run folder", flag_values=values)
    command.parse(values, words)
    return command.existing_run(values)


def test_a_run_that_must_exist_is_taken_by_its_folder_or_model(runs):
    assert existing_run("--workdir=a") == Path("a")
    assert existing_run("--workdir=a/model.keras") == Path("a")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            [],
            "--workdir is missing (the run folder); did you mean --workdir=a, "
            "--workdir=deep/b or --workdir=deep/down/c?",
        ),
        (["--workdir=xyzzy"], "--workdir=xyzzy: no such folder"),
        (["--workdir=b"], "--workdir=b: no such folder; did you mean deep/b?"),
        (
            ["--workdir=deep"],
            "--workdir=deep: no run here (no config.toml); did you mean deep/b or "
            "deep/down/c?",
        ),
        (
            ["--workdir=a/config.toml"],
            "--workdir=a/config.toml: a file, not a run folder; did you mean a?",
        ),
    ],
)
def test_a_run_that_is_not_there_is_refused_naming_those_near_it(runs, words, message):
    with pytest.raises(UsageError) as caught:
        existing_run(*words)
    assert str(caught.value) == message


def test_a_mistyped_run_folder_is_named_before_the_flag_it_would_have_given(
    tmp_path, monkeypatch, capsys
):
    (tmp_path / "esc10").mkdir()
    (tmp_path / "esc10" / "config.toml").touch()
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "esc1"]) == 2
    message = capsys.readouterr().err
    assert "--config=esc1: no such file" in message
    assert "did you mean esc10?" in message


def test_the_model_file_of_a_run_is_a_word_for_its_run(tmp_path):
    (tmp_path / "config.toml").touch()
    (tmp_path / "model.keras").touch()
    values = flags.FlagValues()
    flags.DEFINE_string("config", None, "", flag_values=values)
    flags.DEFINE_string("workdir", None, "", flag_values=values)
    arguments.parse(values, [str(tmp_path / "model.keras")])
    arguments.assign_word(values, ("config", "workdir"))
    assert values.workdir == str(tmp_path)
