"""A labkit.toml of a cloned repository gets nothing of the user's before it is allowed.

No check can be raced.
"""

from __future__ import annotations

import os
import threading
import warnings
from pathlib import Path

import pytest

from labkit import cli
from labkit.config import private
from labkit.config.files import config_files
from labkit.config.profiles import list_profiles, load_profile
from labkit.errors import ConfigError, UntrustedError

PLAIN = '[profiles.prod.kafka]\n"bootstrap.servers" = "kafka-1:9093"\n'
ASKS = PLAIN + '"sasl.password" = "${TEST_WORD}"\n'


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Make a working folder, as of a cloned repository, and a configuration folder of one's own."""
    tmp_path.chmod(0o755)
    repository, own = tmp_path / "repository", tmp_path / "config"
    for folder in (repository, own / "labkit"):
        folder.mkdir(parents=True, mode=0o755)
    monkeypatch.delenv("LABKIT_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(own))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TEST_WORD", "hunter2")
    monkeypatch.chdir(repository)
    return repository / "labkit.toml", own / "labkit" / "labkit.toml"


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


# 73: secrets -----------------------------------------------------------------------------------------------


def test_a_cloned_repository_gets_no_secret_before_it_is_allowed(
    folders: tuple[Path, Path], capsys: object
) -> None:
    """BEHAVIOURS 73: references to the environment, files and the keyring."""
    file, _ = folders
    (file.parent / "word").write_text("hunter2")
    for reference in (
        "${TEST_WORD}",
        "${file:/etc/hostname}",
        "${file:word}",
        "${keyring:kafka/alice}",
        "a${TEST_WORD}",
    ):
        write(file, PLAIN + f'"sasl.password" = "{reference}"\n')
        with pytest.raises(UntrustedError, match="is not allowed to have what its") as caught:
            load_profile("prod")
        assert f"labkit allow {file}" in (caught.value.hint or "")
    assert "is not allowed" in list_profiles()[0]["source"]


