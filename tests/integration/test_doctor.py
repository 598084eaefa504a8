"""What the doctor says: each failure made for real, on servers behind TLS, and the fix it names."""

from __future__ import annotations

import contextlib
import json
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from labkit import cli
from labkit.acl import Grant, elasticsearch_role, kafka_grants
from labkit.config.profiles import Profile
from labkit.doctor import Diagnosis, examine
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab
from support.secure_stack import SecureStack
from support.waiting import until


@pytest.fixture(scope="module")
def topic(secure: SecureStack) -> str:
    return secure.new_topic()


@pytest.fixture(scope="module")
def alice(secure: SecureStack, topic: str) -> tuple[str, str]:
    """A user with the lab's rights on `topic`."""
    name, password = secure.new_user("alice")
    secure.grant(name, kafka_grants("lab", topic))
    until(lambda: visit(secure.kafka(name, password), topic=topic).healthy)
    return name, password


@pytest.fixture(scope="module")
def es_user(secure: SecureStack) -> Any:
    """Make Elasticsearch users: ``es_user(role)`` returns what the client takes."""
    return secure.new_es_user


def visit(
    kafka: dict[str, Any], targets: dict[str, Any] | None = None, **options: Any
) -> Diagnosis:
    return examine(Profile("test", "", kafka, targets or {}), **options)


def only(found: Diagnosis, name: str) -> str:
    """Return what the check `name` says, which is the only one that failed.

    What it made impossible was skipped.
    """
    assert [f"{check.area} {check.check}" for check in found.failed] == [name], str(found)
    check = found[name]
    assert check.fix, "each failure has a fix"
    return f"{check.finding} -> {check.fix}"


def with_(settings: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**settings, **{key.replace("_", "."): value for key, value in more.items()}}


# all is well ---------------------------------------------------------------------------------------------


def test_a_lab_with_its_rights_is_healthy(
    secure: SecureStack, alice: Any, topic: str, es_user: Any
) -> None:
    diagnosis = visit(
        secure.kafka(*alice), {"default": es_user(elasticsearch_role("lab"))}, topic=topic
    )
    assert diagnosis.healthy
    assert {check.status for check in diagnosis.checks} == {"ok"}, str(diagnosis)
    assert "trusted, names the host" in diagnosis["kafka TLS"].finding
    assert diagnosis["elasticsearch version"].finding == "Elasticsearch 8.19.21"


def test_it_leaves_no_group_and_no_offset_behind(
    secure: SecureStack, alice: Any, topic: str
) -> None:
    admin = Lab(Profile("admin", "", secure.admin.settings, {}))
    before = set(admin.groups()["group"])
    assert visit(secure.kafka(*alice), topic=topic).healthy
    assert set(admin.groups()["group"]) == before


@pytest.mark.parametrize("way", ["mtls", "oauth"])
def test_other_ways_to_log_in_are_healthy(way: str, secure: SecureStack, topic: str) -> None:
    name = f"{way}-{uuid.uuid4().hex[:8]}"
    secure.grant(name, kafka_grants("lab", topic))
    settings = getattr(secure, way)(name)
    until(lambda: visit(settings, topic=topic).healthy)


def test_its_results_are_text_html_frame_and_json_without_a_secret(
    secure: SecureStack, alice: Any, topic: str, es_user: Any
) -> None:
    target = es_user(elasticsearch_role("lab"))
    diagnosis = Lab(Profile("test", "", secure.kafka(*alice), {"default": target})).doctor(
        topic=topic
    )
    frame = diagnosis.to_pandas()
    assert list(frame.columns) == ["area", "check", "status", "finding", "fix", "took_s"]
    assert len(frame) == len(diagnosis.checks)
    shown = f"{diagnosis} {diagnosis!r} {diagnosis._repr_html_()} {frame.to_json()}"
    assert alice[1] not in shown
    assert target["basic_auth"][1] not in shown
    assert "<td" in diagnosis._repr_html_()


