"""Enrich: columns in, more columns out.

The same enrichers serve frames, Parquet, scratch indices and the indexer. ``geoip(field)`` locates
addresses, ``parse(field, regex)`` takes a text apart, ``apply(function)`` is your own.
``unwrap("debezium")``, ``rename({…})`` and ``drop([…])`` change what fields there are, and come
first in documents. A list of them is a chain: a later one may read what an earlier one added.

No field of a record is ever overwritten. In a table, an added column whose name is taken has ``_``
appended; in a document, an added field whose name that record has does.
"""

from __future__ import annotations

from labkit.enrich.chain import Chain, Enricher
from labkit.enrich.functions import apply
from labkit.enrich.geoip import geoip
from labkit.enrich.regex import parse
from labkit.enrich.shapes import drop, rename, unwrap
from labkit.errors import UsageError

__all__ = ["Chain", "Enricher", "apply", "drop", "geoip", "named", "parse", "rename", "unwrap"]


def named(text: str) -> Enricher:
    """Return the enricher that a command line names.

    Names are ``geoip:FIELD``, ``parse:FIELD:REGEX``, ``unwrap:debezium`` ….
    """
    kind, _, rest = text.partition(":")
    if kind == "geoip" and rest:
        field, _, prefix = rest.partition("=")
        return geoip(field, prefix=prefix or "geoip")
    if kind == "unwrap" and rest:
        return unwrap(rest)
    if kind == "drop" and rest:
        return drop(rest.split(","))
    if kind == "rename":
        pairs = [pair.partition("=")[::2] for pair in rest.split(",")]
        if all(old and new for old, new in pairs) and len(dict(pairs)) == len(pairs):
            return rename(dict(pairs))
    field, _, regex = rest.partition(":")
    if kind == "parse" and field and regex:
        return parse(field, regex)
    raise UsageError(
        f"{text!r} is not an enricher",
        hint="write geoip:FIELD, geoip:FIELD=PREFIX, parse:FIELD:REGEX, "
        "unwrap:debezium, unwrap:connect, rename:OLD=NEW,… or drop:FIELD,…",
    )
