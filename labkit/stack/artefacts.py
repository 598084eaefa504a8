"""The servers' files: pinned by sha256, fetched from Maven repositories through jgo, unpacked once.

``artefacts.toml`` lists each file. ``python -m labkit.stack.artefacts`` resolves the versions named
below anew and writes it; nothing is resolved when a user starts the stack.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from labkit.checks.suggest import did_you_mean
from labkit.config.folders import cache_dir, cache_folder
from labkit.config.private import problem_of
from labkit.errors import StackError, UsageError

KAFKA_VERSION = "4.4.0"
ELASTICSEARCH_VERSIONS = ("8.19.21", "9.5.3")
REGISTRY_VERSION = "2.6.13.Final"  # the last that runs on Java 17

_KAFKA = ("org.apache.kafka", "kafka_2.13")
# without it Kafka logs nothing
_LOGGING = ("org.apache.logging.log4j", "log4j-slf4j-impl", "2.25.5")
_ELASTICSEARCH = ("org.elasticsearch.distribution.integ-test-zip", "elasticsearch")
_REGISTRY = ("io.apicurio", "apicurio-registry-app")


@dataclass(frozen=True)
class Artefact:
    """One pinned file of a Maven repository."""

    service: str
    group: str
    name: str
    version: str
    packaging: str
    sha256: str
    bytes: int
    classifier: str = ""

    def __str__(self) -> str:
        return f"{self.group}:{self.name}:{self.version}"


def kafka_class_path(say: Callable[[str], None]) -> list[Path]:
    """Return Kafka's jars, fetched and verified."""
    return fetch([item for item in _read_lock() if item.service == "kafka"], say)


def check_version(version: str) -> None:
    """Raise UsageError when `version` is not one of the pinned ones of Elasticsearch."""
    if version not in ELASTICSEARCH_VERSIONS:
        raise UsageError(
            f"Elasticsearch {version} is not among the versions of this labkit",
            hint=f"{did_you_mean(version, ELASTICSEARCH_VERSIONS)}choose one of {', '.join(ELASTICSEARCH_VERSIONS)}",
        )


def elasticsearch_home(version: str, say: Callable[[str], None]) -> Path:
    """Return the folder of Elasticsearch `version`, fetched, verified and unpacked."""
    check_version(version)
    home = cache_folder("servers") / f"elasticsearch-{version}"
    if _is_untouched(home):
        return home
    items = [
        item for item in _read_lock() if item.service == "elasticsearch" and item.version == version
    ]
    archive = fetch(items, say)[0]
    say(f"unpacking Elasticsearch {version}")
    _unpack(archive, home)
    return home


def registry_home(say: Callable[[str], None]) -> Path:
    """Return the folder of the schema registry, fetched, verified and unpacked."""
    home = cache_folder("servers") / f"registry-{REGISTRY_VERSION}"
    if _is_untouched(home):
        return home
    archive = fetch([item for item in _read_lock() if item.service == "registry"], say)[0]
    say(f"unpacking the schema registry {REGISTRY_VERSION}")
    part = _part(home)
    with tarfile.open(archive) as packed:
        # Python 3.11.2, of Debian 12, has none
        safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
        packed.extractall(part, **safe)  # type: ignore[arg-type]  # noqa: S202  it is pinned
    _settle(part, home)
    return home


def _is_untouched(home: Path) -> bool:
    """Tell whether an unpacked server is there and no other user can have changed it.

    Else it is unpacked anew.
    """
    if not home.is_dir() or home.is_symlink():
        return False
    if problem_of(home.lstat()) or any(problem_of(item.lstat()) for item in home.rglob("*")):
        shutil.rmtree(home)
        return False
    return True


def _read_lock() -> list[Artefact]:
    text = resources.files("labkit.stack").joinpath("artefacts.toml").read_text(encoding="utf-8")
    return [Artefact(**entry) for entry in tomllib.loads(text)["artefact"]]


def fetch(artefacts: list[Artefact], say: Callable[[str], None]) -> list[Path]:
    """Return the files, each checked against its pinned sha256.

    A torn or foreign file is fetched again once.

    Raises
    ------
    StackError
        When a file cannot be had or is not the pinned one.
    """
    import filelock

    try:
        repository = cache_folder("maven")
    except OSError as error:
        raise StackError(
            f"{cache_dir()} cannot be used: {error.strerror or error}",
            hint="set LABKIT_CACHE to another folder",
        ) from error
    if not all(_is_verified(repository, item) for item in artefacts):
        with filelock.FileLock(repository / "lock"):  # another process may fetch the same
            _fetch_missing(repository, artefacts, say)
    return [_path(repository, item) for item in artefacts]


def _fetch_missing(repository: Path, artefacts: list[Artefact], say: Callable[[str], None]) -> None:
    missing = [item for item in artefacts if not _is_verified(repository, item)]
    if not missing:
        return
    need = sum(item.bytes for item in missing)
    _require_space(repository, 4 * need)
    say(f"fetching {len(missing)} files, {need / 1e6:.0f} MB")
    with _progress(need) as advance:
        context = _maven(repository, advance)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda item: _fetch_one(context, repository, item), missing))


def _fetch_one(context: Any, repository: Path, item: Artefact) -> None:
    path = _path(repository, item)
    _remove_foreign(repository, path)
    component = context.project(item.group, item.name).at_version(item.version)
    try:
        component.artifact(packaging=item.packaging, classifier=item.classifier).resolve()
    except Exception as error:  # jgo passes on requests' errors and its own RuntimeError
        path.unlink(missing_ok=True)
        raise StackError(
            f"{item} could not be fetched: {type(error).__name__}",
            hint="check the network and the space on the disk, then run the same command again",
        ) from error
    if _sha256(path) != item.sha256:
        path.unlink()
        raise StackError(
            f"{item} is not the pinned file",
            hint="a proxy may have replaced it; run the same command again",
        )
    _settle_modes(repository, path)


