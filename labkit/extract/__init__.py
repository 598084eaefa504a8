"""Extractors: what brings data into a topic, raw.

An extractor writes what it receives and nothing else: the bytes untouched, where they came from in the headers. What
they mean is decided later, by whoever replays them. ``irc`` follows the channels of an IRC server, ``files`` reads
JSON lines; both write through a ``TopicSink``, which says of every record whether Kafka has it.
"""

from __future__ import annotations

from labkit.extract.files import extract_files
from labkit.extract.irc import IrcExtractor
from labkit.extract.sink import TopicSink

__all__ = ["IrcExtractor", "TopicSink", "extract_files"]
