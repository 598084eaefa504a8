"""Who owns what of a server's folder.

Its configuration is only read by it; its data, logs and tmp are its own. Started by root, a server
runs as a user of its own, who could put links or files into whatever that user may write. So the
service's folder and its configuration belong to root, with modes that are set whatever the umask,
and only ``data``, ``logs`` and ``tmp`` are handed over. Nothing is followed on the way.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from labkit.config.folders import is_root
from labkit.config.private import read_private
from labkit.errors import StackError, UntrustedError, UsageError

USER = "_labkit"
_SPARE_UID = 60_919  # in a range that neither Debian nor systemd gives to anybody
_HAND_OVER = ("data", "logs", "tmp")
_FOLDER = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY | os.O_NOFOLLOW


@dataclass(frozen=True)
class Account:
    """The unprivileged user that the servers run as."""

    name: str
    uid: int
    gid: int


@cache
def service_account() -> Account | None:
    """Return the user that servers run as when the caller is root, else None.

    Elasticsearch refuses to run as root. The user is ``_labkit``, which nothing else runs as; it is
    made when it is missing. Where that cannot be done, it is a number that no user has.
    ``LABKIT_SERVICE_USER`` names another one.
    """
    if not is_root():
        return None
    name = os.environ.get("LABKIT_SERVICE_USER")
    account = _user_exists(name or USER) or (None if name else _make_user())
    if account is None and name:
        raise UsageError(
            f"there is no user {name!r}", hint="set LABKIT_SERVICE_USER to an unprivileged user"
        )
    account = account or _spare()
    if account.uid == 0:
        raise UsageError(
            "the servers do not run as root", hint="set LABKIT_SERVICE_USER to an unprivileged user"
        )
    return account


def _user_exists(name: str) -> Account | None:
    import pwd

    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(name, entry.pw_uid, entry.pw_gid)


def _make_user() -> Account | None:
    command = shutil.which("useradd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if command is None:
        return None
    options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
    process = subprocess.run(
        [command, *options, "--shell", "/usr/sbin/nologin", USER],
        capture_output=True,
        check=False,
        timeout=60,
    )
    return (
        _user_exists(USER) if process.returncode in (0, 9) else None
    )  # 9: another `up` was faster


def _spare() -> Account:
    import pwd

    with suppress(KeyError):
        owner = pwd.getpwuid(_SPARE_UID).pw_name
        raise StackError(
            f"no user for the servers: {USER} cannot be made, and {owner} has the uid {_SPARE_UID}",
            hint=f"useradd --system {USER}, or set LABKIT_SERVICE_USER to an unprivileged user",
        )
    return Account(str(_SPARE_UID), _SPARE_UID, _SPARE_UID)


# folders -------------------------------------------------------------------------------------------------


def prepare(folder: Path, parts: Iterable[str]) -> None:
    """Make the service's folder and its parts, each with its owner and mode.

    What was there before does not matter.

    Parameters
    ----------
    folder : Path
        Of one service, in a state folder that only its owner can write to.
    parts : iterable of str
        ``data``, ``logs`` and ``tmp`` become the service's own; any other part is only read by it.

    Raises
    ------
    UntrustedError
        When one of them is a link or belongs to another user.
    StackError
        When the service's user cannot reach the folder.
    """
    folder.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    account = service_account()
    _take(folder, 0o711 if account else 0o700, -1)
    for part in parts:
        if part in _HAND_OVER:
            _hand_over(folder / part, account)
        else:
            _take(folder / part, 0o750 if account else 0o700, account.gid if account else -1)
    if account:
        require_reachable(folder, account)


def _open(path: Path) -> int:
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    try:
        return os.open(path, _FOLDER)
    except OSError as error:
        reason = "is a link" if path.is_symlink() else f"cannot be opened: {error.strerror}"
        raise UntrustedError(
            f"{path} {reason}", hint="remove it, or `labkit down --purge`"
        ) from error


def _take(path: Path, mode: int, gid: int) -> None:
    """Make a folder that only the caller writes to, or take it back.

    Earlier versions handed it over to the server's user.
    """
    descriptor = _open(path)
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid() and not is_root():
            raise UntrustedError(
                f"{path} belongs to another user", hint="set LABKIT_STATE to a folder of your own"
            )
        os.fchown(descriptor, os.geteuid() if is_root() else -1, gid)
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def _hand_over(path: Path, account: Account | None) -> None:
    """Make a folder that the service owns.

    What is in it goes with it when the user is another than before.
    """
    descriptor = _open(path)
    try:
        owner = os.fstat(descriptor).st_uid
        if account is None and owner != os.geteuid():
            raise UntrustedError(
                f"{path} belongs to another user", hint="set LABKIT_STATE to a folder of your own"
            )
        if account is not None and owner != account.uid:
            _give_contents(descriptor, account)
            os.fchown(descriptor, account.uid, account.gid)
        os.fchmod(descriptor, 0o700)
    finally:
        os.close(descriptor)


def _give_contents(descriptor: int, account: Account) -> None:
    """Make the service the owner of all that is in a folder."""
    for _, folders, files, within in os.fwalk(".", dir_fd=descriptor, follow_symlinks=False):
        for name in (*folders, *files):
            status = os.stat(name, dir_fd=within, follow_symlinks=False)
            # not a second name of another's file
            if stat.S_ISDIR(status.st_mode) or status.st_nlink == 1:
                os.chown(name, account.uid, account.gid, dir_fd=within, follow_symlinks=False)


def require_reachable(path: Path, account: Account) -> None:
    """Raise StackError when a folder above `path` is closed to the servers' user."""
    for parent in (path, *path.parents):
        if not parent.stat().st_mode & 0o001:
            raise StackError(
                f"user {account.name!r} cannot reach {path}: {parent} is closed to it",
                hint="servers do not run as root; set LABKIT_STATE (and LABKIT_CACHE) to a folder others may enter",
            )


