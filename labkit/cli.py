"""The ``labkit`` command: parses, calls, prints. Exit codes: 0 ok, 1 error, 2 usage, 3 incomplete.

Each command imports what it needs, so that ``labkit --help`` answers at once.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from labkit.errors import LabkitError, UsageError

if TYPE_CHECKING:
    import pandas as pd

    from labkit.lab import Lab
    from labkit.window import Window

OK, ERROR, USAGE, INCOMPLETE, INTERRUPTED = 0, 1, 2, 3, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = build_parser()
    try:
        options = parser.parse_args(arguments)
        return int(options.run(options) or OK)
    except LabkitError as error:
        _complain(error.message, error.hint)
        return USAGE if isinstance(error, UsageError) else ERROR
    except KeyboardInterrupt:
        _complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except OSError as error:
        _complain(f"cannot write or read: {error.strerror or error}", "is the disk full, or the file closed to you?")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ERROR


def _complain(message: str, hint: str | None = None) -> None:
    print(f"labkit: {_printable(message)}", file=sys.stderr)
    if hint:
        print(f"Hint: {_printable(hint)}", file=sys.stderr)


def _printable(text: str) -> str:
    """Return `text` without what would control the terminal: arguments and servers' answers are in it."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, with a hint, instead of a page of usage."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=f"`{self.prog} --help` shows what it takes")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = _Parser(prog="labkit", description="Replay any window of a Kafka topic without touching production.")
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    for build in (
        _stack_commands,
        _extract_commands,
        _index_command,
        _list_commands,
        _window_commands,
        _other_commands,
    ):
        build(commands)
    return parser


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"labkit {version('labkit')}"
    except PackageNotFoundError:
        return "labkit (not installed)"


Commands = Any  # argparse's own type of it is private


def _command(commands: Commands, name: str, run: Callable[[argparse.Namespace], Any], text: str) -> Any:
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(run=run)
    return parser


def _json_option(parser: Any) -> Any:
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _profile_options(parser: Any, role: str | None = None) -> Any:
    parser.add_argument("--profile", default="local", help="a profile of labkit.toml (default: the local stack)")
    if role:
        parser.add_argument("--role", default=role, help=f"role on the local stack (default: {role})")
    return parser


# the local stack -----------------------------------------------------------------------------------------


def _stack_commands(commands: Commands) -> None:
    up = _command(commands, "up", _up, "start the local Kafka and Elasticsearch, or join them")
    up.add_argument("--elasticsearch", action="append", default=[], metavar="VERSION", help="may be given twice")
    down = _command(commands, "down", _down, "stop the local stack")
    down.add_argument("--purge", action="store_true", help="also remove its data, ports and passwords")
    _json_option(_command(commands, "status", _status, "show the local stack's services"))
    credentials = _command(commands, "credentials", _credentials, "print a role's credentials as JSON")
    credentials.add_argument("role", metavar="ROLE", help="admin, extractor, indexer or lab")


def _up(options: argparse.Namespace) -> None:
    from labkit.stack import local

    local.up(options.elasticsearch, _say)
    print("the stack is up; `labkit status` shows it, `labkit down` stops it")


def _down(options: argparse.Namespace) -> None:
    from labkit.stack import local

    local.down(purge=options.purge)


def _status(options: argparse.Namespace) -> int:
    from labkit.stack import local

    rows = local.status()
    if options.json:
        print(json.dumps(rows, indent=2))
    elif not rows:
        print("there is no local stack; `labkit up` starts one")
    for row in [] if options.json else rows:
        state = f"running  pid {row['pid']}  {row['memory_mb']} MB" if row["running"] else "stopped"
        print(f"{row['service']:<16}{row['version']:<10}{row['address']:<18}{state}")
    return OK if rows and all(row["running"] for row in rows) else INCOMPLETE


def _credentials(options: argparse.Namespace) -> None:
    from labkit.stack.state import State

    found = State.load().credentials(options.role)
    print(json.dumps({"kafka": found["kafka"], "elasticsearch": found["elasticsearch"]}, indent=2))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# producing and indexing ----------------------------------------------------------------------------------


