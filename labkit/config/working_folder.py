"""A folder for what does not fit into memory while labkit works, such as the records of a query."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "labkit-work-"
_LOCKED_AFTER_S = 60  # one that was just made may have no lock yet


@contextmanager
def working_folder() -> Iterator[Path]:
    """Yield a folder in ``TMPDIR`` that no other user can read; it is deleted at the end.

    A process that is killed leaves its folder: the next one that needs a folder deletes it.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        _delete_if_abandoned(folder)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with _open_folder(folder) as descriptor:
            with suppress(OSError):  # a disk without locks: its folders are never deleted by others
                _lock(descriptor)
            yield folder


def _delete_if_abandoned(folder: Path) -> None:
    """Delete a folder of this user that no process has locked: a lock ends with its process."""
    with suppress(OSError), _open_folder(folder) as descriptor:
        status = os.fstat(descriptor)
        if status.st_uid == os.geteuid() and time.time() - status.st_mtime > _LOCKED_AFTER_S:
            _lock(descriptor)
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _open_folder(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Lock a folder; raise OSError when another process has."""
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
