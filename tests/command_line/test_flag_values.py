from pathlib import Path

import pytest
from absl import flags

from asc_tf.command_line import arguments, flag_values
from asc_tf.core.errors import UsageError


def parsed(name, help_text, *words):
    found = flags.FlagValues()
    flags.DEFINE_string(name, None, help_text, flag_values=found)
    arguments.parse(found, words)
    return found


@pytest.mark.parametrize("words", [[], ["--out="]])
def test_a_flag_that_must_be_given_is_named(words):
    with pytest.raises(UsageError, match=r"--out is missing \(the folder\)"):
        flag_values.read_required(parsed("out", "the folder", *words), "out")
    given = parsed("out", "the folder", "--out=x")
    assert flag_values.read_required(given, "out") == "x"


def test_an_output_where_nothing_may_be_written_is_refused_at_once(
    tmp_path, monkeypatch
):
    target = tmp_path / "a" / "b"
    given = parsed("output", "a folder", f"--output={target}")
    assert flag_values.read_new_path(given, "output") == target
    monkeypatch.setattr(flag_values.os, "access", lambda path, mode: path != tmp_path)
    with pytest.raises(UsageError) as caught:
        flag_values.read_new_path(given, "output")
    assert str(caught.value) == f"--output={target}: {tmp_path} may not be written to"
    assert not target.parent.exists()


@pytest.mark.parametrize(
    ("content", "is_refused"),
    [(b"file,label\n", False), (b"", False), (b"RIFF\x24\0\0\0WAVE", True)],
)
def test_only_text_is_replaced_by_a_table(tmp_path, content, is_refused):
    path = tmp_path / "table.csv"
    flag_values.refuse_other_content("csv", path)
    path.write_bytes(content)
    if not is_refused:
        flag_values.refuse_other_content("csv", path)
        return
    with pytest.raises(UsageError, match="a file that is no text, for example a rec"):
        flag_values.refuse_other_content("csv", path)


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A working folder with the runs a, deep/b and deep/down/c."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "deep/b", "deep/down/c"):
        Path(name).mkdir(parents=True)
        Path(name, "config.toml").touch()
    Path("a/model.keras").touch()


def read_run(*words):
    return flag_values.read_run(parsed("workdir", "the run folder", *words))


def test_a_run_that_must_exist_is_taken_by_its_folder_or_model(runs):
    assert read_run("--workdir=a") == Path("a")
    assert read_run("--workdir=a/model.keras") == Path("a")


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
        read_run(*words)
    assert str(caught.value) == message
