"""BEHAVIOURS 76, 77: who owns a server's folder.

It is right whatever the umask, and whatever others planted in it.
"""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from labkit.config.folders import cache_folder
from labkit.config.private import make_private_folder
from labkit.errors import AccessError, LabkitError, UntrustedError
from labkit.sinks import cache
from labkit.stack import artefacts, ownership
from labkit.stack.state import State, lock_stack

ROOT = os.geteuid() == 0
NOBODY = 65534
only_root = pytest.mark.skipif(not ROOT, reason="gives files to another user")


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder that the servers' user can pass through (pytest's tmp_path is closed)."""
    with tempfile.TemporaryDirectory(prefix="labkit-test-") as folder:
        path = Path(folder)
        path.chmod(0o711)
        monkeypatch.setenv("LABKIT_STATE", folder)
        monkeypatch.setenv("LABKIT_CACHE", str(path / "cache"))
        yield path


@pytest.fixture(params=[0o000, 0o002, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {
        str(item.relative_to(folder)): stat.S_IMODE(item.lstat().st_mode)
        for item in folder.rglob("*")
    }


def test_no_level_can_be_written_by_others_whatever_the_umask(root: Path, umask: int) -> None:
    """BEHAVIOURS 77: with umask 000 or 002 others could plant jvm.options.d or extra.yml."""
    with lock_stack(root / "deep" / "state"):
        service = root / "deep" / "state" / "elasticsearch"
        ownership.prepare(service, ("config", "data", "logs", "tmp"))
        (service / "config" / "users").write_text("x")
        ownership.publish(service / "config")
        os.close(ownership.open_log(service / "elasticsearch.log"))
    cache_folder("servers")
    cache.folder()
    modes_ = modes(root)
    assert not {name for name, mode in modes_.items() if mode & 0o022}
    expected = (
        {"config": 0o750, "data": 0o700, "logs": 0o700, "tmp": 0o700} if ROOT else {"config": 0o700}
    )
    assert {name: modes_[f"deep/state/elasticsearch/{name}"] for name in expected} == expected
    assert modes_["deep/state/elasticsearch/config/users"] == (0o640 if ROOT else 0o600)
    assert modes_["deep/state"] == 0o711
    assert modes_["cache/servers"] == 0o755
    assert modes_["cache/windows"] == 0o700


@only_root
def test_the_servers_run_as_a_user_of_labkits_own() -> None:
    """BEHAVIOURS 76: whoever owns `nobody` could write root's files."""
    account = ownership.service_account()
    assert account is not None
    assert account.uid not in (0, NOBODY)
    assert account.name in (
        ownership.USER,
        os.environ.get("LABKIT_SERVICE_USER"),
        str(ownership._SPARE_UID),
    )


@only_root
def test_without_useradd_the_servers_run_as_a_number_that_nobody_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ownership, "USER", "_labkit_missing")
    monkeypatch.setattr(ownership.shutil, "which", lambda *_a, **_k: None)
    ownership.service_account.cache_clear()
    account = ownership.service_account()
    ownership.service_account.cache_clear()
    assert account is not None
    assert account.uid == ownership._SPARE_UID


@only_root
def test_the_servers_user_writes_only_to_what_was_handed_over(root: Path) -> None:
    """BEHAVIOURS 76: configuration belongs to root and can only be read."""
    service = root / "kafka"
    ownership.prepare(service, ("config", "data", "logs", "tmp"))
    (service / "config" / "users").write_text("secret")
    (service / "server.properties").write_text("secret")
    (service / "extra.yml").write_text("")
    ownership.publish(service)
    ownership.publish(service / "config")
    code = """
for place in {service}/x {service}/config/x {service}/data/x {service}/logs/x {service}/tmp/x; do
    (echo > $place) 2>/dev/null && echo "wrote ${{place#{service}/}}"
done
for file in {service}/config/users {service}/server.properties {service}/extra.yml; do
    cat $file >/dev/null && echo read
    (echo >> $file) 2>/dev/null && echo "wrote $file"
    mv $file $file.old 2>/dev/null && echo "moved $file"
done
ln -s /etc/passwd {service}/kafka.log 2>/dev/null && echo linked
"""
    result = subprocess.run(
        ["/bin/sh", "-c", code.format(service=service)], capture_output=True, text=True, check=False, cwd="/",
        **ownership.as_service(),
    )  # fmt: skip
    assert result.stdout.split("\n")[:-1] == [
        "wrote data/x",
        "wrote logs/x",
        "wrote tmp/x",
        "read",
        "read",
        "read",
    ]


@only_root
def test_nothing_is_followed_when_folders_of_an_earlier_version_are_taken_over(root: Path) -> None:
    """BEHAVIOURS 76: chown went through links, and a log could be a link to another file."""
    service, secret = root / "elasticsearch", root / "secret"
    secret.write_text("root's")
    secret.chmod(0o600)
    ownership.prepare(service, ("config", "data", "logs", "tmp"))
    for item in (service, *service.rglob("*")):
        os.chown(item, NOBODY, NOBODY)
    (service / "data" / "link").symlink_to(secret)
    (service / "data" / "folder").symlink_to(root)
    os.link(secret, service / "data" / "second name")
    (service / "data" / "index").mkdir()
    (service / "data" / "index" / "segment").write_text("x")
    ownership.prepare(service, ("config", "data", "logs", "tmp"))
    account = ownership.service_account()
    assert account is not None
    assert (secret.stat().st_uid, stat.S_IMODE(secret.stat().st_mode)) == (0, 0o600)
    assert root.stat().st_uid == service.stat().st_uid == (service / "config").stat().st_uid == 0
    assert (service / "data" / "index" / "segment").stat().st_uid == account.uid


