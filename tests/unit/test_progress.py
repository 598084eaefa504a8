"""What a notebook says of its progress when nobody watches."""

from __future__ import annotations

import pytest

from labkit import progress


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
