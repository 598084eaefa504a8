"""Secrets come from where they lie and are shown nowhere; typos are told with what was meant."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hcl2
import keyring
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from keyrings.alt.file import PlaintextKeyring

import labkit
from labkit import cli
from labkit.acl import recipe
from labkit.config.profiles import list_profiles, load_profile
from labkit.config.secrets import Secret
from labkit.elastic import Target
from labkit.errors import ConfigError, UsageError
from labkit.kafka.cluster import Cluster
from labkit.kafka.errors import PROPERTIES
from labkit.text.masking import is_secret

PROD = """
[profiles.prod.kafka]
"bootstrap.servers" = ["kafka-1:9093", "kafka-2:9093"]
"security.protocol" = "SASL_SSL"
"sasl.mechanism" = "SCRAM-SHA-512"
"sasl.username" = "alice"
"sasl.password" = "PASSWORD"
"enable.ssl.certificate.verification" = true
[profiles.prod.elasticsearch.default]
hosts = ["https://es-1:9200"]
basic_auth = ["alice", "PASSWORD"]
[profiles.prod.elasticsearch."es-9"]
hosts = ["https://es-9:9200"]
api_key = "PASSWORD"
[profiles.prod.registry]
url = "https://registry:8081"
basic_auth = ["alice", "PASSWORD"]
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Write the ``labkit.toml`` that is used; PASSWORD in it is replaced."""

    def write(password: str, text: str = PROD, mode: int = 0o600) -> Path:
        path = tmp_path / "labkit.toml"
        path.write_text(text.replace("PASSWORD", password), encoding="utf-8")
        path.chmod(mode)
        monkeypatch.setenv("LABKIT_CONFIG", str(path))
        return path

    return write


# where they come from ------------------------------------------------------------------------------------


def test_a_secret_of_a_file_beside_the_profile_or_anywhere(config: Any, tmp_path: Path) -> None:
    (tmp_path / "word").write_text("hunter2\n")
    for reference in ("${file:word}", f"${{file:{tmp_path}/word}}"):
        config(reference)
        profile = load_profile("prod")
        assert profile.kafka["sasl.password"] == "hunter2"
        assert profile.elasticsearch["es-9"]["api_key"] == "hunter2"


@pytest.fixture
def ring(tmp_path: Path) -> Any:
    """A real keyring, in a file."""
    before, ring = keyring.get_keyring(), PlaintextKeyring()
    ring.file_path = str(tmp_path / "keyring.cfg")
    keyring.set_keyring(ring)
    yield ring
    keyring.set_keyring(before)


def test_a_secret_of_the_keyring(config: Any, ring: Any) -> None:
    ring.set_password("kafka/prod", "alice", "hunter2")
    config("${keyring:kafka/prod/alice}")
    assert load_profile("prod").kafka["sasl.password"] == "hunter2"
    ring.delete_password("kafka/prod", "alice")
    with pytest.raises(ConfigError, match=r"the keyring has no 'kafka/prod' of 'alice'") as caught:
        load_profile("prod")
    assert "keyring set kafka/prod alice" in caught.value.hint


def test_the_keyring_is_imported_only_when_it_is_named() -> None:
    code = "import sys, labkit.lab, labkit.config.profiles; print('keyring' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("${TEST_NO_SUCH_VARIABLE}", "needs the environment variable TEST_NO_SUCH_VARIABLE"),
        ("${file:/nowhere/word}", "needs /nowhere/word: No such file"),
        ("${vault:word}", "vault:…} is not a known reference"),
    ],
)
def test_a_secret_that_cannot_be_had_is_told(reference: str, told: str, config: Any) -> None:
    config(reference)
    with pytest.raises(ConfigError) as caught:
        load_profile("prod")
    assert told in caught.value.message
    assert caught.value.hint


def test_a_dollar_that_means_itself(config: Any) -> None:
    config("a$b$${c}$")
    assert load_profile("prod").kafka["sasl.password"] == "a$b${c}$"


# the environment wins ------------------------------------------------------------------------------------


def test_variables_win_over_the_file_and_need_no_reference(
    config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config("${TEST_NO_SUCH_VARIABLE}")
    monkeypatch.setenv("LABKIT_PROD_KAFKA_SASL_PASSWORD", "hunter${2}")
    monkeypatch.setenv("LABKIT_PROD_ELASTICSEARCH_DEFAULT_BASIC_AUTH", "bob:hun:ter")
    monkeypatch.setenv("LABKIT_PROD_ELASTICSEARCH_ES_9_API_KEY", "key")
    monkeypatch.setenv("LABKIT_PROD_REGISTRY_BASIC_AUTH", "carol:word")
    monkeypatch.setenv("LABKIT_PROD_ELASTICSEARCH_ES_9_VERIFY_CERTS", "false")
    profile = load_profile("prod")
    assert profile.kafka["sasl.password"] == "hunter${2}"
    assert profile.kafka["bootstrap.servers"] == "kafka-1:9093,kafka-2:9093"
    assert profile.kafka["enable.ssl.certificate.verification"] == "true"
    assert profile.elasticsearch["default"]["basic_auth"] == ["bob", "hun:ter"]
    assert profile.registry == {"url": "https://registry:8081", "basic_auth": ["carol", "word"]}
    assert profile.elasticsearch["es-9"] == {
        "hosts": ["https://es-9:9200"],
        "api_key": "key",
        "verify_certs": False,
    }


def test_one_profiles_variables_are_not_anothers(
    config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config("hunter2", PROD + '[profiles.staging.kafka]\n"bootstrap.servers" = "staging:9093"\n')
    monkeypatch.setenv("LABKIT_PROD_KAFKA_BOOTSTRAP_SERVERS", "elsewhere:9093")
    assert load_profile("staging").kafka == {"bootstrap.servers": "staging:9093"}
    assert load_profile("prod").kafka["bootstrap.servers"] == "elsewhere:9093"


def test_labkit_profile_names_the_default(config: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    config("hunter2")
    monkeypatch.setenv("LABKIT_PROFILE", "prod")
    assert labkit.connect().connection.name == "prod"


# shown nowhere -------------------------------------------------------------------------------------------


def test_a_secret_shows_itself_nowhere_but_as_text(config: Any) -> None:
    config("hunter2")
    lab = labkit.connect("prod")
    held = [
        lab.connection.kafka,
        lab.connection.elasticsearch,
        lab.connection.registry,
        lab.targets,
    ]
    shown = f"{lab!r} {lab.connection!r} {vars(lab)} {held!r}"
    assert "alice" in shown
    assert "hunter2" not in shown
    assert json.dumps(lab.connection.kafka["sasl.password"]) == '"hunter2"'
    assert f"{Secret('x')!r} {[Secret('x')]}" == "'***' ['***']"


def test_the_list_of_profiles_reads_no_secret_and_shows_none(config: Any, capsys: Any) -> None:
    config(
        "${TEST_NO_SUCH_VARIABLE}",
        PROD.replace("es-1:", "alice:hunter2@es-1:") + "[profiles.bad]\nkafak = 1\n",
    )
    rows = {row["profile"]: row for row in list_profiles()}
    assert rows["prod"]["security"] == "SASL_SSL SCRAM-SHA-512"
    assert rows["prod"]["kafka"] == "kafka-1:9093,kafka-2:9093"
    assert "unknown key: kafak" in rows["bad"]["source"]
    assert cli.main(["profiles"]) == 0
    assert cli.main(["profiles", "--json"]) == 0
    out = capsys.readouterr().out
    assert "https://***@es-1:9200" in out
    assert "hunter2" not in out


def test_profiles_made_of_variables_are_listed(
    config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config("x")
    monkeypatch.setenv("LABKIT_STAGE_KAFKA_BOOTSTRAP_SERVERS", "stage-1:9092")
    monkeypatch.setenv("LABKIT_STAGE_KAFKA_SASL_PASSWORD", "hunter2")
    monkeypatch.setenv("LABKIT_PROD_KAFKA_BOOTSTRAP_SERVERS", "kafka-9:9092")  # of the file's
    rows = {row["profile"]: row for row in list_profiles()}
    assert (rows["stage"]["kafka"], rows["stage"]["source"]) == ("stage-1:9092", "the environment")
    assert rows["prod"]["kafka"] == "kafka-9:9092"
    assert "hunter2" not in str(rows)


def test_numbers_come_as_numbers_from_variables_and_passwords_of_digits_as_texts(
    config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config("x")
    for name, value in {
        "REQUEST_TIMEOUT": "30",
        "MAX_RETRIES": "5",
        "BEARER_AUTH": "12345",
    }.items():
        monkeypatch.setenv(f"LABKIT_PROD_ELASTICSEARCH_DEFAULT_{name}", value)
    settings = load_profile("prod").elasticsearch["default"]
    assert (settings["request_timeout"], settings["max_retries"], str(settings["bearer_auth"])) == (
        30,
        5,
        "12345",
    )
    monkeypatch.setenv("LABKIT_PROD_ELASTICSEARCH_DEFAULT_REQUEST_TIMEOUT", "soon")
    with pytest.raises(ConfigError, match="request_timeout must be a number, not 'soon'"):
        load_profile("prod")


def test_the_numbers_are_those_of_the_client() -> None:
    import inspect

    from elasticsearch import Elasticsearch

    from labkit.config.profiles import _NUMBERS

    old = {"timeout", "maxsize", "sniffer_timeout"}  # deprecated there
    signature = inspect.signature(Elasticsearch.__init__).parameters
    numbers = {
        name
        for name, parameter in signature.items()
        if {"int", "float"} & set(re.findall(r"\w+", str(parameter.annotation)))
    }
    assert numbers - old - {"hosts", "ssl_version", "ssl_context", "host_info_callback"} == _NUMBERS


def test_a_profile_called_local_is_refused_not_ignored(config: Any) -> None:
    config("x", "[profiles.local.kafka]\n'bootstrap.servers' = 'mine:9092'\n")
    with pytest.raises(ConfigError, match="has the name of the local stack"):
        labkit.connect("local")
    assert (
        "has the name of the local stack"
        in {row["profile"]: row for row in list_profiles()}["local"]["source"]
    )
    config("x", "[profiles.local.topics.orders]\nvalue = 'text'\n")  # the one thing it may say
    assert "local" not in {row["profile"] for row in list_profiles()}


@pytest.mark.parametrize(("mode", "password", "warned"), [
    (0o644, "hunter2", True), (0o600, "hunter2", False), (0o644, "${TEST_WORD}", False),
])  # fmt: skip
def test_a_file_others_may_read_with_a_secret_in_it_is_warned_of(
    mode: int, password: str, warned: bool, config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_WORD", "x")
    config(password, mode=mode)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        labkit.connect("prod")
    assert (
        bool([one for one in caught if "others may read it: chmod 600" in str(one.message)])
        is warned
    )


@pytest.mark.parametrize(
    "name",
    [
        "ssl.key.location",
        "sasl.oauthbearer.token.endpoint.url",
        "sasl.oauthbearer.method",
        "sasl.oauthbearer.scope",
        "sasl.oauthbearer.client.id",
        "enable.sasl.oauthbearer.unsecure.jwt",
    ],
)
def test_what_only_sounds_like_a_secret_is_shown(name: str) -> None:
    assert not is_secret(name)


# typos ---------------------------------------------------------------------------------------------------


def test_a_profile_that_is_not_there_is_told_with_the_nearest(config: Any) -> None:
    config("hunter2")
    with pytest.raises(ConfigError, match="there is no profile 'prdo'") as caught:
        load_profile("prdo")
    assert caught.value.hint == "did you mean 'prod'?"


def test_a_table_that_is_not_one_is_told_with_the_nearest(config: Any) -> None:
    config("", '[profiles.x.kafka]\n"a" = "b"\n[profiles.x.elasticsaerch.default]\nhosts = []')
    with pytest.raises(ConfigError, match="unknown key: elasticsaerch") as caught:
        load_profile("x")
    assert caught.value.hint == "did you mean 'elasticsearch'?"


def test_a_property_kafka_has_not_is_told_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"Kafka has no setting 'bootstrap\.server'") as caught:
        _ = Cluster({"bootstrap.server": "a:1"}).admin
    assert caught.value.hint == "did you mean 'bootstrap.servers'?"


def test_a_key_elasticsearch_has_not_is_told_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="has no setting 'basic_aut'") as caught:
        _ = Target("default", {"hosts": ["http://a:1"], "basic_aut": ["a", "hunter2"]}).client
    assert caught.value.hint == "did you mean 'basic_auth'?"
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", PROPERTIES)
def test_every_property_that_is_suggested_is_one_of_librdkafkas(name: str) -> None:
    message = ""
    try:
        AdminClient({name: "1"})
    except (KafkaException, TypeError, ValueError) as error:
        message = str(error)
    assert "No such configuration property" not in message


# the recipe's other forms --------------------------------------------------------------------------------


def test_terraform_is_read_as_what_the_commands_grant() -> None:
    principal = "User:CN=alice,O=Example ${Org}"
    resources = hcl2.loads(recipe(principal, topic="irc*", form="terraform") + "\n")["resource"]
    blocks = [
        body for operation in resources for kind in operation.values() for body in kind.values()
    ]
    labels = [label for operation in resources for kind in operation.values() for label in kind]
    assert len(set(labels)) == len(labels) == 13
    assert {next(iter(operation)).strip('"') for operation in resources} == {"kafka_acl"}
    keys = ("resource_type", "resource_name", "resource_pattern_type_filter", "acl_operation")
    rights = {tuple(operation[key].strip('"') for key in keys) for operation in blocks}
    assert rights == {
        *(
            ("Topic", "irc", "Prefixed", operation)
            for operation in ("Describe", "DescribeConfigs", "Read")
        ),
        *(
            ("Topic", "labkit.", "Prefixed", operation)
            for operation in ("Create", "Delete", "Describe", "DescribeConfigs", "Read", "Write")
        ),
        ("Group", "*", "Literal", "Describe"),
        *(
            ("Group", "labkit.", "Prefixed", operation)
            for operation in ("Delete", "Describe", "Read")
        ),
    }
    assert {operation["acl_principal"].strip('"') for operation in blocks} == {
        "User:CN=alice,O=Example $${Org}"
    }
    assert {
        (operation["acl_host"].strip('"'), operation["acl_permission_type"].strip('"'))
        for operation in blocks
    } == {("*", "Allow")}


def test_the_role_alone_is_json() -> None:
    role = json.loads(recipe("User:alice", indices="logs-*", form="elasticsearch-role"))
    assert [grant["names"] for grant in role["indices"]] == [["scratch-*"], ["logs-*"]]


@pytest.mark.parametrize(
    "principal", ["alice", "User:", "User:a'b", 'User:a"b', "User:a\nb", "User:a\\b"]
)
def test_a_principal_that_could_break_out_of_its_quotes_is_refused(principal: str) -> None:
    with pytest.raises(UsageError, match="is not a principal"):
        recipe(principal)