def test_a_cluster_without_access_control_would_be_told(secure: SecureStack) -> None:
    diagnosis = visit(secure.admin.settings)
    assert diagnosis["kafka no more than needed"].status == "warn"
    assert "WRITE" in diagnosis["kafka no more than needed"].finding


# the way to Kafka ----------------------------------------------------------------------------------------


def test_a_host_name_that_does_not_resolve(secure: SecureStack, alice: Any) -> None:
    settings = with_(secure.kafka(*alice), bootstrap_servers="nohost.invalid:9093")
    assert "nohost.invalid: does not resolve" in only(visit(settings), "kafka DNS")


@pytest.mark.parametrize(
    ("address", "check"), [("nohost.invalid:9093", "DNS"), ("localhost:1", "TCP")]
)
def test_one_of_two_brokers_that_is_away_is_a_warning(
    address: str, check: str, secure: SecureStack, alice: Any, topic: str
) -> None:
    """By TLS it was a failure, and no login was tried."""
    settings = secure.kafka(*alice)
    settings["bootstrap.servers"] = f"{address},{settings['bootstrap.servers']}"
    diagnosis = visit(settings, topic=topic)
    assert diagnosis.healthy, diagnosis
    assert diagnosis[f"kafka {check}"].status == "warn"
    assert "others answer" in diagnosis[f"kafka {check}"].finding
    assert diagnosis["kafka TLS"].status == "warn"
    assert "(others: trusted, names the host, valid until" in diagnosis["kafka TLS"].finding
    assert diagnosis["kafka login"].status == "ok"


def test_a_closed_port_is_named_and_what_needs_it_skipped(secure: SecureStack, alice: Any) -> None:
    diagnosis = visit(with_(secure.kafka(*alice), bootstrap_servers="localhost:1"))
    assert "localhost:1: no server listens there" in only(diagnosis, "kafka TCP")
    assert diagnosis["kafka login"].status == "skipped"
    assert diagnosis["kafka login"].finding == "needs: TLS"


def test_a_wrong_ca_is_named_with_its_setting(secure: SecureStack, alice: Any) -> None:
    settings = with_(secure.kafka(*alice), ssl_ca_location=secure.other_ca)
    assert "is not trusted" in (text := only(visit(settings), "kafka TLS"))
    assert "set ssl.ca.location" in text


def test_a_profile_that_trusts_any_certificate_is_warned_and_works(
    secure: SecureStack, alice: Any, topic: str
) -> None:
    settings = with_(
        secure.kafka(*alice),
        ssl_ca_location=secure.other_ca,
        enable_ssl_certificate_verification="false",
    )
    diagnosis = visit(settings, topic=topic)
    assert (diagnosis["kafka TLS"].status, diagnosis["kafka login"].status) == ("ok", "ok")
    assert "certificates are not checked" in diagnosis["kafka settings"].finding


def test_a_certificate_for_another_host(secure: SecureStack, alice: Any) -> None:
    settings = secure.kafka(*alice)
    settings["bootstrap.servers"] = settings["bootstrap.servers"].replace("localhost", "127.0.0.1")
    assert "is for another host" in only(visit(settings), "kafka TLS")


def test_an_expired_certificate(secure: SecureStack, alice: Any) -> None:
    assert "has expired" in only(visit(secure.kafka(*alice, "EXPIRED")), "kafka TLS")


def test_tls_to_a_port_that_does_not_speak_it(secure: SecureStack, alice: Any) -> None:
    settings = secure.kafka(*alice, "CLEAR", security_protocol="SASL_SSL")
    assert "does not speak TLS" in only(visit(settings), "kafka TLS")


def test_no_tls_to_a_port_that_speaks_it(secure: SecureStack, alice: Any) -> None:
    settings = secure.kafka(*alice, security_protocol="SASL_PLAINTEXT")
    assert "that port speaks TLS" in only(visit(settings), "kafka login")