@pytest.mark.parametrize("part", ["config", "data", "logs", "tmp", ""])
def test_a_link_in_the_place_of_a_folder_is_refused(root: Path, part: str) -> None:
    service, target = root / "elasticsearch", root / "other"
    target.mkdir(mode=0o700)
    if part:
        service.mkdir()
        (service / part).symlink_to(target)
    else:
        service.symlink_to(target)
    with pytest.raises(UntrustedError, match="is a link"):
        ownership.prepare(service, ("config", "data", "logs", "tmp"))
    assert not list(target.iterdir())
    assert stat.S_IMODE(target.stat().st_mode) == 0o700


def test_logs_and_settings_that_are_links_are_refused(root: Path) -> None:
    """BEHAVIOURS 76: root wrote to what *.log and extra.yml pointed to."""
    service, target = root / "kafka", root / "target"
    ownership.prepare(service, ("data",))
    target.write_text("mine")
    (service / "kafka.log").symlink_to(target)
    (service / "extra.yml").symlink_to(target)
    os.link(target, service / "other.log")
    for attempt in (
        lambda: ownership.open_log(service / "kafka.log"),
        lambda: ownership.open_log(service / "other.log"),
        lambda: ownership.read_extra(service),
        lambda: ownership.publish(service),
    ):
        with pytest.raises((UntrustedError, OSError)):
            attempt()
    assert target.read_text() == "mine"


def test_foreign_files_in_a_configuration_folder_are_refused(root: Path) -> None:
    """BEHAVIOURS 77: jvm.options.d is read by Elasticsearch, and labkit never writes it."""
    service = root / "elasticsearch"
    ownership.prepare(service, ("config",))
    (service / "config" / "jvm.options.d").mkdir()
    with pytest.raises(
        UntrustedError, match=r"holds what labkit did not write: jvm\.options\.d"
    ) as caught:
        ownership.refuse_foreign(service / "config", ("users",))
    assert "extra.yml" in (caught.value.hint or "")


# folders that others made, or can write to -----------------------------------------------------------------


def attempts() -> list[tuple[str, object]]:
    return [
        ("state", lambda: lock_stack(Path(os.environ["LABKIT_STATE"])).__enter__()),
        ("cache", lambda: cache_folder("maven")),
        ("windows", cache.folder),
    ]


def refused(root: Path) -> None:
    for name, attempt in attempts():
        with pytest.raises(LabkitError, match=r"belongs to another user|may write to it|is a link"):
            attempt()  # type: ignore[operator]
        assert name
    assert not list((root / "cache").glob("*"))


@only_root
def test_folders_that_another_user_made_are_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BEHAVIOURS 77: LABKIT_STATE, LABKIT_CACHE and the cache of windows."""
    for name in ("state", "cache"):
        (root / name).mkdir()
        os.chown(root / name, NOBODY, NOBODY)
    monkeypatch.setenv("LABKIT_STATE", str(root / "state"))
    refused(root)


def test_folders_within_what_others_can_write_to_are_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BEHAVIOURS 77: the folder above must be safe too.

    Who may write to it can put another folder in the place of labkit's.
    """
    open_to_all = root / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    monkeypatch.setenv("LABKIT_STATE", str(open_to_all / "state"))
    monkeypatch.setenv("LABKIT_CACHE", str(open_to_all / "cache"))
    refused(root)
    (root / "kept").mkdir(mode=0o755)
    (open_to_all / "link").symlink_to(root / "kept")
    monkeypatch.setenv("LABKIT_STATE", str(open_to_all / "link" / "state"))
    monkeypatch.setenv("LABKIT_CACHE", str(open_to_all / "link" / "cache"))
    refused(root)  # a link that others can replace
    monkeypatch.setenv("LABKIT_STATE", str(open_to_all / "state"))
    monkeypatch.setenv("LABKIT_CACHE", str(open_to_all / "cache"))
    open_to_all.chmod(0o1777)  # as /tmp: others cannot replace what is mine there
    if ROOT:
        with lock_stack(open_to_all / "state"):
            assert cache.folder().is_dir()


@only_root
def test_a_state_file_of_another_user_is_not_read(root: Path) -> None:
    (root / "stack.json").write_text('{"run_id": "x", "passwords": {}, "services": {}}')
    os.chown(root / "stack.json", NOBODY, NOBODY)
    with pytest.raises(LabkitError, match="belongs to another user"):
        State.load(root)


def test_an_unpacked_server_that_others_could_change_is_unpacked_anew(root: Path) -> None:
    home = make_private_folder(root / "home", mode=0o755)
    (home / "bin").mkdir(mode=0o755)
    (home / "bin" / "elasticsearch").write_text("#!/bin/sh")
    assert artefacts._is_untouched(home)
    (home / "bin" / "elasticsearch").chmod(0o777)
    assert not artefacts._is_untouched(home)
    assert not home.exists()


def test_what_a_server_refuses_while_the_lock_is_held_is_not_taken_for_a_closed_folder(
    tmp_path: Path,
) -> None:
    """AccessError is a PermissionError.

    `labkit up` said that the state folder "belongs to another user".
    """
    with pytest.raises(AccessError, match="wrong password"), lock_stack(tmp_path / "state"):
        raise AccessError("wrong password")
    with lock_stack(tmp_path / "state"):
        pass
