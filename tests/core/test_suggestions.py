from pathlib import Path

import pytest

from asc_tf.core.suggestions import suggest_path


@pytest.fixture
def place(tmp_path) -> Path:
    for name in ("ESC-50/audio", "TUT-2018"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "model.tflite").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("esc-50", "ESC-50"),
        ("ESC50/audio", "ESC-50/audio"),
        ("mode.tflite", "model.tflite"),
        # The folder is alike, but nothing in it is.
        ("ESC50/meta", None),
        ("UrbanSound8K", None),
    ],
)
def test_a_missing_path_suggests_the_one_that_is_there(place, given, meant):
    wanted = f"; did you mean {place / meant}?" if meant else ""
    assert suggest_path(place / given) == wanted


def test_a_relative_path_is_looked_for_in_the_working_folder(place, monkeypatch):
    monkeypatch.chdir(place / "ESC-50")
    assert suggest_path(Path("audo")) == f"; did you mean {place}/ESC-50/audio?"


def test_a_path_that_exists_suggests_nothing(place):
    assert suggest_path(place / "ESC-50") == ""


def test_a_path_below_a_file_suggests_nothing(place):
    assert suggest_path(place / "model.tflite" / "model.tflite") == ""
