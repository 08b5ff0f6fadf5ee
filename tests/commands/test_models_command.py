"""asc-tf models."""

import re
import subprocess
import sys

import pytest

from asc_tf import cli
from asc_tf.config import FAMILIES


def run(*words):
    return cli.main(["models", *words])


@pytest.mark.parametrize("words", [[], ["list"]])
def test_list_names_every_family_with_its_source_and_filters(words, capsys):
    assert run(*words) == 0
    text = capsys.readouterr().out
    for family in FAMILIES.values():
        assert re.search(rf"^{family.name} ", text, re.MULTILINE)
        assert family.summary in text
        assert family.source in text
        assert ",".join(map(str, family.filters)) in text


def test_list_needs_no_tensorflow():
    code = (
        "import sys\n"
        "sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
        "from asc_tf.cli import main\n"
        "sys.exit(main(['models', 'list']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_info_says_what_a_model_costs_for_the_features_of_a_configuration(capsys):
    assert run("info", "cp_mobile", "--config=esc10_small") == 0
    first, source, features, *rest = capsys.readouterr().out.strip().split("\n")
    assert first.startswith("cp_mobile: ")
    assert "Schmid" in source
    assert features == "features 313 x 64 (a segment of 5 s), 10 labels"
    assert rest[-1].startswith("32,127 parameters, 14.37 million MACs")
    assert "kB as int8 .tflite" in rest[-1]
    assert any(line.startswith("block6_project ") for line in rest)


def test_info_says_which_budget_a_model_is_over(capsys):
    command = ["info", "cp_mobile", "--config=esc10_small", "--model.budget_kb=500"]
    assert run(*command, "--model.budget_mmacs=1") == 0
    *_, last = capsys.readouterr().out.strip().split("\n")
    assert last == "over model.budget_mmacs = 1: cp_mobile takes about 14.4"


def test_info_without_a_name_is_that_of_the_configuration(capsys):
    assert run("info", "--config=esc10_small", "--labels=7") == 0
    text = capsys.readouterr().out
    assert text.startswith("separable_cnn: ")
    assert "7 labels" in text
    assert "61,399 parameters" in text


def test_info_takes_the_number_of_labels_of_the_corpus(capsys):
    assert run("info", "separable_cnn", "--dataset.name=fsdkaggle2018") == 0
    assert "41 labels" in capsys.readouterr().out


def test_filters_of_a_configuration_are_not_forced_on_another_family(tmp_path, capsys):
    path = tmp_path / "mine.toml"
    path.write_text('[model]\nname = "esa3_cnn"\nfilters = [8, 16, 32]\nunits = 9\n')
    assert run("info", "us8k_cnn", f"--config={path}") == 0
    assert "block2_conv2  " in capsys.readouterr().out


def test_info_imagenet_lists_the_layers_and_fetches_nothing(capsys, monkeypatch):
    import keras

    monkeypatch.setattr(keras.utils, "get_file", None)
    image = ("--frontend.image_frames=96", "--frontend.image_bands=96")
    assert run("info", "imagenet", *image) == 0
    assert "\nblock_16_project " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["show"], "show: unknown action (known: list, info)"),
        (["cp_mobile"], "did you mean info cp_mobile?"),
        (["list", "x"], "unexpected argument x after list"),
        (["info"], "info: no model; give one of separable_cnn"),
        (["info", "cp_mobil"], "unknown model; did you mean cp_mobile?"),
        (["info", "cp_mobile", "esa3_cnn"], "one model only"),
        (["info", "imagenet"], "takes images"),
        (["info", "cp_mobile", "--model.filters=8"], "needs 3 of them"),
        (["info", "cp_mobile", "--labels=1"], "labels"),
        (["info", "cp_mobile", "--config=nonsense"], "--config=nonsense: no such"),
        (
            ["info", "fsdkaggle2018_cnn", "--audio.segment_seconds=0.1"],
            "features of 7 x 64 are too small",
        ),
    ],
)
def test_wrong_usage_is_refused_with_what_to_do(words, wanted, capsys):
    assert run(*words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert wanted in err
