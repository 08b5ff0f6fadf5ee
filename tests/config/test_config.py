import dataclasses
import math
import re
from pathlib import Path

import pytest
from settings import other_value

from asc_tf import config
from asc_tf.cli import MODULES
from asc_tf.config import FIELDS, Audio, Config, Frontend, suggest
from asc_tf.config.options import coerce, item_type
from asc_tf.core.errors import UsageError
from asc_tf.core.suggestions import ALIASES, format_suggestions

CONFIGS = Path(__file__).parents[2] / "configs"
SHIPPED = sorted(CONFIGS.glob("*.toml"))

ODD_VALUES = {
    "dataset.dir": "C:\\tab\there\n\"quoted\" 'single' ünï \u2028 \x7f",
    "dataset.validation_share": 0.1 + 0.2,
    "dataset.test_share": 1 / 3,
    "dataset.seed": 2**31 - 1,
    "dataset.identifier_pattern": r"(?P<city>\w+)-(\d+)\.wav$",
    "dataset.csv_file": "meta # not a comment.csv",
    "dataset.label_column": "scène",
    "audio.segment_seconds": 1.0000000000000002,
    "frontend.win_length": 1000,
    "augment.noise_max_snr_db": 30.0,
    "model.filters": (8,),
    "model.freeze": ("block1*", "conv"),
}
"""Values that are hard to write as TOML, and for fields that do not take just any."""

IMAGE = {"frontend.image_frames": 299, "frontend.image_bands": 200}
NOISE = {"augment.noise": "folder", "augment.noise_dir": "/tmp/noise"}
START = {"model.init_from": "/tmp/run"}
NEEDED = {**dict.fromkeys([*IMAGE, "model.name"], IMAGE), **dict.fromkeys(NOISE, NOISE)}
NEEDED |= dict.fromkeys(["model.keep_head", "model.freeze"], START)
"""Other fields that a change of a field needs."""


def test_a_choice_that_is_given_twice_counts_once():
    config = Config().replace({"export.formats": ["int8", "float32", "int8"]})
    assert config.export.formats == ("int8", "float32")
    assert Config().replace({"model.filters": [8, 8, 8]}).model.filters == (8, 8, 8)


def written(folder, text, encoding="utf-8"):
    path = folder / "experiment.toml"
    path.write_text(text, encoding=encoding)
    return path


def refusal(call, *arguments):
    with pytest.raises(UsageError) as caught:
        call(*arguments)
    return str(caught.value)


def test_a_configuration_written_as_toml_reads_back_equal_whatever_is_changed(tmp_path):
    for key, item in FIELDS.items():
        changes = {key: ODD_VALUES.get(key, other_value(key)), **NEEDED.get(key, {})}
        assert changes[key] != item.default, key
        before = Config().replace(changes)
        after = config.read(written(tmp_path, before.to_toml()))
        assert after == before
        assert all(after.flat()[name] == value for name, value in changes.items())
        kinds = {key: type(value) for key, value in after.flat().items()}
        assert kinds == {key: type(value) for key, value in before.flat().items()}


def test_an_empty_file_is_the_default_configuration(tmp_path):
    assert config.read(written(tmp_path, "")) == Config()


