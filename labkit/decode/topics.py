"""Choose a topic's decoders: those given, else those of ``labkit.toml``, else the defaults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.config.topics import TopicSettings, settings_of
from labkit.decode.schema_files import is_named, open_schema
from labkit.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from labkit.decode import Spec

VALUE, KEY = "json", "raw"


@dataclass(frozen=True)
class Configured:
    """A decoder that ``labkit.toml`` names.

    Attributes
    ----------
    key : {"value", "key"}
    settings : TopicSettings
    """

    key: str
    settings: TopicSettings

    @property
    def name(self) -> str:
        """The decoder's name."""
        return getattr(self.settings, self.key) or ""

    @property
    def note(self) -> str:
        """What the receipt should say."""
        return f'{self.key} = "{self.name}", by {self.settings.place}'

    def open_decoder(self) -> Spec:
        """Return the decoder, with its schema where it names one's file."""
        if not is_named(self.name):
            return self.name
        try:
            return open_schema(self.name, self.settings.folder)
        except UsageError as error:
            raise ConfigError(
                f"{self.settings.place}: {self.key}: {error.message}", hint=error.hint
            ) from error


def topic_decoders(
    topics: Sequence[TopicSettings],
    topic: str,
    decode: Spec | None = None,
    key_decode: Spec | None = None,
) -> tuple[Spec, Spec]:
    """Return the decoders of a topic's values and keys; what is given wins."""
    settings = settings_of(topics, topic)
    value: Spec = Configured("value", settings) if settings and settings.value else VALUE
    key: Spec = Configured("key", settings) if settings and settings.key else KEY
    return value if decode is None else decode, key if key_decode is None else key_decode
