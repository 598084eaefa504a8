"""Elasticsearch: the only module that makes clients, and where their errors become labkit's."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from labkit.checks.suggest import did_you_mean, look_closer, way
from labkit.config.secrets import pair, seal
from labkit.errors import (
    AccessError,
    ConfigError,
    LabkitError,
    NotFoundError,
    ServerError,
    UnavailableError,
)
from labkit.text.masking import without_login

if TYPE_CHECKING:  # half a second, which only those who ask Elasticsearch pay
    import elastic_transport
    import elasticsearch

TIMEOUT_S = 30.0
_AWAY = {502, 503, 504}  # a node that held a part has just died
BUSY = {*_AWAY, 408, 429}  # answers after which the same request may succeed in a moment
_PARTIAL = "a part of an index is away, and an answer without it would be short: ask again when the cluster is whole"


class Target:
    """One Elasticsearch cluster, 8 or 9, seen as one user.

    Parameters
    ----------
    name : str
        As in the profile: ``default``, ``es-9.5.3`` …
    settings : mapping
        Keyword arguments of ``elasticsearch.Elasticsearch``.
    role : {"lab", "indexer", "extractor"}
        Which of labkit's roles it works as: an error about a missing privilege names what to grant.

    Notes
    -----
    Making one opens no connection.
    """

    def __init__(self, name: str, settings: Mapping[str, Any], *, role: str = "lab") -> None:
        self.name = name
        self.role = role
        self._settings = seal(settings)
        self._reached = False

    def __repr__(self) -> str:
        return f"Target({self.name!r}, {self.address!r})"

    @property
    def settings(self) -> dict[str, Any]:
        """The client's arguments, secrets too: for looking at, not for showing."""
        return dict(self._settings)

    @property
    def address(self) -> str:
        """The hosts."""
        name, _, encoded = str(self._settings.get("cloud_id", "")).partition(":")
        return (
            ", ".join(map(without_login, self.hosts)) or f"Elastic Cloud {name} (…{encoded[-8:]})"
        )

    @property
    def hosts(self) -> list[str]:
        """The addresses as the profile has them; a password in one is still there."""
        hosts = self._settings.get("hosts") or []
        addresses = [hosts] if isinstance(hosts, str | dict) else hosts
        return [
            f"{address['scheme']}://{address['host']}:{address['port']}"
            if isinstance(address, dict)
            else str(address)
            for address in addresses
        ]

    @property
    def user(self) -> str:
        """Who asks."""
        if auth := self._settings.get("basic_auth"):
            return str(pair(auth)[0])
        owners = {
            "api_key": "API key's",
            "bearer_auth": "token's",
            "client_cert": "client certificate's",
        }
        return next(
            (f"the {kind} owner" for key, kind in owners.items() if key in self._settings),
            "anonymous",
        )

    @property
    def recipe(self) -> str:
        """The command that prints what an administrator has to grant."""
        return f"`labkit acl --role {self.role} --indices PATTERN --format elasticsearch-role`"

    def _login(self) -> dict[str, Any]:
        """Return user and password, or an API key's two parts, as the client wants them."""
        login: dict[str, Any] = {}
        if auth := self._settings.get("basic_auth"):
            login["basic_auth"] = pair(auth)
        if isinstance(key := self._settings.get("api_key"), list):
            login["api_key"] = tuple(key)
        return login

    @cached_property
    def client(self) -> elasticsearch.Elasticsearch:
        """The client; one for the life of the object."""
        return self._make_client()

    @cached_property
    def client_of_hits(self) -> elasticsearch.Elasticsearch:
        """A client whose answers have documents as text, read by `labkit.text.hits`.

        Most of what a page costs here would be their values as Python objects.
        """
        import elastic_transport

        from labkit.text.hits import read_answer

        class Serializer(elastic_transport.JsonSerializer):
            def json_loads(self, data: bytes) -> dict[str, Any]:
                return read_answer(data)

        return self._make_client(serializer=Serializer())

    def _make_client(self, **more: Any) -> elasticsearch.Elasticsearch:
        import elasticsearch

        accepted = inspect.signature(elasticsearch.Elasticsearch.__init__).parameters
        for key in self._settings:
            if key not in accepted or key.startswith("_"):
                raise ConfigError(
                    f"Elasticsearch target {self.name!r} has no setting {key!r}",
                    hint=did_you_mean(key, accepted)
                    or "its keys are those of elasticsearch.Elasticsearch",
                )
        try:
            settings = {**self._manners(), **self._settings, **self._login(), **more}
            return elasticsearch.Elasticsearch(**settings, transport_class=_object_transport())
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"Elasticsearch target {self.name!r}: {error}",
                hint="its keys are those of elasticsearch.Elasticsearch",
            ) from error

    def _manners(self) -> dict[str, Any]:
        """Return the client's settings where the profile has none.

        A request that no node took goes to the next host at once: whatever labkit writes may be
        sent twice. An answer is never asked for again here, not one of 429 or 503 either: who asks
        waits in a manner of their own.
        """
        return {
            "request_timeout": TIMEOUT_S,
            "max_retries": max(0, len(self.hosts) - 1),
            "retry_on_status": (),
        }

    def reach(self, what: str) -> None:
        """Ask any node for an answer, once: the first contact fails within seconds, and says why.

        A refusal is an answer too. Whoever has had one may wait for a node that dies.
        """
        import elasticsearch

        if not self._reached:
            with self.errors(what), suppress(elasticsearch.ApiError):
                self.client.nodes.info(node_id="_local", filter_path="nodes.*.name")
            self._reached = True

    def has_index(self, index: str) -> bool:
        """Tell whether there is an index or alias of this name.

        A refusal names the privilege that lacks; that of a HEAD request, as `indices.exists` sends
        it, has no text.
        """
        client = self.client.options(ignore_status=404)
        return bool(client.indices.get(index=index, filter_path="*.aliases").meta.status == 200)

    @contextmanager
    def errors(self, what: str) -> Iterator[None]:
        """Turn elasticsearch's errors into labkit's while `what` is done."""
        import elastic_transport
        import elasticsearch

        try:
            yield
        except elasticsearch.ApiError as error:
            raise self._api_error(error, what) from error
        except elastic_transport.TransportError as error:
            if isinstance(error, elastic_transport.SerializationError):
                why, hint = _unreadable(error)
            else:
                why, hint = _away(error)
            raise UnavailableError(
                f"no answer from Elasticsearch at {self.address} to {what}{why}",
                hint=hint,
                address=self.address,
            ) from error

    def _api_error(self, error: elasticsearch.ApiError, what: str) -> LabkitError:
        status, reason = error.status_code, _reason(error)
        if (foreign := self._foreign(error, what)) is not None:
            return foreign
        if status == 401:
            return AccessError(
                f"{self.address} refused the login of {self.user}",
                hint="check the profile's basic_auth or api_key",
            )
        if block_reason(error):
            return UnavailableError(
                f"cannot {what}: {reason}",
                hint="it is read-only for now: its administrator must lift the block, or make room on its disks",
                status=status,
            )
        if status == 403:
            return AccessError(
                f"{self.user} may not {what}: {reason}",
                hint=f"its role lacks a privilege; {self.recipe} prints what to grant",
            )
        if status == 404:
            return NotFoundError(
                f"cannot {what}: {reason}",
                hint=f"{self._near(error)}{way('indices')} lists those you may see",
            )
        hint = _PARTIAL if "missing shards" in reason or status in _AWAY else None
        return ServerError(f"cannot {what}: {status} {reason}", hint=hint, status=status)

    def _near(self, error: elasticsearch.ApiError) -> str:
        """Return which index or alias may have been meant by one that is not there."""
        import elastic_transport
        import elasticsearch

        cause = error.body.get("error") if isinstance(error.body, dict) else None
        name = cause.get("index") if isinstance(cause, dict) else None
        if not isinstance(name, str):
            return ""
        with suppress(elasticsearch.ApiError, elastic_transport.TransportError):
            aliases_by_index = self.client.indices.get_alias(index="*").body
            return did_you_mean(
                name,
                [
                    *aliases_by_index,
                    *(alias for entry in aliases_by_index.values() for alias in entry["aliases"]),
                ],
            )
        return ""

    def _foreign(self, error: elasticsearch.ApiError, what: str) -> LabkitError | None:
        """Return the error of an answer that does not come from Elasticsearch.

        Elasticsearch names itself in a header of each answer.
        """
        import elasticsearch

        if isinstance(error, elasticsearch.UnsupportedProductError):
            return ConfigError(
                f"what answers at {self.address} is not Elasticsearch: its answers have no X-Elastic-Product",
                hint="labkit works with Elasticsearch 8 and 9, not with OpenSearch; a proxy must pass headers on",
            )
        if isinstance(error.body, dict) or error.meta.headers.get("x-elastic-product"):
            return None
        status = error.status_code
        page = _summary(str(error.body or ""))
        answer = (
            f"what answers at {self.address} is not Elasticsearch: {status}{page and f', {page!r}'}"
        )
        if status >= 500:  # a proxy that does not reach what is behind it
            return ServerError(
                f"cannot {what}: {answer}", hint="a proxy stands in front: is Elasticsearch up behind it?",
                status=status, foreign=True,
            )  # fmt: skip
        if location := error.meta.headers.get("location"):
            return ConfigError(
                f"{answer}; it redirects to {without_login(location)}",
                hint="write the address that it redirects to in hosts",
            )
        if status == 401 or not error.body:  # of HEAD, or of a login in front
            return None
        return ConfigError(
            answer,
            hint="check hosts: is that Elasticsearch's address and port, not Kibana's or a proxy's?",
        )

    @cached_property
    def version(self) -> str:
        """The server's version, asked of a node: minimal builds have no ``GET /``."""
        with self.errors("read its version"):
            nodes = self.client.nodes.info(node_id="_local", filter_path="nodes.*.version")
        return str(next(iter(nodes["nodes"].values()))["version"])

    def count(self, index: str) -> int:
        """Return how many documents `index` shows, after a refresh where the role may make one."""
        self.refresh(index)
        with self.errors(f"count the documents of {index!r}"):
            answer = self.client.count(index=index)
        return count_of(answer.body, f"count the documents of {index!r}")

    def refresh(self, index: str) -> None:
        """Make what was written to `index` visible, where the role may."""
        import elasticsearch

        with (
            self.errors(f"refresh index {index!r}"),
            suppress(elasticsearch.AuthorizationException),
        ):
            self.client.indices.refresh(index=index)


