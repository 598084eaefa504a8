"""What the doctor found: one line for each check, as text, HTML and a DataFrame."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from html import escape
from textwrap import wrap
from typing import TYPE_CHECKING

from labkit.text import html
from labkit.text.plain_enum import PlainEnum

if TYPE_CHECKING:
    import pandas as pd


class Status(PlainEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"  # it works, but not as it should
    FAIL = "fail"
    SKIPPED = "skipped"  # something it needs failed


OK, WARN, FAIL, SKIPPED = Status
_COLOURS = {OK: html.GREEN, WARN: html.AMBER, FAIL: html.RED, SKIPPED: html.GREY}


@dataclass(frozen=True)
class Finding:
    """What one look found, and what to do about it."""

    status: Status
    text: str
    fix: str = ""


def ok(text: str) -> Finding:
    """Return that all is well."""
    return Finding(OK, text)


def warn(text: str, fix: str) -> Finding:
    """Return that it works, but not as it should."""
    return Finding(WARN, text, fix)


def fail(text: str, fix: str) -> Finding:
    """Return that it does not work."""
    return Finding(FAIL, text, fix)


@dataclass(frozen=True)
class Check:
    """One line.

    Attributes
    ----------
    area : str
        ``profile``, ``kafka``, ``elasticsearch`` (``elasticsearch es-2`` for other targets than
        default), ``here``.
    check : str
        What was looked at.
    status : Status
        ``ok``, ``warn`` (works, but not as it should), ``fail``, ``skipped`` (something it needs
        failed).
    finding, fix : str
        One line each; ``fix`` is empty when nothing is to be done.
    took_s : float
        How long it took.
    """

    area: str
    check: str
    status: Status
    finding: str
    fix: str
    took_s: float


class Diagnosis:
    """All checks, in the order they were made.

    Attributes
    ----------
    checks : tuple of Check
    """

    def __init__(self, profile: str, checks: tuple[Check, ...]) -> None:
        self.profile = profile
        self.checks = checks

    @property
    def healthy(self) -> bool:
        """Whether nothing failed; what only warns is healthy."""
        return not self.failed

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return tuple(check for check in self.checks if check.status == FAIL)

    def __getitem__(self, name: str) -> Check:
        """Return the check ``"kafka login"``: area and check, as they are printed."""
        by_name = {f"{check.area} {check.check}": check for check in self.checks}
        return by_name[name]

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per check: area, check, status, finding, fix, took_s."""
        import pandas as pd

        return pd.DataFrame(
            [asdict(check) for check in self.checks], columns=list(Check.__dataclass_fields__)
        )

    @property
    def summary(self) -> str:
        """One line: how many are how."""
        counts = Counter(check.status for check in self.checks)
        counted = ", ".join(f"{counts[status]} {status}" for status in _COLOURS if counts[status])
        return f"profile {self.profile}: {counted}"

    def text(self, columns: int | None = None) -> str:
        """Return a line for each check, and how to mend what fails.

        Findings are broken at so many columns, but no fix: there are commands in it, to be copied.
        """
        width = max((len(f"{check.area} {check.check}") for check in self.checks), default=0) + 10
        lines = []
        for check in self.checks:
            head = f"{check.status:<8}{check.area} {check.check}".ljust(width)
            parts = [check.finding]
            if columns is not None:
                room = max(20, columns - width)
                parts = wrap(check.finding, room, break_on_hyphens=False) or [""]
            lines += [head + parts[0], *(" " * width + part for part in parts[1:])]
            if check.fix:
                lines.append(" " * width + f"-> {check.fix}")
        return "\n".join([*lines, self.summary])

    def __str__(self) -> str:
        return self.text()

    __repr__ = __str__

    @html.view
    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr><td style="color:{_COLOURS[check.status]};font-weight:bold">{check.status}</td>'
            f'<td style="text-align:left;white-space:nowrap">{escape(check.area)} {escape(check.check)}</td>'
            f'<td style="text-align:left">{escape(check.finding)}'
            + (f"<br><b>&rarr; {escape(check.fix)}</b>" if check.fix else "")
            + "</td></tr>"
            for check in self.checks
        )
        return f"<table>{rows}</table><p>{escape(self.summary)}</p>"