def _is_verified(repository: Path, item: Artefact) -> bool:
    """Tell whether the file is there, is the pinned one, and cannot be changed by others."""
    path = _path(repository, item)
    if path.is_symlink() or not path.is_file() or path.stat().st_size != item.bytes:
        return False
    levels = [path, *(parent for parent in path.parents if repository in parent.parents)]
    return not any(problem_of(level.lstat()) for level in levels) and _sha256(path) == item.sha256


def _remove_foreign(repository: Path, path: Path) -> None:
    """Remove the file, and the folders on the way to it that another user could have written to."""
    path.unlink(missing_ok=True)
    for parent in reversed(path.parents):
        if repository in parent.parents and parent.exists() and problem_of(parent.lstat()):
            shutil.rmtree(parent)
            return


def _settle_modes(repository: Path, path: Path) -> None:
    """Let the servers' user read a fetched file, and only its owner write to it.

    The umask does not matter.
    """
    path.chmod(0o644)
    for parent in path.parents:
        if repository not in parent.parents:
            break
        parent.chmod(0o755)


def _path(repository: Path, item: Artefact) -> Path:
    folder = repository.joinpath(*item.group.split("."), item.name, item.version)
    classifier = f"-{item.classifier}" if item.classifier else ""
    return folder / f"{item.name}-{item.version}{classifier}.{item.packaging}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _require_space(folder: Path, need: int) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StackError(
            f"{folder} cannot be made: {error.strerror}", hint="set LABKIT_CACHE to another folder"
        ) from error
    free = shutil.disk_usage(folder).free
    if free < need:
        raise StackError(
            f"{need / 1e6:.0f} MB are needed in {folder}, {free / 1e6:.0f} MB are free",
            hint="free some space, or set LABKIT_CACHE and LABKIT_STATE to another disk",
            needed_bytes=need,
            free_bytes=free,
        )


def _maven(repository: Path, advance: Callable[[int], None]) -> Any:
    from jgo.maven import MavenContext, PythonResolver

    @contextmanager
    def progress(_name: str, _size: int) -> Iterator[Callable[[int], None]]:
        yield advance

    return MavenContext(
        repo_cache=repository, resolver=PythonResolver(progress_callback=progress), timeout=60
    )


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    from tqdm import tqdm

    with tqdm(
        total=total,
        unit="B",
        unit_scale=True,
        desc="fetching",
        mininterval=0.5,
        disable=not sys.stderr.isatty(),
    ) as bar:

        def advance(count: int) -> None:
            bar.update(count)

        yield advance


def _part(home: Path) -> Path:
    part = home.with_name(f"{home.name}.part-{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    part.parent.mkdir(parents=True, exist_ok=True)
    return part


def _unpack(archive: Path, home: Path) -> None:
    part = _part(home)
    with zipfile.ZipFile(archive) as zipped:
        zipped.extractall(part)  # noqa: S202  it is pinned
    root = next(part.iterdir())
    for script in (root / "bin").iterdir():  # zipfile drops the run bits
        script.chmod(script.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    _settle(root, home)
    shutil.rmtree(part, ignore_errors=True)


def _settle(part: Path, home: Path) -> None:
    for item in (part, *part.rglob("*")):
        executable = item.is_dir() or item.stat().st_mode & stat.S_IXUSR
        item.chmod(0o755 if executable else 0o644)
    try:
        part.replace(home)
    except OSError:
        if not home.is_dir():  # another `up` may have been faster
            raise
        shutil.rmtree(part, ignore_errors=True)


def write_lock() -> None:
    """Resolve the versions above and write ``artefacts.toml`` beside this module."""
    from jgo.maven import Dependency

    repository = cache_folder("maven")
    context = _maven(repository, lambda _bytes: None)
    broker = context.project(*_KAFKA).at_version(KAFKA_VERSION)
    direct, transitive = context.resolver.resolve([Dependency(broker.artifact(), scope="runtime")])
    artifacts = [("kafka", dependency.artifact) for dependency in [*direct, *transitive]]
    # alone: resolved together, its BOM would bring other versions of Kafka's jars
    group, name, version = _LOGGING
    artifacts.append(("kafka", context.project(group, name).at_version(version).artifact()))
    for version in ELASTICSEARCH_VERSIONS:
        component = context.project(*_ELASTICSEARCH).at_version(version)
        artifacts.append(("elasticsearch", component.artifact(packaging="zip")))
    component = context.project(*_REGISTRY).at_version(REGISTRY_VERSION)
    artifacts.append(("registry", component.artifact(packaging="tar.gz", classifier="all")))
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda pair: pair[1].resolve(), artifacts))
    lines = ["# Written by `python -m labkit.stack.artefacts`.\n"]
    for (service, artifact), path in sorted(
        zip(artifacts, paths, strict=True), key=lambda item: str(item[1])
    ):
        values = {
            "service": service,
            "group": artifact.groupId,
            "name": artifact.artifactId,
            "version": artifact.version,
            "packaging": artifact.packaging,
            **({"classifier": artifact.classifier} if artifact.classifier else {}),
            "sha256": _sha256(path),
        }
        lines += ["[[artefact]]", *(f'{key} = "{value}"' for key, value in values.items())]
        lines += [f"bytes = {path.stat().st_size}\n"]
    Path(__file__).with_name("artefacts.toml").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    write_lock()