def _object_transport() -> type[elastic_transport.Transport]:
    """Return a transport that takes no answer but an object, which is what Elasticsearch gives.

    A proxy may answer otherwise under its headers; without these the client refuses any answer.
    """
    import elastic_transport

    class ObjectTransport(elastic_transport.Transport):
        def perform_request(self, method: str, target: str, **options: Any) -> Any:
            answer = super().perform_request(method, target, **options)
            meta, body = answer
            is_own = "x-elastic-product" in meta.headers and method != "HEAD"
            if is_own and 200 <= meta.status < 300 and not isinstance(body, dict):
                raise elastic_transport.SerializationError(f"no object: {body!r}")
            return answer

    return ObjectTransport


def passes(error: LabkitError) -> bool:
    """Tell whether the same request may succeed in a moment, as while a node dies."""
    return isinstance(error, UnavailableError) or error.facts.get("status") in BUSY


def count_of(found: Mapping[str, Any], what: str) -> int:
    """Return what a count came to.

    Raise when a shard did not answer: Elasticsearch counts without it, unasked.
    """
    shards = found["_shards"]
    if shards["failed"]:
        raise ServerError(
            f"cannot {what}: {shards['failed']} of {shards['total']} shards did not answer",
            hint=_PARTIAL,
        )
    return int(found["count"])