def _extract_commands(commands: Commands) -> None:
    extract = commands.add_parser("extract", help="feed a topic from an IRC server or from files")
    kinds = extract.add_subparsers(dest="kind", required=True, metavar="irc|files", parser_class=_Parser)
    irc = _profile_options(_command(kinds, "irc", _extract_irc, "follow IRC channels"), "extractor")
    irc.add_argument("--server", required=True)
    irc.add_argument("--port", type=int)
    irc.add_argument("--tls", action="store_true")
    irc.add_argument("--tls-ca", type=Path, metavar="FILE", help="certificates to trust instead of the system's")
    irc.add_argument("--nick", required=True)
    irc.add_argument("--channel", action="append", required=True, metavar="'#NAME'", help="may be given again")
    irc.add_argument("--topic", required=True)
    irc.add_argument("--max-records", type=int, help="stop after so many records")
    irc.add_argument("--max-seconds", type=float, help="stop after so many seconds")
    files = _profile_options(_command(kinds, "files", _extract_files, "send the lines of files"), "extractor")
    files.add_argument("paths", nargs="+", metavar="PATH", help="JSON lines; plain, gzip or zstd; - is standard input")
    files.add_argument("--topic", required=True)
    files.add_argument("--timestamp-field", metavar="FIELD", help="ISO 8601 time of each record, such as @timestamp")
    files.add_argument("--key-field", default="channel", metavar="FIELD")
    files.add_argument("--again", action="store_true", help="send lines a former run has sent, too")


def _extract_irc(options: argparse.Namespace) -> None:
    from labkit.extract import IrcExtractor

    extractor = IrcExtractor(
        _cluster(options), options.topic, server=options.server, port=options.port, tls=options.tls,
        tls_ca=options.tls_ca, nick=options.nick, channels=options.channel, say=_say,
        password=os.environ.get("LABKIT_IRC_PASSWORD"), sasl=_sasl(options.nick),
    )  # fmt: skip
    report = extractor.run(_stop_event(), max_records=options.max_records, max_seconds=options.max_seconds)
    print(report)


def _sasl(nick: str) -> tuple[str, str] | None:
    password = os.environ.get("LABKIT_IRC_SASL_PASSWORD")
    return (os.environ.get("LABKIT_IRC_SASL_USER", nick), password) if password else None


def _extract_files(options: argparse.Namespace) -> int:
    from labkit.extract import extract_files
    from labkit.folders import state_dir

    cluster = _cluster(options)
    report = extract_files(
        cluster, options.paths, options.topic, timestamp_field=options.timestamp_field,
        key_field=options.key_field, journal=state_dir() / "extracted.json", again=options.again,
    )  # fmt: skip
    print(report)
    _warn_of_retention(cluster, options.topic, report.first_ms)
    if report.skipped:
        _say("lines a former run has sent were skipped; --again sends them too")
    return INCOMPLETE if report.rejected else OK


def _warn_of_retention(cluster: Any, topic: str, first_ms: int | None) -> None:
    """Say so when Kafka will delete what was just sent."""
    from labkit.times import iso, now_ms

    keeps_ms = int(cluster.topic_settings([topic])[topic].get("retention.ms", -1))
    if first_ms is not None and 0 <= keeps_ms < now_ms() - first_ms:
        days = f"{keeps_ms / 86_400_000:g} days"
        _say(f"warning: {topic} keeps {days}, the first record is of {iso(first_ms)}: Kafka will delete the old ones")


def _index_command(commands: Commands) -> None:
    index = _command(commands, "index", _index, "copy a topic into an index, continuously")
    _profile_options(index, "indexer")
    index.add_argument("topic", metavar="TOPIC")
    index.add_argument("index", metavar="INDEX")
    index.add_argument("--group", required=True, help="such as indexer.logstash-es")
    index.add_argument("--from", dest="start", default="resume", choices=("resume", "earliest", "latest"))
    index.add_argument("--target", default="default", help="the Elasticsearch cluster")
    index.add_argument("--dead-letter", type=Path, metavar="FILE", help="where refused records are put aside")
    index.add_argument("--once", action="store_true", help="stop at the end the topic has now")
    index.add_argument("--every", default="10s", metavar="TIME", help="how often to print the counts")


