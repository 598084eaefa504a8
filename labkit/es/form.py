"""How records become documents: which decoders, and whether documents say where they came from.

An index keeps it in its ``_meta``, so that a comparison reads the index as it was written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson
import pyarrow as pa

from labkit import decode as decoding
from labkit.checks.suggest import typed
from labkit.decode import Spec
from labkit.decode.schema_files import SchemaFile, is_named
from labkit.errors import UsageError
from labkit.registry import Registry

OWN = "own"  # a decoder that no name stands for
_MOST_META = 100_000  # characters of a schema that an index keeps


@dataclass(frozen=True)
class Form:
    """How records become documents. It can travel to other processes.

    Attributes
    ----------
    decode, key_decode : Spec
        As `Window.read` takes them, "auto" no longer among them.
    metadata : bool
        Whether documents say where they came from, see `labkit.es.metadata`.
    seen : tuple
        Schemas of a sample, in the decoder's terms: what they agree on holds from the first record
        on.
    notes : tuple of str
        How "auto" chose.
    """

    decode: Spec = "json"
    key_decode: Spec = "raw"
    metadata: bool = False
    seen: tuple[Any, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def plain(self) -> bool:
        """Whether nothing is decoded."""
        return self.decode == "json" and self.key_decode == "raw"

    @property
    def meta(self) -> dict[str, Any]:
        """What an index keeps in its ``_meta``, for `labkit.compare`; nothing of plain JSON."""
        if self.plain and not self.metadata:
            return {}
        return {
            "decode": _kept(self.decode),
            "key_decode": _kept(self.key_decode),
            "metadata": self.metadata,
        }

    @classmethod
    def of_meta(cls, meta: Mapping[str, Any]) -> Form:
        """Return the form of an index's documents by what it keeps of it."""
        return cls(
            _spec_of(meta.get("decode", "json")),
            _spec_of(meta.get("key_decode", "raw")),
            bool(meta.get("metadata", False)),
        )

    def check(self) -> Form:
        """Raise when no document would have a field."""
        if self.decode == "raw" and self.key_decode == "raw" and not self.metadata:
            raise UsageError(
                'decode="raw" gives documents no field',
                hint=typed(
                    'decode="text" does, and metadata=True says their origin',
                    "--decode text does, and --metadata says their origin",
                ),
            )
        return self

    def settle(self, sample: Callable[[], list[pa.RecordBatch]], registry: Registry | None) -> Form:
        """Return this form with "auto" decided, and with the schemas of a sample."""
        batches = sample()
        specs, notes, _ = decoding.choose_decoders(
            self.decode, self.key_decode, registry=registry, sample=lambda: batches
        )
        form = replace(self, decode=specs[0], key_decode=specs[1], notes=tuple(notes)).check()
        decoder, _, _ = decoding.find_decoders(*specs, registry=registry, sample=list)
        return replace(form, seen=tuple(decoder.parse_batch(batch).schema for batch in batches))


PLAIN = Form()


def _kept(spec: Spec) -> Any:
    """Return what an index keeps of a decoder: its name, or the content of a schema's file."""
    if isinstance(spec, SchemaFile):
        content = spec.to_json()
        return content if len(orjson.dumps(content)) <= _MOST_META else OWN
    return spec if isinstance(spec, str) else OWN


def _spec_of(kept: Any) -> Spec:
    """Return the decoder that an index keeps; it names no file, for anybody may write there."""
    if isinstance(kept, Mapping):
        return SchemaFile.from_json(kept) or OWN
    return OWN if is_named(str(kept)) else str(kept)