def test_no_client_certificate_where_one_is_wanted(secure: SecureStack) -> None:
    settings = secure.mtls("bob")
    del settings["ssl.certificate.location"], settings["ssl.key.location"]
    assert "wants a client certificate" in only(visit(settings), "kafka login")


def test_a_wrong_password_is_named_by_its_user_and_not_shown(
    secure: SecureStack, alice: Any
) -> None:
    text = only(visit(secure.kafka(alice[0], "hunter2")), "kafka login")
    assert f"refused the login of User:{alice[0]}" in text
    assert "hunter2" not in text


def test_a_mechanism_this_client_has_not(secure: SecureStack, alice: Any) -> None:
    text = only(visit(secure.kafka(*alice, sasl_mechanism="GSSAPI")), "kafka settings")
    assert "cannot log in with Kerberos (GSSAPI)" in text
    assert "SCRAM-SHA-512" in text


def test_a_mechanism_the_broker_does_not_take(secure: SecureStack, alice: Any) -> None:
    text = only(visit(secure.kafka(*alice, sasl_mechanism="PLAIN")), "kafka login")
    assert text.endswith("set sasl.mechanism to one it supports: SCRAM-SHA-512")


def test_a_setting_kafka_does_not_have(secure: SecureStack, alice: Any) -> None:
    text = only(visit(secure.kafka(*alice, sasl_pasword="hunter2")), "kafka settings")
    assert "did you mean 'sasl.password'?" in text
    assert "hunter2" not in text


def test_an_advertised_listener_that_does_not_resolve(secure: SecureStack, alice: Any) -> None:
    text = only(visit(secure.kafka(*alice, "LOST")), "kafka advertised listeners")
    assert "lost.invalid: does not resolve" in text
    assert "advertised.listeners" in text


# ACLs ----------------------------------------------------------------------------------------------------

MISSING = {
    "describe topic": ("TOPIC", {"READ", "DESCRIBE", "DESCRIBE_CONFIGS"}, "--operation Describe --topic"),
    "read topic": ("TOPIC", {"READ"}, "--operation Read --topic"),
    "describe configs": ("TOPIC", {"DESCRIBE_CONFIGS"}, "--operation DescribeConfigs --topic"),
    "describe groups": ("*", {"DESCRIBE"}, "--operation Describe --group '*'"),
    "read groups labkit.*": ("labkit.", {"READ"}, "Read --group 'labkit.' --resource-pattern-type prefixed"),
    "delete groups labkit.*": ("labkit.", {"DELETE"}, "--operation Delete --group 'labkit.'"),
}  # fmt: skip


@pytest.mark.parametrize("check", MISSING)
def test_a_missing_acl_is_named_with_the_command_that_grants_it(
    check: str, secure: SecureStack, topic: str
) -> None:
    where, lacking, fix = MISSING[check]
    name, password = secure.new_user("bob")
    grants: list[Grant] = [
        replace(grant, operations=tuple(set(grant.operations) - lacking))
        if where in (grant.kind, grant.name)
        else grant
        for grant in kafka_grants("lab", topic)
    ]
    secure.grant(name, grants)
    diagnosis = until(
        lambda: (
            one
            if len((one := visit(secure.kafka(name, password), topic=topic)).failed) == 1
            else None
        )
    )
    text = only(diagnosis, f"kafka {check}")
    assert f"--allow-principal 'User:{name}'" in text
    assert fix in text


def test_a_principal_without_any_right_sees_no_topic(secure: SecureStack) -> None:
    diagnosis = visit(secure.kafka(*secure.new_user("carol")))
    assert diagnosis["kafka describe topic"].finding == "no topic can be seen"
    assert {check.check for check in diagnosis.failed} == {
        "describe topic", "describe groups", "delete groups labkit.*",
    }  # fmt: skip


# sizes and time ------------------------------------------------------------------------------------------


