"""The command ``labkit tail``: a topic's newest records, and those that come.

It joins no group, commits nothing.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from labkit.cli.common import (
    OK,
    Commands,
    command,
    json_option,
    key_decode_option,
    open_lab,
    profile_options,
    where_option,
)
from labkit.cli.records import fields_asked_for, record_lines, record_objects
from labkit.cli.terminal import out, say, write_lines
from labkit.errors import UsageError
from labkit.text.counts import number_of
from labkit.waiting.interrupt import stop_event
from labkit.waiting.notice import WaitNotice

if TYPE_CHECKING:
    import pyarrow as pa

    from labkit.decode.decoder import Decoder
    from labkit.lab import Lab
    from labkit.replay.follow import Follower

_PAUSE_S = 0.2
_LAST = (
    "begin with the newest N (default: 10). Records stand in the order they come: those of one partition by "
    "offset, those that come together by time"
)


def register(commands: Commands) -> None:
    """Add the command."""
    tail = command(
        commands, "tail", _tail, "show a topic's newest records, and those that come, until Ctrl-C"
    )
    profile_options(tail, "lab")
    tail.add_argument("topic", metavar="TOPIC")
    tail.add_argument("--last", type=int, default=10, metavar="N", help=_LAST)
    tail.add_argument("--limit", type=int, metavar="N", help="end after N records")
    where_option(tail)
    tail.add_argument(
        "--decode",
        metavar="NAME",
        help="show fields instead of the value, as `labkit replay --decode`",
    )
    key_decode_option(tail)
    json_option(tail)


def _tail(options: argparse.Namespace) -> int:
    for name, least in (("last", 0), ("limit", 1)):
        value = getattr(options, name)
        if value is not None and value < least:
            raise UsageError(
                f"--{name} must be {least} or more, not {value}", hint=f"such as --{name} 20"
            )
    from labkit.replay.follow import Follower

    lab, stop = open_lab(options), stop_event()
    shown = _Shown(lab, options)
    follower = Follower(lab.cluster, options.topic, last=options.last)
    notes: dict[int, str] = {}
    try:
        notice = WaitNotice(say)
        while not stop.is_set() and not shown.enough:
            batch = follower.take()
            notice.tell("Kafka", follower.trouble)
            for _, note in sorted(follower.notes.items() - notes.items()):
                say(f"warning: {note}")
            notes = dict(follower.notes)
            if batch is None:
                stop.wait(_PAUSE_S)
            else:
                shown.show(batch)
    finally:
        follower.close()
    say(_sum(follower, shown, options))
    shown.say_missing()
    return OK


def _sum(follower: Follower, shown: _Shown, options: argparse.Namespace) -> str:
    text = f"{number_of(shown.count, 'record')} of {options.topic}"
    if options.where:
        text += f" fulfil the condition, of {follower.seen:,}"
    return text + (
        f"; {follower.skipped:,} were skipped: they came too fast" if follower.skipped else ""
    )


class _Shown:
    """Prints what fulfils the condition, a line for each record."""

    def __init__(self, lab: Lab, options: argparse.Namespace) -> None:
        from labkit.decode.each_record import EachRecord
        from labkit.decode.pipeline import condition

        self._lab, self._options = lab, options
        self._where = condition(options.where)
        self._specs = lab.decoders(options.topic, options.decode, options.key_decode)
        self._decoder: Decoder | None = None
        self.count = 0
        self._each = None if self._where is None else EachRecord(self._where)
        self._failures: dict[str, None] = {}
        self._has_warned = False
        if self._needs_decoding:
            self._choose_decoder([])  # says at once when there is no such decoder

    @property
    def _needs_decoding(self) -> bool:
        options = self._options
        return bool(options.decode or options.key_decode) or self._where is not None

    @property
    def enough(self) -> bool:
        """Whether as many were shown as were asked for."""
        return self._options.limit is not None and self.count >= self._options.limit

    def _choose_decoder(self, batches: list[pa.RecordBatch]) -> Decoder:
        from labkit.decode import find_decoders

        decoder, _, _ = find_decoders(
            *self._specs, registry=self._lab.registry, sample=lambda: batches
        )
        return decoder

    def show(self, batch: pa.RecordBatch) -> None:
        """Print the records of a batch, by time."""
        import pyarrow as pa
        import pyarrow.compute as pc

        batch = batch.take(pc.sort_indices(batch.column("timestamp")))
        table = None
        if self._needs_decoding:
            if self._decoder is None:
                self._decoder = self._choose_decoder([batch])
            table = self._decode(batch, self._decoder)
            if self._each is not None:
                matching, failures = self._each.rows(batch, self._decoder)
                self._failures |= dict.fromkeys(failures.values())
                rows = pa.array(matching)
                batch, table = batch.take(rows), table.take(rows)
                if not self.count and not batch.num_rows:
                    self._warn_of_missing()
        if self._options.limit is not None:
            left = self._options.limit - self.count
            batch, table = batch.slice(0, left), None if table is None else table.slice(0, left)
        self.count += batch.num_rows
        values = None if table is None else fields_asked_for(table, self._options)
        if self._options.json:
            write_lines(record_objects(batch, values))
            sys.stdout.flush()
        else:
            for line in record_lines(batch, values):
                out(line)

    def _warn_of_missing(self) -> None:
        """Say once, while nothing fulfils the condition, why that may be so for ever."""
        if not self._has_warned and (missing := self._missing()):
            self._has_warned = True
            say(f"no record so far has {missing}. A text stands in single quotes: \"nick = 'ada'\"")

    def _decode(self, batch: pa.RecordBatch, decoder: Decoder) -> pa.Table:
        from labkit.decode.pipeline import decoded_table

        parsed = decoder.parse_batch(batch)
        table = decoded_table(batch, parsed, decoder, decoder.unify([parsed.schema]))
        if self._where is not None and not self._where.seen:
            self._where.check_fields(table.column_names)
        return table

    def say_missing(self) -> None:
        """Say which fields of the condition no record had, and how many could not be asked it."""
        if self._each is not None and self._each.failed:
            count = self._each.failed
            records = "record was" if count == 1 else "records were"
            say(f"warning: {count:,} {records} passed over: {next(iter(self._failures))}")
        if missing := self._missing():
            say(f"no record had {missing}")

    def _missing(self) -> str:
        """Return which fields of the condition no record had, and what there is."""
        if self._where is None or not self._where.seen:
            return ""
        names = {name.lower() for name in self._where.seen}
        missing = sorted(name for name in self._where.columns if name.lower() not in names)
        there = ", ".join(sorted(self._where.seen))
        return f"{', '.join(missing)}; there is: {there}" if missing else ""
