"""BEHAVIOURS 75: a secret is hidden by what it is, wherever it stands and whatever shows it."""

from __future__ import annotations

import json
import traceback
from pathlib import Path

import pytest

import labkit
from labkit import cli
from labkit.config.profiles import Profile, list_profiles, load_profile
from labkit.config.secrets import Secret, mask, seal
from labkit.doctor.run import without_profile
from labkit.elastic import Target
from labkit.errors import ConfigError, LabkitError
from labkit.kafka.cluster import Cluster
from labkit.registry import Registry
from labkit.text.masking import without_login, without_secrets

WORD = "hunter2"
ADDRESSES = {
    "a user with an at sign": f"https://user@corp:{WORD}@host:9200",
    "a token for a user": f"https://{WORD}@host:9200",
    "a token with an empty password": f"https://{WORD}:x-oauth-basic@host:9200",
    "a slash in the password": f"https://alice:a/{WORD}@host:9200",
    "a key in the query": f"https://host:9200/?api_key={WORD}",
    "a word of no meaning in the query": f"https://host:9200/path?x={WORD}&y=1",
    "a token in the fragment": f"https://host:9200/#access_token={WORD}",
    "two addresses": f"https://a:{WORD}@host:9200,https://b:{WORD}@other:9200",
    "another scheme": f"SASL_SSL://a:{WORD}@host:9093",
}
SETTINGS = {
    "headers": {"Authorization": f"Basic {WORD}", "X-Anything": WORD},
    "proxy": f"http://alice:{WORD}@proxy:3128",
    "nested": {"deeper": {"password": WORD, "url": f"https://{WORD}@host"}},
    "list": [{"api_key": WORD}, f"https://{WORD}@host"],
    "basic.auth.user.info": f"alice:{WORD}",
    "hosts": [f"alice:{WORD}@host:9200"],
    "http_auth": ["alice", WORD],
    "api-key": WORD,
    "passphrase": WORD,
    "ssl.key.pem": WORD,
}


@pytest.mark.parametrize("address", ADDRESSES.values(), ids=ADDRESSES)
def test_an_address_is_shown_without_what_is_secret_in_it(address: str) -> None:
    """BEHAVIOURS 75: in settings, reprs, errors and their hints."""
    target, registry = Target("default", {"hosts": [address]}), Registry({"url": address})
    profile = Profile(
        "x", "", {"bootstrap.servers": address}, {"default": {"hosts": [address]}}, {"url": address}
    )
    error = LabkitError(f"cannot reach {address}: refused", hint=f"is {address} right?")
    shown = [
        without_secrets(address), without_login(address), repr(Secret(address)), repr(mask({"x": address})),
        repr(target), target.address, repr(vars(target)), repr(registry), repr(vars(registry)), repr(profile),
        repr(Cluster({"bootstrap.servers": address})), str(error), repr(error), error.message, error.hint,
    ]  # fmt: skip
    assert not [text for text in shown if WORD in str(text)]
    assert all("host:9" in str(text) for text in shown)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_is_masked_and_sealed_nested_or_not(name: str) -> None:
    """BEHAVIOURS 75: any header, a proxy, what is nested.

    The real value is still there to be used.
    """
    settings = {name: SETTINGS[name]}
    assert WORD not in repr(mask(settings))
    assert WORD not in repr(seal(settings))
    assert json.loads(json.dumps(seal(settings))) == settings


def test_what_is_no_secret_is_shown() -> None:
    settings = {
        "hosts": ["https://es-1:9200/path"],
        "sasl.username": "alice@corp",
        "x": "a=b?c",
        "n": 5,
        "on": True,
    }
    assert mask(settings) == settings
    assert seal(settings) == settings
    for text in (
        "https://es-1:9200 does not answer",
        "mail alice@corp.example",
        "basic authentication failed",
    ):
        assert without_secrets(text) == text


def test_headers_in_a_text_are_hidden() -> None:
    for text in (
        f"Authorization: Basic {WORD}", f"{{'authorization': 'ApiKey {WORD}'}}", f"Bearer {WORD}-{WORD}-{WORD}",
        f"proxy-authorization={WORD}", f"GET /_search?api_key={WORD}&q=1",
    ):  # fmt: skip
        assert WORD not in without_secrets(text)


TOML = f"""
[profiles.prod.kafka]
"bootstrap.servers" = "SASL_SSL://alice:{WORD}@host:9093"
"sasl.password" = "{WORD}"
[profiles.prod.elasticsearch.default]
hosts = ["https://user@corp:{WORD}@host:9200", "https://{WORD}@host:9200"]
headers = {{Authorization = "Basic {WORD}", X-Key = "{WORD}"}}
[profiles.prod.registry]
url = "https://{WORD}@registry:8081/?token={WORD}"
proxy = "http://alice:{WORD}@proxy:3128"
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "labkit.toml"
    path.write_text(TOML)
    path.chmod(0o600)
    monkeypatch.setenv("LABKIT_CONFIG", str(path))
    return path


def test_a_profile_shows_none_of_its_secrets(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """BEHAVIOURS 75: repr, `labkit profiles`, doctor."""
    assert cli.main(["profiles"]) == 0
    assert cli.main(["profiles", "--json"]) == 0
    shown = capsys.readouterr()
    lab = labkit.connect("prod")
    texts = [
        shown.out, shown.err, repr(lab), repr(vars(lab)), repr(lab.connection), repr(lab.connection.registry),
        repr(lab.connection.elasticsearch), repr(lab.connection.kafka), repr(lab.targets), repr(lab.registry),
        repr(list_profiles()),
        str(without_profile("prod", ConfigError(f"https://{WORD}@host: no"))),
    ]  # fmt: skip
    assert not [text for text in texts if WORD in text]
    assert lab.connection.elasticsearch["default"]["headers"]["Authorization"] == f"Basic {WORD}"


@pytest.mark.parametrize(
    ("addition", "variable"),
    [
        ('"x" = "${TEST_NO_SUCH_VARIABLE}"', ""),
        ("nonsense = 1", ""),
        ("basic_auth = 5", ""),
        ("", "LABKIT_PROD_ELASTICSEARCH_DEFAULT_REQUEST_TIMEOUT"),
    ],
)
def test_a_traceback_with_its_variables_shows_no_secret(
    config: Path, monkeypatch: pytest.MonkeyPatch, addition: str, variable: str
) -> None:
    """BEHAVIOURS 75: what rich, pytest and error collectors print."""
    config.write_text(
        TOML.replace("[profiles.prod.registry]", f"{addition}\n[profiles.prod.registry]")
    )
    monkeypatch.setenv("LABKIT_PROD_KAFKA_SASL_PASSWORD", WORD)
    monkeypatch.setenv("LABKIT_PROD_ELASTICSEARCH_DEFAULT_HOSTS", f"https://{WORD}@host:9200")
    monkeypatch.setenv(variable or "TEST_NOTHING", "soon")
    with pytest.raises(LabkitError) as caught:
        _ = labkit.Lab(load_profile("prod")).targets["default"].client
    ours = [
        frame
        for frame in traceback.TracebackException.from_exception(
            caught.value, capture_locals=True
        ).stack
        if "labkit/" in frame.filename and "tests" not in frame.filename
    ]
    assert ours
    for frame in ours:
        assert WORD not in repr(frame.locals), f"{frame.name} of {frame.filename}"
    assert WORD not in "".join(traceback.format_exception(caught.value))
