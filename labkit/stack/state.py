"""What the local stack remembers between commands: folders, ports, passwords, processes.

Everything lives under one state folder (``LABKIT_STATE``, else the platform's), in ``stack.json``
(0600).
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from labkit.checks.suggest import did_you_mean
from labkit.checks.validation import check_fields, read_json
from labkit.config.folders import state_dir
from labkit.config.private import make_private_folder, read_private
from labkit.config.profiles import Profile
from labkit.config.secrets import seal
from labkit.errors import ConfigError, StackError, UntrustedError
from labkit.stack.registry_login import client_settings, read_login

HOST = "127.0.0.1"
BROKERS = ("kafka", "kafka-2", "kafka-3")
ROLES = ("admin", "extractor", "indexer", "lab")


@dataclass
class Service:
    """One process of the stack.

    Attributes
    ----------
    name : str
        ``kafka``, ``elasticsearch``, ``es-9.5.3`` …
    version, port
        As chosen at first start and kept. ``port`` is 0 for a service without a port.
    pid, started : int, float
        The process, and when it began, in seconds after the machine: together they name one, for a
        pid is used again.
    """

    name: str
    version: str = ""
    port: int = 0
    controller_port: int = 0
    pid: int = 0
    started: float = 0.0


_SERVICE: dict[str, type | tuple[type, ...]] = {
    "name": str, "version": str, "port": int, "controller_port": int, "pid": int, "started": (int, float),
}  # fmt: skip


def _service(entry: dict[str, Any]) -> Service:
    """Return a service as `State.save` wrote it."""
    service = Service(**entry)
    check_fields(asdict(service), _SERVICE)
    return service


@dataclass
class State:
    """The local stack as written in ``stack.json``."""

    root: Path
    run_id: str = ""
    passwords: dict[str, str] = field(default_factory=dict, repr=False)
    services: dict[str, Service] = field(default_factory=dict)

    @classmethod
    def load(cls, root: Path | None = None) -> State:
        """Read the state; a folder never used gives an empty state."""
        root = root or state_dir()
        try:
            raw = read_json(read_private(root / "stack.json", limit=1_000_000).content)
            check_fields(raw, {"run_id": str, "passwords": dict, "services": dict})
            services = {name: _service(entry) for name, entry in raw["services"].items()}
            check_fields(raw["passwords"], dict.fromkeys(raw["passwords"], str))
            return cls(root, raw["run_id"], raw["passwords"], services)
        except FileNotFoundError:
            return cls(root)
        except NotADirectoryError as error:
            raise StackError(
                f"{root} is not a folder", hint="set LABKIT_STATE to a folder"
            ) from error
        except UntrustedError as error:
            raise StackError(
                error.message, hint="set LABKIT_STATE to a folder of your own"
            ) from error
        except PermissionError as error:
            raise StackError(
                f"the local stack in {root} belongs to another user",
                hint="set LABKIT_STATE to a folder of your own, or ask its owner for a profile",
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StackError(
                f"{root / 'stack.json'} is damaged: {error}",
                hint="`labkit down --purge` starts afresh",
            ) from error

    def save(self) -> None:
        """Write the state in one step, readable by its owner only."""
        raw = {
            "run_id": self.run_id,
            "passwords": self.passwords,
            "services": {name: asdict(service) for name, service in self.services.items()},
        }
        write_private(self.root / "stack.json", json.dumps(raw, indent=2))

    def ensure_secrets(self) -> None:
        """Make the run id and the roles' passwords, once."""
        self.run_id = self.run_id or secrets.token_hex(8)
        for role in ROLES:
            self.passwords.setdefault(role, secrets.token_urlsafe(24))

    @property
    def brokers(self) -> list[Service]:
        """Kafka's brokers, the first one first; none before the first start."""
        return [self.services[name] for name in BROKERS if name in self.services]

    @property
    def targets(self) -> dict[str, Service]:
        """Elasticsearch services by target name; the first one ever started is ``default``."""
        return {
            ("default" if name == "elasticsearch" else name): service
            for name, service in self.services.items()
            if name == "elasticsearch" or name.startswith("es-")
        }

    def credentials(self, role: str) -> dict[str, Any]:
        """Return what `role` needs to connect.

        Returns
        -------
        dict
            ``kafka``: librdkafka properties; ``elasticsearch``: hosts and basic_auth of the default
            target; ``elasticsearch_targets``: the same for each target by name; ``registry``: its
            url, when there is one.
        """
        if role not in ROLES:
            hint = f"{did_you_mean(role, ROLES)}the local stack's roles are {', '.join(ROLES)}"
            raise ConfigError(f"there is no role {role!r}", hint=hint)
        if not self.brokers or role not in self.passwords:
            raise StackError(
                "there is no local stack yet",
                hint="start it with `labkit up`; a cluster of your own is a profile: `labkit profiles` lists them",
            )
        auth = [role, self.passwords[role]]
        targets = {
            name: {"hosts": [f"http://{HOST}:{service.port}"], "basic_auth": auth}
            for name, service in self.targets.items()
        }
        return {
            "kafka": {
                "bootstrap.servers": ",".join(f"{HOST}:{broker.port}" for broker in self.brokers),
                "security.protocol": "SASL_PLAINTEXT",
                "sasl.mechanism": "PLAIN",
                "sasl.username": role,
                "sasl.password": self.passwords[role],
            },
            "elasticsearch": targets.get("default", {}),
            "elasticsearch_targets": targets,
            "registry": self.registry,
        }

    @property
    def registry(self) -> dict[str, str]:
        """The schema registry's url and login, for every role.

        Empty when it was never asked for.
        """
        service = self.services.get("registry")
        if service is None:
            return {}
        token = read_login(self.root).get("token")
        login = client_settings(token) if token else {}
        return {"url": f"http://{HOST}:{service.port}/apis/ccompat/v7", **login}


def local_profile(role: str = "lab") -> Profile:
    """Return the local stack as a profile of `role`."""
    state = State.load()
    credentials = state.credentials(role)
    targets = {
        name: seal(settings) for name, settings in credentials["elasticsearch_targets"].items()
    }
    return Profile(
        "local",
        role,
        seal(credentials["kafka"]),
        targets,
        seal(credentials["registry"]),
        source=str(state.root),
    )


def write_private(path: Path, text: str) -> None:
    """Write `text` to `path` in one step, mode 0600."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


@contextmanager
def lock_stack(root: Path) -> Iterator[None]:
    """Hold the stack's lock: one `up` or `down` at a time."""
    import filelock

    try:
        # the servers' own user passes through; what it holds is closed to all
        make_private_folder(root, mode=0o711)
    except UntrustedError as error:
        raise StackError(error.message, hint="set LABKIT_STATE to a folder of your own") from error
    except OSError as error:
        raise StackError(
            f"{root} cannot be made: {error.strerror}", hint="set LABKIT_STATE to another folder"
        ) from error
    lock = filelock.FileLock(root / "lock", mode=0o600)
    try:
        lock.acquire(timeout=300)
    except filelock.Timeout as error:
        raise StackError(
            "another labkit command holds the stack",
            hint=f"wait for it, or see who holds {root / 'lock'}",
        ) from error
    except PermissionError as error:
        raise StackError(
            f"{root} belongs to another user", hint="set LABKIT_STATE to a folder of your own"
        ) from error
    try:
        yield
    finally:
        lock.release()
