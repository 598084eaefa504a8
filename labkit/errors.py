"""The errors labkit raises.

LabkitError
 ├─ UsageError (ValueError)               an argument that cannot be right
 │   └─ RefusedError (PermissionError)    labkit's own rules forbid it, before any connection
 ├─ ConfigError (ValueError)              a profile, file or variable is missing or wrong
 │   └─ UntrustedError (PermissionError)   another user made it or could change it, or it was never allowed
 ├─ NotFoundError (LookupError)           no such topic, group or index
 ├─ AccessError (PermissionError)         the server refused these credentials or this operation
 ├─ UnavailableError (ConnectionError)    no server answers at that address
 ├─ DeadlineError (TimeoutError)          an answer did not come in time
 ├─ WindowError (ValueError)              a window that cannot be resolved
 │   └─ WindowExpiredError                its first records are no longer in the topic
 ├─ StackError (RuntimeError)             a local service could not be started or stopped
 │   └─ JavaNotFoundError                 no Java new enough
 ├─ IncompleteError (RuntimeError)        a window was not read to its frozen end
 └─ ServerError (RuntimeError)            the server answered with something else

Each has a one-line ``message``, an optional ``hint`` that names the remedy, and the facts as
attributes.

Stopped (KeyboardInterrupt) is no error but the user's own wish: Stop in JupyterLab, or Ctrl-C.
``except LabkitError`` and ``except Exception`` let it pass, so it ends a loop, a script and the
queued cells of Run All.

IncompleteWarning (UserWarning) comes with each frame or chart of a window that was not read to its
end.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.text.masking import without_secrets
from labkit.text.visible import visible

if TYPE_CHECKING:
    from labkit.replay.receipt import Receipt

_OURS = Path(__file__).parent
_RED, _BOLD, _PLAIN = "\x1b[0;31m", "\x1b[1m", "\x1b[0m"


class _Message(BaseException):
    """What labkit raises: a message, a hint and facts, shown in a notebook without the traceback.

    Parameters
    ----------
    message : str
        One line that says what is wrong.
    hint : str, optional
        What to do about it.
    **facts
        Numbers and names the message is made of; kept as attributes.
    """

    _section = ""  # where the documentation has it, under Reference, Errors

    def __init__(self, message: str, *, hint: str | None = None, **facts: Any) -> None:
        message = without_secrets(str(message))
        super().__init__(message)
        self.message = visible(" ".join(message.split()))
        self.hint = hint and visible(without_secrets(hint.strip()), keep="\n")
        self.facts: dict[str, Any] = {}
        self.add_facts(**facts)

    def add_facts(self, **facts: Any) -> None:
        """Keep facts, as attributes too, where Tab shows them."""
        self.facts.update(facts)
        self.__dict__.update(facts)

    def __str__(self) -> str:
        return f"{self.message}\nHint: {self.hint}" if self.hint else self.message

    def _render_traceback_(self) -> list[str]:
        """Return what IPython and Jupyter show: message, hint and the caller's own line.

        ``%tb Plain`` shows the whole traceback. No mode shows the values of our variables: secrets
        are among them.
        """
        import traceback

        shell = sys.modules["IPython"].get_ipython()
        if shell is not None and shell.InteractiveTB.mode in ("Plain", "Verbose"):
            return [line.rstrip("\n") for line in traceback.format_exception(self)]
        shown = [f"{_RED}{type(self).__name__}{_PLAIN}: {_BOLD}{self.message}{_PLAIN}"]
        if self.hint:
            shown.append(f"Hint: {self.hint}")
        if line := self._line():
            shown.append(line)
        page = (
            f"; more: the documentation, Reference, Errors, {self._section}"
            if self._section
            else ""
        )
        return [*shown, f"%tb Plain shows the whole traceback{page}"]

    def _line(self) -> str | None:
        """Return the line of the caller's that led here: the last one before labkit's own code."""
        import traceback

        line = None
        for frame in traceback.extract_tb(self.__traceback__):
            path = Path(frame.filename)
            if _OURS in path.parents:
                break
            # what IPython makes of %window
            magic = (frame.line or "").startswith("get_ipython().run_")
            if "IPython" not in path.parts and frame.line and not magic:
                line = f"  line {frame.lineno}: {frame.line}"
        return line


class LabkitError(_Message, Exception):
    """Root of all errors labkit raises."""


class Stopped(_Message, KeyboardInterrupt):
    """Stop, or Ctrl-C, ended the work early.

    Attributes
    ----------
    part : object
        What there was until then; also by its own name: ``replay``, ``load``, ``comparison``,
        ``frame``, ``receipt``.
    """

    _section = "Stop"

    part: Any


class IncompleteWarning(UserWarning):
    """This shows a part of a window: it was not read to its frozen end."""


class UsageError(LabkitError, ValueError):
    """An argument that cannot be right."""

    _section = "An argument"


class RefusedError(UsageError, PermissionError):
    """Forbidden by labkit's own rules; no server was asked."""


class ConfigError(LabkitError, ValueError):
    """A profile, a file or a variable is missing or wrong."""

    _section = "Configuration"


class UntrustedError(ConfigError, PermissionError):
    """A file or folder that another user made or could change, or a profile not allowed yet."""

    reason: str


class NotFoundError(LabkitError, LookupError):
    """No such topic, group or index."""

    _section = "The servers"


class AccessError(LabkitError, PermissionError):
    """The server refused these credentials or this operation."""

    _section = "The servers"


class UnavailableError(LabkitError, ConnectionError):
    """No server answers at that address."""

    _section = "The servers"


class DeadlineError(LabkitError, TimeoutError):
    """An answer did not come in time."""

    _section = "The servers"


class WindowError(LabkitError, ValueError):
    """A window that cannot be resolved."""

    _section = "Windows"


class WindowExpiredError(WindowError):
    """The window's first records are no longer in the topic."""


class StackError(LabkitError, RuntimeError):
    """A local service could not be started or stopped."""

    _section = "The local stack"


class JavaNotFoundError(StackError):
    """No Java new enough was found or could be fetched."""


class IncompleteError(LabkitError, RuntimeError):
    """A window was not read to its frozen end; ``receipt`` says how far it was."""

    _section = "Windows"

    receipt: Receipt


class ServerError(LabkitError, RuntimeError):
    """The server answered with an error of another kind."""

    _section = "The servers"
