import dataclasses
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import asc_tf
from asc_tf import cli
from asc_tf.cli import MODULES
from asc_tf.command_line.dispatch import run_command
from asc_tf.config import FIELDS, Config
from asc_tf.core.errors import install_hint
from asc_tf.manifest import Clip, Manifest
from asc_tf.workdir import Workdir

HEAVY = ("tensorflow", "keras", "numpy", "sklearn", "matplotlib", "soundfile", "tqdm")


BLOCKED = """
import contextlib, io, json, sys
packages, commands = json.load(sys.stdin)
for name in packages:
    sys.modules[name] = None
from asc_tf.cli import main
for arguments in commands:
    streams = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
        code = main(arguments)
    print(json.dumps([code, *(stream.getvalue() for stream in streams)]))
print(json.dumps(sorted(sys.modules)))
"""


def run_blocked(packages, commands, cwd=None):
    """Run commands in a process in which some packages look as if not installed.

    Returns the exit code, output and errors of each, and the modules imported.
    """
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED],
        input=json.dumps([packages, commands]),
        capture_output=True,
        text=True,
        timeout=60,
        cwd=cwd,
    )
    assert done.returncode == 0, done.stderr
    *results, modules = map(json.loads, done.stdout.splitlines())
    return results, modules


def test_the_first_words_are_answered_without_any_heavy_import():
    words = [["--help"], ["--version"], ["nonsense"]]
    results, modules = run_blocked([], words)
    assert [code for code, _, _ in results] == [0, 0, 2]
    assert not set(HEAVY) & set(modules)


def test_version_prints_the_version_alone(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr() == (f"{asc_tf.__version__}\n", "")


def test_help_names_every_command(capsys):
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    for name in MODULES:
        assert f"\n  {name} " in text


@pytest.mark.parametrize("name", MODULES)
def test_every_command_explains_its_flags(name, capsys):
    assert cli.main([name, "--help"]) == 0
    out, err = capsys.readouterr()
    assert f"asc-tf {name}" in out
    assert "\nFlags:\n" in out
    # Those of the command; settings of the configuration follow in sections.
    assert 2 <= out.partition("\nConfiguration")[0].count("\n  --") <= 20
    assert err == ""


def test_the_help_of_every_command_needs_no_tensorflow():
    commands = [*([name, "--help"] for name in MODULES), ["train", "--help=train"]]
    results, _ = run_blocked(["tensorflow", "keras"], commands)
    for (name, *_), (code, out, err) in zip(commands, results, strict=True):
        assert (code, err) == (0, "")
        assert f"asc-tf {name}" in out or "--train.epochs=N" in out


def test_the_full_help_of_train_has_every_configuration_key(capsys):
    cli.main(["train", "--helpfull"])
    text = capsys.readouterr().out
    for key in FIELDS:
        assert re.search(rf"^  --(\[no\])?{key}\b", text, re.MULTILINE)


@pytest.mark.parametrize("topic", ["--help", "--helpfull"])
@pytest.mark.parametrize("name", ["", *MODULES])
def test_help_fits_into_80_columns(name, topic, capsys):
    cli.main([name, topic] if name else [topic])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if len(line) > 80] == []


@pytest.mark.parametrize("name", MODULES)
def test_the_settings_needed_most_are_settings_of_the_command(name):
    command = importlib.import_module(MODULES[name]).COMMAND
    assert set(command.common) <= set(command.keys)
    defined = set(command.flag_values())
    assert set(command.word_flags) <= defined


