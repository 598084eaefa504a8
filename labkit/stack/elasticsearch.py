"""Elasticsearch as a local process: one node, security on, a file realm with the stack's roles."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from labkit.acl import elasticsearch_role
from labkit.stack import ownership, process
from labkit.stack.artefacts import elasticsearch_home
from labkit.stack.java import SHORT_LIVED, find_java, java_options
from labkit.stack.state import HOST, Service, State, write_private

HEAP_MB = 512
_KEYSTORE = "elasticsearch.keystore"
_FILES = (
    "elasticsearch.yml",
    "jvm.options",
    "log4j2.properties",
    "users",
    "users_roles",
    "roles.yml",
    _KEYSTORE,
)
LOG = "elasticsearch.log"
_MINIMUM_JAVA = {"8": 17, "9": 21}

_USERS_ROLES = (
    "superuser:admin\nlabkit_lab:lab\nlabkit_indexer:indexer\nlabkit_extractor:extractor\n"
)


def service_name(state: State, version: str) -> str:
    """Return the service's name.

    The first version ever started is ``elasticsearch`` (target ``default``).
    """
    first = state.services.get("elasticsearch")
    return "elasticsearch" if first is None or first.version == version else f"es-{version}"


def start(state: State, version: str, say: Callable[[str], None]) -> Service:
    """Start Elasticsearch `version`, or join it when it runs."""
    name = service_name(state, version)
    service = state.services.get(name)
    if service and process.running(service):
        say(f"Elasticsearch {version} is running on {HOST}:{service.port}")
    else:
        service = _start_node(state, name, version, say)
    _wait_ready(state, service)  # one that runs may have just been started by another command
    return service


def _start_node(state: State, name: str, version: str, say: Callable[[str], None]) -> Service:
    home = elasticsearch_home(version, say)
    java = find_java(_MINIMUM_JAVA[version.split(".", maxsplit=1)[0]], say)
    service = process.reserve(state, name, version, f"Elasticsearch {version}")
    folder = state.root / name
    configure(folder, home, state, service)
    say(f"starting Elasticsearch {version} on {HOST}:{service.port}")
    launch(service, folder, home, java, state.run_id, log=folder / LOG)
    state.save()
    return service


def _wait_ready(state: State, service: Service) -> None:
    password = state.passwords["admin"]
    log = state.root / service.name / LOG
    process.wait_ready(service, lambda: _answers(service.port, password), log=log, timeout_s=180)


def launch(
    service: Service, folder: Path, home: Path, java: Path, run_id: str, *, log: Path
) -> None:
    """Start the node that ``config`` in `folder` describes."""
    if ownership.service_account():
        _make_keystore(folder, home, java)
    ownership.publish(folder / "config")
    env = {
        **_environment(folder, java),
        "ES_TMPDIR": str(folder / "tmp"),
        # else the starter leaves a folder in /tmp each time
        "CLI_JAVA_OPTS": f"{SHORT_LIVED} -Djava.io.tmpdir={folder / 'tmp'}",
        "ES_JAVA_OPTS": " ".join(
            [f"-Xms{HEAP_MB}m", f"-Xmx{HEAP_MB}m", *java_options(), f"-Dlabkit.run={run_id}"]
        ),
    }
    main = [str(home / "bin" / "elasticsearch")]
    process.start(service, main, env=env, cwd=folder, log=log)


def _make_keystore(folder: Path, home: Path, java: Path) -> None:
    """Make the keystore that Elasticsearch makes itself where it may write to its configuration."""
    if (folder / "config" / _KEYSTORE).exists():
        return
    process.run_tool(
        [str(home / "bin" / "elasticsearch-keystore"), "create"],
        env={
            **_environment(folder, java),
            "ES_TMPDIR": str(folder),
            "CLI_JAVA_OPTS": SHORT_LIVED,
        },
        cwd=folder,
        failure="Elasticsearch's keystore could not be made",
    )


def _environment(folder: Path, java: Path) -> dict[str, str]:
    return {
        **process.base_environment(),
        "ES_JAVA_HOME": str(java),
        "ES_PATH_CONF": str(folder / "config"),
    }


def configure(
    folder: Path,
    home: Path,
    state: State,
    service: Service,
    *,
    files: Mapping[str, str] | None = None,
    **more: object,
) -> None:
    """Write the node's settings, users and roles.

    Parameters
    ----------
    files : mapping, optional
        Further files of the configuration, such as certificates.
    **more
        Settings, with ``__`` for their dots.
    """
    ownership.prepare(folder, ("config", "data", "logs", "tmp"))
    config = folder / "config"
    ownership.refuse_foreign(config, {*_FILES, *(files or {})})
    settings = {
        "cluster.name": f"labkit-{service.name}",
        "node.name": "lab",
        "path.data": folder / "data",
        "path.logs": folder / "logs",
        "network.host": HOST,
        "http.port": service.port,
        "transport.port": "0",
        "discovery.type": "single-node",
        "cluster.routing.allocation.disk.threshold_enabled": "false",
        "xpack.security.enabled": "true",
        "xpack.security.autoconfiguration.enabled": "false",
        "xpack.security.enrollment.enabled": "false",
        "xpack.security.http.ssl.enabled": "false",
        "xpack.security.transport.ssl.enabled": "false",
        "action.destructive_requires_name": "true",
        **{key.replace("__", "."): value for key, value in more.items()},
    }
    text = "".join(f"{key}: {value}\n" for key, value in settings.items())
    text += ownership.read_extra(folder)  # to try how a cluster behaves with other settings
    write_private(config / "elasticsearch.yml", text)
    options = (home / "config" / "jvm.options").read_text(encoding="utf-8")
    keep = [line for line in options.splitlines() if "-Xlog" not in line and "HeapDump" not in line]
    write_private(config / "jvm.options", "\n".join(keep) + "\n")
    write_private(
        config / "log4j2.properties",
        (home / "config" / "log4j2.properties").read_text(encoding="utf-8"),
    )
    hashes = (f"{role}:{_bcrypt(password)}" for role, password in sorted(state.passwords.items()))
    write_private(config / "users", "\n".join(hashes) + "\n")
    write_private(config / "users_roles", _USERS_ROLES)
    # one line a role: the file is cut into roles at lines that do not start with a space; JSON is
    # YAML
    roles = (
        f"labkit_{role}: {json.dumps(elasticsearch_role(role))}"
        for role in ("extractor", "indexer", "lab")
    )
    write_private(config / "roles.yml", "\n".join(roles) + "\n")
    for name, content in (files or {}).items():
        write_private(config / name, content)


def _bcrypt(password: str) -> str:
    import bcrypt

    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(10, prefix=b"2a")).decode()


def _answers(port: int, password: str) -> bool:
    """Tell whether the cluster's state is recovered, asked as admin.

    The minimal build has no ``GET /``.
    """
    login = base64.b64encode(f"admin:{password}".encode()).decode()
    health = "/_cluster/health?wait_for_status=yellow&timeout=1s"
    return process.ask(port, health, f"Basic {login}") is not None
