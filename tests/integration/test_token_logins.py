"""Logins by a token, at a real broker.

A function that the profile names makes the token, or an OIDC endpoint. The tokens are valid for ten
seconds and the broker asks for a new one each four seconds.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
import traceback
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import labkit
from labkit import cli
from labkit.errors import AccessError, LabkitError
from labkit.groups import sampling
from labkit.kafka.cluster import Cluster
from labkit.replay import follow
from support.secure_stack import SecureStack
from support.stack import LABKIT
from support.token_server import TokenServer, token_server
from support.waiting import until

WORD = "hunter2-s3cr3t-of-the-token-endpoint"
TOKENS = """
import base64, json, pathlib, time

print("a file that prints")

LOG = pathlib.Path(__file__).with_name("calls")

def part(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

def fetch(config, life_s=10):
    print("a function that prints")
    with LOG.open("a") as log:
        log.write("call\\n")
    if LOG.with_name("broken").exists():
        raise ValueError("the endpoint refused " + config)
    now = time.time()
    return part({"alg": "none"}) + "." + part({"sub": "admin", "iat": now, "exp": now + life_s}) + ".", now + life_s

def short(config):
    return fetch(config, life_s=4)

def long(config):
    return fetch(config, life_s=3600)

def fails(config):
    raise ValueError("the endpoint refused " + config)

def old(config):
    return fetch(config, life_s=-5)

def nothing(config):
    fetch(config)

def in_milliseconds(config):
    token, expires_s = fetch(config)
    return token, expires_s * 1000
"""


@pytest.fixture(scope="module")
def topic(secure: SecureStack) -> str:
    return secure.new_topic(b'{"n": %d}' % number for number in range(3))


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the folder of the user's own ``labkit.toml``, with a file of functions in it."""
    folder = tmp_path / "own"
    folder.mkdir(mode=0o700)
    (folder / "tokens.py").write_text(TOKENS)
    (folder / "tokens.py").chmod(0o600)
    monkeypatch.setenv("LABKIT_CONFIG", str(folder / "labkit.toml"))
    return folder


@pytest.fixture
def endpoint(secure: SecureStack) -> Iterator[TokenServer]:
    with token_server(secure.oidc_key) as server:
        yield server


def write(folder: Path, settings: dict[str, Any]) -> None:
    lines = [f'"{key}" = "{value}"' for key, value in settings.items()]
    (folder / "labkit.toml").write_text("[profiles.prod.kafka]\n" + "\n".join(lines) + "\n")
    (folder / "labkit.toml").chmod(0o600)


def by_function(secure: SecureStack, function: str = "tokens.py:fetch") -> dict[str, Any]:
    return {**secure.bearer(), "oauth_cb": function, "sasl.oauthbearer.config": WORD}


def by_oidc(secure: SecureStack, endpoint: TokenServer) -> dict[str, Any]:
    return {
        **secure.bearer("OIDC"),
        "sasl.oauthbearer.method": "oidc",
        "sasl.oauthbearer.client.id": endpoint.client[0],
        "sasl.oauthbearer.client.secret": endpoint.client[1],
        "sasl.oauthbearer.token.endpoint.url": endpoint.url,
    }


def test_tokens_are_renewed_whatever_makes_them(
    secure: SecureStack, topic: str, own: Path, endpoint: TokenServer
) -> None:
    """One client of each kind runs longer than a token is valid.

    One has its tokens from a function, the other by OIDC, at the same time.
    """
    profiles = {"function": by_function(secure), "oidc": by_oidc(secure, endpoint)}
    labs, groups, producers = [], [], []
    for settings in profiles.values():
        write(own, settings)
        labs.append(labkit.connect("prod"))
    for lab in labs:
        assert lab.window(topic).read().receipt.complete
        groups.append(lab.attach(topic, name=f"token-{uuid.uuid4().hex[:8]}", start="earliest"))
        assert len(groups[-1].read(3)) == 3
        producers.append(lab.cluster.producer())
    for number in range(4):  # twelve seconds
        time.sleep(3)
        for producer, group in zip(producers, groups, strict=True):
            producer.produce(topic, b'{"late": %d}' % number)
            assert producer.flush(10) == 0
            until(lambda group=group: len(group.read(1)) == 1, timeout_s=10)  # type: ignore[misc]
    for lab, group in zip(labs, groups, strict=True):
        group.commit()
        assert topic in set(lab.topics()["topic"])
        assert group.lag()["committed"].sum() > 3
        group.close(delete=True)  # asked by the child process
    assert len((own / "calls").read_text().split()) >= 2
    assert len(set(endpoint.given)) >= 2


@pytest.mark.parametrize("way", ["function", "oidc"])
def test_the_doctor_tries_the_token_and_shows_none(
    way: str,
    secure: SecureStack,
    topic: str,
    own: Path,
    endpoint: TokenServer,
    capfd: pytest.CaptureFixture[str],
) -> None:
    write(own, by_function(secure) if way == "function" else by_oidc(secure, endpoint))
    assert cli.main(["doctor", "--profile", "prod", "--topic", topic]) in (0, 1)
    lab = labkit.connect("prod")
    assert lab.topics() is not None
    out = "".join(capfd.readouterr())
    assert {
        "function": "tokens.py:fetch gave one that is valid for",
        "oidc": "the token endpoint 127.0.0.1:",
    }[way] in out
    assert "the token's owner is let in" in out
    shown = (
        f"{out} {lab!r} {lab.connection!r} {vars(lab)} {lab.cluster.settings!r} {vars(lab.cluster)}"
    )
    assert not [word for word in (WORD, endpoint.client[1], "eyJ") if word in shown]


def refused(settings: dict[str, Any]) -> tuple[LabkitError, float]:
    start = time.monotonic()
    with pytest.raises(LabkitError) as caught:
        Cluster(settings).topics()
    message = "".join(traceback.format_exception(caught.value))
    assert WORD not in message
    assert "eyJ" not in message
    assert caught.value.hint
    return caught.value, time.monotonic() - start


def test_an_endpoint_that_refuses_or_is_away_is_told(
    secure: SecureStack, endpoint: TokenServer
) -> None:
    error, took_s = refused({**by_oidc(secure, endpoint), "sasl.oauthbearer.client.secret": WORD})
    assert isinstance(error, AccessError)
    assert "no OAUTHBEARER token" in error.message
    assert took_s < 12
    settings = {
        **by_oidc(secure, endpoint),
        "sasl.oauthbearer.token.endpoint.url": "http://127.0.0.1:1/token",
    }
    assert "no OAUTHBEARER token" in refused(settings)[0].message


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        ("fails", "fails failed: ValueError: the endpoint refused ***"),
        ("in_milliseconds", "in_milliseconds returned a token whose expiry is in milliseconds"),
        ("old", "old returned a token that expired"),
        ("nothing", "nothing returned nothing"),
    ],
)
def test_a_function_that_fails_is_told_at_once(
    secure: SecureStack, own: Path, function: str, problem: str
) -> None:
    error, took_s = refused(by_function(secure, f"{own}/tokens.py:{function}"))
    assert isinstance(error, AccessError)
    assert problem in error.message
    assert took_s < 9, "confluent_kafka alone waits ten seconds"


