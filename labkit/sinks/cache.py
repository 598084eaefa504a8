"""Windows read before, kept as local Arrow files: a rerun does not touch the cluster.

A frozen window is immutable, with two caveats the receipt repeats: the topic may since have been
compacted, or have dropped the records. Only complete reads are kept. A file appears whole or not at
all, so several notebooks may share the folder. The oldest used go first once the folder is over its
bound (``LABKIT_CACHE_GB``, 10 by default).
"""

from __future__ import annotations

import json
import os
import time
import uuid
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc

from labkit.checks.user_line import warn
from labkit.checks.validation import read_json
from labkit.config.folders import cache_dir
from labkit.config.private import make_private_folder, make_shared_folder
from labkit.errors import ConfigError, UntrustedError
from labkit.replay.notes import Note, NoteSource, source_of
from labkit.replay.plan import Plan
from labkit.replay.receipt import Receipt
from labkit.times import iso, now_ms

FORMAT = 6
_TORN_AFTER_S = 3600  # longer than any file takes to write


def folder() -> Path:
    """Return the cache's folder; only its owner may look into it.

    Raises
    ------
    UntrustedError
        When another user made it, or one of the folders above lets others replace it.
    """
    make_shared_folder(cache_dir())
    path = cache_dir() / "windows"
    # the servers may be shared, what was read is one's own
    if path.is_dir() and path.lstat().st_uid != os.getuid():
        path = path.with_name(f"windows-{os.getuid()}")
    return make_private_folder(path)


def bound_bytes() -> int:
    """Return how large the cache may grow."""
    text = os.environ.get("LABKIT_CACHE_GB", "10")
    try:
        return int(float(text) * 1e9)
    except ValueError as error:
        raise ConfigError(
            f"LABKIT_CACHE_GB={text!r} is not a number", hint="write such as 10; 0 keeps nothing"
        ) from error


def _path(plan: Plan, isolation: str, decode: str) -> Path:
    return folder() / f"{plan.topic}-{plan.hash}-{isolation}-{decode}-{FORMAT}.arrow"


def load(plan: Plan, isolation: str, decode: str) -> tuple[pa.Table, Receipt] | None:
    """Return the window's table, mapped into memory, and the receipt of its read.

    It is None when the window is not kept.
    """
    try:
        path = _path(plan, isolation, decode)
        with pa.memory_map(str(path)) as source:
            # as one buffer: the file itself advises the kernel at each of thousands of reads
            table = pa.ipc.open_file(source.read_buffer()).read_all()
        table.validate()
        metadata = read_json((table.schema.metadata or {})[b"labkit"])
        receipt = Receipt.from_dict(metadata["receipt"])
        sources = map(NoteSource, metadata["note_sources"])
        receipt = replace(receipt, notes=tuple(map(Note, receipt.notes, sources)))
        os.utime(path)
    except (
        OSError,
        pa.ArrowException,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        RecursionError,
    ):
        return None
    note = f"from the local cache, read at {metadata['at']}; the topic may have been compacted or have expired since"
    return table.replace_schema_metadata(None), receipt.with_notes(note)


def store(plan: Plan, isolation: str, decode: str, table: pa.Table, receipt: Receipt) -> None:
    """Keep a complete read; a disk that is full or closed only means that it is not kept."""
    if not receipt.complete or not len(table) or table.nbytes > bound_bytes():
        return
    part = None
    try:
        path = _path(plan, isolation, decode)
        part = path.with_suffix(f".{uuid.uuid4().hex}.part")
        sources = [source_of(note) for note in receipt.notes]
        metadata = json.dumps(
            {"receipt": receipt.to_dict(), "note_sources": sources, "at": iso(now_ms())}
        )
        with (
            pa.OSFile(str(part), "wb") as sink,
            pa.ipc.new_file(sink, _with_kept(table.schema, metadata)) as writer,
        ):
            writer.write_table(table)
        part.replace(path)
        _evict(bound_bytes())
    except UntrustedError as error:
        warn(f"the window is not kept: {error.message}")
    except OSError:
        if part is not None:
            part.unlink(missing_ok=True)


def _with_kept(schema: pa.Schema, metadata: str) -> pa.Schema:
    return schema.with_metadata({b"labkit": metadata.encode()})


def _evict(bound: int) -> None:
    for part in folder().glob("*.part"):  # of a notebook that was killed
        with suppress(FileNotFoundError):
            if time.time() - part.stat().st_mtime > _TORN_AFTER_S:
                part.unlink()
    size = 0
    for row in sorted(entries(), key=lambda row: row["used"], reverse=True):
        size += row["bytes"]
        if size > bound:
            (folder() / row["file"]).unlink(missing_ok=True)


def entries() -> list[dict[str, Any]]:
    """Return one row per kept window: file, bytes, used."""
    rows = []
    for path in sorted(folder().glob("*.arrow")):
        try:
            status = path.stat()
        except FileNotFoundError:  # another notebook's eviction
            continue
        rows.append(
            {"file": path.name, "bytes": status.st_size, "used": iso(int(status.st_mtime * 1000))}
        )
    return rows


def clear() -> int:
    """Remove everything kept; return how many files."""
    paths = [*folder().glob("*.arrow"), *folder().glob("*.part")]
    for path in paths:
        path.unlink(missing_ok=True)
    return len(paths)