def test_a_client_that_takes_less_than_the_topic_holds(secure: SecureStack) -> None:
    topic = secure.new_topic([b"x" * 5_000_000], max_message_bytes="6000000")
    settings = with_(
        secure.admin.settings, receive_message_max_bytes="2000000", fetch_max_bytes="1500000"
    )
    diagnosis = visit(settings, topic=topic)
    assert "set receive.message.max.bytes to 7000000" in diagnosis["kafka message size"].fix
    assert diagnosis["kafka message size"].status == "fail"
    assert diagnosis["kafka read topic"].status == "fail"  # it is so: the record does not come
    mended = visit(with_(settings, receive_message_max_bytes="7000000"), topic=topic)
    assert mended["kafka read topic"].status == "ok"
    assert mended["kafka message size"].status == "warn"  # many small fetches
    # it named two settings, whatever the profile had
    assert mended["kafka message size"].fix == "remove fetch.max.bytes from the profile"


@pytest.mark.parametrize(
    ("bytes_", "status", "fix"),
    [
        ("2000", "warn", "remove max.partition.fetch.bytes from the profile"),
        ("3000000", "ok", ""),  # without the setting it would ask for less
    ],
)
def test_a_client_that_asks_for_little_at_once(
    secure: SecureStack, bytes_: str, status: str, fix: str
) -> None:
    topic = secure.new_topic(max_message_bytes="6000000")
    settings = with_(secure.admin.settings, max_partition_fetch_bytes=bytes_)
    check = visit(settings, topic=topic)["kafka message size"]
    assert (check.status, check.fix or "") == (status, fix)


def test_without_a_name_a_topic_with_records_that_may_be_read_is_looked_at(
    secure: SecureStack,
) -> None:
    """It took the first by name: an empty one, or one that may not be read, proves nothing."""
    name, password = secure.new_user("dave")
    topics = sorted(secure.new_topic(()) for _ in range(4))
    unread, unread_filled, empty, filled = topics
    producer = secure.admin.producer()
    for topic in (unread_filled, filled):
        producer.produce(topic, b"1")
    assert producer.flush(60) == 0
    rights = {unread: [], unread_filled: [], empty: ["READ"], filled: ["READ"]}
    secure.grant(
        name,
        [
            Grant("TOPIC", topic, False, ("DESCRIBE", "DESCRIBE_CONFIGS", *more))
            for topic, more in rights.items()
        ],
    )
    settings = secure.kafka(name, password)
    until(lambda: set(Cluster(settings).topics()) == set(topics), "the rights")
    diagnosis = visit(settings)
    described = f"{filled}, 1 partition; of 3 other topics, topic= tries another"
    assert diagnosis["kafka describe topic"].finding == described
    assert diagnosis["kafka read topic"].finding == "a record of 1 bytes"
    assert diagnosis["kafka clock"].status == "ok"
    only = visit(settings, topic=empty)
    assert only["kafka describe topic"].finding == f"{empty}, 1 partition"
    assert only["kafka read topic"].finding == f"{empty}[0]: nothing to read"


def test_a_record_of_the_future(secure: SecureStack) -> None:
    topic = secure.new_topic([])
    producer = secure.admin.producer()
    producer.produce(topic, b"{}", timestamp=int((time.time() + 600) * 1000))
    assert producer.flush(60) == 0
    check = visit(secure.admin.settings, topic=topic)["kafka clock"]
    assert check.status == "warn"
    assert "s in the future" in check.finding


# Elasticsearch -------------------------------------------------------------------------------------------


def elasticsearch(
    secure: SecureStack, alice: Any, topic: str, settings: dict[str, Any]
) -> Diagnosis:
    return visit(secure.kafka(*alice), {"default": settings}, topic=topic)


def test_elasticsearchs_way_is_looked_at_too(secure: SecureStack, alice: Any, topic: str) -> None:
    good = secure.elasticsearch("admin", secure.state.passwords["admin"])
    wrong = {
        "DNS": {"hosts": ["https://nohost.invalid:9200"]},
        "TCP": {"hosts": ["https://localhost:1"]},
        "TLS": {"ca_certs": secure.other_ca},
        "login": {"basic_auth": ["admin", "hunter2"]},
        "settings": {"ca_cert": "x"},
    }
    for check, settings in wrong.items():
        diagnosis = elasticsearch(secure, alice, topic, {**good, **settings})
        assert "hunter2" not in only(diagnosis, f"elasticsearch {check}")


