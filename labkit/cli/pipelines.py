"""Commands that run on their own: extract, index."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.checks.options import Parser
from labkit.checks.validation import whole_number
from labkit.cli.common import (
    INCOMPLETE,
    OK,
    Commands,
    command,
    enrich_chain,
    enrich_options,
    metadata_option,
    open_lab,
    profile_options,
)
from labkit.cli.terminal import out, say, tell
from labkit.errors import LabkitError, NotFoundError, UsageError
from labkit.text.counts import number_of
from labkit.waiting.interrupt import stop_event

if TYPE_CHECKING:
    from labkit.kafka.cluster import Cluster
    from labkit.lab import Lab


def register(commands: Commands) -> None:
    """Add the family's commands."""
    _extract_commands(commands)
    _index_command(commands)


def _extract_commands(commands: Commands) -> None:
    extract = commands.add_parser("extract", help="feed a topic from an IRC server or from files")
    kinds = extract.add_subparsers(
        dest="kind", required=True, metavar="irc|files", parser_class=Parser
    )
    irc = profile_options(command(kinds, "irc", _extract_irc, "follow IRC channels"), "extractor")
    irc.add_argument("--server", required=True)
    irc.add_argument("--port", type=int)
    irc.add_argument("--tls", action="store_true")
    irc.add_argument(
        "--tls-ca", type=Path, metavar="FILE", help="certificates to trust instead of the system's"
    )
    irc.add_argument("--nick", required=True)
    irc.add_argument(
        "--channel", action="append", required=True, metavar="'#NAME'", help="may be given again"
    )
    _where_to(irc)
    irc.add_argument(
        "--spool", type=Path, metavar="FILE", help="where records wait while Kafka is away"
    )
    irc.add_argument(
        "--spool-max",
        type=int,
        default=1000,
        metavar="MB",
        help="how large it may grow (default: 1000)",
    )
    irc.add_argument("--max-records", type=int, help="stop after so many records")
    irc.add_argument("--max-seconds", type=float, help="stop after so many seconds")
    files = profile_options(
        command(kinds, "files", _extract_files, "send the lines of files"), "extractor"
    )
    files.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="JSON lines; plain, gzip, zstd, bzip2 or xz; - is standard input",
    )
    _where_to(files)
    files.add_argument(
        "--timestamp-field",
        metavar="FIELD",
        help="ISO 8601 time of each record, such as @timestamp",
    )
    files.add_argument(
        "--key-field",
        metavar="FIELD",
        help="of each record's key, a text or a whole number (default: channel)",
    )
    files.add_argument(
        "--envelope", action="store_true",
        help="the lines are whole records, as `labkit replay -o FILE.jsonl --envelope` writes them",
    )  # fmt: skip
    files.add_argument(
        "--create",
        metavar="PARTITIONS",
        help="make the topic with so many partitions where there is none; it needs the right to",
    )
    files.add_argument("--again", action="store_true", help="send lines a former run has sent, too")


def _where_to(parser: Any) -> None:
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--topic", metavar="TOPIC")
    place.add_argument(
        "--to-index", metavar="INDEX",
        help="the simple form: straight into an index, without Kafka; a name or a pattern such as irc-%%Y.%%m",
    )  # fmt: skip
    parser.add_argument(
        "--target",
        default="default",
        metavar="NAME",
        help="the Elasticsearch cluster of --to-index",
    )


def _ensure_topic(cluster: Cluster, options: argparse.Namespace) -> None:
    """Make the topic where `--create` was given and there is none."""
    from labkit.kafka.new_topic import MOST_PARTITIONS, ensure_topic

    if options.create is None:
        return
    if options.to_index:
        raise UsageError(
            "--create makes a topic, and --to-index writes into none", hint="leave one out"
        )
    partitions = whole_number(
        options.create, "--create", "write such as --create 3", low=1, high=MOST_PARTITIONS
    )
    if ensure_topic(cluster, options.topic, partitions):
        say(f"made topic {options.topic}: {number_of(partitions, 'partition')}")


@contextmanager
def _hinting_at_create(options: argparse.Namespace) -> Iterator[None]:
    try:
        yield
    except NotFoundError as error:
        if options.topic:
            error.hint = f"{error.hint}; --create 3 makes one of 3 partitions"
        raise


def _index_sink(lab: Lab, options: argparse.Namespace, give_up: Any = lambda: False) -> Any:
    from labkit.pipelines.index_sink import IndexSink

    return IndexSink(lab.target(options.target), options.to_index, say=say, give_up=give_up)


def _extract_irc(options: argparse.Namespace) -> None:
    from functools import partial

    from labkit.pipelines import IrcExtractor

    lab = open_lab(options, role="extractor")
    sink = partial(_index_sink, lab, options) if options.to_index else None
    extractor = IrcExtractor(
        lab.cluster, options.topic or options.to_index, sink=sink,
        spool=options.spool or _spool(lab.cluster, options), spool_bytes=options.spool_max * 1_000_000,
        server=options.server, port=options.port, tls=options.tls, tls_ca=options.tls_ca,
        nick=options.nick, channels=options.channel, say=say,
        password=os.environ.get("LABKIT_IRC_PASSWORD"), sasl=_sasl(options.nick),
    )  # fmt: skip
    report = extractor.run(
        stop_event(), max_records=options.max_records, max_seconds=options.max_seconds
    )
    tell(report)


def _spool(cluster: Any, options: argparse.Namespace) -> Path:
    """Return the file in the state folder for this server, cluster and topic."""
    import hashlib

    from labkit.config.folders import SPOOL, state_dir

    identity = "\0".join(
        map(str, (options.server, options.port, options.nick, cluster.address, options.topic))
    )
    return state_dir() / SPOOL / f"{hashlib.sha256(identity.encode()).hexdigest()[:16]}.sqlite"


