"""The places a record may be at: topic, condition, group, index, dead letters.

Each is looked at by itself; one that cannot be looked at says so and hides no other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from labkit.decode.cells import cell
from labkit.errors import AccessError, LabkitError, NotFoundError, UsageError
from labkit.es.encode import of_table, own_columns
from labkit.es.form import OWN, PLAIN, Form
from labkit.es.index import Index, condition_of, notes_kept
from labkit.groups.offsets import list_groups, must_be_seen, near_group
from labkit.text.counts import number_of
from labkit.text.visible import first_few
from labkit.times import iso, to_ms
from labkit.trace.result import Code, State, Step

if TYPE_CHECKING:
    import pyarrow as pa

    from labkit.decode import Spec
    from labkit.kafka.cluster import Cluster
    from labkit.sinks.replay import Replay
    from labkit.window import Window

DEAD_LETTER_INDEX = "index:"
_FEW = 6  # fields that are named
_LONG = 2_000  # characters of a value
_FIELDS = 100  # of a record that are shown


@dataclass(frozen=True)
class Question:
    """What is asked of which places."""

    topic: str
    partition: int
    offset: int
    where: str | None = None
    group: str | None = None
    index: Index | None = None
    dead_letters: str | Path | Index | None = None
    document_id: str | None = None
    decode: Spec | None = None  # None: the topic's
    key_decode: Spec | None = None

    @property
    def id(self) -> str:
        return self.document_id or f"{self.topic}-{self.partition}-{self.offset}"


def check_one_given(partition: int | None, offset: int | None, key: str | None) -> None:
    """Refuse a record that is named by neither its place nor its key, or by both."""
    by_place = partition is not None and offset is not None
    if by_place == (key is not None) or (partition is None) != (offset is None):
        raise UsageError(
            "trace takes a record's partition and offset, or its key",
            hint='lab.trace("irc", 2, 4711), or lab.trace("irc", key="#kafka")',
        )


def look_if_possible(place: str, look: Callable[[], Step]) -> Step:
    try:
        return look()
    except NotFoundError as error:
        return Step(place, State.NO, Code.NO_SUCH_PLACE, error.message)
    except LabkitError as error:
        hint = f" ({error.hint})" if isinstance(error, AccessError) and error.hint else ""
        text = f"could not be looked at: {error.message}{hint}"
        return Step(place, State.UNKNOWN, Code.NOT_SEEN, text)


# the topic -------------------------------------------------------------------------------------------------


def look_in_topic(
    cluster: Cluster, window: Callable[..., Window], question: Question
) -> tuple[Step, Replay | None]:
    topic, partition, offset = question.topic, question.partition, question.offset
    partitions = cluster.partitions(topic)
    if partition not in partitions:
        raise UsageError(
            f"topic {topic!r} has no partition {partition}",
            hint=f"it has {len(partitions)}: {partitions[0]} to {partitions[-1]}",
        )
    starts, ends = cluster.starts_and_ends(topic, [partition])
    first, end = starts[partition], ends[partition]
    if offset < first:
        text = f"deleted: the partition begins at offset {first:,} now (retention, or records were deleted)"
        return Step("topic", State.NO, Code.EXPIRED, text), None
    if offset >= end:
        return Step(
            "topic", State.NO, Code.FUTURE, f"not written: the partition ends at offset {end:,} now"
        ), None
    options: dict[str, Any] = {
        "cache": False,
        "guard": False,
        "progress": False,
        "on_expired": "clamp",
    }
    single = window(topic, offsets={partition: (offset, offset + 1)})
    replay = single.read(
        isolation="read_uncommitted", decode=question.decode, key_decode=question.key_decode, **options
    )  # fmt: skip
    if not len(replay):
        compacted = "compact" in _cleanup(cluster, topic)
        text = (
            "compacted away (a newer record of its key is there), or a transaction's marker"
            if compacted else "not a record: a transaction's marker has this offset"
        )  # fmt: skip
        return Step("topic", State.NO, Code.COMPACTED if compacted else Code.MARKER, text), None
    if len(single.read(isolation="read_committed", decode="raw", key_decode="raw", **options)):
        return _step_of_record(replay), replay
    if cluster.bounds(topic, [partition], "stable")[partition] <= offset:
        code, text = Code.OPEN, "in a transaction that is open: read_committed does not show it yet"
    else:
        code, text = (
            Code.ABORTED,
            "in a transaction that was aborted: read_committed never shows it",
        )
    return Step("topic", State.ODD, code, text), replay


def _step_of_record(replay: Replay) -> Step:
    row = replay.table.slice(0, 1).to_pylist()[0]
    value = "a tombstone" if row["_value"] is None else f"{len(row['_value']):,} bytes"
    when = "no time" if row["_timestamp"] is None else iso(to_ms(row["_timestamp"]))
    bad = f", not decoded: {row['_error']}" if row["_error"] else ""
    text = f"there, of {when}, {value}{bad}"
    return Step("topic", State.YES, Code.FOUND, text, _details(replay.table, row))


def _details(table: pa.Table, row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a record's fields, key, decoded key and headers, a line each.

    Its value too, where the fields do not tell it.
    """
    fields, keys = own_columns(table)
    headers = [
        f"header {cell(header['key'])}: {cell(header['value'], most=_LONG)}"
        for header in row["_headers"] or []
    ]
    shown = _lines(fields)
    beyond = fields.num_columns - len(shown)
    more = [f"and {number_of(beyond, 'more field')}: .record has all"] if beyond else []
    is_told = not row["_error"] and any(row[name] is not None for name in fields.column_names)
    value = [] if is_told else [f"_value: {cell(row['_value'], most=_LONG)}"]
    key = f"_key: {cell(row['_key'], most=_LONG)}"
    return (*shown, *more, key, *_lines(keys), *headers, *value)


