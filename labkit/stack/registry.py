"""A schema registry as a local process: Apicurio, for Confluent's API. Started only when asked for.

It answers on 127.0.0.1, and only with the stack's token (`labkit.stack.registry_login`).
Its schemas lie in a file of the state folder, so they are there again after `down` and `up`.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from labkit.stack import ownership, process
from labkit.stack.artefacts import REGISTRY_VERSION, registry_home
from labkit.stack.java import find_java, server_command
from labkit.stack.registry_login import FILE, new_login, read_login, server_settings
from labkit.stack.state import HOST, Service, State, write_private

HEAP = "-Xmx256m"
NAME = "registry"
_LOG = "registry.log"


def start(state: State, say: Callable[[str], None]) -> Service:
    """Start the registry, or join it when it runs."""
    service = state.services.get(NAME)
    if service and process.running(service):
        say(f"the schema registry {service.version} is running on {HOST}:{service.port}")
    else:
        service = _start_server(state, say)
    port, log = service.port, state.root / NAME / _LOG
    # one that runs may have just been started by another command
    process.wait_ready(service, lambda: _answers(state, port), log=log)
    return service


def _start_server(state: State, say: Callable[[str], None]) -> Service:
    home = registry_home(say)
    java = find_java(17, say)
    service = process.reserve(state, NAME, REGISTRY_VERSION, "the schema registry")
    folder = state.root / NAME
    ownership.prepare(folder, ("data", "tmp"))
    say(f"starting the schema registry {service.version} on {HOST}:{service.port}")
    env = {
        **process.base_environment(),
        "QUARKUS_HTTP_HOST": HOST,
        "HTTP_PORT": str(service.port),
        # no page of another site may ask it
        "CORS_ALLOWED_ORIGINS": f"http://{HOST}:{service.port}",
        "REGISTRY_DATASOURCE_URL": f"jdbc:h2:file:{folder / 'data' / 'registry'}",
        **server_settings(_login(state)["public_key"]),
        "LOG_LEVEL": "WARN",
        "REGISTRY_LOG_LEVEL": "WARN",
    }
    command = server_command(java, state.run_id, folder, HEAP, "-Xms64m")
    command += ["-jar", str(next(home.glob("*-runner.jar")))]
    process.start(service, command, env=env, cwd=folder, log=folder / _LOG)
    state.save()
    return service


def _login(state: State) -> dict[str, str]:
    """Return the public key and the token; make them at the first start."""
    login = read_login(state.root)
    if not login:
        login = new_login()
        write_private(state.root / FILE, json.dumps(login))
    return login


def _answers(state: State, port: int) -> bool:
    token = read_login(state.root).get("token", "")
    authorization = f"Bearer {token}" if token else ""
    return isinstance(process.ask(port, "/apis/ccompat/v7/subjects", authorization), list)
