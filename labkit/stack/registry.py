"""A schema registry as a local process: Apicurio, for Confluent's API. Started only when asked for.

It answers on 127.0.0.1, and only with the stack's token (`labkit.stack.registry_login`).
Its schemas lie in a file of the state folder, so they are there again after `down` and `up`.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable

from labkit.stack import ownership, process
from labkit.stack.artefacts import REGISTRY_VERSION, registry_home
from labkit.stack.java import find_java, java_options
from labkit.stack.registry_login import FILE, new_login, read_login, server_settings
from labkit.stack.state import HOST, Service, State, write_private

HEAP = "-Xmx256m"
NAME = "registry"


def start(state: State, say: Callable[[str], None]) -> Service:
    """Start the registry, or join it when it runs."""
    service = state.services.get(NAME)
    log = state.root / NAME / "registry.log"
    if service and process.running(service):
        say(f"the schema registry {service.version} is running on {HOST}:{service.port}")
        port = service.port
        # it may have just been started
        process.wait_ready(service, lambda: _answers(state, port), log=log)
        return service
    home = registry_home(say)
    java = find_java(17, say)
    service = service or Service(NAME, REGISTRY_VERSION, process.free_port())
    process.require_port(service.port, "the schema registry")
    state.services[NAME] = service
    state.save()

    folder = state.root / NAME
    ownership.prepare(folder, ("data", "tmp"))
    say(f"starting the schema registry {service.version} on {HOST}:{service.port}")
    env = {
        "PATH": os.environ.get("PATH", ""),
        "LANG": "C.UTF-8",
        "QUARKUS_HTTP_HOST": HOST,
        "HTTP_PORT": str(service.port),
        # no page of another site may ask it
        "CORS_ALLOWED_ORIGINS": f"http://{HOST}:{service.port}",
        "REGISTRY_DATASOURCE_URL": f"jdbc:h2:file:{folder / 'data' / 'registry'}",
        **server_settings(_login(state)["public_key"]),
        "LOG_LEVEL": "WARN",
        "REGISTRY_LOG_LEVEL": "WARN",
    }
    command = [
        str(java / "bin" / "java"),
        HEAP,
        "-Xms64m",
        *java_options(),
        f"-Dlabkit.run={state.run_id}",
    ]
    command += [f"-Djava.io.tmpdir={folder / 'tmp'}", "-jar", str(next(home.glob("*-runner.jar")))]
    process.start(service, command, env=env, cwd=folder, log=log)
    state.save()
    process.wait_ready(service, lambda: _answers(state, service.port), log=log)
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
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(
        f"http://{HOST}:{port}/apis/ccompat/v7/subjects", headers=headers
    )
    try:
        with urllib.request.urlopen(request, timeout=3) as answer:  # noqa: S310  # http, on this machine
            return isinstance(json.load(answer), list)
    except (OSError, urllib.error.URLError, ValueError):
        return False
