"""Secrets of a profile: read from where they lie, and never shown.

``${NAME}`` is an environment variable, ``${file:/run/secrets/x}`` a file's content,
``${keyring:service/user}`` an entry of the system's keyring (the extra ``labkit[keyring]``).
``$${`` stands for a ``${`` that means itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labkit.checks.extras import needs_extra
from labkit.errors import ConfigError
from labkit.text.masking import HIDDEN, is_secret, without_login, without_secrets

_ADDRESS = re.compile(r"hosts?$|servers$|url$|proxy$|proxies|endpoint")
_REFERENCE = re.compile(r"\$(\$?)\{([^{}]*)\}")


class Secret(str):
    """Text that hides its secret unless it is asked for as text.

    So a traceback's variables do not show it. An address shows its host, anything else ``***``.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(without_secrets(str(self)) if "://" in self else HIDDEN)


def mask(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return `settings` with every secret hidden, nested or not.

    A secret is recognised by its setting's name, or by its value's form.
    """
    return {
        key: HIDDEN if is_secret(str(key)) else _mask_value(str(key), value)
        for key, value in settings.items()
    }


def _mask_value(key: str, value: Any) -> Any:
    if isinstance(value, Mapping):
        return mask(value)
    if isinstance(value, list | tuple):
        return [_mask_value(key, item) for item in value]
    if isinstance(value, str):
        return (without_login if _ADDRESS.search(key) else without_secrets)(str(value))
    return value


def pair(auth: Any) -> tuple[Any, ...]:
    """Return user and password, given so or as one text ``user:password``.

    A `Secret` one stays one.
    """
    if not isinstance(auth, str):
        return tuple(auth)
    user, *password = auth.split(":", 1)
    return user, *map(type(auth), password)


def seal(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return `settings` with every secret value, nested ones too, as `Secret`."""
    return {
        key: _seal_value(value, is_secret(str(key)), str(key)) for key, value in settings.items()
    }


def _seal_value(value: Any, secret: bool, key: str) -> Any:
    if isinstance(value, Mapping):
        return {
            name: _seal_value(item, secret or is_secret(str(name)), str(name))
            for name, item in value.items()
        }
    if isinstance(value, list | tuple):
        first = 1 if secret and len(value) == 2 else 0  # of [user, password] the user may be seen
        return [*value[:first], *(_seal_value(item, secret, key) for item in value[first:])]
    if not isinstance(value, str):
        return value
    return Secret(value) if secret or _mask_value(key, value) != value else str(value)


def literal(settings: Mapping[str, Any]) -> bool:
    """Tell whether a secret stands in `settings` itself, not a reference to where it lies."""
    return any(is_secret(key) and _has_literal(value) for key, value in settings.items())


def _has_literal(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return _has_literal(value[-1]) if value else False  # [user, password]
    if isinstance(value, Mapping):
        return any(map(_has_literal, value.values()))
    return bool(value) and not (isinstance(value, str) and _REFERENCE.search(value))


def references(value: Any) -> list[str]:
    """Return the kind of each reference in `value`: ``env``, ``file``, ``keyring``."""
    if isinstance(value, Mapping):
        return [kind for item in value.values() for kind in references(item)]
    if isinstance(value, list | tuple):
        return [kind for item in value for kind in references(item)]
    if not isinstance(value, str):
        return []
    pairs = [match[2].partition(":") for match in _REFERENCE.finditer(value) if not match[1]]
    return [kind if colon else "env" for kind, colon, _ in pairs]


def quote_reference(text: str) -> Secret:
    """Return a text that `fill` makes `text` again, references in it and all."""
    return Secret(_REFERENCE.sub(lambda match: f"${match[0]}", text))


def fill(value: Any, *, where: str, folder: Path) -> Any:
    """Return `value` with each reference in it replaced by what it refers to.

    Parameters
    ----------
    where : str
        Whose settings these are, for the message of an error.
    folder : Path
        What a relative file is relative to.
    """
    if isinstance(value, Mapping):
        return {key: fill(item, where=where, folder=folder) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, where=where, folder=folder) for item in value]
    if not isinstance(value, str):
        return value

    def found(match: re.Match[str]) -> str:
        return match[0][1:] if match[1] else _look_up(match[2], where, folder)

    return Secret(_REFERENCE.sub(found, value))


def _look_up(reference: str, where: str, folder: Path) -> str:
    kind, colon, name = reference.partition(":")
    if not colon:
        return _variable(reference, where)
    if kind == "file":
        return _file(folder / Path(name).expanduser(), where)
    if kind == "keyring":
        return _keyring(name, where)
    raise ConfigError(
        f"{where}: ${{{kind}:…}} is not a known reference",
        hint="write ${NAME} (environment), ${file:PATH} or ${keyring:SERVICE/USER}; $${ for a plain ${",
    )


def _variable(name: str, where: str) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise ConfigError(
            f"{where} needs the environment variable {name}", hint="set it and try again"
        ) from None


def _file(path: Path, where: str) -> str:
    try:
        return path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise ConfigError(
            f"{where} needs {path}: {error.strerror}", hint="is the secret mounted here?"
        ) from error
    except ValueError:
        raise ConfigError(
            f"{where} needs {path}, which is not text", hint="it holds the secret and no more"
        ) from None


def _keyring(name: str, where: str) -> str:
    service, _, user = name.rpartition("/")
    with needs_extra("keyring", where):
        import keyring
        import keyring.errors
    try:
        word = keyring.get_password(service, user)
    except keyring.errors.KeyringError as error:
        raise ConfigError(
            f"{where}: the keyring does not answer: {error}", hint="is it unlocked?"
        ) from error
    if word is None:
        raise ConfigError(
            f"{where}: the keyring has no {service!r} of {user!r}",
            hint=f"put it in: keyring set {service} {user}",
        )
    return str(word)
