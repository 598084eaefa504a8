"""The local schema registry shows no schema without the stack's token; BEHAVIOURS 79."""

from __future__ import annotations

import json
import stat
import urllib.error
import urllib.request
import uuid

import pytest
from confluent_kafka.schema_registry import Schema

from labkit.errors import AccessError
from labkit.lab import Lab
from labkit.registry import Registry
from labkit.stack.registry_login import FILE, new_login
from labkit.stack.state import State
from support.registry import registry_client, registry_request


def status(request: urllib.request.Request) -> int:
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.parametrize("headers", [
    {},
    {"Host": "evil.example"},
    {"Host": "evil.example", "Origin": "http://evil.example"},
    {"Authorization": "Bearer " + new_login()["token"]},
    {"Authorization": "Basic bGFiOmxhYg=="},
])  # fmt: skip
def test_who_has_no_token_reads_and_writes_nothing(
    registry_url: str, headers: dict[str, str]
) -> None:
    """A page that was bound to another address, another user, a token of another stack."""
    data = json.dumps({"schema": '"string"'}).encode()
    typed = {**headers, "Content-Type": "application/vnd.schemaregistry.v1+json"}
    root = registry_url.removesuffix("/apis/ccompat/v7")
    for path in (
        "/apis/ccompat/v7/subjects",
        "/apis/ccompat/v6/subjects",
        "/apis/registry/v2/search/artifacts",
    ):
        assert status(urllib.request.Request(root + path, headers=headers)) == 401, path
    write = urllib.request.Request(
        f"{registry_url}/subjects/evil/versions", data=data, headers=typed
    )
    assert status(write) == 401
    assert "evil" not in registry_client().get_subjects()


def test_what_the_registry_tells_anybody_names_no_schema(registry_url: str) -> None:
    subject = f"subject-{uuid.uuid4().hex}"
    registry_client().register_schema(subject, Schema('"string"', "AVRO"))
    assert subject in registry_client().get_subjects()
    root = registry_url.removesuffix("/apis/ccompat/v7")
    for path in ("/metrics", "/health", "/ui/", "/apis", "/apis/registry/v2/system/info"):
        with urllib.request.urlopen(root + path, timeout=30) as answer:
            assert subject not in answer.read().decode(), path


def test_who_has_the_token_is_answered(registry_url: str, registry_lab: Lab, stack: State) -> None:
    assert status(registry_request("/subjects")) == 200
    assert registry_lab.registry is not None
    registry_lab.registry.check()
    assert registry_lab.registry.user == "a token"
    token = json.loads((stack.root / FILE).read_text())["token"]
    assert stat.S_IMODE((stack.root / FILE).stat().st_mode) == 0o600
    assert token not in repr(registry_lab.connection) + repr(vars(registry_lab.registry))
    with pytest.raises(AccessError, match="refused the login of anonymous"):
        Registry({"url": registry_url}).check()
