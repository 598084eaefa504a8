"""Where the servers are and who is asking: profiles.

A profile is the local stack as one of its roles (``labkit.stack.state``), or a table ``[profiles.NAME]`` of a
``labkit.toml`` found in the working folder, one of its parents, or the user's configuration folder:

    [profiles.prod.kafka]
    "bootstrap.servers" = "kafka-1:9093,kafka-2:9093"
    "security.protocol" = "SASL_SSL"
    "sasl.mechanism" = "SCRAM-SHA-512"
    "sasl.username" = "alice"
    "sasl.password" = "${KAFKA_PASSWORD}"     # read from the environment, never from this file

    [profiles.prod.elasticsearch.default]
    hosts = ["https://es-1:9200"]
    basic_auth = ["alice", "${ES_PASSWORD}"]

    [profiles.prod.registry]                  # a schema registry, for Avro, Protobuf and JSON Schema
    url = "https://registry:8081"
    basic_auth = ["alice", "${REGISTRY_PASSWORD}"]
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labkit.errors import ConfigError

_SECRET = re.compile(
    r"password|secret|\bkey\b|key\.pem|api_key|_auth\b|authorization|user\.info|headers|bearer|token|jaas|oauthbearer\.config"
)
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def masked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return `settings` with every secret value replaced by ``***``."""
    return {key: "***" if _SECRET.search(key) else without_password(value) for key, value in settings.items()}


def without_password(value: Any) -> Any:
    """Return `value` with the password of each address ``scheme://user:password@host`` hidden."""
    if isinstance(value, list | tuple):
        return [without_password(one) for one in value]
    return re.sub(r"(://[^/@:\s]*):[^/@\s]*@", r"\1:***@", value) if isinstance(value, str) else value


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
        ``url`` and what else `labkit.registry.Registry` takes; empty when there is none.
    """

    name: str
    role: str
    kafka: Mapping[str, Any] = field(repr=False)
    elasticsearch: Mapping[str, Mapping[str, Any]] = field(repr=False)
    registry: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        targets = {name: masked(value) for name, value in self.elasticsearch.items()}
        more = f", registry={masked(self.registry)}" if self.registry else ""
        return f"Profile({self.name!r}, role={self.role!r}, kafka={masked(self.kafka)}, elasticsearch={targets}{more})"


def load_profile(name: str) -> Profile:
    """Return the profile `name` of the nearest ``labkit.toml``.

    Raises
    ------
    ConfigError
        When there is no such profile or a variable it names is not set.
    """
    for path in _config_files():
        tables = _read(path).get("profiles", {})
        if not isinstance(tables, dict):
            raise ConfigError(f"profiles in {path} is no table", hint="write [profiles.NAME.kafka]")
        if name in tables:
            return _profile(name, tables[name], path)
    raise ConfigError(
        f"there is no profile {name!r}",
        hint="add [profiles.NAME.kafka] to labkit.toml, or leave the profile out for the local stack",
    )


def _config_files() -> Iterator[Path]:
    if given := os.environ.get("LABKIT_CONFIG"):
        yield Path(given)
        return
    here = Path.cwd()
    import platformdirs

    for folder in (here, *here.parents, Path(platformdirs.user_config_dir("labkit"))):
        if (folder / "labkit.toml").is_file():
            yield folder / "labkit.toml"


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", hint="see 'A real cluster' in the README") from error


def _profile(name: str, table: Mapping[str, Any], path: Path) -> Profile:
    if not isinstance(table, dict):
        raise ConfigError(f"profile {name!r} in {path} is no table", hint=f"write [profiles.{name}.kafka]")
    unknown = set(table) - {"kafka", "elasticsearch", "registry"}
    if unknown or not isinstance(table.get("kafka"), dict):
        wrong = f"unknown: {', '.join(sorted(unknown))}" if unknown else "no kafka table"
        raise ConfigError(f"profile {name!r} in {path}: {wrong}", hint="its tables are kafka, elasticsearch, registry")
    targets = table.get("elasticsearch", {})
    if not isinstance(targets, dict) or not all(isinstance(target, dict) for target in targets.values()):
        raise ConfigError(
            f"profile {name!r} in {path}: elasticsearch is a table of targets",
            hint=f"write [profiles.{name}.elasticsearch.default]",
        )
    registry = table.get("registry", {})
    if not isinstance(registry, dict) or (registry and not isinstance(registry.get("url"), str)):
        raise ConfigError(f"profile {name!r} in {path}: registry has no url", hint='write url = "https://…"')
    filled = _fill(table, f"profile {name!r} in {path}")
    kafka = {key: _flat(value) for key, value in filled["kafka"].items()}
    return Profile(name, "", kafka, filled.get("elasticsearch", {}), filled.get("registry", {}))


def _flat(value: Any) -> Any:
    if isinstance(value, dict):
        raise ConfigError("a Kafka property's name must be quoted in labkit.toml", hint='"bootstrap.servers" = "…"')
    return value


def _fill(value: Any, where: str) -> Any:
    """Put environment variables in the place of ``${NAME}``."""
    if isinstance(value, dict):
        return {key: _fill(item, where) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, where) for item in value]
    if not isinstance(value, str):
        return value

    def variable(match: re.Match[str]) -> str:
        try:
            return os.environ[match[1]]
        except KeyError:
            raise ConfigError(
                f"{where} needs the environment variable {match[1]}", hint="set it and try again"
            ) from None

    return _VARIABLE.sub(variable, value)