def _sasl(nick: str) -> tuple[str, str] | None:
    password = os.environ.get("LABKIT_IRC_SASL_PASSWORD")
    return (os.environ.get("LABKIT_IRC_SASL_USER", nick), password) if password else None


def _extract_files(options: argparse.Namespace) -> int:
    from labkit.config.folders import JOURNAL, state_dir
    from labkit.pipelines import extract_files
    from labkit.waiting.progress import file_bar

    idle = {
        "--timestamp-field": options.timestamp_field,
        "--key-field": options.key_field,
        "--to-index": options.to_index,
    }
    if options.envelope and (names := [name for name, is_given in idle.items() if is_given]):
        raise UsageError(
            f"{names[0]} does not go with --envelope: a whole record has its own key and time",
            hint="leave one out",
        )
    lab = open_lab(options, role="extractor")
    cluster = lab.cluster
    _ensure_topic(cluster, options)
    sink = _index_sink(lab, options) if options.to_index else None
    with file_bar() as progress, _hinting_at_create(options):
        report = extract_files(
            cluster, options.paths, options.topic or options.to_index, timestamp_field=options.timestamp_field,
            key_field="channel" if options.key_field is None else options.key_field, envelope=options.envelope,
            journal=state_dir() / JOURNAL, again=options.again, progress=progress,
            sink=sink, place=sink and sink.place,
        )  # fmt: skip
    tell(report)
    if options.topic:
        _warn_of_retention(cluster, options.topic, report.first_ms)
    if options.key_field and report.without_key:
        say(
            f"warning: {number_of(report.without_key, 'record')} without a key: "
            f"no text and no whole number in {options.key_field!r}"
        )
    if report.skipped:
        say("lines a former run has sent were skipped; --again sends them too")
    return INCOMPLETE if report.rejected else OK


def _warn_of_retention(cluster: Any, topic: str, first_ms: int | None) -> None:
    """Say when Kafka will delete what was just sent, or when that is not known.

    It was delivered, so this is not an error.
    """
    from labkit.times import iso, now_ms

    try:
        keeps_ms = int(cluster.topic_settings([topic])[topic].get("retention.ms", -1))
    except LabkitError as error:
        say(f"cannot tell how long {topic} keeps records: {error.message}")
        return
    if first_ms is not None and 0 <= keeps_ms < now_ms() - first_ms:
        days = f"{keeps_ms / 86_400_000:g} days"
        say(
            f"warning: {topic} keeps {days}, the first record is of {iso(first_ms)}: Kafka will delete the old ones; "
            f"`labkit retention {topic} DAYS` changes that"
        )


def _index_command(commands: Commands) -> None:
    index = command(commands, "index", _index, "copy a topic into an index, continuously")
    profile_options(index, "indexer")
    index.add_argument("topic", metavar="TOPIC")
    index.add_argument(
        "index", metavar="INDEX", help="a name, or a pattern by the record's time: irc-%%Y.%%m"
    )
    index.add_argument("--group", required=True, help="such as indexer.logstash-es")
    index.add_argument(
        "--from", dest="start", default="resume", metavar="resume|earliest|latest|TIME",
        help="where to begin: at the group's commits, the log's start or end, or a point in time (ISO 8601, UTC)",
    )  # fmt: skip
    index.add_argument(
        "--target", default="default", metavar="NAME", help="the Elasticsearch cluster"
    )
    index.add_argument(
        "--decode", metavar="NAME",
        help="json, text, avro, protobuf, jsonschema, avro:FILE.avsc or protobuf:FILE.proto#MESSAGE (left out: as "
        "labkit.toml says, or json)",
    )  # fmt: skip
    index.add_argument(
        "--key-decode",
        metavar="NAME",
        help="the same for keys (left out: as labkit.toml says, or raw)",
    )
    index.add_argument(
        "--where", metavar="SQL",
        help="only records that fulfil this: \"channel = '#kafka'\"; the group passes over the others",
    )  # fmt: skip
    metadata_option(index)
    enrich_options(index)
    index.add_argument(
        "--dead-letter", metavar="FILE|index:NAME",
        help="where refused records are put aside: a file of JSON lines, or an index",
    )  # fmt: skip
    index.add_argument(
        "--once",
        action="store_true",
        help="stop once the group has read to the end the topic has now",
    )
    index.add_argument(
        "--every", default="10s", metavar="TIME", help="how often to print the counts"
    )


def _index(options: argparse.Namespace) -> int:
    from labkit.decode import describe_source, open_named
    from labkit.elastic import Target
    from labkit.pipelines.indexer.indexer import Indexer, begin_at
    from labkit.times import length_ms

    begin_at(options.start)  # a misspelt bound fails first, with or without a cluster
    lab = open_lab(options, role="indexer")
    target: Target = lab.target(options.target)
    specs = lab.decoders(options.topic, options.decode, options.key_decode)
    for note in describe_source(*specs):
        say(note)
    value, key = map(open_named, specs)
    indexer = Indexer(
        lab.cluster, target, options.topic, options.index, options.group, start=options.start,
        enrich=enrich_chain(options), decode=value, key_decode=key, where=options.where,
        metadata=options.metadata, registry=lab.registry,
        dead_letter=options.dead_letter, once=options.once, every_s=length_ms(options.every) / 1000, say=say,
        metrics=lambda counts: out(json.dumps(counts)),
    )  # fmt: skip
    counts = indexer.run(stop_event())
    return INCOMPLETE if counts["rejected"] or counts["unsent"] else OK
