"""Own decoders, keys, the cache, groups, the command line, and a registry that fails."""

from __future__ import annotations

import base64
import http.server
import json
import os
import signal
import ssl
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from labkit.cli import main
from labkit.errors import UnavailableError
from labkit.kafka.cluster import Cluster
from labkit.lab import Lab
from labkit.sinks import cache
from labkit.stack.state import State
from support.registry import registry_client, registry_request

MakeTopic = Callable[..., str]
Produce = Callable[..., None]


def pipes(value: bytes) -> dict[str, Any]:
    """Decode ``nick|n``."""
    nick, n = value.decode().split("|")
    return {"nick": nick, "n": int(n)}


def avro(
    url: str, topic: str, *numbers: int, of: Any = MessageField.VALUE, name: str = "R"
) -> list[bytes]:
    schema = {"type": "record", "name": name, "fields": [{"name": "n", "type": "long"}]}
    serializer = AvroSerializer(registry_client(), json.dumps(schema))
    return [serializer({"n": n}, SerializationContext(topic, of)) for n in numbers]


# functions -------------------------------------------------------------------------------------------------


def test_an_own_decoder_costs_no_row_wherever_it_is_used(
    lab: Lab, make_topic: MakeTopic, produce: Produce, tmp_path: Path
):
    topic = make_topic()
    produce(topic, [b"a|1", None, b"broken", b"b|x", b"c|3"])
    window = lab.window(topic)
    replay = window.read(decode=pipes)
    assert replay.table["n"].to_pylist() == [1, None, None, None, 3]
    assert replay.table["nick"].to_pylist() == ["a", None, None, None, "c"]
    reasons = replay.table["_error"].to_pylist()
    assert [reason is None for reason in reasons] == [True, True, False, False, True]
    assert "the decoder raised ValueError: invalid literal for int()" in reasons[3]
    assert replay.receipt.undecodable == 2
    assert window.to_parquet(tmp_path / "x.parquet", decode=pipes).undecodable == 2
    assert pq.read_table(tmp_path / "x.parquet")["n"].to_pylist() == replay.table["n"].to_pylist()
    assert window.read(decode=pipes, where="n > 1").table["nick"].to_pylist() == ["c"]
    with lab.attach(topic, name="own-decoder", start="earliest") as group:
        assert group.read(10, decode=pipes)["n"].tolist()[0] == 1
        group.close(delete=True)


def test_decoding_again_counts_again(
    lab: Lab, make_topic: MakeTopic, produce: Produce, monkeypatch: Any
):
    topic = make_topic(2)
    produce(topic, [b"a|1", b"{}"])
    produce(topic, [b"b|2", b"c|3"], partition=1)
    replay = lab.window(topic).read()
    assert [part.undecodable for part in replay.receipt.partitions] == [1, 2]
    monkeypatch.setattr(Cluster, "consumer", None)
    again = replay.decode(pipes)
    assert [part.undecodable for part in again.receipt.partitions] == [1, 0]
    assert again.receipt.counts["read"] == 4
    assert again.table["n"].to_pylist() == [1, None, 2, 3]
    choice = again.decode("auto")
    assert sum(note.startswith("auto chose text") for note in choice.receipt.notes) == 1
    assert not [note for note in choice.decode("raw").receipt.notes if "auto" in note]


def test_a_function_that_ends_the_process_ends_it(
    lab: Lab, make_topic: MakeTopic, produce: Produce
):
    topic = make_topic()
    produce(topic, [b"x"])

    def stop(value: bytes) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lab.window(topic).read(decode=stop)


