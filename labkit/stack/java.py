"""Find a Java that is new enough."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from labkit.errors import JavaNotFoundError
from labkit.folders import cache_dir

_FOLDERS = (
    "/usr/lib/jvm",
    "/usr/java",
    "/opt/java",
    "/Library/Java/JavaVirtualMachines",
    "/opt/homebrew/opt",
    str(Path.home() / ".sdkman/candidates/java"),
)
_INSTALL = {
    "linux": "install it: `apt-get install openjdk-{version}-jre-headless` or `conda install -c conda-forge openjdk`",
    "darwin": "install it: `brew install openjdk` or `conda install -c conda-forge openjdk`",
}


def find_java(minimum: int) -> Path:
    """Return a Java home of at least major version `minimum`.

    Looked for in ``LABKIT_JAVA_HOME``, ``JAVA_HOME``, ``PATH``, the environment's own prefix (conda) and the
    usual folders; the first that is new enough wins. Without one, a JRE is fetched.

    Raises
    ------
    JavaNotFoundError
        Naming the versions that were found and how to install one.
    """
    seen: dict[Path, int] = {}
    for home in _candidates():
        version = java_version(home)
        if version is None or home in seen:
            continue
        if version >= minimum:
            return home
        seen[home] = version
    return _fetch(minimum, seen)


def _candidates() -> Iterator[Path]:
    for variable in ("LABKIT_JAVA_HOME", "JAVA_HOME"):
        if value := os.environ.get(variable):
            yield Path(value)
    if found := shutil.which("java"):
        yield Path(found).resolve().parent.parent
    yield Path(sys.prefix)
    for folder in _FOLDERS:
        for home in sorted(Path(folder).glob("*")):
            yield home
            yield home / "Contents" / "Home"
            yield home / "libexec" / "openjdk.jdk" / "Contents" / "Home"


@cache
def java_version(home: Path) -> int | None:
    """Return the major version of the Java in `home`, or None when there is none that runs."""
    java = home / "bin" / "java"
    if not os.access(java, os.X_OK):
        return None
    try:
        done = subprocess.run([str(java), "-version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', done.stderr + done.stdout)
    return int(match[1]) if match else None


def _fetch(minimum: int, seen: dict[Path, int]) -> Path:
    import logging

    version = max(minimum, 21)
    try:
        import cjdk

        logging.getLogger("cjdk").setLevel(logging.ERROR)
        return Path(cjdk.java_home(vendor="temurin-jre", version=str(version), cache_dir=cache_dir() / "java"))
    except Exception as error:  # cjdk passes on whatever its download layer raises
        found = ", ".join(f"{number} in {home}" for home, number in seen.items()) or "none"
        hint = _INSTALL.get(sys.platform, "install a JRE").format(version=version)
        raise JavaNotFoundError(
            f"Java {minimum} or newer is needed; found: {found}; fetching one failed",
            hint=f"{hint}; or point LABKIT_JAVA_HOME at one",
            minimum=minimum,
        ) from error
