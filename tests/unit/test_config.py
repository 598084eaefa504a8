"""Profiles, and what the local stack remembers: read whole or refused in one line.

Secrets never shown.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from labkit.config.profiles import Profile, load_profile
from labkit.config.secrets import mask
from labkit.elastic import Target
from labkit.errors import ConfigError, LabkitError, StackError
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab
from labkit.stack.state import Service, State, local_profile, write_private

PROD = """
[profiles.prod.kafka]
"bootstrap.servers" = "kafka-1:9093,kafka-2:9093"
"sasl.username" = "alice"
"sasl.password" = "${TEST_KAFKA_PASSWORD}"
[profiles.prod.elasticsearch.default]
hosts = ["https://es-1:9200"]
basic_auth = ["alice", "${TEST_ES_PASSWORD}"]
"""


@pytest.fixture
def passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_KAFKA_PASSWORD", "kafka-hunter2")
    monkeypatch.setenv("TEST_ES_PASSWORD", "es-hunter2")


# profiles ------------------------------------------------------------------------------------------------


def test_a_profile_takes_its_secrets_from_the_environment(config: Any, passwords: None) -> None:
    config(PROD)
    profile = load_profile("prod")
    assert profile.kafka["sasl.password"] == "kafka-hunter2"
    assert profile.elasticsearch["default"]["basic_auth"] == ["alice", "es-hunter2"]


REGISTRY = """
[profiles.prod.registry]
url = "https://bob:inurl@registry:8081"
basic_auth = ["alice", "${TEST_ES_PASSWORD}"]
"basic.auth.user.info" = "alice:es-hunter2"
ca_certs = "ca.pem"
"""


def test_a_registry_is_read_and_its_secrets_are_not_shown(config: Any, passwords: None) -> None:
    config(PROD)
    assert load_profile("prod").registry == {}
    assert "registry" not in repr(load_profile("prod"))
    assert Lab(load_profile("prod")).registry is None
    config(PROD + REGISTRY)
    profile = load_profile("prod")
    assert profile.registry["basic_auth"] == ["alice", "es-hunter2"]
    shown = repr(profile) + repr(Lab(profile).registry)
    assert "hunter2" not in shown
    assert "inurl" not in shown
    assert "registry:8081" in shown


@pytest.mark.parametrize(
    "table",
    [
        "registry = 5",
        "registry = {}\n[profiles.prod.registry.x]",
        "[profiles.prod.registry]\nuri='x'",
    ],
)
def test_a_registry_without_a_url_is_refused(config: Any, passwords: None, table: str) -> None:
    config(PROD + ("[profiles.prod]\n" if table.startswith("registry =") else "") + table)
    with pytest.raises(ConfigError):
        load_profile("prod")


def test_a_variable_that_is_not_set_is_named(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEST_KAFKA_PASSWORD", raising=False)
    config(PROD)
    with pytest.raises(ConfigError, match="needs the environment variable TEST_KAFKA_PASSWORD"):
        load_profile("prod")


def test_the_nearest_file_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABKIT_CONFIG", raising=False)
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    for folder, address in ((tmp_path, "far:1"), (tmp_path / "a", "near:1")):
        (folder / "labkit.toml").write_text(
            f'[profiles.x.kafka]\n"bootstrap.servers" = "{address}"\n'
        )
    monkeypatch.chdir(inner)
    assert load_profile("x").kafka["bootstrap.servers"] == "near:1"


def test_an_unknown_profile_has_a_hint(config: Any) -> None:
    config(PROD)
    with pytest.raises(ConfigError, match="there is no profile 'nope'") as caught:
        load_profile("nope")
    assert caught.value.hint


BAD_FILES = {
    "no TOML": "[profiles",
    "no kafka table": "[profiles.x.elasticsearch.default]\nhosts = []",
    "an unknown table": '[profiles.x.kafka]\n"a.b" = "c"\n[profiles.x.postgres]\n',
    "an unquoted property": '[profiles.x.kafka]\nbootstrap.servers = "a:1"',
    "kafka must be a table": "[profiles.x]\nkafka = 5",
    "profiles must be a table": "profiles = 5",
    "the profile is no table": "[profiles]\nx = 5",
    "elasticsearch is no table": '[profiles.x]\nelasticsearch = 5\n[profiles.x.kafka]\n"bootstrap.servers" = "a:1"',
    "the target's name was forgotten": (
        '[profiles.x.kafka]\n"bootstrap.servers" = "a:1"\n[profiles.x.elasticsearch]\nhosts = ["http://a:1"]'
    ),
}


def use(name: str) -> None:
    """Take a profile as far as a connection."""
    lab = Lab(load_profile(name))
    for target in lab.targets.values():
        assert target.client


@pytest.mark.parametrize("text", BAD_FILES.values(), ids=BAD_FILES)
def test_a_damaged_file_is_refused_in_one_line(text: str, config: Any) -> None:
    config(text)
    with pytest.raises(ConfigError) as caught:
        use("x")
    assert "\n" not in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe",
        b"\x00",
        b"a = " + b"9" * 5000,
    ],
    ids=["utf-16", "nul", "a huge number"],
)
def test_a_file_that_is_no_text_is_refused(content: bytes, config: Any) -> None:
    path = config("")
    path.write_bytes(content)
    with pytest.raises(ConfigError):
        load_profile("x")


def test_a_config_file_that_is_named_but_missing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_CONFIG", str(tmp_path / "none.toml"))
    with pytest.raises(ConfigError, match="cannot be read"):
        load_profile("x")


def test_a_wrong_elasticsearch_setting_is_refused_in_one_line(config: Any) -> None:
    config(
        '[profiles.x.kafka]\n"a" = "b"\n[profiles.x.elasticsearch.default]\nhosts = ["http://a:1"]\nnonsense = 1'
    )
    with pytest.raises(ConfigError, match="Elasticsearch target 'default'"):
        use("x")


# secrets -------------------------------------------------------------------------------------------------


def test_repr_of_a_profile_hides_its_secrets(config: Any, passwords: None) -> None:
    config(PROD)
    shown = repr(load_profile("prod"))
    assert "alice" in shown
    assert "hunter2" not in shown


@pytest.mark.parametrize(
    "key",
    [
        "sasl.password",
        "ssl.key.password",
        "ssl.keystore.password",
        "ssl.key.pem",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.config",
        "basic_auth",
        "api_key",
        "bearer_auth",
    ],
)
def test_every_kind_of_secret_is_masked(key: str) -> None:
    assert mask({key: "hunter2", "bootstrap.servers": "a:1"}) == {
        key: "***",
        "bootstrap.servers": "a:1",
    }


@pytest.mark.parametrize(
    "settings", [{"http_auth": ["a", "hunter2"]}, {"headers": {"Authorization": "hunter2"}}]
)
def test_elasticsearchs_other_ways_to_log_in_are_masked(settings: dict[str, Any]) -> None:
    assert "hunter2" not in repr(mask(settings))


@pytest.mark.parametrize(
    "password", ["hunter2", "p@hunter2", "p:hunter2", "p@@x@hunter2@", "p,hunter2"]
)
def test_a_password_in_a_hosts_address_is_not_shown(password: str) -> None:
    settings = {"hosts": [f"https://alice:{password}@es-1:9200"]}
    profile = Profile("x", "", {"bootstrap.servers": "a:1"}, {"default": settings})
    target = Target("default", settings)
    shown = f"{profile!r} {target!r} {target.address}"
    assert "hunter2" not in shown
    assert "***@es-1:9200" in shown


def test_repr_of_clusters_and_targets_holds_no_secret() -> None:
    cluster = Cluster(
        {"bootstrap.servers": "a:1", "sasl.username": "alice", "sasl.password": "hunter2"}
    )
    target = Target("default", {"hosts": ["http://a:1"], "basic_auth": ["alice", "hunter2"]})
    lab = Lab(Profile("x", "", cluster._settings, {"default": target._settings}))
    assert "hunter2" not in f"{cluster!r} {target!r} {lab!r} {lab._repr_html_()} {vars(lab)}"


# what the local stack remembers --------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LABKIT_STATE", str(tmp_path))
    return tmp_path


def saved(folder: Path) -> State:
    state = State(folder)
    state.ensure_secrets()
    state.services = {
        "kafka": Service("kafka", "4.4.0", 1234, 1235),
        "elasticsearch": Service("elasticsearch", "8.19.21", 1236),
        "es-9.5.3": Service("es-9.5.3", "9.5.3", 1237),
        "indexer": Service("indexer"),
    }
    state.save()
    return state


def test_the_state_is_read_back_as_it_was(folder: Path) -> None:
    assert saved(folder) == State.load()


def test_the_state_file_is_its_owners_alone_whatever_the_umask(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "stack.json"
    path.write_text("{}")
    path.chmod(0o666)
    saved(folder)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_leftover_of_a_killed_save_is_no_obstacle(folder: Path) -> None:
    (folder / "stack.json.part").write_text("half")
    write_private(folder / "stack.json", "whole")
    assert (folder / "stack.json").read_text() == "whole"
    assert not (folder / "stack.json.part").exists()


def test_passwords_are_made_once_and_differ(folder: Path) -> None:
    first = saved(folder).passwords
    state = State.load()
    state.ensure_secrets()
    assert state.passwords == first
    assert len(set(first.values())) == 4
    assert min(map(len, first.values())) >= 32


def test_targets_are_the_elasticsearch_services_by_name(folder: Path) -> None:
    assert list(saved(folder).targets) == ["default", "es-9.5.3"]


def test_a_local_profile_has_the_roles_credentials_for_all_targets(folder: Path) -> None:
    state = saved(folder)
    profile = local_profile("indexer")
    assert profile.kafka["sasl.username"] == "indexer"
    assert profile.kafka["sasl.password"] == state.passwords["indexer"]
    assert profile.elasticsearch["es-9.5.3"]["hosts"] == ["http://127.0.0.1:1237"]


def test_an_unknown_role_is_named_with_those_there_are(folder: Path) -> None:
    saved(folder)
    with pytest.raises(ConfigError, match="there is no role 'root'") as caught:
        local_profile("root")
    assert "admin, extractor, indexer, lab" in caught.value.hint


def test_without_a_stack_the_error_says_how_to_start_one(folder: Path) -> None:
    with pytest.raises(StackError, match="there is no local stack yet") as caught:
        local_profile()
    assert "labkit up" in caught.value.hint


DAMAGED = [
    "",
    "{",
    "[]",
    "{}",
    "null",
    "5",
    '{"services": {"kafka": 5}}',
    '{"services": {}, "run_id": "x"}{"services": null, "run_id": "x", "passwords": {}}',
    '{"services": [], "run_id": "x", "passwords": {}}',
    '{"services": {"kafka": {"name": "kafka"}}, "run_id": "x", "passwords": null}',
    '{"services": {"kafka": {"name": "kafka"}}, "run_id": "x", "passwords": {"lab": 5}}',
]


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_state_file_is_named_with_the_way_out(text: str, folder: Path) -> None:
    (folder / "stack.json").write_text(text)
    with pytest.raises(StackError, match="is damaged") as caught:
        local_profile()
    assert "labkit down --purge" in caught.value.hint


def test_a_state_file_that_is_no_text_is_damaged(folder: Path) -> None:
    (folder / "stack.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StackError, match="is damaged"):
        State.load()


def test_a_state_folder_that_is_a_file_is_an_error_of_labkits(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "file").write_text("")
    monkeypatch.setenv("LABKIT_STATE", str(folder / "file"))
    with pytest.raises(LabkitError):
        State.load()


def test_state_json_holds_what_repr_hides(folder: Path) -> None:
    state = saved(folder)
    assert json.loads((folder / "stack.json").read_text())["passwords"] == state.passwords
    assert not [password for password in state.passwords.values() if password in repr(state)]
