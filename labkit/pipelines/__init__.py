"""Pipelines: the only code that writes to production.

Extractors bring data into a topic, raw; the indexer loads it. An extractor writes what it receives
and nothing else: the bytes untouched, where they came from in the headers. What they mean is
decided later, by whoever replays them. ``irc`` follows the channels of an IRC server, ``files``
reads JSON lines; both write through a ``TopicSink``, which says of every record whether Kafka has
it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labkit.pipelines.files.extractor import extract_files
from labkit.pipelines.topic_sink import TopicSink

if TYPE_CHECKING:
    from labkit.pipelines.irc.extractor import IrcExtractor

__all__ = ["IrcExtractor", "TopicSink", "extract_files"]


def __getattr__(name: str) -> Any:
    if name == "IrcExtractor":  # its library is an extra that the others do without
        from labkit.pipelines.irc.extractor import IrcExtractor

        return IrcExtractor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
