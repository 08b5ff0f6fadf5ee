import os

import pytest
from absl import flags

from asc_tf.command_line import arguments
from asc_tf.config import FIELDS
from asc_tf.core.errors import UsageError


def defined():
    values = flags.FlagValues()
    arguments.define_config_file(values)
    for name in ("workdir", "output"):
        flags.DEFINE_string(name, None, f"the {name}", flag_values=values)
    flags.DEFINE_integer("top_k", 3, "labels", 1, 9, flag_values=values)
    flags.DEFINE_boolean("json", False, "as JSON", flag_values=values)
    flags.DEFINE_enum("split", "test", ["train", "test"], "split", flag_values=values)
    arguments.define_configuration(values, tuple(FIELDS))
    return values


def parsed(*words):
    values = defined()
    arguments.parse(values, words)
    return values


def assigned(names, *words):
    """The flags `config` and `workdir` after the words."""
    values = parsed(*words)
    arguments.assign_word(values, names)
    assert values.positional == []
    return values.config, values.workdir


def refusal(function, *words):
    with pytest.raises(UsageError) as caught:
        function(*words)
    return str(caught.value)


BOTH = ("config", "workdir")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with the runs `runs/x` and `demo`."""
    monkeypatch.chdir(tmp_path)
    for name in ("runs/x", "demo"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.toml").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("names", "words", "wanted"),
    [
        (("workdir",), ["runs/x"], (None, "runs/x")),
        (("workdir",), ["anything"], (None, "anything")),
        (("workdir",), ["runs/x", "--workdir=./runs/x/"], (None, "runs/x")),
        (("config",), ["runs/x"], ("runs/x", None)),
        (("config",), ["demo"], ("demo", None)),
        (BOTH, ["runs/x"], (None, "runs/x")),
        (BOTH, ["esc10_small", "--workdir=w"], ("esc10_small", "w")),
        (BOTH, ["--workdir=w", "mine.toml"], ("mine.toml", "w")),
        (BOTH, ["demo", "--workdir=demo"], ("demo", "demo")),
        (BOTH, ["demo", "--config=demo", "--workdir=w"], ("demo", "w")),
        (BOTH, ["runs/x", "--workdir=runs/x"], (None, "runs/x")),
        (BOTH, ["runs"], ("runs", None)),
        (BOTH, [], (None, None)),
    ],
)
def test_a_word_stands_for_a_flag(here, names, words, wanted):
    assert assigned(names, *words) == wanted


def test_a_word_stands_for_a_run_in_the_home_folder(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    assert assigned(BOTH, "~/runs/x") == (None, "~/runs/x")


@pytest.mark.parametrize(
    ("names", "words", "message"),
    [
        (("workdir",), ["a", "--workdir=b"], "a and --workdir=b are both given and"),
        (("config",), ["a", "--config=b"], "a and --config=b are both given and"),
        (BOTH, ["runs/x", "--workdir=b"], "a new run with its configuration, --config"),
        (BOTH, ["demo"], "give --workdir=demo or --config=demo"),
        (BOTH, ["a", "b", "c"], "unexpected argument b c (write --flag=value)"),
        ((), ["a", "b"], "unexpected argument a b (write --flag=value)"),
    ],
)
def test_words_that_contradict_flags_or_are_too_many_are_refused(
    here, names, words, message
):
    assert message in refusal(assigned, names, *words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--workdir"], "--workdir: a value is missing; write --workdir=VALUE"),
        (["--workdir", "--json"], "a value is missing (it is followed by --json)"),
        (["--train.epochs", "--nojson"], "--train.epochs: a value is missing"),
        (["--workdir", "=", "x"], "--workdir =: write --flag=value without blanks"),
        (["--workdir", "=x"], "--workdir =x: write --flag=value without blanks"),
        (["--json", "true"], "--json true: write --json=true"),
        (["--augment.time_roll", "False"], "write --augment.time_roll=False"),
        (["—workdir=x"], "a dash that is no hyphen; write --workdir=x"),
        (["\N{EN DASH}json"], "a dash that is no hyphen; write --json"),
        (["workdir=x"], "workdir=x: an argument without --; write --workdir=x"),
        (["train.epochs=3"], "write --train.epochs=3"),
        (["--nojson=true"], "--nojson=true does not take an argument"),
    ],
)
def test_a_slip_is_named_with_what_to_write(words, message):
    assert message in refusal(parsed, *words)


def test_what_only_looks_like_a_slip_is_taken_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "workdir=x").touch()
    values = parsed("workdir=x", "--workdir=--json", "--", "--json", "—x", "true")
    assert values.positional == ["workdir=x", "--json", "—x", "true"]
    assert values.workdir == "--json" and not values.json
    # The value of a flag of a sweep, and a file of a word processor.
    assert parsed("--workdir", "train.epochs=3").workdir == "train.epochs=3"
    (tmp_path / "\N{EN DASH} take.wav").touch()
    assert parsed("\N{EN DASH} take.wav").positional == ["\N{EN DASH} take.wav"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--augment.mixup", "did you mean --augment.mixup_alpha?"),
        ("--augment.mixup=0.7", "did you mean --augment.mixup_alpha=0.7?"),
        ("--augment.mixup=yes", "did you mean --augment.mixup_alpha?"),
        ("--lr=0.1", "did you mean --train.learning_rate=0.1?"),
        (
            "--specaugment",
            "--augment.time_masks or --augment.frequency_masks?",
        ),
        ("--sr=16000", "did you mean --audio.sample_rate=16000?"),
        ("--epochs=5", "did you mean --train.epochs=5?"),
        ("--epochs", "did you mean --train.epochs?"),
        ("--dataset=ESC-50", "did you mean --dataset.dir=ESC-50?"),
        (
            "--dataset=esc10",
            "did you mean --dataset.name=esc10 or --dataset.dir=esc10?",
        ),
        ("--topk=2", "did you mean --top_k=2?"),
        ("-w", "-w: unknown flag; did you mean --workdir?"),
        ("-w=runs/x", "-w: unknown flag; did you mean --workdir=runs/x?"),
        ("--augment", "a section, not a flag; --help=augment lists its flags"),
        ("--xyzzy", "--xyzzy: unknown flag; --help lists the flags"),
    ],
)
def test_an_unknown_flag_is_answered_with_what_is_meant(word, message):
    assert message in refusal(parsed, word)


def test_a_file_that_begins_with_a_hyphen_is_named_with_its_folder(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-x.wav").touch()
    assert "write ./-x.wav" in refusal(parsed, "-x.wav")


def test_a_key_that_the_command_does_not_take_is_called_that():
    values = flags.FlagValues()
    arguments.define_configuration(values, ("evaluate.batch_size",))
    with pytest.raises(UsageError) as caught:
        arguments.parse(values, ["--train.batch_size=4"])
    assert str(caught.value) == (
        "--train.batch_size: a key of the configuration that is no flag of this "
        "command; did you mean --evaluate.batch_size=4?"
    )


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (
            "--top_k=x",
            "--top_k=x: must be a whole number of at least 1 and at most",
        ),
        ("--top_k=0", "--top_k=0: must be a whole number of at least 1"),
        ("--split=tset", "one of train, test; did you mean test?"),
        ("--json=maybe", "--json=maybe: must be true or false"),
    ],
)
def test_a_value_that_a_flag_refuses_is_named_with_those_it_takes(word, message):
    assert message in refusal(parsed, word)


def test_the_shipped_configurations_are_named_beside_the_flag():
    assert "esc10_small" in defined()["config"].help


def test_a_folder_is_made_absolute(monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert arguments.make_absolute("~/x/../y") == "/home/someone/y"
    assert arguments.make_absolute("x") == os.path.join(os.getcwd(), "x")


def test_the_model_file_of_a_run_is_a_word_for_its_run(tmp_path):
    (tmp_path / "config.toml").touch()
    (tmp_path / "model.keras").touch()
    values = flags.FlagValues()
    flags.DEFINE_string("config", None, "", flag_values=values)
    flags.DEFINE_string("workdir", None, "", flag_values=values)
    arguments.parse(values, [str(tmp_path / "model.keras")])
    arguments.assign_word(values, ("config", "workdir"))
    assert values.workdir == str(tmp_path)