# files ---------------------------------------------------------------------------------------------------


def refuse_foreign(folder: Path, known: Iterable[str]) -> None:
    """Raise UntrustedError when a configuration folder holds what labkit did not write.

    jvm.options.d is such a thing.
    """
    foreign = sorted({item.name for item in folder.iterdir()} - set(known))
    if foreign:
        raise UntrustedError(
            f"{folder} holds what labkit did not write: {', '.join(foreign)}",
            hint=f"remove it; settings of your own go into {folder.parent / 'extra.yml'}",
        )


def publish(folder: Path) -> None:
    """Let only the service read the files of a folder; they stay the caller's."""
    account = service_account()
    for item in folder.iterdir():
        descriptor = os.open(item, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.fchown(
                    descriptor, os.geteuid() if account else -1, account.gid if account else -1
                )
                os.fchmod(descriptor, 0o640 if account else 0o600)
        finally:
            os.close(descriptor)


def read_extra(folder: Path) -> str:
    """Return settings of the user's own, ``extra.yml`` beside a service's folders.

    Empty when there are none.
    """
    try:
        return read_private(folder / "extra.yml", limit=1_000_000).content.decode()
    except FileNotFoundError:
        return ""


def open_log(path: Path) -> int:
    """Open a server's log for appending; it is the caller's own file, not a link to another."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        reason = "is a link" if path.is_symlink() else f"cannot be opened: {error.strerror}"
        raise UntrustedError(f"{path} {reason}", hint="remove it") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
        os.close(descriptor)
        raise UntrustedError(f"{path} is not a file of its own", hint="remove it")
    os.fchmod(descriptor, 0o600)
    return descriptor


def as_service() -> dict[str, Any]:
    """Return arguments of `subprocess.Popen` that run a command as the servers' user."""
    account = service_account()
    return {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}
