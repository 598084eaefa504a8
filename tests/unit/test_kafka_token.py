"""`oauth_cb` of a profile: which function it names.

What is wrong is refused before a broker is asked.
"""

from __future__ import annotations

import pickle
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError

from labkit import msk
from labkit.config.oauth_token import TokenCallback, token_callback
from labkit.config.profiles import load_profile
from labkit.errors import AccessError, ConfigError, LabkitError, UntrustedError
from labkit.kafka.cluster import Cluster
from labkit.kafka.errors import map_error, setting_error

BEARER = {
    "bootstrap.servers": "localhost:1",
    "security.protocol": "SASL_SSL",
    "sasl.mechanism": "OAUTHBEARER",
}
WORD = "hunter2hunter2hunter2hunter2"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.py"
    path.write_text("import time\ndef fetch(config):\n    return 'token', time.time() + 60\n")
    path.chmod(0o600)
    return path


WRONG: dict[str, tuple[dict[str, str], str]] = {
    "no function": (
        {"oauth_cb": "tokens"},
        "must be 'module:function' or 'FILE.py:function', not 'tokens'",
    ),
    "a call": ({"oauth_cb": "os:system('x')"}, "must be 'module:function'"),
    "a relative file": ({"oauth_cb": "tokens.py:fetch"}, "must be an absolute path"),
    "no such file": ({"oauth_cb": "/nowhere/tokens.py:fetch"}, "cannot be read: No such file"),
    "no such module": ({"oauth_cb": "labkit_no_such:fetch"}, "there is no module 'labkit_no_such'"),
    "no such part": ({"oauth_cb": "json.nothing:fetch"}, "cannot be imported: ModuleNotFoundError"),
    "no such function": ({"oauth_cb": "json:fetch"}, "json has no function 'fetch'"),
    "the main module": ({"oauth_cb": "__main__:fetch"}, "__main__"),
    "another mechanism": (
        {"oauth_cb": "json:loads", "sasl.mechanism": "PLAIN"},
        "is not OAUTHBEARER",
    ),
    "oidc too": (
        {"oauth_cb": "json:loads", "sasl.oauthbearer.method": "oidc"},
        "exclude each other",
    ),
    "another callback": ({"stats_cb": "json:loads"}, "may name oauth_cb, not stats_cb"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_function_is_told(what: str) -> None:
    change, text = WRONG[what]
    with pytest.raises(ConfigError) as caught:
        token_callback({**BEARER, **change})
    assert text in caught.value.message
    assert caught.value.hint


def test_a_file_that_others_may_write_is_not_run(file: Path) -> None:
    file.chmod(0o666)
    with pytest.raises(UntrustedError, match="anybody may write to it"):
        token_callback({**BEARER, "oauth_cb": f"{file}:fetch"})


def test_a_file_beside_the_profile(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = file.with_name("labkit.toml")
    lines = [
        f'"{key}" = "{value}"' for key, value in {**BEARER, "oauth_cb": "tokens.py:fetch"}.items()
    ]
    config.write_text("[profiles.prod.kafka]\n" + "\n".join(lines))
    monkeypatch.setenv("LABKIT_CONFIG", str(config))
    settings = load_profile("prod").kafka
    assert settings["oauth_cb"] == f"{file}:fetch"
    monkeypatch.setenv("LABKIT_PROD_KAFKA_OAUTH_CB", "json:loads")
    assert load_profile("prod").kafka["oauth_cb"] == "json:loads"
    callback = token_callback(settings)
    assert callback is not None
    assert callback("")[0] == "token"
    assert 59 < callback.expires_in_s <= 60
    assert "token'" not in repr(callback)
    # to a worker, to the child process
    sent = pickle.loads(pickle.dumps(Cluster(settings).client_settings()))
    assert sent["oauth_cb"] == f"{file}:fetch"


def test_a_module_of_the_working_folder_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jupyter looks there first, and the folder may be a cloned repository."""
    (tmp_path / "tokens_of_the_clone.py").write_text(
        "import pathlib\npathlib.Path('stolen').touch()\n"
    )
    (tmp_path / "package_of_the_clone").mkdir()
    (tmp_path / "package_of_the_clone" / "__init__.py").write_text(
        "import pathlib\npathlib.Path('stolen').touch()\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    for name in ("tokens_of_the_clone:fetch", "package_of_the_clone.tokens:fetch"):
        with pytest.raises(UntrustedError, match="lies in the working folder"):
            token_callback({**BEARER, "oauth_cb": name})
    assert not (tmp_path / "stolen").exists()


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (None, "returned nothing"),
        (WORD, "returned a value of type str"),
        ((WORD,), "returned a value of type tuple"),
        ((None, 1), "returned nothing as token"),
        (("", 1), "an empty token"),
        ((WORD, "soon"), "expires at a value of type str"),
        ((WORD, 4_000_000_000_000), "in milliseconds"),
        ((WORD, 1_000), "expired"),
        ((WORD, 4_000_000_000, 5), "as principal"),
        ((WORD, 4_000_000_000, "x", "y"), "as extensions"),
    ],
    ids=[
        "nothing",
        "text",
        "short",
        "none",
        "empty",
        "no time",
        "milliseconds",
        "old",
        "principal",
        "extensions",
    ],
)
def test_an_answer_that_is_no_token_is_told_without_it(answer: Any, text: str) -> None:
    callback = TokenCallback("tokens:fetch", lambda config: answer)
    with pytest.raises(AccessError, match=text) as caught:
        callback("")
    assert WORD not in str(caught.value)
    assert "must return (token, seconds" in caught.value.hint


def test_the_error_of_a_function_shows_no_token() -> None:
    def fails(config: str) -> None:
        raise ValueError(f"401 for https://a:{WORD}@host/?token={WORD} Bearer {WORD} and {WORD}")

    with pytest.raises(AccessError, match="ValueError: 401 for https://") as caught:
        TokenCallback("tokens:fetch", fails)("")
    assert WORD not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_token_is_used_again_until_half_of_its_time_is_over() -> None:
    calls: list[str] = []

    def fetch(config: str) -> tuple[str, float]:
        calls.append(config)
        return f"token-{len(calls)}", time.time() + 0.4

    callback = TokenCallback("tokens:fetch", fetch)
    assert [callback("x")[0] for _ in range(3)] == ["token-1"] * 3
    time.sleep(0.25)
    assert callback("x")[0] == "token-2"
    assert calls == ["x", "x"]


def test_kerberos_is_refused_with_the_way_out() -> None:
    text = "Failed to create consumer: No provider for SASL mechanism GSSAPI: recompile librdkafka with libsasl2"
    error = setting_error(KafkaError(KafkaError._INVALID_ARG, text))
    assert "cannot log in with Kerberos (GSSAPI)" in error.message
    assert "conda-forge" in error.hint


def test_a_refused_token_speaks_of_tokens() -> None:
    refused = KafkaError(KafkaError._AUTHENTICATION, "SASL authentication error: invalid_token")
    error = map_error(refused, None, "list topics", principal="the token's owner", settings=BEARER)
    assert isinstance(error, AccessError)
    assert "issuer, audience and scope" in error.hint


# AWS -----------------------------------------------------------------------------------------------------


def test_msk_signs_a_token_with_the_identity_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip(
        "aws_msk_iam_sasl_signer", reason="the extra labkit[msk] is not in requirements.lock"
    )
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", WORD)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    settings = {
        **BEARER,
        "oauth_cb": "labkit.msk:token",
        "sasl.oauthbearer.config": "region=eu-west-1",
    }
    callback = token_callback(settings)
    assert callback is not None
    token = callback("region=eu-west-1")[0]
    assert WORD not in token
    assert 800 < callback.expires_in_s <= 900


@pytest.mark.parametrize(
    "config", ["", "eu-west-1", "region=", "region=a zone=b", "region=a profile=b role=c"]
)
def test_msk_needs_a_region(config: str) -> None:
    with pytest.raises(LabkitError, match="must be 'region=REGION'"):
        msk.token(config)


def test_a_token_is_used_as_long_as_it_is_valid() -> None:
    """While the function fails: half of its time is over, and it was no longer taken."""
    answers: list[Any] = [("first", time.time() + 2), ValueError("away")]

    def fetch(config: str) -> Any:
        calls.append(config)
        answer = answers[min(len(answers), len(calls)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    calls: list[str] = []
    token = TokenCallback("tokens.py:fetch", fetch)
    assert token("")[0] == token("")[0] == "first"
    assert len(calls) == 1
    time.sleep(1.2)
    assert token("")[0] == "first"
    assert (len(calls), token.problem) == (2, "tokens.py:fetch failed: ValueError: away")
    time.sleep(1)
    with pytest.raises(AccessError, match="ValueError: away"):
        token("")
    answers.append(("second", time.time() + 60))
    assert token("")[0] == "second"
    assert token.problem == ""


def test_what_the_function_prints_goes_to_standard_error(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In its own thread alone: a command prints records while librdkafka asks for a token."""
    file.write_text(
        "import threading, time\nprint('a file')\ncalled, go_on = threading.Event(), threading.Event()\n"
        "def fetch(config):\n"
        "    called.set()\n    assert go_on.wait(10)\n    print('a function')\n"
        "    return 'token', time.time() + 60\n"
    )
    token = token_callback({**BEARER, "oauth_cb": f"{file}:fetch"})
    assert token is not None
    functions = token._function.__globals__
    before = sys.stdout
    thread = threading.Thread(target=token, args=("",))
    thread.start()
    assert functions["called"].wait(10)
    print("a record")
    functions["go_on"].set()
    thread.join(10)
    assert sys.stdout is before
    assert capsys.readouterr() == ("a record\n", "a file\na function\n")
