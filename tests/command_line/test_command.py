import io
import subprocess
import sys
from types import SimpleNamespace

import pytest
from absl import flags
from settings import other_value

from asc_tf.command_line import arguments, dispatch
from asc_tf.command_line.command import Command
from asc_tf.command_line.flag_values import read_changes
from asc_tf.config import FIELDS, section_keys
from asc_tf.config.options import format_value
from asc_tf.core.errors import UsageError, UserError

TRAIN = section_keys("train")


def parsed(*words, keys=tuple(FIELDS), define=lambda values: None):
    values = flags.FlagValues()
    arguments.define_configuration(values, keys)
    define(values)
    arguments.parse(values, words)
    return values


def given(*arguments):
    return read_changes(parsed(*arguments))


def refusal(*arguments):
    with pytest.raises(UsageError) as caught:
        parsed(*arguments)
    return str(caught.value)


def make(main=lambda values: 0, define=lambda values: None, **settings):
    settings = {
        "name": "brew",
        "usage": "Brew.",
        "keys": TRAIN,
    } | settings
    return Command(run=main, define_flags=define, **settings)


def run(main, *arguments, **settings):
    return dispatch.run_command(make(main, **settings), arguments)


def raising(error):
    def main(values):
        raise error

    return main


def test_every_configuration_key_is_a_flag():
    others = {key: other_value(key) for key in FIELDS}
    changes = given(*(f"--{key}={format_value(each)}" for key, each in others.items()))
    assert changes == others
    for key, value in changes.items():
        assert type(value) is type(FIELDS[key].default)


def test_a_flag_that_is_not_given_changes_nothing():
    assert given() == {}
    assert given("clip.wav") == {}


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        (["--frontend.n_mels=64"], {"frontend.n_mels": 64}),
        (["--frontend.n_mels", "64"], {"frontend.n_mels": 64}),
        (["-frontend.n_mels=64"], {"frontend.n_mels": 64}),
        (["--model.filters=8,16"], {"model.filters": (8, 16)}),
        (["--model.filters=8, 16"], {"model.filters": (8, 16)}),
        (["--model.filters=8"], {"model.filters": (8,)}),
        (["--model.filters="], {"model.filters": ()}),
        (["--model.freeze=block1*, conv"], {"model.freeze": ("block1*", "conv")}),
        (["--export.formats=int8, float32"], {"export.formats": ("int8", "float32")}),
        (["--train.learning_rate=1"], {"train.learning_rate": 1.0}),
        (["--train.learning_rate=3e-3"], {"train.learning_rate": 0.003}),
        (["--dataset.dir="], {"dataset.dir": ""}),
        (["--dataset.dir=--odd"], {"dataset.dir": "--odd"}),
        (["--train.seed=0"], {"train.seed": 0}),
        (["--train.seed=1", "--train.seed=2"], {"train.seed": 2}),
        (["--augment.time_roll"], {"augment.time_roll": True}),
        (["--augment.time_roll=true"], {"augment.time_roll": True}),
        (["--augment.time_roll=False"], {"augment.time_roll": False}),
        (["--noaugment.time_roll"], {"augment.time_roll": False}),
        (["--nofrontend.center"], {"frontend.center": False}),
    ],
)
def test_the_ways_to_write_a_flag(arguments, changes):
    found = given(*arguments)
    assert found == changes
    assert [type(value) for value in found.values()] == [
        type(value) for value in changes.values()
    ]


def test_a_switch_given_as_its_default_is_still_a_change():
    switches = [k for k, item in FIELDS.items() if isinstance(item.default, bool)]
    assert given(*(f"--{key}" for key in switches)) == dict.fromkeys(switches, True)
    assert given(*(f"--no{key}" for key in switches)) == dict.fromkeys(switches, False)


def test_words_that_are_no_flags_are_positional_wherever_they_stand():
    values = parsed("a.wav", "--train.seed=3", "b, c.wav", "--", "--d.wav")
    assert values.positional == ["a.wav", "b, c.wav", "--d.wav"]
    assert parsed().positional == []