def test_elasticsearchs_certificate_for_another_host(
    secure: SecureStack, alice: Any, topic: str
) -> None:
    settings = secure.elasticsearch("admin", secure.state.passwords["admin"])
    settings["hosts"] = [settings["hosts"][0].replace("localhost", "127.0.0.1")]
    diagnosis = elasticsearch(secure, alice, topic, settings)
    assert "is for another host" in only(diagnosis, "elasticsearch TLS")


def test_http_where_elasticsearch_speaks_https(secure: SecureStack, alice: Any, topic: str) -> None:
    address = secure.elasticsearch_address.replace("https", "http")
    diagnosis = elasticsearch(
        secure, alice, topic, {"hosts": [address], "basic_auth": ["admin", "x"]}
    )
    assert "that port speaks TLS" in only(diagnosis, "elasticsearch login")


@pytest.mark.parametrize(
    ("lacking", "status"), [("scratch-*", "fail"), ("irc*", "warn")], ids=["scratch", "production"]
)
def test_a_missing_privilege_is_named(
    lacking: str, status: str, secure: SecureStack, alice: Any, topic: str, es_user: Any
) -> None:
    role = elasticsearch_role("lab")
    role["indices"] = [grant for grant in role["indices"] if lacking not in grant["names"]]
    check = elasticsearch(secure, alice, topic, es_user(role))["elasticsearch privileges"]
    assert check.status == status
    assert f" on {lacking}" in check.finding
    assert "labkit acl" in check.fix


def test_without_monitor_the_version_cannot_be_had(
    secure: SecureStack, alice: Any, topic: str, es_user: Any
) -> None:
    diagnosis = elasticsearch(
        secure, alice, topic, es_user({**elasticsearch_role("lab"), "cluster": []})
    )
    assert diagnosis["elasticsearch version"].status == "fail"
    assert "cluster monitor" in diagnosis["elasticsearch privileges"].finding
    assert diagnosis["elasticsearch disk"].finding == "needs: version"


def test_an_api_key_that_is_refused(secure: SecureStack, alice: Any, topic: str) -> None:
    """The minimal build cannot make an API key.

    Its client, header and refusal are real; its acceptance is not tried.
    """
    settings = {
        "hosts": [secure.elasticsearch_address],
        "ca_certs": secure.ca,
        "api_key": ["id", "hunter2"],
    }
    text = only(elasticsearch(secure, alice, topic, settings), "elasticsearch login")
    assert "refused the login of the API key's owner" in text
    assert "hunter2" not in text


@contextlib.contextmanager
def cluster_settings(secure: SecureStack, **settings: Any) -> Iterator[None]:
    expected = {key.replace("__", "."): value for key, value in settings.items()}
    secure.es_admin.cluster.put_settings(persistent=expected)
    try:
        yield
    finally:
        secure.es_admin.cluster.put_settings(persistent=dict.fromkeys(expected))


def test_a_cluster_that_takes_no_writes(secure: SecureStack, alice: Any, topic: str) -> None:
    settings = secure.elasticsearch("admin", secure.state.passwords["admin"])
    with cluster_settings(secure, cluster__blocks__read_only=True):
        diagnosis = elasticsearch(secure, alice, topic, settings)
    assert "takes no writes" in only(diagnosis, "elasticsearch read-only")
    assert diagnosis["elasticsearch no more than needed"].status == "warn"  # an administrator's