# a text of the transport's, what it means, what to do
_TOLD = (
    ("certificate has expired", "its certificate has expired", "its administrator must renew it"),
    (
        "doesn't match",
        "its certificate is not for this host name",
        "use a name the certificate has",
    ),
    (
        "Hostname mismatch",
        "its certificate is not for this host name",
        "use a name the certificate has",
    ),
    (
        "IP address mismatch",
        "its certificate is not for this address",
        "use a name the certificate has",
    ),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "its certificate is not trusted",
        "set ca_certs to the CA that signed it",
    ),
    (
        "WRONG_VERSION_NUMBER",
        "that port does not speak TLS",
        "write http:// in hosts, or the TLS port",
    ),
    ("UNEXPECTED_EOF", "that port hung up on TLS", "is it a TLS port, and of Elasticsearch?"),
    (
        "Name or service not known",
        "its name does not resolve",
        "check the name and the DNS of this machine",
    ),
    (
        "Connection refused",
        "no server listens there",
        "is it running? `labkit status` (local stack); else check the port",
    ),
    (
        "Connection aborted",
        "it hung up",
        "is it stopping? If that port speaks TLS, write https:// in hosts",
    ),
    (
        "No such file",
        "a file of its TLS settings is not there",
        "check ca_certs, client_cert and client_key",
    ),
    ("timed out", "", "is a firewall in between? {doctor}"),
)


