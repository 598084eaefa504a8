"""Elasticsearch's answer to a search, with each document as the JSON text that it is."""

from __future__ import annotations

import re
from typing import Any

import msgspec

# msgspec refuses half of a surrogate pair, also where it only passes over it
_ESCAPE = re.compile(rb"\\(u[dD][89a-fA-F]|.)", re.DOTALL)
_HIDDEN = b"\xff"  # in no answer, for it is in no UTF-8


class Hit(msgspec.Struct):
    """A document.

    Attributes
    ----------
    source : msgspec.Raw
        Empty where the index keeps none.
    """

    index: str = msgspec.field(name="_index")
    id: str = msgspec.field(name="_id")
    sort: list[Any]
    source: msgspec.Raw = msgspec.field(name="_source", default=msgspec.Raw())


class _Hits(msgspec.Struct):
    hits: list[Hit]


_read_parts = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_read_hits = msgspec.json.Decoder(_Hits).decode


def read_answer(data: bytes) -> dict[str, Any]:
    """Return an answer of JSON; its ``hits``, where it has some, are a list of `Hit`.

    Raises
    ------
    ValueError
        When it is no JSON object.
    """
    try:
        return _read(data)
    except msgspec.DecodeError:
        answer = _read(_ESCAPE.sub(_hide_surrogate, data))
        for hit in answer.get("hits", ()):
            hit.source = msgspec.Raw(bytes(hit.source).replace(_HIDDEN, b"\\"))
        return answer


def _read(data: bytes) -> dict[str, Any]:
    parts = _read_parts(data)
    hits = parts.pop("hits", None)
    answer = {name: msgspec.json.decode(part) for name, part in parts.items()}
    return answer if hits is None else answer | {"hits": _read_hits(hits).hits}


def _hide_surrogate(escape: re.Match[bytes]) -> bytes:
    return escape[0] if len(escape[1]) == 1 else _HIDDEN + escape[1]
