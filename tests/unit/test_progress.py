"""What a notebook says of its progress when nobody watches."""

from __future__ import annotations

import sys

import pytest

from labkit.pipelines.files.extractor import Progress
from labkit.waiting import progress


@pytest.mark.parametrize(("records", "said"), [(3, "irc: 3 records, 2.0 MB in 0.0 s\n"), (0, "")])
def test_one_line_where_records_were_read_none_where_the_cache_had_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], records: int, said: str
) -> None:
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    monkeypatch.setattr(progress, "headless", lambda: True)
    with progress.bar("irc", 3) as advance:
        assert advance is not None
        if records:
            advance(records, 2_000_000)
    assert capsys.readouterr() == (said, "")


def test_a_bar_for_each_file_in_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress.file_bar() as tell:
        assert tell is None
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress.file_bar() as tell:
        assert tell is not None
        tell(Progress("a/first.gz", 5_000, 10_000, 100))
        tell(Progress("a/first.gz", 10_000, 10_000, 200))
        tell(Progress("-", 0, None, 300))
    shown = capsys.readouterr().err
    assert "first.gz:" in shown
    assert "10.0k" in shown
    assert "300 lines" in shown
