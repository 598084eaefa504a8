"""How checks are made: each bounded in time, each after those it needs.

An error is a finding too.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from labkit.doctor.diagnosis import FAIL, SKIPPED, Check, Finding, fail
from labkit.errors import LabkitError


class OutOfTimeError(Exception):
    """A look took too long."""


def within(timeout_s: float, call: Callable[[], Any]) -> Any:
    """Return what `call` returns; it runs in a thread of its own.

    The thread is left behind when it takes too long. Name look-ups and C libraries cannot be told
    to stop.

    Raises
    ------
    OutOfTimeError
        When it takes longer than `timeout_s`.
    """
    answers: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()

    def work() -> None:
        try:
            answers.put((True, call()))
        except BaseException as error:  # it is raised where it is waited for
            answers.put((False, error))

    threading.Thread(target=work, daemon=True, name="labkit-doctor").start()
    try:
        good, answer = answers.get(timeout=max(0.0, timeout_s))
    except queue.Empty:
        raise OutOfTimeError from None
    if good:
        return answer
    raise answer


def all_within(timeout_s: float, calls: dict[str, Callable[[], Any]]) -> dict[str, Any]:
    """Return what each of `calls` returns, or the exception it raised.

    They run beside each other.
    """
    answers: dict[str, Any] = {}

    def one(name: str, call: Callable[[], Any]) -> None:
        try:
            answers[name] = within(timeout_s, call)
        except Exception as error:
            answers[name] = error

    threads = [threading.Thread(target=one, args=item, daemon=True) for item in calls.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout_s + 1)
    return {name: answers.get(name, OutOfTimeError()) for name in calls}


class Examination:
    """The checks of one area, one after another.

    Parameters
    ----------
    area : str
    deadline : float
        On the monotonic clock: no check goes on after it.
    """

    def __init__(self, area: str, deadline: float) -> None:
        self.area = area
        self.deadline = deadline
        self.checks: list[Check] = []

    def has_passed(self, name: str) -> bool:
        """Tell whether the check `name` did not fail and was not skipped."""
        return any(
            check.check == name and check.status not in (FAIL, SKIPPED) for check in self.checks
        )

    def look(
        self,
        name: str,
        call: Callable[[], Finding],
        *,
        needs: Sequence[str] = (),
        timeout_s: float = 3.0,
    ) -> None:
        """Make one check, when those it needs have passed and there is time."""
        start = time.monotonic()
        blocked = [need for need in needs if not self.has_passed(need)]
        if blocked:
            finding = Finding(SKIPPED, f"needs: {blocked[0]}")
        elif start >= self.deadline:
            finding = fail(
                "not checked: no time was left", "the checks before it are slow: mend those first"
            )
        else:
            finding = self._find(call, min(timeout_s, self.deadline - start))
        text, fix = (" ".join(part.split()) for part in (finding.text, finding.fix))
        self.checks.append(
            Check(self.area, name, finding.status, text, fix, round(time.monotonic() - start, 3))
        )

    def _find(self, call: Callable[[], Finding], timeout_s: float) -> Finding:
        try:
            finding: Finding = within(timeout_s, call)
            return finding
        except OutOfTimeError:
            return fail(
                f"no answer in {timeout_s:.1f} s",
                "is a firewall in between, or the server overloaded?",
            )
        except LabkitError as error:
            return fail(error.message, error.hint or "")
        except Exception as error:  # a check that breaks must not hide the others
            return fail(
                f"{type(error).__name__}: {error}", "this is labkit's fault: please report it"
            )
