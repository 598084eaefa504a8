"""Find a Java that is new enough, fetch one, or name the package of this system that has one."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from labkit.config.folders import cache_dir, cache_folder
from labkit.config.private import read_private
from labkit.errors import ConfigError, JavaNotFoundError

_FOLDERS = (
    "/usr/lib/jvm",
    "/usr/java",
    "/opt/java",
    "/Library/Java/JavaVirtualMachines",
    "/opt/homebrew/opt",
    str(Path.home() / ".sdkman/candidates/java"),
)
# of a virtual machine that ends within seconds: what is compiled well for later is lost work
SHORT_LIVED = "-XX:TieredStopAtLevel=1"
_FETCHED_VERSION = 21  # new enough for every service of the stack
_FETCH_TIMEOUT_S = 900


def java_options() -> list[str]:
    """Return the options of ``LABKIT_JAVA_OPTIONS``.

    They are for each Java virtual machine of the local stack.

    Raises
    ------
    ConfigError
        When its quotes do not match.
    """
    text = os.environ.get("LABKIT_JAVA_OPTIONS", "")
    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigError(
            f"LABKIT_JAVA_OPTIONS must be options of Java, separated by spaces, not {text!r}: {error}",
            hint="for example LABKIT_JAVA_OPTIONS='-XX:TieredStopAtLevel=1'",
        ) from None


def server_command(home: Path, run_id: str, folder: Path, *options: str) -> list[str]:
    """Return how a server's Java is started in `folder`: with `options`, then the user's."""
    marks = [f"-Dlabkit.run={run_id}", f"-Djava.io.tmpdir={folder / 'tmp'}"]
    return [str(home / "bin" / "java"), *options, *java_options(), *marks]


def find_java(minimum: int, say: Callable[[str], None] = lambda text: None) -> Path:
    """Return a Java home of at least major version `minimum`.

    Looked for in ``LABKIT_JAVA_HOME``, ``JAVA_HOME``, ``PATH``, the environment's own prefix
    (conda) and the usual folders; the first that is new enough wins. Without one, a JRE is fetched.

    Parameters
    ----------
    minimum : int
    say : callable
        Takes one line of progress.

    Raises
    ------
    JavaNotFoundError
        Naming the versions that were found and how to install one.
    """
    versions: dict[Path, int] = {}
    for home in _candidates():
        version = java_version(home)
        if version is None or home in versions:
            continue
        if version >= minimum:
            return home
        versions[home] = version
    say(
        f"found no Java {minimum} or newer; fetching a Java {_FETCHED_VERSION} runtime, about 50 MB"
    )
    try:
        return _fetch(minimum)
    except _FetchError as error:
        listed = ", ".join(f"{version} in {home}" for home, version in versions.items()) or "none"
        raise JavaNotFoundError(
            f"Java {minimum} or newer is needed; found: {listed}; fetching one failed: {error}",
            hint=f"{_install_hint(minimum)}; or point LABKIT_JAVA_HOME at one",
            minimum=minimum,
        ) from error


def _candidates() -> Iterator[Path]:
    for variable in ("LABKIT_JAVA_HOME", "JAVA_HOME"):
        if value := os.environ.get(variable):
            yield Path(value)
    if java := shutil.which("java"):
        yield Path(java).resolve().parent.parent
    yield Path(sys.prefix)
    for folder in _FOLDERS:
        for home in sorted(Path(folder).glob("*")):
            yield home
            yield home / "Contents" / "Home"
            yield home / "libexec" / "openjdk.jdk" / "Contents" / "Home"
    # the one fetched earlier; cjdk would ask for its index again each day
    with contextlib.suppress(OSError):
        yield Path(read_private(_mark_file(), limit=10_000).content.decode().strip())


def _mark_file() -> Path:
    return cache_dir() / "java" / "fetched-home"


@cache
def java_version(home: Path) -> int | None:
    """Return the major version of the Java in `home`, or None without one that runs."""
    java = home / "bin" / "java"
    if not os.access(java, os.X_OK):
        return None
    try:
        process = subprocess.run(
            [str(java), "-version"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', process.stderr + process.stdout)
    return int(match[1]) if match else None


class _FetchError(Exception):
    pass


def _fetch(minimum: int) -> Path:
    """Fetch a JRE into the cache by cjdk and return its home.

    In a process of its own: cjdk sets no time limit for a server that stops sending.
    """
    import filelock

    folder = cache_folder("java")
    command = [sys.executable, "-m", "cjdk", "--no-progress", "--cache-dir", str(folder)]
    command += ["--jdk", f"temurin-jre:{_FETCHED_VERSION}", "java-home"]
    try:
        with filelock.FileLock(folder / "lock"):
            # of a killed process: cjdk would wait for it
            for unfinished in folder.glob("*/fetching"):
                shutil.rmtree(unfinished, ignore_errors=True)
            fetched = subprocess.run(
                command, capture_output=True, text=True, timeout=_FETCH_TIMEOUT_S, check=False
            )
    except subprocess.TimeoutExpired as error:
        raise _FetchError(f"the download took longer than {_FETCH_TIMEOUT_S} s") from error
    except OSError as error:
        raise _FetchError(f"{folder}: {error.strerror}") from error
    if fetched.returncode:
        raise _FetchError((fetched.stderr.strip().splitlines() or ["cjdk gave no reason"])[-1])
    home = Path(fetched.stdout.strip())
    version = java_version(home)
    if version is None or version < minimum:
        raise _FetchError(f"the Java in {home} does not run on this machine")
    _mark_file().write_text(f"{home}\n", encoding="utf-8")
    return home


@dataclass(frozen=True)
class _PackageManager:
    """How to ask a package manager for packages with a JRE.

    The group of `pattern` is Java's major version.
    """

    install: str
    search: tuple[str, ...]
    pattern: str


_PACKAGE_MANAGERS = (
    _PackageManager(
        "apt-get install",
        ("apt-cache", "search", "--names-only", "^openjdk-[0-9]+-jre-headless$"),
        r"^openjdk-(\d+)-jre-headless\b",
    ),
    _PackageManager(
        "dnf install",
        ("dnf", "--quiet", "repoquery", "--queryformat", "%{name}\n", "java-*-openjdk-headless"),
        r"^java-(\d+)-openjdk-headless\b",
    ),
    _PackageManager(
        "zypper install",
        ("zypper", "--quiet", "--no-refresh", "search", "java-*-openjdk-headless"),
        r"\bjava-(\d+)-openjdk-headless\b",
    ),
    _PackageManager(
        "pacman -S",
        ("pacman", "-Ssq", "^jre[0-9]+-openjdk-headless$"),
        r"^jre(\d+)-openjdk-headless\b",
    ),
    _PackageManager(
        "apk add",
        ("apk", "search", "--quiet", "openjdk*-jre-headless"),
        r"^openjdk(\d+)-jre-headless\b",
    ),
    _PackageManager(
        "brew install",
        ("brew", "search", "--formula", "/^openjdk@[0-9]+$/"),
        r"^openjdk@(\d+)\b",
    ),
)


def _install_hint(minimum: int) -> str:
    """Name the command that installs a new enough Java here.

    It is taken from the lists of this system's package manager.
    """
    if package := _java_package(minimum):
        return f"install it: `{package}`"
    if shutil.which("conda"):
        return "install it: `conda install -c conda-forge openjdk`"
    if shutil.which("apt-get"):
        return f"no package list here has Java {minimum}: `apt-get update` may bring one"
    return f"install a Java runtime {minimum} or newer from https://adoptium.net"


def _java_package(minimum: int) -> str | None:
    """Return the command for a Java that suits every service.

    Else for the newest that suits this one.
    """
    for manager in _PACKAGE_MANAGERS:
        if shutil.which(manager.search[0]) is None:
            continue
        packages: dict[int, str] = {}
        for match in re.finditer(manager.pattern, _output(manager.search), re.MULTILINE):
            packages[int(match[1])] = match[0].strip()
        enough = sorted(version for version in packages if version >= minimum)
        for_all = [version for version in enough if version >= _FETCHED_VERSION]
        if enough:
            return f"{manager.install} {packages[for_all[0] if for_all else enough[-1]]}"
    return None


def _output(command: tuple[str, ...]) -> str:
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return process.stdout