@pytest.mark.parametrize(
    ("flag", "wanted"),
    [
        (
            "--frontend.n_mel=64",
            "--frontend.n_mel: unknown flag; did you mean --frontend",
        ),
        ("--n_mels=64", "--n_mels: unknown flag; did you mean --frontend.n_mels=64?"),
        ("--nofrontend.centre", "unknown flag; did you mean --frontend.center?"),
        ("--nofrontend.n_mels", "--nofrontend.n_mels: unknown flag"),
        ("--positional=x", "--positional: unknown flag"),
        ("--xyzzy", "--xyzzy: unknown flag"),
        ("--frontend.n_mels", "--frontend.n_mels"),
    ],
)
def test_an_unknown_or_incomplete_flag_is_named_with_the_nearest(flag, wanted):
    assert wanted in refusal(flag)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        (
            "--frontend.n_mels=many",
            "--frontend.n_mels = 'many': must be a whole number",
        ),
        ("--frontend.n_mels=6.5", "--frontend.n_mels = '6.5': must be a whole number"),
        ("--frontend.n_mels=0", "--frontend.n_mels = 0: must be at least 1"),
        ("--frontend.n_mels=", "--frontend.n_mels = '': must be a whole number"),
        ("--model.filters=8,x", "--model.filters = 'x': must be a whole number"),
        ("--model.filters=8,", "--model.filters = '': must be a whole number"),
        ("--augment.gain_db=nan", "--augment.gain_db = nan: must be a finite number"),
        ("--augment.gain_db=1e999", "--augment.gain_db = inf: must be a finite number"),
        (
            "--augment.time_roll=maybe",
            "--augment.time_roll = 'maybe': must be true or false",
        ),
        (
            "--audio.cache=ram",
            "--audio.cache = 'ram': must be one of memory, disk, none",
        ),
    ],
)
def test_a_bad_value_is_refused_naming_key_and_value(flag, message):
    assert refusal(flag) == message


@pytest.mark.parametrize(
    ("main", "arguments", "code", "stderr"),
    [
        (lambda values: 0, [], 0, ""),
        (lambda values: 1, [], 1, ""),
        (raising(UserError("no clips")), [], 1, "asc-tf brew: no clips\n"),
        (raising(UsageError("no such key")), [], 2, "asc-tf brew: no such key\n"),
        (raising(KeyboardInterrupt()), [], 130, "asc-tf brew: interrupted\n"),
        (
            raising(PermissionError(13, "Permission denied", "runs/x")),
            [],
            1,
            "asc-tf brew: [Errno 13] Permission denied: 'runs/x'\n",
        ),
        (
            raising(ModuleNotFoundError("No module named 'keras'", name="keras")),
            [],
            1,
            "asc-tf brew: needs the package keras, which is not installed: install it "
            "with pip install '.[train]' in the source folder of asc_tf (Python 3.11 "
            "to 3.13)\n",
        ),
        (
            lambda values: 0,
            ["--train.epochs=many"],
            2,
            "asc-tf brew: --train.epochs = 'many': must be a whole number\n",
        ),
        (
            lambda values: 0,
            ["--train.epoch=3"],
            2,
            "asc-tf brew: --train.epoch: unknown flag; did you mean "
            "--train.epochs=3?\n",
        ),
        (
            lambda values: 0,
            ["--frontend.n_mels=3"],
            2,
            "asc-tf brew: --frontend.n_mels: a key of the configuration that is no "
            "flag of this command; --help lists the flags\n",
        ),
    ],
)
def test_what_happens_becomes_an_exit_code_and_at_most_one_line(
    capsys, main, arguments, code, stderr
):
    assert run(main, *arguments) == code
    assert capsys.readouterr() == ("", stderr)


def test_a_missing_package_of_the_edge_is_in_the_edge_extra(capsys):
    error = ModuleNotFoundError(
        "No module named 'ai_edge_litert'", name="ai_edge_litert"
    )
    assert run(raising(error), program="asc-edge") == 1
    stderr = capsys.readouterr().err
    assert stderr == (
        "asc-edge brew: needs the package ai_edge_litert, which is not installed: "
        "install it with pip install '.[edge]' in the source folder of asc_tf\n"
    )