@pytest.mark.parametrize(("high", "status"), [("100%", "warn"), ("2%", "fail")])
def test_a_disk_that_is_too_full(
    high: str, status: str, secure: SecureStack, alice: Any, topic: str
) -> None:
    prefix = "cluster__routing__allocation__disk__watermark__"
    marks = {f"{prefix}low": "1%", f"{prefix}high": high, f"{prefix}flood_stage": "100%"}
    with cluster_settings(secure, **marks):
        diagnosis = elasticsearch(
            secure, alice, topic, secure.elasticsearch("admin", secure.state.passwords["admin"])
        )
    assert diagnosis["elasticsearch disk"].status == status
    assert "GB free: above the" in diagnosis["elasticsearch disk"].finding


def test_a_profile_without_elasticsearch(secure: SecureStack, alice: Any, topic: str) -> None:
    diagnosis = visit(secure.kafka(*alice), topic=topic)
    assert diagnosis["profile elasticsearch"].status == "warn"
    assert "[profiles.test.elasticsearch.default]" in diagnosis["profile elasticsearch"].fix


# nobody answers ------------------------------------------------------------------------------------------


@pytest.fixture
def black_hole() -> Iterator[str]:
    """An address of this machine that answers no connection: its queue is full."""
    with contextlib.ExitStack() as held:
        server = held.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            waiting = held.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def tar_pit() -> Iterator[str]:
    """An address that takes every connection and says nothing."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(100)
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(("kind", "check"), [("black_hole", "TCP"), ("tar_pit", "login")])
def test_silence_everywhere_is_told_in_bounded_time(
    kind: str, check: str, request: pytest.FixtureRequest
) -> None:
    address = request.getfixturevalue(kind)
    target = {"hosts": [f"http://{address}"], "basic_auth": ["a", "b"]}
    start = time.monotonic()
    diagnosis = visit(
        {"bootstrap.servers": f"{address},{address}"}, {"default": target, "second": target}
    )
    took_s = time.monotonic() - start
    assert {f"{check.area} {check.check}" for check in diagnosis.failed} == {
        f"kafka {check}", f"elasticsearch {check}", f"elasticsearch second {check}",
    }, str(diagnosis)  # fmt: skip
    assert took_s < 40  # it promises 15, on a machine that has time for it


def test_silence_where_tls_is_expected(tar_pit: str, secure: SecureStack, alice: Any) -> None:
    diagnosis = visit(with_(secure.kafka(*alice), bootstrap_servers=tar_pit))
    assert "no answer" in only(diagnosis, "kafka TLS")


# the command ---------------------------------------------------------------------------------------------


@pytest.fixture
def prod(secure: SecureStack, alice: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Write a labkit.toml with profile prod, its password in a variable."""
    path = tmp_path / "labkit.toml"

    def write(**more: str) -> None:
        settings = {**secure.kafka(alice[0], "${TEST_PASSWORD}"), **more}
        lines = [f'"{key}" = "{value}"' for key, value in settings.items()]
        path.write_text("\n".join(["[profiles.prod.kafka]", *lines]))
        monkeypatch.setenv("LABKIT_CONFIG", str(path))

    monkeypatch.setenv("TEST_PASSWORD", alice[1])
    return write


def test_the_command_prints_and_its_exit_code_tells(prod: Any, topic: str, capsys: Any) -> None:
    prod()
    assert cli.main(["doctor", "--profile", "prod", "--topic", topic]) == 0
    assert "profile prod:" in capsys.readouterr().out
    prod(**{"sasl.mechanism": "PLAIN"})
    assert cli.main(["doctor", "--profile", "prod", "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert [row["check"] for row in rows if row["status"] == "fail"] == ["login"]


def test_the_command_tells_what_is_wrong_with_the_profile(prod: Any, capsys: Any) -> None:
    prod()
    assert cli.main(["doctor", "--profile", "prdo"]) == 1
    out = capsys.readouterr().out
    assert "there is no profile 'prdo'" in out
    assert "did you mean 'prod'?" in out
    assert "here libraries" in out


def test_a_cache_folder_that_cannot_be_written(
    secure: SecureStack, alice: Any, topic: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "file"))
    assert "LABKIT_CACHE" in only(visit(secure.kafka(*alice), topic=topic), "here cache")
