"""Real clusters: profiles with TLS, SCRAM, client certificates, tokens.

What does not fit, in a line with a hint.
"""

from __future__ import annotations

import time
import traceback
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import labkit
from labkit import cli
from labkit.acl import elasticsearch_role, kafka_grants
from labkit.elastic import Target
from labkit.errors import AccessError, ConfigError, LabkitError, UnavailableError
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab
from support.secure_stack import SecureStack
from support.waiting import until


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write the ``labkit.toml`` that is used: ``config(kafka, elasticsearch)``."""

    def line(key: str, value: Any) -> str:
        return f'"{key}" = {value!r}'.replace("'", '"')

    def write(kafka: dict[str, Any], targets: dict[str, dict[str, Any]] | None = None) -> Path:
        path = tmp_path / "labkit.toml"
        lines = ["[profiles.prod.kafka]", *(line(*item) for item in kafka.items())]
        for name, settings in (targets or {}).items():
            lines += [
                f"[profiles.prod.elasticsearch.{name}]",
                *(line(*item) for item in settings.items()),
            ]
        path.write_text("\n".join(lines))
        path.chmod(0o600)
        monkeypatch.setenv("LABKIT_CONFIG", str(path))
        return path

    return write


@pytest.fixture(scope="module")
def topic(secure: SecureStack) -> str:
    return secure.new_topic()


def read(lab: Lab, topic: str) -> list[int]:
    return list(lab.window(topic).read().to_pandas()["n"])


# profiles ------------------------------------------------------------------------------------------------


def test_a_profile_with_scram_tls_and_a_secret_file(
    secure: SecureStack, topic: str, config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, password = secure.new_user("alice")
    secure.grant(name, kafka_grants("lab", topic))
    (tmp_path / "kafka-password").write_text(password + "\n")
    target = secure.new_es_user(elasticsearch_role("lab"))
    user, word = target["basic_auth"]
    monkeypatch.setenv("TEST_ES_PASSWORD", word)
    config(
        secure.kafka(name, "${file:kafka-password}"),
        {"default": {**target, "basic_auth": [user, "${TEST_ES_PASSWORD}"]}},
    )
    monkeypatch.setenv("LABKIT_PROFILE", "prod")
    lab = labkit.connect()  # LABKIT_PROFILE names it
    until(lambda: topic in lab.cluster.topics())
    assert read(lab, topic) == [1, 2]
    load = lab.window(topic).to_scratch(f"secure-{uuid.uuid4().hex[:8]}", ttl="1h")
    assert load.counts["indexed"] == 2
    assert load.index.name in set(lab.scratch()["index"])
    load.index.drop()
    shown = f"{lab!r} {lab.connection!r} {lab.target()!r} {vars(lab)} {lab.connection.kafka!r} {lab.cluster.settings!r}"
    assert not [one for one in (password, word) if one in shown]


@pytest.mark.parametrize("way", ["mtls", "oauth"])
def test_a_profile_with_a_client_certificate_or_a_token(
    way: str, secure: SecureStack, topic: str, config: Any
) -> None:
    name = f"{way}-{uuid.uuid4().hex[:8]}"
    secure.grant(name, kafka_grants("lab", topic))
    config(getattr(secure, way)(name))
    lab = labkit.connect("prod")
    until(lambda: topic in lab.cluster.topics())
    assert read(lab, topic) == [1, 2]
    with lab.attach(topic, name=f"test-{uuid.uuid4().hex[:8]}", start="earliest") as group:
        assert len(group.read(2)) == 2
    assert group.close(delete=True) is None


def test_a_profile_of_variables_alone(
    secure: SecureStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LABKIT_CONFIG", str(tmp_path / "labkit.toml"))
    (tmp_path / "labkit.toml").write_text("")
    for key, value in secure.admin.settings.items():
        monkeypatch.setenv("LABKIT_HUB_KAFKA_" + key.upper().replace(".", "_"), value)
    address, password = secure.elasticsearch_address, secure.state.passwords["admin"]
    for key, value in {
        "HOSTS": address,
        "CA_CERTS": secure.ca,
        "BASIC_AUTH": f"admin:{password}",
    }.items():
        monkeypatch.setenv(f"LABKIT_HUB_ELASTICSEARCH_DEFAULT_{key}", value)
    lab = labkit.connect("hub")
    assert lab.cluster.cluster_id
    assert lab.target().version == "8.19.21"


def test_two_targets_of_one_profile_have_their_own_logins(
    secure: SecureStack, stack: Any, config: Any
) -> None:
    local = stack.credentials("lab")["elasticsearch"]
    config(
        secure.admin.settings,
        {"default": secure.elasticsearch("admin", secure.state.passwords["admin"]), "old": local},
    )
    lab = labkit.connect("prod")
    assert {name: target.user for name, target in lab.targets.items()} == {
        "default": "admin",
        "old": "lab",
    }
    assert all(target.version == "8.19.21" for target in lab.targets.values())


# what does not fit: one line, a hint, no secret ----------------------------------------------------------


def refused(settings: dict[str, Any]) -> LabkitError:
    start = time.monotonic()
    with pytest.raises(LabkitError) as caught:
        Cluster(settings).topics()
    assert time.monotonic() - start < 30  # "within seconds", on a machine that may be busy
    assert caught.value.hint
    assert "\n" not in caught.value.message
    message = "".join(traceback.format_exception(caught.value))
    assert settings.get("sasl.password", "hunter2") not in message
    return caught.value


@pytest.mark.parametrize("password", ["hunter2", "admin"])
def test_a_wrong_scram_password(password: str, secure: SecureStack) -> None:
    error = refused(secure.kafka("scram-user", password + "-wrong"))
    assert isinstance(error, AccessError)
    assert (
        error.message == f"localhost:{secure.ports['SCRAM']} refused the login of User:scram-user"
    )


WRONG: dict[str, tuple[str, dict[str, str], str]] = {
    "tls to a plaintext port": ("CLEAR", {"security.protocol": "SASL_SSL"}, "does not speak TLS"),
    "plaintext to a tls port": (
        "SCRAM",
        {"security.protocol": "SASL_PLAINTEXT"},
        "speak SASL_PLAINTEXT, as",
    ),
    "no sasl to a sasl port": ("SCRAM", {"security.protocol": "SSL"}, "speak SSL, as"),
    "an unknown ca": ("SCRAM", {"ssl.ca.location": "other"}, "certificate is not trusted"),
    "an expired certificate": ("EXPIRED", {}, "certificate is not trusted"),
    "an advertised name that does not resolve": ("LOST", {}, "lost.invalid"),
    "a closed port": ("SCRAM", {"bootstrap.servers": "localhost:1"}, "no server listens there"),
    "a name that does not resolve": (
        "SCRAM",
        {"bootstrap.servers": "no.invalid:1"},
        "no.invalid:1 does not resolve",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_keeps_the_broker_away_is_told(what: str, secure: SecureStack) -> None:
    listener, change, message = WRONG[what]
    settings = {**secure.kafka("admin", secure.state.passwords["admin"], listener), **change}
    settings["ssl.ca.location"] = secure.other_ca if change.get("ssl.ca.location") else secure.ca
    error = refused(settings)
    assert isinstance(error, UnavailableError)
    assert settings["bootstrap.servers"] in error.message
    assert message in f"{error.message} {error.hint}"


def test_a_reader_that_loses_its_broker_says_the_same(secure: SecureStack, topic: str) -> None:
    """A consumer alone, whose admin client has not asked anything yet."""
    cluster = Cluster({**secure.admin.settings, "ssl.ca.location": secure.other_ca})
    with pytest.raises(UnavailableError, match="certificate is not trusted"):
        cluster.partitions(topic)


def test_a_refused_client_certificate(secure: SecureStack) -> None:
    settings = secure.mtls("bob")
    del settings["ssl.certificate.location"], settings["ssl.key.location"]
    assert "wants a client certificate" in refused(settings).message


def test_a_token_nobody_can_make(secure: SecureStack) -> None:
    settings = {**secure.oauth("bob"), "sasl.oauthbearer.config": "nonsense=hunter2"}
    error = refused(settings)
    assert "no OAUTHBEARER token" in error.message
    assert "hunter2" not in str(error)


SETTINGS = {
    "sasl.pasword": ("hunter2", "did you mean 'sasl.password'?"),
    "sasl.mechanism": ("SCRAM-SHA-521", "did you mean 'SCRAM-SHA-512'?"),
    "ssl.ca.location": ("/nowhere/ca.pem", "is the file there"),
    "security.protocol": ("SASL_TLS", "CONFIGURATION.md"),
}


@pytest.mark.parametrize("key", SETTINGS)
def test_a_setting_librdkafka_does_not_take_is_told_with_a_suggestion(
    key: str, secure: SecureStack
) -> None:
    value, hint = SETTINGS[key]
    error = refused({**secure.admin.settings, key: value})
    assert isinstance(error, ConfigError)
    assert hint in error.hint


def test_a_missing_acl_names_the_principal_the_resource_and_the_recipe(
    secure: SecureStack, topic: str
) -> None:
    """Behaviour 20."""
    name, password = secure.new_user("eve")
    lab = secure.lab(secure.kafka(name, password))
    with pytest.raises(
        AccessError,
        match=f"(?s)User:{name} may not .*the ACL Describe on topic '{topic}' is missing",
    ) as caught:
        lab.window(topic)
    assert f"labkit acl --principal User:{name}" in caught.value.hint
    secure.grant(name, [grant for grant in kafka_grants("lab", topic) if grant.kind == "TOPIC"])
    until(lambda: topic in lab.cluster.topics())
    with pytest.raises(
        AccessError,
        match=f"(?s)User:{name} may not .*the ACL Read on group 'labkit[^']*' is missing",
    ):
        lab.attach(topic, name="explore").read(1)


ELASTICSEARCH: dict[str, tuple[dict[str, Any], type[LabkitError], str]] = {
    "a wrong password": (
        {"basic_auth": ["admin", "hunter2"]},
        AccessError,
        "refused the login of admin",
    ),
    "an unknown ca": ({"ca_certs": "other"}, UnavailableError, "its certificate is not trusted"),
    "another host name": (
        {"hosts": "127.0.0.1"},
        UnavailableError,
        "its certificate is not for this",
    ),
    "a closed port": (
        {"hosts": ["https://localhost:1"]},
        UnavailableError,
        "no server listens there",
    ),
    "a wrong key": ({"ca_cert": "x"}, ConfigError, "did you mean 'ca_certs'?"),
    "a file that is not there": ({"ca_certs": "/nowhere"}, UnavailableError, "is not there"),
}


@pytest.mark.parametrize("what", ELASTICSEARCH)
def test_what_keeps_elasticsearch_away_is_told(what: str, secure: SecureStack) -> None:
    change, kind, message = ELASTICSEARCH[what]
    settings = {**secure.elasticsearch("admin", secure.state.passwords["admin"]), **change}
    if change.get("ca_certs") == "other":
        settings["ca_certs"] = secure.other_ca
    if change.get("hosts") == "127.0.0.1":
        settings["hosts"] = [secure.elasticsearch_address.replace("localhost", "127.0.0.1")]
    with pytest.raises(kind) as caught:
        Target("default", settings).count("irc")
    assert message in str(caught.value)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_the_command_line_says_it_in_two_lines(
    secure: SecureStack, config: Any, capsys: Any
) -> None:
    config(secure.kafka("admin", "hunter2"))
    assert cli.main(["topics", "--profile", "prod"]) == 1
    err = capsys.readouterr().err.splitlines()
    assert err[-2].startswith("labkit: localhost:")
    assert err[-1].startswith("Hint: check sasl.username")
    assert "hunter2" not in "".join(err)