def _index(options: argparse.Namespace) -> int:
    from labkit.elastic import Target
    from labkit.kafka import Cluster
    from labkit.lab import Lab, find_profile
    from labkit.load.indexer import Indexer
    from labkit.times import length_ms

    profile = find_profile(options.profile, role=options.role)
    target: Target = Lab(profile).target(options.target)
    indexer = Indexer(
        Cluster(profile.kafka), target, options.topic, options.index, options.group, start=options.start,
        dead_letter=options.dead_letter, once=options.once, every_s=length_ms(options.every) / 1000, say=_say,
        metrics=lambda counts: print(json.dumps(counts), flush=True),
    )  # fmt: skip
    counts = indexer.run(_stop_event())
    return INCOMPLETE if counts["rejected"] or counts["unsent"] else OK


def _stop_event() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set: what is under way is finished first."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _cluster(options: argparse.Namespace) -> Any:
    from labkit.kafka import Cluster
    from labkit.lab import find_profile

    return Cluster(find_profile(options.profile, role=options.role).kafka)


def _lab(options: argparse.Namespace) -> Lab:
    from labkit.lab import connect

    return connect(options.profile, role=options.role)


# lists ---------------------------------------------------------------------------------------------------


def _list_commands(commands: Commands) -> None:
    tables: dict[str, tuple[str, Callable[[Lab], pd.DataFrame]]] = {
        "topics": ("list the topics", lambda lab: lab.topics()),
        "groups": ("list the consumer groups", lambda lab: lab.groups()),
        "offsets": ("list each group's offsets and lag", lambda lab: lab.offsets()),
        "scratch": ("list your scratch indices", lambda lab: lab.scratch()),
    }
    for name, (text, table) in tables.items():
        parser = _command(commands, name, partial(_table, table), text)
        _json_option(_profile_options(parser, "lab"))
    retention = _command(commands, "retention", _retention, "show, or set, for how long a topic keeps records")
    _json_option(_profile_options(retention, "lab"))
    retention.add_argument("topic", metavar="TOPIC")
    retention.add_argument("keep", nargs="?", metavar="TIME", help="such as 90d; needs a role that may (--role admin)")
    gc = _command(commands, "gc", _gc, "delete your expired scratch indices and empty ad hoc groups")
    _json_option(_profile_options(gc, "lab"))
    cache = _json_option(_command(commands, "cache", _cache, "list the windows kept on this machine"))
    cache.add_argument("--clear", action="store_true", help="remove them")


def _table(table: Callable[[Lab], pd.DataFrame], options: argparse.Namespace) -> None:
    _print(table(_lab(options)), options)


def _print(frame: pd.DataFrame, options: argparse.Namespace) -> None:
    if options.json:
        print(frame.to_json(orient="records", indent=2))
    elif frame.empty:
        print("none")
    else:
        print(frame.to_string(index=False, na_rep="-"))


def _retention(options: argparse.Namespace) -> None:
    days = _lab(options).retention(options.topic, options.keep)
    if options.json:
        print(json.dumps({"topic": options.topic, "days": days}))
    else:
        print(f"{options.topic} keeps records for {'ever' if days < 0 else f'{days:g} days'}")


def _gc(options: argparse.Namespace) -> None:
    gone = _lab(options).gc()
    print(json.dumps(gone) if options.json else "\n".join(f"deleted {name}" for name in gone) or "nothing has expired")


def _cache(options: argparse.Namespace) -> None:
    from labkit.load import cache

    if options.clear:
        count = cache.clear()
        print(json.dumps({"removed": count}) if options.json else f"removed {count} files")
        return
    rows = cache.entries()
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        print(f"{row['bytes'] / 1e6:>10,.1f} MB  {row['used']}  {row['file']}")
    print(f"{sum(row['bytes'] for row in rows) / 1e6:>10,.1f} MB in {cache.folder()}")


# windows -------------------------------------------------------------------------------------------------


def _window_commands(commands: Commands) -> None:
    window = _command(commands, "window", _window, "freeze a window and show it")
    replay = _command(commands, "replay", _replay, "read a window: values to standard output, or a Parquet file")
    for parser in (window, replay):
        _json_option(_profile_options(parser, "lab"))
        parser.add_argument("topic", metavar="TOPIC")
        parser.add_argument("--start", metavar="TIME", help="ISO 8601, UTC without a zone; or earliest")
        parser.add_argument("--end", metavar="TIME", help="exclusive; or latest")
        parser.add_argument("--last", metavar="N|TIME", help="the newest N records, or a time such as 6h")
        parser.add_argument("--offsets", metavar="P:START-END,…", help="such as 0:100-200,1:0-50; ends are exclusive")
    replay.add_argument("-o", "--output", metavar="FILE", help="write a Parquet file")
    replay.add_argument("--scratch", metavar="NAME", help="load a scratch index")
    replay.add_argument("--ttl", default="2d", help="when the scratch index expires (default: 2d)")
    replay.add_argument("--target", default="default", help="the Elasticsearch cluster")
    replay.add_argument("--decode", default="json", help="json, text or raw, for the Parquet file")
    replay.add_argument("--isolation", default="read_committed", choices=("read_committed", "read_uncommitted"))
    replay.add_argument("--on-expired", default="error", choices=("error", "clamp"))
    replay.add_argument("--deadline", metavar="TIME", help="end, incomplete, after so long")


