"""The ``labkit.toml`` files in reach, whether each is trusted, and what an untrusted one may say.

A file in the user's configuration folder, or named by ``LABKIT_CONFIG``, is the user's own word.
One that is found in the working folder or above it may have come with a cloned repository. It may
say where a server is. Secrets are put into it only after ``labkit allow`` has recorded its path and
content, as direnv does, so a changed file (such as one with a new host) must be allowed again. It
never names code to load.
"""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from labkit.checks.user_line import warn
from labkit.config.private import make_private_folder, read_private, require_safe_parents
from labkit.config.secrets import references, seal
from labkit.errors import ConfigError, UntrustedError
from labkit.text.masking import is_secret

NAME = "labkit.toml"
LIMIT = 1_000_000  # bytes
# librdkafka loads a library, runs a command, or a client calls a function
_CODE = re.compile(r"plugin\.library\.paths|ssl\.engine\.|ssl\.providers|kinit\.cmd|_cb$|\.cb$")
# who this user is, without a word of it in the file: a private key, a ticket, a token of the
# machine
_IDENTITY = re.compile(
    r"key\.location|certificate\.location|keystore|client_cert|client_key|private\.key|keytab|kerberos"
    r"|assertion.*\.file|metadata\.authentication"
)
_TICKETS = {"GSSAPI", "OAUTHBEARER"}


@dataclass(frozen=True)
class ConfigFile:
    """A ``labkit.toml``, read once.

    Attributes
    ----------
    path : Path
    content : bytes
        What was read; it is not read again.
    mode : int
        The file's mode when it was read.
    own : bool
        Whether it is the user's word: of the configuration folder, or named by ``LABKIT_CONFIG``.
    """

    path: Path
    content: bytes = field(repr=False)
    mode: int
    own: bool

    @cached_property
    def tables(self) -> dict[str, Any]:
        """The profiles, not checked yet."""
        try:
            tables = tomllib.loads(self.content.decode()).get("profiles", {})
        except (ValueError, RecursionError) as error:
            raise ConfigError(  # the parser's own variables hold the whole file
                f"{self.path} cannot be read: {error}", hint="see 'A real cluster' in the README"
            ) from None
        if not isinstance(tables, dict):
            raise ConfigError(
                f"profiles in {self.path} must be a table", hint="write [profiles.NAME.kafka]"
            )
        return {name: _seal(table) for name, table in tables.items()}

    @property
    def allowed(self) -> bool:
        """Whether ``labkit allow`` has recorded this path with this content."""
        return (folder_of_allowed() / self.digest).is_file()

    @property
    def digest(self) -> str:
        """The hash of path and content."""
        return hashlib.sha256(os.fsencode(self.path.absolute()) + b"\0" + self.content).hexdigest()


def _seal(table: Any) -> Any:
    """Return a profile's table with its secrets sealed.

    What has not the form of one is as it was.
    """
    if not isinstance(table, dict):
        return table
    settings = {
        name: item for name, item in table.items() if isinstance(item, dict) and name != "topics"
    }
    plain = table | {name: seal(item) for name, item in settings.items()}
    targets = table.get("elasticsearch")
    if isinstance(targets, dict):
        plain["elasticsearch"] = {
            name: seal(settings) if isinstance(settings, dict) else settings
            for name, settings in targets.items()
        }
    return plain


def config_files() -> Iterator[ConfigFile]:
    """Yield the files in reach, the nearest first.

    What others could have written is left out with a warning.
    """
    if path_given := os.environ.get("LABKIT_CONFIG"):
        yield _read_named(Path(path_given))
        return
    own = config_folder()
    working_folder = Path.cwd()
    for folder in (working_folder, *working_folder.parents):
        if folder != own and (file := _read_found(folder / NAME, own=False)):
            yield file
    if file := _read_found(own / NAME, own=True):
        yield file


def config_folder() -> Path:
    """Return the user's configuration folder, which no working folder and no repository can be."""
    import platformdirs

    return Path(platformdirs.user_config_dir("labkit"))


