"""When the command of `labkit lag --alert` is called, and what it is told.

The program is real, and the verdicts are made here.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from labkit.errors import UnavailableError, UsageError
from labkit.groups import alerts as alerts_module
from labkit.groups.alerts import Alerts
from labkit.groups.verdicts import GroupVerdict

KEEP = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())"


def verdict(word: str, lag: int | None = 5, group: str = "g", **more: Any) -> GroupVerdict:
    return GroupVerdict(group, word, "why", 1, lag, **more)


def calls_of(tmp_path: Path, looks: list[Any], **options: Any) -> list[dict[str, Any]]:
    """Return what the command was told after these looks; a LabkitError is a look that failed."""
    file = tmp_path / "calls"
    file.touch()
    alerts = Alerts(shlex.join([sys.executable, "-c", KEEP, str(file)]), "prod", **options)
    for look in looks:
        if isinstance(look, Exception):
            alerts.away(look, "now")
        else:
            alerts.update(look, "now")
    alerts.close()
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_change_is_told_once(tmp_path: Path) -> None:
    words = [
        "unknown",
        "ok",
        "stalled",
        "stalled",
        "unknown",
        "stalled",
        "stopped",
        "ok",
        "idle",
        "ok",
    ]
    calls = calls_of(tmp_path, [[verdict(word)] for word in words])
    assert [(call["was"], call["verdict"], call["alarm"]) for call in calls] == [
        ("ok", "stalled", True),
        ("stalled", "stopped", True),
        ("stopped", "ok", False),
    ]
    assert calls[0] == {
        "cluster": "prod", "at": "now", "group": "g", "verdict": "stalled", "why": "why", "partitions": 1, "lag": 5,
        "unknown": 0, "behind_since": None, "alarm": True, "was": "ok",
    }  # fmt: skip


def test_who_is_bad_from_the_start_is_told(tmp_path: Path) -> None:
    calls = calls_of(
        tmp_path, [[verdict("unknown")], [verdict("stopped"), verdict("ok", group="other")]]
    )
    assert [(call["group"], call["was"], call["verdict"]) for call in calls] == [
        ("g", None, "stopped")
    ]


def test_a_group_that_ends_and_one_beyond_the_limit(tmp_path: Path) -> None:
    looks = [
        [verdict("ok", 5), verdict("slow", group="s")],
        [verdict("ok", 50)],
        [verdict("ok", 60)],
        [],
    ]
    calls = calls_of(tmp_path, looks, max_lag=9)
    assert [(call["group"], call["verdict"], call["alarm"]) for call in calls] == [
        ("s", "slow", True),
        ("g", "ok", True),
        ("s", "gone", False),
        ("g", "gone", False),
    ]


def test_a_cluster_that_does_not_answer_is_told_once(tmp_path: Path) -> None:
    away = UnavailableError("no broker answers")
    looks = [[verdict("ok")], away, away, [verdict("ok")], [verdict("ok")]]
    calls = calls_of(tmp_path, looks)
    assert [(call["group"], call["alarm"], call["why"]) for call in calls] == [
        (None, True, "no broker answers"),
        (None, False, "the cluster answers again"),
    ]


def test_a_named_group_that_cannot_be_seen_is_told(tmp_path: Path) -> None:
    hidden = verdict("unknown", None, flags=frozenset({"no leader"}), unknown=1)
    assert calls_of(tmp_path, [[hidden]]) == []
    assert calls_of(tmp_path, [[verdict("ok")], [hidden], [verdict("ok")]], named=["g"]) == []
    assert [
        one["alarm"] for one in calls_of(tmp_path, [[hidden], [hidden], [hidden]], named=["g"])
    ] == [True]


@pytest.mark.parametrize(
    "command", ["", "no-such-program-at-all x", "'unclosed"], ids=["empty", "missing", "quote"]
)
def test_a_command_that_cannot_be_is_told_before_the_watch(command: str) -> None:
    with pytest.raises(UsageError, match="--alert"):
        Alerts(command, "prod")


@pytest.mark.parametrize(
    ("code", "text"), [("raise SystemExit(7)", "ended with 7"), ("import time; time.sleep(60)", "did not end")],
    ids=["fails", "hangs"],
)  # fmt: skip
def test_a_command_that_fails_is_said(
    code: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labkit.groups.alerts.TIMEOUT_S", 1.0)
    messages: list[str] = []
    alerts = Alerts(shlex.join([sys.executable, "-c", code]), "prod", say=messages.append)
    alerts.update([verdict("stopped")], "now")
    alerts.close()
    assert len(messages) == 1
    assert text in messages[0]


def test_a_program_that_hangs_delays_no_look_and_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand calls of 30 s each held the end of a watch for eight hours.

    What the program has started ends with it.
    """
    monkeypatch.setattr(alerts_module, "TIMEOUT_S", 1.0)
    lines, began_s = list[str](), time.monotonic()
    alerts = Alerts(
        f"sh -c 'sleep 61 & echo $! >> {tmp_path}/children; wait'", "prod", say=lines.append
    )
    alerts.update([verdict("stopped", group=f"g{number}") for number in range(1000)], "now")
    assert time.monotonic() - began_s < 1
    alerts.close()
    assert time.monotonic() - began_s < 10
    # none wait any more where the end of the watch has dropped them first
    assert re.fullmatch(
        r"--alert: sh did not end in 1 s and was killed; \d+ calls waiting", lines[0]
    )
    assert re.fullmatch(r"--alert: 99\d calls were not made: the watch has ended", lines[-1])
    children = [int(line) for line in (tmp_path / "children").read_text().split()]
    assert children
    assert not [child for child in children if _runs(child)]


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_what_the_program_prints_is_no_line_of_the_watch(capfd: pytest.CaptureFixture[str]) -> None:
    alerts = Alerts("echo printed", "prod")
    alerts.update([verdict("stopped")], "now")
    alerts.close()
    assert capfd.readouterr() == ("", "printed\n")
