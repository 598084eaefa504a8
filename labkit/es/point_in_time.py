"""Read an index at one point in time, page after page, as Arrow batches in constant memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from labkit.checks.validation import whole_number
from labkit.elastic import Target
from labkit.errors import LabkitError, NotFoundError, ServerError, UsageError
from labkit.replay.records import no_collection
from labkit.waiting.interrupt import Cancelled

if TYPE_CHECKING:
    import elasticsearch

    from labkit.text.hits import Hit

KEEP_ALIVE = "5m"  # between two pages
PAGE_BYTES, FIRST_PAGE, MOST_HITS = 4_000_000, 500, 10_000
ORIGIN = r"^(?P<topic>.+)-(?P<partition>0|[1-9][0-9]{0,8})-(?P<offset>0|[1-9][0-9]{0,17})$"
# one row per document, `_source` as the JSON text in bytes that Elasticsearch keeps
BATCH_SCHEMA = pa.schema(
    [
        ("_index", pa.string()),
        ("_id", pa.string()),
        ("_topic", pa.string()),
        ("_partition", pa.int32()),
        ("_offset", pa.int64()),
        ("_source", pa.binary()),
    ]
)
Ask: TypeAlias = "Callable[[dict[str, Any], int], list[Hit]]"
_WINDOW = re.compile(r"less than or equal to: \[(\d+)\]")


def origins(ids: pa.StringArray) -> dict[str, pa.Array]:
    """Return topic, partition and offset of each ``topic-partition-offset``.

    They are null where an id has another form. Topics may have dashes: the id is split from the
    right.
    """
    parts = pc.extract_regex(ids, ORIGIN)
    topic, partition, offset = (pc.struct_field(parts, [n]) for n in range(3))
    return {
        "_topic": topic,
        "_partition": partition.cast(pa.int32()),
        "_offset": offset.cast(pa.int64()),
    }


def pages(
    target: Target,
    index: str,
    body: dict[str, Any],
    *,
    fields: Sequence[str] | None,
    limit: int | None,
    cancelled: Cancelled,
) -> Iterator[pa.RecordBatch]:
    """Yield what `body`, a sorted query, finds in batches of `BATCH_SCHEMA`.

    The next page is fetched meanwhile.
    """
    if limit is not None:
        limit = whole_number(limit, "limit", "how many documents at most; None for all", low=0)
    source = (
        True
        if fields is None
        else {"includes": [fields] if isinstance(fields, str) else list(fields)}
    )
    body |= {"source": source, "track_total_hits": False}
    read = 0
    with _point_in_time(target, index) as ask, ThreadPoolExecutor(1, "labkit-index") as pool:
        size = FIRST_PAGE if limit is None else min(FIRST_PAGE, limit)
        page = pool.submit(ask, body, size) if size else None
        while page is not None:
            hits = page.result()
            read += len(hits)
            left = MOST_HITS if limit is None else limit - read
            page = None
            with no_collection():
                batch = _batch(hits, index) if hits else None
            if batch is not None and left > 0 and not cancelled():
                size = min(left, _fitting(batch, len(hits)))
                page = pool.submit(ask, {**body, "search_after": hits[-1].sort}, size)
            del hits
            if batch is not None:
                yield batch


@contextmanager
def _point_in_time(target: Target, index: str) -> Iterator[Ask]:
    """Yield a function that asks for hits at this point in time; it is closed whatever happens."""
    point = PointInTime(target, index, target.client_of_hits)
    read = 0

    def ask(body: dict[str, Any], size: int) -> list[Hit]:
        nonlocal read
        try:
            answer = point.search_once("read", size=size, **body)
        except NotFoundError as error:
            raise _error_if_gone(target, index, read) from error
        except ServerError as error:
            # index.max_result_window is its own
            if (most := _WINDOW.search(str(error))) and int(most[1]) < size:
                return ask(body, int(most[1]))
            raise
        hits: list[Hit] = answer["hits"]
        read += len(hits)
        return hits

    try:
        yield ask
    finally:
        point.close()


class PointInTime:
    """An index at one point in time, asked again and again.

    After a pause longer than `KEEP_ALIVE`, at a new one.
    """

    def __init__(
        self, target: Target, index: str, client: elasticsearch.Elasticsearch | None = None
    ) -> None:
        self.target, self.index = target, index
        self.client = client or target.client
        self._id = self._open()

    def _open(self) -> str:
        with asking(self.target, f"read index {self.index!r}"):
            answer = self.client.open_point_in_time(index=self.index, keep_alive=KEEP_ALIVE)
        return str(answer["id"])

    def search(self, **body: Any) -> dict[str, Any]:
        """Ask Elasticsearch, as `Index.search` does."""
        try:
            return self.search_once("search", **body)
        except NotFoundError:
            self._id = self._open()  # which raises when the index itself is gone
            return self.search_once("search", **body)

    def search_once(self, verb: str, **body: Any) -> dict[str, Any]:
        """Ask at this very point in time; `verb` says in an error what was done."""
        pit = {"id": self._id, "keep_alive": KEEP_ALIVE}
        with asking(self.target, f"{verb} index {self.index!r}"), no_collection():
            answer = self.client.search(pit=pit, allow_partial_search_results=False, **body)
        self._id = answer["pit_id"]
        return dict(answer.body)

    def close(self) -> None:
        """Give it up, where the cluster answers."""
        with suppress(LabkitError), self.target.errors("close the point in time"):
            self.client.close_point_in_time(id=self._id)


def _error_if_gone(target: Target, index: str, read: int) -> NotFoundError:
    with suppress(LabkitError):
        with target.errors("look for it"):
            target.client.count(index=index, allow_no_indices=False)
        return NotFoundError(
            f"the point in time of index {index!r} was gone after {read:,} documents",
            hint=f"it lives for {KEEP_ALIVE} between two pages; read it again, without such pauses",
            read=read,
        )
    return NotFoundError(
        f"index {index!r} vanished while it was read, after {read:,} documents",
        hint="somebody deleted it; load it again",
        read=read,
    )


@contextmanager
def asking(target: Target, what: str) -> Iterator[None]:
    """Turn a refused query into an error of the one who asked."""
    try:
        with target.errors(what):
            yield
    except ServerError as error:
        if error.facts.get("status") == 400 and not _WINDOW.search(str(error)):
            raise UsageError(error.message, hint="check the query and the fields") from error
        raise


def _batch(hits: list[Hit], name: str) -> pa.RecordBatch:
    sources = [bytes(hit.source) for hit in hits]
    if b"" in sources:
        raise UsageError(
            f"index {name!r} keeps no _source", hint="its documents cannot be read back"
        )
    ids = pa.array([hit.id for hit in hits], pa.string())
    columns = {
        "_index": pa.array([hit.index for hit in hits], pa.string()),
        "_id": ids,
        **origins(ids),
        "_source": pa.array(sources, pa.binary()),
    }
    return pa.RecordBatch.from_pydict(columns, schema=BATCH_SCHEMA)


def _fitting(batch: pa.RecordBatch, hits: int) -> int:
    """Return how many documents of this size make a page."""
    return max(1, min(MOST_HITS, PAGE_BYTES * hits // max(1, int(batch.nbytes))))
