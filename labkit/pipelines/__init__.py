"""Pipelines: the only code that writes to production. Extractors bring data into a topic, raw; the indexer loads it.

An extractor writes what it receives and nothing else: the bytes untouched, where they came from in the headers. What
they mean is decided later, by whoever replays them. ``irc`` follows the channels of an IRC server, ``files`` reads
JSON lines; both write through a ``TopicSink``, which says of every record whether Kafka has it.
"""

from __future__ import annotations

from labkit.pipelines.files.extractor import extract_files
from labkit.pipelines.irc.extractor import IrcExtractor
from labkit.pipelines.topic_sink import TopicSink

__all__ = ["IrcExtractor", "TopicSink", "extract_files"]