def _lines(columns: pa.Table) -> list[str]:
    """Return a record's first columns, a line each."""
    names = columns.column_names[:_FIELDS]
    return [
        f"{cell(name)}: {cell(column[0].as_py(), column.type, most=_LONG)}"
        for name, column in zip(names, columns.columns, strict=False)
    ]


def _cleanup(cluster: Cluster, topic: str) -> str:
    try:
        return cluster.topic_settings([topic])[topic].get("cleanup.policy", "")
    except LabkitError:  # may not be asked; then it may be compacted
        return "compact"


def check_conditions(question: Question, record: Replay) -> list[Step]:
    """Ask the condition that was given, or else the one that the index says it was made with."""
    if question.where is not None:
        return [_condition(question.where, record)]
    if question.index is None:
        return []
    try:
        notes = notes_kept(question.index)
        where = condition_of(notes)
        if where is None:
            return []
        decoded, _ = _as_indexed(question, record, notes)
        return [
            _condition(where, decoded, f", the condition that {question.index.name} was made with")
        ]
    except LabkitError:  # the step of the index says what is wrong with it
        return []


def _condition(condition_sql: str, record: Replay, whose: str = "") -> Step:
    """Ask a condition of one record; a field that it has not is null, as in a window."""
    from labkit.decode.filter import Where  # DuckDB: a trace without a condition starts without it

    where = Where(condition_sql)
    names = {name.lower() for name in record.table.column_names}
    lacking = sorted(name for name in where.columns if name.lower() not in names)
    if lacking and _is_undecoded(record):
        text = f"not known, since it is not decoded: {condition_sql}{whose}"
        return Step("condition", State.UNKNOWN, Code.NOT_SEEN, text)
    if len(where.rows(record.table)):
        return Step("condition", State.YES, Code.FULFILLED, f"it fulfils {condition_sql}{whose}")
    lacks = f"; it has no {first_few(lacking, _FEW)}" if lacking else ""
    text = f"it does not fulfil {condition_sql}{whose}{lacks}"
    return Step("condition", State.NO, Code.FILTERED, text)


def look_at_group(cluster: Cluster, question: Question) -> Step:
    (group,) = list_groups(cluster, [str(question.group)])
    must_be_seen(group, cluster)
    if group.gone:
        near = near_group(cluster, group.name).strip()
        text = f"there is no group {group.name}{f'; {near}' if near else ''}"
        return Step("group", State.NO, Code.NO_GROUP, text)
    if group.hidden:
        text = f"{group.name} ({group.protocol}) shows neither members nor commits"
        return Step("group", State.UNKNOWN, Code.NOT_SEEN, text)
    committed = group.committed.get((question.topic, question.partition))
    count = number_of(len(group.members), "member")
    members = count if group.shows_members else "members cannot be seen"
    group_text = f"{group.name} ({group.state}, {members})"
    if committed is None:
        return Step(
            "group",
            State.UNKNOWN,
            Code.NO_COMMIT,
            f"{group_text} has committed nothing of this partition",
        )
    if committed <= question.offset:
        left = question.offset - committed
        return Step(
            "group",
            State.NO,
            Code.NOT_REACHED,
            f"{group_text} committed {committed:,}: {left:,} offsets come before it",
        )
    return Step(
        "group", State.YES, Code.PASSED, f"{group_text} committed {committed:,}, which is past it"
    )


# the index -------------------------------------------------------------------------------------------------


def look_in_index(
    question: Question, index: Index, record: Replay | None, window: Callable[..., Window]
) -> Step:
    hits = _by_id(index, question.id)
    if not hits:
        return Step("index", State.NO, Code.MISSING, f"{index.name} has no document {question.id}")
    hit = hits[0]
    where = f"{hit['_index']} has it as {question.id}, version {hit['_version']}"
    where += f" (and {len(hits) - 1} more of the same _id)" if len(hits) > 1 else ""
    made = None if record is None else _document_of(question, record, index, hit["_source"])
    if record is not None and made is None:
        text = f"{where}; not compared with the record: how it becomes a document is not known"
        return Step("index", State.YES, Code.FOUND, text)
    changed, added = _differences(made or {}, hit["_source"])
    if changed:
        # an id of a place is of no other record
        later = _later(question, record, window) if question.document_id else ""
        text = f"{where}; other than in the record: {first_few(list(changed), _FEW)}{later}"
        code = Code.OVERWRITTEN if later else Code.CHANGED
        return Step("index", State.ODD, code, text, tuple(changed.values()))
    more = f"; added: {first_few(added, _FEW)}" if added else ""
    return Step("index", State.YES, Code.FOUND, where + more)


