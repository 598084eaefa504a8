"""A schema registry: the only module that makes its clients.

Their errors become labkit's here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from labkit.checks.suggest import typed
from labkit.config.secrets import Secret, pair, seal
from labkit.errors import (
    AccessError,
    ConfigError,
    LabkitError,
    NotFoundError,
    ServerError,
    UnavailableError,
)
from labkit.text.masking import without_login

TIMEOUT_S = 5.0
_OURS = {"ca_certs": "ssl.ca.location"}  # as in the profile's Elasticsearch tables


class Registry:
    """One schema registry that speaks Confluent's API, seen as one user.

    Parameters
    ----------
    settings : mapping
        Those of ``confluent_kafka.schema_registry.SchemaRegistryClient``: ``url``,
        ``"ssl.ca.location"``, ``"basic.auth.user.info"``; also ``basic_auth = [user, password]``
        and ``ca_certs``.

    Notes
    -----
    Making one opens no connection.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = seal(settings)

    def __repr__(self) -> str:
        return f"Registry({self.address!r})"

    @property
    def address(self) -> str:
        """The registry's URL, without a password."""
        return without_login(str(self._settings.get("url", "")))

    @property
    def hash(self) -> str:
        """A short name of the address, for file names."""
        return hashlib.sha256(self.address.encode()).hexdigest()[:8]

    @property
    def user(self) -> str:
        """Who asks."""
        auth = self._settings.get("basic_auth")
        info = str(self._settings.get("basic.auth.user.info", ""))
        bearer = "a token" if "bearer.auth.token" in self._settings else "anonymous"
        return str(pair(auth)[0]) if auth else info.partition(":")[0] or bearer

    @cached_property
    def client(self) -> Any:
        """The client; one for the life of the object. It keeps the schemas it has fetched."""
        from confluent_kafka.schema_registry import SchemaRegistryClient

        settings = {
            _OURS.get(key, key): value
            for key, value in self._settings.items()
            if key != "basic_auth"
        }
        if auth := self._settings.get("basic_auth"):
            settings["basic.auth.user.info"] = Secret(":".join(map(str, pair(auth))))
        defaults = {
            "timeout": TIMEOUT_S,
            "max.retries": 1,
            "retries.wait.ms": 500,
            "retries.max.wait.ms": 1000,
        }
        try:
            return SchemaRegistryClient({**defaults, **settings})
        except (TypeError, ValueError, OSError) as error:  # OSError: a CA file that cannot be read
            raise ConfigError(
                f"the profile's registry: {error}",
                hint='write url = "https://…", and basic_auth = [user, password] and ca_certs where it needs them',
            ) from error

    def schema(self, number: int | str) -> Any:
        """Return the schema with the id `number`, or with that GUID, fetched once.

        Raises
        ------
        NotFoundError, AccessError, ServerError
            When the registry does not know it, refuses, or fails.
        UnavailableError
            When no server answers.
        """
        # "serialized" is how a Protobuf schema comes as a descriptor; the other kinds have no such
        # format
        if isinstance(number, str):
            return self._ask(
                lambda client: client.get_schema_by_guid(number, fmt="serialized"),
                f"fetch the schema with GUID {number}",
            )
        return self._ask(
            lambda client: client.get_schema(number, fmt="serialized"), f"fetch schema id {number}"
        )

    def fetch_reference(self, subject: str, version: int) -> Any:
        """Return the schema another one refers to."""
        action = f"fetch version {version} of subject {subject!r}"
        return self._ask(
            lambda client: client.get_version(subject, version, fmt="serialized").schema, action
        )

    def check(self) -> None:
        """Raise when the registry cannot be reached at all."""
        self._ask(lambda client: client.get_subjects(), "list its subjects")

    def _ask(self, call: Any, what: str) -> Any:
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        client = self.client
        try:
            return call(client)
        except SchemaRegistryError as error:
            raise self._refusal(error, what) from error
        # a web page, not a registry's JSON
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ServerError(
                f"cannot {what}: {self.address} answers, but not as a schema registry",
                hint="the URL needs the path of Confluent's API, such as /apis/ccompat/v7 of Apicurio",
            ) from error
        except Exception as error:  # the client passes on what its HTTP library raises
            raise UnavailableError(
                f"no answer from the schema registry at {self.address} to {what}: {type(error).__name__}",
                hint="is it running? `labkit status`, `labkit up --registry` (local stack); else check its url, the "
                "network and TLS; " + typed('decode="raw"', "--decode raw") + " reads without it",
                address=self.address,
            ) from error

    def _refusal(self, error: Any, what: str) -> LabkitError:
        status, text = error.http_status_code, " ".join(str(error.error_message).split())[:200]
        if status == 401:
            return AccessError(
                f"the schema registry at {self.address} refused the login of {self.user} (401)",
                hint="check basic_auth of the profile's registry",
            )
        if status == 403:
            return AccessError(
                f"{self.user} may not {what} at {self.address} (403): {text}",
                hint="labkit only reads schemas and subjects: the registry's administrator grants that",
            )
        if status == 404:
            return NotFoundError(
                f"cannot {what}: the schema registry at {self.address} does not have it",
                hint="was it written with another registry?",
            )
        return ServerError(f"cannot {what} at {self.address}: {status} {text}", status=status)
