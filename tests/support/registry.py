"""The stack's schema registry, as its own user has it."""

from __future__ import annotations

import urllib.request

from confluent_kafka.schema_registry import SchemaRegistryClient

from labkit.stack.state import State


def registry_client() -> SchemaRegistryClient:
    """Return Confluent's client with the login that `labkit credentials` prints."""
    return SchemaRegistryClient(State.load().credentials("lab")["registry"])


def registry_request(path: str, **headers: str) -> urllib.request.Request:
    """Return a request with the stack's login, and more headers."""
    found = State.load().credentials("lab")["registry"]
    login = {"Authorization": f"Bearer {found['bearer.auth.token']}"}
    return urllib.request.Request(found["url"] + path, headers={**login, **headers})
