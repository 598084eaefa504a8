"""librdkafka's settings for Kafka's Java client: translated, refused, or left out."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from labkit.errors import ConfigError, UsageError
from labkit.read_spec import ReadSpec
from labkit.sinks.spark import java_options, to_spark


def test_a_login_is_a_line_of_jaas_with_its_quotes_escaped() -> None:
    options = java_options(
        {
            "bootstrap.servers": "a:1,b:2",
            "security.protocol": "sasl_ssl",
            "sasl.mechanisms": "SCRAM-SHA-256",
            "sasl.username": "alice",
            "sasl.password": 'pa"ss\\word',
            "client.id": "me",
            "queued.max.messages.kbytes": 10,
            "ssl.endpoint.identification.algorithm": "none",
            "enable.ssl.certificate.verification": True,
        }
    )
    assert options == {
        "kafka.bootstrap.servers": "a:1,b:2",
        "kafka.security.protocol": "SASL_SSL",
        "kafka.sasl.mechanism": "SCRAM-SHA-256",
        "kafka.sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required "
        'username="alice" password="pa\\"ss\\\\word";',
        "kafka.client.id": "me",
        "kafka.ssl.endpoint.identification.algorithm": "",
    }
    assert java_options({"bootstrap.servers": "a:1"})["kafka.security.protocol"] == "PLAINTEXT"


def test_certificates_travel_as_text_and_keys_apart_from_them(tmp_path: Path) -> None:
    authority = trustme.CA()
    leaf = authority.issue_cert("alice@example.org")
    one = tmp_path / "one.pem"
    one.write_bytes(leaf.private_key_pem.bytes() + leaf.cert_chain_pems[0].bytes())
    settings = {"security.protocol": "SSL", "ssl.ca.pem": authority.cert_pem.bytes().decode()}
    settings["ssl.certificate.location"] = str(one)
    options = java_options(settings)
    assert options["kafka.ssl.truststore.type"] == options["kafka.ssl.keystore.type"] == "PEM"
    assert "BEGIN CERTIFICATE" in options["kafka.ssl.truststore.certificates"]
    assert "PRIVATE" not in options["kafka.ssl.keystore.certificate.chain"]
    with pytest.raises(ConfigError, match="PKCS#8") as raised:  # trustme's are in the older form
        java_options({**settings, "ssl.key.location": str(one)})
    assert "openssl pkcs8" in (raised.value.hint or "")
    with pytest.raises(ConfigError, match="cannot be read"):
        java_options({**settings, "ssl.key.location": str(tmp_path / "none.pem")})
    with pytest.raises(ConfigError, match="there is no certificate"):
        java_options({**settings, "ssl.ca.pem": "nothing"})


@pytest.mark.parametrize(
    "settings",
    [
        {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "OAUTHBEARER",
            "sasl.oauthbearer.method": "oidc",
        },
        {"security.protocol": "SASL_PLAINTEXT"},  # librdkafka's default is GSSAPI
        {"security.protocol": "SSL", "ssl.keystore.location": "x.p12"},
        {"security.protocol": "SSL", "enable.ssl.certificate.verification": "false"},
        {"security.protocol": "SSL", "ssl.crl.location": "x"},
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(settings: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="no counterpart in Spark's Kafka source"):
        java_options(settings)


def test_what_is_no_session_is_refused_before_anything_is_asked() -> None:
    with pytest.raises(UsageError, match="spark must be a SparkSession, not NoneType"):
        to_spark(None, None, None, ReadSpec(), None)  # type: ignore[arg-type]
