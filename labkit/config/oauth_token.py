"""The token of an OAUTHBEARER login, from a Python function that a profile names.

``oauth_cb = "module:function"`` names an installed module, ``"tokens.py:function"`` a file beside
the ``labkit.toml``. The function takes the text of ``sasl.oauthbearer.config`` and returns the
token and the time it expires, in seconds since the epoch; it may add a principal and a dict of SASL
extensions. confluent_kafka waits ten seconds for a function that fails and does not say why, so
labkit calls it first. librdkafka calls it again, in a thread of its own, when four fifths of the
token's time are over. Errors name the function and the kind of failure, never the token.

What the function prints goes to standard error: standard output may be a command's JSON.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO, cast

from labkit.config.private import read_private
from labkit.errors import AccessError, ConfigError, LabkitError, UntrustedError
from labkit.text.masking import HIDDEN, without_secrets

SETTING = "oauth_cb"
_LIMIT = 1_000_000  # bytes of a file with the function
_MILLISECONDS = 100_000_000_000  # seconds since the epoch are fewer until the year 5138
_LIKE_A_TOKEN = re.compile(r"[\w+/=.~-]{24,}")
_FORM = "it must return (token, seconds since the epoch when it expires)"


_one_call = threading.RLock()  # two at once could not give standard output back in order
_calling = threading.local()  # .now: whether this thread runs the user's code


class TokenCallback:
    """A function that returns tokens, as librdkafka calls it.

    The clients of one connection share its tokens.

    Attributes
    ----------
    name : str
        As the profile names it.
    problem : str
        Why the last call gave no token; empty when it gave one.
    """

    def __init__(self, name: str, function: Callable[[str], Any]) -> None:
        self.name = name
        self.problem = ""
        self._function = function
        self._token: tuple[Any, ...] = ()
        self._reuse_until = 0.0

    def __repr__(self) -> str:
        return f"TokenCallback({self.name!r})"

    def __call__(self, config: str) -> tuple[Any, ...]:
        """Return the token with its expiry; the last one while less than half of its time is over.

        While none can be had, that is returned as long as it is valid.

        Raises
        ------
        AccessError
            When the function fails or returns something else, and the last token has expired.
        """
        if time.time() < self._reuse_until:
            return self._token
        try:
            self._token = self._fetch(config)
        except AccessError:
            if not self.expires_in_s:
                raise
        else:
            self._reuse_until = time.time() + self.expires_in_s / 2
        return self._token

    def _fetch(self, config: str) -> tuple[Any, ...]:
        """Return a new token with its expiry."""
        try:
            with _print_to_stderr():
                token = self._function(config)
        except Exception as error:  # whatever a user's function raises
            self.problem = f"{self.name} failed: {_describe(error)}"
            hint = (
                error.hint
                if isinstance(error, LabkitError)
                else "call it in a Python of this environment"
            )
            raise AccessError(
                f"no OAUTHBEARER token: {self.problem}", hint=hint, login=True
            ) from None  # its variables hold secrets
        self.problem = _problem_of(token)
        if self.problem:
            self.problem = f"{self.name} {self.problem}"
            raise AccessError(f"no OAUTHBEARER token: {self.problem}", hint=_FORM, login=True)
        return tuple(token)

    @property
    def expires_in_s(self) -> float:
        """How long the last token is valid; 0 without one."""
        return max(0.0, self._token[1] - time.time()) if self._token else 0.0


def mechanism_of(settings: Mapping[str, Any]) -> str:
    """Return the SASL mechanism a client uses."""
    return str(settings.get("sasl.mechanism", settings.get("sasl.mechanisms", "GSSAPI"))).upper()


def token_callback(settings: Mapping[str, Any]) -> TokenCallback | None:
    """Return the function that the settings of a client name; None when they name none.

    Raises
    ------
    ConfigError
        When it cannot be found, or the login does not use it.
    UntrustedError
        When others could have written it.
    """
    for key in settings:
        if key.endswith("_cb") and key != SETTING:
            raise ConfigError(
                f"a profile may name {SETTING}, not {key}", hint=f"remove {key} from the profile"
            )
    name = settings.get(SETTING)
    if name is None:
        return None
    if mechanism_of(settings) != "OAUTHBEARER":
        raise ConfigError(
            f"{SETTING} is set and sasl.mechanism is not OAUTHBEARER",
            hint="set it, or remove oauth_cb",
        )
    if str(settings.get("sasl.oauthbearer.method", "default")).lower() != "default":
        raise ConfigError(
            f"{SETTING} and sasl.oauthbearer.method exclude each other",
            hint=f"keep {SETTING} for a function of yours, sasl.oauthbearer.method for librdkafka's own way",
        )
    with _print_to_stderr():
        return TokenCallback(name, _load(name))


class _Stdout:
    """Standard output; for a thread that runs the user's code, standard error."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr if getattr(_calling, "now", False) else self._stream, name)