def test_a_mistake_of_the_program_itself_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        run(raising(ZeroDivisionError()))


def test_a_command_gets_its_own_flags_beside_the_configuration(capsys):
    def main(values):
        print(values.cups, values["train.epochs"].value, values.positional)
        return 0

    def define(values):
        flags.DEFINE_integer("cups", 1, "how many", flag_values=values)

    words = ("--cups=3", "mug", "--train.epochs=4")
    assert run(main, *words, define=define, takes_words=True) == 0
    assert capsys.readouterr().out == "3 4 ['mug']\n"


@pytest.fixture
def dispatched(monkeypatch):
    """Dispatch to `brew`, and to `spill`, whose module cannot be imported."""

    def dispatch_to(argv, main=lambda values: 0):
        module = SimpleNamespace(COMMAND=make(main, takes_words=True))
        monkeypatch.setitem(sys.modules, "the_module_of_brew", module)
        modules = {"brew": "the_module_of_brew", "spill": "no_such_module"}
        return dispatch.dispatch("asc-tf", "the usage", modules, argv)

    return dispatch_to


@pytest.mark.parametrize("word", ["--help", "-h", "help"])
def test_dispatch_prints_the_usage_when_asked_for_help(dispatched, capsys, word):
    assert dispatched([word]) == 0
    assert capsys.readouterr() == ("the usage\n", "")


@pytest.mark.parametrize(
    ("argv", "problem"),
    [
        ([], "a command is missing"),
        (["brwe"], "brwe: unknown command; did you mean brew?"),
        (["--train.epochs=3"], "--train.epochs=3: the command goes before its flags"),
    ],
)
def test_dispatch_refuses_an_unknown_command(dispatched, capsys, argv, problem):
    assert dispatched(argv) == 2
    rest = " (asc-tf --help lists them)\n" if argv else "\n\nthe usage\n"
    assert capsys.readouterr() == ("", f"asc-tf: {problem}{rest}")


@pytest.mark.parametrize("word", ["help", "--help"])
def test_help_before_a_command_is_the_help_of_the_command(dispatched, capsys, word):
    assert dispatched([word, "brew"]) == 0
    assert capsys.readouterr().out.startswith("Brew.\n")


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "asc-tf spill: interrupted\n"),
        (
            ModuleNotFoundError("No module named 'absl.flags'", name="absl.flags"),
            1,
            "asc-tf spill: needs the package absl, which is not installed: ",
        ),
    ],
)
def test_what_happens_while_a_command_is_imported_is_one_line_too(
    dispatched, capsys, monkeypatch, error, code, said
):
    def fail(_name):
        raise error

    monkeypatch.setattr(dispatch.importlib, "import_module", fail)
    assert dispatched(["spill"]) == code
    assert capsys.readouterr().err.startswith(said)


def test_dispatch_imports_only_the_command_that_is_wanted(dispatched, capsys):
    def main(values):
        print(values.positional)
        return 0

    assert dispatched(["brew", "x", "brew"], main) == 0
    assert capsys.readouterr().out == "['x', 'brew']\n"


def test_the_streams_take_names_that_no_encoding_takes(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "ascii"))

    def main(values):
        print("caf\udce9 métro")
        return 0

    assert run(main) == 0
    assert raw.getvalue() == b"caf\\udce9 m\\xe9tro\n"


@pytest.mark.parametrize(
    "arguments", [["--help"], ["train", "--help"], ["--version"], ["inspect", "x.wav"]]
)
def test_a_reader_that_leaves_early_gets_no_traceback(tmp_path, arguments):
    code = (
        "import sys\n"
        "from asc_tf import cli\n"
        "from asc_tf.commands import inspect\n"
        "def main(values):\n"
        "    print('a result')\n"
        "    return 0\n"
        "object.__setattr__(inspect.COMMAND, 'run', main)\n"
        "sys.stdin.read()\n"
        "sys.exit(cli.main(sys.argv[1:]))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    process.stdin.close()
    assert process.stderr.read() == b""
    assert process.wait(timeout=60) == 1
    process.stderr.close()
