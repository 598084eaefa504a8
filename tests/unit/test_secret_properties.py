"""Which of librdkafka's properties hold a secret: labkit hides those that librdkafka redacts."""

from __future__ import annotations

import ctypes
import logging
import re
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

import labkit
from labkit import cli
from labkit.errors import LabkitError
from labkit.text.masking import is_secret

WORD = "hunter2"
# what librdkafka redacts and is none: who logs in, where a file lies, what anybody may know
_PUBLIC = re.compile(r"username$|\.location$|\.file$|^ssl\.ca\.pem$")
_BESIDE = {"sasl.oauthbearer.extensions", "oauthbearer_token_refresh_cb"}
BEARER = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "OAUTHBEARER"}


@pytest.fixture(scope="module")
def properties(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names of all properties, as librdkafka itself lists them."""
    path = tmp_path_factory.mktemp("librdkafka") / "properties"
    library, c = ctypes.CDLL(confluent_kafka.cimpl.__file__), ctypes.CDLL(None)
    c.fopen.restype = ctypes.c_void_p
    file = ctypes.c_void_p(c.fopen(str(path).encode(), b"w"))
    library.rd_kafka_conf_properties_show(file)
    c.fclose(file)
    rows = [line.split("|") for line in path.read_text().splitlines() if " | " in line]
    return sorted({row[0].strip() for row in rows} - {"Property"})


class _Lines(logging.Handler):
    """Keeps what a client logs."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def is_redacted(name: str) -> bool:
    """Tell whether librdkafka hides the property's value in its own log of the settings."""
    log, heard = logging.Logger("librdkafka", logging.DEBUG), _Lines()
    log.addHandler(heard)
    try:
        AdminClient({"debug": "conf", name: "some"}, logger=log).poll(0.05)
    except (KafkaException, TypeError, ValueError):
        return False  # a number, one of a list, or a place of a file
    return any(" = [redacted]" in line for line in heard.lines)  # an alias has another name there


def test_what_librdkafka_redacts_is_hidden_and_little_else(properties: list[str]) -> None:
    assert len(properties) > 150
    redacted = {name for name in properties if is_redacted(name)}
    assert {"sasl.password", "sasl.oauthbearer.assertion.private.key.pem"} <= redacted
    secrets = {name for name in redacted if not _PUBLIC.search(name)}
    assert {name for name in properties if is_secret(name)} == secrets | _BESIDE


SECRETS = {
    "sasl.password": {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "alice"},
    "sasl.pasword": {},  # misspelt
    "ssl.key.password": {"security.protocol": "SSL"},
    "ssl.key.pem": {"security.protocol": "SSL"},
    "ssl.keystore.password": {"security.protocol": "SSL", "ssl.keystore.location": "/nowhere"},
    "sasl.oauthbearer.config": BEARER | {"enable.sasl.oauthbearer.unsecure.jwt": "true"},
    "sasl.oauthbearer.client.secret": BEARER | {
        "sasl.oauthbearer.method": "oidc", "sasl.oauthbearer.client.id": "labkit",
        "sasl.oauthbearer.token.endpoint.url": "http://127.0.0.1:1/token",
    },
    "sasl.oauthbearer.extensions": {},
    "sasl.oauthbearer.assertion.private.key.pem": {},
    "sasl.oauthbearer.assertion.private.key.passphrase": {},
}  # fmt: skip


@pytest.mark.parametrize("name", SECRETS)
def test_it_is_shown_nowhere(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """In reprs, the list of profiles, the doctor's lines, and what an unusable setting raises."""
    settings: dict[str, Any] = {"bootstrap.servers": "127.0.0.1:1", **SECRETS[name], name: WORD}
    config = tmp_path / "labkit.toml"
    lines = [f'"{key}" = "{value}"' for key, value in settings.items()]
    config.write_text("[profiles.prod.kafka]\n" + "\n".join(lines) + "\n")
    config.chmod(0o600)
    monkeypatch.setenv("LABKIT_CONFIG", str(config))
    lab = labkit.connect("prod")
    shown = [repr(lab), repr(lab.connection), repr(vars(lab)), repr(lab.cluster.settings)]
    with pytest.raises(LabkitError) as caught:
        lab.topics()
    shown += [caught.value.message, caught.value.hint]
    cli.main(["profiles", "--json"])
    cli.main(["doctor", "--profile", "prod"])
    shown += capfd.readouterr()
    assert "prod" in shown[-2]
    assert not [text for text in shown if WORD in text]
