"""Where the servers are and who is asking: profiles.

A profile is the local stack as one of its roles (``labkit.stack.state``), or a table
``[profiles.NAME]`` of a ``labkit.toml`` found in the working folder, one of its parents, or the
user's configuration folder:

    [profiles.prod.kafka]
    "bootstrap.servers" = "kafka-1:9093,kafka-2:9093"
    "security.protocol" = "SASL_SSL"
    "sasl.mechanism" = "SCRAM-SHA-512"
    "sasl.username" = "alice"
    "sasl.password" = "${KAFKA_PASSWORD}"     # or ${file:/run/secrets/kafka}, ${keyring:kafka/alice}

    [profiles.prod.elasticsearch.default]
    hosts = ["https://es-1:9200"]
    basic_auth = ["alice", "${ES_PASSWORD}"]

    [profiles.prod.registry]                  # a schema registry, for Avro, Protobuf and JSON Schema
    url = "https://registry:8081"
    basic_auth = ["alice", "${REGISTRY_PASSWORD}"]

    [profiles.prod.topics."orders.*"]         # how these topics are decoded, see `labkit.config.topics`
    value = "avro"
    key = "text"

A variable of the environment wins over the file: ``LABKIT_PROD_KAFKA_SASL_PASSWORD`` is
``sasl.password`` of profile ``prod``, ``LABKIT_PROD_ELASTICSEARCH_DEFAULT_API_KEY`` is ``api_key``
of its target ``default``, ``LABKIT_PROD_REGISTRY_URL`` its registry's ``url``. With such variables
alone a profile needs no file. A file that is found in the working folder or above it gets no secret
before ``labkit allow`` (`labkit.config.files`). ``LABKIT_PROFILE`` names the profile that is used
when none is named.

The names in a profile are librdkafka's and the Elasticsearch client's own, some hundreds, which
those libraries check: a schema of settings here (pydantic-settings) would say nothing about them,
and has no word for ``a.b`` as a key.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from labkit.checks.suggest import did_you_mean
from labkit.config.files import (
    NAME,
    ConfigFile,
    config_files,
    refuse_code,
    require_trust,
    upper_name,
    wants,
)
from labkit.config.oauth_token import SETTING, absolute
from labkit.config.secrets import Secret, fill, literal, mask, pair, quote_reference, seal
from labkit.config.topics import TopicSettings, read_topics
from labkit.errors import ConfigError, UntrustedError
from labkit.text.masking import without_login

LOCAL = "local"
# of the Elasticsearch client's settings; a password of digits stays a text
_NUMBERS = frozenset(
    {"connections_per_node", "dead_node_backoff_factor", "max_dead_node_backoff", "max_retries",
     "min_delay_between_sniffing", "request_timeout", "retry_on_status", "sniff_timeout"}
)  # fmt: skip
_TABLES = ("kafka", "elasticsearch", "registry", "topics")


class ProfileWarning(NamedTuple):
    """Something wrong with a profile that can be used all the same, and what to do about it."""

    text: str
    fix: str

    def __str__(self) -> str:
        return f"{self.text}: {self.fix}"


@dataclass(frozen=True)
class Profile:
    """How to reach one Kafka cluster and its Elasticsearch targets.

    Attributes
    ----------
    name : str
        ``local`` or the table's name in ``labkit.toml``.
    role : str
        The role of the local stack, or ``""`` for another cluster.
    kafka : dict
        librdkafka properties.
    elasticsearch : dict
        Target name to keyword arguments of ``elasticsearch.Elasticsearch``.
    registry : dict
        ``url`` and what else `labkit.registry.Registry` takes; empty without a registry.
    topics : tuple of TopicSettings
        How its topics are decoded.
    source : str
        Where it was read from.
    warnings : tuple of ProfileWarning
        What its owner should know, such as a secret others can read.
    """

    name: str
    role: str
    kafka: Mapping[str, Any] = field(repr=False)
    elasticsearch: Mapping[str, Mapping[str, Any]] = field(repr=False)
    registry: Mapping[str, Any] = field(default_factory=dict, repr=False)
    topics: tuple[TopicSettings, ...] = field(default=(), kw_only=True, repr=False)
    source: str = field(default="", kw_only=True)
    warnings: tuple[ProfileWarning, ...] = field(default=(), kw_only=True)

    @property
    def granted_role(self) -> str:
        """Which of the roles that ``labkit acl`` knows its rights are to be those of."""
        return self.role if self.role in ("indexer", "extractor") else "lab"

    def __repr__(self) -> str:
        targets = {name: mask(value) for name, value in self.elasticsearch.items()}
        more = f", registry={mask(self.registry)}" if self.registry else ""
        return f"Profile({self.name!r}, role={self.role!r}, kafka={mask(self.kafka)}, elasticsearch={targets}{more})"


def default_profile() -> str:
    """Return the profile to use when none is named: ``LABKIT_PROFILE``, else the local stack."""
    return os.environ.get("LABKIT_PROFILE") or LOCAL


def load_profile(name: str) -> Profile:
    """Return the profile `name` of the nearest ``labkit.toml``, with what the environment adds.

    Raises
    ------
    ConfigError
        When there is no such profile or a secret it names cannot be had.
    """
    names: list[str] = []
    files = list(config_files())
    for file in files:
        names += list(file.tables)
        if name in file.tables:
            hides = any(later.own and name in later.tables for later in files if later is not file)
            return _profile(name, file.tables[name], file, hides=hides)
    if _from_environment(name):
        return _profile(name, {}, None)
    raise ConfigError(
        f"there is no profile {name!r}",
        hint=did_you_mean(name, [*names, LOCAL])
        or "add [profiles.NAME.kafka] to labkit.toml, or leave the profile out for the local stack",
    )


def list_profiles() -> list[dict[str, str]]:
    """Return one row per profile in reach: profile, kafka, security, user, elasticsearch, source.

    No secret is read.
    """
    rows: dict[str, dict[str, str]] = {}
    for file in config_files():
        for name, table in file.tables.items():
            if name not in rows and not (
                name == LOCAL and isinstance(table, dict) and set(table) == {"topics"}
            ):
                rows[name] = _file_row(name, table, file)
    upper_names = {upper_name(name) for name in rows}
    for variable in sorted(os.environ):
        match = re.fullmatch(r"LABKIT_(\w+)_KAFKA_BOOTSTRAP_SERVERS", variable)
        if match and match[1] not in {*upper_names, upper_name(LOCAL)}:
            name = match[1].lower()
            rows[name] = _row(name, _from_environment(name), "the environment")
    return list(rows.values())


def describe_trust(file: ConfigFile) -> list[tuple[str, str, str]]:
    """Return what each profile of `file` wants of the user.

    A row is its name, the places it connects to, and what of the user's own it wants.

    Raises
    ------
    UntrustedError
        When one of them asks for what cannot be allowed, such as code to load.
    """
    rows = []
    for name, table in file.tables.items():
        _check(name, table, str(file.path))
        added = _from_environment(name, table.get("elasticsearch", {}))
        refuse_code(name, table, file)
        row = _row(name, _merge_profile(table, added), str(file.path))
        registry = without_login(table.get("registry", {}).get("url", ""))
        places = [place for place in (row["kafka"], row["elasticsearch"], registry) if place]
        rows.append(
            (name, "; ".join(places), wants(name, table, variables=bool(added), hides=False))
        )
    return rows


def how_to_add_elasticsearch(profile: str) -> str:
    """Return what gives a profile an Elasticsearch cluster."""
    return f'write hosts = ["https://…"] below [profiles.{profile}.elasticsearch.default] in {NAME}'


def local_topics() -> tuple[TopicSettings, ...]:
    """Return what ``[profiles.local.topics]`` says of the local stack's topics.

    The nearest file that has this table holds.

    Raises
    ------
    ConfigError
        When a profile of the local stack's name has more, which would never be used.
    """
    for file in config_files():
        try:
            tables = file.tables
        except ConfigError:  # raised for those who want one of its profiles
            continue
        if LOCAL in tables:
            _check(LOCAL, tables[LOCAL], str(file.path))
            return read_topics(LOCAL, tables[LOCAL].get("topics", {}), str(file.path))
    return ()


def _file_row(name: str, table: Any, file: ConfigFile) -> dict[str, str]:
    """Return the row of a profile of `file`.

    One that may not have secrets says so in its source.
    """
    try:
        _check(name, table, str(file.path))
        added = _from_environment(name, table.get("elasticsearch", {}))
        row = _row(name, _merge_profile(table, added), str(file.path))
        require_trust(name, table, file, variables=bool(added), hides=False)
    except UntrustedError as error:
        return {**_row(name, table, ""), "source": error.message}
    except ConfigError as error:
        return _row(name, {}, f"{file.path}: {error.message}")
    return row


def _row(name: str, table: Mapping[str, Any], source: str) -> dict[str, str]:
    kafka, targets = mask(table.get("kafka", {})), table.get("elasticsearch", {})
    security = [
        kafka.get("security.protocol", "PLAINTEXT"),
        kafka.get("sasl.mechanism", kafka.get("sasl.mechanisms")),
    ]
    return {
        "profile": name,
        "kafka": str(_flat(kafka.get("bootstrap.servers", ""))),
        "security": " ".join(str(setting) for setting in security if setting),
        "user": str(kafka.get("sasl.username", "")),
        "elasticsearch": ", ".join(
            f"{target}: {_flat(mask(settings).get('hosts', ''))}"
            for target, settings in targets.items()
        ),
        "source": source,
    }


def _from_environment(name: str, targets: Iterable[str] = ()) -> dict[str, Any]:
    """Return what environment variables say of a profile.

    They are ``LABKIT_<PROFILE>_KAFKA_…`` and ``LABKIT_<PROFILE>_ELASTICSEARCH_<TARGET>_…``.

    Parameters
    ----------
    targets : iterable of str
        The targets it has already; a new one's name is the first word.
    """
    prefix = f"LABKIT_{upper_name(name)}"
    by_upper = {upper_name(target): target for target in targets}
    kafka: dict[str, Any] = {}
    settings: dict[str, dict[str, Any]] = {}
    registry: dict[str, Any] = {}
    for variable, value in os.environ.items():
        means_itself = quote_reference(value)
        if variable.startswith(f"{prefix}_KAFKA_"):
            key = (
                variable.removeprefix(f"{prefix}_KAFKA_")
                .lower()
                .replace("_", ".")
                .replace("oauth.cb", SETTING)
            )
            kafka[key] = means_itself
        elif variable.startswith(f"{prefix}_REGISTRY_"):
            key = variable.removeprefix(f"{prefix}_REGISTRY_").lower()
            registry[key] = _parse_setting(key, means_itself)
        elif variable.startswith(f"{prefix}_ELASTICSEARCH_"):
            rest = variable.removeprefix(f"{prefix}_ELASTICSEARCH_")
            # of `es` and `es-9`, ES_9_HOSTS is the latter's
            longest = sorted(by_upper, key=len, reverse=True)
            word = next(
                (candidate for candidate in longest if rest.startswith(f"{candidate}_")),
                rest.partition("_")[0],
            )
            key = rest.removeprefix(f"{word}_").lower()
            settings.setdefault(by_upper.get(word, word.lower()), {})[key] = _parse_setting(
                key, means_itself
            )
    return (
        {"kafka": kafka, "elasticsearch": settings, "registry": registry}
        if kafka or settings or registry
        else {}
    )


def _parse_setting(key: str, value: str) -> Any:
    """Return a variable's text as the Elasticsearch client wants it."""
    if key == "hosts":
        return [Secret(part.strip()) for part in value.split(",")]
    if key == "basic_auth":
        return list(pair(value))
    if key in _NUMBERS:
        try:
            return float(value) if "." in value else int(value)
        except ValueError as error:
            raise ConfigError(
                f"{key} must be a number, not {str(value)!r}", hint="such as 30"
            ) from error
    return {"true": True, "false": False}.get(value.lower(), value)


