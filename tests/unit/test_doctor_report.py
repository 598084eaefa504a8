"""The doctor's rules that need no server.

They are bounds in time, what depends on what, watermarks, and addresses.
"""

from __future__ import annotations

import threading
import time

import pytest

from labkit.checks.suggest import for_a_shell, for_the_doctor, look_closer, way
from labkit.doctor.check_runner import Examination, OutOfTimeError, all_within, within
from labkit.doctor.diagnosis import Check, Diagnosis, Status, ok, warn
from labkit.doctor.elasticsearch import ElasticsearchLooks, least_free
from labkit.doctor.network import address_of
from labkit.elastic import Target
from labkit.errors import AccessError

GB = 2**30


@pytest.fixture
def for_ever() -> threading.Event:
    """An event that comes when the test is over."""
    event = threading.Event()
    yield event
    event.set()


def test_a_look_that_hangs_is_left_behind(for_ever: threading.Event) -> None:
    with pytest.raises(OutOfTimeError):
        within(0.05, for_ever.wait)
    outcomes = all_within(0.05, {"slow": for_ever.wait, "quick": lambda: 1, "bad": lambda: 1 / 0})
    assert isinstance(outcomes["slow"], OutOfTimeError)
    assert isinstance(outcomes["bad"], ZeroDivisionError)
    assert outcomes["quick"] == 1


def test_what_needs_a_check_that_failed_is_skipped_and_says_so(for_ever: threading.Event) -> None:
    look = Examination("area", time.monotonic() + 60)
    look.look("good", lambda: ok("fine"))
    look.look("so so", lambda: warn("hm", "do this"), needs=["good"])
    look.look("hangs", for_ever.wait, needs=["so so"], timeout_s=0.05)  # type: ignore[arg-type]
    look.look("next", lambda: ok("not asked"), needs=["good", "hangs"])
    look.look("after", lambda: ok("not asked"), needs=["next"])
    assert [(check.check, check.status) for check in look.checks] == [
        ("good", "ok"), ("so so", "warn"), ("hangs", "fail"), ("next", "skipped"), ("after", "skipped"),
    ]  # fmt: skip
    assert [check.finding for check in look.checks[3:]] == ["needs: hangs", "needs: next"]


def test_errors_are_findings_and_none_hides_the_others() -> None:
    look = Examination("area", time.monotonic() + 60)

    def refused() -> None:
        raise AccessError("not you", hint="ask")

    look.look("refused", refused)  # type: ignore[arg-type]
    look.look("broken", lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    assert [(check.status, check.finding) for check in look.checks] == [
        ("fail", "not you"), ("fail", "ZeroDivisionError: division by zero"),
    ]  # fmt: skip


def test_what_there_was_no_time_for_is_not_healthy() -> None:
    look = Examination("area", time.monotonic() - 1)
    look.look("late", lambda: ok("not asked"))
    diagnosis = Diagnosis("x", tuple(look.checks))
    assert not diagnosis.healthy
    assert str(diagnosis).splitlines()[-1] == "profile x: 1 fail"


def test_findings_are_broken_at_a_terminals_width_and_commands_are_not() -> None:
    long, command = "such as " + "kafka-clients 4.4.0, " * 12, "kafka-acls.sh " + "--add " * 20
    checks = (
        Check("here", "libraries", Status.WARN, long, command, 0.1),
        Check("kafka", "DNS", Status.OK, "", "", 0.1),
    )
    diagnosis = Diagnosis("local", checks)
    lines = diagnosis.text(80).split("\n")
    assert max(len(line) for line in lines if "->" not in line) <= 80
    assert " ".join(" ".join(lines[:-3]).split()).endswith(long.strip())
    assert f"-> {command}" in diagnosis.text(80)
    assert long in str(diagnosis)  # as a pipe has it


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("kafka-1:9093", ("kafka-1", 9093)),
        ("kafka-1", ("kafka-1", 9092)),
        ("SASL_SSL://kafka-1:9093", ("kafka-1", 9093)),
        ("[::1]:9093", ("::1", 9093)),
        ("[::1]", ("::1", 9092)),
    ],
)
def test_an_address_in_any_form_has_a_host_and_a_port(text: str, address: tuple[str, int]) -> None:
    assert address_of(text, 9092) == address


def test_addresses_of_elasticsearch_in_every_form_it_takes() -> None:
    hosts = [
        "https://alice:hunter2@es-1/path",
        "http://es-2",
        {"scheme": "https", "host": "es-3", "port": 9243},
    ]
    target = Target("default", {"hosts": hosts})
    assert ElasticsearchLooks(target, "irc*").addresses == [
        ("es-1", 443),
        ("es-2", 9200),
        ("es-3", 9243),
    ]
    assert "hunter2" not in target.address


@pytest.mark.parametrize(
    ("mark", "headroom", "free"),
    [
        ("85%", "-1", 150),
        ("0.85", "", 150),
        ("85%", "100gb", 100),
        ("85%", "200GB", 150),
        ("20gb", "-1", 20),
        ("", "", 0),
    ],
)
def test_a_disk_watermark_is_the_least_space_that_must_be_free(
    mark: str, headroom: str, free: int
) -> None:
    assert least_free(mark, headroom, {"total_in_bytes": 1000 * GB}) == pytest.approx(free * GB)


def test_hints_send_to_the_doctor_unless_the_doctor_gives_them() -> None:
    assert look_closer() == "`lab.doctor()` looks closer"
    with for_a_shell():
        assert look_closer() == "`labkit doctor` looks closer"
        with for_the_doctor():
            assert look_closer() == ""
            assert way("topics") == "`labkit topics`"
