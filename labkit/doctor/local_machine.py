"""What a lab needs of this machine: libraries, JupyterLab, room for the cache."""

from __future__ import annotations

import platform
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from labkit.config.folders import cache_dir
from labkit.doctor.check_runner import Examination
from labkit.doctor.diagnosis import Finding, fail, ok, warn
from labkit.errors import LabkitError
from labkit.sinks import cache as windows

_LIBRARIES = ("confluent-kafka", "elasticsearch", "pyarrow", "polars", "pandas", "duckdb", "altair")
_NOTEBOOK = ("jupyterlab", "ipywidgets", "vl-convert-python", "papermill")
_ROOM_BYTES = 1_000_000_000


def examine(deadline: float) -> Examination:
    """Look at this machine."""
    look = Examination("here", deadline)
    look.look("libraries", libraries)
    look.look("notebook", notebook)
    look.look("cache", cache)
    return look


def libraries() -> Finding:
    """Name the versions of what talks to servers and holds data."""
    versions = {name: _version(name) for name in ("labkit", *_LIBRARIES)}
    text = f"Python {platform.python_version()}, " + ", ".join(
        f"{name} {version}" for name, version in versions.items() if version
    )
    lacking = [name for name, version in versions.items() if not version and name != "labkit"]
    if lacking:
        return fail(f"not installed: {', '.join(lacking)}", f"pip install {' '.join(lacking)}")
    if not versions["elasticsearch"].startswith("8."):
        return fail(
            text, "pip install 'elasticsearch>=8.19,<9': that client speaks to servers 8 and 9"
        )
    return ok(text)


def notebook() -> Finding:
    """Name the versions of what shows and runs notebooks."""
    versions = {name: _version(name) for name in _NOTEBOOK}
    lacking = [name for name, version in versions.items() if not version]
    if lacking:
        return warn(f"not installed: {', '.join(lacking)}", f"pip install {' '.join(lacking)}")
    return ok(", ".join(f"{name} {version}" for name, version in versions.items()))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def cache() -> Finding:
    """Write a file into the cache folder, and look how much room there is."""
    folder = cache_dir()
    fix = "set LABKIT_CACHE to a folder of your own, on a disk with room"
    existing = next((path for path in (folder, *folder.parents) if path.exists()), Path("/"))
    try:
        with (
            tempfile.NamedTemporaryFile(dir=existing) if existing.is_dir() else existing.open("ab")
        ):
            pass
    except OSError as error:
        return fail(f"{folder} cannot be written: {error.strerror}", fix)
    if not existing.is_dir():
        return fail(f"{folder} cannot be written: {existing} is a file", fix)
    try:
        bound = windows.bound_bytes()
        windows.folder()
    except LabkitError as error:
        return fail(error.message, error.hint or fix)
    free = shutil.disk_usage(existing).free
    text = f"{folder}: {free / 1e9:,.1f} GB free; windows are kept up to {bound / 1e9:g} GB (LABKIT_CACHE_GB)"
    return warn(text, fix) if free < _ROOM_BYTES else ok(text)
