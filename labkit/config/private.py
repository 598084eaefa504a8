"""Open, check and use files and folders that another user could have made or could change.

A check by name and a use by name are two looks at what may be two files. So a file is opened
without following a link, the descriptor is checked, and the content is read from the descriptor.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import UntrustedError

_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
_LOOK = getattr(os, "O_PATH", os.O_RDONLY) | os.O_CLOEXEC  # a folder may be entered but not listed


@dataclass(frozen=True)
class PrivateFile:
    """The content of a file that no other user could have written, and its mode."""

    path: Path
    content: bytes
    mode: int


def read_private(path: Path, *, limit: int) -> PrivateFile:
    """Read a file that, like its folder, only this user or root can have written.

    Parameters
    ----------
    limit : int
        The largest file that is read, in bytes.

    Raises
    ------
    UntrustedError
        When it is a link or no regular file, belongs to another user, or others may write to it or
        to its folder.
    FileNotFoundError
        When there is no such file.
    """
    with _folder(path.parent) as folder:
        try:
            descriptor = os.open(path.name, _OPEN, dir_fd=folder)
        except (FileNotFoundError, PermissionError):
            raise
        except OSError as error:
            reason = "it is a link" if path.is_symlink() else str(error.strerror)
            raise UntrustedError(f"{path} is not read: {reason}", reason=reason) from error
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            _refuse(path, _file_problem(status, limit) or _folder_problem(os.fstat(folder), status))
            return PrivateFile(path, file.read(limit + 1), stat.S_IMODE(status.st_mode))


@contextmanager
def _folder(path: Path) -> Iterator[int]:
    descriptor = os.open(path, _LOOK | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _file_problem(found: os.stat_result, limit: int) -> str | None:
    if not stat.S_ISREG(found.st_mode):
        return "it is not a regular file"
    if found.st_size > limit:
        return f"it has {found.st_size:,} bytes, at most {limit:,} are read"
    return problem_of(found)


def _folder_problem(folder: os.stat_result, file: os.stat_result) -> str | None:
    """Return why the folder lets others choose which file is found in it, or None.

    In a folder with the sticky bit, such as /tmp, others cannot replace a file, but they may link
    to one.
    """
    if folder.st_mode & stat.S_ISVTX and folder.st_uid in (0, os.geteuid()):
        return (
            "its folder is open to others and it has a second name" if file.st_nlink > 1 else None
        )
    problem = problem_of(folder)
    return problem and f"its folder is not safe: {problem}"


def problem_of(found: os.stat_result) -> str | None:
    """Return why what `found` describes may have been changed by others, or None."""
    if found.st_uid not in (0, os.geteuid()):
        return "it belongs to another user"
    if stat.S_ISLNK(found.st_mode):
        return None  # whoever owns it; its mode means nothing
    if found.st_mode & stat.S_IWOTH:
        return "anybody may write to it"
    if found.st_mode & stat.S_IWGRP and not is_own_group(found.st_gid):
        return f"the group {found.st_gid} may write to it"
    return None


def is_own_group(gid: int) -> bool:
    """Tell whether this user is the only member of a group.

    The group that is made with a user is such a one.
    """
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    if gid != user.pw_gid or not set(group.gr_mem) <= {user.pw_name}:
        return False
    if group.gr_name == user.pw_name:
        return True
    return _knows_all_users() and {
        entry.pw_uid for entry in pwd.getpwall() if entry.pw_gid == gid
    } == {user.pw_uid}


def _knows_all_users() -> bool:
    """Tell whether this machine's files name all users.

    A directory service need not list its own.
    """
    try:
        lines = Path("/etc/nsswitch.conf").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return False
    sources = next(
        (line.split("#")[0].split()[1:] for line in lines if line.startswith("passwd:")), []
    )
    return bool(sources) and set(sources) <= {"files", "compat", "systemd"}


def _refuse(path: Path, reason: str | None) -> None:
    if reason:
        raise UntrustedError(f"{path} is not read: {reason}", reason=reason)


def make_private_folder(path: Path, *, mode: int = 0o700) -> Path:
    """Make a folder of this user's own, or refuse the one that is there.

    It has exactly `mode`, whatever the umask.

    Raises
    ------
    UntrustedError
        When it is a link, or another user made it, or one of the folders above lets others replace
        it.
    """
    _make_parents(path)
    require_safe_parents(path)
    with suppress(FileExistsError):
        path.mkdir(mode=mode)
    descriptor = _open_folder(path)
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid():
            raise UntrustedError(
                f"{path} belongs to another user (uid {status.st_uid})", hint=_ELSEWHERE
            )
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)
    return path


def make_shared_folder(path: Path) -> Path:
    """Make a folder that all may read, or refuse the one that is there.

    Only this user or root may write to it.

    Raises
    ------
    UntrustedError
        As `make_private_folder`; root's own folder is taken as it is.
    """
    _make_parents(path)
    require_safe_parents(path)
    try:
        path.mkdir(mode=0o755)
    except FileExistsError:
        pass
    else:
        path.chmod(0o755)
    descriptor = _open_folder(path)
    try:
        status = os.fstat(descriptor)
        if status.st_uid == os.geteuid() and not status.st_mode & stat.S_ISVTX:
            os.fchmod(descriptor, stat.S_IMODE(status.st_mode) & 0o755 | 0o755)
        elif problem := problem_of(status):
            raise UntrustedError(f"{path} is not safe: {problem}", hint=_ELSEWHERE)
    finally:
        os.close(descriptor)
    return path


def _make_parents(path: Path) -> None:
    """Make the folders above `path` that are missing, with modes that the umask does not change."""
    for parent in reversed([parent for parent in path.parents if not parent.exists()]):
        with suppress(FileExistsError):
            parent.mkdir()
            parent.chmod(0o755)


_ELSEWHERE = "name a folder of your own: LABKIT_STATE for the local stack, LABKIT_CACHE for downloads and windows"


def _open_folder(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        reason = "is a link" if path.is_symlink() else f"cannot be opened: {error.strerror}"
        raise UntrustedError(f"{path} {reason}", hint=_ELSEWHERE) from error


def require_safe_parents(path: Path) -> None:
    """Raise UntrustedError when a folder above `path` is not safe.

    It is not when another user could put something else in its place. A link among them counts as
    what it is and by where it leads.
    """
    above = path.absolute().parents
    for parent in (*above, *(path.resolve().parents if not path.is_symlink() else ())):
        status = parent.lstat()
        if status.st_mode & stat.S_ISVTX and status.st_uid == 0:
            continue
        if problem := problem_of(status):
            raise UntrustedError(
                f"{path} is not safe in {parent}: {problem}",
                hint=_ELSEWHERE,
                reason=f"{parent} is not safe: {problem}",
            )