def test_a_token_that_expired_while_none_could_be_had(secure: SecureStack, own: Path) -> None:
    """Renewal fails while clients are idle: the next question names the function's own error.

    Then all is well.
    """
    cluster = Cluster(by_function(secure, f"{own}/tokens.py:short"))
    assert cluster.cluster_id
    (own / "broken").touch()
    time.sleep(5)
    with pytest.raises(AccessError, match=r"short failed: ValueError: the endpoint refused \*\*\*"):
        cluster.topics()
    (own / "broken").unlink()
    until(lambda: bool(_topics(cluster)))


@pytest.mark.parametrize("function", ["long", "short"])
def test_the_process_that_asks_for_groups_says_why_it_has_no_token(
    secure: SecureStack, own: Path, function: str
) -> None:
    """The login was called refused, or a coordinator moving.

    A new process cannot get a first token, though its parent has one; or an old one's expired.
    """
    cluster = Cluster(by_function(secure, f"{own}/tokens.py:{function}"))
    assert cluster.cluster_id
    if function == "short":
        assert cluster.groups.committed(["none"]) == {"none": {}}
    (own / "broken").touch()
    if function == "short":
        time.sleep(5)
    with pytest.raises(AccessError, match=rf"{function} failed: ValueError: the endpoint refused"):
        cluster.groups.committed(["none"])
    (own / "broken").unlink()
    assert cluster.groups.committed(["none"]) == {"none": {}}