@contextmanager
def _print_to_stderr() -> Iterator[None]:
    """Send what this thread prints to standard error.

    `contextlib.redirect_stdout` would also take what other threads print meanwhile: librdkafka asks
    for tokens in a thread of its own, while a command prints records.
    """
    with _one_call:
        stdout, nested = sys.stdout, getattr(_calling, "now", False)
        sys.stdout, _calling.now = cast(TextIO, _Stdout(stdout)), True
        try:
            yield
        finally:
            sys.stdout, _calling.now = stdout, nested


def absolute(name: Any, folder: Path | None) -> Any:
    """Return `name` with a file's path made absolute: it is relative to the profile's file."""
    place, colon, function = str(name).rpartition(":")
    if not place.endswith(".py") or folder is None:
        return name
    return f"{(folder / Path(place).expanduser()).absolute()}{colon}{function}"


def _load(name: Any) -> Callable[[str], Any]:
    place, _, attribute = str(name).rpartition(":")
    if not place or not attribute.isidentifier():
        raise ConfigError(
            f"{SETTING} must be 'module:function' or 'FILE.py:function', not {str(name)!r}",
            hint='such as oauth_cb = "tokens.py:fetch", a file beside labkit.toml',
        )
    module = _from_file(Path(place)) if place.endswith(".py") else _import_installed(place)
    function = getattr(module, attribute, None)
    if not callable(function):
        raise ConfigError(
            f"{SETTING} {name!r}: {place} has no function {attribute!r}", hint="is the name right?"
        )
    return function  # type: ignore[no-any-return]


def _from_file(path: Path) -> ModuleType:
    """Run a file that only this user can have written: what is checked is what is run."""
    if not path.is_absolute():
        raise ConfigError(
            f"{SETTING}: {path} must be an absolute path",
            hint="only in a labkit.toml may it be relative",
        )
    try:
        content = read_private(path, limit=_LIMIT).content
    except UntrustedError:
        raise
    except OSError as error:
        raise ConfigError(
            f"{SETTING}: {path} cannot be read: {error.strerror}", hint="is it there?"
        ) from error
    module = ModuleType(path.stem)
    module.__file__ = str(path)
    try:
        exec(compile(content, path, "exec"), module.__dict__)  # noqa: S102  the user's own profile names it
    except Exception as error:
        raise ConfigError(
            f"{SETTING}: {path} fails: {_describe(error)}", hint=f"try: python {path}"
        ) from None
    return module


def _import_installed(name: str) -> ModuleType:
    """Import a module, but not from the working folder.

    That may be a cloned repository, and it comes first in Jupyter.
    """
    package = name.partition(".")[0]
    try:
        spec = importlib.util.find_spec(package)
    except ValueError:
        spec = None
    if spec is None:
        raise ConfigError(
            f"{SETTING}: there is no module {package!r}", hint="install it in this environment"
        )
    places = [Path(place).parent for place in spec.submodule_search_locations or ()]
    places += [Path(spec.origin).parent] if not places and spec.origin else []
    if package != "labkit" and any(place.resolve() == Path.cwd() for place in places):
        raise UntrustedError(
            f"{SETTING}: the module {package!r} lies in the working folder, whose code is not run with your identity",
            hint=f'install it, or name its file: oauth_cb = "{places[0] / (package + ".py")}:…"',
            reason="it lies in the working folder",
        )
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise ConfigError(
            f"{SETTING}: {name} cannot be imported: {_describe(error)}", hint="install it"
        ) from None


def _problem_of(token: Any) -> str:
    """Return what is wrong with a function's answer, without the answer.

    An empty text when nothing is.
    """
    if not isinstance(token, tuple | list) or len(token) not in (2, 3, 4):
        return f"returned {_kind(token)}"
    text, expires_s, *more = token
    if not isinstance(text, str):
        return f"returned {_kind(text)} as token"
    if not text or re.search(r"\s", text):
        return "returned an empty token, or one with white space"
    for value, kind, place in zip(more, (str, dict), ("principal", "extensions"), strict=False):
        if not isinstance(value, kind):
            return f"returned {_kind(value)} as {place}"
    return _problem_of_expiry(expires_s)


def _problem_of_expiry(expires_s: Any) -> str:
    if isinstance(expires_s, bool) or not isinstance(expires_s, int | float):
        return f"returned a token that expires at {_kind(expires_s)}"
    if expires_s > _MILLISECONDS:
        return "returned a token whose expiry is in milliseconds"
    if not expires_s > time.time():  # NaN too
        return f"returned a token that expired {time.time() - expires_s:,.0f} s ago"
    return ""


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a value of type {type(value).__name__}"


def _describe(error: Exception) -> str:
    """Return an error's kind and text, without what looks like a token in it."""
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {_LIKE_A_TOKEN.sub(HIDDEN, without_secrets(text))}"