def test_a_file_with_a_byte_order_mark_is_read(tmp_path):
    path = written(tmp_path, "[frontend]\nn_mels = 32\n", encoding="utf-8-sig")
    assert config.read(path).frontend.n_mels == 32


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            "[frontend]\nn_mel = 64",
            ["frontend.n_mel", "unknown key", "frontend.n_mels"],
        ),
        ("[dataset]\nn_mels = 64", ["dataset.n_mels", "mean frontend.n_mels?"]),
        ("[fronted]\nn_mels = 64", ["fronted", "unknown section", "mean frontend?"]),
        ("n_mels = 64", ["n_mels", "unknown section"]),
        ("frontend = 64", ["frontend = 64", "must be a table"]),
        ("[[frontend]]\nn_mels = 64", ["frontend = [{", "must be a table"]),
        ("[frontend.n_mels]\nx = 1", ["frontend.n_mels = {'x': 1}", "whole number"]),
        ('[frontend]\nn_mels = "64"', ["frontend.n_mels = '64'", "a whole number"]),
        ("[frontend]\nn_mels = 0", ["frontend.n_mels = 0", "at least 1"]),
        ("[frontend]\nn_mels = 9999", ["frontend.n_mels = 9999", "at most 1024"]),
        (
            '[dataset]\nname = "esc_10"',
            ["dataset.name = 'esc_10'", "one of synthetic, folder", "mean esc10?"],
        ),
        ("[dataset]\ndir = 2020-01-01", ["dataset.dir = ", "must be Unicode text"]),
        ("[frontend\n", ["not valid TOML", "line 1"]),
        ("[train]\nseed = 1\nseed = 2", ["not valid TOML", "Cannot overwrite a value"]),
    ],
)
def test_a_bad_file_is_refused_naming_file_key_value_and_nearest_key(
    tmp_path, text, wanted
):
    path = written(tmp_path, text)
    message = refusal(config.read, path)
    assert message.startswith(f"{path}: ")
    for words in wanted:
        assert words in message


def test_a_file_that_is_missing_or_no_text_is_refused_by_name(tmp_path):
    missing = tmp_path / "missing.toml"
    assert str(missing) in refusal(config.read, missing)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    assert f"{binary}: cannot be read" in refusal(config.read, binary)


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("train.epochs", True, "must be a whole number"),
        ("train.epochs", 3.0, "must be a whole number"),
        ("train.epochs", "3", "must be a whole number"),
        ("train.epochs", None, "must be a whole number"),
        ("train.learning_rate", True, "must be a finite number"),
        ("train.learning_rate", "fast", "must be a finite number"),
        ("train.learning_rate", math.nan, "must be a finite number"),
        ("train.learning_rate", math.inf, "must be a finite number"),
        ("train.warmup_epochs", math.inf, "must be a finite number"),
        ("train.warmup_epochs", 10**400, "must be a finite number"),
        ("frontend.db_reference_value", math.inf, "must be a finite number"),
        ("frontend.fmax", -math.inf, "must be a finite number"),
        ("train.warmup_epochs", -0.5, "must be at least 0"),
        ("dataset.validation_share", -0.1, "must be at least 0.0"),
        ("dataset.validation_share", 1.0, "must be at most 0.9"),
        ("train.seed", -1, "must be at least 0"),
        ("train.seed", 2**32, "must be at most 2147483647"),
        ("dataset.seed", 2**31, "must be at most 2147483647"),
        ("augment.time_roll", 1, "must be true or false"),
        ("augment.time_roll", "true", "must be true or false"),
        ("dataset.dir", 5, "must be Unicode text"),
        ("dataset.dir", "caf\udce9", "must be Unicode text"),
        ("dataset.dir", "a\0b", "must be Unicode text"),
        ("audio.cache", "ram", "must be one of memory, disk, none"),
        ("model.filters", 8, "must be a list"),
        ("model.filters", "8,16", "must be a list"),
        ("model.freeze", [8], "must be Unicode text"),
        ("export.formats", [], "must be a list of at least one item"),
        ("export.formats", "int8", "must be a list of at least one item"),
        ("model.filters", [8, "16"], "must be a whole number"),
        ("model.filters", [8, True], "must be a whole number"),
        ("model.filters", [8, 0], "must be at least 1"),
        ("model.filters", [8, 4096], "must be at most 2048"),
        ("export.formats", ["int8", "int4"], "must be one of saved_model"),
    ],
)
def test_a_value_of_the_wrong_type_or_range_is_refused_naming_key_and_value(
    key, value, wanted
):
    message = refusal(Config().replace, {key: value})
    shown = value[-1] if isinstance(value, list) and value else value
    assert message.startswith(f"{key} = {shown!r}: {wanted}")


@pytest.mark.parametrize("value", [1, 2, 1.5])
def test_a_whole_number_is_taken_for_a_float(value):
    power = Config().replace({"frontend.power": value}).frontend.power
    assert type(power) is float
    assert power == value