def _asked_window(options: argparse.Namespace) -> Window:
    last = int(options.last) if options.last and options.last.isdecimal() else options.last
    offsets = None if options.offsets is None else _offsets(options.offsets)
    return _lab(options).window(options.topic, start=options.start, end=options.end, last=last, offsets=offsets)


def _offsets(text: str) -> dict[int, tuple[int, int]]:
    try:
        pairs = (part.split(":") for part in text.split(","))
        spans = ((partition, span.split("-")) for partition, span in pairs)
        found = [(int(partition), (int(start), int(end))) for partition, (start, end) in spans]
        if len(dict(found)) < len(found):
            raise ValueError("a partition is named twice")
        return dict(found)
    except ValueError as error:
        raise UsageError(f"--offsets {text!r}", hint="write such as 0:100-200,1:0-50") from error


def _window(options: argparse.Namespace) -> None:
    window = _asked_window(options)
    print(window.to_json() if options.json else window)


def _replay(options: argparse.Namespace) -> int:
    window = _asked_window(options)
    common = {"isolation": options.isolation, "on_expired": options.on_expired, "deadline": options.deadline}
    if options.scratch:
        load = window.to_scratch(options.scratch, ttl=options.ttl, target=options.target, **common)
        ledger = {"index": load.index.name, "counts": load.counts, "receipt": load.receipt.to_dict()}
        print(json.dumps(ledger) if options.json else load)
        return OK if load.complete else INCOMPLETE
    if options.output:
        receipt = window.to_parquet(options.output, decode=options.decode, **common)
    else:
        receipt = _values(window, quiet=options.json, **common)
    if options.json:
        print(receipt.to_json())
    else:
        _say(str(receipt))
    return OK if receipt.complete else INCOMPLETE


def _values(window: Window, *, quiet: bool, **common: Any) -> Any:
    """Write each value on a line of standard output."""
    reading = window.reading(**common)
    for batch in reading.batches():
        if not quiet:
            sys.stdout.buffer.writelines((value or b"") + b"\n" for value in batch.column("value").to_pylist())
    sys.stdout.flush()
    return reading.receipt()


# others --------------------------------------------------------------------------------------------------


def _other_commands(commands: Commands) -> None:
    acl = _command(commands, "acl", _acl, "print what an administrator must grant for a lab")
    acl.add_argument("--principal", default="User:alice", help="such as User:alice")
    acl.add_argument("--topic", default="*", help="the topic it may read (default: all)")
    acl.add_argument("--indices", default="irc*", help="the indices it may read (default: irc*)")
    run = _command(commands, "run", _run, "run a notebook through papermill")
    run.add_argument("notebook", type=Path, metavar="NOTEBOOK")
    run.add_argument("-p", "--parameter", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"))
    run.add_argument("--output", type=Path, default=Path("runs"), metavar="FOLDER", help="default: runs")
    _json_option(_command(commands, "demo", _demo, "show everything at work, from the extractor to a charted replay"))


def _acl(options: argparse.Namespace) -> None:
    from labkit.acl import recipe

    print(recipe(options.principal, topic=options.topic, indices=options.indices))


def _run(options: argparse.Namespace) -> None:
    from labkit.notebook import rerun

    done = rerun.run(options.notebook, dict(options.parameter), folder=options.output, progress=sys.stderr.isatty())
    print(f"executed notebook: {done.notebook}\nas a page:         {done.html}")


def _demo(options: argparse.Namespace) -> int:
    from labkit import demo

    summary = demo.run(_say)
    print(json.dumps(summary.to_dict(), indent=2) if options.json else summary)
    return OK if summary.agrees else INCOMPLETE