def _away(error: elastic_transport.TransportError) -> tuple[str, str]:
    """Return why no server answers, to be put behind the sentence, and what to do."""
    text = " ".join(_texts(error))
    for part, why, hint in _TOLD:
        if part.lower() in text.lower():
            return f": {why}" if why else "", hint.format(doctor=look_closer())
    hint = "is it running? `labkit status` (local stack); else check the address and TLS"
    return f": {type(error).__name__}", hint


def _unreadable(error: elastic_transport.SerializationError) -> tuple[str, str]:
    """Return what was answered that is no JSON object, and what to do."""
    # the transport keeps the answer in its message alone, as Python writes bytes
    answer = error.message.partition(": ")[2]
    page = _summary(answer.removeprefix("b").strip("'\""))
    return (
        f": what came is not a JSON object: {page!r}",
        "does a proxy stand in front? Is hosts its address?",
    )


def _texts(error: object) -> Iterator[str]:
    """Yield the texts of the transport's error and of the errors inside it.

    Its own text is only "TLS error".
    """
    yield f"{getattr(error, 'message', '')} {error!r}"
    for inner in getattr(error, "errors", None) or ():
        yield from _texts(inner)


_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.IGNORECASE | re.DOTALL)
_PAGE = 80  # characters of a page in an error


def _summary(page: str) -> str:
    """Return the title of a page, or how its text begins."""
    title = _TITLE.search(page)
    words = " ".join((title[1] if title else _TAG.sub(" ", page)).split())
    return words if len(words) <= _PAGE else words[:_PAGE] + "…"


def block_reason(error: elasticsearch.ApiError) -> str:
    """Return why the cluster or an index is read-only now, when that is the error.

    Elasticsearch answers 403 then.
    """
    body = error.body if isinstance(error.body, dict) else {}
    cause = body.get("error")
    kind = cause.get("type") if isinstance(cause, dict) else ""
    return _reason(error) if error.status_code == 403 and kind == "cluster_block_exception" else ""


def _reason(error: elasticsearch.ApiError) -> str:
    body = error.body if isinstance(error.body, dict) else {}
    cause = body.get("error")
    if isinstance(cause, dict):
        # the top says no more than "all shards failed"
        cause = next(iter(cause.get("root_cause") or ()), cause)
        return str(
            cause.get("reason") or cause.get("caused_by", {}).get("reason") or cause.get("type")
        )
    text = str(cause or error.message)
    # an answer to HEAD has no body
    return "the server gave no reason" if text in ("", "None") else text
