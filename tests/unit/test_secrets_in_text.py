"""BEHAVIOURS 75: a secret that a library's error or a traceback shows in free text is hidden."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import LabkitError
from labkit.text.masking import without_secrets

NAMES = (
    "password", "sasl.password", "PGPASSWORD", "ssl_key_passphrase", "pwd", "client_secret", "clientSecret",
    "api_key", "x-api-key", "AWS_SECRET_ACCESS_KEY", "access_token", "http_auth", "basic_auth", "aws_credentials",
)  # fmt: skip
FORMS = (
    "{name}={value}", "{name} = '{value}'", '{name}="{value}"', "Config(user='a', {name}='{value}', n=1)",
    "{{'user': 'a', '{name}': '{value}'}}", '{{"{name}":"{value}","n":1}}', '"{{\\"{name}\\": \\"{value}\\"}}"',
    "failed: {name}={value}, host=h", "cannot log in\n{name}: '{value}'\nagain", "--{name}={value}",
    "user=a;{name}={value};host=h", "{name} => '{value}'", "{{'{name}': b'{value}'}}", "{name}='{value}",
    "{name}=('alice', '{value}')",
)  # fmt: skip
HEADERS = (
    "Cookie: {value}={value}; other={value}", "set-cookie: session={value}; Path=/", "{{'Cookie': 's={value}'}}",
    "Authorization: Basic {value}", "authorization: {value}", "{{'Authorization': 'Bearer {value}'}}",
    'Authorization: Digest username="a", response="{value}", cnonce={value}',
    "> GET / HTTP/1.1\n> Cookie: session={value}\n> Accept: */*",
)  # fmt: skip
WORDS = st.text(string.ascii_letters + string.digits + "!$%+*@_-", min_size=4, max_size=20).map(
    lambda text: f"Zq7{text}x"
)


@given(st.sampled_from(NAMES), st.sampled_from(FORMS), WORDS)
def test_a_named_secret_is_hidden_in_any_form(name: str, form: str, value: str) -> None:
    text = form.format(name=name, value=value)
    assert value not in without_secrets(text), text
    assert value not in str(LabkitError(text, hint=text))


@given(st.sampled_from(HEADERS), WORDS)
def test_a_header_of_a_login_is_hidden_to_its_end(form: str, value: str) -> None:
    text = form.format(value=value)
    assert value not in without_secrets(text), text
    assert ("Accept: */*" in text) == ("Accept: */*" in without_secrets(text))


def test_a_secret_of_several_words_and_what_stands_beside_it() -> None:
    for text, hidden in {
        "password='my long \\' word', host='h'": "password=***, host='h'",
        'sasl.jaas.config=X required username="a" password="b c";': 'sasl.jaas.config=*** required username="a" '
        "password=***;",
        "sasl.password=a,b,bootstrap.servers=h:1": "sasl.password=***,bootstrap.servers=h:1",
        "refused eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.ab-c_d now": "refused *** now",
        "-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----": "-----BEGIN RSA PRIVATE KEY-----***"
        "-----END RSA PRIVATE KEY-----",
    }.items():  # fmt: skip
        assert without_secrets(text) == hidden


@pytest.mark.parametrize("text", [
    "Authentication failed: Invalid username or password", "password: No such file or directory",
    "/run/secrets/password: Permission denied", "/run/secrets/token: missing", "Unexpected token: }",
    "Unexpected token: foo", "key='raw'", "read(key='nick', headers=True)", "max_tokens=5", "tokenizer=standard",
    "password=None", "password = settings['sasl.password']", "LABKIT_PROD_KAFKA_SASL_PASSWORD=…",
    "basic_auth must be [user, password], not 5", "author=alice", "the cookie: a small text",
    "'sasl.password' is not set", "password == 'x' is compared", 'api_key = "${KEY}"'.replace('"', ""),
    "PWD=/home/alice", "ssl.key.location=/etc/key.pem", "secrets=2", "password_file=/run/word",
    "the setting authorization is unknown", "unknown key: kafak", "public_key=abc", "sort_key=nick",
])  # fmt: skip
def test_what_is_no_secret_stays(text: str) -> None:
    assert without_secrets(text) == text