def test_what_runs_for_long_outlasts_an_endpoint_that_is_away(
    secure: SecureStack, topic: str, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tail and a watch of lag ended with the first token that could not be had."""
    monkeypatch.setattr(follow, "_PARTITIONS_S", 0.5)
    cluster = Cluster(by_function(secure, f"{own}/tokens.py:short"))
    follower = follow.Follower(cluster, topic, last=1)
    outages: list[LabkitError] = []
    looks = sampling.watch(sampling.Sampler(cluster), 0.5, lambda: False, away=outages.append)
    next(looks)
    until(follower.take)
    (own / "broken").touch()
    try:
        until(lambda: follower.take() or follower.trouble, "the trouble", 20)
        assert cluster.token is not None
        until(lambda: not cluster.token.expires_in_s, "its end", 20)  # type: ignore[union-attr]
        until(lambda: follower.take() or cluster.token_problem, "the trouble", 20)
        timer = threading.Timer(4, (own / "broken").unlink)
        timer.start()
        next(looks)  # comes when there are tokens again
        assert outages
    finally:
        timer.cancel()
        (own / "broken").unlink(missing_ok=True)
    producer = secure.admin.producer()
    producer.produce(topic, b'{"late": true}')
    assert producer.flush(30) == 0
    until(lambda: (batch := follower.take()) and batch.num_rows, "the record", 20)
    follower.close()


def test_a_login_that_is_renewed_is_no_broker_out_of_reach(
    secure: SecureStack, topic: str, endpoint: TokenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`labkit tail` waited for a broker now and then that only wanted a new token."""
    monkeypatch.setattr("labkit.kafka.topic._STATISTICS_MS", 20)
    follower = follow.Follower(Cluster(by_oidc(secure, endpoint)), topic, last=1)
    until(follower.take)
    end, troubles = time.monotonic() + 12, set()
    while time.monotonic() < end:
        follower.take()
        troubles.add(follower.trouble)
        time.sleep(0.01)
    follower.close()
    assert len(endpoint.given) >= 2
    assert troubles == {""}


def _topics(cluster: Cluster) -> Any:
    try:
        return cluster.topics()
    except (PermissionError, ConnectionError, TimeoutError):
        return None


def test_no_token_stands_in_the_list_of_processes(
    secure: SecureStack, topic: str, own: Path
) -> None:
    write(own, by_function(secure))
    lab = labkit.connect("prod")
    lab.offsets()
    commands = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    listed = "\n".join(" ".join(command) for command in commands)
    assert "groups_child.py" in listed
    assert WORD not in listed


def test_the_command_line_in_a_cloned_folder_does_not_run_its_module(
    secure: SecureStack, own: Path, tmp_path: Path
) -> None:
    """`python -m` and Jupyter look for modules in the working folder first."""
    clone = tmp_path / "clone"
    clone.mkdir()
    (clone / "companytokens.py").write_text(
        "import pathlib\npathlib.Path('stolen').touch()\ndef fetch(config): ...\n"
    )
    write(own, by_function(secure, "companytokens:fetch"))
    command = [*LABKIT, "topics", "--profile", "prod"]
    result = subprocess.run(
        command, cwd=clone, capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert result.returncode == 1
    assert "lies in the working folder" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (clone / "stolen").exists()


def test_what_the_function_prints_is_not_in_the_json_of_a_command(
    secure: SecureStack, topic: str, own: Path
) -> None:
    write(own, by_function(secure))
    command = [*LABKIT, "topics", "--json", "--profile", "prod"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert topic in {row["topic"] for row in json.loads(result.stdout)}
    assert "a file that prints\na function that prints\n" in result.stderr


def test_an_interrupt_while_a_client_waits_for_its_token(secure: SecureStack, own: Path) -> None:
    """It came as confluent_kafka's SystemError, with a traceback."""
    write(own, by_function(secure))
    command = [*LABKIT, "topics", "--profile", "prod"]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    until((own / "calls").exists)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.endswith("labkit: interrupted\n")
    assert "Traceback" not in err