def _read_named(path: Path) -> ConfigFile:
    """Read the file that ``LABKIT_CONFIG`` names, whoever owns it.

    A mounted secret is a link to a file that root owns.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LIMIT + 1)
            mode = os.fstat(file.fileno()).st_mode & 0o777
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error}", hint="see 'A real cluster' in the README"
        ) from error
    if len(content) > LIMIT:
        raise ConfigError(f"{path} has more than {LIMIT:,} bytes", hint="is it a labkit.toml?")
    return ConfigFile(path, content, mode, own=True)


def _read_found(path: Path, *, own: bool) -> ConfigFile | None:
    try:
        private_file = read_private(path, limit=LIMIT)
        if own:  # the user's own file gets secrets without being asked
            require_safe_parents(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UntrustedError as error:
        warn(f"{path} is left out: {error.reason}. LABKIT_CONFIG={path} takes it all the same")
        return None
    except OSError as error:  # a folder above that is closed to this user has no file either
        if os.path.lexists(path):
            warn(f"{path} is left out: {error.strerror}")
        return None
    return ConfigFile(path, private_file.content, private_file.mode, own=own)


# what a file of a repository may not do ------------------------------------------------------------------


def require_trust(
    name: str, table: Mapping[str, Any], file: ConfigFile, *, variables: bool, hides: bool
) -> None:
    """Raise UntrustedError when profile `name` wants what its file is not trusted with.

    Parameters
    ----------
    variables : bool
        Whether ``LABKIT_<PROFILE>_…`` variables add settings to it.
    hides : bool
        Whether the user's configuration folder has a profile of the same name.
    """
    if file.own:
        return
    refuse_code(name, table, file)
    needs = wants(name, table, variables=variables, hides=hides)
    if needs and not file.allowed:
        raise UntrustedError(
            f"{file.path} is not allowed to have {needs} for profile {name!r}",
            hint=f"look at the hosts in it, then `labkit allow {file.path}`; a changed file must be allowed again",
            path=str(file.path),
            wanted=needs,
        )


def refuse_code(name: str, table: Mapping[str, Any], file: ConfigFile) -> None:
    """Raise UntrustedError when a profile names code to load.

    It is raised too when a setting that is not a secret comes from another file.
    """
    for key, value in _settings(table):
        where = f"{key} of profile {name!r} in {file.path}"
        if _CODE.search(key):
            raise UntrustedError(
                f"{where} loads code",
                hint=f"only a {NAME} in {config_folder()}, or of LABKIT_CONFIG, may say so",
            )
        if not is_secret(key) and any(kind == "file" for kind in references(value)):
            raise UntrustedError(
                f"{where} is read from another file, which can change without being allowed again",
                hint="write the value itself; ${file:…} is for passwords and keys",
            )


def upper_name(name: str) -> str:
    """Return a profile's or a setting's name as it stands in a variable of the environment."""
    return re.sub(r"[^A-Z0-9]+", "_", name.upper())


def wants(name: str, table: Mapping[str, Any], *, variables: bool, hides: bool) -> str:
    """Return what of the user's own the profile would get, in words; an empty text for nothing."""
    if any(references(value) for _, value in _settings(table)):
        return "what its ${…} refer to"
    if variables:
        return f"the variables LABKIT_{upper_name(name)}_…"
    for key, value in _settings(table):
        if _IDENTITY.search(key) or (
            key.startswith("sasl.mechanism") and str(value).upper() in _TICKETS
        ):
            return f"your identity ({key})"
    kafka = table.get("kafka", {})
    names_mechanism = any(key.startswith("sasl.mechanism") for key in kafka)
    if str(kafka.get("security.protocol")).upper().startswith("SASL") and not names_mechanism:
        return "your identity (sasl.mechanism is GSSAPI by default)"
    return f"the place of your own profile {name!r} in {config_folder()}" if hides else ""


def _settings(table: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield each setting of a profile, nested ones too as ``headers.X-Key``.

    A table's or target's name is no part.
    """
    for settings in (
        table.get("kafka", {}),
        table.get("registry", {}),
        *table.get("elasticsearch", {}).values(),
    ):
        for key, value in settings.items():
            yield from _walk_settings(str(key), value)


def _walk_settings(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    yield key, value
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _walk_settings(f"{key}.{name}", item)
    elif isinstance(value, list):
        for item in value:
            yield from _walk_settings(key, item)


# what was allowed ----------------------------------------------------------------------------------------


def folder_of_allowed() -> Path:
    """Return the folder with one file for each allowed pair of path and content."""
    return config_folder() / "allowed"


def allow(file: ConfigFile) -> None:
    """Record that this path with this content may have secrets.

    Earlier contents of the path are forgotten.
    """
    revoke(file.path)
    make_private_folder(folder_of_allowed())
    descriptor = os.open(
        folder_of_allowed() / file.digest,
        os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW,
        0o600,
    )
    with os.fdopen(descriptor, "wb") as record:
        record.write(os.fsencode(file.path.absolute()))


def revoke(path: Path) -> bool:
    """Forget what was allowed for a path; return whether there was any."""
    removed = False
    for record in folder_of_allowed().glob("*"):
        if record.is_file() and record.read_bytes() == os.fsencode(path.absolute()):
            record.unlink()
            removed = True
    return removed


def find_to_allow(path: Path | None) -> ConfigFile:
    """Return the file that ``labkit allow`` is about.

    It is `path`, the ``labkit.toml`` in it, or without a path the nearest one.
    """
    if path is None:
        file = next((file for file in config_files() if not file.own), None)
        if file is None:
            raise ConfigError(
                f"no {NAME} in this folder or above it needs to be allowed",
                hint="name one: labkit allow PATH",
            )
        return file
    path = (path / NAME if path.is_dir() else path).absolute()
    private_file = read_private(path, limit=LIMIT)
    return ConfigFile(path, private_file.content, private_file.mode, own=False)