@pytest.mark.chaos
def test_an_interrupt_ends_a_slow_decoder_and_keeps_every_record(
    lab: Lab, make_topic: MakeTopic, produce: Produce
):
    topic, calls = make_topic(), []
    produce(topic, [b"a|%d" % number for number in range(5000)])

    def slow(value: bytes) -> Any:
        calls.append(value)
        if len(calls) == 50:
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        return pipes(value)

    replay = lab.window(topic).read(decode=slow, on_interrupt="keep")
    assert 50 <= len(calls) < 1000  # all of them would take 50 seconds
    undecoded = len(replay) - len(calls)
    assert replay.table["_error"].to_pylist().count("not decoded: it was interrupted") == undecoded
    assert replay.receipt.undecodable == undecoded
    assert any(
        f"{undecoded:,} records were not passed to the decoder" in note
        for note in replay.receipt.notes
    )
    assert replay.decode(pipes).table["n"].to_pylist() == list(range(len(replay)))


# keys ------------------------------------------------------------------------------------------------------


def test_keys_are_decoded_into_columns_of_their_own(
    registry_lab: Lab,
    registry_url: str,
    make_topic: MakeTopic,
    produce: Produce,
    tmp_path: Path,
    capsys: Any,
):
    topic = make_topic()
    values = [b'{"_key_n":"own","n":1}', b'{"_key_text":2}', b'{"n":3}']
    key = avro(registry_url, topic, 7, of=MessageField.KEY)[0]
    produce(topic, values, keys=[key, None, b"\xff"])
    window = registry_lab.window(topic)
    table = window.read(key_decode="avro").table
    assert table["_key_n"].to_pylist() == [7, None, None]
    assert table["_key_n_"].to_pylist() == ["own", None, None]
    assert table["n"].to_pylist() == [1, None, 3]
    assert table["_key"].to_pylist() == [key, None, b"\xff"]
    assert table.column_names[table.column_names.index("_key") + 1] == "_key_n"
    assert table["_error"].to_pylist()[:2] == [None, None]
    assert table["_error"].to_pylist()[2].startswith("key: not Confluent's wire format")
    replay = window.read()
    assert "_key_n" in replay.table.column_names  # the record's own
    again = replay.decode("json", key_decode=lambda data: {"first": data[0]})
    assert again.table["_key_first"].to_pylist() == [0, None, 255]
    assert again.receipt.undecodable == 0
    text = replay.decode("raw", key_decode="text")
    assert text.table["_key_text"].to_pylist()[1:] == [None, None]
    assert text.receipt.undecodable == 1
    receipt = window.to_parquet(tmp_path / "x.parquet", key_decode="avro")
    assert pq.read_table(tmp_path / "x.parquet").cast(table.schema).equals(table)
    assert any(note.startswith("keys: decoded as avro") for note in receipt.notes)
    assert window.read(key_decode="text", where="_key_text is null").receipt.read == 2
    with registry_lab.attach(topic, name="keys", start="earliest") as group:
        assert group.read(10, key_decode="avro")["_key_n"].tolist()[0] == 7
        group.close(delete=True)
    assert main(["replay", topic, "--decode", "raw", "--key-decode", "avro"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert json.loads(out[0]) == {"_key_n": 7}
    assert json.loads(out[1]) == {}
    assert "key: " in json.loads(out[2])["_error"]


def test_the_command_line_decodes(
    registry_url: str, make_topic: MakeTopic, produce: Produce, tmp_path: Path, capsys: Any
):
    topic = make_topic()
    produce(topic, [*avro(registry_url, topic, 1, 2), b"oops"])
    for decode in ("avro", "auto"):
        assert main(["replay", topic, "--decode", decode]) == 0
        output = capsys.readouterr()
        assert [json.loads(line).get("n") for line in output.out.splitlines()] == [1, 2, None]
        assert "1 of the read could not be decoded" in output.err
        assert "decoded as avro by schema ids" in output.err
    assert "auto chose avro for the values: 2 of 3 sampled" in output.err
    assert (
        main(["replay", topic, "--decode", "avro", "-o", str(tmp_path / "x.parquet"), "--json"])
        == 0
    )
    assert json.loads(capsys.readouterr().out)["undecodable"] == 1
    assert pq.read_table(tmp_path / "x.parquet")["n"].to_pylist() == [1, 2, None]
    assert main(["replay", topic, "--decode", "xml"]) == 2
    assert "one of json, text, raw, avro" in capsys.readouterr().err


# the cache -------------------------------------------------------------------------------------------------


def test_two_functions_of_one_name_never_share_a_result(
    lab: Lab, make_topic: MakeTopic, produce: Produce, kept: Path, monkeypatch: pytest.MonkeyPatch
):
    topic = make_topic()
    produce(topic, [b"a|1"])
    window = lab.window(topic)

    def first() -> Any:
        return lambda value: {"n": 1}

    assert window.read(decode=first()).table["n"].to_pylist() == [1]
    (entry,) = cache.entries()
    assert "-raw-" in entry["file"]
    monkeypatch.setattr(Cluster, "consumer", None)
    replay = window.read(decode=lambda value: {"n": 2})
    assert replay.table["n"].to_pylist() == [2]
    assert any("from the local cache" in note for note in replay.receipt.notes)
    assert window.read(decode="text").table["text"].to_pylist() == ["a|1"]
    assert window.read(key_decode="text").table["_key_text"].to_pylist() == [None]


def test_a_registrys_result_is_kept_only_when_it_would_be_the_same_again(
    registry_lab: Lab, registry_url: str, make_topic: MakeTopic, produce: Produce, kept: Path
):
    topic = make_topic()
    good = avro(registry_url, topic, 1)[0]
    produce(topic, [good, b"\x00" + (999_999).to_bytes(4, "big") + good[5:]])
    registry_lab.window(topic).read(decode="avro")
    assert ["-raw-" in entry["file"] for entry in cache.entries()] == [True]
    cache.clear()
    window = registry_lab.window(topic, offsets={0: (0, 1)})
    first = window.read(decode="auto")
    assert registry_lab.registry is not None
    assert [registry_lab.registry.hash in entry["file"] for entry in cache.entries()] == [True]
    again = window.read(decode="auto")
    assert again.table.equals(first.table)
    assert any(note.startswith("auto chose avro") for note in again.receipt.notes)


# a registry behind a login, and one that goes away ---------------------------------------------------------


@contextmanager
def behind_a_login(registry_url: str, folder: Path) -> Iterator[tuple[str, Path, list[str]]]:
    """Put a proxy with TLS and a login before the real registry, as companies do.

    Yield url, CA file, asked paths.
    """
    key, certificate = folder / "key.pem", folder / "ca.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1"
        " -addext subjectAltName=IP:127.0.0.1"
    )
    subprocess.run(
        [*command.split(), "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    expected = "Basic " + base64.b64encode(b"alice:pass:word").decode()
    requests: list[str] = []

    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            status, body = 401, b'{"error_code":40101,"message":"Unauthorized"}'
            if self.headers.get("Authorization") == expected:
                try:
                    with urllib.request.urlopen(registry_request(self.path)) as answer:
                        status, body = answer.status, answer.read()
                except urllib.error.HTTPError as error:
                    status, body = error.code, error.read()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}", certificate, requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_login_a_ca_and_a_registry_that_goes_away(
    lab: Lab,
    registry_url: str,
    make_topic: MakeTopic,
    produce: Produce,
    tmp_path: Path,
    monkeypatch: Any,
):
    topic = make_topic()
    values = avro(registry_url, topic, 1, 2)
    late = avro(registry_url, topic, 3, name="Late")
    produce(topic, [*values, *late])
    monkeypatch.setenv("REGISTRY_PASSWORD", "pass:word")
    with behind_a_login(registry_url, tmp_path) as (url, ca, asked):
        own: dict[str, Any] = {
            "url": url,
            "ca_certs": str(ca),
            "basic_auth": ["alice", "pass:word"],
        }

        def read(settings: dict[str, Any], last: int | None = None) -> Any:
            profile = replace(lab.connection, registry=settings)
            assert "pass:word" not in repr(profile)
            other_lab = Lab(profile)
            return other_lab.window(topic, offsets={0: (0, last or 3)}).read(
                decode="avro"
            ), other_lab

        replay, _ = read(own)
        assert replay.table["n"].to_pylist() == [1, 2, 3]
        assert len(asked) == 2
        assert (
            read({**own, "url": url.replace("//", "//alice:pass%3Aword@"), "basic_auth": None})[
                0
            ].receipt.undecodable
            == 0
        )
        refused, _ = read({**own, "basic_auth": ["bob", "pass:word"]})
        assert refused.receipt.undecodable == 3
        assert "refused the login of bob (401)" in refused.table["_error"][0].as_py()
        assert any("refused the login of bob" in note for note in refused.receipt.notes)
        assert "pass:word" not in str(refused.receipt) + str(refused.table["_error"].to_pylist())
        with pytest.raises(UnavailableError, match="no answer from the schema registry"):
            read({**own, "ca_certs": None})
        _, half = read(own, last=2)
    with pytest.raises(UnavailableError, match="no answer from the schema registry"):
        # it has answered before; now it is away
        half.window(topic, offsets={0: (2, 3)}).read(decode="avro")
    replay = half.window(topic).read(decode="avro")  # the first schema is known
    assert replay.table["n"].to_pylist() == [1, 2, None]
    assert "no answer from the schema registry at https://" in replay.table["_error"][2].as_py()
    assert replay.receipt.undecodable == 1
    assert replay.receipt.complete


@pytest.mark.alone
def test_the_stack_keeps_its_schemas_and_remembers_its_registry(registry_url: str, stack: State):
    from labkit.stack import local, process
    from labkit.stack import registry as service

    topic = "irc-kept"
    (value,) = avro(registry_url, topic, 1, name="Kept")
    number = int.from_bytes(value[1:5], "big")
    state = State.load(stack.root)
    assert {row["service"]: row["running"] for row in local.status()}["registry"] is True
    process.stop(state.services[service.NAME])
    state.save()
    assert {row["service"]: row["running"] for row in local.status()}["registry"] is False
    local.up(say=lambda text: None)
    assert State.load(stack.root).credentials("lab")["registry"]["url"] == registry_url
    schema = registry_client().get_schema(number)
    assert "Kept" in (schema.schema_str or "")


def test_a_field_that_disagrees_is_announced_and_can_be_given_a_type(
    lab: Lab, make_topic: Callable[..., str], produce: Callable[..., None], tmp_path: Path
) -> None:
    """BEHAVIOURS 57: read, from the cache, under a condition, into Parquet."""
    topic = make_topic()
    numbers = [b'{"n":%d,"total":%d.50}' % (row, row) for row in range(500)]
    produce(topic, [*numbers, b'{"n":500,"total":"98 EUR"}', b'{"n":501,"total":null}'])
    window = lab.window(topic)
    note = 'field total: 500 numbers, 1 text → text; read(types={"total": "float"})'
    for replay in (window.read(), window.read()):  # the second time from the cache
        assert note in replay.receipt.notes
        assert replay.table["total"][7].as_py() == "7.50"
    for from_cache in (True, False):
        typed = window.read(types={"total": "float"}, cache=from_cache)
        assert typed.table["total"].type == pa.float64()
        assert pc.sum(typed.table["total"]).as_py() == sum(range(500)) + 250
        assert typed.table["_error"].to_pylist()[500:] == [
            "field 'total' is no double here: '98 EUR'",
            None,
        ]
        assert typed.receipt.undecodable == 1
        assert note not in typed.receipt.notes
    assert len(window.read(types={"total": "float"}, where="total > 489.5", cache=False)) == 10
    receipt = window.to_parquet(tmp_path / "a.parquet", types={"total": "float"})
    assert receipt.undecodable == 1
    assert (
        pq.read_table(tmp_path / "a.parquet")["total"].to_pylist()
        == typed.table["total"].to_pylist()
    )
    assert window.to_parquet(tmp_path / "b.parquet").notes == (note,)
