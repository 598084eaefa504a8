"""A wait is said where somebody reads it: as one line, and of which broker."""

from __future__ import annotations

import json
import signal
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from labkit import __main__
from labkit.checks.user_line import warn
from labkit.kafka.cluster import Cluster
from labkit.kafka.topic import LeaderWatch

TOPIC = "irc"
CLUSTER = Cluster({"bootstrap.servers": "127.0.0.1:1"})


def test_a_warning_of_the_command_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def main() -> int:
        warnings.simplefilter("always")
        warnings.warn("waiting for \x1b[31mKafka", stacklevel=1)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(warn, "waiting in a thread", UserWarning).result()
        return 0

    monkeypatch.setattr(__main__, "main", main)
    with warnings.catch_warnings():
        assert __main__.run() == 0
    assert capsys.readouterr().err == (
        "warning: waiting for \\u001b[31mKafka\nwarning: waiting in a thread\n"
    )


def statistics(
    *, leader: int = 2, state: str = "UP", group: str = "up", waiting: int = 1, idle_s: float = 0
) -> str:
    """Return what librdkafka 2.16 tells, as far as it is looked at."""
    partition = {"leader": leader, "fetch_state": "active"}
    broker = {"nodeid": 2, "nodename": "a:1", "state": state}
    broker |= {"waitresp_cnt": waiting, "rxidle": int(idle_s * 1e6)}
    told: dict[str, Any] = {
        "brokers": {"a:1/2": broker},
        "topics": {
            TOPIC: {
                "partitions": {
                    "0": {"partition": 0, **partition},
                    "1": {"partition": 1, **partition},
                    "-1": {"partition": -1, "leader": -1, "fetch_state": "none"},
                }
            }
        },
        "cgrp": {"state": group},
    }
    return json.dumps(told)


@pytest.mark.parametrize(
    ("told", "text"),
    [
        ({}, ""),
        ({"state": "INIT"}, "broker 2 at a:1, which leads partitions 0, 1, does not answer"),
        ({"idle_s": 6}, "broker 2 at a:1, which leads partitions 0, 1, does not answer"),
        ({"idle_s": 60, "waiting": 0}, ""),  # nothing was asked: it is paused, or its queue full
        ({"leader": -1}, "partitions 0, 1 have no leader"),
        ({"leader": 7}, "broker 7 at an unknown address, which leads partitions 0, 1, does not "
                        "answer"),
        ({"group": "query-coord"}, "the broker that coordinates the group does not answer"),
    ],
)  # fmt: skip
def test_what_a_member_waits_for_is_told_at_the_second_look(
    told: dict[str, Any], text: str
) -> None:
    watch = LeaderWatch(CLUSTER, TOPIC, is_member=True)
    look = watch.settings["stats_cb"]
    look(statistics(**told))
    assert watch.text == ""  # a connection that is just being made
    look(statistics(**told))
    assert watch.text == text
    look(statistics())
    assert watch.text == ""


def test_a_broker_that_may_wait_long_is_not_silent() -> None:
    patient = Cluster({"bootstrap.servers": "127.0.0.1:1", "fetch.wait.max.ms": 10_000})
    watch = LeaderWatch(patient, TOPIC)
    for _ in range(2):
        watch.settings["stats_cb"](statistics(idle_s=9))
    assert watch.text == ""


def test_who_is_no_member_needs_no_coordinator() -> None:
    watch = LeaderWatch(CLUSTER, TOPIC)
    for _ in range(2):
        watch.settings["stats_cb"](statistics(group="init"))
    assert watch.text == ""