def _merge_profile(table: Mapping[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
    targets = {name: dict(settings) for name, settings in table.get("elasticsearch", {}).items()}
    for name, settings in added.get("elasticsearch", {}).items():
        targets.setdefault(name, {}).update(settings)
    kafka = {**table.get("kafka", {}), **added.get("kafka", {})}
    registry = {**table.get("registry", {}), **added.get("registry", {})}
    return {"kafka": kafka, "elasticsearch": targets, "registry": registry}


def _check(name: str, table: Any, where: str) -> None:
    """Raise ConfigError when the table of profile `name` has not the form of one."""
    if not isinstance(table, dict):
        raise ConfigError(
            f"profile {name!r} in {where} must be a table", hint=f"write [profiles.{name}.kafka]"
        )
    if name == LOCAL and set(table) != {"topics"}:
        raise ConfigError(
            f"profile {name!r} in {where} has the name of the local stack",
            hint="give it another name; only topics may stand under this one",
        )
    for unknown in sorted(set(table) - set(_TABLES)):
        raise ConfigError(
            f"profile {name!r} in {where} has an unknown key: {unknown}",
            hint=did_you_mean(unknown, _TABLES) or f"its tables are: {', '.join(_TABLES)}",
        )
    for key, hint in (
        ("kafka", f"write [profiles.{name}.kafka]"),
        ("registry", 'write url = "https://…" in it'),
    ):
        if not isinstance(table.get(key, {}), dict):
            raise ConfigError(f"profile {name!r} in {where}: {key} must be a table", hint=hint)
    for key, value in table.get("kafka", {}).items():
        if isinstance(value, dict):
            raise ConfigError(
                "a Kafka property's name must be quoted in labkit.toml", hint=f'"{key}.…" = "…"'
            )
    targets = table.get("elasticsearch", {})
    if not isinstance(targets, dict) or not all(
        isinstance(target, dict) for target in targets.values()
    ):
        raise ConfigError(
            f"profile {name!r} in {where}: elasticsearch is a table of targets",
            hint=f"write [profiles.{name}.elasticsearch.default]",
        )
    read_topics(name, table.get("topics", {}), where)


def _profile(name: str, table: Any, file: ConfigFile | None, *, hides: bool = False) -> Profile:
    path = file.path if file else None
    where = f"profile {name!r}" + (f" in {path}" if path else " of the environment")
    _check(name, table, str(path))
    added = _from_environment(name, table.get("elasticsearch", {}))
    if file:
        require_trust(name, table, file, variables=bool(added), hides=hides)
    merged = _merge_profile(table, added)
    if not merged["kafka"]:
        raise ConfigError(f"{where} has no kafka table", hint=f"write [profiles.{name}.kafka]")
    if merged["registry"] and not isinstance(merged["registry"].get("url"), str):
        raise ConfigError(f"{where}: registry has no url", hint='write url = "https://…"')
    filled = fill(merged, where=where, folder=path.parent if path else Path())
    kafka = seal({key: _flat(value) for key, value in filled["kafka"].items()})
    if SETTING in kafka:
        kafka[SETTING] = absolute(kafka[SETTING], path.parent if path else None)
    targets = {target: seal(settings) for target, settings in filled["elasticsearch"].items()}
    return Profile(
        name,
        role="",
        kafka=kafka,
        elasticsearch=targets,
        registry=seal(filled.get("registry", {})),
        topics=read_topics(name, table.get("topics", {}), str(path)),
        source=str(path or "the environment"),
        warnings=_open_to_others(table, file) if file else (),
    )


def _open_to_others(table: Mapping[str, Any], file: ConfigFile) -> tuple[ProfileWarning, ...]:
    """Return a warning when the file holds a secret and others may read it."""
    held = [
        table.get("kafka", {}),
        table.get("registry", {}),
        *table.get("elasticsearch", {}).values(),
    ]
    if not file.mode & 0o077 or not any(map(literal, held)):
        return ()
    text = f"{file.path} holds a secret and others may read it"
    return (ProfileWarning(text, "chmod 600 it, or write ${NAME} or ${file:PATH} instead"),)


def _flat(value: Any) -> Any:
    """Return a property's value as librdkafka takes it."""
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else value