def test_a_list_becomes_a_tuple_so_that_the_configuration_is_hashable():
    changed = Config().replace({"model.filters": [8, 16]})
    assert changed.model.filters == (8, 16)
    assert hash(changed) == hash(Config().replace({"model.filters": (8, 16)}))


def test_the_limits_themselves_are_allowed():
    for key, item in FIELDS.items():
        default = item.default
        for limit in (item.metadata["minimum"], item.metadata["maximum"]):
            if limit is not None:
                is_list = isinstance(default, tuple)
                kind = item_type(item) if is_list else type(default)
                value = kind(limit)
                value = (value,) if is_list else value
                assert coerce(key, item, value) == value


def test_every_field_has_help_text_and_a_default_that_its_own_check_accepts():
    for key, item in FIELDS.items():
        assert len(item.metadata["help"]) > 5, key
        assert not item.metadata["help"].endswith("."), key
        value = coerce(key, item, item.default)
        assert value == item.default
        assert type(value) is type(item.default)


def test_values_that_fit_only_together_are_applied_together():
    changes = {"frontend.n_fft": 4096, "frontend.win_length": 4000}
    assert Config().replace(changes).frontend == Frontend(n_fft=4096, win_length=4000)


def test_a_check_across_keys_names_the_file_too(tmp_path):
    path = written(tmp_path, "[frontend]\nn_fft = 1000\n")
    message = refusal(config.read, path)
    assert message.startswith(f"{path}: frontend.n_fft = 1000: must be a power of two")


def test_segment_and_hop_are_rounded_to_whole_samples():
    audio = Audio(sample_rate=44100, segment_seconds=0.99999, hop_seconds=0.5)
    assert (audio.segment_samples, audio.hop_samples) == (44100, 22050)
    assert Audio(sample_rate=8000, segment_seconds=2.0).hop_samples == 16000


def test_a_configuration_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().train.epochs = 3


def test_replace_keeps_what_it_is_not_told_to_change():
    first = Config().replace({"train.epochs": 3, "audio.cache": "none"})
    second = first.replace({"train.seed": 8})
    differing = {k for k, v in second.flat().items() if v != Config().flat()[k]}
    assert differing == {"train.epochs", "audio.cache", "train.seed"}


@pytest.mark.parametrize(
    "key", ["n_mels", "model.n_mels", "frontend.n_mel", "nonsense"]
)
def test_replace_refuses_an_unknown_key(key):
    message = refusal(Config().replace, {key: 64})
    assert message.startswith(f"{key}: unknown key")
    assert ("frontend.n_mels" in message) == (key != "nonsense")


@pytest.mark.parametrize(
    ("word", "nearest"),
    [
        ("frontend.n_mels", "frontend.n_mels"),
        ("n_mels", "frontend.n_mels"),
        ("n_mell", "frontend.n_mels"),
        ("trian.seed", "train.seed"),
        ("evalute.batch_size", "evaluate.batch_size"),
        ("learning-rate", "train.learning_rate"),
        ("seed", "dataset.seed or train.seed"),
        ("train.sed", "train.seed"),
        ("augment.mixup", "augment.mixup_alpha"),
        ("lr", "train.learning_rate"),
        ("Sample-Rate", "audio.sample_rate"),
        ("sr", "audio.sample_rate"),
        ("batch", "train.batch_size or evaluate.batch_size"),
        ("spec_augment", "augment.time_masks or augment.frequency_masks"),
    ],
)
def test_the_nearest_key_is_suggested_with_or_without_its_section(word, nearest):
    assert suggest(word, FIELDS) == f"; did you mean {nearest}?"


def test_nothing_is_suggested_for_a_word_that_is_near_none():
    assert suggest("xyzzy", FIELDS) == ""
    assert suggest("anything", ()) == ""


def test_every_alias_is_another_name_of_something_that_there_is():
    known = {*FIELDS, *MODULES, "workdir", "model", "output", "top_k"}
    own = {key.rpartition(".")[2] for key in FIELDS}
    for word, meant in ALIASES.items():
        assert word.isalnum() and word.islower()
        assert set(meant) <= known, word
        assert word not in own


