"""Commands of the local stack: up, down, status, credentials."""

from __future__ import annotations

import argparse
import json
from typing import Any

from labkit.cli.common import INCOMPLETE, OK, Commands, command, json_option
from labkit.cli.terminal import out, say, tell


def register(commands: Commands) -> None:
    """Add the family's commands."""
    up = command(commands, "up", _up, "start the local Kafka and Elasticsearch, or join them")
    up.add_argument(
        "--elasticsearch", action="append", default=[], metavar="VERSION", help="may be given twice"
    )
    up.add_argument(
        "--registry", action="store_true", help="also a schema registry; kept on the next up"
    )
    up.add_argument(
        "--brokers", type=int, metavar="N", help="1 or 3 Kafka brokers; chosen at the first start"
    )
    down = command(commands, "down", _down, "stop the local stack")
    down.add_argument(
        "--purge", action="store_true", help="also remove its data, ports and passwords"
    )
    json_option(command(commands, "status", _status, "show the local stack's services"))
    credentials = command(
        commands, "credentials", _credentials, "print a role's credentials as JSON"
    )
    credentials.add_argument("role", metavar="ROLE", help="admin, extractor, indexer or lab")


def _up(options: argparse.Namespace) -> None:
    from labkit.stack import local

    local.up(options.elasticsearch, say, with_registry=options.registry, brokers=options.brokers)
    tell("the stack is up; `labkit status` shows it, `labkit down` stops it")


def _down(options: argparse.Namespace) -> None:
    from labkit.stack import local

    local.down(purge=options.purge)


def _status(options: argparse.Namespace) -> int:
    from labkit.stack import local

    rows = local.status()
    if options.json:
        out(json.dumps(rows, indent=2))
    elif rows:
        tell(*map(_service_line, rows))
    else:
        tell("there is no local stack; `labkit up` starts one")
    return OK if rows and all(row["running"] for row in rows) else INCOMPLETE


def _service_line(row: dict[str, Any]) -> str:
    state = f"running  pid {row['pid']}  {row['memory_mb']} MB" if row["running"] else "stopped"
    return f"{row['service']:<16}{row['version']:<14}{row['address']:<18}{state}"


def _credentials(options: argparse.Namespace) -> None:
    from labkit.stack.state import State

    credentials = State.load().credentials(options.role)
    shown = {
        name: credentials[name]
        for name in ("kafka", "elasticsearch", "registry")
        if credentials[name] or name != "registry"
    }
    out(json.dumps(shown, indent=2))
