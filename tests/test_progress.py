"""What shows how far something is, and what is silent."""

import sys

import pytest

from facekit.progress import CHANNEL, format_duration, track


def test_a_bar_yields_all_and_is_silent_where_nobody_looks(capsys, monkeypatch):
    for stream in (sys.stderr, None):  # None: closed
        monkeypatch.setattr(sys, "stderr", stream)
        assert list(track(iter("abc"), "reading", 3)) == ["a", "b", "c"]
        with track(None, "reading", 3, unit="batch") as bar:
            bar.set_postfix(loss=0.5, refresh=False)
            bar.update(3)
    monkeypatch.undo()
    assert capsys.readouterr() == ("", "")


def test_the_channel_holds_the_newest_line_and_nothing_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setenv(CHANNEL, str(tmp_path / "channel"))
    with pytest.raises(ZeroDivisionError):
        for item in track(range(5), "reading images"):
            assert (tmp_path / "channel").read_text().startswith("reading images, 0 of 5, ")
            1 / item
    assert (tmp_path / "channel").read_text() == ""


def test_durations_are_words():
    assert [format_duration(seconds) for seconds in (39.4, 2066, 4500)] == ["39 s", "34 min", "1 h 15 min"]
