"""How a window is read: the options that its methods share, and one pass over it with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from labkit.checks.validation import check_choice, whole_number
from labkit.decode import DecoderChoice, Spec, find_decoders
from labkit.decode.pipeline import Decoding, condition
from labkit.enrich.chain import Chain, Enricher
from labkit.groups.guard import watch_groups
from labkit.kafka.cluster import Cluster
from labkit.replay.notes import Note
from labkit.replay.plan import Plan
from labkit.replay.reader import Isolation, OnExpired, Reading
from labkit.replay.sample import sample
from labkit.times import length_ms
from labkit.waiting.interrupt import OnInterrupt, check_policy

if TYPE_CHECKING:
    from labkit.reads import WindowReads
    from labkit.registry import Registry


@dataclass(frozen=True)
class ReadSpec:
    """The options of `Window.read` that its other methods share, checked.

    It travels to other processes where its decoders and enrichers do.

    Attributes
    ----------
    chain : Chain
        Of the enrichers.
    deadline_s : float or None
        The deadline in seconds.
    """

    decode: Spec = "json"
    key_decode: Spec = "raw"
    types: Mapping[str, Any] | None = None
    where: str | None = None
    enrich: Iterable[Enricher] | Enricher = ()
    isolation: Isolation = "read_committed"
    on_expired: OnExpired = "error"
    max_bytes: int | None = None
    deadline: str | None = None
    guard: bool = True
    progress: bool | None = None
    on_interrupt: OnInterrupt = "raise"
    chain: Chain = field(init=False, repr=False, compare=False)
    deadline_s: float | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_policy(self.on_interrupt)
        check_choice("isolation", self.isolation, Isolation)
        check_choice(
            "on_expired", self.on_expired, OnExpired, "'clamp' reads what is left, and says so"
        )
        self._set("chain", Chain(self.enrich))
        self._set("enrich", self.chain.enrichers)
        self._set("deadline_s", None if self.deadline is None else length_ms(self.deadline) / 1000)
        if self.max_bytes is not None:
            hint = "how many bytes at most? such as 100_000_000"
            self._set("max_bytes", whole_number(self.max_bytes, "max_bytes", hint, low=1))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def reading(
        self, cluster: Cluster, plan: Plan, advance: Callable[[int, int], None] | None = None
    ) -> Reading:
        """Return one pass over a plan."""
        return Reading(
            cluster, plan, isolation=self.isolation, on_expired=self.on_expired, max_bytes=self.max_bytes,
            deadline_s=self.deadline_s, advance=advance, watch=watch_groups if self.guard else None,
        )  # fmt: skip

    def choose_decoder(
        self, cluster: Cluster, plan: Plan, registry: Registry | None
    ) -> DecoderChoice:
        """Return a new decoder for the plan's records; "auto" chooses by a sample of them."""
        return find_decoders(
            self.decode,
            self.key_decode,
            types=self.types,
            registry=registry,
            sample=lambda: sample(cluster, plan),
        )


@dataclass(frozen=True)
class ReadSource:
    """One pass over a window, and how its records are decoded and chosen: what a sink takes."""

    reading: Reading
    spec: ReadSpec = field(default_factory=ReadSpec)
    registry: Registry | None = None

    @classmethod
    def of(cls, window: WindowReads, **options: Any) -> ReadSource:
        """Return a pass over a window with options of `Window.read`."""
        spec = window._spec(**options)
        return cls(spec.reading(window.lab.cluster, window.plan), spec, window.lab.registry)

    def choose_decoder(self) -> DecoderChoice:
        """Return a new decoder for the records."""
        return self.spec.choose_decoder(self.reading.cluster, self.reading.plan, self.registry)

    def decoding(self, *, most: int = 1) -> tuple[Decoding, list[Note]]:
        """Return the records decoded and chosen, and what to say of the decoders."""
        where = condition(self.spec.where)
        decoder, decoder_notes, _ = self.choose_decoder()
        return Decoding(self.reading, decoder, where, most=most), decoder_notes

    def without_decoding(self) -> Decoding:
        """Return the records as they are; only a condition has them decoded."""
        return Decoding(self.reading) if self.spec.where is None else self.decoding()[0]