def test_a_cloned_repository_gets_no_variable_of_a_profile(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """BEHAVIOURS 73: LABKIT_PROD_… went to the host of the repository's file, silently."""
    write(folders[0], PLAIN.replace("kafka-1", "evil"))
    assert load_profile("prod").kafka == {"bootstrap.servers": "evil:9093"}
    monkeypatch.setenv("LABKIT_PROD_KAFKA_SASL_PASSWORD", "hunter2")
    with pytest.raises(UntrustedError, match="the variables LABKIT_PROD_"):
        load_profile("prod")


@pytest.mark.parametrize(
    "setting",
    [
        '"ssl.key.location" = "/home/alice/key.pem"',
        '"ssl.keystore.location" = "/home/alice/key.p12"',
        '"sasl.mechanism" = "GSSAPI"',
        '"sasl.mechanisms" = "oauthbearer"',
        '"sasl.oauthbearer.metadata.authentication.type" = "azure_imds"',
        '"security.protocol" = "SASL_SSL"',  # Kafka's client takes a ticket of Kerberos then
        '[profiles.prod.elasticsearch.default]\nclient_key = "/home/alice/key.pem"',
        '[profiles.prod.elasticsearch.default]\nclient_cert = "/home/alice/with-key.pem"',
        '[profiles.prod.registry]\n"ssl.certificate.location" = "/home/alice/with-key.pem"',
    ],
)
def test_a_cloned_repository_does_not_use_who_the_user_is(
    folders: tuple[Path, Path], setting: str
) -> None:
    """BEHAVIOURS 73: a private key, a ticket, a token of the machine."""
    write(folders[0], PLAIN + setting)
    with pytest.raises(UntrustedError, match="your identity"):
        load_profile("prod")


def test_a_cloned_repository_does_not_hide_a_profile_of_ones_own(
    folders: tuple[Path, Path],
) -> None:
    file, own = folders
    write(own, PLAIN)
    write(file, PLAIN.replace("kafka-1", "evil"))
    with pytest.raises(UntrustedError, match="the place of your own profile 'prod'"):
        load_profile("prod")


def test_allowed_once_until_it_changes(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """BEHAVIOURS 73: path and content.

    A new host, another folder with the same content, ask again.
    """
    file, _ = folders
    write(file, ASKS)
    assert cli.main(["allow"]) == 0
    assert "it connects to kafka-1:9093" in capsys.readouterr().out
    assert load_profile("prod").kafka["sasl.password"] == "hunter2"
    assert "is not allowed" not in list_profiles()[0]["source"]

    write(file, ASKS.replace("kafka-1", "evil"))
    with pytest.raises(UntrustedError):
        load_profile("prod")
    write(file, ASKS)
    assert load_profile("prod").kafka["sasl.password"] == "hunter2"

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    write(elsewhere / "labkit.toml", ASKS)
    os.chdir(elsewhere)
    with pytest.raises(UntrustedError):
        load_profile("prod")
    os.chdir(file.parent)
    assert cli.main(["allow", "--revoke", str(file.parent)]) == 0
    with pytest.raises(UntrustedError):
        load_profile("prod")


def test_allowing_a_new_content_forgets_the_old_one(folders: tuple[Path, Path]) -> None:
    file, _ = folders
    write(file, ASKS)
    assert cli.main(["allow", str(file)]) == 0
    changed = ASKS.replace("kafka-1", "kafka-2")
    write(file, changed)
    assert cli.main(["allow", str(file)]) == 0
    assert load_profile("prod").kafka["bootstrap.servers"] == "kafka-2:9093"
    write(file, ASKS)
    with pytest.raises(UntrustedError):
        load_profile("prod")


def test_the_host_of_an_allowed_file_stands_in_the_file(folders: tuple[Path, Path]) -> None:
    """BEHAVIOURS 73: a host that is read from another file changes without the allowed one."""
    file, _ = folders
    (file.parent / "host").write_text("evil:9092")
    write(
        file,
        '[profiles.prod.kafka]\n"bootstrap.servers" = "${file:host}"\n"sasl.password" = "${TEST_WORD}"\n',
    )
    for attempt in (
        lambda: load_profile("prod"),
        lambda: cli.main(["allow"]) == 0 and load_profile("prod"),
    ):
        with pytest.raises(UntrustedError, match="can change without being allowed again"):
            attempt() or load_profile("prod")


@pytest.mark.parametrize(
    "setting",
    [
        '"plugin.library.paths" = "./evil"',
        '"ssl.engine.location" = "./evil.so"',
        '"ssl.providers" = "./evil"',
        '"sasl.kerberos.kinit.cmd" = "touch /tmp/x"',
        'oauth_cb = "evil:token"',
    ],
)
def test_code_is_never_loaded_from_a_repository(
    folders: tuple[Path, Path], setting: str, capsys: object
) -> None:
    """BEHAVIOURS 73: not even from an allowed file; from the configuration folder it may be."""
    file, own = folders
    write(file, PLAIN + setting)
    assert cli.main(["allow"]) == 1
    with pytest.raises(UntrustedError, match="loads code"):
        load_profile("prod")
    write(own, PLAIN.replace("prod", "mine") + setting)
    assert load_profile("mine").kafka["bootstrap.servers"] == "kafka-1:9093"


def test_the_configuration_folder_and_labkit_config_are_the_users_word(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, own = folders
    write(own, ASKS)
    assert load_profile("prod").kafka["sasl.password"] == "hunter2"
    own.unlink()
    write(file, ASKS)
    monkeypatch.setenv("LABKIT_CONFIG", str(file))
    assert load_profile("prod").kafka["sasl.password"] == "hunter2"


# 74: what others could have written --------------------------------------------------------------------------


def test_a_configuration_folder_whose_place_others_could_take_is_left_out(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BEHAVIOURS 74: another of one's folders, such as a clone, would be trusted in its place."""
    _, own = folders
    write(own, ASKS)
    above = own.parent.parent
    above.chmod(0o777)
    assert f"{above} is not safe: anybody may write to it" in left_out()
    above.chmod(0o755)
    assert load_profile("prod").kafka["sasl.password"] == "hunter2"
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    (open_to_all / "link").symlink_to(above)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(open_to_all / "link"))
    assert [file.own for file in config_files()] == [True]  # a link of one's own
    open_to_all.chmod(0o777)
    assert f"{open_to_all} is not safe: anybody may write to it" in left_out()
    if os.geteuid() == 0:
        open_to_all.chmod(0o1777)  # as /tmp: the link stays, but who made it?
        assert [file.own for file in config_files()] == [True]
        os.chown(open_to_all / "link", 65534, 65534, follow_symlinks=False)
        assert "link is not safe: it belongs to another user" in left_out()


def left_out() -> str:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert not list(config_files())
    return " ".join(str(warning.message) for warning in caught)


def test_a_file_or_folder_that_others_may_write_to_is_left_out(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """BEHAVIOURS 74: the file's mode, its group, its folder; links are not followed."""
    file, _ = folders
    write(file, PLAIN, 0o666)
    assert "anybody may write to it" in left_out()
    write(file, PLAIN, 0o660)
    monkeypatch.setattr(private, "is_own_group", lambda gid: False)
    assert "the group" in left_out()
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(file.parent)
    monkeypatch.delenv("LABKIT_CONFIG", raising=False)
    write(file, PLAIN, 0o600)
    file.parent.chmod(0o777)
    assert "its folder is not safe: anybody may write to it" in left_out()
    file.parent.chmod(0o1777)
    assert [config_file.path for config_file in config_files()] == [file]
    os.link(file, file.with_name("other"))
    assert "second name" in left_out()
    file.parent.chmod(0o755)
    file.rename(file.with_name("real.toml"))
    file.symlink_to("real.toml")
    assert "it is a link" in left_out()
    file.unlink()
    os.mkfifo(file)
    assert "not a regular file" in left_out()  # and nothing waits for a writer
    file.unlink()
    write(file, "#" * 1_000_001)
    assert "at most 1,000,000 are read" in left_out()


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user")
def test_a_file_or_folder_of_another_user_is_left_out(folders: tuple[Path, Path]) -> None:
    file, _ = folders
    os.chown(write(file, PLAIN), 65534, 65534)
    assert "belongs to another user" in left_out()
    os.chown(file, 0, 0)
    os.chown(file.parent, 65534, 65534)
    assert "its folder is not safe: it belongs to another user" in left_out()


def test_ones_own_group_is_the_one_with_no_other_member(monkeypatch: pytest.MonkeyPatch) -> None:
    import grp
    import pwd

    user = pwd.getpwuid(os.geteuid())
    other_group = next(group.gr_gid for group in grp.getgrall() if group.gr_gid != user.pw_gid)
    assert not private.is_own_group(other_group)

    class Group:
        gr_gid, gr_name = user.pw_gid, user.pw_name
        gr_mem: tuple[str, ...] = ()

    monkeypatch.setattr(grp, "getgrgid", lambda gid: Group)
    assert private.is_own_group(user.pw_gid)
    Group.gr_mem = (user.pw_name, "mallory")
    assert not private.is_own_group(user.pw_gid)


def test_the_check_cannot_be_raced(folders: tuple[Path, Path]) -> None:
    """BEHAVIOURS 74: the file that is checked is the one that is read.

    Between a look by name and a read by name 527 of 4,858 reads took the other file.
    """
    file, _ = folders
    safe = write(file.with_name("safe"), PLAIN)
    evil = write(file.with_name("evil"), PLAIN.replace("kafka-1", "evil"), 0o666)
    finished = threading.Event()

    def swap() -> None:
        spare = file.with_name("spare")
        while not finished.is_set():
            for source in (safe, evil):
                spare.write_bytes(source.read_bytes()) if source is safe else None
                if source is safe:
                    spare.chmod(0o600)
                    spare.replace(file)
                else:
                    spare.symlink_to(evil)
                    spare.replace(file)
                    os.link(evil, spare)
                    spare.replace(file)

    thread = threading.Thread(target=swap)
    thread.start()
    paths: list[str] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            while len(paths) < 300:
                try:
                    paths.append(load_profile("prod").kafka["bootstrap.servers"])
                except ConfigError as error:  # left out, so there is no profile
                    if "there is no profile" not in error.message:
                        raise
    finally:
        finished.set()
        thread.join()
    assert set(paths) == {"kafka-1:9093"}