def _by_id(index: Index, document_id: str) -> list[dict[str, Any]]:
    answer = index.search(query={"ids": {"values": [document_id]}}, version=True, size=10)
    hits: list[dict[str, Any]] = answer["hits"]["hits"]
    if not hits:
        index.count()  # of a pattern that matches no index this is an error
    return hits


def _document_of(
    question: Question, record: Replay, index: Index, stored: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Return the document that a record becomes; None where that cannot be told.

    So it is where the index does not say how its own were made, and this one has no such field.
    """
    try:
        decoded, form = _as_indexed(question, record, notes_kept(index))
    except LabkitError:
        return None
    if _is_undecoded(decoded) or not decoded.table["_value"][0].is_valid:
        return None
    made: dict[str, Any] = orjson.loads(of_table(decoded.table, form).sources[0].as_py())
    return None if form.decode == OWN and not made.keys() & stored.keys() else made


def _as_indexed(
    question: Question, record: Replay, notes: Sequence[Mapping[str, Any]]
) -> tuple[Replay, Form]:
    """Return the record decoded as the index's documents were, and their form.

    Where the index does not say it, an object of JSON is its document as it is; of other formats
    what the record was decoded to is.

    Raises
    ------
    UsageError
        When the index was made by a decoder that has no name, and none was asked for.
    """
    form = Form.of_meta(notes[0]) if notes else PLAIN
    if form.decode == "json" and not _is_object(record):
        return record, replace(form, decode=OWN)
    value, key = (
        given if kept == OWN and given is not None else kept
        for kept, given in ((form.decode, question.decode), (form.key_decode, question.key_decode))
    )
    form = replace(form, decode=value, key_decode=key)
    return record.decode(value, key_decode=key), form


def _is_object(record: Replay) -> bool:
    """Tell whether the value is an object of JSON."""
    try:
        return isinstance(orjson.loads(record.table["_value"][0].as_py() or b""), dict)
    except orjson.JSONDecodeError:
        return False


def _is_undecoded(record: Replay) -> bool:
    return bool(record.table["_error"][0].is_valid)


def _differences(
    record: Mapping[str, Any], document: Mapping[str, Any]
) -> tuple[dict[str, str], list[str]]:
    """Return the record's fields that the document has otherwise or not at all, with both values.

    The list has the fields that the document has beyond them.
    """
    changed = {
        name: f"{cell(name)}: {cell(own, most=_LONG)} in the record, "
        f"{cell(document.get(name), most=_LONG)} in the document"
        for name, own in sorted(record.items())
        if own is not None and document.get(name) != own
    }
    return changed, sorted(set(document) - set(record))


def _later(question: Question, record: Replay | None, window: Callable[..., Window]) -> str:
    """Return which later record of the same key there is; nothing without one."""
    key = None if record is None else record.table["_key"][0].as_py()
    try:
        place = None if key is None else find_key(window(question.topic), key.decode())
    except UnicodeDecodeError:
        return ""
    if place is None or place == (question.partition, question.offset):
        return ""
    return f"; a later record of its key is partition {place[0]} offset {place[1]}"


def find_key(window: Window, key: str) -> tuple[int, int] | None:
    """Return where the newest record of a key is."""
    replay = window.find(re.compile(rf"\A{re.escape(key)}\Z"), in_=("key",), limit=1, decode="raw")
    if not len(replay):
        return None
    return replay.table["_partition"][0].as_py(), replay.table["_offset"][0].as_py()


def look_in_dead_letters(question: Question) -> Step:
    """Look among the dead letters: an index, or a file of JSON lines.

    ``labkit index --dead-letter`` writes them.
    """
    place = question.dead_letters
    if isinstance(place, Index):
        letters = [
            hit["_source"]
            for hit in _by_id(place, f"{question.topic}-{question.partition}-{question.offset}")
        ]
        name = f"index {place.name}"
    else:
        name, letters = str(place), _of_file(Path(str(place)), question)
    if not letters:
        return Step("dead letters", State.YES, Code.NONE, f"{name} has none of it")
    return Step(
        "dead letters", State.NO, Code.REFUSED, f"{name} has it: {letters[-1].get('reason')}"
    )


def _of_file(path: Path, question: Question) -> list[dict[str, Any]]:
    """Return the dead letters of the record in a file."""
    place = (question.topic, question.partition, question.offset)
    try:
        with path.open("rb") as lines:
            return [letter for line in lines if (letter := _letter_from(line, place)) is not None]
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}", hint="the file that --dead-letter names"
        ) from error


def _letter_from(line: bytes, place: tuple[Any, ...]) -> dict[str, Any] | None:
    try:
        letter: dict[str, Any] = orjson.loads(line)
        is_of_record = (letter["topic"], letter["partition"], letter["offset"]) == place
    except (orjson.JSONDecodeError, KeyError, TypeError):  # torn by a kill
        return None
    return letter if is_of_record else None