@pytest.mark.parametrize(
    ("name", "word", "flag"),
    [
        ("train", "runs/x", "workdir"),
        ("train", "esc10_small", "config"),
        ("train", "mine.toml", "config"),
        ("evaluate", "runs/x", "workdir"),
        ("export", "runs/x", "workdir"),
        ("demo", "anywhere", "workdir"),
        ("explore", "esc10_small", "config"),
        ("explore", "runs/x", "config"),
        ("features", "esc10_small", "config"),
    ],
)
def test_a_word_of_a_command_stands_for_its_flag(
    name, word, flag, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("runs/x").mkdir(parents=True)
    Path("runs/x/config.toml").touch()
    seen = {}

    def main(values):
        seen.update({each: values[each].value for each in values})
        return 0

    command = importlib.import_module(MODULES[name]).COMMAND
    assert run_command(dataclasses.replace(command, run=main), [word]) == 0
    assert seen[flag] == word
    assert seen["positional"] == []


def test_messages_name_the_extras_of_the_package_as_the_readme_does():
    root = Path(asc_tf.__file__).parent
    for path in root.rglob("*.py"):
        assert "asc-tf[" not in path.read_text(encoding="utf-8"), path
    extras = re.findall(
        r"install_hint\(['\"](\w+)['\"]\)",
        "".join(path.read_text(encoding="utf-8") for path in root.rglob("*.py")),
    )
    readme = (root.parent / "README.md").read_text(encoding="utf-8")
    assert set(extras) == {"train", "edge", "mqtt", "datasets", "energy", "serve"}
    for extra in extras:
        assert f"'.[{extra}]'" in install_hint(extra)
        assert f"'.[{extra}]'" in readme


@pytest.mark.parametrize("name", MODULES)
def test_every_command_refuses_an_unknown_flag(name, capsys):
    assert cli.main([name, "--xyzzy=1"]) == 2
    assert capsys.readouterr() == (
        "",
        f"asc-tf {name}: --xyzzy: unknown flag; --help lists the flags\n",
    )


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["train"], "asc-tf train: --workdir is missing"),
        (["evaluate"], "asc-tf evaluate: --workdir is missing"),
        (["export"], "asc-tf export: --workdir is missing"),
        (["predict", "x.wav"], "asc-tf predict: --model is missing"),
        (["predict", "--model=m.tflite"], "asc-tf predict: no files"),
        (["inspect"], "asc-tf inspect: no files"),
        (["train", "stray", "--workdir=w"], "asc-tf train: --config=stray: no such"),
        (["train", "a", "stray"], "asc-tf train: unexpected argument stray"),
        (["evaluate", "stray"], "asc-tf evaluate: --workdir=stray: no such folder"),
        (["export", "stray"], "asc-tf export: --workdir=stray: no such folder"),
        (["evaluate", "a", "--workdir=b"], "a and --workdir=b are both given"),
        (["predict", "a.tflite", "x.wav"], "did you mean --model=a.tflite?"),
        (["predict", ".", "x.wav"], "did you mean --model=.?"),
        (
            ["train", "--help=trian"],
            "--help=trian: unknown section; did you mean train",
        ),
        (["train", "--workdir=w", "--config=nonsense"], "--config=nonsense: no such"),
        (["train", "--workdir=w", "--dataset.name=esc10"], "dataset.dir is missing"),
        (
            ["train", "--workdir=w", "--dataset.name=folder", "--dataset.dir=none"],
            "none: no such folder",
        ),
        (["evaluate", "--workdir=none"], "--workdir=none: no such folder"),
        (["evaluate", "--workdir=."], "--workdir=.: no run here (no config.toml)"),
        (["evaluate", "--workdir=.", "--split=dev"], "--split: 'dev' must be"),
        (["export", "--workdir=.", "--output=e"], "--workdir=.: no run here"),
        (["predict", "--model=none", "x.wav"], "none: no such file"),
        # No user has these home folders.
        (["train", "~x.toml", "--workdir=w"], "--config=~x.toml: no such file"),
        (["evaluate", "~no.user/run"], "--workdir=~no.user/run: no such folder"),
        (["compare", "~no.user/run"], "~no.user/run: "),
        (["doctor", "~x.tflite", "--workdir=w"], "~x.tflite: "),
    ],
)
def test_wrong_usage_is_one_line_exit_code_2_and_nothing_written(
    argv, message, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert cli.main(argv) == 2
    out, err = capsys.readouterr()
    assert message in err
    assert err.count("\n") == 1
    assert out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def bare_run(tmp_path_factory):
    """A folder with the run folder `run`, whose model is empty, and `clips`."""
    folder = tmp_path_factory.mktemp("bare")
    clips = tuple(Clip(f"{n}.wav", "ab"[n % 2], str(n)) for n in range(6))
    Workdir(folder / "run").begin(Config(), Manifest(clips, ("a", "b")))
    (folder / "run" / "model.keras").touch()
    for clip in clips:
        path = folder / "clips" / clip.label / clip.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


@pytest.mark.parametrize(
    ("package", "commands"),
    [
        (
            "tensorflow",
            [
                "train --workdir=w --dataset.name=folder --dataset.dir=clips",
                "inspect clips/a/0.wav",
                "evaluate --workdir=run",
            ],
        ),
        (
            "keras",
            [
                "evaluate --workdir=run",
                "export --workdir=run --output=e",
                "predict --model=run clips/a/0.wav",
            ],
        ),
    ],
)
def test_a_missing_package_is_named_in_one_line_and_nothing_is_written(
    package, commands, bare_run
):
    before = sorted(bare_run.rglob("*"))
    arguments = [command.split() for command in commands]
    results, _ = run_blocked([package], arguments, cwd=bare_run)
    for (name, *_), result in zip(arguments, results, strict=True):
        message = (
            f"asc-tf {name}: needs the package {package}, which is not installed: "
            "install it with pip install '.[train]' in the source folder of asc_tf "
            "(Python 3.11 to 3.13)\n"
        )
        progress = "loading the model ...\n" if name == "evaluate" else ""
        assert result == [1, "", progress + message]
    assert sorted(bare_run.rglob("*")) == before


@pytest.mark.parametrize(
    "module, words", [("asc_tf.train", []), ("asc_tf.cli", ["train"])]
)
def test_the_training_command_can_be_run_as_a_module(module, words):
    done = subprocess.run(
        [sys.executable, "-m", module, *words, "--help"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Train a classifier.")
