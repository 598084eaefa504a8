"""A window as a file: the part of `Window` that writes it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from labkit.checks.user_line import warn
from labkit.checks.validation import part_of, refuses
from labkit.errors import IncompleteWarning, UsageError
from labkit.reads import WindowReads
from labkit.replay.reader import Isolation, OnExpired
from labkit.replay.receipt import Receipt
from labkit.waiting.interrupt import OnInterrupt

if TYPE_CHECKING:
    from labkit.decode import Spec
    from labkit.enrich import Enricher
    from labkit.files.formats import Format
    from labkit.files.whole_file import Open
    from labkit.read_spec import ReadSpec
    from labkit.sinks.topic import TopicCopy

_WHOLE = "what is written is the whole window: make a smaller one, such as lab.window(topic, last=10_000)"
_AS_THEY_ARE = "records are copied as they are; read() and to_parquet() take it"


def check_used(where: str | None, decode: Spec | None, key_decode: Spec | None) -> None:
    """Refuse decoders of records that stay as they are, where no condition is asked of them."""
    for name, spec in (("decode", decode), ("key_decode", key_decode)):
        if spec is not None and where is None:
            raise UsageError(
                f"{name} changes nothing without where: the records stay as they are",
                hint=f"leave {name} out",
            )


@part_of("Window")
class WindowExport(WindowReads):
    """The part of `Window` that writes it to a file, in constant memory.

    The file appears when it is whole.
    """

    @refuses(max_bytes=_WHOLE)
    def to_parquet(
        self,
        path: str | os.PathLike[str],
        *,
        decode: Spec | None = None,
        key_decode: Spec | None = None,
        types: Mapping[str, Any] | None = None,
        where: str | None = None,
        enrich: Iterable[Enricher] | Enricher = (),
        isolation: Isolation = "read_committed",
        on_expired: OnExpired = "error",
        deadline: str | None = None,
        guard: bool = True,
        progress: bool | None = None,
        on_interrupt: OnInterrupt = "raise",
    ) -> Receipt:
        """Write the window to one Parquet file, in constant memory.

        It has the columns of `Replay.table`. The parameters are those of `read`. After an interrupt
        `path` is what it was; "keep" puts the part there. The file's metadata has the receipt,
        under ``labkit``. A Protobuf ``Duration`` is a duration to pyarrow, pandas and polars;
        Parquet has no such type, so DuckDB and Spark see an integer: its microseconds.
        """
        from labkit.files.formats import PARQUET, ParquetFile

        spec = self._spec(
            decode=decode, key_decode=key_decode, types=types, where=where, enrich=enrich, isolation=isolation,
            on_expired=on_expired, deadline=deadline, guard=guard, progress=progress, on_interrupt=on_interrupt,
        )  # fmt: skip
        return self._to_file(PARQUET, path, ParquetFile, spec)

    @refuses(max_bytes=_WHOLE)
    def to_arrow(
        self,
        path: str | os.PathLike[str],
        *,
        decode: Spec | None = None,
        key_decode: Spec | None = None,
        types: Mapping[str, Any] | None = None,
        where: str | None = None,
        enrich: Iterable[Enricher] | Enricher = (),
        isolation: Isolation = "read_committed",
        on_expired: OnExpired = "error",
        deadline: str | None = None,
        guard: bool = True,
        progress: bool | None = None,
        on_interrupt: OnInterrupt = "raise",
    ) -> Receipt:
        """Write the window to one Arrow file, also known as Feather.

        It has the columns of `Replay.table`. The parameters, and what an interrupt does, are those
        of `to_parquet`. The schema's metadata has the receipt, under ``labkit``, without the
        enrichers' notes.

        Examples
        --------
        >>> lab.window("irc", last="1d").to_arrow("irc.arrow")  # doctest: +SKIP
        """
        from labkit.files.formats import ARROW, ArrowFile

        spec = self._spec(
            decode=decode, key_decode=key_decode, types=types, where=where, enrich=enrich, isolation=isolation,
            on_expired=on_expired, deadline=deadline, guard=guard, progress=progress, on_interrupt=on_interrupt,
        )  # fmt: skip
        return self._to_file(ARROW, path, ArrowFile, spec)

    @refuses(max_bytes=_WHOLE)
    def to_csv(
        self,
        path: str | os.PathLike[str],
        *,
        metadata: bool = True,
        formula_safe: bool = False,
        decode: Spec | None = None,
        key_decode: Spec | None = None,
        types: Mapping[str, Any] | None = None,
        where: str | None = None,
        enrich: Iterable[Enricher] | Enricher = (),
        isolation: Isolation = "read_committed",
        on_expired: OnExpired = "error",
        deadline: str | None = None,
        guard: bool = True,
        progress: bool | None = None,
        on_interrupt: OnInterrupt = "raise",
    ) -> Receipt:
        """Write the window to one CSV file: the records' fields, then where they came from.

        Texts are in quotes, null is nothing between two commas. Bytes are text where they are
        UTF-8, else ``base64:…``; objects and lists are JSON.

        Parameters
        ----------
        metadata : bool
            Also the columns ``_topic``, ``_partition`` … ``_value``, ``_error``, behind the fields.
        formula_safe : bool
            Put ``'`` before texts that a spreadsheet would take for a formula (``=``, ``+``, ``-``,
            ``@``, a tab).
        decode, key_decode, types, where, enrich, isolation, on_expired, deadline, guard, progress,
        on_interrupt
            As in `to_parquet`.

        Examples
        --------
        >>> lab.window("irc", last="1d").to_csv("irc.csv", metadata=False)  # doctest: +SKIP
        """
        from labkit.files.csv_file import csv_file
        from labkit.files.formats import CSV

        spec = self._spec(
            decode=decode, key_decode=key_decode, types=types, where=where, enrich=enrich, isolation=isolation,
            on_expired=on_expired, deadline=deadline, guard=guard, progress=progress, on_interrupt=on_interrupt,
        )  # fmt: skip
        return self._to_file(
            CSV, path, csv_file(metadata=metadata, formula_safe=formula_safe), spec
        )

    @refuses(max_bytes=_WHOLE)
    def to_excel(
        self,
        path: str | os.PathLike[str],
        *,
        metadata: bool = True,
        decode: Spec | None = None,
        key_decode: Spec | None = None,
        types: Mapping[str, Any] | None = None,
        where: str | None = None,
        enrich: Iterable[Enricher] | Enricher = (),
        isolation: Isolation = "read_committed",
        on_expired: OnExpired = "error",
        deadline: str | None = None,
        guard: bool = True,
        progress: bool | None = None,
        on_interrupt: OnInterrupt = "raise",
    ) -> Receipt:
        """Write the window to an Excel workbook.

        It has the records' fields, then where they came from, and a sheet ``receipt``. Needs the
        extra ``excel``. Times are UTC, bytes and nested values are the text of `to_csv`, and no
        text is a formula. What Excel cannot hold is text (integers and decimals of more than 15
        digits, NaN, times before 1900) or cut (texts of more than 32,767 characters, times finer
        than a millisecond, fractions to 16 digits); the receipt's notes and the sheet ``receipt``
        count all but the last. More than 1,048,575 records go on in another sheet.

        Parameters
        ----------
        metadata : bool
            As in `to_csv`.
        decode, key_decode, types, where, enrich, isolation, on_expired, deadline, guard, progress,
        on_interrupt
            As in `to_parquet`.

        Examples
        --------
        >>> lab.window("irc", last="1d").to_excel("irc.xlsx", metadata=False)  # doctest: +SKIP
        """
        from labkit.files.excel_file import excel_file
        from labkit.files.formats import EXCEL

        spec = self._spec(
            decode=decode, key_decode=key_decode, types=types, where=where, enrich=enrich, isolation=isolation,
            on_expired=on_expired, deadline=deadline, guard=guard, progress=progress, on_interrupt=on_interrupt,
        )  # fmt: skip
        return self._to_file(EXCEL, path, excel_file(metadata=metadata), spec)

    @refuses(max_bytes=_WHOLE)
    def to_jsonl(
        self,
        path: str | os.PathLike[str],
        *,
        envelope: bool = False,
        decode: Spec | None = None,
        key_decode: Spec | None = None,
        types: Mapping[str, Any] | None = None,
        where: str | None = None,
        enrich: Iterable[Enricher] | Enricher = (),
        isolation: Isolation = "read_committed",
        on_expired: OnExpired = "error",
        deadline: str | None = None,
        guard: bool = True,
        progress: bool | None = None,
        on_interrupt: OnInterrupt = "raise",
    ) -> Receipt:
        """Write the window to a file with a line of JSON for each record.

        Parameters
        ----------
        envelope : bool
            By default a line has the record's decoded fields that are not null, and ``_error``
            where it could not be decoded; a tombstone has ``"_value": null``. With True it has
            topic, partition, offset, timestamp, timestamp_type, key, headers and value as they are
            in the topic: keys and values as text where they are UTF-8, else as ``{"base64": "…"}``;
            a tombstone's value is null. Then `decode`, `key_decode` and `types` are for `where`
            only.
        decode, key_decode, types, where, enrich, isolation, on_expired, deadline, guard, progress,
        on_interrupt
            As in `to_parquet`.

        Examples
        --------
        >>> lab.window("irc", last="1d").to_jsonl("irc.jsonl", envelope=True)  # doctest: +SKIP
        """
        from labkit.files.formats import JSONL
        from labkit.sinks.jsonl import fields_file

        spec = self._spec(
            decode=decode, key_decode=key_decode, types=types, where=where, enrich=enrich, isolation=isolation,
            on_expired=on_expired, deadline=deadline, guard=guard, progress=progress, on_interrupt=on_interrupt,
        )  # fmt: skip
        if envelope:
            idle = {
                "enrich": bool(spec.chain),
                "types": types and not where,
                "decode": decode is not None and not where,
                "key_decode": key_decode is not None and not where,
            }
            if names := [name for name, changes_nothing in idle.items() if changes_nothing]:
                raise UsageError(
                    f"{names[0]} changes nothing with envelope=True: keys and values are written as they are",
                    hint="leave one of them out; decode, key_decode and types may go with where",
                )
        return self._to_file(JSONL, path, None if envelope else fields_file, spec)

    @refuses(types=_AS_THEY_ARE, enrich=_AS_THEY_ARE, max_bytes=_WHOLE)
    def to_topic(
        self,
        name: str,
        *,
        ttl: str = "2d",
        partitions: int | None = None,
        speed: str | None = None,
        where: str | None = None,
        decode: Spec | None = None,
        key_decode: Spec | None = None,
        isolation: Isolation = "read_committed",
        on_expired: OnExpired = "error",
        deadline: str | None = None,
        guard: bool = True,
        progress: bool | None = None,
        on_interrupt: OnInterrupt = "raise",
    ) -> TopicCopy:
        """Copy the window's records into a new scratch topic, to be consumed again and again.

        The topic is ``labkit.<user>.<name>``. Keys, values, headers, times and partitions are as
        they were; offsets begin anew. The producer is idempotent. Until the whole window is there,
        an empty topic ``labkit.<user>.<name>.incomplete`` stands beside it: `Lab.scratch` says so,
        and a window of such a copy warns.

        Parameters
        ----------
        name : str
        ttl : str
            After this long `Lab.gc` deletes the topic.
        partitions : int, optional
            How many the topic has; each record goes where Kafka's Java client puts its key, one
            without a key anywhere. Left out: as it was.
        speed : str, optional
            Write at the pace of the records' own times, all partitions together: ``"original"``, or
            ``"10x"`` as fast. The window is read to its end first. Left out: as fast as can be.
        where, decode, key_decode, isolation, on_expired, deadline, guard, progress, on_interrupt
            As in `to_parquet`; `decode` and `key_decode` are how `where` sees the records.

        Returns
        -------
        TopicCopy
            ``.topic`` is its whole name, ``.counts`` add up (``read = written + failed``),
            ``.window()`` is a window of it, ``.drop()`` deletes it.

        Raises
        ------
        UsageError
            When there is such a topic.

        Examples
        --------
        >>> lab.window("irc", last="1d").to_topic("retry")  # doctest: +SKIP
        """
        from labkit.checks import names
        from labkit.sinks import topic

        check_used(where, decode, key_decode)
        names.scratch_topic(name)
        shape = topic.Shape(ttl, partitions, speed).check()
        spec = self._spec(
            decode=decode, key_decode=key_decode, where=where, isolation=isolation, on_expired=on_expired,
            deadline=deadline, guard=guard, progress=progress, on_interrupt=on_interrupt,
        )  # fmt: skip
        with self._open(spec) as source:
            copy = topic.fill(
                self.lab.cluster,
                source.without_decoding(),
                name,
                self.lab.window,
                shape,
                show=progress,
            )
        outcome = (
            f"; {copy.topic} has {copy.counts['written']:,} of {copy.counts['read']:,} records"
        )
        self._conclude(
            "to_topic",
            copy.receipt,
            spec,
            cancelled=copy.interrupted,
            outcome=outcome,
            part={"copy": copy},
        )
        if shortfall := copy.receipt.shortfall:
            warn(f"{copy.topic!r} is {shortfall}", IncompleteWarning)
        return copy

    def _to_file(
        self,
        file_format: Format,
        path: str | os.PathLike[str],
        open_file: Open | None,
        spec: ReadSpec,
    ) -> Receipt:
        """Write the window to the file that `open_file` opens.

        With None, records are written in their envelopes.
        """
        from labkit.files.formats import check_name
        from labkit.sinks.files import write_window
        from labkit.sinks.jsonl import write_envelopes

        check_name(path, file_format)
        with self._open(spec) as source:
            receipt = (
                write_envelopes(source, path)
                if open_file is None
                else write_window(source, path, open_file)
            )
        self._conclude(
            file_format.method, receipt, spec, cancelled=source.reading.was_cancelled, part={"receipt": receipt},
            outcome=f": {os.fspath(path)!r} was not written",
            hint='a file there is what it was before; on_interrupt="keep" writes the part',
        )  # fmt: skip
        if shortfall := receipt.shortfall:
            warn(f"{os.fspath(path)!r} is {shortfall}", IncompleteWarning)
        return receipt