def test_at_most_three_names_are_suggested():
    assert format_suggestions([]) == ""
    assert format_suggestions("a") == "; did you mean a?"
    assert format_suggestions("abcd") == "; did you mean a, b or c?"


def test_every_shipped_configuration_reads_and_begins_with_a_comment():
    assert SHIPPED
    for path in SHIPPED:
        assert isinstance(config.read(path), Config)
        assert re.match(r"# \w", path.read_text(encoding="utf-8")), path


def test_a_shipped_configuration_is_found_by_its_bare_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in SHIPPED:
        assert config.find(path.stem).samefile(path)


def test_a_configuration_is_found_by_its_path(tmp_path):
    path = written(tmp_path, "")
    assert config.find(str(path)) == path


def test_the_configuration_of_a_run_folder_is_found_by_the_folder(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for folder in ("mine", "demo"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.toml").touch()
    assert config.find("mine") == Path("mine/config.toml")
    # A shipped name means the shipped one.
    assert config.find("demo").stem == "demo"


def test_a_folder_that_is_no_run_is_refused_with_the_flags_that_take_folders(tmp_path):
    message = refusal(config.find, str(tmp_path))
    assert f"--dataset.dir={tmp_path}" in message
    assert f"--workdir={tmp_path}" in message


def test_an_unknown_configuration_is_refused_with_a_list_of_those_there_are(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    # The second one is the file of a clone, away from it.
    for name in ("esc10_smal", "configs/esc10_small.toml"):
        message = refusal(config.find, name)
        assert message.startswith(f"--config={name}: no such file")
        assert "did you mean esc10_small?" in message
        assert all(path.stem in message for path in SHIPPED)


def test_configurations_inside_an_installed_package_hide_any_folder_beside_it(
    tmp_path, monkeypatch
):
    package = tmp_path / "site-packages" / "asc_tf"
    for folder, text in (
        (package / "configs", ""),
        (package.parent / "configs", "a stranger's"),
    ):
        folder.mkdir(parents=True)
        (folder / "mine.toml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(config, "__file__", str(package / "config" / "__init__.py"))
    monkeypatch.chdir(tmp_path)
    assert config.find("mine") == package / "configs" / "mine.toml"


def test_a_configuration_says_only_what_is_other_than_in_its_base(tmp_path):
    (tmp_path / "whole.toml").write_text(
        "[frontend]\nn_mels = 40\nhop_length = 256\n[train]\nepochs = 7"
    )
    (tmp_path / "middle.toml").write_text(
        'base = "whole.toml"\n[train]\nepochs = 8\nbatch_size = 3'
    )
    mine = tmp_path / "mine.toml"
    mine.write_text('base = "middle.toml"\n[frontend]\nn_mels = 64')
    wanted = {
        "frontend.n_mels": 64,
        "frontend.hop_length": 256,
        "train.epochs": 8,
        "train.batch_size": 3,
    }
    assert config.read(mine) == Config().replace(wanted)


def test_the_base_of_a_configuration_can_be_a_shipped_one(tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text('base = "esc10_small"\n[dataset]\nfold = 1')
    shipped = config.read(config.find("esc10_small"))
    assert config.read(mine) == shipped.replace({"dataset.fold": 1})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("base = 3", ["base = 3"]),
        ('base = ""', ["base = ''"]),
        ('base = "esc10_smal"', ["esc10_smal", "mean esc10_small?"]),
        ('base = "mine.toml"', ["mine.toml", "is based on this file"]),
        ('base = "other.toml"', ["other.toml", "is based on this file"]),
        ('base = "broken.toml"', ["broken.toml", "fronted: unknown section"]),
    ],
)
def test_a_base_that_is_none_is_refused_naming_file_and_value(tmp_path, text, words):
    (tmp_path / "other.toml").write_text('base = "mine.toml"')
    (tmp_path / "broken.toml").write_text("[fronted]\nn_mels = 3")
    mine = tmp_path / "mine.toml"
    mine.write_text(text)
    message = refusal(config.read, mine)
    assert all(word in message for word in words)
