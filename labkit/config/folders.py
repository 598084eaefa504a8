"""Where labkit keeps what it must remember and what it can fetch again."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from labkit.config.private import make_shared_folder

# in the state folder, but of extractors to any cluster, not of the local stack
SPOOL = "spool"  # what was received and not yet sent
JOURNAL = "extracted.json"  # how far which file was sent


def is_root() -> bool:
    """Tell whether this process may start others as another user."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def state_dir() -> Path:
    """Return the state folder (``LABKIT_STATE``).

    Not in root's home: it is closed to the servers' user.
    """
    if folder := os.environ.get("LABKIT_STATE"):
        return Path(folder).absolute()
    return Path("/var/lib/labkit") if is_root() else Path(platformdirs.user_state_dir("labkit"))


def cache_dir() -> Path:
    """Return the folder of what can be fetched again (``LABKIT_CACHE``)."""
    if folder := os.environ.get("LABKIT_CACHE"):
        return Path(folder).absolute()
    return Path("/var/cache/labkit") if is_root() else Path(platformdirs.user_cache_dir("labkit"))


def cache_folder(name: str) -> Path:
    """Return a folder of the cache, made where it is missing.

    One that others made or can write to is refused.
    """
    make_shared_folder(cache_dir())
    return make_shared_folder(cache_dir() / name)
