"""Secrets of a profile: read from where they lie, and never shown.

``${NAME}`` is an environment variable, ``${file:/run/secrets/x}`` a file's content, ``${keyring:service/user}`` an
entry of the system's keyring (the extra ``labkit[keyring]``). ``$${`` stands for a ``${`` that means itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labkit.errors import ConfigError

_NAMES = re.compile(
    r"password|secret|\bkey\b|key\.pem|api_key|_auth\b|authorization|user\.info|headers|bearer|token|jaas|oauthbearer\.config"
)
_NOT_SECRET = re.compile(r"\.location$|\.file$|\.url$|token\.endpoint|oauthbearer\.method")
_REFERENCE = re.compile(r"\$(\$?)\{([^{}]*)\}")


class Secret(str):
    """Text that shows itself as ``***`` wherever it is not asked for as text, as in a traceback's variables."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def is_secret(name: str) -> bool:
    """Tell whether the setting `name` holds a secret."""
    return bool(_NAMES.search(name)) and not _NOT_SECRET.search(name)


def masked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return `settings` with every secret value replaced by ``***``."""
    return {key: "***" if is_secret(key) else without_password(value) for key, value in settings.items()}


def without_password(value: Any) -> Any:
    """Return `value` with the password of each address ``scheme://user:password@host`` hidden."""
    if isinstance(value, list | tuple):
        return [without_password(one) for one in value]
    return re.sub(r"(://[^/@:\s]*):\S*@", r"\1:***@", value) if isinstance(value, str) else value


def pair(auth: Any) -> tuple[Any, ...]:
    """Return user and password, given so or as one text ``user:password``; a `Secret` one stays one."""
    if not isinstance(auth, str):
        return tuple(auth)
    user, *password = auth.split(":", 1)
    return user, *map(type(auth), password)


def sealed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return `settings` with every secret value as `Secret`."""
    return {key: _sealed(value) if is_secret(key) else value for key, value in settings.items()}


def _sealed(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [value[0], *map(_sealed, value[1:])] if len(value) == 2 else [*map(_sealed, value)]
    return Secret(value) if isinstance(value, str) else value


def literal(settings: Mapping[str, Any]) -> bool:
    """Tell whether a secret stands in `settings` itself, not a reference to where it lies."""
    return any(is_secret(key) and _has_literal(value) for key, value in settings.items())


def _has_literal(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return _has_literal(value[-1]) if value else False  # [user, password]
    if isinstance(value, Mapping):
        return any(map(_has_literal, value.values()))
    return bool(value) and not (isinstance(value, str) and _REFERENCE.search(value))


def quoted(text: str) -> str:
    """Return a text that `fill` makes `text` again, references in it and all."""
    return _REFERENCE.sub(lambda match: f"${match[0]}", text)


def fill(value: Any, *, where: str, folder: Path) -> Any:
    """Return `value` with each reference in it replaced by what it refers to.

    Parameters
    ----------
    where : str
        Whose settings these are, for the message of an error.
    folder : Path
        What a relative file is relative to.
    """
    if isinstance(value, dict):
        return {key: fill(item, where=where, folder=folder) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, where=where, folder=folder) for item in value]
    if not isinstance(value, str):
        return value

    def found(match: re.Match[str]) -> str:
        return match[0][1:] if match[1] else _look_up(match[2], where, folder)

    return _REFERENCE.sub(found, value)


def _look_up(reference: str, where: str, folder: Path) -> str:
    kind, colon, name = reference.partition(":")
    if not colon:
        return _variable(reference, where)
    if kind == "file":
        return _file(folder / Path(name).expanduser(), where)
    if kind == "keyring":
        return _keyring(name, where)
    raise ConfigError(
        f"{where}: ${{{kind}:…}} is no kind of reference",
        hint="write ${NAME} (environment), ${file:PATH} or ${keyring:SERVICE/USER}; $${ for a ${ that means itself",
    )


def _variable(name: str, where: str) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise ConfigError(f"{where} needs the environment variable {name}", hint="set it and try again") from None


def _file(path: Path, where: str) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise ConfigError(f"{where} needs {path}: {error.strerror}", hint="is the secret mounted here?") from error
    except ValueError:
        raise ConfigError(f"{where} needs {path}, which is no text", hint="it holds the secret and no more") from None


def _keyring(name: str, where: str) -> str:
    service, _, user = name.rpartition("/")
    try:
        import keyring
        import keyring.errors
    except ImportError as error:
        raise ConfigError(f"{where} needs a keyring", hint="pip install 'labkit[keyring]'") from error
    try:
        word = keyring.get_password(service, user)
    except keyring.errors.KeyringError as error:
        raise ConfigError(f"{where}: the keyring does not answer: {error}", hint="is it unlocked?") from error
    if word is None:
        raise ConfigError(
            f"{where}: the keyring has no {service!r} of {user!r}", hint=f"put it in: keyring set {service} {user}"
        )
    return str(word)
