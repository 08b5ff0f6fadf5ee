"""Progress bars."""

import sys

from asc_tf.core.progress_bar import make_bar, show_nothing


def test_a_bar_shows_the_name_and_how_many_of_all_items_are_done(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert list(make_bar("decode", "files")(iter("abc"), 3)) == ["a", "b", "c"]
    shown = capsys.readouterr().err
    assert "decode: " in shown and "0/3 [" in shown and " files/s]" in shown


def test_no_bar_is_shown_where_stderr_is_no_terminal(capsys):
    assert list(make_bar("decode", "files")(iter("abc"), 3)) == ["a", "b", "c"]
    assert list(show_nothing(iter("abc"), 3)) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""
